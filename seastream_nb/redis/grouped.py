"""Reading shards as one consumer of a group, with XREADGROUP.

Of each shard, in this order: join the group, which is created where it is missing; replay what is
pending for this consumer's name, to the very end; read new entries. A load-balanced consumer also
claims what others left pending for too long.

An answer that is lost leaves its entries pending for this consumer. So after every loss the old
link is killed at the server, where its request may still wait, and the pending entries behind the
last one received are read again, before anything new.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from seastream_nb.errors import AuthError, ServerError, StreamError, StreamNotFound, StreamReset
from seastream_nb.inbox import Batch
from seastream_nb.keys import FIRST_ID, EntryId
from seastream_nb.redis import wire
from seastream_nb.redis.aside import Shard
from seastream_nb.redis.claims import Claimed, Claims
from seastream_nb.redis.connection import BLOCK_MS, Link, accepted, refused
from seastream_nb.redis.fetcher import Fetcher
from seastream_nb.redis.membership import Membership
from seastream_nb.redis.readback import Identity, ask, introduce, kill
from seastream_nb.redis.resp import Refusal

# How long a read blocks where the server does not let it be ended earlier.
SHORT_BLOCK_MS = 100
# A read that was told to stop is told again after so many seconds: it may not have begun.
UNBLOCK_SECONDS = 0.02
# How often XAUTOCLAIM may be asked between two reads; it looks at a bounded number of entries.
CLAIMS_AT_ONCE = 100


@dataclass(slots=True)
class GroupShard(Shard):
    """A shard of a group consumer; `position` is the last entry it received.

    Attributes:
        start: where the group begins if it has to be created.
        make: whether the stream is created with it.
        replaying: whether pending entries after `position` come first.
        witness: the last entry that the group is known to have given to anybody, with its
            body: a stream that was made anew may have another one with this id.
    """

    start: bytes = b"0"
    make: bool = False
    replaying: bool = True
    witness: list[Any] | None = None


class GroupFetcher(Fetcher[GroupShard]):
    """Reads shards for a group; `start` first."""

    def __init__(self, group: Membership, shards: Iterable[GroupShard], **reading: Any) -> None:
        super().__init__(shards=shards, **reading)
        self._group = group
        # This link as the server knows it, if its reads can be ended, and the one that broke.
        self._identity: Identity | None = None
        self._lost: Identity | None = None
        self._busy = False
        self._takes = False
        balanced = group.options.mode == "load_balanced"
        interval = group.options.auto_claim_interval if balanced else None
        self._claims = Claims(interval, asyncio.get_running_loop().time())

    # Joining.

    async def start(self) -> None:
        """Join the group of every shard; what fails is told when somebody waits for messages."""
        shards = list(self._shards)
        commands = [self._create(shard) for shard in shards]
        replies = await self._pool.replies(commands, doing=self._doing)
        await self._joined(shards, replies)

    def add(self, shard: GroupShard) -> None:
        """Read one more shard, when its group was joined."""
        # Joined at the next turn, like one that was missing.
        shard.trouble, shard.awaited = StreamNotFound(f"{self._doing}: not joined yet"), True
        super().add(shard)

    def _create(self, shard: GroupShard) -> list[wire.Argument]:
        make = ["MKSTREAM"] if shard.make else []
        return ["XGROUP", "CREATE", shard.origin.key, self._group.name, shard.start, *make]

    async def _join(self, shards: Sequence[GroupShard]) -> None:
        await self._joined(shards, await self._ask([wire.pack(self._create(s)) for s in shards]))

    async def _joined(self, shards: Sequence[GroupShard], replies: Sequence[Any]) -> None:
        for shard, reply in zip(shards, replies, strict=True):
            if not isinstance(reply, Refusal) or str(reply).startswith("BUSYGROUP"):
                shard.trouble, shard.told, shard.awaited = None, False, False
                shard.replaying, shard.position = True, FIRST_ID
                shard.witness = await self._group.last_delivered(shard.origin.key)
            elif "requires the key to exist" in str(reply):
                # All that will be in it is sent from now on.
                shard.start = b"0"
                self._set_aside(shard, self._missing(shard))
            else:
                error = refused(
                    reply, f"joining group {self._group.name!r} of {shard.origin.stream!r}"
                )
                if not isinstance(error, ServerError):
                    raise error
                if shard.awaited:  # it came, and is no stream
                    shard.awaited = shard.told = False
                self._set_aside(shard, error)

    def _missing(self, shard: GroupShard) -> StreamNotFound:
        return StreamNotFound(
            f"reading {shard.origin.stream!r} as group {self._group.name!r}: there is no such "
            "stream; send to it first, or create the consumer with mkstream=True"
        )

    # Reading.

    async def _fetch(self) -> Batch | None:
        self._busy = True
        try:
            return await self._fetch_once()
        finally:
            self._busy = False

    async def _fetch_once(self) -> Batch | None:
        await self._look_at_refusals()
        if missing := self._to_retry():
            await self._join(missing)
            self._tell()
        healthy = self._shards.healthy
        if not healthy:
            await self._wait_for_a_shard()
            return None
        batch = await self._claim(healthy)
        if batch is None:
            batch = await self._replay_or_read(healthy)
        self._tell()
        return batch if len(batch) else None

    async def _replay_or_read(self, shards: Sequence[GroupShard]) -> Batch:
        replaying = list(filter(_replays, shards))
        if replaying:
            return await self._read(replaying, None)
        with self._taking():
            return await self._read(shards, self._block_ms())

    @contextmanager
    def _taking(self) -> Iterator[None]:
        """A request for entries that the server will not give again."""
        self._takes = True
        try:
            yield
        finally:
            self._takes = False

    def _block_ms(self) -> int:
        return SHORT_BLOCK_MS if self._identity is None else BLOCK_MS

    def _request(self, shards: Sequence[GroupShard], block_ms: int | None) -> bytes:
        positions = {shard.origin.key: _after(shard) for shard in shards}
        group, consumer = self._group.name, self._group.consumer
        return wire.xreadgroup(group, consumer, positions, count=self._count, block_ms=block_ms)

    def _received(self, shard: GroupShard, entries: list[Any], batch: Batch) -> None:
        if not entries:
            shard.replaying = False  # all that was pending came
            self._group.replays(now=any(map(_replays, self._shards)))
            return
        last = EntryId.parse(entries[-1][0])
        if shard.replaying:
            entries = self._group.not_held(shard.origin.key, entries)
        else:
            shard.witness = entries[-1]
        shard.position = last
        self._keep(shard, entries, batch)

    def _keep(self, shard: GroupShard, entries: list[Any], batch: Batch) -> None:
        blank = batch.add(shard.origin, entries, self._pool.options.field)
        self._group.received(shard.origin, [entry_id for entry_id, _ in entries])
        if blank:
            deleted = sum(body is None for _, body in entries)
            self._group.acknowledge_blank(shard.origin, blank, unread=len(blank) - deleted)

    # Losses.

    async def _prepare(self, link: Link) -> None:
        """Learn how to end this link's reads, and end those of the one before."""
        timeout = self._pool.options.timeout
        self._identity = None
        with suppress(AuthError):  # then reads are short, and a late answer is claimed by others
            identity = await introduce(link, timeout)
            if self._lost is not None:
                await kill(link, [self._lost], identity, timeout)
                self._lost = None
            [unblocked] = await ask(link, [("CLIENT", "UNBLOCK", 0)], timeout)
            if not isinstance(unblocked, Refusal):
                self._identity = identity

    def _after_loss(self) -> None:
        super()._after_loss()
        self._lost, self._identity = self._identity or self._lost, None
        if not self._takes:
            return  # what was asked for can be asked for again
        self._group.replays(now=True)
        for shard in self._shards:
            shard.replaying = True
            if self._group.knows_what_it_holds:
                # An answer to a claim has older entries than the last one received.
                shard.position = FIRST_ID

    async def _refused(self, shard: GroupShard, refusal: Refusal) -> None:
        if not str(refusal).startswith("NOGROUP"):
            await super()._refused(shard, refusal)
            return
        self._group.forget(shard.origin.key)
        shard.start = await self._start_again(shard)
        shard.witness = None
        self._news.append(StreamReset(self._what_happened(shard)))
        self._set_aside(shard, self._missing(shard))
        shard.awaited, shard.retry_at = True, 0.0

    async def _start_again(self, shard: GroupShard) -> bytes:
        """Where to create a group that is gone: where it was, if this is still the same stream."""
        if shard.witness is None:
            return b"0"
        at: bytes = shard.witness[0]
        [found] = await self._ask([wire.pack(["XRANGE", shard.origin.key, at, at])])
        return at if found == [shard.witness] else b"0"

    def _what_happened(self, shard: GroupShard) -> str:
        gone, then = "the stream or its group", "from the beginning of what is there"
        if shard.start != b"0":
            gone, then = "the group", f"after {shard.start.decode()}"
        return (
            f"reading {shard.origin.stream!r} as group {self._group.name!r}: {gone} was deleted; "
            f"the next call goes on {then}, in a new group"
        )

    # Claiming.

    async def _claim(self, shards: Sequence[GroupShard]) -> Batch | None:
        """Messages that others left pending for too long, when it is time to look for some."""
        keys = [shard.origin.key for shard in shards]
        for _ in range(CLAIMS_AT_ONCE):
            look = self._claims.next(asyncio.get_running_loop().time(), keys)
            if look is None:
                break
            batch = await self._claim_from(*look)
            if len(batch):
                return batch
        return None

    async def _claim_from(self, key: bytes, cursor: bytes) -> Batch:
        batch = Batch()
        if key not in self._shards:  # not assigned any more
            return batch
        shard = self._shards[key]
        with self._taking():
            [reply] = await self._ask([self._group.claiming(key, cursor)])
        if isinstance(reply, Refusal) and str(reply).startswith("NOGROUP"):
            return batch  # which reading will find too
        claimed = Claimed.of(accepted(reply, self._doing))
        if claimed.hidden:
            # Our own pending list tells which entries were deleted.
            shard.replaying, shard.position = True, FIRST_ID
            self._group.replays(now=True)
        self._keep(shard, self._group.not_held(key, claimed.entries), batch)
        self._claims.go_on(key, claimed.cursor)
        return batch

    # Pausing.

    async def pause(self, within: float) -> None:
        """Read nothing more for now; a read that waits at the server is ended.

        What it brings is the next batch. `within` bounds the wait for it, in seconds.
        """
        self._parked = True
        self._demand.announce()
        with suppress(TimeoutError, StreamError):
            async with asyncio.timeout(within):
                while self._busy and self._parked:
                    if self._identity is not None:
                        unblock = ("CLIENT", "UNBLOCK", self._identity.number)
                        await self._pool.replies([unblock], doing=self._doing)
                    with suppress(TimeoutError):
                        async with asyncio.timeout(UNBLOCK_SECONDS):
                            await self._demand.change()

    def assign(self, shards: Iterable[GroupShard]) -> None:
        """Read these shards from now on; those that were read before go on where they were."""
        wanted = list(shards)
        self._shards.only(shard.origin.key for shard in wanted)
        for shard in wanted:
            if shard.origin.key not in self._shards:
                self.add(shard)


def _replays(shard: GroupShard) -> bool:
    return shard.replaying and shard.trouble is None


def _after(shard: GroupShard) -> bytes:
    return shard.position.wire() if shard.replaying else b">"
