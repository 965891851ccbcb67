from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import seastream_nb as ss
from tests.redis.consuming import numbers, payloads, send
from tests.servers import eventually, raw

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis

PATIENCE = 20.0
AT = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
AT_MS = int(AT.timestamp() * 1000)


@pytest.fixture
def minutes(client: redis.Redis) -> None:
    """A stream of two messages in one tick each minute from `AT` on; the payload is the id."""
    for minute in range(5):
        for sub in range(2):
            entry_id = f"{AT_MS + minute * 60_000}-{sub}"
            client.xadd("s", {b"msg": entry_id.encode()}, id=entry_id)


def minute(number: int, sub: int = 0) -> str:
    return f"{AT_MS + number * 60_000}-{sub}"


# Seek


@pytest.mark.usefixtures("minutes")
@pytest.mark.parametrize(
    "when",
    [
        AT + timedelta(minutes=2),
        "2026-11-23T02:02:00Z",
        "2026-11-23 02:02",
        np.datetime64("2026-11-23T02:02:00"),
        (AT_MS + 120_000) * 1_000_000,
        minute(2, 1),
        "2026-11-23T02:02:00.000999Z",
    ],
    ids=repr,
)
def test_seek_skips_the_whole_tick_and_delivers_what_is_strictly_later(
    consume: Callable[..., Any], when: Any
) -> None:
    consumer = consume("s")
    consumer.seek(when)
    assert [message.id for message in consumer.take(4, PATIENCE)] == [
        minute(3), minute(3, 1), minute(4), minute(4, 1),
    ]  # fmt: skip


@pytest.mark.usefixtures("minutes")
def test_seek_to_a_message_or_an_id_skips_only_itself(consume: Callable[..., Any]) -> None:
    consumer = consume("s", auto_stream_reset="earliest")
    first = consumer.next(PATIENCE)
    for when in (first, first.header, first.id, first.entry_id, first.id.encode()):
        consumer.seek(when)
        assert consumer.next(PATIENCE).id == minute(0, 1)


@pytest.mark.usefixtures("minutes")
def test_seek_takes_a_message_by_its_timestamps(consume: Callable[..., Any]) -> None:
    consumer = consume("s", auto_stream_reset="earliest")
    message = consumer.next(PATIENCE)
    for when in (message.timestamp, message.timestamp_ns, np.int64(message.timestamp_ns)):
        consumer.seek(when)
        assert consumer.next(PATIENCE).id == minute(1)


@pytest.mark.usefixtures("minutes")
@pytest.mark.parametrize("when", ["earliest", "1969-12-31", -1, b"0-0", "-1000d"])
def test_seek_before_everything_begins_with_the_first_message(
    consume: Callable[..., Any], when: Any
) -> None:
    consumer = consume("s")
    consumer.seek(when)
    assert consumer.next(PATIENCE).id == minute(0)


@pytest.mark.usefixtures("minutes")
def test_seek_into_the_future_skips_what_comes_before(
    consume: Callable[..., Any], client: redis.Redis
) -> None:
    consumer = consume("s", auto_stream_reset="earliest")
    consumer.seek(AT + timedelta(minutes=10))
    client.xadd("s", {b"msg": b"early"}, id=minute(7))
    client.xadd("s", {b"msg": b"late"}, id=minute(11))
    assert consumer.next(PATIENCE).text() == "late"


@pytest.mark.usefixtures("minutes")
@pytest.mark.parametrize("when", ["yesterday", None, "2026", 1.5, "02:99"])
def test_what_is_no_time_is_refused_and_the_consumer_stays(
    consume: Callable[..., Any], when: Any
) -> None:
    consumer = consume("s", auto_stream_reset="earliest")
    consumer.next(PATIENCE)
    with pytest.raises(ss.ConfigError):
        consumer.seek(when)
    assert consumer.next(PATIENCE).id == minute(0, 1)


def test_a_time_without_a_zone_is_read_in_that_of_the_connection(
    url: str, client: redis.Redis
) -> None:
    for hour in range(3):
        client.xadd("s", {b"msg": str(hour).encode()}, id=f"{AT_MS + hour * 3_600_000}-0")
    with ss.connect(url, tz="+01:00") as streamer, streamer.consumer("s") as consumer:
        consumer.seek("2026-11-23T03:00")
        assert numbers(consumer.take(2, PATIENCE)) == [1, 2]


