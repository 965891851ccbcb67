"""The writer of an idempotent producer: every message is in its stream once, whatever breaks.

    written at once ─► answered ─► settled
          │ the link breaks, or the server is not ready
          ▼
    a new link ─► the old one is killed ─► looked up ─► what is missing is sent again, in order

Each entry carries `i`, the producer's name and the message's number. A server executes the commands
of a link in their order, and up to `BATCHES_IN_FLIGHT` batches are on the way. What was sent and
removed again before it could be looked up counts as not sent where nothing speaks against it.

The rare and the first things are done carefully: one batch after another, while new batches wait.
The first batch of a key is such a thing, since its end before must be known to look up anything.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Sequence
from typing import Any

from seastream_nb.errors import MaybeSent, NotSent, StreamError
from seastream_nb.keys import FIRST_ID, EntryId
from seastream_nb.outbox import Outbox
from seastream_nb.redis import readback
from seastream_nb.redis.batch import RedisBatch
from seastream_nb.redis.connection import Link, LinkLost
from seastream_nb.redis.pool import LinkPool, waited_out
from seastream_nb.redis.readback import Found, Identity
from seastream_nb.redis.resp import Refusal
from seastream_nb.redis.writer import BATCHES_IN_FLIGHT, OutboxWorker

# Streams whose ends are known.
MOST_TOPS = 10_000

Answers = asyncio.Future[list[Any]]


class ExactWriter(OutboxWorker):
    """Finds out what may have been written, and writes the rest again."""

    def __init__(self, pool: LinkPool, link: Link, outbox: Outbox[RedisBatch]) -> None:
        super().__init__(pool, link, outbox)
        self._name = secrets.token_urlsafe(6).encode()
        self._timeout = pool.options.timeout
        self._count = 0
        # Between the tasks: what was taken, with its answers if it was written at once.
        self._slots = asyncio.Semaphore(BATCHES_IN_FLIGHT)
        self._sent: asyncio.Queue[tuple[RedisBatch, Answers | None]] = asyncio.Queue()
        # What is left to be done carefully, and how many those and their successors are.
        self._careful: deque[RedisBatch] = deque()
        self._held = 0
        # Of each stream an id below those of our messages that are not answered.
        self._tops: dict[bytes, EntryId] = {}
        self._identity: Identity | None = None
        self._old: list[Identity] = []
        self._trouble = ""

    async def _write_all(self) -> None:
        while True:
            batch = await self._outbox.take()
            await self._slots.acquire()
            if batch.outcomes is not None:  # given up in the meantime
                self._slots.release()
                continue
            batch.first = self._count
            self._count += len(batch)
            self._sent.put_nowait((batch, self._written_at_once(batch)))
            await self._link.drained()

    def _written_at_once(self, batch: RedisBatch) -> Answers | None:
        calm = not self._held and self._link.alive and self._identity is not None
        if not calm or not batch.last_of_keys().keys() <= self._tops.keys():
            self._held += 1
            return None
        batch.written = True
        return self._link.request([batch.tagged(self._name)], len(batch))

    async def _settle_all(self) -> None:
        while True:
            batch, answers = await self._sent.get()
            if answers is not None:
                await self._learn(batch, answers, range(len(batch)))
                self._held += 1
                if len(batch.known) == len(batch):
                    self._finish(batch)
                    continue
            self._careful.append(batch)
            try:
                await self._do_carefully()
            except StreamError as error:
                self._give_up(error)

    async def _learn(self, batch: RedisBatch, answers: Answers, asked: Sequence[int]) -> None:
        """Note what the answers say of the messages that they belong to."""
        done, _ = await asyncio.wait([answers], timeout=self._timeout)
        if not done:
            # Breaking the link ends the wait, with the answers that came before.
            self._link.drop(f"no answer within {self._timeout:g} s")
        try:
            replies = await answers
        except LinkLost as lost:
            replies, self._trouble = lost.replies, str(lost)
        batch.doubtful.update(asked[len(replies) :])
        if set(map(type, replies)) == {bytes}:
            batch.known.update(zip(asked, replies, strict=False))
        else:
            attempts = batch.attempts()
            for at, reply in zip(asked, replies, strict=False):
                if waited_out(reply):
                    self._trouble = str(reply)
                elif isinstance(reply, Refusal):
                    batch.known[at] = NotSent(f"{attempts[at]}: {reply}")
                else:
                    batch.known[at] = reply
        self._note_tops(batch)

    def _note_tops(self, batch: RedisBatch) -> None:
        for key, at in batch.last_of_keys().items():
            outcome = batch.known.get(at)
            if isinstance(outcome, bytes):
                self._tops[key] = EntryId.parse(outcome)

    def _finish(self, batch: RedisBatch) -> None:
        self._outbox.settle([batch.known[at] for at in range(len(batch))])
        self._freed()

    def _freed(self) -> None:
        self._held -= 1
        self._slots.release()

    # Carefully.

    async def _do_carefully(self) -> None:
        """Settle what is in flight.

        Raises:
            ConnectError: the server was away, or not ready, for the whole timeout.
            AuthError, ServerError: it does not let us go on.
        """
        loop = asyncio.get_running_loop()
        deadline: float | None = None
        while self._careful:
            try:
                await self._take_over()
                if self._trouble:
                    deadline = deadline or loop.time() + self._timeout
                await self._connect(deadline or loop.time() + self._timeout)
                await self._send_missing(self._careful[0])
            except LinkLost as lost:
                self._trouble = str(lost)
                continue
            self._finish(self._careful.popleft())
            deadline, self._trouble = None, ""
            self._pool.worked()

    async def _take_over(self) -> None:
        """Take what is in flight, with what its answers say."""
        while not self._sent.empty():
            batch, answers = self._sent.get_nowait()
            if answers is not None:
                self._held += 1
                await self._learn(batch, answers, range(len(batch)))
            self._careful.append(batch)

    async def _connect(self, deadline: float) -> None:
        """Have a link that works, and on which nothing is in doubt any more."""
        if self._trouble:
            # Also where the server only was not ready: another may have taken its place.
            self._link.drop(self._trouble)
        if not self._link.alive:
            if self._identity is not None:
                self._old.append(self._identity)
                self._identity = None
            self._pool.give_back(self._link)
            doing = f"writing to {self._pool.address}"
            if self._trouble:
                self._link = await self._pool.reopen(deadline, f"{doing}: {self._trouble}")
            else:
                self._link = await self._pool.take(deadline, doing)
            self._trouble = ""
        if self._identity is None:
            within = self._left(deadline)
            identity = await readback.introduce(self._link, within)
            if self._old:
                await readback.kill(self._link, self._old, identity, within)
                await self._look_up(deadline)
                self._old.clear()
            self._identity = identity

    def _left(self, deadline: float) -> float:
        return max(0.1, deadline - asyncio.get_running_loop().time())

    async def _look_up(self, deadline: float) -> None:
        """Find out which of the doubtful messages were written."""
        doubtful: dict[bytes, dict[bytes, tuple[RedisBatch, int]]] = {}
        lowest: dict[bytes, EntryId] = {}
        for batch in self._careful:
            for at, (place, entry_id, _) in enumerate(batch):
                if at in batch.doubtful and at not in batch.known:
                    key = place.origin.key
                    doubtful.setdefault(key, {})[batch.tag(self._name, at)] = batch, at
                    start = lowest.get(key, self._top(key).next())
                    lowest[key] = min(start, _earliest(entry_id)) if entry_id else start
        founds: dict[bytes, Found] = {}
        for key, tags in doubtful.items():
            founds[key] = await readback.look_up(
                self._link, key, self._top(key), lowest[key], tags, self._left(deadline)
            )
        # Only now: if the link breaks before, everything is looked up again from the same ids.
        for key, found in founds.items():
            _note(doubtful[key], found)
        # What was not found stays in doubt until it is answered: this may be a replica that is
        # behind, and takes the rest only when it has become the primary.
        self._tops = {key: found.top for key, found in founds.items()}

    def _top(self, key: bytes) -> EntryId:
        return self._tops.get(key, FIRST_ID)

    async def _send_missing(self, batch: RedisBatch) -> None:
        await self._anchor(batch)
        if missing := batch.missing():
            batch.written = True
            request = self._link.request([batch.tagged(self._name)], len(missing))
            await self._learn(batch, request, missing)
        if len(batch.known) < len(batch):
            raise LinkLost(self._trouble)

    async def _anchor(self, batch: RedisBatch) -> None:
        """Know an id below those that the batch will get, in each of its streams."""
        if len(self._tops) > MOST_TOPS:  # nothing is in flight here
            self._tops.clear()
        unknown = [key for key in batch.last_of_keys() if key not in self._tops]
        tops = await readback.tops(self._link, unknown, self._timeout)
        refused = {key: top for key, top in tops.items() if isinstance(top, Refusal)}
        self._tops |= {key: top for key, top in tops.items() if isinstance(top, EntryId)}
        if refused:
            for at, (place, _, _) in enumerate(batch):
                if (text := refused.get(place.origin.key)) and at not in batch.known:
                    doing = f"sending to {place.origin.stream!r}"
                    batch.known[at] = NotSent(f"{doing}: idempotent=True reads the stream: {text}")

    def _give_up(self, error: StreamError) -> None:
        while not self._sent.empty():
            self._careful.append(self._sent.get_nowait()[0])
        for batch in self._careful:
            for at, doing in enumerate(batch.attempts()):
                if at in batch.doubtful and at not in batch.known:
                    lost = "the link broke before the answer came, and it could not be looked up"
                    batch.known[at] = MaybeSent(f"{doing}: {lost}: {error}")
                elif at not in batch.known:
                    batch.known[at] = NotSent(f"{doing}: {error}")
        # At once: what is sent after the first of them was told belongs to no outage.
        self._outbox.give_up(error)
        while self._careful:
            self._careful.popleft()
            self._freed()
        self._trouble = ""


def _earliest(entry_id: bytes) -> EntryId:
    """The lowest id that `ms-sub` or `ms-*` can become."""
    return EntryId(int(entry_id.partition(b"-")[0]), 0)


def _note(doubtful: dict[bytes, tuple[RedisBatch, int]], found: Found) -> None:
    """Note of one stream's doubtful messages, in their order, which were written."""
    tags = list(doubtful)
    last = max((at for at, tag in enumerate(tags) if tag in found.ids), default=-1)
    for turn, tag in enumerate(tags):
        batch, at = doubtful[tag]
        if tag in found.ids:
            batch.known[at] = found.ids[tag]
        elif found.cut and (turn < last or last < 0):
            batch.known[at] = MaybeSent(
                f"{batch.attempts()[at]}: the link broke before the answer came, and entries that "
                "were written since have been removed: it may have been one of them"
            )
