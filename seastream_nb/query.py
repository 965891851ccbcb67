"""The question behind a `Stream`: which entries, decoded how. Immutable, and no I/O.

Builders return a new query. Times stay as they were said until a terminal pins them, because
"ten minutes ago" needs the server's clock. What was said first counts first: after `first(n)` or
`last(n)` nothing may narrow the range or filter, or the count would mean something else.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pyarrow.compute as pc

from seastream_nb.checks import message_count, shard_number
from seastream_nb.errors import ConfigError
from seastream_nb.keys import FIRST_ID, LAST_ID, EntryId, key_bytes
from seastream_nb.message import Origin
from seastream_nb.payload import Decode
from seastream_nb.quantities import parse_duration, whole
from seastream_nb.times import (
    Edge,
    Fixed,
    Instant,
    Moment,
    Position,
    bound,
    parse_when,
    resolve,
    zone_name,
)

RAW = Decode()


@dataclass(frozen=True, kw_only=True)
class Contains:
    """A filter on raw bytes; `field` None means the message field, or any field with `fields()`."""

    needle: bytes
    field: bytes | None = None


@dataclass(frozen=True, kw_only=True)
class Extent:
    """What one shard held when it was looked at; `end` is the last id it ever gave out.

    `added` counts all entries there ever were; None where the server does not (before 7.0).
    """

    origin: Origin
    length: int = 0
    first: EntryId | None = None
    last: EntryId | None = None
    end: EntryId | None = None
    entry_bytes: int = 0
    groups: int = 0
    added: int | None = None


@dataclass(frozen=True, kw_only=True)
class Pinned:
    """The shards of a query and their ends at one moment of the server's clock."""

    extents: tuple[Extent, ...]
    now_ns: int


@dataclass(frozen=True, kw_only=True)
class ShardRange:
    """The ids to read of one shard, both bounds inclusive."""

    extent: Extent
    start: EntryId
    end: EntryId

    @property
    def origin(self) -> Origin:
        """Where the entries live."""
        return self.extent.origin


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to read: finite, and the same at every reading.

    `clamped`: the range was to end in the future and ends at the last entry instead.
    `since_ns`, `until_ns`: its bounds in time, where it has such.
    """

    ranges: tuple[ShardRange, ...]
    clamped: bool
    since_ns: int | None
    until_ns: int | None


@dataclass(frozen=True, kw_only=True)
class Query:
    """Keys, bounds, filters, decoding and columns of one read."""

    keys: tuple[bytes, ...]
    lower: tuple[Moment, ...] = ()
    upper: tuple[Moment, ...] = ()
    window_ns: tuple[int, ...] = ()
    first: int | None = None
    last: int | None = None
    shards: frozenset[int] | None = None
    zone: str = "UTC"
    decode: Decode = RAW
    containing: tuple[Contains, ...] = ()
    condition: pc.Expression | None = None
    columns: tuple[str, ...] | None = None
    pinned: Pinned | None = None

    def since(self, when: Any) -> Query:
        """Entries stamped `when` or later."""
        return self._narrowed(lower=(*self.lower, parse_when(when, tz=self.zone)))

    def until(self, when: Any) -> Query:
        """Entries stamped before `when`."""
        return self._narrowed(upper=(*self.upper, parse_when(when, tz=self.zone)))

    def between(self, window: slice) -> Query:
        """`since(window.start).until(window.stop)`; either may be left out."""
        if window.step is not None:
            raise ConfigError("a slice of a stream has no step: write stream[since:until]")
        query = self
        if window.start is not None:
            query = query.since(window.start)
        return query if window.stop is None else query.until(window.stop)

    def within(self, duration: Any) -> Query:
        """Entries of a window that ends now."""
        return self._narrowed(window_ns=(*self.window_ns, parse_duration(duration)))

    def head(self, count: int, *, method: str = "first") -> Query:
        """The first `count` messages; `method` is the one that was called."""
        return self._counted("first", message_count(f"{method}({count!r})", count))

    def tail(self, count: int | float | str | timedelta, *, method: str = "last") -> Query:
        """The last `count` messages, or with a duration a window ending now."""
        if whole(count) is None:
            return self.within(count)
        return self._counted("last", message_count(f"{method}({count!r})", count))

    def sampled(self, count: int) -> Query:
        """The same question, when `count` messages will be enough of an answer."""
        return replace(self, first=min(count, self.first if self.first is not None else count))

    def shard(self, *shards: int) -> Query:
        """Entries of these shards only."""
        if not shards:
            raise ConfigError("shard() needs at least one number")
        chosen = frozenset(map(shard_number, shards))
        return self._narrowed(shards=chosen if self.shards is None else self.shards & chosen)

    def tz(self, zone: Any) -> Query:
        """Naive times given after this are read in `zone`; `timestamp` is shown in it."""
        return replace(self, zone=zone_name(zone))

    def decoded(self, decode: Decode) -> Query:
        """Payloads become columns this way."""
        return replace(self, decode=decode)

    def contains(self, needle: str | bytes, field: str | bytes | None) -> Query:
        """Entries whose raw bytes hold `needle`."""
        if not needle or not isinstance(needle, str | bytes):
            raise ConfigError(f"contains({needle!r}): give text or bytes to look for")
        if field is not None and not isinstance(field, str | bytes):
            raise ConfigError(f"field={field!r}: give the name of one field")
        name = None if field is None else key_bytes(field)
        wanted = Contains(needle=key_bytes(needle), field=name)
        return self._narrowed(containing=(*self.containing, wanted))

    def where(self, expression: Any) -> Query:
        """Rows for which a `pyarrow.compute` expression holds, after decoding."""
        if not isinstance(expression, pc.Expression):
            raise ConfigError(
                f"where({expression!r}): give a pyarrow.compute expression, "
                "as in pc.field('price') > 100"
            )
        both = expression if self.condition is None else self.condition & expression
        return self._narrowed(condition=both)

    def select(self, *columns: str) -> Query:
        """These columns, in this order."""
        if not columns or any(not isinstance(column, str) for column in columns):
            raise ConfigError(f"select{columns!r}: give the names of columns")
        if len(set(columns)) < len(columns):
            raise ConfigError(f"select{columns!r} names a column twice")
        return replace(self, columns=columns)

    def going_on(self, now_ns: int) -> Query:
        """The same question without the end of its windows, which is now."""
        begins = (Fixed(Instant(now_ns - window)) for window in self.window_ns)
        return replace(self, lower=(*self.lower, *begins), window_ns=())

    def recent(self, count: int) -> Query:
        """About the last `count` messages, whatever the range."""
        return replace(self, lower=(), upper=(), window_ns=(), first=None, last=count)

    def pin(self, pinned: Pinned) -> Query:
        """The same question about a fixed range."""
        return replace(self, pinned=pinned)

    def _narrowed(self, **changes: Any) -> Query:
        if self.first is not None or self.last is not None:
            raise ConfigError(
                f"{self._count_text()} is counted after everything else: "
                "give ranges and filters before it"
            )
        return replace(self, **changes)

    def _counted(self, which: str, count: int) -> Query:
        if self.first is not None or self.last is not None:
            raise ConfigError(f"{self._count_text()} is set already")
        return replace(self, first=count) if which == "first" else replace(self, last=count)

    def _count_text(self) -> str:
        return f"first({self.first})" if self.first is not None else f"last({self.last})"


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """The ends of a range, once "now" is known: all of `lower` and all of `upper` hold."""

    lower: tuple[Position, ...] = ()
    upper: tuple[Position, ...] = ()

    @classmethod
    def of(cls, query: Query, now_ns: int) -> Bounds:
        """What a query's bounds and windows mean at this moment."""
        lower = [resolve(moment, now_ns) for moment in query.lower]
        return cls(
            lower=(*lower, *(Instant(now_ns - window) for window in query.window_ns)),
            upper=tuple(resolve(moment, now_ns) for moment in query.upper),
        )

    def start(self, extent: Extent) -> EntryId:
        """The smallest id of a shard that may be in the range."""
        return max((lower_bound(position, extent) for position in self.lower), default=FIRST_ID)

    def stop(self, unit_ns: int) -> EntryId | None:
        """The smallest id that is past the range; None when it has no end."""
        return min((bound(position, unit_ns=unit_ns) for position in self.upper), default=None)

    def until_ns(self, unit_ns: int) -> int | None:
        """From when on the server's clock is past the range; None for never."""
        if any(isinstance(each, Edge) for each in self.upper):
            return 0  # the end is there already: of all there is, or of nothing
        stop = self.stop(unit_ns)
        return None if stop is None else (stop.ms + (stop.sub > 0)) * unit_ns


