"""Shards merged in time order, page by page, head against head; never by sorting a table.

Each shard shows its next page. All that is not later than the earliest of the pages' ends can be
handed on: no page still to come holds anything before it. Ties go by id, then shard; within a
shard the stored order is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass

import numpy as np

from seastream_nb.page import Numbers
from seastream_nb.rows import Rows, concat_rows

Key = tuple[int, int]


@dataclass
class _Head:
    """The rows of one source that are next, or None when it has ended."""

    source: AsyncIterator[Rows]
    rows: Rows | None = None
    ended: bool = False

    async def advance(self) -> None:
        """Make sure of rows, unless the source has ended."""
        while self.rows is None and not self.ended:
            rows = await anext(self.source, None)
            self.ended = rows is None
            self.rows = rows if rows is not None and len(rows) else None

    def last(self, *, reverse: bool) -> Key:
        """The (time, sub) that the rows end with."""
        assert self.rows is not None
        ms, sub = places(self.rows, reverse=reverse)
        return int(ms[-1]), int(sub[-1])

    def split(self, limit: Key, *, reverse: bool) -> Rows | None:
        """Take off the rows that do not come after `limit` in reading order."""
        rows = self.rows
        if rows is None or self.last(reverse=reverse) == limit:
            self.rows = None
            return rows
        of_ms, of_sub = places(rows, reverse=reverse)
        ms, sub = np.uint64(limit[0]), np.uint64(limit[1])
        if reverse:
            beyond = (of_ms < ms) | ((of_ms == ms) & (of_sub < sub))
        else:
            beyond = (of_ms > ms) | ((of_ms == ms) & (of_sub > sub))
        at = int(beyond.argmax()) if beyond.any() else len(rows)
        self.rows = rows.slice(at, len(rows)) if at < len(rows) else None
        return rows.slice(0, at) if at else None


def places(rows: Rows, *, reverse: bool = False) -> tuple[Numbers, Numbers]:
    """Where the rows of one source stand among others, as (time, sub): their own ids.

    A file may hold a shard out of order. What comes late there stands where the row before it
    does, so that merging keeps the stored order.
    """
    ms, sub = rows.ms, rows.sub
    one, other = slice(None, -1), slice(1, None)
    if reverse:
        one, other = other, one
    if not ((ms[one] > ms[other]) | ((ms[one] == ms[other]) & (sub[one] > sub[other]))).any():
        return ms, sub
    order = np.lexsort((sub, ms))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    reached = (np.minimum if reverse else np.maximum).accumulate(rank)
    return ms[order][reached], sub[order][reached]


async def merged(
    sources: Sequence[AsyncGenerator[Rows, None]], *, reverse: bool = False
) -> AsyncGenerator[Rows, None]:
    """The rows of all sources in (timestamp, id, shard) order, or in exactly the reverse.

    Each source gives its rows in reading order. The sources are closed at the end.
    """
    async with AsyncExitStack() as stack:
        heads = [_Head(await stack.enter_async_context(aclosing(source))) for source in sources]
        while True:
            await _advance(heads)
            heads = [head for head in heads if head.rows is not None]
            if not heads:
                return
            if len(heads) == 1:
                rows, heads[0].rows = heads[0].rows, None
                assert rows is not None
                yield rows
                continue
            limit = (max if reverse else min)(head.last(reverse=reverse) for head in heads)
            parts = [head.split(limit, reverse=reverse) for head in heads]
            yield interleave([part for part in parts if part is not None], reverse=reverse)


async def _advance(heads: Sequence[_Head]) -> None:
    """Next pages of all heads at once; one that fails stops the others."""
    waiting = [head for head in heads if head.rows is None]
    if len(waiting) == 1:
        # A task for each page would be a tenth of its cost.
        await waiting[0].advance()
        return
    tasks = [asyncio.create_task(head.advance()) for head in waiting]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def interleave(parts: Sequence[Rows], *, reverse: bool = False) -> Rows:
    """The rows of sorted parts as one sorted whole."""
    rows = concat_rows(parts)
    if len(parts) == 1:
        return rows
    found = [places(part, reverse=reverse) for part in parts]
    ms, sub = (np.concatenate(each) for each in zip(*found, strict=True))
    return rows.take(_order(rows, ms, sub, reverse=reverse))


def _order(rows: Rows, ms: Numbers, sub: Numbers, *, reverse: bool) -> Numbers:
    shards = np.array([origin.shard for origin in rows.origins], dtype=np.uint64)[rows.origin]
    if not reverse:
        # lexsort is stable, so rows of one entry stay in the order of its fields.
        return np.lexsort((rows.origin, shards, sub, ms))
    backwards = np.arange(len(rows) - 1, -1, -1)
    keys = (rows.origin[::-1], shards[::-1], sub[::-1], ms[::-1])
    return backwards[np.lexsort(keys)][::-1]


def reversed_rows(rows: Rows) -> Rows:
    """The same rows, last first."""
    return rows.take(np.arange(len(rows) - 1, -1, -1))