@pytest.mark.parametrize("batch", [1, 5, 25])
def test_rewinding_and_seeking_within_a_stream(
    consume: Callable[..., Any], url: str, batch: int
) -> None:
    # The reference's own case, with a wait for the clock where it has a sleep.
    with ss.connect(url) as streamer, streamer.producer("s") as producer:
        for n in range(29):
            producer.send(str(n))
        mark = producer.send("29").result(PATIENCE)
        assert eventually(lambda: raw(url, "TIME")[1] and now_ms(url) > mark.entry_id.ms)
        for n in range(30, 100):
            producer.send(str(n))
        producer.flush()
        consumer = consume("s", auto_stream_reset="earliest", batch_size=batch)
        assert numbers(consumer.take(10, PATIENCE)) == list(range(10))
        consumer.rewind("beginning")
        assert numbers(consumer.take(10, PATIENCE)) == list(range(10))
        consumer.rewind(mark.sequence)
        assert numbers(consumer.take(10, PATIENCE)) == list(range(30, 40))
        consumer.seek(mark.timestamp)
        assert numbers(consumer.take(10, PATIENCE)) == list(range(30, 40))
        consumer.rewind("end")
        with pytest.raises(TimeoutError):
            consumer.next(0.005)
        for n in range(100, 110):
            producer.send(str(n))
        producer.flush()
        assert numbers(consumer.take(5, PATIENCE)) == list(range(100, 105))
        assert numbers(consumer.take(5, PATIENCE)) == list(range(105, 110))


def now_ms(url: str) -> int:
    seconds, micros = raw(url, "TIME")
    return int(seconds) * 1000 + int(micros) // 1000


def test_nothing_old_appears_after_a_seek_in_the_middle_of_a_page(
    consume: Callable[..., Any], client: redis.Redis
) -> None:
    ids = send(client, "s", *range(100))
    consumer = consume("s", auto_stream_reset="earliest", batch_size=10)
    for target in (80, 5, 60, 99, 0):
        consumer.take(3, 0.1)
        consumer.seek(ids[target])
        assert numbers(consumer.take(99 - target, PATIENCE)) == list(range(target + 1, 100))


def test_a_loop_over_messages_goes_on_where_its_body_sought(
    consume: Callable[..., Any], client: redis.Redis
) -> None:
    ids = send(client, "s", *range(20))
    consumer = consume("s", auto_stream_reset="earliest", batch_size=10)
    got: list[int] = []
    for message in consumer:
        got += numbers([message])
        if got == [0, 1, 2]:
            consumer.seek(ids[16])
        if got[-1] == 19:
            break
    assert got == [0, 1, 2, 17, 18, 19]


@pytest.mark.parametrize("move", ["seek", "rewind"])
def test_moving_on_an_idle_stream_answers_at_once(
    consume: Callable[..., Any], client: redis.Redis, move: str
) -> None:
    send(client, "s", 1)
    consumer = consume("s")
    assert eventually(lambda: client.info("clients")["blocked_clients"] == 1)
    started = time.monotonic()
    for _ in range(5):
        consumer.seek("earliest") if move == "seek" else consumer.rewind("beginning")
        assert numbers([consumer.next(PATIENCE)]) == [1]
        with pytest.raises(TimeoutError):
            consumer.next(0.01)
    assert time.monotonic() - started < 2


# Rewind


def test_a_message_sent_right_after_rewinding_to_the_end_is_received(
    consume: Callable[..., Any], client: redis.Redis
) -> None:
    consumer = consume("s", "absent", auto_stream_reset="earliest")
    for turn in range(20):
        send(client, "s", "old", "older")
        consumer.rewind("end")
        send(client, "s", turn)
        send(client, "absent", turn)
        assert numbers(consumer.take(2, PATIENCE)) == [turn, turn]


@pytest.mark.parametrize("as_type", [int, np.uint64])
def test_rewind_to_a_sequence_gives_the_message_after_it(
    consume: Callable[..., Any], client: redis.Redis, as_type: Callable[[int], Any]
) -> None:
    send(client, "s", *range(5))
    consumer = consume("s", auto_stream_reset="earliest")
    third = consumer.take(3, PATIENCE)[2]
    consumer.take(2, PATIENCE)
    consumer.rewind(as_type(third.sequence))
    assert numbers(consumer.take(2, PATIENCE)) == [3, 4]


