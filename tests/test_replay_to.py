"""Replaying into a stream: old ids in old shards, or new ones, and refusals before the first."""

from __future__ import annotations

import time
from dataclasses import FrozenInstanceError
from typing import TYPE_CHECKING, Any

import pytest

import seastream_nb as ss
from seastream_nb.targets import split_stream
from tests.servers import plain_client
from tests.test_replay import FIRST_MS, at, fill

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import redis


@pytest.fixture
def other() -> Iterator[redis.Redis]:
    """A second server, empty."""
    with ss.embedded() as server:
        client = plain_client(server.url)
        yield client
        client.close()


def url_of(client: redis.Redis) -> str:
    return f"redis+unix://{client.connection_pool.connection_kwargs['path']}"


def test_ids_payloads_and_shards_stay_what_they_were(
    matrix_streamer: ss.Streamer, matrix_client: redis.Redis, other: redis.Redis
) -> None:
    fill(matrix_client, "s", [0, 1])
    fill(matrix_client, "s:0", list(range(2, 3_000, 2)))
    fill(matrix_client, "s:3", list(range(3, 3_000, 2)))
    matrix_client.xadd("s:3", {"msg": b"\xff\x00"}, id=f"{FIRST_MS + 3_000}-70000")
    report = matrix_streamer["s"].replay_to(url_of(other), speed=None)
    for key in ("s", "s:0", "s:3"):
        assert other.xrange(key) == matrix_client.xrange(key)
    assert (report.messages, report.first_id) == (3_001, f"{FIRST_MS}-0")
    assert report.last_id == f"{FIRST_MS + 3_000}-70000"
    sizes = [len(message.payload) for message in matrix_streamer["s"]]
    assert report.bytes == sum(sizes)
    assert report.seconds > 0
    with pytest.raises(FrozenInstanceError):
        report.messages = 0  # type: ignore[misc]


def test_one_stream_may_go_to_another_key(
    streamer: ss.Streamer, client: redis.Redis, url: str
) -> None:
    fill(client, "s:1", [0, 1])
    fill(client, "app:orders", [2])
    assert streamer["s"].replay_to(f"{url}/copy", speed=None).messages == 2
    assert client.xrange("copy:1") == client.xrange("s:1")
    with streamer.producer("orders") as producer:
        streamer["app:orders"].replay_to(producer, speed=None)
    assert client.xrange("orders") == client.xrange("app:orders")
    with pytest.raises(ss.errors.StreamKeyError):
        streamer["app:orders"].replay_to(url, speed=None)


def test_several_streams_keep_their_keys(
    streamer: ss.Streamer, client: redis.Redis, other: redis.Redis
) -> None:
    fill(client, "a", [0, 2])
    fill(client, "b", [1, 3])
    both = streamer.stream("a", "b")
    with pytest.raises(ss.errors.ConfigError, match="would make them one"):
        both.replay_to(f"{url_of(other)}/c", speed=None)
    assert other.keys() == []
    assert both.replay_to(url_of(other), speed=None).messages == 4
    assert other.xrange("a") == client.xrange("a")
    assert other.xrange("b") == client.xrange("b")


def test_a_database_of_the_url_is_written_to(
    streamer: ss.Streamer, client: redis.Redis, url: str
) -> None:
    fill(client, "s", [0])
    streamer["s"].replay_to(f"{url}/s?db=3", speed=None)
    client.select(3)
    assert client.xlen("s") == 1


def test_ids_that_cannot_fit_are_refused_before_anything_is_sent(
    streamer: ss.Streamer, client: redis.Redis, other: redis.Redis
) -> None:
    fill(client, "s:0", [0, 10])
    fill(client, "s:1", [5, 15])
    fill(other, "s:1", [5])
    target = url_of(other)
    with pytest.raises(ss.errors.ConfigError) as caught:
        streamer["s"].replay_to(target, speed=None)
    for part in ("'s:1'", f"{FIRST_MS + 5}-0", "timestamps='now'", "nothing was sent"):
        assert part in str(caught.value)
    assert other.keys() == [b"s:1"]
    assert streamer["s"].since(at(6)).replay_to(target, speed=None).messages == 2
    assert other.xlen("s:1") == 2


