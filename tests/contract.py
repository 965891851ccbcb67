"""What every backend must do: SeaStreamer's own conformance cases, as classes to inherit from.

A backend's test module binds them to itself by a fixture `place`:

    class TestRealtime(contract.RealtimeContract): ...

Each test's docstring starts with the name of its case in the reference's suite. Where a case of the
reference sleeps until its consumer has begun to read, nothing is waited for here: a consumer stands
where it stands before its creation returns.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import count, pairwise
from typing import Any

import pytest

import seastream_nb as ss
from tests.facades import FACADES, PATIENCE, Facade

Send = Callable[[str, str], ss.Receipt]

# Gives a reader time to read ahead. Nothing depends on it: it only makes the case a hard one.
BREATH = 0.02


class Place:
    """Where a backend keeps the streams of one test.

    Attributes:
        url: what to connect to.
        timestamp_formats: those in which this place can be written to.
    """

    def __init__(self, url: str, timestamp_formats: Iterable[str] = ("ms", "ns")) -> None:
        self.url = url
        self.timestamp_formats = tuple(timestamp_formats)
        self._numbers = count()

    def connect(self, facade: type[Facade], **options: Any) -> Facade:
        return facade(self.url, **options)

    def fresh_key(self, name: str = "case") -> str:
        """A stream that does not exist yet."""
        return f"{name}-{next(self._numbers)}"


def taken(consumer: Any, n: int) -> list[int]:
    """The next n payloads, one `next` each."""
    return [int(consumer.next(PATIENCE).payload) for _ in range(n)]


def taken_and_acked(consumer: Any, n: int) -> list[int]:
    """The same, each message acknowledged as soon as it came."""
    got = []
    for _ in range(n):
        message = consumer.next(PATIENCE)
        consumer.ack(message)
        got.append(int(message.payload))
    return got


def texts(consumer: Any, n: int) -> set[str]:
    return {consumer.next(PATIENCE).text() for _ in range(n)}


def sent(producer: Any, values: Iterable[int]) -> list[ss.Receipt]:
    """Send numbers, each receipt waited for before the next is sent."""
    return [producer.send(str(value)).result(PATIENCE) for value in values]


def queued(producer: Any, values: Iterable[int]) -> None:
    """Send numbers, no receipt waited for; when this returns they are in the stream."""
    for value in values:
        producer.send(str(value))
    producer.flush()


def increase_strictly(receipts: list[ss.Receipt]) -> bool:
    sequences = [0, *(receipt.sequence or 0 for receipt in receipts)]
    return all(one < other for one, other in pairwise(sequences))


class Contract:
    """What the classes below share; a backend's module has the fixture `place`."""

    @pytest.fixture(params=FACADES, ids=lambda facade: facade.__name__.removesuffix("Facade"))
    def facade(self, request: pytest.FixtureRequest) -> type[Facade]:
        chosen: type[Facade] = request.param
        return chosen

    @pytest.fixture
    def options(self) -> dict[str, Any]:
        """How to connect."""
        return {}

    @pytest.fixture
    def streamer(
        self, facade: type[Facade], place: Place, options: dict[str, Any]
    ) -> Iterator[Facade]:
        connected = place.connect(facade, **options)
        yield connected
        connected.close()

    @pytest.fixture
    def send(self, streamer: Facade) -> Send:
        """Sends a text to a stream and waits for its receipt."""
        producer = streamer.producer()
        return lambda key, text: producer.send_to(key, text).result(PATIENCE)


class InBothFormats(Contract):
    """The same in each timestamp format that the place can be written in."""

    @pytest.fixture(params=["ms", "ns"])
    def options(self, request: pytest.FixtureRequest, place: Place) -> dict[str, Any]:
        if request.param not in place.timestamp_formats:
            pytest.skip(f"this server cannot store {request.param} timestamps")
        return {"timestamp_format": request.param}