def test_rewind_takes_the_wide_sequence_of_a_nanosecond_stream(
    url: str, client: redis.Redis
) -> None:
    now = 1_700_000_000_123_456_789
    for n in range(3):
        client.xadd("s", {b"msg": str(n).encode()}, id=f"{now + n}-0")
    with (
        ss.connect(url, timestamp_format="ns") as streamer,
        streamer.consumer("s", auto_stream_reset="earliest") as consumer,
    ):
        first = consumer.next(PATIENCE)
        assert first.timestamp_ns == now
        for move in (
            lambda: consumer.rewind(first.sequence or 0),
            lambda: consumer.seek(first.timestamp_ns),
        ):
            move()
            assert numbers(consumer.take(2, PATIENCE)) == [1, 2]


@pytest.mark.parametrize("to", ["start", -1, 2**80, 1.5, None])
def test_what_is_no_place_is_refused_and_the_consumer_stays(
    consume: Callable[..., Any], client: redis.Redis, to: Any
) -> None:
    send(client, "s", 0, 1)
    consumer = consume("s", auto_stream_reset="earliest")
    consumer.next(PATIENCE)
    with pytest.raises(ss.ConfigError, match="rewind"):
        consumer.rewind(to)
    assert numbers([consumer.next(PATIENCE)]) == [1]


# Assign, unassign


def test_an_assigned_shard_is_read_from_the_next_rewind_on(
    consume: Callable[..., Any], client: redis.Redis
) -> None:
    send(client, "s:1", "one")
    consumer = consume("s", auto_stream_reset="earliest")
    assert payloads(consumer.take(1, PATIENCE)) == [b"one"]
    for shard in (3, 2**64 - 1):
        send(client, f"s:{shard}", shard)
        consumer.assign("s", shard)
    consumer.assign(b"s", 1)
    assert consumer.stream_shards == [("s", 0), ("s", 1), ("s", 3), ("s", 2**64 - 1)]
    assert consumer.take(1, 0.05) == []
    consumer.rewind("beginning")
    got = {(message.shard, message.text()) for message in consumer.take(3, PATIENCE)}
    assert got == {(1, "one"), (3, "3"), (2**64 - 1, str(2**64 - 1))}


def test_an_unassigned_shard_is_read_until_the_next_seek(
    consume: Callable[..., Any], client: redis.Redis
) -> None:
    send(client, "s:1", "history")
    send(client, "s:2", "history")
    consumer = consume("s")
    consumer.unassign("s", 1)
    send(client, "s:1", "still")
    assert consumer.next(PATIENCE).text() == "still"
    consumer.seek("latest")
    send(client, "s:1", "not any more")
    send(client, "s:2", "other")
    assert consumer.next(PATIENCE).text() == "other"
    assert consumer.stream_shards == [("s", 0), ("s", 2)]


def test_shard_zero_is_the_plain_key_and_the_key_with_the_number(
    consume: Callable[..., Any], client: redis.Redis
) -> None:
    send(client, "s", "plain")
    send(client, "s:0", "numbered")
    consumer = consume("s", auto_stream_reset="earliest")
    assert sorted(payloads(consumer.take(2, PATIENCE))) == [b"numbered", b"plain"]
    consumer.unassign("s", 0)
    assert consumer.stream_shards == []
    consumer.assign("s", 0)
    consumer.rewind("beginning")
    assert sorted(payloads(consumer.take(2, PATIENCE))) == [b"numbered", b"plain"]


def test_without_any_shard_next_times_out_until_one_is_assigned(
    consume: Callable[..., Any], client: redis.Redis
) -> None:
    send(client, "s", 1)
    consumer = consume("s", auto_stream_reset="earliest")
    consumer.unassign("s", 0)
    consumer.rewind("beginning")
    assert consumer.stream_shards == []
    with pytest.raises(TimeoutError):
        consumer.next(0.02)
    consumer.rewind("end")
    consumer.assign("s", 0)
    consumer.seek("earliest")
    assert numbers([consumer.next(PATIENCE)]) == [1]


