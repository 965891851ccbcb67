"""Consumers of standard input: alone, or taking turns with others of this process."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from seastream_nb import portal
from seastream_nb.consuming import ConsumerCore
from seastream_nb.errors import (
    AckNotAllowed,
    CommitNotAllowed,
    ConfigError,
    Unsupported,
)
from seastream_nb.inbox import Batch
from seastream_nb.keys import MAX_U64, NumberedId, SeqPos, key_bytes, key_text
from seastream_nb.message import Message, MessageHeader, Origin
from seastream_nb.options import ConnectOptions, ConsumerOptions
from seastream_nb.stdio.input import Input
from seastream_nb.stdio.routing import BROADCAST, Entry
from seastream_nb.times import When

# What a waiting message takes besides its payload.
OVERHEAD = 200
# Origins that are kept ready; a stream may have any number of shards.
MOST_ORIGINS = 10_000
_PASSED = "standard input is read once, from its beginning to its end"


class StdioConsumer(ConsumerCore):
    """The asynchronous core of a consumer.

    Attributes:
        keys: its streams.
        group: the group that it shares them with; None outside of one.
        waiting: how many bytes of messages came and are not in the inbox yet.
    """

    def __init__(
        self,
        keys: Sequence[str | bytes],
        options: ConsumerOptions,
        *,
        connection: ConnectOptions,
        source: Input,
        release: Callable[[Any], None],
    ) -> None:
        names = [key_text(key_bytes(key)) for key in keys]
        doing = f"reading {', '.join(map(repr, names))} from standard input"
        super().__init__(options, doing=doing, release=release)
        self.connection = connection
        self.keys = frozenset(names)
        self.group = options.group if options.mode == "load_balanced" else None
        self.stream_shards = [(name, 0) for name in dict.fromkeys(names)]
        self.waiting = 0
        self.rides = False
        self._source = source
        self._batches: deque[tuple[Batch, int]] = deque()
        self._origins: dict[tuple[str, int], Origin] = {}
        self._change = asyncio.Event()
        source.join(self)

    # Which shards, and where to read: what comes, comes.

    def assign(self, key: str | bytes, shard: int) -> None:
        """Nothing: every shard of its streams is read already."""
        if key_text(key_bytes(key)) not in self.keys:
            raise ConfigError(f"{self._doing}: it was not created on {key!r}")

    def unassign(self, key: str | bytes, shard: int) -> None:
        """Refuse: the shards of a line are not chosen."""
        raise Unsupported(f"{self._doing}: every shard is read; make a consumer of other streams")

    async def seek(self, when: When | int) -> None:
        """Refuse: what came is gone."""
        raise Unsupported(f"{self._doing}: no seek, {_PASSED}; leave out what is too early")

    async def rewind(self, to: SeqPos) -> None:
        """Refuse: what came is gone."""
        raise Unsupported(f"{self._doing}: no rewind, {_PASSED}; record it to read it again")

    async def resume_group(self) -> None:
        """Refuse: without a seek there is nothing to come back from."""
        raise Unsupported(f"{self._doing}: no seek to come back from, {_PASSED}")

    # Messages.

    def give(self, entries: list[Entry]) -> None:
        """Take messages; called on the I/O thread."""
        batch, unit_ns = Batch(), self.connection.unit_ns
        batch.origins = [self._origin(entry.key or BROADCAST, entry.shard) for entry in entries]
        # An id ends in the year 2554 where it counts nanoseconds.
        batch.ids = [NumberedId(min(e.ns // unit_ns, MAX_U64), e.sequence) for e in entries]
        batch.payloads = [entry.payload for entry in entries]
        size = sum(map(len, batch.payloads)) + OVERHEAD * len(entries)
        self._batches.append((batch, size))
        self.waiting += size
        self._change.set()

    def announce(self) -> None:
        """Something changed that a waiting caller should look at."""
        self._change.set()

    def _origin(self, key: str, shard: int) -> Origin:
        origin = self._origins.get((key, shard))
        if origin is None:
            if len(self._origins) >= MOST_ORIGINS:
                self._origins.clear()
            origin = Origin(key, shard, key.encode(), self.connection.unit_ns)
            self._origins[key, shard] = origin
        return origin

    async def fill(self, least: float, most: float, until: float | None) -> None:
        """Wait until the inbox holds `least` messages; put in more, up to `most`, if they came."""
        try:
            async with asyncio.timeout_at(until):
                await self._fill(least, most)
        except TimeoutError:
            raise TimeoutError(f"{self._doing}: too few messages came in time") from None
        finally:
            warning = self._source.warning()
            if warning is not None:
                portal.warn_caller(warning)

    async def _fill(self, least: float, most: float) -> None:
        while True:
            self._require_open()
            self._change.clear()
            self._put(most)
            if len(self.inbox) >= least:
                return
            if not self._source.over:
                await self._more()
            elif len(self.inbox):
                return
            else:
                raise self._source.ending()

    async def _more(self) -> None:
        """Wait for a change, unless another consumer keeps it from coming."""
        patience = self.connection.timeout
        try:
            async with asyncio.timeout(patience):
                await self._change.wait()
        except TimeoutError:
            self._source.require_flow(patience)

    def _put(self, most: float) -> None:
        while self._batches and len(self.inbox) < most:
            batch, size = self._batches.popleft()
            self.inbox.add(batch)
            self.waiting -= size
        self._source.go_on()

    # Groups: what is not taken when the process ends is gone, whatever was acknowledged.

    def ride(self) -> None:
        """Nothing: there is nowhere to commit to."""

    def ack(self, message: Message | MessageHeader) -> None:
        """Nothing comes of it, but it is refused where any other backend refuses it."""
        self._require_open()
        if not isinstance(message, Message | MessageHeader):
            raise TypeError(f"ack() takes a message or its header, not {type(message).__name__}")
        if self.group is not None and self.options.auto_commit == "delayed":
            raise AckNotAllowed(
                f"{self._doing}: auto_commit='delayed' acks each message that was taken; choose "
                "'rolling' or 'disabled' to ack yourself"
            )
        if message.stream not in {*self.keys, BROADCAST}:
            raise AckNotAllowed(f"{self._doing}: a message of {message.stream!r} is not of these")

    async def commit(self) -> None:
        """Nothing is left to do, but it is refused where any other backend refuses it."""
        self._require_open()
        if self.group is None:
            raise CommitNotAllowed(
                f"{self._doing}: a consumer in realtime mode has nothing to commit"
            )
        if self.options.auto_commit in ("delayed", "rolling"):
            rule = self.options.auto_commit
            raise CommitNotAllowed(f"{self._doing}: auto_commit={rule!r} commits by itself")

    def commit_asap(self) -> None:
        """Nothing: there is nowhere to commit to."""

    async def _leave(self, *, commit: bool) -> None:
        """Stop reading; what was not taken is gone."""
        self._batches.clear()
        self.waiting = 0
        self._source.leave(self)
        self._change.set()
