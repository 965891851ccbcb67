"""Small questions to a stream of a million messages, against the same to one of ten thousand."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from seastream_nb import Stream
from tests.benchmarks.harness import Measure, duration, seconds
from tests.benchmarks.place import FIRST_MS, Place, bytes_payloads

LONG, SHORT = 1_000_000, 10_000
REPEATS = 20


@duration(at_most=1.5)
def head_of_a_long_stream(place: Place) -> Iterator[tuple[Measure, Measure]]:
    """The first five messages."""

    def head(length: int) -> Measure:
        stream = stream_of(place, length)
        return repeated(lambda: stream.head(5))

    yield head(LONG), head(SHORT)


@duration(at_most=1.5)
def page_of_a_long_stream(place: Place) -> Iterator[tuple[Measure, Measure]]:
    """A thousand messages from the middle on."""

    def page(length: int) -> Measure:
        stream = stream_of(place, length).since(middle(length))
        return repeated(lambda: next(stream.pages(1_000)))

    yield page(LONG), page(SHORT)


@duration(at_most=1.5)
def seek_in_a_long_stream(place: Place) -> Iterator[tuple[Measure, Measure]]:
    """A consumer goes to the middle and has its next message."""

    def seek(length: int) -> Measure:
        consumer = place.streamer.consumer(key_of(place, length))
        return repeated(lambda: (consumer.seek(middle(length)), consumer.next()))

    yield seek(LONG), seek(SHORT)


def stream_of(place: Place, length: int) -> Stream:
    return place.streamer[key_of(place, length)]


def key_of(place: Place, length: int) -> str:
    return place.fill(f"stream-of-{length}", bytes_payloads(16), length)


def middle(length: int) -> str:
    return f"{FIRST_MS + length // 2}-0"


def repeated(work: Callable[[], object]) -> Measure:
    """Seconds that it takes once, when it is done over and over."""
    return lambda: seconds(lambda: [work() for _ in range(REPEATS)]) / REPEATS
