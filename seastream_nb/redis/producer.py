"""Sending: queued at once, written as pipelines over one link, answered one by one.

    send ─► outbox ─► batch ─► XADD XADD XADD … ─► replies ─► receipts

All keys share one link, so whatever the sharder, a batch is one write, and the order of a key is
the order of its sends. A message whose batch was written when the link broke may or may not be in
the stream; it ends as `MaybeSent` and is never sent again, or is looked up if the producer is
idempotent (`exact`). One that was not yet written waits for the link to come back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from seastream_nb.errors import ConfigError, Unsupported
from seastream_nb.keys import MAX_U64, EntryId, StreamKey, shard_key
from seastream_nb.message import Origin
from seastream_nb.options import ProducerOptions
from seastream_nb.outbox import Outbox
from seastream_nb.producing import ProducerCore
from seastream_nb.receipt import PendingReceipt
from seastream_nb.redis import catalog
from seastream_nb.redis.batch import Place, RedisBatch
from seastream_nb.redis.connection import Link
from seastream_nb.redis.exact import ExactWriter
from seastream_nb.redis.pool import LinkPool
from seastream_nb.redis.writer import OutboxWorker, ReplicatedWriter, Writer
from seastream_nb.times import Fixed, Instant, When, parse_when

# The server closes the connection of whoever announces more (proto-max-bulk-len).
MAX_PAYLOAD = 512 * 2**20


class RedisProducer(ProducerCore):
    """The asynchronous core of a producer. `send` may be called from any thread."""

    def __init__(
        self,
        pool: LinkPool,
        options: ProducerOptions,
        *,
        full_ids_only: bool,
        link: Link,
        release: Callable[[Any], None],
    ) -> None:
        self._pool = pool
        self._unit_ns = pool.options.unit_ns
        super().__init__(
            options,
            pool.options,
            Outbox(options.max_queue, RedisBatch),
            release=release,
            own_clock=self._unit_ns == 1,
        )
        self._full_ids_only = full_ids_only
        self._last_tick = 0
        self._writer = _writer_of(options)(pool, link, self._outbox)
        self._writing = asyncio.create_task(self._writer.run(), name="seastream producer")

    def _queue(
        self, key: str, data: bytes, entry_id: bytes | None, shard: int | None
    ) -> PendingReceipt:
        size = len(data)
        if size > MAX_PAYLOAD:
            raise ConfigError(f"a payload of {size:,} bytes is over the server's 512 MiB")
        place = self._places.get((key, shard)) or self._place(key, shard)
        return PendingReceipt(place.origin, *self._outbox.put((place, entry_id, data), size))

    def _make_place(self, name: StreamKey, shard: int | None) -> Place:
        number = shard or 0
        redis_key = name.encode() if shard is None else shard_key(name, number)
        origin = Origin(str(name), number, redis_key, self._unit_ns)
        return Place.make(origin, self.connection.field, tagged=self.options.idempotent)

    def _own_id(self) -> bytes | None:
        if self._unit_ns != 1:
            return None
        # `*` would mean milliseconds; the reference writes its own clock too. A clock that is set
        # back must not: the server refuses an id below the last one.
        self._last_tick = max(self._last_tick, time.time_ns())
        return self.tick_id(self._last_tick)

    def explicit_id(self, timestamp: When) -> bytes:
        """The id for a time, of which what is finer than the stream's unit is cut off.

        Raises:
            ConfigError: it is no point in time from 1970 on that an id can hold.
            Unsupported: the server needs full ids.
        """
        moment = parse_when(timestamp, tz=self.connection.tz)
        position = moment.position if isinstance(moment, Fixed) else None
        if isinstance(position, EntryId):
            return position.wire()
        if isinstance(position, Instant):
            tick = position.ns // self._unit_ns
            if 0 <= tick <= MAX_U64:
                return self.tick_id(tick)
        raise ConfigError(f"timestamp={timestamp!r}: give a point in time from 1970 on")

    def tick_id(self, tick: int) -> bytes:
        """The id that leaves the second number to the server."""
        if self._full_ids_only:
            raise Unsupported("a server before 7.0 takes times only as full ids, 'ms-sub'")
        return b"%d-*" % tick

    async def ends(self, places: Sequence[tuple[str, int | None]]) -> list[EntryId | None]:
        """The last id that each of these streams and shards ever gave out; None where none was.

        Raises:
            StreamKeyError: SeaStreamer forbids a key.
        """
        origins = [self._place(key, shard).origin for key, shard in places]
        found = await catalog.extents(self._pool, origins, "looking at where to send to")
        return [each.end for each in found]

    async def _stop(self) -> None:
        if self._writing.get_loop() is asyncio.get_running_loop():  # not in a forked child
            self._writing.cancel()
            await asyncio.wait([self._writing])


def _writer_of(options: ProducerOptions) -> type[OutboxWorker]:
    if options.idempotent:
        return ExactWriter
    return ReplicatedWriter if options.durability == "replica" else Writer