def test_what_counts_is_the_first_message_that_is_sent(
    streamer: ss.Streamer, client: redis.Redis, other: redis.Redis
) -> None:
    fill(client, "s", list(range(100)))
    fill(other, "s", [50])
    target = url_of(other)
    for refused in (streamer["s"], streamer["s"].last(50), streamer["s"].contains("50")):
        with pytest.raises(ss.errors.ConfigError, match="its last id"):
            refused.replay_to(target, speed=None)
    assert other.xlen("s") == 1
    assert streamer["s"].contains("7").last(4).replay_to(target, speed=None).messages == 4
    texts = [fields[b"msg"] for _, fields in other.xrange("s")]
    assert texts == [b"50", b"78", b"79", b"87", b"97"]


def test_new_ids_fit_everywhere(streamer: ss.Streamer, client: redis.Redis, url: str) -> None:
    fill(client, "s:2", [0, 1, 2])
    report = streamer["s"].replay_to(url, speed=None, timestamps="now")
    assert report.messages == 3
    assert client.xlen("s:2") == 6
    assert report.first_id is not None
    assert int(report.first_id.split("-")[0]) > FIRST_MS


def test_a_file_that_is_not_there_is_made(
    streamer: ss.Streamer, client: redis.Redis, tmp_path: Path
) -> None:
    fill(client, "s", [0, 1, 2])
    for path, target in (
        (tmp_path / "new.ss", f"file://{tmp_path}/new.ss"),
        (tmp_path / "other.ss", tmp_path / "other.ss"),
    ):
        assert streamer["s"].replay_to(target, speed=None).messages == 3
        with ss.connect(path) as file:
            assert [each.id for each in file["s"]] == [each.id for each in streamer["s"]]
    with pytest.raises(ss.errors.FileError, match=r"No such file or directory$"):
        streamer["s"].replay_to(f"file://{tmp_path}/no/new.ss", speed=None)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["new.ss", "other.ss"]


def test_the_url_of_a_file_may_end_with_a_stream(
    streamer: ss.Streamer, client: redis.Redis, tmp_path: Path
) -> None:
    fill(client, "s", [0, 1, 2])
    path = tmp_path / "new.ss"
    for key in ("a", "b"):
        assert streamer["s"].replay_to(f"file://{path}/{key}", speed=None).messages == 3
    with ss.connect(path) as file:
        assert {key: file[key].count() for key in file.catalog()} == {"a": 3, "b": 3}


@pytest.mark.parametrize("idempotent", [False, True])
def test_a_producer_is_left_open(
    streamer: ss.Streamer, client: redis.Redis, *, idempotent: bool
) -> None:
    fill(client, "s", list(range(5_000)))
    with streamer.producer("copy", idempotent=idempotent, max_queue="64KiB") as producer:
        assert streamer["s"].replay_to(producer, speed=None).messages == 5_000
        producer.send("more").result(5)
    copied = [message.payload for message in streamer["copy"]]
    assert copied == [message.payload for message in streamer["s"]] + [b"more"]


def test_a_sharder_has_no_plain_key(streamer: ss.Streamer, client: redis.Redis) -> None:
    fill(client, "s", [0, 1, 2])
    fill(client, "s:5", [3])
    with streamer.producer("t", sharder=ss.RoundRobinSharder(2)) as producer:
        streamer["s"].replay_to(producer, speed=None)
    assert sorted(client.keys("t*")) == [b"t:0", b"t:5"]
    assert client.xlen("t:0") == 3


def test_two_messages_of_one_entry_cannot_have_one_id(
    streamer: ss.Streamer, client: redis.Redis, url: str
) -> None:
    client.execute_command("XADD", "s", "1-0", "msg", "a", "msg", "b")
    with pytest.raises(ss.errors.ConfigError, match="1-0"):
        streamer["s"].replay_to(f"{url}/t", speed=None)
    assert streamer["s"].replay_to(f"{url}/u", speed=None, timestamps="now").messages == 2


def test_a_refusal_of_the_server_is_raised(
    streamer: ss.Streamer, client: redis.Redis, url: str
) -> None:
    fill(client, "s", [0, 1])
    client.set("text", "x")
    with pytest.raises(ss.errors.ServerError, match="WRONGTYPE"):
        streamer["s"].replay_to(f"{url}/text", speed=None)
    with pytest.raises(ss.errors.NotSent, match="WRONGTYPE"):
        streamer["s"].replay_to(f"{url}/text", speed=None, timestamps="now")


def test_it_is_paced(streamer: ss.Streamer, client: redis.Redis, url: str) -> None:
    fill(client, "s", [0, 200, 300])
    report = streamer["s"].replay_to(f"{url}/t")
    assert 0.29 < report.seconds < 5
    first, last = (raw_time(client, "t", n) for n in (0, -1))
    assert (first, last) == (FIRST_MS, FIRST_MS + 300)


