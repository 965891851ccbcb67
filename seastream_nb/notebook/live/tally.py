"""How many messages there were lately: by their own time, for a chart, and as they came."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from seastream_nb.message import EPOCH
from seastream_nb.quantities import NS_PER_SECOND

# Bins of a chart: there are as many dots in its width.
BINS = 600
RECENT = 5.0  # seconds that the rate of now looks back


class Tally:
    """Counts in bins of time, for as long as `window_ns` reaches back from the newest.

    >>> tally = Tally(10 * NS_PER_SECOND)
    >>> tally.add(np.array([0, 1, 2, 2_500]) * 1_000_000)
    >>> [(f"{time:%S}", rate) for time, rate in tally.per_second()]
    [('00', 3.0), ('01', 0.0)]
    """

    def __init__(self, window_ns: int) -> None:
        self._bin_ns = max(NS_PER_SECOND, window_ns // BINS)
        self._most = max(2, window_ns // self._bin_ns)
        self._counts: dict[int, int] = {}

    def add(self, times_ns: np.ndarray[Any, Any]) -> None:
        """Count messages of these times."""
        bins, counts = np.unique(times_ns // self._bin_ns, return_counts=True)
        for at, count in zip(bins.tolist(), counts.tolist(), strict=True):
            self._counts[at] = self._counts.get(at, 0) + count
        oldest = max(self._counts, default=0) - self._most
        for at in [at for at in self._counts if at < oldest]:
            del self._counts[at]

    def per_second(self) -> list[tuple[datetime, float]]:
        """When each bin begins, in UTC, and its messages a second.

        The newest one is still being filled, and left out unless it is the only one.
        """
        counts = self._counts.copy()  # another thread may be adding
        if not counts:
            return []
        first, last = min(counts), max(counts)
        seconds = self._bin_ns / NS_PER_SECOND
        return [
            (EPOCH + timedelta(seconds=at * seconds), counts.get(at, 0) / seconds)
            for at in range(first, max(last, first + 1))
        ]


class Arrivals:
    """How many messages a second came in the last five seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._came: deque[tuple[float, int]] = deque()

    def add(self, count: int) -> None:
        """So many came just now."""
        now = self._clock()
        self._came.append((now, count))
        while self._came[0][0] < now - RECENT:
            self._came.popleft()

    def per_second(self) -> float:
        """The rate of now."""
        now = self._clock()
        recent = sum(count for at, count in self._came.copy() if at >= now - RECENT)
        return recent / min(RECENT, max(1.0, now - self._began))


def nanoseconds(times: pa.Array) -> np.ndarray[Any, Any]:
    """The times of a column since the epoch, without nulls."""
    scale = {"us": 1_000, "ns": 1}[times.type.unit]
    found: np.ndarray[Any, Any] = times.cast(pa.int64()).drop_null().to_numpy() * scale
    return found
