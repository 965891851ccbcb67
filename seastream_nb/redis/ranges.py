"""Reading a range of one shard by XRANGE pages.

The next page is asked for before this one is handed on, so the server works while the client
decodes; not once as much was read as will probably be enough. Each page begins again at the last
entry of the one before: if that entry is gone and the stream begins later, entries may have been
trimmed away unread, and the reader says so.

Reading has no side effect, so a broken link is replaced and the page asked for again, within the
connection's timeout.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from seastream_nb.guard import expected_entries
from seastream_nb.keys import EntryId
from seastream_nb.page import ListPage, Page
from seastream_nb.query import ShardRange
from seastream_nb.redis import kernel, wire
from seastream_nb.redis.connection import Link, LinkLost, accepted
from seastream_nb.redis.pool import LinkPool
from seastream_nb.redis.resp import ReplyKind

FIRST_COUNT = 1_000
MAX_COUNT = 10_000
PAGE_BYTES = 16 * 2**20
# Compiled decoding costs half a second once a process, so a short read goes without.
BULK_ENTRIES = 50_000


class RangeReader:
    """The pages of one shard's range, once, forwards or backwards.

    `complete` turns false, and `gone` true, when entries may have been trimmed away before they
    were read.
    """

    def __init__(
        self, pool: LinkPool, shard: ShardRange, *, limit: int | None, reverse: bool
    ) -> None:
        self.complete, self.gone = True, False
        self._pool = pool
        self._shard = shard
        self._reverse = reverse
        self._doing = f"reading {shard.origin.stream!r}"
        expected = min(expected_entries(shard), limit or shard.extent.length)
        self._bulk = expected >= BULK_ENTRIES and not reverse
        largest = max(1, PAGE_BYTES // max(1, shard.extent.entry_bytes))
        self._count = min(FIRST_COUNT, largest, limit or FIRST_COUNT)
        self._link: Link
        self._asked = 0
        self._enough = limit or shard.extent.length
        # Where the next page begins (forwards) or ends (backwards), and whether the entry at
        # that place was delivered already.
        self._edge = shard.end if reverse else shard.start
        self._overlap = False

    async def __aiter__(self) -> AsyncGenerator[Page, None]:
        if self._bulk and kernel.available():
            await asyncio.to_thread(kernel.load)
        self._link = await self._pool.take(None, self._doing)
        ahead: asyncio.Future[list[Any]] | None = self._ask()
        try:
            while ahead is not None:
                page = await self._receive(ahead)
                full = len(page) >= self._asked
                fresh = self._without_overlap(page)
                if len(fresh) == len(page) and self._overlap:
                    await self._notice_trim()
                self._advance(fresh)
                self._enough -= len(fresh)
                ahead = self._ask() if full and self._enough > 0 else None
                if len(fresh):
                    yield fresh
                if full and ahead is None:
                    ahead = self._ask()
        finally:
            # An unread reply stays with the link, which drops it when it comes.
            if ahead is not None:
                ahead.cancel()
            self._pool.give_back(self._link)

    def _ask(self) -> asyncio.Future[list[Any]]:
        self._asked = self._count + self._overlap
        start, end = self._shard.start, self._shard.end
        start, end = (start, self._edge) if self._reverse else (self._edge, end)
        key = self._shard.origin.key
        command = wire.xrange(key, start, end, self._asked, reverse=self._reverse)
        kind = ReplyKind.PLAIN if self._reverse else ReplyKind.ENTRIES
        return self._link.request([command], 1, kind)

    async def _receive(self, ahead: asyncio.Future[list[Any]]) -> Page:
        """The page that was asked for, on a new link if this one breaks."""
        deadline = asyncio.get_running_loop().time() + self._pool.options.timeout
        while True:
            try:
                replies = await self._link.answer(ahead, self._pool.options.timeout)
                return self._page(accepted(replies[0], self._doing))
            except LinkLost as lost:
                # The server may have closed it because the reply outgrew its output buffer.
                self._count = max(1, self._count // 2)
                self._pool.give_back(self._link)
                self._link = await self._pool.reopen(deadline, f"{self._doing}: {lost}")
                ahead = self._ask()

    def _page(self, reply: Any) -> Page:
        if isinstance(reply, kernel.Entries):
            return kernel.BufferPage(self._shard.origin, reply)
        return ListPage(self._shard.origin, reply[::-1] if self._reverse else reply)

    def _without_overlap(self, page: Page) -> Page:
        """The page without the entry that the page before ended with."""
        at = len(page) - 1 if self._reverse else 0
        if not self._overlap or not len(page) or page.entry_id(at) != self._edge:
            return page
        return page.slice(0, at) if self._reverse else page.slice(1, len(page))

    def _advance(self, fresh: Page) -> None:
        if not len(fresh):
            return
        self._edge = fresh.entry_id(0 if self._reverse else -1)
        self._overlap = True
        fitting = PAGE_BYTES * len(fresh) // max(1, fresh.nbytes)
        self._count = max(1, min(MAX_COUNT, fitting, self._count * 5))

    async def _notice_trim(self) -> None:
        """The entry that the last page ended with is gone: deleted alone, or trimmed with more?"""
        command = ("XRANGE", self._shard.origin.key, "-", "+", "COUNT", 1)
        first = await self._pool.call(*command, doing=self._doing)
        if not first or EntryId.parse(first[0][0]) > self._edge:
            self.complete, self.gone = False, True
