"""Replaying: the messages again, in time, steered while they come."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

import seastream_nb as ss
from seastream_nb import portal
from tests.servers import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis

FIRST_MS = 1_700_000_000_000


def fill(client: redis.Redis, key: str, stamps: list[int]) -> None:
    """Messages that say when they are, in milliseconds after the first."""
    with client.pipeline(transaction=False) as pipeline:
        for at in stamps:
            pipeline.xadd(key, {"msg": str(at)}, id=f"{FIRST_MS + at}-0")
        pipeline.execute()


def texts(messages: Any) -> list[int]:
    return [int(message.text()) for message in messages]


def at(ms: int) -> str:
    return f"{FIRST_MS + ms}"


def test_without_waiting_every_message_of_every_shard_comes_in_order(
    matrix_streamer: ss.Streamer, matrix_client: redis.Redis
) -> None:
    fill(matrix_client, "s:0", list(range(0, 60_000, 2)))
    fill(matrix_client, "s:1", list(range(1, 60_000, 2)))
    replay = matrix_streamer["s"].replay(speed=None)
    assert replay.position is None
    assert texts(replay) == list(range(60_000))
    assert replay.position is not None
    assert replay.position.id == f"{FIRST_MS + 59_999}-0"
    assert list(replay) == []


def test_messages_come_at_their_pace(streamer: ss.Streamer, client: redis.Redis) -> None:
    fill(client, "s", [0, 100, 200, 300, 10_000])
    began = time.monotonic()
    assert texts(streamer["s"].first(4).replay()) == [0, 100, 200, 300]
    assert 0.29 < time.monotonic() - began < 5
    began = time.monotonic()
    assert len(texts(streamer["s"].replay(speed=100))) == 5
    assert 0.09 < time.monotonic() - began < 5


def test_the_end_is_pinned(streamer: ss.Streamer, client: redis.Redis) -> None:
    fill(client, "s", [0, 1])
    replay = streamer["s"].replay(speed=None)
    assert int(next(replay).text()) == 0
    fill(client, "s", [2])
    replay.seek("earliest")
    assert texts(replay) == [0, 1]
    assert texts(streamer["s"].replay(speed=None)) == [0, 1, 2]


def test_builders_hold(streamer: ss.Streamer, client: redis.Redis) -> None:
    fill(client, "s", list(range(1_000)))
    stream = streamer["s"].since(at(10)).until(at(990)).contains("7").last(3)
    assert texts(stream.replay(speed=None)) == texts(stream)
    assert texts(streamer["nothing"].replay()) == []


def test_a_seek_goes_to_the_first_message_at_or_after(
    streamer: ss.Streamer, client: redis.Redis
) -> None:
    fill(client, "s:0", list(range(0, 40_000, 20)))
    fill(client, "s:1", list(range(10, 40_000, 20)))
    replay = streamer["s"].replay(speed=None)
    for when, expected in ((at(39_980), 39_980), (at(15), 20), ("earliest", 0), (at(20), 20)):
        replay.seek(when)
        assert int(next(replay).text()) == expected
    seen = next(replay)
    list(replay)
    replay.seek(seen)
    assert next(replay) == seen
    for end in ("latest", at(50_000)):
        replay.seek(end)
        assert list(replay) == []
    with pytest.raises(ss.errors.ConfigError):
        replay.seek("whenever")


def test_a_seek_stays_in_what_is_counted(streamer: ss.Streamer, client: redis.Redis) -> None:
    fill(client, "s", list(range(100)))
    for stream, expected in (
        (streamer["s"].first(10), [8, 9]),
        (streamer["s"].last(95), list(range(8, 100))),
        (streamer["s"].until(at(12)), [8, 9, 10, 11]),
    ):
        replay = stream.replay(speed=None)
        next(replay)
        replay.seek(at(8))
        assert texts(replay) == expected


def test_another_thread_steers(streamer: ss.Streamer, client: redis.Redis) -> None:
    fill(client, "s", [0, 10, 20, 600_000, 1_200_000, 1_200_001])
    replay = streamer["s"].replay()
    got: list[int] = []
    thread = threading.Thread(target=lambda: got.extend(int(each.text()) for each in replay))
    thread.start()
    eventually(lambda: got == [0, 10, 20])
    replay.seek(at(600_000))
    eventually(lambda: got[3:] == [600_000])
    replay.pause()
    assert replay.paused
    replay.speed = 1e9
    replay.seek(at(1_200_000))
    assert got[4:] == []
    replay.resume()
    thread.join(20)
    assert got == [0, 10, 20, 600_000, 1_200_000, 1_200_001]
    assert replay.speed == 1e9


def test_a_pause_holds_what_was_read_already(streamer: ss.Streamer, client: redis.Redis) -> None:
    fill(client, "s", list(range(1_000)))
    replay = streamer["s"].replay(speed=None)
    next(replay)
    replay.pause()
    timer = threading.Timer(0.2, replay.resume)
    timer.start()
    began = time.monotonic()
    assert texts(replay) == list(range(1, 1_000))
    assert time.monotonic() - began > 0.15
    timer.join()


def test_many_threads_may_steer_at_once(streamer: ss.Streamer, client: redis.Redis) -> None:
    fill(client, "s", list(range(5_000)))
    replay = streamer["s"].replay(speed=None)
    stop = threading.Event()

    def steer(number: int) -> None:
        for turn in range(10_000):
            if stop.is_set():
                return
            replay.pause()
            replay.seek(at(number * 500 + turn % 500))
            replay.speed = None if turn % 2 else 1e9
            replay.resume()

    threads = [threading.Thread(target=steer, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(300):
        next(replay, None)
    stop.set()
    for thread in threads:
        thread.join()
    replay.speed = None
    replay.seek("earliest")
    assert texts(replay) == list(range(5_000))


def test_an_interrupt_ends_the_wait_and_the_next_goes_on(
    streamer: ss.Streamer, client: redis.Redis, alarm: Callable[[float], None]
) -> None:
    fill(client, "s", [0, 600_000, 600_001])
    replay = streamer["s"].replay()
    assert int(next(replay).text()) == 0
    for _ in range(3):
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - it may come at once
            alarm(0.05)
            next(replay)
        assert time.monotonic() - began < 5
    replay.speed = None
    assert texts(replay) == [600_000, 600_001]


def test_interrupts_anywhere_lose_nothing(
    streamer: ss.Streamer, client: redis.Redis, alarm: Callable[[float], None]
) -> None:
    fill(client, "s", list(range(30_000)))
    replay = streamer["s"].replay(speed=1e6)
    got = [-1]

    def take(message: ss.Message | None) -> None:
        # What was interrupted on its way here is where the replay stands, or comes again.
        if message is not None and got[-1] < int(message.text()):
            got.append(int(message.text()))

    while got[-1] < 29_999:
        with suppress(KeyboardInterrupt):
            alarm(0.003)
            while (message := replay._core.pop()) or portal.run(replay._core.fill()):
                take(message)
            alarm(0)
        take(replay._core._taken)
    assert got == list(range(-1, 30_000))


def test_a_replay_that_is_left_gives_its_links_back(
    streamer: ss.Streamer, client: redis.Redis
) -> None:
    fill(client, "s", list(range(50_000)))
    for _ in range(20):
        next(streamer["s"].replay(speed=None))
        with streamer["s"].replay(speed=None) as replay:
            next(replay)
        assert list(replay) == []
    assert streamer["s"].count() == 50_000
    eventually(lambda: len(client.client_list()) < 12)


def test_an_error_is_raised_and_a_seek_goes_on(streamer: ss.Streamer, client: redis.Redis) -> None:
    client.xadd("s", {"msg": "no json"}, id="5-0")
    fill(client, "s", list(range(3)))
    replay = streamer["s"].json(errors="raise").select("id").replay(speed=None)
    for _ in range(2):
        with pytest.raises(ss.errors.DecodeError, match="5-0"):
            next(replay)
    client.set("text", "x")
    with pytest.raises(ss.errors.ServerError, match="WRONGTYPE"):
        next(streamer["text"].replay())
    raw = streamer["s"].replay(speed=None)
    assert next(raw).text() == "no json"
    raw.seek(at(1))
    assert texts(raw) == [1, 2]


def test_only_some_pages_are_read_ahead(streamer: ss.Streamer, client: redis.Redis) -> None:
    for number in range(120):
        client.xadd("s", {"msg": b"x" * 2**20}, id=f"{FIRST_MS + 3_600_000 * number}-0")
    sent = client.info("stats")["total_net_output_bytes"]
    replay = streamer["s"].replay()
    next(replay)
    time.sleep(0.5)
    assert client.info("stats")["total_net_output_bytes"] - sent < 80 * 2**20
    replay.speed = None
    assert sum(1 for _ in replay) == 119


@pytest.mark.parametrize("speed", [0, -1.0, "fast", True])
def test_a_speed_that_is_none_is_refused(streamer: ss.Streamer, speed: Any) -> None:
    with pytest.raises(ss.errors.ConfigError, match="speed="):
        streamer["s"].replay(speed=speed)
    replay = streamer["s"].replay()
    with pytest.raises(ss.errors.ConfigError, match="speed="):
        replay.speed = speed
    assert replay.speed == 1.0


def test_it_shows_how_it_stands(streamer: ss.Streamer, client: redis.Redis) -> None:
    fill(client, "s", [0])
    replay = streamer["s"].replay(speed=2)
    assert repr(replay) == "<Replay at speed 2>"
    next(replay)
    replay.pause()
    assert repr(replay) == f"<Replay at speed 2, at {FIRST_MS}-0, paused>"
    assert repr(streamer["s"].replay(speed=None)) == "<Replay without waiting>"


async def test_the_awaiting_facade_replays_the_same(url: str, client: redis.Redis) -> None:
    fill(client, "s", [0, 10, 600_000, 600_001])
    async with ss.connect_async(url) as streamer:
        replay = streamer["s"].replay()
        assert texts([await anext(replay), await anext(replay)]) == [0, 10]
        waiting = asyncio.create_task(anext(replay))
        await asyncio.sleep(0.05)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await replay.seek(at(600_000))
        assert texts([message async for message in replay]) == [600_000, 600_001]
        async with streamer["s"].replay(speed=None) as replay:
            assert texts([message async for message in replay]) == [0, 10, 600_000, 600_001]
