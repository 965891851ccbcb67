"""Consumers: messages of the assigned shards in order, in real time or as a member of a group.

    Fetcher ─► inbox ─► the user's thread
       a group's: XREADGROUP      a seek's, and all of real time's: XREAD

Nothing sent after creation is missed: the tail of each shard is looked up, and each group joined,
before it returns. Whatever moves the positions replaces the fetcher and the inbox in one step, so
a seek that is cancelled before has changed nothing. A group's own are kept aside meanwhile, for
`resume_group`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from seastream_nb import portal
from seastream_nb.committing import require_ack, require_commit
from seastream_nb.consuming import ConsumerCore
from seastream_nb.errors import (
    AckNotAllowed,
    ConfigError,
    StreamError,
)
from seastream_nb.identity import with_identity
from seastream_nb.inbox import Inbox
from seastream_nb.keys import FIRST_ID, EntryId, SeqPos
from seastream_nb.message import Message, MessageHeader, Origin
from seastream_nb.options import ConnectOptions, ConsumerOptions
from seastream_nb.redis import catalog
from seastream_nb.redis.aside import Shard
from seastream_nb.redis.assignment import Assignment
from seastream_nb.redis.connection import accepted
from seastream_nb.redis.fetcher import Demand
from seastream_nb.redis.grouped import GroupFetcher, GroupShard
from seastream_nb.redis.membership import Membership
from seastream_nb.redis.pool import LinkPool
from seastream_nb.redis.realtime import RealtimeFetcher
from seastream_nb.redis.resp import Refusal
from seastream_nb.times import Edge, Instant, Position, When, after, parse_when, resolve

_STAMPED = frozenset({Message, MessageHeader})
# What a sequence number can hold: a time of 64 bits and 16 bits for entries of one time.
LAST_SEQUENCE = 2**80 - 1
# How often new shards are looked for, and which part of the time that may take.
DISCOVERY_SECONDS = 2.0
DISCOVERY_SHARE = 0.02
# How long one waits for a read at the server to be ended.
PAUSE_SECONDS = 1.5


class RedisConsumer(ConsumerCore):
    """The asynchronous core of a consumer, in every mode."""

    def __init__(
        self,
        pool: LinkPool,
        options: ConsumerOptions,
        origins: Sequence[Origin],
        release: Callable[[Any], None],
    ) -> None:
        grouped = options.mode != "realtime"
        options = with_identity(options) if grouped else options
        self._assignment = Assignment(origins, pool.options)
        super().__init__(options, doing=f"reading {self._assignment}", release=release)
        self._pool = pool
        self._group = Membership(pool, self.options) if grouped else None
        # The keys whose messages `ack()` may name, and where it notes them.
        self._ackable: set[bytes] = set()
        self._acked = deque() if self._group is None else self._group.acked
        self._note_ackable()
        ahead = self._group is None or self._group.rule.reads_ahead
        self._demand = Demand(ahead=ahead)
        if self._group is not None:
            self.inbox = self._group.inbox
        self._own = None if self._group is None else self._group_fetcher(self._group)
        self._sought: RealtimeFetcher | None = None
        # Where a shard that appears after a seek is begun.
        self._begin_new = FIRST_ID
        self._discovering: asyncio.Task[None] | None = None
        self._pausing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Anchor every shard, or join its group: nothing sent after this returns is missed."""
        if self._own is not None:
            await self._own.start()
            if self._demand.ahead:
                self._own.go_on()
        else:
            earliest = self.options.auto_stream_reset == "earliest"
            await self._place(Edge.EARLIEST if earliest else Edge.LATEST)
        if self._assignment.growing:
            self._discovering = asyncio.create_task(self._discover(), name="seastream shards")

    @property
    def connection(self) -> ConnectOptions:
        """How the server was connected."""
        return self._pool.options

    # Which shards, from the next seek, rewind or return to the group on.

    @property
    def stream_shards(self) -> list[tuple[str, int]]:
        """The assigned shards, as (stream key, shard)."""
        return self._assignment.stream_shards

    def assign(self, key: str | bytes, shard: int) -> None:
        """Read this shard too, from the next seek, rewind or return to the group on."""
        self._assignment.assign(key, shard)
        self._note_ackable()

    def unassign(self, key: str | bytes, shard: int) -> None:
        """Stop reading this shard, from the next seek, rewind or return to the group on."""
        self._assignment.unassign(key, shard)

    def _note_ackable(self) -> None:
        if self._group is not None and not self._group.rule.acks_itself:
            self._ackable.update(self._assignment.keys)

    async def _discover(self) -> None:
        """Read shards that appear later: what they hold was sent after this consumer began."""
        loop, took = asyncio.get_running_loop(), 0.0
        while True:
            await asyncio.sleep(max(DISCOVERY_SECONDS, took / DISCOVERY_SHARE))
            started = loop.time()
            with suppress(StreamError):  # reading itself will tell
                for key in self._assignment.growing:
                    self._add(self._assignment.find(await catalog.discover(self._pool, key)))
            took = loop.time() - started

    def _add(self, origins: Iterable[Origin]) -> None:
        self._note_ackable()
        for origin in origins:
            if self._own is not None:
                self._own.add(GroupShard(origin))
            if self._sought is not None:
                self._sought.add(Shard(origin, self._begin_new))

    # Where to read.

    async def seek(self, when: When | int) -> None:
        """Go to a time in all assigned shards: the first message strictly later is next."""
        position: Position
        if isinstance(when, int | np.integer):
            position = Instant(int(when))
        else:
            moment = parse_when(when, tz=self._pool.options.tz)
            now_ns = await catalog.server_now_ns(self._pool) if moment.needs_now else 0
            position = resolve(moment, now_ns)
        await self._place(position)

    async def rewind(self, to: SeqPos) -> None:
        """Go to the beginning, the end, or the message after a sequence number; as `seek`."""
        if to in ("beginning", "end"):
            await self._place(Edge.EARLIEST if to == "beginning" else Edge.LATEST)
        elif isinstance(to, int | np.integer) and 0 <= to <= LAST_SEQUENCE:
            await self._place(EntryId.from_sequence(int(to)))
        else:
            raise ConfigError(f"rewind({to!r}): give 'beginning', 'end' or a sequence number")

    async def resume_group(self) -> None:
        """After a seek or rewind: go on where the group was, with all that was not taken then."""
        self._require_open()
        if self._group is None or self._own is None:
            raise ConfigError(f"{self._doing}: a consumer in realtime mode has no group")
        if self._sought is not None:
            self._sought.stop()
            self._sought = None
        self._own.assign(map(self._group_shard, self._assignment))
        self._switch(self._group.inbox)

    async def _place(self, position: Position) -> None:
        """Read all assigned shards from a position on, and forget what was read before."""
        self._require_open()
        origins, begin_new = list(self._assignment), FIRST_ID
        if position is Edge.LATEST:
            shards = await self._tails(origins)
        else:
            shards = [Shard(each, after(position, unit_ns=each.unit_ns)) for each in origins]
            begin_new = after(position, unit_ns=self._pool.options.unit_ns)
        self._require_open()  # it may have ended while the server was asked
        if self._sought is not None:
            self._sought.stop()
        elif self._own is not None:
            self._pausing = asyncio.create_task(self._own.pause(PAUSE_SECONDS))
        self._sought, self._begin_new = self._reader(shards), begin_new
        self._switch(Inbox())

    @property
    def _fetcher(self) -> RealtimeFetcher | GroupFetcher:
        """What reads now."""
        fetcher = self._sought or self._own
        assert fetcher is not None
        return fetcher

    def _switch(self, inbox: Inbox) -> None:
        self.inbox = inbox
        if self._demand.wanted:
            self._fetcher.go_on()
        self._demand.announce()

    async def _tails(self, origins: Sequence[Origin]) -> list[Shard]:
        """The shards, each behind its last entry."""
        if not origins:
            return []
        commands = [("XREVRANGE", origin.key, "+", "-", "COUNT", 1) for origin in origins]
        replies = await self._pool.replies(commands, doing=self._doing)
        return [
            Shard(origin, self._tail(reply), reached=True)
            for origin, reply in zip(origins, replies, strict=True)
        ]

    def _tail(self, reply: Any) -> EntryId:
        # A key that holds no stream is the first read's news: the consumer can be created.
        if isinstance(reply, Refusal) and str(reply).startswith("WRONGTYPE"):
            return FIRST_ID
        entries = accepted(reply, self._doing)
        return EntryId.parse(entries[0][0]) if entries else FIRST_ID

    def _reader(self, shards: Iterable[Shard]) -> RealtimeFetcher:
        return RealtimeFetcher(
            self._pool,
            shards,
            batch_size=self.options.batch_size,
            may_grow=self._demand.ahead,
            demand=self._demand,
            doing=self._doing,
        )

    def _group_fetcher(self, group: Membership) -> GroupFetcher:
        return GroupFetcher(
            group,
            map(self._group_shard, self._assignment),
            pool=self._pool,
            batch_size=self.options.batch_size,
            may_grow=self._demand.ahead and self.options.mode == "resumable",
            demand=self._demand,
            doing=self._doing,
        )

    def _group_shard(self, origin: Origin) -> GroupShard:
        optional = self._assignment.is_optional(origin)
        earliest = self.options.auto_stream_reset == "earliest"
        return GroupShard(
            origin,
            awaited=optional,
            start=b"0" if earliest else b"$",
            make=self.options.mkstream and not optional,
        )

    # Messages.

    async def fill(self, least: float, most: float, until: float | None) -> None:
        """Wait until the inbox holds `least` messages; put in more, up to `most`, if they came."""
        self._require_open()
        if self._group is not None:
            self._group.tell()
            self._group.notice_soon()
        try:
            with self._demand.waits():
                async with asyncio.timeout_at(until):
                    await self._fill(least, most)
        except TimeoutError:
            await self._give_up(most)
            if len(self.inbox) < least:
                raise TimeoutError(f"{self._doing}: too few messages came in time") from None
        except asyncio.CancelledError:
            await self._give_up(most)
            raise

    async def _fill(self, least: float, most: float) -> None:
        while True:
            self._require_open()
            if self._put(most):
                continue
            if len(self.inbox) >= least:
                return
            self._fetcher.go_on()
            await self._demand.change()

    def _put(self, most: float) -> bool:
        batch = self._fetcher.take() if len(self.inbox) < most else None
        if batch is not None:
            self.inbox.add(batch)
        return batch is not None

    async def _give_up(self, most: float) -> None:
        """Nobody waits any more: on demand, take nothing from the group that nobody wants."""
        if self._own is not None and self._sought is None and not self._demand.wanted:
            await self._own.pause(PAUSE_SECONDS)
            self._put(most)

    # Groups.

    @property
    def rides(self) -> bool:
        """Whether commits ride on the calls that take messages."""
        return self._group is not None and self._group.rule.rides

    def ride(self) -> None:
        """A call takes messages; called by the user's thread, before it does."""
        if self._group is not None:
            self._group.ride()

    def ack(self, message: Message | MessageHeader) -> None:
        """Mark a message as done; only a group that does not do it itself makes use of it."""
        # One test for all that could be wrong: this may be called for every message.
        if type(message) in _STAMPED and message.origin.key in self._ackable:
            self._acked.append((message.origin.key, message.wire_id))
        else:
            self._refuse_ack(message)

    def _refuse_ack(self, message: Any) -> None:
        """Say why an ack is wrong, unless it is only not needed."""
        self._require_open()
        require_ack(self.options.auto_commit, message, doing=self._doing)
        if message.stream not in self._assignment.streams:
            raise AckNotAllowed(f"{self._doing}: a message of {message.stream!r} is not of these")

    async def commit(self) -> None:
        """Commit what is acknowledged, and return when the server has it."""
        self._require_open()
        require_commit(self.options, doing=self._doing)
        if self._group is not None:
            await self._group.commit()

    def commit_asap(self) -> None:
        """Commit what is due soon, without waiting; refused in no mode."""
        if self._group is not None:
            portal.call_soon(self._group.commit_soon)

    async def _leave(self, *, commit: bool) -> None:
        self._ackable.clear()
        self._demand.announce()
        if self._discovering is not None:
            self._discovering.cancel()
        try:
            if self._own is not None and self._group is not None:
                # A read that still waits would take messages for somebody who is gone.
                await self._own.pause(PAUSE_SECONDS)
                await self._group.close(commit=commit)
        finally:
            for fetcher in (self._sought, self._own):
                if fetcher is not None:
                    fetcher.stop()
