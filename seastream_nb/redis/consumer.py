"""Real-time consumers: every message of the assigned shards from a position on, in order.

The tail of each shard is looked up once, before creation returns: a quiet shard is not anchored
again at every read of a busy one, and nothing sent after creation is missed.

Whatever moves the positions replaces the fetcher and the inbox in one step: what the old fetcher
still reads goes nowhere, and a seek that is cancelled before that step has changed nothing.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from seastream_nb.errors import AckNotAllowed, CommitNotAllowed, ConfigError, ConsumerClosed
from seastream_nb.keys import (
    FIRST_ID,
    MAX_U64,
    EntryId,
    SeqPos,
    is_legal,
    key_bytes,
    key_text,
    shard_key,
)
from seastream_nb.message import Message, MessageHeader, Origin
from seastream_nb.options import ConnectOptions, ConsumerOptions
from seastream_nb.redis.catalog import server_now_ns
from seastream_nb.redis.connection import accepted
from seastream_nb.redis.fetcher import Fetcher, announce
from seastream_nb.redis.inbox import Inbox
from seastream_nb.redis.pool import LinkPool
from seastream_nb.redis.resp import Refusal
from seastream_nb.redis.shards import literal
from seastream_nb.times import Edge, Instant, Position, When, after, parse_when, resolve

# What a sequence number can hold: a time of 64 bits and 16 bits for entries of one time.
LAST_SEQUENCE = 2**80 - 1


class RealtimeConsumer:
    """The asynchronous core of a consumer in realtime mode.

    Attributes:
        options: how it reads.
        inbox: the messages that came, for the user's thread to take; another one after a seek.
    """

    def __init__(
        self,
        pool: LinkPool,
        options: ConsumerOptions,
        origins: Sequence[Origin],
        release: Callable[[Any], None],
    ) -> None:
        self.options = options
        self.inbox = Inbox()
        self._pool = pool
        self._release = release
        self._streams = tuple(dict.fromkeys(origin.stream for origin in origins))
        self._assigned = {origin.key: origin for origin in origins}
        self._doing = "reading " + ", ".join(map(repr, self._streams))
        self._changed = asyncio.Event()
        self._fetcher = self._fetcher_from({})
        self._closed = False
        self._process = os.getpid()

    async def start(self) -> None:
        """Anchor every shard: nothing sent after this returns is missed."""
        earliest = self.options.auto_stream_reset == "earliest"
        await self._place(Edge.EARLIEST if earliest else Edge.LATEST)

    @property
    def connection(self) -> ConnectOptions:
        """How the server was connected."""
        return self._pool.options

    # Which shards, from the next seek or rewind on.

    @property
    def stream_shards(self) -> list[tuple[str, int]]:
        """The assigned shards, as (stream key, shard)."""
        return sorted({(origin.stream, origin.shard) for origin in self._assigned.values()})

    def assign(self, key: str | bytes, shard: int) -> None:
        """Read this shard too, from the next seek or rewind on.

        Raises:
            ConfigError: the consumer was not created on this stream, or it has no such shard.
        """
        for origin in self._origins(key, shard):
            self._assigned.setdefault(origin.key, origin)

    def unassign(self, key: str | bytes, shard: int) -> None:
        """Stop reading this shard, from the next seek or rewind on.

        Raises:
            ConfigError: the shard is not assigned.
        """
        held = [origin.key for origin in self._origins(key, shard) if origin.key in self._assigned]
        if not held:
            raise ConfigError(f"shard {shard} of {key!r} is not assigned to this consumer")
        for each in held:
            del self._assigned[each]

    def _origins(self, key: str | bytes, shard: int) -> list[Origin]:
        """The Redis keys of one shard."""
        name = key_text(key_bytes(key))
        if name not in self._streams:
            streams = ", ".join(map(repr, self._streams))
            raise ConfigError(f"{name!r} is no stream of this consumer, which reads {streams}")
        sharded = self._pool.options.shards == "auto" and is_legal(name)
        if type(shard) is not int or not 0 <= shard <= MAX_U64 or (shard and not sharded):
            raise ConfigError(f"{name!r} has no shard {shard!r}")
        unit_ns = self._pool.options.unit_ns
        # Shard 0 is the plain key and `NAME:0`, as when shards are discovered.
        plain = [literal(key_bytes(key), unit_ns)] if shard == 0 else []
        own = [Origin(name, shard, shard_key(name, shard), unit_ns)] if sharded else []
        return plain + own

    # Where to read.

    async def seek(self, when: When | int) -> None:
        """Go to a time in all assigned shards: the first message strictly later is next.

        A time skips its whole tick, as SeaStreamer does; an id or a message skips itself. An int
        is a message's `timestamp_ns`.

        Raises:
            ConfigError: `when` cannot be read; the consumer stays where it is.
        """
        position: Position
        if isinstance(when, int | np.integer):
            position = Instant(int(when))
        else:
            moment = parse_when(when, tz=self._pool.options.tz)
            position = resolve(moment, await server_now_ns(self._pool) if moment.needs_now else 0)
        await self._place(position)

    async def rewind(self, to: SeqPos) -> None:
        """Go to the beginning, the end, or the message after a sequence number.

        Raises:
            ConfigError: `to` is none of these; the consumer stays where it is.
        """
        if to in ("beginning", "end"):
            await self._place(Edge.EARLIEST if to == "beginning" else Edge.LATEST)
        elif isinstance(to, int | np.integer) and 0 <= to <= LAST_SEQUENCE:
            await self._place(EntryId.from_sequence(int(to)))
        else:
            raise ConfigError(f"rewind({to!r}): give 'beginning', 'end' or a sequence number")

    async def _place(self, position: Position) -> None:
        """Read all assigned shards from a position on, and forget what was read before."""
        self._require_open()
        shards = list(self._assigned.values())
        if position is Edge.LATEST:
            places = await self._tails(shards)
        else:
            places = {origin: after(position, unit_ns=origin.unit_ns) for origin in shards}
        self._require_open()  # it may have ended while the server was asked
        self._fetcher.stop()
        self._fetcher = self._fetcher_from(places)
        self._fetcher.go_on()
        self.inbox = Inbox()
        announce(self._changed)

    async def _tails(self, shards: Sequence[Origin]) -> dict[Origin, EntryId]:
        """The last id of each shard."""
        if not shards:
            return {}
        commands = [("XREVRANGE", origin.key, "+", "-", "COUNT", 1) for origin in shards]
        replies = await self._pool.replies(commands, doing=self._doing)
        return {origin: self._tail(reply) for origin, reply in zip(shards, replies, strict=True)}

    def _tail(self, reply: Any) -> EntryId:
        # A key that holds no stream is the first read's news: the consumer can be created.
        if isinstance(reply, Refusal) and str(reply).startswith("WRONGTYPE"):
            return FIRST_ID
        entries = accepted(reply, self._doing)
        return EntryId.parse(entries[0][0]) if entries else FIRST_ID

    def _fetcher_from(self, places: Mapping[Origin, EntryId]) -> Fetcher:
        return Fetcher(
            self._pool,
            places,
            batch_size=self.options.batch_size,
            changed=self._changed,
            doing=self._doing,
        )

    # Messages.

    async def fill(self, least: float, most: float, until: float | None) -> None:
        """Wait until the inbox holds `least` messages; put in more, up to `most`, if they came.

        Args:
            least: how many messages to wait for.
            most: how many to have; what came together is put in together.
            until: when to give up, on the monotonic clock.

        Raises:
            TimeoutError: what came is in the inbox.
            ConnectError: an outage lasted longer than the connection's timeout; asking again
                goes on where reading stopped.
            ServerError: such as a key of another type, with the server's text.
        """
        try:
            async with asyncio.timeout_at(until):
                while True:
                    self._require_open()
                    batch = self._fetcher.take() if len(self.inbox) < most else None
                    if batch is not None:
                        self.inbox.add(batch)
                    elif len(self.inbox) >= least:
                        return
                    else:
                        self._fetcher.go_on()
                        await self._changed.wait()
        except TimeoutError:
            raise TimeoutError(f"{self._doing}: too few messages came in time") from None

    # Groups. A real-time consumer has none: what is checked is what a change of mode would need.

    def ack(self, message: Message | MessageHeader) -> None:
        """Nothing: no group waits for it.

        Raises:
            AckNotAllowed: with auto_commit="delayed", as in the group modes.
        """
        self._require_open()
        if self.options.auto_commit == "delayed":
            raise AckNotAllowed(
                f"{self._doing}: auto_commit='delayed' acks each message that was taken; choose "
                "'rolling' or 'disabled' to ack yourself"
            )

    async def commit(self) -> None:
        """Refused.

        Raises:
            CommitNotAllowed: always.
        """
        self._require_open()
        raise CommitNotAllowed(f"{self._doing}: a consumer in realtime mode has nothing to commit")

    def commit_asap(self) -> None:
        """Nothing: there is nothing to commit, and no mode refuses this."""

    def _require_open(self) -> None:
        if self._process != os.getpid():
            raise ConsumerClosed(f"{self._doing}: this consumer is its parent process's; make one")
        if self._closed:
            raise ConsumerClosed(f"{self._doing}: this consumer has ended")

    async def end(self) -> None:
        """Stop reading. Ending twice is fine."""
        self._closed = True
        self._release(self)
        self._fetcher.stop()
        self.inbox = Inbox()
        announce(self._changed)

    async def abort(self) -> None:
        """Stop reading; without a group there is nothing to leave uncommitted."""
        await self.end()
