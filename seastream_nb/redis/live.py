"""What comes to the shards of a query after it was pinned, by XREAD.

`$` is never sent: every XREAD names the id that it goes on from, the first one the last id that
the shard had given out when it was pinned. So nothing is missed and nothing comes twice, whatever
breaks in between.

Between two reads nothing is held: no link, no page. Now and then, and after every outage, the
server is asked for shards that are new, and whether the streams are still those that were read:
XREAD would wait for ever at a stream that was deleted and begins again at lower ids.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from seastream_nb.keys import key_text
from seastream_nb.message import Origin
from seastream_nb.page import ListPage, Page
from seastream_nb.query import Bounds, Extent, Pinned, Query
from seastream_nb.redis import catalog, kernel, wire
from seastream_nb.redis.connection import BLOCK_MS, Link, LinkLost, refused
from seastream_nb.redis.followed import FollowedShard
from seastream_nb.redis.pool import LinkPool, not_yet
from seastream_nb.redis.resp import ReplyKind

LOOK_SECONDS = 2.0
# A search for new shards walks over every key of the database: a part of it at each look.
SEARCH_SECONDS = 0.05
# So long after the end of the range entries may come that their producer stamped.
LATE_NS = 1_000_000_000
# While the size of entries is not known.
FIRST_COUNT = 100
PAGE_BYTES = 16 * 2**20


class LiveReader:
    """The entries that come after those of a pinned query, for as long as it is asked.

    `ended` turns true when an entry at or past the end of the range came in every shard, or the
    server's clock was past it for a second and all that had come by then was read. `complete`
    turns false when entries were noticed to be gone before they were read.
    """

    def __init__(self, pool: LinkPool, query: Query, pinned: Pinned) -> None:
        self.ended = False
        self.complete = True
        self._pool = pool
        self._chosen = query.shards
        self._bounds = Bounds.of(query, pinned.now_ns)
        self._until_ns = self._bounds.until_ns(pool.options.unit_ns)
        self._closing = False
        self._doing = "following " + ", ".join(repr(key_text(key)) for key in query.keys)
        self._shards: dict[bytes, FollowedShard] = {}
        self._add(pinned.extents)
        self._fitting = FIRST_COUNT
        self._keys = query.keys
        self._searches: list[catalog.ShardSearch] = []
        self._found: dict[bytes, Origin] = {}
        self._outage_ends: float | None = None
        self._next_look = 0.0

    async def read(self, seconds: float, most: int) -> list[Page]:
        """About `most` entries that came, a page a shard; waits up to `seconds`, or less."""
        loop = asyncio.get_running_loop()
        if loop.time() >= self._next_look:
            await self._look()
        shards = [shard for shard in self._shards.values() if not shard.done]
        wait = min(seconds, BLOCK_MS / 1000, self._next_look - loop.time())
        if not shards:
            self.ended = self._closing
            await asyncio.sleep(0 if self._closing else wait)
            return []
        if self._closing:
            pages = await self._xread(shards, most, None)
            self.ended = pages == []
        else:
            # BLOCK 0 would wait for ever.
            pages = await self._xread(shards, most, max(1, round(wait * 1_000)))
            if pages and len(pages) == 1 < len(shards):
                # A read that waited ends with the first key that gets something, also when a
                # transaction writes to all of them.
                pages += await self._xread(shards, most, None) or ()
        return [page for page in pages or () if len(page)]

    async def close(self) -> None:
        """Nothing is held between two reads."""

    async def _xread(
        self, shards: Sequence[FollowedShard], most: int, block_ms: int | None
    ) -> list[Page] | None:
        """The pages of one reply, empty ones for what is past the range; None without a reply."""
        count = max(1, min(most, self._fitting) // len(shards))
        positions = {shard.origin.key: shard.position for shard in shards}
        streams = await self._reply(wire.xread(positions, count=count, block_ms=block_ms))
        return None if streams is None else self._taken(streams, count)

    def _taken(self, streams: Iterable[tuple[bytes, Any]], asked: int) -> list[Page]:
        """The pages of a reply; the shards go on behind them."""
        pages = []
        for key, entries in streams:
            shard = self._shards[key]
            page = _page(shard, entries)
            self._fit(page, asked)
            pages.append(shard.take(page))
        existing = [shard for shard in self._shards.values() if shard.exists]
        if existing and all(shard.done for shard in existing):
            self._close()
        return pages

    def _fit(self, page: Page, asked: int) -> None:
        """Ask for as many entries as fit into a page, and for more only where there were more."""
        largest = 5 * self._fitting if len(page) >= asked else self._fitting
        self._fitting = max(1, min(largest, PAGE_BYTES * len(page) // max(1, page.nbytes)))

    # The server.

    async def _reply(self, command: bytes) -> list[tuple[bytes, Any]] | None:
        """The streams of an XREAD; None when there was no answer: look, and ask again."""
        link = await self._pool.take(self._outage_ends, self._doing)
        try:
            reply = await self._ask(link, command)
        except LinkLost as lost:
            # The server may have closed it because the reply outgrew its output buffer.
            self._fitting = max(1, self._fitting // 2)
            reply = lost
        finally:
            self._pool.give_back(link)
        if isinstance(reply, list):
            self._outage_ends = None
            return reply
        self._next_look = 0.0
        if not_yet(reply) or str(reply).startswith("UNBLOCKED") or isinstance(reply, LinkLost):
            await self._reconnect(f"{self._doing}: {reply}")
        elif str(reply).startswith("WRONGTYPE"):
            await self._look(whole=True)  # names the key, or finds that it is no shard
        else:
            raise refused(reply, self._doing)
        return None

    async def _ask(self, link: Link, command: bytes) -> Any:
        allowed = BLOCK_MS / 1000 + self._pool.options.timeout
        try:
            return (await link.answer(link.request([command], 1, ReplyKind.STREAMS), allowed))[0]
        except asyncio.CancelledError:
            link.drop("nobody waits for its reply")
            raise

    async def _reconnect(self, doing: str) -> None:
        now = asyncio.get_running_loop().time()
        self._outage_ends = self._outage_ends or now + self._pool.options.timeout
        self._pool.give_back(await self._pool.reopen(self._outage_ends, doing))

    async def _look(self, *, whole: bool = False) -> None:
        """Ask for the time, for new shards, and whether the streams are still the same.

        Not `whole`, and before the end of the range, the search may be a part of one, and keys
        that did not exist are not asked about: they need not be of the stream.
        """
        loop = asyncio.get_running_loop()
        pause = min(LOOK_SECONDS, await self._seconds_left())
        whole = whole or self._closing
        await self._search(whole=whole)
        origins = [shard.origin for shard in self._shards.values() if whole or shard.exists]
        for extent in await catalog.extents(self._pool, origins, self._doing) if origins else ():
            shard = self._shards[extent.origin.key]
            shard.check(extent)
            self.complete = self.complete and shard.complete
            # While nobody asked, messages may have become larger.
            self._fitting = max(1, min(self._fitting, PAGE_BYTES // max(1, extent.entry_bytes)))
            if self._closing:
                shard.close(extent.end)
        self._next_look = loop.time() + pause

    async def _seconds_left(self) -> float:
        """How long entries of the range may come; at the end of it, read what has come, no more."""
        if self._until_ns is None or self._closing:
            return LOOK_SECONDS
        left_ns = self._until_ns + LATE_NS - await catalog.server_time_ns(self._pool)
        if left_ns <= 0:
            self._close()
        return max(0.0, left_ns / 1e9)

    def _close(self) -> None:
        """Look once more, for shards too, and read no further than to what is there then."""
        if not self._closing:
            self._closing = True
            self._next_look = 0.0

    async def _search(self, *, whole: bool) -> None:
        """Go on looking for shards for a while, or look through all keys from now on."""
        loop = asyncio.get_running_loop()
        until = loop.time() + SEARCH_SECONDS
        if whole:
            self._searches = []
        while whole or loop.time() < until:
            if not self._searches:
                self._searches = [catalog.ShardSearch(self._pool, each) for each in self._keys]
                self._found = {}
            if await self._searches[0].step():
                origins = await self._searches.pop(0).origins()
                self._found.update({origin.key: origin for origin in origins})
            if not self._searches:
                self._regard(self._found)
                return

    def _regard(self, found: Mapping[bytes, Origin]) -> None:
        for key, shard in list(self._shards.items()):
            # What came to be beside the shards, such as a counter, is no part of them.
            if key not in found and not shard.exists:
                del self._shards[key]
        new = [origin for key, origin in found.items() if key not in self._shards]
        self._add([Extent(origin=origin) for origin in new])

    def _add(self, extents: Sequence[Extent]) -> None:
        for extent in extents:
            if self._chosen is None or extent.origin.shard in self._chosen:
                self._shards[extent.origin.key] = FollowedShard(extent, self._bounds)


def _page(shard: FollowedShard, entries: Any) -> Page:
    if isinstance(entries, kernel.Entries):
        return kernel.BufferPage(shard.origin, entries)
    return ListPage(shard.origin, entries)
