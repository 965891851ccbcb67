"""`ss.merge`: several streams, also of several servers, as one."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

import seastream_nb as ss
from tests.servers import eventually, plain_client
from tests.test_replay import FIRST_MS, at, fill

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis


@pytest.fixture(scope="module")
def second() -> Iterator[str]:
    """The URL of a second server."""
    with ss.embedded() as server:
        yield server.url


@pytest.fixture
def other(second: str) -> Iterator[redis.Redis]:
    with closing(plain_client(second)) as client:
        client.flushall()
        yield client


@pytest.fixture
def elsewhere(second: str, other: redis.Redis) -> Iterator[ss.Streamer]:
    with ss.connect(second) as streamer:
        yield streamer


# The cases 35 to 38 of the reference's suite: streams, and the order of the whole.
CASES: list[tuple[dict[str, list[int]], str]] = [
    ({"a": [1, 3, 5, 7, 9], "b": [2, 4, 6, 8, 10]}, "a1 b2 a3 b4 a5 b6 a7 b8 a9 b10"),
    ({"a": [1, 2, 5, 8, 9], "b": [3, 4, 6, 7, 10]}, "a1 a2 b3 b4 a5 b6 b7 a8 a9 b10"),
    ({"c": [5, 6], "a": [1, 3, 5], "b": [2, 4]}, "a1 b2 a3 b4 a5 c5 c6"),
    ({"a": [1, 3], "b": [2, 4], "c": [3], "d": [5]}, "a1 b2 a3 c3 b4 d5"),
]


def named(messages: Any) -> str:
    return " ".join(f"{message.stream}{message.text()}" for message in messages)


def rows(batches: Iterator[pa.RecordBatch], count: int) -> list[str]:
    """The next payloads."""
    got: list[str] = []
    while len(got) < count:
        got += next(batches)["payload"].to_pylist()
    return got


@pytest.mark.parametrize(("streams", "order"), CASES)
def test_streams_of_two_servers_are_merged_in_time_order(
    streamer: ss.Streamer,
    client: redis.Redis,
    elsewhere: ss.Streamer,
    other: redis.Redis,
    streams: dict[str, list[int]],
    order: str,
) -> None:
    parts = []
    for number, (key, stamps) in enumerate(streams.items()):
        fill((client, other)[number % 2], key, stamps)
        parts.append((streamer, elsewhere)[number % 2][key])
    merged = ss.merge(*parts)
    assert named(merged) == order
    assert named(merged.replay(speed=None)) == order
    assert named(merged.last(3)) == " ".join(order.split()[-3:])


@pytest.mark.parametrize(("streams", "order"), CASES)
def test_who_waits_follows_in_time_order_too(
    streamer: ss.Streamer,
    client: redis.Redis,
    elsewhere: ss.Streamer,
    other: redis.Redis,
    streams: dict[str, list[int]],
    order: str,
) -> None:
    servers = [(client, streamer), (other, elsewhere)]
    places = {key: servers[number % 2] for number, key in enumerate(streams)}
    for key, (server, _) in places.items():
        fill(server, key, [0])
    parts = [connected[key] for key, (_, connected) in places.items()]
    got: list[str] = []

    def read() -> None:
        with closing(ss.merge(*parts, silent="wait").text().follow(max_wait=0.01)) as batches:
            for batch in batches:
                got.extend(f"{row['stream']}{row['payload']}" for row in batch.to_pylist())
                if len(got) >= len(streams) + len(order.split()):
                    return

    thread = threading.Thread(target=read)
    thread.start()
    eventually(lambda: len(got) == len(streams))
    # Nobody knows that a stream says nothing more, so each has a last word.
    for key, stamps in streams.items():
        fill(places[key][0], key, [*stamps, 99])
    thread.join(20)
    assert [each for each in got if each[1:] not in ("0", "99")] == order.split()


def test_many_messages_of_shards_and_servers(
    streamer: ss.Streamer, client: redis.Redis, elsewhere: ss.Streamer, other: redis.Redis
) -> None:
    fill(client, "s:0", list(range(0, 30_000, 3)))
    fill(client, "s:1", list(range(1, 30_000, 3)))
    fill(other, "t", list(range(2, 30_000, 3)))
    merged = ss.merge(streamer["s"], elsewhere["t"])
    assert merged.text().to_arrow()["payload"].to_pylist() == list(map(str, range(30_000)))
    assert merged.count() == 30_000
    assert named(merged.since(at(7)).until(at(9))) == "s7 t8"
    assert named(merged.first(3)) == "s0 s1 t2"
    assert merged.shard(1).count() == 10_000
    assert merged.json(errors="keep").where(pc.field("shard") == 1).count() == 10_000
    assert merged.contains("2999").select("stream").to_pandas()["stream"].tolist() == [
        message.stream for message in merged if b"2999" in message.payload
    ]
    assert merged.tail(2)["stream"].tolist() == ["s", "t"]
    assert int(merged.rate("1s")["messages"].sum()) == 30_000
    assert int(merged.rate("1s", exact=False)["messages"].sum()) > 0
    assert [message.stream for message in merged.get(f"{FIRST_MS + 2}-0")] == ["t"]


def test_each_part_keeps_its_range(
    streamer: ss.Streamer, client: redis.Redis, elsewhere: ss.Streamer, other: redis.Redis
) -> None:
    fill(client, "a", list(range(10)))
    fill(client, "a:1", [50])
    fill(other, "b", list(range(10)))
    merged = ss.merge(
        streamer["a"].since(at(3)).until(at(6)).shard(0), elsewhere["b"].since(at(5)).until(at(7))
    )
    assert named(merged) == "a3 a4 a5 b5 b6"
    assert named(merged.since(at(5))) == "a5 b5 b6"
    assert named(merged.until(at(4))) == "a3"
    assert named(merged.since(at(6))) == "b6"
    assert named(merged.last(2)) == "b5 b6"
    empty = ss.merge(streamer["a"].since("latest"), elsewhere["nothing"])
    assert named(empty) == ""
    assert empty.to_arrow().schema.names[0] == "stream"


def test_one_key_of_two_servers_is_two_streams(
    streamer: ss.Streamer, client: redis.Redis, elsewhere: ss.Streamer, other: redis.Redis
) -> None:
    fill(client, "s", [1, 3])
    fill(other, "s", [2, 3])
    merged = ss.merge(streamer["s"], elsewhere["s"])
    assert [int(message.text()) for message in merged] == [1, 2, 3, 3]
    assert len(merged.get(f"{FIRST_MS + 3}-0")) == 2
    with pytest.raises(ss.errors.ConfigError, match="several servers"):
        merged.info()
    assert ss.merge(streamer["s"], streamer["s"].until(at(2))).info().length == 2


def test_merges_can_be_merged(
    streamer: ss.Streamer, client: redis.Redis, elsewhere: ss.Streamer, other: redis.Redis
) -> None:
    fill(client, "a", [1, 4])
    fill(client, "b", [2, 5])
    fill(other, "c", [3, 6])
    inner = ss.merge(streamer["a"], streamer["b"]).since(at(2))
    assert named(ss.merge(inner, elsewhere["c"])) == "b2 c3 a4 b5 c6"
    assert ss.merge(inner, elsewhere["c"]).snapshot().count() == 5


def test_a_snapshot_of_a_merge_agrees_with_itself(
    streamer: ss.Streamer, client: redis.Redis, elsewhere: ss.Streamer, other: redis.Redis
) -> None:
    fill(client, "a", [1])
    fill(other, "b", [2])
    snapshot = ss.merge(streamer["a"], elsewhere["b"]).snapshot()
    fill(client, "a", [3])
    fill(other, "b", [4])
    assert named(snapshot) == "a1 b2"
    pinned = ss.merge(streamer["a"].snapshot(), elsewhere["b"])
    fill(client, "a", [5])
    assert named(pinned) == "a1 b2 a3 b4"
    with pytest.raises(ss.errors.ConfigError, match="snapshot"):
        list(pinned.follow())


def test_a_silent_stream_is_skipped_when_patience_ends(
    streamer: ss.Streamer, client: redis.Redis, elsewhere: ss.Streamer, other: redis.Redis
) -> None:
    fill(client, "a", [0])
    fill(other, "b", [0])
    merged = ss.merge(streamer["a"], elsewhere["b"], patience="50ms").since(at(1)).text()
    with closing(merged.follow(max_wait=0.01)) as batches:
        adding = threading.Timer(0.1, fill, (client, "a", list(range(1, 30_001))))
        adding.start()
        got = rows(batches, 30_000)
        fill(other, "b", [7])
        assert next(batches)["payload"].to_pylist() == ["7"]
    assert got == list(map(str, range(1, 30_001)))
    adding.join()


def test_who_waits_holds_one_reply_and_reads_no_more(
    streamer: ss.Streamer, client: redis.Redis, elsewhere: ss.Streamer, other: redis.Redis
) -> None:
    fill(client, "a", [0])
    fill(other, "b", [0])
    merged = ss.merge(streamer["a"], elsewhere["b"], silent="wait").since(at(1)).text()
    got: list[str] = []

    def read() -> None:
        with closing(merged.follow(max_wait=0.01)) as batches:
            got.extend(rows(batches, 60_001))

    thread = threading.Thread(target=read)
    thread.start()
    time.sleep(0.2)
    fill(client, "a", list(range(1, 60_001)))
    time.sleep(0.3)
    sent = client.info("stats")["total_net_output_bytes"]
    time.sleep(0.5)
    assert client.info("stats")["total_net_output_bytes"] - sent < 100_000
    assert got == []
    fill(other, "b", [70_000])
    fill(client, "a", [80_000])
    thread.join(20)
    assert got == [*map(str, range(1, 60_001)), "70000"]


def test_a_part_that_ends_is_not_waited_for(
    streamer: ss.Streamer, client: redis.Redis, elsewhere: ss.Streamer, other: redis.Redis
) -> None:
    fill(client, "a", [1, 2])
    fill(other, "b", [3])
    ended = elsewhere["b"].until(at(10))
    merged = ss.merge(streamer["a"], ended, silent="wait").text()
    with closing(merged.follow(max_wait=0.01)) as batches:
        assert rows(batches, 3) == ["1", "2", "3"]
        fill(client, "a", [4])
        assert next(batches)["payload"].to_pylist() == ["4"]
    both = ss.merge(streamer["a"].until(at(3)), ended).text()
    assert [row for batch in both.follow() for row in batch["payload"].to_pylist()] == [
        "1", "2", "3"
    ]  # fmt: skip


def test_leaving_gives_the_links_back(
    streamer: ss.Streamer, client: redis.Redis, elsewhere: ss.Streamer, other: redis.Redis
) -> None:
    fill(client, "a", [1])
    merged = ss.merge(streamer["a"], elsewhere["b"])
    for _ in range(10):
        with closing(merged.follow(max_wait=0.01)) as batches:
            assert len(list(islice(batches, 1))) == 1
    assert len(client.client_list()) < 8
    assert merged.count() == 1


def test_what_is_said_before_merging_is_refused(
    streamer: ss.Streamer, url: str, elsewhere: ss.Streamer
) -> None:
    a, b = streamer["a"], elsewhere["b"]
    for part in (a.json(), a.first(1), a.last(1), a.contains("x"), a.select("id"), a.text()):
        with pytest.raises(ss.errors.ConfigError, match="after it"):
            ss.merge(part, b)
    with pytest.raises(ss.errors.ConfigError, match="after it"):
        ss.merge(b, a.where(pc.field("shard") == 1))
    with pytest.raises(ss.errors.ConfigError, match="silent="):
        ss.merge(a, b, silent="shout")  # type: ignore[arg-type]
    with pytest.raises(ss.errors.ConfigError):
        ss.merge(a, b, patience="soon")
    with (
        ss.connect(url, timestamp_format="ns") as ns,
        pytest.raises(ss.errors.ConfigError, match="timestamp_format"),
    ):
        ss.merge(a, ns["a"])
    for streams in ((), (a, "b"), ("t",), ([a, b],)):
        with pytest.raises(TypeError, match=r"takes streams, as in merge\(a, b\)"):
            ss.merge(*streams)  # type: ignore[type-var]


def test_it_shows_what_it_is(streamer: ss.Streamer, url: str) -> None:
    merged = ss.merge(streamer["a"], streamer["b"]).last(5)
    assert repr(merged) == f"<Stream 'a', 'b' at {url}, last 5 messages>"


async def test_awaiting_streams_are_merged_among_themselves(
    url: str, client: redis.Redis, streamer: ss.Streamer
) -> None:
    fill(client, "a", [1])
    fill(client, "b", [2])
    async with ss.connect_async(url) as other:
        merged = ss.merge(other["a"], other["b"])
        assert isinstance(merged, ss.AsyncStream)
        assert named([message async for message in merged]) == "a1 b2"
        with pytest.raises(TypeError, match="all blocking, or all awaiting"):
            ss.merge(streamer["a"], other["b"])  # type: ignore[type-var]