def raw_time(client: redis.Redis, key: str, index: int) -> int:
    return int(client.xrange(key)[index][0].split(b"-")[0])


def test_an_interrupt_stops_it_and_what_was_sent_stays(
    streamer: ss.Streamer, client: redis.Redis, url: str, alarm: Callable[[float], None]
) -> None:
    fill(client, "s", [0, 1, 600_000])
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - it may come at once
        alarm(0.3)
        streamer["s"].replay_to(f"{url}/t")
    assert time.monotonic() - began < 5
    assert client.xlen("t") == 2
    assert streamer["s"].since(at(2)).replay_to(f"{url}/t", speed=None).messages == 1


def test_an_outage_of_the_target_is_told(streamer: ss.Streamer, client: redis.Redis) -> None:
    fill(client, "s", [0, 600_000])
    with ss.embedded() as server, ss.connect(server.url, timeout=1) as away:
        producer = away.producer("t")
        sending = streamer["s"].since(at(1))
        assert sending.replay_to(producer, speed=None).messages == 1
        server.close()
        with pytest.raises((ss.errors.MaybeSent, ss.errors.NotSent)):
            sending.replay_to(producer, speed=None, timestamps="now")


def test_who_may_only_write_is_not_refused(
    streamer: ss.Streamer, client: redis.Redis, url: str
) -> None:
    fill(client, "s", [0, 1])
    client.execute_command("ACL", "SETUSER", "w", "on", ">pw", "~*", "+xadd", "+ping", "+client")
    try:
        with ss.connect(url, username="w", password="pw") as writing:
            producer = writing.producer("t")
            assert streamer["s"].replay_to(producer, speed=None).messages == 2
            with pytest.raises(ss.errors.NotSent, match="equal or smaller"):
                streamer["s"].replay_to(producer, speed=None)
            with pytest.raises(ss.errors.NotSent, match="equal or smaller"):
                producer.end()
    finally:
        client.execute_command("ACL", "DELUSER", "w")


def test_units_must_agree(streamer: ss.Streamer, client: redis.Redis, url: str) -> None:
    fill(client, "s", [0])
    with ss.connect(url, timestamp_format="ns") as other, other.producer("t") as producer:
        with pytest.raises(ss.errors.ConfigError, match="timestamp_format"):
            streamer["s"].replay_to(producer, speed=None)
        assert streamer["s"].replay_to(producer, speed=None, timestamps="now").messages == 1


def test_what_cannot_be_meant_is_refused(streamer: ss.Streamer, url: str) -> None:
    stream: Any = streamer["s"]
    with pytest.raises(ss.errors.ConfigError, match="timestamps="):
        stream.replay_to(url, timestamps="later")
    with pytest.raises(ss.errors.ConfigError, match="speed="):
        stream.replay_to(url, speed=-1)
    with pytest.raises(TypeError, match="Producer or a URL"):
        stream.replay_to(17)
    with pytest.raises(ss.errors.StreamUrlError):
        stream.replay_to("redis://localhost/a/b/c")
    with ss.connect(url, read_only=True) as reading:
        assert reading["s"].replay_to(url, speed=None).messages == 0
        assert reading["s"].replay_to(url, speed=None).first_id is None


def test_a_password_is_in_no_frame_of_an_error(streamer: ss.Streamer) -> None:
    with pytest.raises(ss.errors.ConnectError) as caught:
        streamer["s"].replay_to("redis://u:hunter2@127.0.0.1:1/t")
    assert "***" in str(caught.value)
    trace = caught.value.__traceback__
    while trace is not None:
        if "seastream_nb" in trace.tb_frame.f_code.co_filename:
            assert "hunter2" not in repr(trace.tb_frame.f_locals)
        trace = trace.tb_next


def test_a_url_names_a_server_and_maybe_a_stream(url: str) -> None:
    assert split_stream(f"{url}/copy") == (url, "copy")
    assert split_stream(url) == (url, None)
    assert split_stream("rediss://u:p/w@h:1/7/9") == ("rediss://u:p/w@h:1/7", "9")
    assert split_stream("redis://h") == ("redis://h", None)
    assert split_stream("name") == ("name", None)


async def test_the_awaiting_facade_does_the_same(url: str, client: redis.Redis) -> None:
    fill(client, "s", [0, 1])
    async with ss.connect_async(url) as streamer:
        assert (await streamer["s"].replay_to(f"{url}/t", speed=None)).messages == 2
        async with await streamer.producer("u") as producer:
            assert (await streamer["s"].replay_to(producer, speed=None)).messages == 2
    assert client.xrange("u") == client.xrange("s")
