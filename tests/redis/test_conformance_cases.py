"""Cases of the reference's suite that are about Redis: RM-8, U-1, U-2. See `test_contract`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import seastream_nb as ss
from seastream_nb.errors import StreamUrlError
from seastream_nb.keys import EntryId, StreamKey
from seastream_nb.url import StreamerUri
from tests.facades import FACADES, Facade

if TYPE_CHECKING:
    import redis


@pytest.mark.parametrize("facade", FACADES)
@pytest.mark.parametrize("keys", [("absent", "text"), ("text",)])
def test_a_key_of_another_type_is_the_first_nexts_error(
    matrix_url: str, matrix_client: redis.Redis, facade: type[Facade], keys: tuple[str, ...]
) -> None:
    """RM-8."""
    matrix_client.set("text", "x")
    streamer = facade(matrix_url)
    consumer = streamer.consumer(*keys)
    with pytest.raises(ss.ServerError, match="WRONGTYPE"):
        consumer.next(5)
    streamer.close()


@pytest.mark.parametrize("text", ["0-0", "1-1", "1678280595282-7", "18446744073709551615-65535"])
def test_an_entry_id_is_two_numbers(text: str) -> None:
    """U-1."""
    assert str(EntryId.parse(text)) == text
    sequence = EntryId.parse(text).sequence(wide=True)
    assert sequence is not None
    assert EntryId.from_sequence(sequence) == EntryId.parse(text)


REFUSED = [
    "", "123", "-", "1-", "-1", "a-1", "1-b", "1-2-3", "1.5-0", " 1-0", "-1-0",
    "18446744073709551616-0", "1-18446744073709551616", "1-0\n", "+1-0",
    "\u0661-0",
]  # fmt: skip


@pytest.mark.parametrize("text", REFUSED)
def test_anything_else_is_no_entry_id(text: str) -> None:
    """U-1."""
    with pytest.raises(ValueError, match="is no entry id"):
        EntryId.parse(text)


def test_an_id_that_a_sequence_number_cannot_hold_is_an_id_without_one() -> None:
    """U-1, where the reference refuses the id: it then could not read the entry at all."""
    assert EntryId.parse("1-65536").sequence() is None
    assert EntryId.parse("1-65536").sequence(wide=True) is None
    assert EntryId.parse(f"{2**48}-0").sequence() is None


URLS: dict[str, dict[str, Any]] = {
    "redis://h:1": {"nodes": (("h", 1),)},
    "redis://h:1/": {"nodes": (("h", 1),)},
    "redis://localhost": {"nodes": (("localhost", 6379),)},
    "redis://n1:1,n2:1": {"nodes": (("n1", 1), ("n2", 1))},
    "stdio://": {"scheme": "stdio"},
}


@pytest.mark.parametrize(("text", "parts"), URLS.items())
def test_a_url_names_one_or_several_nodes(text: str, parts: dict[str, Any]) -> None:
    """U-2. Streams are named by `stream` and `consumer`, not by the URL: a path is a database."""
    uri = StreamerUri.parse(text)
    assert {name: getattr(uri, name) for name in parts} == parts


@pytest.mark.parametrize("text", ["host:1234", "p://h:1", "redis://h:1/a,b", "redis://h:port"])
def test_what_is_no_url_of_a_streamer_says_so(text: str) -> None:
    """U-2."""
    with pytest.raises(StreamUrlError):
        StreamerUri.parse(text)


@pytest.mark.parametrize("key", ["stream?", "", "a:b", "SEA_STREAMER_INTERNAL", "é", "x" * 250])
def test_a_stream_key_has_few_characters(key: str) -> None:
    """U-2."""
    with pytest.raises(ss.StreamKeyError):
        StreamKey(key)
