"""What the producers of all backends share: what is sent is checked, and queued at once."""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from seastream_nb.checks import named, or_none, seconds_or_zero
from seastream_nb.errors import AlreadyAnchored, ConfigError, NotAnchored
from seastream_nb.keys import MAX_U64, EntryId, StreamKey
from seastream_nb.message import Payload, payload_bytes
from seastream_nb.options import ConnectOptions, ProducerOptions
from seastream_nb.outbox import Outbox
from seastream_nb.quantities import Duration, whole
from seastream_nb.receipt import PendingReceipt
from seastream_nb.times import When

# Places that are kept ready; a producer may write to any number of streams.
MOST_PLACES = 10_000


class Anchored:
    """Which stream is a producer's own."""

    _anchor: StreamKey | None = None

    @property
    def anchored(self) -> str | None:
        """The stream that `send` writes to, or None."""
        return self._anchor

    def anchor(self, key: str) -> None:
        """Fix the stream that `send` writes to."""
        if self._anchor is not None:
            raise AlreadyAnchored(f"this producer is anchored to {self._anchor!r}")
        self._anchor = StreamKey(key)

    def own_stream(self) -> str:
        """The anchored stream."""
        if self._anchor is None:
            raise NotAnchored("send() needs a stream: give producer(key), anchor(key) or send_to()")
        return self._anchor


class ProducerCore(Anchored, ABC):
    """The asynchronous core of a producer. `send` may be called from any thread."""

    def __init__(
        self,
        options: ProducerOptions,
        connection: ConnectOptions,
        outbox: Outbox[Any],
        *,
        release: Callable[[Any], None],
        own_clock: bool = False,
    ) -> None:
        self.options = options
        self.connection = connection
        self._outbox = outbox
        self._release = release
        self._places: dict[tuple[str, int | None], Any] = {}
        # What a sharder or our clock gives goes into the queue in the same order.
        ordered = options.sharder is not None or own_clock
        self._ordered = threading.Lock() if ordered else None

    # Called by the user's threads.

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
        """Queue a message for any stream."""
        data = payload if type(payload) is bytes else payload_bytes(payload)
        entry_id = None if timestamp is None else self.explicit_id(timestamp)
        return self.queue(key, data, entry_id)

    def queue(
        self, key: str, data: bytes, entry_id: bytes | None, shard: int | None = None
    ) -> PendingReceipt:
        """Queue what is checked; `shard` overrides the sharder, an id of None is the backend's."""
        if self._ordered is None:
            return self._queue(key, data, entry_id, shard)
        with self._ordered:
            self._outbox.check(len(data))
            if shard is None and self.options.sharder is not None:
                shard = self.options.sharder.shard(key, data)
                if shard is None:
                    raise ConfigError(f"the sharder gave no shard for a payload of {key!r}")
            if entry_id is None:
                entry_id = self._own_id()
            return self._queue(key, data, entry_id, shard)

    def _own_id(self) -> bytes | None:
        """The id of a producer with a clock of its own."""
        return None

    @abstractmethod
    def _queue(
        self, key: str, data: bytes, entry_id: bytes | None, shard: int | None
    ) -> PendingReceipt:
        """Put it into the outbox, at the place of its stream and shard."""

    def _place(self, key: str, shard: int | None) -> Any:
        name = StreamKey(key)
        number = None if shard is None else shard_number(name, shard)
        if len(self._places) >= MOST_PLACES:
            self._places.clear()
        place = self._places[key, shard] = self._make_place(name, number)
        return place

    @abstractmethod
    def _make_place(self, name: StreamKey, shard: int | None) -> Any:
        """Where messages of a stream go, in the backend's terms."""

    @abstractmethod
    def explicit_id(self, timestamp: When) -> bytes:
        """The id for a time."""

    def full_id(self, entry_id: EntryId) -> bytes:
        """What `queue` takes to give a message the id that it has elsewhere."""
        return entry_id.wire()

    @abstractmethod
    def tick_id(self, tick: int) -> bytes:
        """The id that leaves the second number to the backend."""

    # Awaited by the facades.

    async def room(self, size: int = 0, timeout: Duration | None = None) -> None:
        """Wait until half of the queue is free, and there is room for `size` bytes of payload."""
        async with asyncio.timeout(named("timeout", timeout, or_none(seconds_or_zero))):
            await self._outbox.room(size)

    async def flush(self) -> None:
        """Wait until every earlier send is answered."""
        await self._outbox.flush()

    async def end(self) -> None:
        """Flush, then close; later sends raise `ProducerClosed`. Ending twice is fine."""
        self._outbox.close("the producer has ended: make another one")
        self._release(self)
        try:
            await self._outbox.flush()
        finally:
            await self._stop()

    @abstractmethod
    async def _stop(self) -> None:
        """Stop what works for this producer."""


def shard_number(name: str, shard: object) -> int:
    """The number of a shard.

    Raises:
        ConfigError: it is none from 0 to 2**64 - 1.
    """
    number = whole(shard)
    if number is not None and 0 <= number <= MAX_U64:
        return number
    raise ConfigError(f"the shard of {name!r} is {shard!r}: it must be a number from 0")
