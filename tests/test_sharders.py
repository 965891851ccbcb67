from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

import seastream_nb as ss
from seastream_nb.errors import ConfigError


def test_round_robin_counts_each_stream_by_itself() -> None:
    sharder = ss.RoundRobinSharder(3)
    assert [sharder.shard("a", b"") for _ in range(4)] == [0, 1, 2, 0]
    assert sharder.shard("b", b"") == 0


def test_random_shards_are_spread_evenly_within_one_millisecond() -> None:
    sharder = ss.PseudoRandomSharder(8, seed=7)
    shards = Counter(sharder.shard("a", b"") for _ in range(8_000))
    assert sorted(shards) == list(range(8))
    assert min(shards.values()) > 800


def test_the_same_seed_gives_the_same_shards() -> None:
    first, second, other = (ss.PseudoRandomSharder(100, seed=seed) for seed in (1, 1, 2))
    drawn = [first.shard("a", b"") for _ in range(20)]
    assert drawn == [second.shard("a", b"") for _ in range(20)]
    assert drawn != [other.shard("a", b"") for _ in range(20)]


def test_a_key_always_has_the_same_shard_in_every_process() -> None:
    sharder = ss.KeyHashSharder(16)
    assert [sharder.shard("a", name) for name in (b"SEA", b"PDX", b"SFO")] == [15, 15, 7]


def test_the_key_may_be_taken_from_the_payload_as_text_or_bytes() -> None:
    text = ss.KeyHashSharder(16, key=lambda payload: payload[:3].decode())
    data = ss.KeyHashSharder(16, key=lambda payload: payload[:3])
    shards = {sharder.shard("s", b"SEA 1.%d" % n) for sharder in (text, data) for n in range(9)}
    assert len(shards) == 1


@pytest.mark.parametrize("key", [17, None, 1.5, ("a",)])
def test_a_key_that_is_neither_text_nor_bytes_says_what_to_give(key: object) -> None:
    sharder = ss.KeyHashSharder(4, key=lambda payload: key)  # type: ignore[arg-type,return-value]
    with pytest.raises(ConfigError, match=r"give text or bytes, as str\(key\)"):
        sharder.shard("ticks", b"x")


def test_keys_are_spread_over_all_shards() -> None:
    sharder = ss.KeyHashSharder(8)
    assert {sharder.shard("a", b"%d" % n) for n in range(200)} == set(range(8))


@pytest.mark.parametrize("make", [ss.RoundRobinSharder, ss.PseudoRandomSharder, ss.KeyHashSharder])
@pytest.mark.parametrize("n", [0, -1, 1.5, True, "8"])
def test_no_shards_or_half_a_shard_is_refused(make: type[ss.RoundRobinSharder], n: int) -> None:
    with pytest.raises(ConfigError, match="shards"):
        make(n)


def test_a_key_that_is_no_function_is_refused() -> None:
    with pytest.raises(ConfigError, match="function"):
        ss.KeyHashSharder(4, key="station")  # type: ignore[arg-type]


class Fixed:
    """A sharder of a user, which gives one answer."""

    def __init__(self, shard: object) -> None:
        self.answer = shard

    def shard(self, stream_key: str, payload: bytes) -> int:
        return self.answer  # type: ignore[return-value]


def test_any_object_with_a_shard_method_is_a_sharder(url: str) -> None:
    with (
        ss.connect(url) as streamer,
        streamer.producer("s", sharder=Fixed(np.int64(7))) as producer,
    ):
        receipt = producer.send("x").result()
    assert (receipt.shard, receipt.origin.key) == (7, b"s:7")


def test_a_shard_may_be_any_unsigned_64_bit_number(url: str) -> None:
    with ss.connect(url) as streamer, streamer.producer("s", sharder=Fixed(2**64 - 1)) as producer:
        assert producer.send("x").result().shard == 2**64 - 1
        assert [message.shard for message in streamer["s"]] == [2**64 - 1]


@pytest.mark.parametrize("shard", [-1, 2**64, 1.5, "1", None, True])
def test_an_answer_that_is_no_shard_is_refused_before_anything_is_queued(
    url: str, shard: object
) -> None:
    with ss.connect(url) as streamer, streamer.producer("s", sharder=Fixed(shard)) as producer:
        with pytest.raises(ConfigError, match="shard"):
            producer.send("x")
        producer.flush()
        assert streamer["s"].count() == 0


def test_an_object_without_a_shard_method_is_refused(url: str) -> None:
    with ss.connect(url) as streamer, pytest.raises(ConfigError, match="sharder"):
        streamer.producer("s", sharder=max)  # type: ignore[arg-type]
