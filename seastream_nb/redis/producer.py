"""Sending: queued at once, written as pipelines over one link, answered one by one.

    send ─► outbox ─► batch ─► XADD XADD XADD … ─► replies ─► receipts

All keys share one link, so whatever the sharder, a batch is one write, and the order of a key is
the order of its sends. A message whose batch was written when the link broke may or may not be in
the stream; it ends as `MaybeSent` and is never sent again, or is looked up if the producer is
idempotent (`exact`). One that was not yet written waits for the link to come back.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from operator import index
from typing import Any, SupportsIndex, cast

from seastream_nb.errors import (
    AlreadyAnchored,
    ConfigError,
    NotAnchored,
    Unsupported,
)
from seastream_nb.keys import MAX_U64, EntryId, StreamKey, shard_key
from seastream_nb.message import Message, Origin
from seastream_nb.options import ConnectOptions, ProducerOptions
from seastream_nb.receipt import PendingReceipt
from seastream_nb.redis import catalog
from seastream_nb.redis.connection import Link
from seastream_nb.redis.exact import ExactWriter
from seastream_nb.redis.outbox import Outbox, Place
from seastream_nb.redis.pool import LinkPool
from seastream_nb.redis.writer import Writer
from seastream_nb.times import Fixed, Instant, When, parse_when

# The server closes the connection of whoever announces more (proto-max-bulk-len).
MAX_PAYLOAD = 512 * 2**20
# Places that are kept ready; a producer may write to any number of streams.
MOST_PLACES = 10_000

Payload = str | bytes | bytearray | memoryview | Message


class RedisProducer:
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
        self.options = options
        self.connection: ConnectOptions = pool.options
        self._pool = pool
        self._release = release
        self._full_ids_only = full_ids_only
        self._anchor: StreamKey | None = None
        self._places: dict[tuple[str, int | None], Place] = {}
        self._last_tick = 0
        self._unit_ns = pool.options.unit_ns
        # What a sharder or our clock gives goes into the queue in the same order.
        ordered = options.sharder is not None or self._unit_ns == 1
        self._ordered = threading.Lock() if ordered else None
        self._outbox = Outbox(options.max_queue)
        kind = ExactWriter if options.idempotent else Writer
        self._writer = kind(pool, link, self._outbox)
        self._writing = asyncio.create_task(self._writer.run(), name="seastream producer")

    # Called by the user's threads.

    @property
    def anchored(self) -> str | None:
        """The stream that `send` writes to, or None."""
        return self._anchor

    def anchor(self, key: str) -> None:
        """Fix the stream that `send` writes to.

        Raises:
            AlreadyAnchored: it is fixed already.
            StreamKeyError: SeaStreamer forbids the key.
        """
        if self._anchor is not None:
            raise AlreadyAnchored(f"this producer is anchored to {self._anchor!r}")
        self._anchor = StreamKey(key)

    def own_stream(self) -> str:
        """The anchored stream.

        Raises:
            NotAnchored: there is none.
        """
        if self._anchor is None:
            raise NotAnchored("send() needs a stream: give producer(key), anchor(key) or send_to()")
        return self._anchor

    def send(self, payload: Payload, *, timestamp: When | None = None) -> PendingReceipt:
        """Queue a message for the anchored stream, without waiting for the network."""
        key = self._anchor or self.own_stream()
        if timestamp is None and self._ordered is None and type(payload) is bytes:
            # The common case, at the least cost.
            return self._queue(key, payload, None, None)
        return self.send_to(key, payload, timestamp=timestamp)

    def send_to(
        self, key: str, payload: Payload, *, timestamp: When | None = None
    ) -> PendingReceipt:
        """Queue a message for any stream.

        Raises:
            QueueFull: more than `max_queue` bytes wait to be sent.
            ProducerClosed: after `end`.
            StreamKeyError, ConfigError, TypeError: what cannot be sent is refused before it is
                queued.
        """
        data = payload if type(payload) is bytes else payload_bytes(payload)
        entry_id = None if timestamp is None else self.explicit_id(timestamp)
        return self.queue(key, data, entry_id)

    def queue(
        self, key: str, data: bytes, entry_id: bytes | None, shard: int | None = None
    ) -> PendingReceipt:
        """Queue what is checked; `shard` overrides the sharder, an id of None is the server's."""
        if self._ordered is None:
            return self._queue(key, data, entry_id, shard)
        with self._ordered:
            self._outbox.check(len(data))
            if shard is None and self.options.sharder is not None:
                shard = self.options.sharder.shard(key, data)
                if shard is None:
                    raise ConfigError(f"the sharder gave no shard for a payload of {key!r}")
            if entry_id is None and self._unit_ns == 1:
                entry_id = self._own_clock()
            return self._queue(key, data, entry_id, shard)

    def _queue(
        self, key: str, data: bytes, entry_id: bytes | None, shard: int | None
    ) -> PendingReceipt:
        size = len(data)
        if size > MAX_PAYLOAD:
            raise ConfigError(f"a payload of {size:,} bytes is over the server's 512 MiB")
        place = self._places.get((key, shard)) or self._place(key, shard)
        return PendingReceipt(place.origin, *self._outbox.put((place, entry_id, data), size))

    def _place(self, key: str, shard: int | None) -> Place:
        name = StreamKey(key)
        number = 0 if shard is None else _shard_number(name, shard)
        redis_key = name.encode() if shard is None else shard_key(name, number)
        origin = Origin(str(name), number, redis_key, self._unit_ns)
        if len(self._places) >= MOST_PLACES:
            self._places.clear()
        tagged = self.options.idempotent
        place = Place.make(origin, self.connection.field, tagged=tagged)
        self._places[key, shard] = place
        return place

    def _own_clock(self) -> bytes:
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
        """The id that leaves the second number to the server.

        Raises:
            Unsupported: the server needs full ids.
        """
        if self._full_ids_only:
            raise Unsupported("a server before 7.0 takes times only as full ids, 'ms-sub'")
        return b"%d-*" % tick

    # Awaited by the facades.

    async def room(self, size: int = 0, timeout: float | None = None) -> None:
        """Wait until half of the queue is free, and there is room for `size` bytes of payload.

        Raises:
            TimeoutError: after `timeout` seconds, or when the server was silent for so long that
                what waited has failed.
        """
        async with asyncio.timeout(timeout):
            await self._outbox.room(size)

    async def ends(self, places: Sequence[tuple[str, int | None]]) -> list[EntryId | None]:
        """The last id that each of these streams and shards ever gave out; None where none was.

        Raises:
            StreamKeyError: SeaStreamer forbids a key.
        """
        origins = [self._place(key, shard).origin for key, shard in places]
        found = await catalog.extents(self._pool, origins, "looking at where to send to")
        return [each.end for each in found]

    async def flush(self) -> None:
        """Wait until every earlier send is answered.

        Raises:
            NotSent, MaybeSent: the first failure of a send that nobody has seen yet.
        """
        await self._outbox.flush()

    async def end(self) -> None:
        """Flush, then close; later sends raise `ProducerClosed`. Ending twice is fine.

        Raises:
            NotSent, MaybeSent: as `flush`.
        """
        self._outbox.close("the producer has ended: make another one")
        self._release(self)
        try:
            await self._outbox.flush()
        finally:
            if self._writing.get_loop() is asyncio.get_running_loop():  # not in a forked child
                self._writing.cancel()
                await asyncio.wait([self._writing])


def _shard_number(name: str, shard: object) -> int:
    try:
        number = -1 if isinstance(shard, bool) else index(cast("SupportsIndex", shard))
    except TypeError:
        number = -1
    if 0 <= number <= MAX_U64:
        return number
    raise ConfigError(f"the shard of {name!r} is {shard!r}: it must be a number from 0")


def payload_bytes(payload: Payload) -> bytes:
    r"""The bytes to send; buffers are copied, so that changing them later changes nothing.

    >>> payload_bytes("café"), payload_bytes(memoryview(b"ab")[1:])
    (b'caf\xc3\xa9', b'b')

    Raises:
        TypeError: it is neither text nor bytes.
    """
    if isinstance(payload, str):
        return payload.encode()
    if isinstance(payload, Message):
        return payload.payload
    if isinstance(payload, bytes | bytearray | memoryview):
        return bytes(payload)
    raise TypeError(
        f"a payload is text or bytes, not {type(payload).__name__}: "
        "encode it first, as with json.dumps"
    )
