"""Producers: messages queued one by one until all are acknowledged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

import seastream_nb as ss
from tests.benchmarks.harness import Measure, per_second, rate
from tests.benchmarks.place import FIELD, MESSAGES, Place, bytes_payloads
from tests.benchmarks.wire import pack

KEY = "sent"
IN_FLIGHT = 100
SHARDS = 8


@rate(at_least=0.6)
def send_and_flush(place: Place) -> Iterator[tuple[Measure, Measure]]:
    """`send` without awaiting, against packed XADDs whose replies are only counted."""
    half = IN_FLIGHT // 2
    commands = (pack("XADD", KEY, "*", FIELD, each) for each in bytes_payloads())
    chunks = [b"".join(islice(commands, half)) for _ in range(MESSAGES // half)]

    def packed() -> None:
        place.wire.add_all(chunks, half)

    with place.streamer.producer(KEY) as producer:
        yield emptied(place, sending(producer)), emptied(place, packed)


@rate(at_least=0.8)
def send_to_eight_shards(place: Place) -> Iterator[tuple[Measure, Measure]]:
    """Round-robin over eight shards, against one."""
    with (
        place.streamer.producer(KEY, sharder=ss.RoundRobinSharder(SHARDS)) as eight,
        place.streamer.producer(KEY, sharder=ss.RoundRobinSharder(1)) as one,
    ):
        yield emptied(place, sending(eight)), emptied(place, sending(one))


@rate(at_least=0.7)
def send_idempotent(place: Place) -> Iterator[tuple[Measure, Measure]]:
    """What `idempotent=True` costs, against without."""
    with (
        place.streamer.producer(KEY, idempotent=True) as once,
        place.streamer.producer(KEY) as plain,
    ):
        yield emptied(place, sending(once)), emptied(place, sending(plain))


def sending(producer: ss.Producer) -> Callable[[], None]:
    payloads = list(islice(bytes_payloads(), MESSAGES))

    def send_all() -> None:
        send = producer.send
        for payload in payloads:
            send(payload)
        producer.flush()

    return send_all


def emptied(place: Place, work: Callable[[], object]) -> Measure:
    """The rate of work that begins with empty streams."""
    measure = per_second(MESSAGES, work)

    def fresh() -> float:
        place.remove(f"{KEY}*")
        return measure()

    return fresh
