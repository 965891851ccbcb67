"""Live messages: from XADD in another process to the receiver's loop."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice

from tests.benchmarks.harness import Measure, duration
from tests.benchmarks.place import FIELD, Place

KEY = "live"
MESSAGES = 1_000


@duration(at_most=2.0, unit="s (p99)")
def live_latency(place: Place) -> Iterator[tuple[Measure, Measure]]:
    """A blocking consumer at the tail, against one blocking XREAD in a loop."""

    def ours() -> float:
        with place.streamer.consumer(KEY) as consumer, sender(place):
            return p99(message.payload for message in consumer)

    def plain() -> float:
        last = place.client.xadd(KEY, {"before": "all"})
        with sender(place):
            entries = place.wire.entries(KEY, last, 100)
            return p99(pairs[1] for _, pairs in entries)

    yield ours, plain


def p99(payloads: Iterable[bytes]) -> float:
    """Seconds between the time in each payload and now, that of the slowest but one in 100."""
    ages = [time.monotonic_ns() - int(payload) for payload in islice(payloads, MESSAGES)]
    return sorted(ages)[MESSAGES * 99 // 100] / 1e9


@contextmanager
def sender(place: Place) -> Iterator[None]:
    """A process that sends messages, each with the time when it was sent."""
    arguments = [str(place.port), KEY, FIELD, str(MESSAGES)]
    with subprocess.Popen([sys.executable, "-m", "tests.benchmarks.sender", *arguments]):
        yield
