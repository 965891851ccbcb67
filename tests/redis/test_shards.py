"""Which keys are one stream: the rule, and that everything that reads follows it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

import seastream_nb as ss
from seastream_nb.redis import shards

if TYPE_CHECKING:
    import redis

LARGEST = 2**64 - 1
# Written apart from the package: what the rule of the README says of a key.
SHARD = re.compile(r"([A-Za-z0-9._-]{1,249}):(0|[1-9][0-9]{0,19})", re.ASCII)

NAMES = ["s", "s.x", "s-", "app:s", "SEA_STREAMER_INTERNAL", "x" * 249, "x" * 250, "é", "", "s:1"]
SUFFIXES = [":0", ":1", ":7", ":07", ":10", ":x", ":1x", ":-1", ":+1", ":1_0", ": 1", ":¹", ":"]
SUFFIXES += ["", ":1:2", f":{LARGEST}", f":{LARGEST + 1}", ":" + "9" * 30]
KEYS = st.tuples(st.sampled_from(NAMES), st.sampled_from(SUFFIXES)).map("".join)
KINDS = st.sampled_from(["stream", "stream", "stream", "string", "hash"])


def stream_of(key: str) -> str:
    match = SHARD.fullmatch(key)
    reserved = match and match[1] == "SEA_STREAMER_INTERNAL"
    return match[1] if match and not reserved and int(match[2]) <= LARGEST else key


@given(st.sets(KEYS, max_size=20))
def test_keys_are_grouped_by_the_rule(keys: set[str]) -> None:
    grouped = shards.group_by_stream([key.encode() for key in keys], sharded=True)
    expected: dict[str, set[str]] = {}
    for key in keys:
        expected.setdefault(stream_of(key), set()).add(key)
    found = {stream.decode(): [key.decode() for key in of] for stream, of in grouped.items()}
    assert {stream: set(of) for stream, of in found.items()} == expected
    assert list(grouped) == sorted(grouped)
    for stream, of in found.items():
        numbers = [int(key.removeprefix(f"{stream}:")) for key in of if key != stream]
        assert of == [stream] * (stream in of) + [
            f"{stream}:{number}" for number in sorted(numbers)
        ]


@given(st.sets(KEYS, max_size=20))
def test_without_shards_every_key_stands_alone(keys: set[str]) -> None:
    alone = shards.group_by_stream([key.encode() for key in keys], sharded=False)
    assert alone == {key.encode(): [key.encode()] for key in keys}


@given(st.dictionaries(KEYS, KINDS, max_size=12))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_stream_reads_exactly_the_keys_that_the_catalog_names(
    streamer: ss.Streamer, client: redis.Redis, keys: dict[str, str]
) -> None:
    client.flushdb()
    for key, kind in keys.items():
        if kind == "stream":
            client.xadd(key, {"msg": key})
        elif kind == "hash":
            client.hset(key, "msg", key)
        else:
            client.set(key, key)
    catalog = streamer.catalog()
    listed = [key for info in catalog.values() for key in info.keys]
    assert sorted(listed) == sorted(key for key, kind in keys.items() if kind == "stream")
    for key, info in catalog.items():
        assert sorted(message.text() for message in streamer[key]) == sorted(info.keys)
        assert streamer[key].info() == info
        assert info.length == len(info.keys) == len(info.shards)
        assert list(streamer.catalog(re.sub(r"([*?\\[\]])", r"\\\1", key))) == [key]


def test_the_plain_key_is_read_too_as_shard_0(streamer: ss.Streamer, client: redis.Redis) -> None:
    client.xadd("ticks", {"msg": "plain"}, id="2-0")
    client.xadd("ticks:0", {"msg": "zero"}, id="1-0")
    client.xadd("ticks:4", {"msg": "four"}, id="3-0")
    found = [(message.shard, message.payload) for message in streamer["ticks"]]
    assert found == [(0, b"zero"), (0, b"plain"), (4, b"four")]
    assert streamer["ticks"].info().shards == (0, 0, 4)
    assert streamer["ticks"].shard(0).count() == 2
    assert "ticks        2       3" in repr(streamer.catalog())
    with streamer.consumer("ticks", auto_stream_reset="earliest") as consumer:
        taken = consumer.take(3, timeout=30)
    assert sorted(message.payload for message in taken) == [b"four", b"plain", b"zero"]


def test_the_key_of_a_shard_is_always_that_key_alone(
    streamer: ss.Streamer, client: redis.Redis
) -> None:
    client.xadd("a:7", {"msg": "seven"})
    client.xadd("a:7:1", {"msg": "another stream"})
    client.xadd("a:8", {"msg": "eight"})
    assert [message.payload for message in streamer["a:7"]] == [b"seven"]
    assert streamer["a:7"].info().keys == ("a:7",)


@pytest.mark.parametrize("keys", [["orders:eu", "orders:us"], ["orders:eu"], ["orders:01"]])
def test_suffixes_that_are_no_numbers_make_streams_of_their_own(
    streamer: ss.Streamer, client: redis.Redis, keys: list[str]
) -> None:
    for key in keys:
        client.xadd(key, {"msg": "x"})
    assert list(streamer.catalog()) == keys
    assert list(streamer.catalog("orders")) == []
    assert streamer["orders"].count() == 0
    with pytest.raises(ss.StreamNotFound):
        streamer["orders"].info()


def test_the_largest_shard_number_is_read(streamer: ss.Streamer, client: redis.Redis) -> None:
    client.xadd(f"s:{LARGEST}", {"msg": "x"})
    client.xadd(f"s:{LARGEST + 1}", {"msg": "a stream of its own"})
    assert streamer["s"].to_arrow()["shard"].to_pylist() == [LARGEST]
    assert list(streamer.catalog()) == ["s", f"s:{LARGEST + 1}"]


def test_a_suffix_of_thousands_of_digits_is_no_shard(
    streamer: ss.Streamer, client: redis.Redis
) -> None:
    key = "s:" + "1" * 5_000  # more digits than Python makes an int of
    client.xadd(key, {"msg": "x"})
    assert list(streamer.catalog()) == [key]
    assert streamer["s"].count() == 0
    assert streamer[key].count() == 1
