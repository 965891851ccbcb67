"""Where a page of a range begins and ends: so many rows on, or back, from an id.

What is found are ids only; a page is then the range between two ids, and read as any other. So
rows of one id, of several shards or of one entry, are never torn apart. How far one page looks is
bounded, since a filter may keep nothing of a long stream.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace

from seastream_nb.frame import Shaper
from seastream_nb.keys import EntryId
from seastream_nb.merging import reversed_rows
from seastream_nb.paging import PAGE_BYTES
from seastream_nb.query import Pinned, Query, ShardRange
from seastream_nb.reading import Reading
from seastream_nb.rows import Rows
from seastream_nb.stream import StreamCore

# What one page looks at in each shard.
MOST_ENTRIES = 50_000


@dataclass(frozen=True)
class Found:
    """The ids between which a page lies, both of them in it.

    Attributes:
        first, last: the lowest and the highest id of its rows; None where there are none.
        full: whether there are as many rows as were wanted, or more with these ids.
        stopped: how far was looked before giving up; None when everything was seen.
    """

    first: EntryId | None
    last: EntryId | None
    full: bool
    stopped: EntryId | None


async def find(
    stream: StreamCore,
    query: Query,
    pinned: Pinned,
    count: int,
    *,
    reverse: bool = False,
    strict: bool = False,
) -> Found:
    """Where the first `count` rows of a range are, or with `reverse` the last.

    With `strict`, a range without a row complains of columns and fields that nothing in it has.

    Raises:
        ConfigError: a filter that cannot be meant.
        ConnectError, ServerError, FileError: the range cannot be read.
    """
    counted = replace(query, last=count) if reverse else replace(query, first=count)
    search = _Search(stream.source, counted, pinned)
    shaper = stream.on(query).shaper()
    ids = await search.ids(shaper, count, reverse=reverse)
    if strict and not ids:
        shaper.finish()
        search.warn_if_never_a_message()
    stopped = (max if reverse else min)(search.stopped, default=None)
    if stopped is not None:
        # Shards that were read further than this one wait for the next page.
        ids = [each for each in ids if (each >= stopped if reverse else each <= stopped)]
    full = len(ids) >= count
    ids = ids[:count]
    return Found(
        first=min(ids, default=None),
        last=max(ids, default=None),
        full=full,
        stopped=None if full else stopped,
    )


class _Search(Reading):
    """A reading that gives up, shard by shard, where a page has looked at enough."""

    stopped: list[EntryId]

    async def ids(self, shaper: Shaper, count: int, *, reverse: bool) -> list[EntryId]:
        """The ids of `count` rows or more in reading order, if there are so many."""
        self.stopped = []
        found: list[EntryId] = []
        size = 0
        async with aclosing(self.merged_rows(reverse=reverse)) as chunks:
            async for chunk in chunks:
                kept = chunk if self.query.condition is None else shaper.shape(chunk)[0]
                found += (EntryId(*each) for each in kept.entry_ids())
                size += kept.nbytes
                if len(found) >= count:
                    break
                if found and size >= PAGE_BYTES:
                    self.stopped.append(found[-1])
                    break
        return found

    async def _rows_in(
        self, shard: ShardRange, limit: int | None, *, reverse: bool
    ) -> AsyncGenerator[Rows, None]:
        entries = size = 0
        reader = self._source.read(shard, limit=limit, reverse=reverse)
        async with aclosing(aiter(reader)) as pages:
            async for page in pages:
                rows = self.rows_of(page)
                yield reversed_rows(rows) if reverse else rows
                entries, size = entries + len(page), size + page.nbytes
                if entries >= MOST_ENTRIES or size >= PAGE_BYTES:
                    self.stopped.append(EntryId(*page.entry_id(0 if reverse else -1)))
                    return
