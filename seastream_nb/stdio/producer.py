"""Producers that print: each message becomes a line of standard output."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from seastream_nb.checks import named, or_none, seconds_or_zero
from seastream_nb.errors import (
    ConfigError,
    ProducerClosed,
    QueueFull,
)
from seastream_nb.keys import EntryId, StreamKey
from seastream_nb.message import Origin, Payload, payload_bytes
from seastream_nb.options import ConnectOptions, ProducerOptions
from seastream_nb.producing import Anchored, shard_number
from seastream_nb.quantities import Duration
from seastream_nb.receipt import PendingReceipt
from seastream_nb.stdio.input import MOST_LINE_BYTES, Input
from seastream_nb.stdio.output import Output, PrintedBatch
from seastream_nb.times import Fixed, Instant, When, parse_when

# What a queued message takes besides its payload.
OVERHEAD = 300
# A reader here takes no longer line.
MOST_PAYLOAD = MOST_LINE_BYTES - 2**10
# Batches whose failures are remembered until somebody sees them.
FAILED_BATCHES = 1_000


class StdioProducer(Anchored):
    """The asynchronous core of a producer. `send` may be called from any thread.

    Attributes:
        loop_to: the consumers that get what is printed, too; None for none.
        patience: how many seconds to wait for them to have room.
        waiting: for how many bytes its lines count that are not settled yet.
    """

    def __init__(
        self,
        options: ProducerOptions,
        *,
        connection: ConnectOptions,
        output: Output,
        loop_to: Input | None,
        release: Callable[[Any], None],
    ) -> None:
        self.options = options
        self.connection = connection
        self.loop_to = loop_to
        self.patience = connection.timeout
        self._output = output
        self._release = release
        self.waiting = 0
        self._ordered = threading.Lock()
        self._queued: deque[PrintedBatch] = deque()
        self._failed: deque[PrintedBatch] = deque()
        self._closed = False
        self._process = os.getpid()
        output.begin()

    def send(self, payload: Payload, *, timestamp: When | None = None) -> PendingReceipt:
        """Queue a message for the anchored stream, without waiting for it to be printed."""
        return self.send_to(self.own_stream(), payload, timestamp=timestamp)

    def send_to(
        self, key: str, payload: Payload, *, timestamp: When | None = None
    ) -> PendingReceipt:
        """Queue a message for any stream."""
        tick = None if timestamp is None else self._tick_of(timestamp)
        return self._put(StreamKey(key), payload_bytes(payload), tick, None)

    def queue(
        self, key: str, data: bytes, entry_id: bytes | None, shard: int | None = None
    ) -> PendingReceipt:
        """Queue what is checked; `shard` overrides the sharder, an id of None is the clock's."""
        tick = None if entry_id is None else int(entry_id.partition(b"-")[0])
        return self._put(StreamKey(key), data, tick, shard)

    def full_id(self, entry_id: EntryId) -> bytes:
        """Its time: a line has no other part of an id."""
        return self.tick_id(entry_id.ms)

    async def ends(self, places: Sequence[tuple[str, int | None]]) -> list[EntryId | None]:
        """Nothing: what was printed is nobody's any more."""
        return [None] * len(places)

    def tick_id(self, tick: int) -> bytes:
        """The id that leaves the number to the output."""
        return b"%d-*" % tick

    def _put(self, key: StreamKey, data: bytes, tick: int | None, shard: object) -> PendingReceipt:
        if self.options.sharder is None or shard is not None:
            return self._queue(key, data, tick, 0 if shard is None else shard_number(key, shard))
        # What a sharder gives is queued in the same order.
        with self._ordered:
            self._check(len(data) + OVERHEAD)
            shard = self.options.sharder.shard(key, data)
            return self._queue(key, data, tick, shard_number(key, shard))

    def _queue(self, key: StreamKey, data: bytes, tick: int | None, shard: int) -> PendingReceipt:
        if len(data) > MOST_PAYLOAD:
            raise ConfigError(f"a payload of {len(data):,} bytes is over the {MOST_PAYLOAD:,}")
        size, unit_ns = len(data) + OVERHEAD, self.connection.unit_ns
        self._require_ours()
        with self._output.lock:
            self._check(size)
            if tick is None:
                tick = time.time_ns() // unit_ns
            batch, at = self._output.put(self, key, shard, tick, unit_ns, data, size)
        return PendingReceipt(Origin(str(key), shard, key.encode(), unit_ns), batch, at)

    def _require_ours(self) -> None:
        if self._process != os.getpid():
            raise ProducerClosed("the producer belongs to the parent process: make another one")

    def _check(self, size: int) -> None:
        """Refuse what cannot be queued; one that is larger than the queue may be there alone."""
        if self._closed:
            raise ProducerClosed("the producer has ended: make another one")
        if self.waiting and self.waiting + size > self.options.max_queue:
            raise QueueFull(
                f"{self.waiting:,} bytes wait to be printed and max_queue is "
                f"{self.options.max_queue:,}: wait with flush(), or raise max_queue"
            )

    def _tick_of(self, timestamp: When) -> int:
        """The first part of an id for a time; of an id only its time counts."""
        moment = parse_when(timestamp, tz=self.connection.tz)
        position = moment.position if isinstance(moment, Fixed) else None
        if isinstance(position, EntryId):
            return position.ms
        if isinstance(position, Instant) and position.ns >= 0:
            return position.ns // self.connection.unit_ns
        raise ConfigError(f"timestamp={timestamp!r}: give a point in time from 1970 on")

    # Called by the output, with its lock held.

    def queued(self, batch: PrintedBatch) -> None:
        """A batch of its lines is queued."""
        self._queued.append(batch)

    def settled(self, batch: PrintedBatch, *, failed: bool) -> None:
        """Its oldest batch is about to be settled."""
        with suppress(ValueError):  # an interrupt came before it was noted
            self._queued.remove(batch)
        if failed:
            while self._failed and self._failed[0].outcomes and not self._failed[0].unseen:
                self._failed.popleft()
            if len(self._failed) == FAILED_BATCHES:
                # The first failures are kept, and the last ones.
                self._failed.pop()
            self._failed.append(batch)

    # Awaited by the facades.

    async def room(self, size: int = 0, timeout: Duration | None = None) -> None:
        """Wait until half of the queue is free, and there is room for `size` bytes of payload."""
        limit = self.options.max_queue
        most = max(0, min(limit // 2, limit - size - OVERHEAD))
        async with asyncio.timeout(named("timeout", timeout, or_none(seconds_or_zero))):
            while self.waiting > most:
                with self._output.lock:
                    oldest = [*self._queued][:1]
                for batch in oldest:
                    await batch.ended()

    async def flush(self) -> None:
        """Wait until every earlier send is printed, as far as the operating system says."""
        self._require_ours()
        with self._output.lock:
            last = [*self._queued][-1:]
        for batch in last:
            await batch.ended()
        with self._output.lock:
            failed = [batch for batch in self._failed if batch.outcomes is not None]
            self._failed = deque(batch for batch in self._failed if batch.outcomes is None)
        # Copied at once: a thread that asks a receipt takes its error out.
        unseen = [error for batch in failed for error in [*batch.unseen.values()]]
        if unseen:
            more = f" (and {len(unseen) - 1:,} more sends failed)" if len(unseen) > 1 else ""
            raise type(unseen[0])(f"{unseen[0]}{more}")

    async def end(self) -> None:
        """Flush, then close; later sends raise `ProducerClosed`. Ending twice is fine."""
        self._closed = True
        self._release(self)
        if self._process == os.getpid():
            await self.flush()
