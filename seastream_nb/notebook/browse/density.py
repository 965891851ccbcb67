"""How many messages of a range came when: what a browser draws, and its slider's steps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from seastream_nb.keys import EntryId
from seastream_nb.notebook.charts import bar_chart
from seastream_nb.query import Pinned, Query, plan
from seastream_nb.rate import DAY, END, NICE, bin_edges, estimated_rate
from seastream_nb.reading import Reading
from seastream_nb.stream import StreamCore

MAX_BINS = 60
MIN_BINS = 12
# Reads of all shards together.
PROBES = 600
# An id before this is a counter, or of another unit than the connection's `timestamp_format`.
BEGIN_NS = 365 * DAY


@dataclass(frozen=True)
class Density:
    """Messages in bins of time.

    Attributes:
        edges: where the bins begin, and where the last one ends; in the stream's time zone.
        edges_ns: the same in nanoseconds since the epoch.
        counts: how many messages there are in each bin; some of them are estimates.
        why_not: why there are no bins, or "".
    """

    edges: tuple[datetime, ...] = ()
    edges_ns: tuple[int, ...] = ()
    counts: tuple[int, ...] = ()
    why_not: str = ""

    def steps_around(self, since_ns: int | None, until_ns: int | None) -> tuple[int, int]:
        """The numbers of the edges around a part of the range; None is an end of it.

        >>> found = Density(edges_ns=(0, 10, 20, 30))
        >>> found.steps_around(12, 20), found.steps_around(None, None), found.steps_around(40, 50)
        ((1, 2), (0, 3), (2, 3))
        """
        edges = self.edges_ns
        begins = [at for at, ns in enumerate(edges[:-1]) if since_ns is not None and ns <= since_ns]
        ends = [at for at, ns in enumerate(edges) if until_ns is not None and ns >= until_ns]
        begin = max(begins, default=0)
        return begin, max(begin + 1, min(ends, default=len(edges) - 1))

    def png(self, steps: tuple[int, int]) -> bytes:
        """The picture, in which the part between two edges stands out."""
        chosen = (self.edges[steps[0]], self.edges[steps[1] - 1])
        return bar_chart(self.edges[:-1], self.counts, "messages", chosen=chosen)


async def density(stream: StreamCore, pinned: Pinned) -> Density:
    """The density of a range, at the same cost for any length; filters are not seen.

    Raises:
        ConnectError, ServerError, FileError: it cannot be read.
    """
    import pandas as pd

    query = replace(stream.query, containing=(), condition=None)
    ends = range_ends(query, pinned)
    unit = stream.source.options.unit_ns
    if ends is None:
        return Density(why_not="there are no messages yet")
    if not are_times([each.ms for each in ends], unit):
        return Density(
            why_not=f"ids such as {ends[0]} are no times here: turn pages, or go to an id"
        )
    first_ns, stop_ns = ends[0].ms * unit, (ends[1].ms + 1) * unit
    reading = Reading(stream.source, query, pinned)
    reading.plan = replace(reading.plan, since_ns=first_ns, until_ns=stop_ns)
    every = _bin_ns(stop_ns - first_ns, len(reading.plan.ranges))
    rate = await estimated_rate(stream.source, reading, every, pinned.now_ns)
    edges = bin_edges((first_ns, stop_ns), every, query.zone)
    end = pd.Timestamp(edges[-1], unit="ns", tz="UTC").tz_convert(query.zone)
    return Density(
        edges=tuple(each.to_pydatetime() for each in [*rate["timestamp"], end]),
        edges_ns=tuple(edges),
        counts=tuple(rate["messages"].tolist()),
    )


def are_times(ticks: list[int], unit_ns: int) -> bool:
    """Whether the first parts of ids tell a time.

    >>> are_times([1_700_000_000_000], 1_000_000), are_times([5, 1_700_000_000_000], 1_000_000)
    (True, False)
    """
    return min(ticks) * unit_ns >= BEGIN_NS and max(ticks) * unit_ns < END


def range_ends(query: Query, pinned: Pinned) -> tuple[EntryId, EntryId] | None:
    """Between which ids the entries of a range lie; None where there are none."""
    ranges = plan(query, pinned).ranges
    found = [
        (max(each.start, each.extent.first), min(each.end, each.extent.last))
        for each in ranges
        if each.extent.first is not None and each.extent.last is not None
    ]
    found = [(first, last) for first, last in found if first <= last]
    if not found:
        return None
    return min(first for first, _ in found), max(last for _, last in found)


def _bin_ns(span_ns: int, shards: int) -> int:
    """A round length of bins: few enough that probing many shards stays cheap."""
    bins = max(MIN_BINS, min(MAX_BINS, PROBES // max(1, shards)))
    longest = NICE[-1]
    return next(
        (nice for nice in NICE if nice * bins >= span_ns),
        longest * -(-span_ns // (bins * longest)),
    )
