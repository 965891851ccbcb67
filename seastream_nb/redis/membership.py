"""A consumer's membership in a group: its names, what it holds, what it has committed.

Acks go to the server in the background, on links of the pool: a commit never waits for a reader,
nor a reader for a commit.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import suppress
from typing import Any

from seastream_nb import portal
from seastream_nb.committing import RULES, Acks, Ledger, count, joined
from seastream_nb.errors import ConnectError, ServerError, StreamError
from seastream_nb.inbox import Inbox
from seastream_nb.keys import key_text
from seastream_nb.message import Origin
from seastream_nb.options import ConsumerOptions
from seastream_nb.redis import wire
from seastream_nb.redis.commit import Leases, chunks
from seastream_nb.redis.connection import refused
from seastream_nb.redis.pool import LinkPool, waited_out
from seastream_nb.redis.renewal import Renewal
from seastream_nb.redis.resp import Refusal

# How often it is noticed what was handed over, while something is.
NOTICE_SECONDS = 0.05
# After a commit in the background failed, the next waits so long: twice as long each time.
RETRY_SECONDS = 0.1
MOST_RETRY_SECONDS = 5.0
# How many XACKs are on their way at once.
XACKS_AT_ONCE = 10
# A lease is renewed so many times before others may claim the entry.
RENEWALS = 3
# How long the end waits for the server to take the last commit.
END_SECONDS = 5.0
# How long it waits to release what is held, which is a kindness to others only.
RELEASE_SECONDS = 1.0


class Membership:
    """This consumer in its group. Used on the I/O thread, except where said.

    Attributes:
        options: with group and consumer filled in.
        rule: what `auto_commit` means.
        inbox: the group's messages that came, also while the consumer reads elsewhere.
        acked: entries that the user acknowledged, as (key, id); his thread adds them.
    """

    def __init__(self, pool: LinkPool, options: ConsumerOptions) -> None:
        assert options.group is not None
        assert options.consumer_id is not None
        self.pool = pool
        self.options = options
        self.name = options.group
        self.consumer = options.consumer_id
        self.rule = RULES[options.auto_commit]
        self.inbox = Inbox(tells=self.rule.acks_itself)
        self._doing = f"committing to group {self.name!r}"
        delayed = options.auto_commit == "delayed"
        self._ledger = Ledger(options.auto_commit_delay if delayed else 0.0)
        balanced = options.mode == "load_balanced"
        self._leases = Leases(options.max_hold) if balanced else None
        self._renewal: Renewal | None = None
        if self._leases is not None:
            self._renewal = Renewal(pool, self.name, self.consumer, self._leases)
        self._renew_at = time.monotonic()
        self.acked: deque[tuple[bytes, bytes]] = deque()
        self._blank: list[Acks] = []
        self._next_ride = 0.0
        self._retry_at = 0.0
        self._retry_pause = RETRY_SECONDS
        self._failure: StreamError | None = None
        self._committing = asyncio.Lock()
        self._asked = False
        self._answering: asyncio.Task[None] | None = None
        self._stir = asyncio.Event()
        self._unread = 0
        self._warned = False
        self._tending = asyncio.create_task(self._tend(), name="seastream group")

    # Called by the user's thread.

    def ride(self) -> None:
        """Commit with a call that takes messages, where commits ride on those."""
        if self.acked and self.rule.rides and (now := time.monotonic()) >= self._next_ride:
            self._next_ride = now + self.options.auto_commit_interval
            portal.call_soon(self.commit_soon)

    # What the fetcher asks and tells.

    @property
    def knows_what_it_holds(self) -> bool:
        """Whether entries that come again can be told from new ones."""
        return self._leases is not None

    def not_held(self, key: bytes, entries: list[Any]) -> list[Any]:
        """The entries that this consumer does not have already."""
        if self._leases is None:
            return entries
        known = self._leases.knows(key)
        return [entry for entry in entries if not known(entry[0])]

    def replays(self, *, now: bool) -> None:
        """Whether what is pending is read again now."""
        if self._leases is not None:
            self._leases.remember(committed=now)

    def received(self, origin: Origin, ids: list[bytes]) -> None:
        """Entries came, and are held until they are committed."""
        if self._leases is not None:
            self._leases.take(origin.key, ids, time.monotonic())
        self._stir.set()

    def acknowledge_blank(self, origin: Origin, ids: list[bytes], *, unread: int) -> None:
        """Entries came that hold no message, which nobody else could acknowledge.

        They were deleted, except the `unread` ones, which have other fields.
        """
        self._blank.append({origin.key: ids})
        self._unread += unread
        self.commit_soon()

    def forget(self, key: bytes) -> None:
        """A stream or its group is gone, and the ids of another one may be the same."""
        if self._leases is not None:
            self._leases.drop({key: self._leases.held(key)})
        self._collect()
        self._ledger.forget(key)

    async def last_delivered(self, key: bytes) -> list[Any] | None:
        """The last entry that the group has given to anybody, if it is there and may be seen."""
        [reply] = await self.pool.replies([("XINFO", "GROUPS", key)], doing=self._doing)
        for each in () if isinstance(reply, Refusal) else map(wire.pairs, reply):
            if each[b"name"] == self.name.encode():
                at = each[b"last-delivered-id"]
                [found] = await self.pool.replies([("XRANGE", key, at, at)], doing=self._doing)
                return None if isinstance(found, Refusal) or not found else found[0]
        return None

    def claiming(self, key: bytes, cursor: bytes) -> bytes:
        """The command that takes over entries which others left pending for too long."""
        idle = round(self.options.auto_claim_idle * 1000)
        who = ("XAUTOCLAIM", key, self.name, self.consumer, idle, cursor)
        return wire.pack([*who, "COUNT", self.options.batch_size])

    # Committing.

    def notice(self) -> None:
        """Acknowledge what was handed over, where handing over does."""
        self._ledger.note(self.inbox.handed_over(), time.monotonic())

    def notice_soon(self) -> None:
        """A call came for messages: what it found is handed over."""
        self.notice()
        if self._is_due():
            self.commit_soon()
        self._stir.set()

    def commit_soon(self) -> None:
        """Commit what is due, in the background; asked again meanwhile, it is done once more."""
        self._asked = True
        if self._answering is None or self._answering.done():
            self._answering = asyncio.create_task(self._commit_while_asked())

    async def _commit_while_asked(self) -> None:
        while self._asked:
            self._asked = False
            await self._commit_quietly()

    def tell(self) -> None:
        """Raise what made a commit in the background fail; warn of entries that are no messages.

        Each once.
        """
        if self._unread and not self._warned:
            self._warned = True
            field = self.pool.options.message_field
            portal.warn_caller(
                f"group {self.name!r}: entries without the field {field!r} were acknowledged "
                "unread; message_field= names the field that holds the messages"
            )
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    async def commit(self) -> None:
        """Commit what is due; what cannot be committed stays due.

        Raises:
            ConnectError: the server was away for the whole timeout.
            AuthError, ServerError: it refused.
        """
        async with self._committing:
            self.notice()
            self._collect()
            await self._send(self._ledger.due(time.monotonic()))

    async def _commit_quietly(self) -> None:
        try:
            await self.commit()
        except StreamError as error:
            self._failure = error
            self._retry_at = time.monotonic() + self._retry_pause
            self._retry_pause = min(2 * self._retry_pause, MOST_RETRY_SECONDS)
        else:
            self._retry_pause = RETRY_SECONDS

    def _collect(self) -> None:
        """Note what the user acknowledged; his thread may add more meanwhile."""
        acks: Acks = {}
        for _ in range(len(self.acked)):
            key, entry_id = self.acked.popleft()
            if key in acks:
                acks[key].append(entry_id)
            else:
                acks[key] = [entry_id]
        self._ledger.note(acks, time.monotonic())

    async def _send(self, acks: Acks) -> None:
        """Tell the server; what it did not hear of is put back.

        Raises:
            ServerError: a key holds no stream any more, so its acks mean nothing and are dropped.
                Or the server takes no writes now, and they stay due.
        """
        blank, self._blank = self._blank, []
        todo = chunks(joined([acks, *blank]))
        refusals: list[StreamError] = []
        try:
            while todo:
                part = todo[:XACKS_AT_ONCE]
                commands = [wire.xack(key, self.name, ids) for key, ids in part]
                replies = await self.pool.packed_replies(commands, doing=self._doing)
                for (key, ids), reply in zip(part, replies, strict=True):
                    if isinstance(reply, Refusal):
                        error = refused(reply, f"{self._doing}, stream {key_text(key)!r}")
                        if waited_out(reply) or not isinstance(error, ServerError):
                            raise error
                        refusals.append(error)
                    if self._leases is not None:
                        self._leases.drop({key: ids})
                del todo[: len(part)]
        finally:
            self._ledger.put_back(joined({key: ids} for key, ids in todo))
        if refusals:
            raise refusals[0]

    def _is_due(self) -> bool:
        due = self._ledger.next_due
        if not self.rule.acks_itself or due is None:
            return False
        return max(due, self._retry_at) <= time.monotonic()

    # In the background.

    async def _tend(self) -> None:
        """Commit what becomes due, and renew leases, also while the user's thread is busy."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause()):
                    await self._stir.wait()
            self._stir.clear()
            self.notice()
            if self._is_due():
                await self._commit_quietly()
            if self._renewal is not None and time.monotonic() >= self._renew_at:
                self._renew_at = time.monotonic() + self.options.auto_claim_idle / RENEWALS
                with suppress(StreamError):
                    await self._renewal.renew(time.monotonic())
            await asyncio.sleep(NOTICE_SECONDS)

    def _pause(self) -> float | None:
        """How long nothing has to be done."""
        now = time.monotonic()
        times = []
        if self.rule.acks_itself:
            due = self._ledger.next_due
            times += [max(due, self._retry_at) - now] if due is not None else []
            # What a loop takes out of the inbox is seen only by looking.
            times += [NOTICE_SECONDS] if self.inbox.untold else []
        if self._leases is not None:
            times.append(self._renew_at - now)
        return max(0.0, min(times)) if times else None

    # The end.

    async def close(self, *, commit: bool) -> None:
        """Commit everything that was acknowledged, or nothing more; then leave.

        Raises:
            ConnectError: the server could not be told; what is not committed will come again.
            AuthError, ServerError: it refused.
        """
        self._tending.cancel()
        await asyncio.wait([self._tending])  # what it was about to commit is put back
        if self._answering is not None:
            # What was asked for before is still done.
            await asyncio.wait([self._answering], timeout=END_SECONDS)
        try:
            if commit:
                await self._commit_everything()
        finally:
            if self._answering is not None:
                self._answering.cancel()
            if self._renewal is not None:
                with suppress(TimeoutError, StreamError):
                    async with asyncio.timeout(RELEASE_SECONDS):
                        idle = self.options.auto_claim_idle
                        await self._renewal.release(time.monotonic(), idle)

    async def _commit_everything(self) -> None:
        acks: Acks = {}
        try:
            async with asyncio.timeout(END_SECONDS), self._committing:
                self.notice()
                self._collect()
                acks = self._ledger.everything()
                await self._send(acks)
        except TimeoutError:
            if acks:
                raise ConnectError(
                    f"{self._doing}: the server did not answer; {count(acks)} acknowledged "
                    "messages are not committed, and will be delivered again"
                ) from None
