"""How many entries a consumer group has not been given yet: exactly, or not at all.

Servers before 7.0 do not tell. Later ones do, from counters that trimming unread entries, XSETID
and XGROUP SETID leave wrong, so that their number may exceed the length of the stream. What can
be counted is therefore counted, from the end of the stream to where the group stands, and the
server's number is used only beyond that, for streams of which nothing was ever removed. What
remains is a lie told with XGROUP SETID ... ENTRIESREAD about a group that is so far behind.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from seastream_nb.keys import EntryId
from seastream_nb.page import Page
from seastream_nb.query import Extent, ShardRange
from seastream_nb.redis.pool import LinkPool
from seastream_nb.redis.ranges import RangeReader

# Entries are counted by reading them: what one shard may cost, whatever the number of groups.
COUNTED_ENTRIES = 100_000
COUNTED_BYTES = 64 * 2**20


async def lags(
    pool: LinkPool, extent: Extent, groups: Sequence[Mapping[bytes, Any]]
) -> list[int | None]:
    """The lag of each group, from what XINFO GROUPS says; None where it cannot be known."""
    positions = [EntryId.parse(facts[b"last-delivered-id"]) for facts in groups]
    counted = await _count(pool, extent, {at for at in positions if at_an_end(extent, at) is None})
    known = [at_an_end(extent, at) for at in positions]
    return [
        lag if lag is not None else counted.get(at, told(extent, facts.get(b"lag")))
        for lag, at, facts in zip(known, positions, groups, strict=True)
    ]


def at_an_end(extent: Extent, position: EntryId) -> int | None:
    """The lag of a group that was given everything, or nothing of what is there; else None.

    >>> from seastream_nb.message import Origin
    >>> extent = Extent(
    ...     origin=Origin("s", 0, b"s"), length=3, first=EntryId(5, 0), last=EntryId(9, 0)
    ... )
    >>> [at_an_end(extent, EntryId(ms, 0)) for ms in (4, 5, 9)]
    [3, None, 0]
    """
    if extent.first is None or extent.last is None or position >= extent.last:
        return 0
    return extent.length if position < extent.first else None


def told(extent: Extent, lag: int | None) -> int | None:
    """The server's number for a group inside the stream, where its counters can be trusted.

    >>> from seastream_nb.message import Origin
    >>> extent = Extent(origin=Origin("s", 0, b"s"), length=3, added=3)
    >>> told(extent, 2), told(extent, 3), told(extent, None)
    (2, None, None)
    """
    whole = extent.added == extent.length
    return lag if whole and lag is not None and 0 < lag < extent.length else None


async def _count(
    pool: LinkPool, extent: Extent, positions: Iterable[EntryId]
) -> dict[EntryId, int]:
    """How many entries come after each position; those too far from the end are left out."""
    counts = dict.fromkeys(positions, 0)
    if not counts or extent.last is None:
        return {}
    tail = ShardRange(extent=extent, start=min(counts).next(), end=extent.last)
    seen = size = 0
    pages = aiter(RangeReader(pool, tail, limit=COUNTED_ENTRIES, reverse=True))
    async with aclosing(pages):
        async for page in pages:
            for position in counts:
                counts[position] += _after(page, position)
            seen, size = seen + len(page), size + page.nbytes
            if seen >= COUNTED_ENTRIES or size >= COUNTED_BYTES:
                # All entries of this page and later ones were seen, and no others.
                reached = page.entry_id(0)
                return {at: count for at, count in counts.items() if at >= reached.previous()}
    return counts


def _after(page: Page, position: EntryId) -> int:
    later = (page.ms > position.ms) | ((page.ms == position.ms) & (page.sub > position.sub))
    return int(later.sum())
