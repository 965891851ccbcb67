from __future__ import annotations

import gc
import tracemalloc
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, strategies as st

from seastream_nb.redis import kernel
from seastream_nb.redis.kernel import Entries
from seastream_nb.redis.receive import LARGEST_BLOCK
from seastream_nb.redis.resp import ProtocolError, Refusal, ReplyBuffer, ReplyKind

PLAIN, ENTRIES, STREAMS = ReplyKind

NASTY = [b"\r\n*12345678\r\n", b"*9999999", b"\n*123", b"\r\n", b"*", b"$5\r\nab", b"-ERR\r\n", b""]


@pytest.fixture(params=["hiredis", "compiled"])
def scanner(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "hiredis":
        monkeypatch.setattr(kernel, "_compiled", None)
    elif not kernel.load():
        pytest.skip("numba is not installed")
    return str(request.param)


def wire(value: Any) -> bytes:
    """A value as a server sends it."""
    match value:
        case None:
            return b"$-1\r\n"
        case int():
            return b":%d\r\n" % value
        case bytes():
            return b"$%d\r\n%b\r\n" % (len(value), value)
        case Refusal():
            return b"-%b\r\n" % str(value).encode()
        case list():
            return b"*%d\r\n%b" % (len(value), b"".join(map(wire, value)))
    raise AssertionError(value)


def receive(buffer: ReplyBuffer, data: bytes) -> None:
    while data:
        place = buffer.get_buffer(-1)
        count = min(len(place), len(data))
        place[:count] = data[:count]
        buffer.written(count)
        data = data[count:]


def read(parts: Iterable[bytes], kinds: Sequence[ReplyKind]) -> list[Any]:
    """What a connection would hand out that has asked for these kinds."""
    buffer = ReplyBuffer()
    waiting = iter(kinds)
    kind = next(waiting, None)
    found = []
    for part in parts:
        receive(buffer, part)
        while kind is not None and (reply := buffer.next_reply(kind)) is not buffer.NEED_MORE:
            found.append(reply)
            kind = next(waiting, None)
    buffer.close()
    return found


def filled(parts: Iterable[bytes], count: int) -> list[Any]:
    """The same of plain replies that one pipeline asked for."""
    buffer = ReplyBuffer()
    found: list[Any] = []
    for part in parts:
        receive(buffer, part)
        buffer.fill(found, count)
    return found


def cut(data: bytes, places: Iterable[int]) -> Iterator[bytes]:
    bounds = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return (data[start:stop] for start, stop in pairwise(bounds))


def listed(reply: Any) -> Any:
    """Entries of either kind as nested lists; refusals as text."""
    match reply:
        case Entries():
            data = reply.data.tobytes()
            return [
                [
                    b"%d-%d" % (reply.ids[0, at], reply.ids[1, at]),
                    [
                        data[start : start + length]
                        for row in reply.pairs[reply.heads[at, 0] : reply.heads[at + 1, 0]]
                        for start, length in row.reshape(2, 2).tolist()
                    ],
                ]
                for at in range(len(reply))
            ]
        case list() | tuple():
            return [listed(element) for element in reply]
        case Refusal():
            return f"refused: {reply}"
    return reply


values = st.recursive(
    st.none()
    | st.integers(-(2**63), 2**63 - 1)
    | st.binary(max_size=20)
    | st.sampled_from(NASTY)
    | st.builds(Refusal, st.sampled_from(["ERR no such key", "NOGROUP *12345678", "MOVED"])),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=12,
)
places = st.lists(st.integers(0, 2**16), max_size=12)


@given(st.lists(values, max_size=8), places)
def test_plain_replies_come_out_as_they_were_sent_wherever_they_are_cut(
    sent: list[Any], where: list[int]
) -> None:
    parts = cut(b"".join(map(wire, sent)), where)
    assert listed(read(parts, [PLAIN] * len(sent))) == listed(sent)


@given(st.lists(values, max_size=8), places, st.integers(0, 9))
def test_the_replies_to_a_pipeline_are_those_of_its_commands_one_by_one(
    sent: list[Any], where: list[int], asked: int
) -> None:
    parts = [*cut(b"".join(map(wire, sent)), where)]
    assert listed(filled(parts, asked)) == listed(read(parts, [PLAIN] * asked))


@pytest.mark.parametrize("junk", [b"?\r\n", b"$1\r\nabc", b"*2147483647\r\n", b"*1000000\r\n"])
def test_what_came_before_junk_is_kept(junk: bytes) -> None:
    buffer, found = ReplyBuffer(), list[Any]()
    with pytest.raises(ProtocolError):  # noqa: PT012 - hiredis may see it at once or later
        for part in (b":1\r\n:2\r\n", junk, b"rest\r\n"):
            receive(buffer, part)
            buffer.fill(found, 9)
    assert found[:2] == [1, 2]


ENTRY = [b"1700000000000-3", [b"msg", b"\r\n*12345678\r\n", b"n", b""]]
BARE = [b"18446744073709551615-0", []]
MIXED: list[tuple[ReplyKind, Any]] = [
    (PLAIN, 7),
    (ENTRIES, [ENTRY, BARE]),
    (PLAIN, [b"x", [1, None]]),
    (ENTRIES, Refusal("ERR wrong")),
    (STREAMS, [[b"k:1", [ENTRY]], [b"k*1234567", [BARE, ENTRY]]]),
    (PLAIN, b"\n*1234567"),
    (STREAMS, Refusal("NOGROUP none")),
    (ENTRIES, []),
    (STREAMS, [[b"k", []]]),
]


@pytest.mark.usefixtures("scanner")
def test_kinds_may_alternate_and_replies_may_be_cut_at_every_byte() -> None:
    kinds, replies = map(list, zip(*MIXED, strict=True))
    data, expected = b"".join(map(wire, replies)), listed(replies)
    assert listed(read([data], kinds)) == expected
    assert listed(read(cut(data, range(len(data))), kinds)) == expected
    for place in range(len(data)):
        assert listed(read(cut(data, [place]), kinds)) == expected


@pytest.mark.usefixtures("scanner")
@pytest.mark.parametrize("nil", [b"*-1\r\n", b"$-1\r\n"])
@pytest.mark.parametrize("kind", [ENTRIES, STREAMS])
def test_nil_instead_of_entries_is_none_of_them(nil: bytes, kind: ReplyKind) -> None:
    assert read([nil + b":1\r\n"], [kind, PLAIN]) == [[], 1]


def test_entries_behind_a_number_are_still_scanned() -> None:
    if not kernel.load():
        pytest.skip("numba is not installed")
    number, entries = read([b":1\r\n" + wire([ENTRY])], [PLAIN, ENTRIES])
    assert number == 1
    assert isinstance(entries, Entries)


MALFORMED = {
    "an HTTP line": b"HTTP/1.1 200 OK\r\n",
    "a negative string": b"$-5\r\n",
    "a negative array": b"*-2\r\n",
    "a string of 23 digits": b"$12345678901234567890123\r\n",
    "an array of 2**31 - 1": b"*2147483647\r\n",
    "an array of 2**40": b"*1099511627776\r\n",
    "an array of 50 million": b"*50000000\r\n",
    "nesting 100,000 deep": b"*1\r\n" * 100_000,
    "a string without its end": b"$5\r\nhelloXX",
    "a number with a letter": b":12a\r\n",
    "no number": b":\r\n",
    "no count": b"*\r\n",
    "a map of 10**9": b"%1000000000\r\n",
    "a push before the reply": b">2\r\n+message\r\n+x\r\n",
    "an attribute before the reply": b"|1\r\n+ttl\r\n:1\r\n",
    "not a number": b",nan\r\n",
    "a verbatim string": b"=5\r\ntxt:x\r\n",
    "a big number of 6,000 digits": b"(" + b"9" * 6000 + b"\r\n",
    "a set of lists": b"~1\r\n*0\r\n",
    "a map with a list for a key": b"*1\r\n%1\r\n*0\r\n:1\r\n",
    "a signed length": b"$+3\r\nabc\r\n",
    "a padded length": b"$03\r\nabc\r\n",
}


@pytest.mark.usefixtures("scanner")
@pytest.mark.parametrize("kind", ReplyKind)
@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
def test_what_is_no_reply_raises_one_error(data: bytes, kind: ReplyKind) -> None:
    with pytest.raises(ProtocolError):
        read([data], [kind])


@pytest.mark.usefixtures("scanner")
@pytest.mark.parametrize("data", [MALFORMED[name] for name in MALFORMED if "array of" in name])
def test_too_long_an_array_is_seen_wherever_its_header_is_cut(data: bytes) -> None:
    for place in range(len(data)):
        with pytest.raises(ProtocolError):
            read(cut(b"+OK\r\n" + data, [5 + place]), [PLAIN, PLAIN])


NO_ENTRIES = {
    "a number": 5,
    "zero": 0,
    "nothing": b"",
    "text": b"QUEUED",
    "numbers": [1, 2],
    "an entry of three": [[b"1-1", [], b""]],
    "an entry of one": [[b"1-1"]],
    "a name without a value": [[b"1-1", [b"msg"]]],
    "a number for a value": [[b"1-1", [b"msg", 5]]],
    "nil for a value": [[b"1-1", [b"msg", None]]],
    "a list for a value": [[b"1-1", [b"msg", []]]],
    "text for a body": [[b"1-1", b"ab"]],
    "nil for an id": [[None, []]],
    "nil for an entry": [None],
    "an id without a dash": [[b"11", []]],
    "an id of three numbers": [[b"1-1-1", []]],
    "half an id": [[b"1-", []]],
    "the other half": [[b"-1", []]],
    "a padded id": [[b"01-1", []]],
    "a padded sequence": [[b"1-00", []]],
    "an id with a space": [[b"1 -1", []]],
    "an empty id": [[b"", []]],
    "an id of 2**64": [[b"18446744073709551616-0", []]],
    "a sequence of 2**64": [[b"0-18446744073709551616", []]],
    "an id of 10**20 - 1": [[b"99999999999999999999-0", []]],
    "an id of 21 digits": [[b"100000000000000000000-0", []]],
}


@pytest.mark.usefixtures("scanner")
@pytest.mark.parametrize("reply", NO_ENTRIES.values(), ids=NO_ENTRIES)
@pytest.mark.parametrize("kind", [ENTRIES, STREAMS])
def test_a_reply_that_is_no_stream_entries_raises(reply: Any, kind: ReplyKind) -> None:
    whole = reply if kind is ENTRIES or not isinstance(reply, list) else [[b"key", reply]]
    with pytest.raises(ProtocolError):
        read([wire(whole)], [kind])


@pytest.mark.usefixtures("scanner")
@pytest.mark.parametrize("streams", [[1], [[b"k"]], [[1, []]], [[b"k", [], 1]], [[None, []]]])
def test_a_reply_that_is_no_streams_raises(streams: list[Any]) -> None:
    with pytest.raises(ProtocolError):
        read([wire(streams)], [STREAMS])


@pytest.mark.usefixtures("scanner")
@pytest.mark.parametrize("kind", ReplyKind)
@pytest.mark.parametrize(
    "data",
    [
        b"*2147483647\r\n",
        b"*999999\r\n",
        b"$2147483647\r\nabc",
        b"*1\r\n*2\r\n$2147483647\r\nabc",
        b"*1\r\n*2\r\n$3\r\n1-1\r\n*999998\r\n",
    ],
)
def test_announced_sizes_take_no_memory(data: bytes, kind: ReplyKind) -> None:
    tracemalloc.start()
    try:
        with suppress(ProtocolError):
            read([data], [kind])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10 * 2**20


@pytest.mark.usefixtures("scanner")
@pytest.mark.parametrize("kind", ReplyKind)
def test_a_closed_buffer_is_freed_at_once_with_what_it_half_read(kind: ReplyKind) -> None:
    buffer = ReplyBuffer()
    receive(buffer, b"*2\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$3\r\nmsg\r\n$99999\r\nabc")
    with suppress(ProtocolError):
        buffer.next_reply(kind)
    buffer.close()
    freed = weakref.ref(buffer)
    gc.disable()
    try:
        del buffer
        assert freed() is None
    finally:
        gc.enable()


def entries_of(count: int, size: int) -> list[list[Any]]:
    return [[b"%d-0" % at, [b"msg", bytes([at % 251]) * size]] for at in range(count)]


@pytest.mark.usefixtures("scanner")
@pytest.mark.parametrize(("count", "size"), [(1, 10), (500, 100), (3000, 300), (3, 10_000_000)])
def test_entries_stay_what_they_were_while_more_is_read(count: int, size: int) -> None:
    buffer = ReplyBuffer()
    sent = entries_of(count, size)
    pages: list[Any] = []
    for _ in range(4):
        data = wire(sent) + wire(b"other" * 10_000)
        for part in cut(data, range(0, len(data), 50_021)):
            receive(buffer, part)
            if len(pages) % 2 == 0 and (page := buffer.next_reply(ENTRIES)) is not buffer.NEED_MORE:
                pages.append(page)
        assert buffer.next_reply(PLAIN) == b"other" * 10_000
        pages.append(None)
    assert all(listed(page) == sent for page in pages[::2])


def test_a_page_holds_little_more_than_its_bytes_and_the_buffer_shrinks_again() -> None:
    if not kernel.load():
        pytest.skip("numba is not installed")
    buffer = ReplyBuffer()
    for count in (1, 100_000, 1, 100, 3000, 1):
        receive(buffer, wire(entries_of(count, 300)))
        page = buffer.next_reply(ENTRIES)
        held = page.data if page.data.base is None else page.data.base
        assert held.nbytes <= 4 * page.data.nbytes + 64
        assert len(buffer.get_buffer(-1)) <= LARGEST_BLOCK
