"""What a live view has of the rows that came: the newest ones, and numbers about all of them."""

from __future__ import annotations

import time

import pyarrow as pa

from seastream_nb.notebook.live.ring import Held, Ring
from seastream_nb.notebook.live.tally import Arrivals, Tally, nanoseconds
from seastream_nb.notebook.live.wanted import Wanted
from seastream_nb.quantities import NS_PER_SECOND

TALLY_NS = 600 * NS_PER_SECOND
_TICK_NS = {"us": 1_000, "ns": 1}


class Kept:
    """The rows of one run, from its start or from a seek on. One thread adds, any may look.

    Attributes:
        tally: how many messages there were, by their own time.
        arrivals: how many came just now.
        last_id: the id of the newest row; None before the first.
        lag_ns: how old the newest message was when it came, by the server's clock.
    """

    def __init__(self, wanted: Wanted, now_ns: int) -> None:
        self.tally = Tally(wanted.rolling_ns or TALLY_NS)
        self.arrivals = Arrivals()
        self.last_id: str | None = None
        self.lag_ns: int | None = None
        self._ring = Ring(wanted.max_rows, wanted.max_bytes)
        self._rolling_ns = wanted.rolling_ns
        self._clock_ns = now_ns - time.monotonic_ns()

    @property
    def held(self) -> Held:
        """The rows that are kept, and how many there were."""
        return self._ring.held

    def add(self, batch: pa.RecordBatch) -> None:
        """Keep the rows of a batch, which is not empty."""
        self._ring.add(batch)
        self.arrivals.add(len(batch))
        self.last_id = batch["id"][-1].as_py()
        times = nanoseconds(batch["timestamp"])
        if not len(times):
            return
        self.tally.add(times)
        newest = int(times.max())
        self.lag_ns = max(0, time.monotonic_ns() + self._clock_ns - newest)
        if self._rolling_ns is not None:
            kind = batch["timestamp"].type
            oldest = (newest - self._rolling_ns) // _TICK_NS[kind.unit]
            self._ring.drop_before(pa.scalar(oldest, pa.int64()).cast(kind), "timestamp")
