"""Reading shards with XREAD, one batch ahead of the user.

`$` is never sent: every XREAD names the id that it goes on from. The position of a shard moves
past every entry that came, message or not, and only when it came. XREAD leaves nothing behind at
the server, so a read that is not wanted any more is ended by closing its link.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from seastream_nb.keys import EntryId
from seastream_nb.message import Origin
from seastream_nb.redis import wire
from seastream_nb.redis.connection import Link, LinkLost, accepted
from seastream_nb.redis.inbox import Batch
from seastream_nb.redis.pool import LinkPool, not_yet
from seastream_nb.redis.resp import Refusal

# A link that says nothing for longer than this and the timeout is dead.
BLOCK_MS = 1_000


class Fetcher:
    """Reads shards from given positions on, until it is stopped; used on the I/O thread only.

    Args:
        pool: where its one link comes from.
        positions: the id to read after, for each shard in the order of delivery.
        batch_size: entries a request and shard.
        changed: announced whenever a batch came, was taken, or reading failed.
        doing: what this is for, as errors say it.
    """

    def __init__(
        self,
        pool: LinkPool,
        positions: Mapping[Origin, EntryId],
        *,
        batch_size: int,
        changed: asyncio.Event,
        doing: str,
    ) -> None:
        self._pool = pool
        self._origins = {origin.key: origin for origin in positions}
        self._positions = {origin.key: position for origin, position in positions.items()}
        self._batch_size = batch_size
        self._changed = changed
        self._doing = doing
        self._ahead: Batch | None = None
        self._error: Exception | None = None
        self._task: asyncio.Task[None] | None = None
        self._link: Link | None = None

    def take(self) -> Batch | None:
        """The batch that was read ahead, if it came."""
        batch, self._ahead = self._ahead, None
        if batch is not None:
            announce(self._changed)
        return batch

    def go_on(self) -> None:
        """Read on, from where reading stopped if it failed.

        Raises:
            ConnectError, AuthError, ServerError: why it stopped; told once.
        """
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        if self._positions and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._run(), name="seastream consumer")

    def stop(self) -> None:
        """Read no more. Nothing comes from this fetcher afterwards."""
        self._ahead = None
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        try:
            while True:
                while self._ahead is not None:
                    await self._changed.wait()
                self._ahead = await self._batch()
                announce(self._changed)
        except Exception as error:  # whatever it is, somebody waits for messages
            self._error = error
            announce(self._changed)
        finally:
            self._release_link()

    async def _batch(self) -> Batch | None:
        """The messages of one XREAD, if there are any."""
        command = wire.xread(self._positions, count=self._batch_size, block_ms=BLOCK_MS)
        streams = await self._reply(command) or []
        batch = Batch()
        for key, entries in streams:
            batch.add(self._origins[key], entries, self._pool.options.field)
            self._positions[key] = EntryId.parse(entries[-1][0])
        if len(streams) > 1:
            batch.sort()
        return batch if len(batch) else None

    async def _reply(self, command: bytes) -> Any:
        """The reply to a read, which is asked again for the connection's timeout if need be."""
        loop, deadline = asyncio.get_running_loop(), None
        if self._link is None:
            self._link = await self._pool.take(None, self._doing)
        while True:
            try:
                reply = await self._ask(self._link, command)
                if not _not_read(reply):
                    return accepted(reply, self._doing)
                trouble = str(reply)
            except LinkLost as lost:
                trouble = str(lost)
            self._release_link()
            deadline = deadline or loop.time() + self._pool.options.timeout
            self._link = await self._pool.reopen(deadline, f"{self._doing}: {trouble}")

    async def _ask(self, link: Link, command: bytes) -> Any:
        try:
            allowed = BLOCK_MS / 1000 + self._pool.options.timeout
            return (await link.answer(link.request([command], 1), allowed))[0]
        except asyncio.CancelledError:
            link.drop("nobody waits for its reply")
            raise

    def _release_link(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            self._pool.give_back(link)


def _not_read(reply: Any) -> bool:
    """Whether the server read nothing because it starts or changes its role: ask again."""
    return not_yet(reply) or (isinstance(reply, Refusal) and str(reply).startswith("UNBLOCKED"))


def announce(changed: asyncio.Event) -> None:
    """Wake everyone who waits for the event, and nobody who will."""
    changed.set()
    changed.clear()