class RealtimeContract(InBothFormats):
    """Several streams and several consumers in realtime mode."""

    def test_a_busy_stream_does_not_starve_a_quiet_one(
        self, streamer: Facade, place: Place, send: Send
    ) -> None:
        """RM-1."""
        fast, slow = place.fresh_key("fast"), place.fresh_key("slow")
        consumer = streamer.consumer(fast, slow)
        send(fast, "f0")
        time.sleep(BREATH)
        send(slow, "s0")
        assert texts(consumer, 1) == {"f0"}
        send(fast, "f1")
        assert texts(consumer, 2) == {"s0", "f1"}

    def test_several_quiet_streams_are_not_starved(
        self, streamer: Facade, place: Place, send: Send
    ) -> None:
        """RM-2."""
        fast, *quiet = (place.fresh_key(name) for name in ("fast", "q0", "q1", "q2"))
        consumer = streamer.consumer(fast, *quiet)
        send(fast, "f0")
        time.sleep(BREATH)
        for number, key in enumerate(quiet):
            send(key, f"q{number}")
        assert texts(consumer, 1) == {"f0"}
        send(fast, "f1")
        assert texts(consumer, 4) == {"q0", "q1", "q2", "f1"}

    def test_latest_skips_history(self, streamer: Facade, place: Place, send: Send) -> None:
        """RM-3."""
        keys = [place.fresh_key("a"), place.fresh_key("b")]
        for key in keys:
            for _ in range(3):
                send(key, "old")
        consumer = streamer.consumer(*keys)
        for key in keys:
            send(key, f"new {key}")
        assert texts(consumer, 2) == {f"new {key}" for key in keys}

    def test_a_quiet_stream_with_history_is_neither_replayed_nor_lost(
        self, streamer: Facade, place: Place, send: Send
    ) -> None:
        """RM-4."""
        fast, quiet = place.fresh_key("fast"), place.fresh_key("quiet")
        for _ in range(3):
            send(quiet, "old")
        consumer = streamer.consumer(fast, quiet)
        send(fast, "f0")
        time.sleep(BREATH)
        send(quiet, "new")
        assert texts(consumer, 1) == {"f0"}
        send(fast, "f1")
        assert texts(consumer, 2) == {"new", "f1"}

    def test_the_very_first_message_of_an_absent_stream_is_received(
        self, streamer: Facade, place: Place, send: Send
    ) -> None:
        """RM-5."""
        a, b = place.fresh_key("a"), place.fresh_key("b")
        consumer = streamer.consumer(a, b)
        for key, text in ((a, "a0"), (b, "b0"), (a, "a1"), (b, "b1")):
            send(key, text)
        assert texts(consumer, 4) == {"a0", "b0", "a1", "b1"}

    def test_a_quiet_stream_keeps_up_over_several_rounds(
        self, streamer: Facade, place: Place, send: Send
    ) -> None:
        """RM-6."""
        fast, slow = place.fresh_key("fast"), place.fresh_key("slow")
        consumer = streamer.consumer(fast, slow)
        for turn in range(5):
            send(fast, f"f{turn}")
            time.sleep(BREATH)
            send(slow, f"s{turn}")
            assert texts(consumer, 2) == {f"f{turn}", f"s{turn}"}

    def test_earliest_includes_history(self, streamer: Facade, place: Place, send: Send) -> None:
        """RM-7."""
        fast, quiet = place.fresh_key("fast"), place.fresh_key("quiet")
        send(quiet, "q-old")
        consumer = streamer.consumer(fast, quiet, auto_stream_reset="earliest")
        send(fast, "f0")
        time.sleep(BREATH)
        send(quiet, "q-new")
        assert texts(consumer, 3) == {"q-old", "f0", "q-new"}

    def test_two_consumers_each_get_every_message(
        self, streamer: Facade, place: Place, send: Send
    ) -> None:
        """RT-1, without the cluster flag."""
        a, b = place.fresh_key("a"), place.fresh_key("b")
        receipts = [send(a, str(n)) for n in range(5)]
        assert {(receipt.stream, receipt.shard) for receipt in receipts} == {(a, 0)}
        assert increase_strictly(receipts)
        half = streamer.consumer(a)
        producer = streamer.producer()
        for n in range(5, 10):
            producer.send_to(a, str(n))
        producer.flush()
        full = streamer.consumer(a, b, auto_stream_reset="earliest")
        assert taken(half, 5) == [5, 6, 7, 8, 9]
        assert taken(full, 10) == list(range(10))
        for n in range(10, 13):
            producer.send_to(a, str(n))
        producer.flush()
        half.end()
        assert taken(full, 2) == [10, 11]
        for key, n in [(a, 13), (a, 14), *((b, n) for n in range(15, 20))]:
            producer.send_to(key, str(n))
        producer.end()
        assert taken(full, 3) == [12, 13, 14]
        assert taken(full, 5) == [15, 16, 17, 18, 19]


class SeekContract(InBothFormats):
    """Moving within a stream."""

    @pytest.mark.parametrize("batch", [1, 5, 25])
    @pytest.mark.parametrize("mode", ["realtime", "resumable"])
    def test_rewinding_and_seeking_within_a_stream(
        self, streamer: Facade, place: Place, mode: str, batch: int
    ) -> None:
        """SR-1."""
        key = place.fresh_key()
        producer = streamer.producer(key)
        queued(producer, range(29))
        mark = sent(producer, [29])[0]
        time.sleep(0.002)  # the next message is of another millisecond
        queued(producer, range(30, 100))
        how = {"auto_stream_reset": "earliest", "auto_commit": "disabled", "batch_size": batch}
        consumer = streamer.consumer(key, mode=mode, **how)
        assert taken(consumer, 10) == list(range(10))
        consumer.rewind("beginning")
        assert taken(consumer, 10) == list(range(10))
        consumer.rewind(mark.sequence)
        assert taken(consumer, 10) == list(range(30, 40))
        consumer.seek(mark.timestamp_ns)
        assert taken(consumer, 10) == list(range(30, 40))
        consumer.rewind("end")
        streamer.give_up(consumer, 0.005)
        queued(producer, range(100, 110))
        assert taken(consumer, 5) == list(range(100, 105))
        assert taken(consumer, 5) == list(range(105, 110))
        consumer.end()


class ShardingContract(Contract):
    """A stream of three shards."""

    @pytest.mark.parametrize("mode", ["realtime", "resumable"])
    def test_a_consumer_of_a_sharded_stream_gets_every_shard(
        self, streamer: Facade, place: Place, mode: str
    ) -> None:
        """SH-1."""
        key = place.fresh_key()
        producer = streamer.producer(key, sharder=ss.RoundRobinSharder(3))
        receipts = []
        for n in range(10):
            receipts += sent(producer, [n])
            time.sleep(0.0011)  # between shards, sequences increase by their time only
        assert [(each.stream, each.shard) for each in receipts] == [(key, n % 3) for n in range(10)]
        assert increase_strictly(receipts)
        consumer = streamer.consumer(key, mode=mode, auto_stream_reset="earliest")
        assert sorted(taken(consumer, 10)) == list(range(10))
        queued(producer, range(10, 20))
        assert sorted(taken(consumer, 10)) == list(range(10, 20))
        producer.end()
        consumer.end()
