"""Consumers, one message at a time from the beginning of a stream."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import seastream_nb as ss
from tests.benchmarks.harness import Measure, per_second, rate
from tests.benchmarks.place import MESSAGES, Place, bytes_payloads

COUNT = 100


@rate(at_least=0.7)
def consume_async(place: Place) -> Iterator[tuple[Measure, Measure]]:
    """`async for`, against hiredis on a blocking socket with one object a message."""
    key = place.fill("bytes", bytes_payloads())

    def plain() -> None:
        for entry_id, pairs in islice(place.wire.entries(key, "0", COUNT), MESSAGES):
            Plain(entry_id, pairs[1])

    yield per_second(MESSAGES, async_for(place, key)), per_second(MESSAGES, plain)


@rate(at_least=0.8)
def consume_blocking(place: Place) -> Iterator[tuple[Measure, Measure]]:
    """`for`, against `async for`."""
    key = place.fill("bytes", bytes_payloads())

    def plain_for() -> None:
        consumer = place.streamer.consumer(key, auto_stream_reset="earliest")
        for _ in islice(consumer, MESSAGES):
            pass
        consumer.end()

    yield per_second(MESSAGES, plain_for), per_second(MESSAGES, async_for(place, key))


class Plain:
    """The least that a message can be."""

    __slots__ = ("entry_id", "payload")

    def __init__(self, entry_id: bytes, payload: bytes) -> None:
        self.entry_id = entry_id
        self.payload = payload


def async_for(place: Place, key: str) -> Callable[[], None]:
    async def read() -> None:
        async with ss.connect_async(place.url) as streamer:
            consumer = await streamer.consumer(key, auto_stream_reset="earliest")
            left = MESSAGES
            async for _ in consumer:
                left -= 1
                if not left:
                    break

    return lambda: asyncio.run(read())


@rate(at_least=0.7)
def consume_group(place: Place) -> Iterator[tuple[Measure, Measure]]:
    """A resumable consumer with delayed commits, against hiredis in a loop that never acks."""
    key = place.fill("bytes", bytes_payloads())

    def plain() -> None:
        place.client.xgroup_create(key, "plain", id="0")
        for entry_id, pairs in islice(place.wire.group_entries(key, "plain", COUNT), MESSAGES):
            Plain(entry_id, pairs[1])
        place.client.xgroup_destroy(key, "plain")

    delayed = in_group(place, key, auto_commit="delayed", auto_commit_delay=0)
    yield delayed, per_second(MESSAGES, plain)


@rate(at_least=0.75)
def consume_with_acks(place: Place) -> Iterator[tuple[Measure, Measure]]:
    """A group read with `ack()` for each message and rolling commits, against one without acks."""
    key = place.fill("bytes", bytes_payloads())
    yield in_group(place, key, acks=True), in_group(place, key)


def in_group(place: Place, key: str, *, acks: bool = False, **options: Any) -> Measure:
    """The rate of a resumable consumer in a new group."""
    group = iter(range(1_000_000))
    options = {"mode": "resumable", "auto_commit": "rolling", **options}

    def read() -> float:
        name = f"{options['auto_commit']}{acks}{next(group)}"
        consumer = place.streamer.consumer(key, group=name, auto_stream_reset="earliest", **options)
        messages = islice(consumer, MESSAGES)
        rate = per_second(
            MESSAGES, lambda: deque(map(consumer.ack, messages) if acks else messages, 0)
        )()
        consumer.end()
        place.client.xgroup_destroy(key, name)
        return rate

    return read
