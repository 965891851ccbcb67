"""From when to when a stream reaches, and where in it the messages are: cheap, at any length."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from seastream_nb.errors import StreamError
from seastream_nb.message import utc_datetime
from seastream_nb.notebook.cells import time_text
from seastream_nb.notebook.display import Markup, duration_text
from seastream_nb.query import Pinned, Query
from seastream_nb.rate import estimated_rate, exact_rate
from seastream_nb.reading import Reading
from seastream_nb.stream import StreamCore
from seastream_nb.times import check_tz

COUNTED = 100_000  # of first(n) and last(n), what is read to know where they are
LEVELS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True, kw_only=True)
class Span:
    """The first and the last moment of a range, and how many messages came when.

    `counts` are of bins of `every_ns`, and empty where only reading all of it would tell;
    `guessed`: some of them were.
    """

    first_ns: int
    last_ns: int
    counts: tuple[int, ...] = ()
    every_ns: int = 0
    guessed: bool = False

    def rate_text(self) -> str:
        """The counts as a line of bars, and what they are counts of."""
        about = "about " * self.guessed
        most = f"{about}{max(self.counts):,} messages per {duration_text(self.every_ns)} at most"
        return f"{sparkline(self.counts)} {most}"


async def span_of(stream: StreamCore, pinned: Pinned) -> Span | None:
    """The span of a pinned range; None when there is nothing in it."""
    reading = Reading(stream.source, stream.query, pinned)
    reading.quiet = True  # playing says it
    ranges = reading.plan.ranges
    if not ranges:
        return None
    begins = [max(each.start, each.extent.first or each.start).ms for each in ranges]
    units = [each.origin.unit_ns for each in ranges]
    span = Span(
        first_ns=min(ms * unit for ms, unit in zip(begins, units, strict=True)),
        last_ns=max(each.end.ms * unit for each, unit in zip(ranges, units, strict=True)),
    )
    # What has no calendar, such as ids that are no times, has no rate either.
    with suppress(StreamError, OverflowError):
        return await _counted(stream, reading, pinned, span)
    return span


async def _counted(stream: StreamCore, reading: Reading, pinned: Pinned, span: Span) -> Span | None:
    query, unit = stream.query, stream.source.options.unit_ns
    if _filtered(query):
        return span
    number = query.first if query.first is not None else query.last
    if number is None:
        frame = await estimated_rate(stream.source, reading, None, pinned.now_ns)
    elif number <= COUNTED:
        frame = await exact_rate(reading, stream.shaper(), None)
        if reading.first_id is None or reading.last_id is None:
            return None
        span = Span(first_ns=reading.first_id.ms * unit, last_ns=reading.last_id.ms * unit)
    else:
        return span
    times = frame["timestamp"]
    if len(times) < 2:
        return span
    return Span(
        first_ns=span.first_ns,
        last_ns=span.last_ns,
        counts=tuple(map(int, frame["messages"])),
        every_ns=int((times.iloc[1] - times.iloc[0]).value),
        guessed=bool(frame["estimated"].any()),
    )


def _filtered(query: Query) -> bool:
    return bool(query.containing) or query.condition is not None


def clock(ns: int, zone: str) -> str:
    """A moment as a person in a time zone reads it; one that no calendar holds is a number.

    >>> clock(1_700_000_000_000_000_000, "Europe/Berlin")
    '2023-11-14 23:13:20.000'
    """
    time: datetime | None = utc_datetime(ns)
    return f"{ns:,} ns" if time is None else time_text(time.astimezone(check_tz(zone)))


def sparkline(counts: Sequence[int]) -> str:
    """Counts as a line of bars; only what is zero is empty.

    >>> sparkline([0, 1, 50, 100])
    ' ▁▄█'
    """
    return "".join(
        LEVELS[_level(count, max(counts), len(LEVELS)) - 1] if count else " " for count in counts
    )


def bars_html(counts: Sequence[int]) -> Markup:
    """Counts as bars side by side, as wide as there is room."""
    bar = '<div style="flex:1;height:{}px;background:currentColor;opacity:.5"></div>'
    bars = "".join(bar.format(_level(count, max(counts), 24)) for count in counts)
    return Markup(f'<div style="display:flex;align-items:flex-end;height:24px">{bars}</div>')


def _level(count: int, most: int, levels: int) -> int:
    """The height of a bar: 0 for nothing, at least 1 for anything."""
    return -(-count * levels // most) if count else 0
