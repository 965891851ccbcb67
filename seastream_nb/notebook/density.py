"""How many messages of a range came when: what a browser draws, and its slider's steps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from seastream_nb.keys import EntryId
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
    first_ns, stop_ns = ends[0].ms * unit, (ends[1].ms + 1) * unit
    if first_ns < BEGIN_NS or stop_ns > END:
        return Density(
            why_not=f"ids such as {ends[0]} are no times here: turn pages, or go to an id"
        )
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
