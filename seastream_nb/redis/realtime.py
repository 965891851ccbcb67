"""Reading shards with XREAD, which leaves nothing behind at the server.

`$` is never sent: every XREAD names the id that it goes on from. The position of a shard moves
past every entry that came, message or not, and only when it came. A read that is not wanted any
more is ended by closing its link.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from seastream_nb.errors import StreamReset
from seastream_nb.inbox import Batch
from seastream_nb.keys import FIRST_ID, EntryId
from seastream_nb.redis import wire
from seastream_nb.redis.aside import Shard
from seastream_nb.redis.catalog import extent_of, is_missing
from seastream_nb.redis.connection import BLOCK_MS
from seastream_nb.redis.fetcher import Fetcher
from seastream_nb.redis.followed import Growth
from seastream_nb.redis.resp import Refusal

# How often a silent stream is asked whether it is still the one that was read.
LOOK_SECONDS = 2.0


class RealtimeFetcher(Fetcher[Shard]):
    """Reads shards on from their positions."""

    _looked_at = 0.0

    async def _fetch(self) -> Batch | None:
        await self._look_at_refusals()
        if troubled := self._to_retry():
            batch = await self._probe(troubled)
            self._tell()
            if len(batch):
                return batch
        healthy = self._shards.healthy
        if not healthy:
            await self._wait_for_a_shard()
            return None
        batch = await self._read(healthy, BLOCK_MS)
        self._tell()
        if len(batch):
            return batch
        await self._look_for_resets(healthy)
        return None

    def _request(self, shards: Sequence[Shard], block_ms: int | None) -> bytes:
        positions = {shard.origin.key: shard.position for shard in shards}
        return wire.xread(positions, count=self._count, block_ms=block_ms)

    def _received(self, shard: Shard, entries: list[Any], batch: Batch) -> None:
        batch.add(shard.origin, entries, self._pool.options.field)
        shard.position = EntryId.parse(entries[-1][0])
        shard.growth.take(shard.position, len(entries))
        shard.reached = True

    async def _look_for_resets(self, shards: Sequence[Shard]) -> None:
        """Notice a stream that was deleted, or deleted and begun anew.

        XREAD would wait below our position for ever, or miss what is there. A position that
        nothing has reached yet, as after a seek into the future, tells nothing.
        """
        now = asyncio.get_running_loop().time()
        reached = [shard for shard in shards if shard.reached and shard.position > FIRST_ID]
        if not reached or now < self._looked_at + LOOK_SECONDS:
            return
        self._looked_at = now
        replies = await self._ask([wire.pack(["XINFO", "STREAM", s.origin.key]) for s in reached])
        for shard, reply in zip(reached, replies, strict=True):
            if isinstance(reply, Refusal):
                gone = is_missing(reply)  # else the ACL does not let us ask
            else:
                now_there = extent_of(shard.origin, reply)
                shard.growth.last = max(shard.growth.last, shard.position)
                gone = shard.growth.disagrees(now_there, shard.position)
                shard.growth.see(now_there)
            if gone:
                self._news.append(StreamReset(_reset(shard)))
                shard.position, shard.growth = FIRST_ID, Growth()


def _reset(shard: Shard) -> str:
    return (
        f"reading {shard.origin.stream!r}: the stream was deleted after {shard.position}; "
        "the next call goes on from the beginning of what is there"
    )