def plan(query: Query, pinned: Pinned) -> Plan:
    """The ids to read of each shard.

    Raises:
        ConfigError: the range begins after it ends.
    """
    now = pinned.now_ns
    bounds = Bounds.of(query, now)
    clamped = any(isinstance(position, Instant) and position.ns > now for position in bounds.upper)
    if query.window_ns:
        bounds = replace(bounds, upper=(*bounds.upper, Instant(now)))
    ranges = []
    for extent in pinned.extents:
        if query.shards is not None and extent.origin.shard not in query.shards:
            continue
        start = bounds.start(extent)
        stop = bounds.stop(extent.origin.unit_ns)
        if stop is not None and Edge.LATEST not in bounds.lower and start > stop:
            raise ConfigError(
                f"the range of {extent.origin.stream!r} begins at id {start}, after its end {stop}"
            )
        if extent.end is None or start > extent.end or stop == FIRST_ID:
            continue
        # An exclusive end `latest` is the end of the stream, so its last entry is in.
        last = extent.end if stop in (None, LAST_ID) else min(extent.end, stop.previous())
        if start <= last:
            ranges.append(ShardRange(extent=extent, start=start, end=last))
    since = [each.ns for each in bounds.lower if isinstance(each, Instant)]
    until = [each.ns for each in bounds.upper if isinstance(each, Instant)]
    return Plan(
        ranges=tuple(ranges),
        clamped=clamped,
        since_ns=max(since, default=None),
        until_ns=min([*until, now] if until else [], default=None),
    )


def lower_bound(position: Position, extent: Extent) -> EntryId:
    """The smallest id of a shard that is not before a position."""
    if position is Edge.LATEST:
        return extent.end.next() if extent.end else FIRST_ID
    return bound(position, unit_ns=extent.origin.unit_ns)
