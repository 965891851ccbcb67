"""Consumers of a file: messages of their keys in stored order, the past and then what comes.

    Reader ─► inbox ─► the user's thread

Nothing written after creation is missed: where reading begins is looked up before it returns. What
moves the positions replaces the reader and the inbox in one step, so a seek that fails, or is
cancelled, has changed nothing. A group's own are kept aside meanwhile, for `resume_group`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from seastream_nb import portal
from seastream_nb.committing import RULES, require_ack, require_commit
from seastream_nb.consuming import ConsumerCore
from seastream_nb.errors import (
    AckNotAllowed,
    ConfigError,
    ReadOnlyError,
)
from seastream_nb.file.format import HEADER_SIZE, INTERNAL_KEY
from seastream_nb.file.groups import Member, join_group
from seastream_nb.file.positions import Positions
from seastream_nb.file.reader import Reader
from seastream_nb.file.resuming import Resumption
from seastream_nb.file.seeking import at_edge, near, rewound, sought
from seastream_nb.file.selection import Selection
from seastream_nb.file.session import in_thread
from seastream_nb.file.survey import Begin
from seastream_nb.file.tail import Tail
from seastream_nb.identity import with_identity
from seastream_nb.inbox import Inbox
from seastream_nb.keys import SeqPos
from seastream_nb.message import Message, MessageHeader
from seastream_nb.options import ConnectOptions, ConsumerOptions
from seastream_nb.times import Edge, When


class FileConsumer(ConsumerCore):
    """The asynchronous core of a consumer of a file, in every mode.

    A load-balanced group is one of this process, and ends with its last member; a resumable one
    keeps its positions in `NAME.ss.positions` beside the file.
    """

    def __init__(
        self,
        path: Path,
        keys: Sequence[str | bytes],
        options: ConsumerOptions,
        connection: ConnectOptions,
        *,
        release: Callable[[Any], None],
    ) -> None:
        grouped = options.mode != "realtime"
        options = with_identity(options) if grouped else options
        self._selection = Selection(keys, apart=connection.shards == "off")
        super().__init__(options, doing=f"reading {self._selection} of {path}", release=release)
        self.connection = connection
        # Where the process goes later changes nothing.
        self._there = path.absolute()
        self._rule = RULES[options.auto_commit] if grouped else None
        self._resumption: Resumption | None = None
        self._member: Member | None = None
        self._own_inbox = self.inbox
        # What reads for the group, and what reads after a seek, or in real time.
        self._own: Reader | None = None
        self._sought: Reader | None = None
        self._stirred = asyncio.Event()

    @classmethod
    async def open(
        cls,
        path: Path,
        keys: Sequence[str | bytes],
        options: ConsumerOptions,
        connection: ConnectOptions,
        *,
        release: Callable[[Any], None],
    ) -> Self:
        """A consumer that is anchored: nothing written after this returns is missed.

        Raises:
            FileError: the file cannot be read, or a group's positions cannot be kept.
            FileFormatError: it is no `.ss` file, or damaged where reading begins.
            ConfigError: a group over all keys, or positions of another file.
            ReadOnlyError: a group, on a read-only connection.
        """
        consumer = cls(path, keys, options, connection, release=release)
        try:
            await consumer._start()
        except BaseException:
            await consumer.abort()
            raise
        return consumer

    async def _start(self) -> None:
        if self.options.mode == "realtime":
            self._sought = self._reader(await self._begin())
            return
        if self.connection.read_only:
            raise ReadOnlyError(f"{self._doing}: a read-only connection has no group consumers")
        if self._selection.wildcard or INTERNAL_KEY in self._selection.keys:
            raise ConfigError(f"{self._doing}: a group needs the keys of its streams, not '*'")
        if self.options.mode == "load_balanced":
            selection, group = self._selection.snapshot(), self.options.group or ""
            self._member = await join_group(self._there, group, selection, self._begin)
        else:
            self._resumption = Resumption(Positions(self._there), self.options)
            self.inbox = self._own_inbox = self._resumption.inbox
        await self._read_own()

    async def _begin(self) -> Tail:
        """Where a consumer begins that stood nowhere before."""
        earliest = self.options.auto_stream_reset == "earliest"
        tail, _ = await at_edge(self._there, Edge.EARLIEST if earliest else Edge.LATEST)
        return tail

    async def _read_own(self) -> None:
        """Begin to read for the group, where it stands."""
        if self._member is not None:
            member = self._member
            tail = await in_thread(lambda: Tail(self._there, member.offset))
            reader = self._reader(tail, share=member, turn=member.turn)
            self._own = member.reads(reader, self._stirred.set)
        elif self._resumption is not None:
            begin = await self._begin()
            positions = await self._resumption.join(self._selection.keys, begin)
            offset = min((base for base, _ in positions.values()), default=HEADER_SIZE)
            tail = await in_thread(lambda: Tail(self._there, offset))
            self._own = self._reader(tail, skips=positions)

    def _reader(self, tail: Tail, **options: Any) -> Reader:
        return Reader(tail, self._selection.snapshot(), told=self._stirred.set, **options)

    # Which shards, from the next seek, rewind or return to the group on.

    @property
    def stream_shards(self) -> list[tuple[str, int]]:
        """The assigned shards that are known, as (stream key, shard)."""
        return self._selection.stream_shards

    def assign(self, key: str | bytes, shard: int) -> None:
        """Read this shard too, from the next seek, rewind or return to the group on."""
        self._selection.assign(key, shard)

    def unassign(self, key: str | bytes, shard: int) -> None:
        """Stop reading this shard, from the next seek, rewind or return to the group on."""
        self._selection.unassign(key, shard)

    async def seek(self, when: When | int) -> None:
        """Go to a time in all assigned shards: the first message strictly later is next."""
        await self._place(*await sought(when, self._there, self.connection))

    async def rewind(self, to: SeqPos) -> None:
        """Go to the beginning, the end, or the message with a sequence number, or a higher one."""
        await self._place(*rewound(to))

    async def _place(self, edge: Edge, begin: Begin | None) -> None:
        """Read all assigned shards from a position on, and forget what was read before."""
        self._require_open()
        if begin is None:
            tail, _ = await at_edge(self._there, edge)
        else:
            tail = await near(self._there, begin, self._selection.snapshot())
        self._require_open()  # it may have ended meanwhile
        await self._switch(self._reader(tail, begin=begin), Inbox())

    async def resume_group(self) -> None:
        """After a seek or rewind: go on where the group was, with all that was not taken then."""
        self._require_open()
        if self._own is None:
            raise ConfigError(f"{self._doing}: a consumer in realtime mode has no group")
        self._own.select(self._selection.snapshot())
        await self._switch(None, self._own_inbox)

    async def _switch(self, sought: Reader | None, inbox: Inbox) -> None:
        before, self._sought, self.inbox = self._sought, sought, inbox
        self._stirred.set()
        if before is not None:
            await before.stop()

    async def fill(self, least: float, most: float, until: float | None) -> None:
        """Wait until the inbox holds `least` messages; put in more, up to `most`, if they came."""
        self._require_open()
        if self._resumption is not None:
            self._resumption.tell()
        try:
            async with asyncio.timeout_at(until):
                await self._fill(least, most)
        except TimeoutError:
            if len(self.inbox) < least:
                raise TimeoutError(f"{self._doing}: too few messages came in time") from None

    async def _fill(self, least: float, most: float) -> None:
        while True:
            self._require_open()
            self._stirred.clear()
            reader = self._sought or self._own
            assert reader is not None
            if len(self.inbox) < most and self._put(reader):
                continue
            if len(self.inbox) >= least:
                return
            owed = self._member is not None and reader is self._own and self._member.owes
            if reader.failure is not None and not owed:
                if not len(self.inbox):
                    reader.raise_failure()
                return
            await self._stirred.wait()

    def _put(self, reader: Reader) -> bool:
        """Put the next batch in the inbox; whether there was one."""
        left = self._member.take() if self._member is not None and reader is self._own else None
        if left is not None:
            self.inbox.add(left)
            return True
        batch = reader.take()
        if batch is None:
            return False
        if self._resumption is not None and reader is self._own:
            self._resumption.received(batch, reader.header)
        else:
            self.inbox.add(batch)
        return True

    # Groups.

    @property
    def rides(self) -> bool:
        """Whether commits ride on the calls that take messages."""
        return self._rule is not None and self._rule.rides

    def ride(self) -> None:
        """A call takes messages; called by the user's thread, before it does."""
        if self._resumption is not None:
            self._resumption.ride()

    def ack(self, message: Message | MessageHeader) -> None:
        """Mark a message as done; only a group that does not do it itself makes use of it."""
        self._require_open()
        require_ack(self.options.auto_commit, message, doing=self._doing)
        if not self._selection.reads(message.stream):
            raise AckNotAllowed(f"{self._doing}: a message of {message.stream!r} is not of these")
        if self._resumption is not None and not self._resumption.rule.acks_itself:
            self._resumption.acked.append((message.origin.key, message.wire_id))

    async def commit(self) -> None:
        """Commit what is acknowledged, and return when it is kept."""
        self._require_open()
        require_commit(self.options, doing=self._doing)
        if self._resumption is not None:
            await self._resumption.commit()

    def commit_asap(self) -> None:
        """Commit what is due soon, without waiting; refused in no mode."""
        if self._resumption is not None:
            portal.call_soon(self._resumption.commit_soon)

    async def _leave(self, *, commit: bool) -> None:
        self._stirred.set()
        try:
            if self._member is not None:
                await self._member.leave(self._own_inbox)
            if self._resumption is not None:
                await self._resumption.close(commit=commit)
        finally:
            for reader in (self._sought, self._own):
                if reader is not None:
                    await reader.stop()