def test_only_shards_of_the_consumers_own_streams_can_be_assigned(url: str) -> None:
    with ss.connect(url) as streamer:
        consumer = streamer.consumer("s", "a:7")
        for key, shard in [("t", 0), ("t", 1), ("a:7", 1), ("s", -1), ("s", 2**64), ("s", True)]:
            with pytest.raises(ss.ConfigError, match=repr(key)):
                consumer.assign(key, shard)
        for key, shard in [("t", 0), ("s", 1), ("a:7", 1)]:
            with pytest.raises(ss.ConfigError, match=repr(key)):
                consumer.unassign(key, shard)
        assert consumer.stream_shards == [("a:7", 0), ("s", 0)]
    with ss.connect(url, shards="off") as streamer:
        consumer = streamer.consumer("s")
        with pytest.raises(ss.ConfigError, match="no shard 1"):
            consumer.assign("s", 1)


# Several at once


async def test_a_seek_that_is_cancelled_leaves_the_consumer_where_it_was(
    url: str, client: redis.Redis
) -> None:
    send(client, "s", *range(30))
    async with (
        ss.connect_async(url) as streamer,
        await streamer.consumer("s", auto_stream_reset="earliest", batch_size=10) as consumer,
    ):
        assert numbers(await consumer.take(5, PATIENCE)) == list(range(5))
        client.execute_command("CLIENT", "PAUSE", 300)
        seek = asyncio.create_task(consumer.seek("latest"))
        await asyncio.sleep(0)
        seek.cancel()
        with pytest.raises(asyncio.CancelledError):
            await seek
        assert numbers(await consumer.take(25, PATIENCE)) == list(range(5, 30))


async def test_seeks_at_the_same_time_leave_one_of_their_places(
    url: str, client: redis.Redis
) -> None:
    ids = send(client, "s", *range(100))
    async with (
        ss.connect_async(url) as streamer,
        await streamer.consumer("s", batch_size=7) as consumer,
    ):
        await asyncio.gather(*(consumer.seek(ids[at]) for at in range(0, 90, 10)))
        first = await consumer.next(PATIENCE)
        begin = int(first.payload)
        assert begin % 10 == 1
        rest = await consumer.take(99 - begin, PATIENCE)
        assert numbers(rest) == list(range(begin + 1, 100))


async def test_an_end_during_a_seek_is_the_end(url: str, client: redis.Redis) -> None:
    async with ss.connect_async(url) as streamer:
        consumer = await streamer.consumer("s")
        client.execute_command("CLIENT", "PAUSE", 200)
        seek = asyncio.create_task(consumer.seek("latest"))
        await asyncio.sleep(0)
        await consumer.end()
        with pytest.raises(ss.ConsumerClosed):
            await seek
        with pytest.raises(ss.ConsumerClosed):
            await consumer.next()


async def test_a_next_that_waits_gets_what_a_seek_finds(url: str, client: redis.Redis) -> None:
    send(client, "s", *range(3))
    async with ss.connect_async(url) as streamer, await streamer.consumer("s") as consumer:
        waiting = asyncio.create_task(consumer.take(3, PATIENCE))
        await asyncio.sleep(0)
        await consumer.seek("earliest")
        assert numbers(await waiting) == [0, 1, 2]


# What the server allows


def test_seek_needs_no_right_to_commands_about_clients(url: str, client: redis.Redis) -> None:
    client.execute_command("ACL", "SETUSER", "reader", "on", ">x", "~*", "+@all", "-client")
    send(client, "s", 1)
    try:
        with (
            ss.connect(url, username="reader", password="x") as streamer,
            streamer.consumer("s") as consumer,
        ):
            assert eventually(lambda: client.info("clients")["blocked_clients"] == 1)
            started = time.monotonic()
            consumer.seek("earliest")
            assert numbers([consumer.next(PATIENCE)]) == [1]
            assert time.monotonic() - started < 2
    finally:
        client.execute_command("ACL", "DELUSER", "reader")


def test_many_seeks_leave_one_connection_reading(url: str, client: redis.Redis) -> None:
    with ss.connect(url) as streamer, streamer.consumer("s") as consumer:
        for _ in range(50):
            consumer.seek("earliest")
        assert eventually(lambda: client.info("clients")["blocked_clients"] == 1)
        assert eventually(lambda: client.info("clients")["connected_clients"] <= 4)
