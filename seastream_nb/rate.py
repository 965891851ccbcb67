"""How many messages came when: bins aligned to the clock of a time zone, empty ones kept."""

from __future__ import annotations

from bisect import bisect_right
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from seastream_nb.backend import RangeSource
from seastream_nb.errors import ConfigError
from seastream_nb.frame import Shaper
from seastream_nb.keys import EntryId
from seastream_nb.page import Numbers
from seastream_nb.query import ShardRange
from seastream_nb.reading import Reading
from seastream_nb.times import check_tz

if TYPE_CHECKING:
    import pandas as pd

SECOND = 1_000_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR
# Where the calendar ends, less what a time zone and a bin may add.
END = (253_402_300_800 - 40 * 86_400) * SECOND
# Round lengths for a person: the smallest that gives at most about sixty bins is taken.
NICE = [
    *(n * SECOND // 1000 for n in (1, 2, 5, 10, 20, 50, 100, 200, 500)),
    *(n * SECOND for n in (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800)),
    *(n * HOUR for n in (1, 2, 3, 6, 12)),
    *(n * DAY for n in (1, 2, 7, 30)),
]
MAX_BINS = 1_000_000
PROBE_ENTRIES = 100
PROBE_BYTES = 256 * 1024


async def exact_rate(reading: Reading, shaper: Shaper, every_ns: int | None) -> pd.DataFrame:
    """Counts by reading every message of the range."""
    times: list[Numbers] = []
    async with aclosing(reading.shaped(shaper)) as parts:
        async for rows, _ in parts:
            times.append(rows.ms)
    reading.warn_if_gone()
    ms = np.concatenate(times) if times else np.array([], dtype=np.uint64)
    unit = shaper.unit_ns
    found = [(int(ms.min()) * unit, int(ms.max()) * unit)] if len(ms) else []
    counted = reading.query.first is not None or reading.query.last is not None
    # A file may hold times before those of its first entry.
    span = _span(reading, found if counted else found + _entries_span(reading, unit))
    edges = bin_edges(span, every_ns, reading.query.zone) if span else []
    ticks = np.array([max(0, -(-edge // unit)) for edge in edges], dtype=np.uint64)
    where = np.searchsorted(ticks, ms, side="right") - 1
    counts = np.bincount(where, minlength=max(0, len(edges) - 1))
    return _frame(edges, counts, np.zeros(len(counts), dtype=bool), reading.query.zone)


async def estimated_rate(
    source: RangeSource, reading: Reading, every_ns: int | None, now_ns: int
) -> pd.DataFrame:
    """Counts by probing each bin's beginning: exact where a probe reaches the bin's end."""
    query = reading.query
    if query.containing or query.condition is not None or query.first is not None or query.last:
        raise ConfigError("rate(exact=False) cannot see filters or counts: leave exact=True")
    unit = source.options.unit_ns
    span = _span(reading, _entries_span(reading, unit))
    edges = bin_edges(span, every_ns, query.zone) if span else []
    bins = max(0, len(edges) - 1)
    counts, guessed = np.zeros(bins), np.zeros(bins, dtype=bool)
    for shard in reading.plan.ranges:
        for number in range(bins):
            count, exact = await _probe(source, shard, reading, edges[number], edges[number + 1])
            counts[number] += count
            guessed[number] |= not exact
    reading.warn_if_never_a_message("of those probed" if guessed.any() else "in this range")
    return _frame(edges, np.rint(counts).astype(np.int64), guessed, query.zone)


async def _probe(
    source: RangeSource, shard: ShardRange, reading: Reading, start_ns: int, end_ns: int
) -> tuple[float, bool]:
    """How many messages of a shard lie in a bin, and whether that was counted."""
    unit = source.options.unit_ns
    first, stop = max(0, -(-start_ns // unit)), -(-end_ns // unit)
    if stop <= 0 or shard.extent.last is None:
        return 0, True
    piece = ShardRange(
        extent=shard.extent,
        start=max(shard.start, EntryId(first, 0)),
        end=min(shard.end, shard.extent.last, EntryId(stop, 0).previous()),
    )
    if piece.start > piece.end:
        return 0, True
    wanted = max(2, min(PROBE_ENTRIES, PROBE_BYTES // max(1, shard.extent.entry_bytes)))
    entries = messages = last_ms = 0
    async with aclosing(aiter(source.read(piece, limit=wanted))) as pages:
        async for page in pages:
            entries, last_ms = entries + len(page), int(page.ms[-1])
            messages += len(reading.rows_of(page))
            if entries >= wanted:
                break
    if entries < wanted:
        return messages, True
    # The first of the probed entries only marks where their span begins.
    seen = max(1, last_ms - piece.start.ms)
    return max(messages, messages * (piece.end.ms - piece.start.ms + 1) / seen), False


def _entries_span(reading: Reading, unit_ns: int) -> list[tuple[int, int]]:
    """The times of the first and the last entry in the range of each shard that has some."""
    ends = [
        (max(each.start, each.extent.first), min(each.end, each.extent.last))
        for each in reading.plan.ranges
        if each.extent.first is not None and each.extent.last is not None
    ]
    return [(first.ms * unit_ns, last.ms * unit_ns) for first, last in ends if first <= last]


def _span(reading: Reading, found: list[tuple[int, int]]) -> tuple[int, int] | None:
    """From the range's own bounds where it has them, else from the first to the last time found.

    What was found outside of the bounds, such as stamps after now, is in it too.
    """
    since, until = reading.plan.since_ns, reading.plan.until_ns
    begins = [first for first, _ in found] + ([] if since is None else [max(0, since)])
    stops = [last + 1 for _, last in found] + ([] if until is None else [until])
    if not begins or not stops or min(begins) >= max(stops):
        return None
    return min(begins), max(stops)


def bin_edges(span: tuple[int, int], every_ns: int | None, zone: str) -> list[int]:
    """Where bins begin, and where the last one ends, in nanoseconds since the epoch.

    Bins of up to an hour step evenly, so that an hour that occurs twice has two bins. Longer ones
    begin at the same clock times every day.

    >>> [edge // 10**9 for edge in bin_edges((61 * 10**9, 200 * 10**9), 60 * 10**9, "UTC")]
    [60, 120, 180, 240]
    """
    start, stop = span
    if stop > END:
        raise ConfigError("rate() reaches past the year 9999: end the range with until()")
    step = every_ns or next((nice for nice in NICE if nice * 61 >= stop - start), NICE[-1])
    if (stop - start) // step > MAX_BINS:
        raise ConfigError(f"rate(every=...) would have over {MAX_BINS:,} bins: choose longer ones")
    edges = _even_edges if step <= HOUR else _clock_edges
    return edges(start, stop, step, zone)


def _even_edges(start: int, stop: int, step: int, zone: str) -> list[int]:
    midnight = _midnight(start, zone)
    first = midnight + (start - midnight) // step * step
    return list(range(first, stop + step, step)) if first < stop else [first, first + step]


def _clock_edges(start: int, stop: int, step: int, zone: str) -> list[int]:
    tz = check_tz(zone)
    wall = datetime.fromtimestamp(_midnight(start, zone) / SECOND, tz).replace(tzinfo=None)
    if step >= DAY:
        # Longer than a day: counted from a fixed Monday, so that the same bins come again.
        days = max(1, step // DAY)
        wall -= timedelta(days=(wall - datetime(1970, 1, 5)).days % days)
    edges: list[int] = []
    while not edges or edges[-1] < stop:
        edge = int(wall.replace(tzinfo=tz).timestamp()) * SECOND
        if not edges or edge > edges[-1]:
            edges.append(edge)
        wall += timedelta(microseconds=step // 1000)
    return edges[max(0, bisect_right(edges, start) - 1) :]


def _midnight(ns: int, zone: str) -> int:
    local = datetime.fromtimestamp(ns // SECOND, UTC).astimezone(check_tz(zone))
    return int(local.replace(hour=0, minute=0, second=0, microsecond=0).timestamp()) * SECOND


def _times(edges: list[int], zone: str) -> pd.DatetimeIndex:
    import pandas as pd

    micros = np.array([edge // 1000 for edge in edges], dtype="datetime64[us]")
    return pd.DatetimeIndex(micros).tz_localize("UTC").tz_convert(zone)


def _frame(edges: list[int], counts: Numbers, guessed: Numbers, zone: str) -> pd.DataFrame:
    import pandas as pd

    widths = np.diff(np.array(edges, dtype=np.int64)) / SECOND
    return pd.DataFrame(
        {
            "timestamp": _times(edges[:-1], zone),
            "messages": counts.astype(np.int64),
            "per_second": counts / widths if len(counts) else np.array([], dtype=float),
            "estimated": guessed,
        }
    )
