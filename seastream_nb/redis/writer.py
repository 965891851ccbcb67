"""What a producer does on the I/O thread: write batches, and settle them as the answers come."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from seastream_nb.errors import MaybeSent, NotSent, StreamError
from seastream_nb.outbox import Outbox
from seastream_nb.receipt import Outcome
from seastream_nb.redis.batch import RedisBatch
from seastream_nb.redis.connection import Link, LinkLost
from seastream_nb.redis.pool import LinkPool
from seastream_nb.redis.resp import Refusal
from seastream_nb.redis.wire import pack

BATCHES_IN_FLIGHT = 8
# How much longer than a server is asked to wait for replicas its answer may take.
GRACE_SECONDS = 5.0


class OutboxWorker(ABC):
    """Empties an outbox into a link, by one task that writes and one that settles."""

    def __init__(self, pool: LinkPool, link: Link, outbox: Outbox[RedisBatch]) -> None:
        self._pool = pool
        self._link = link
        self._outbox = outbox

    async def run(self) -> None:
        """Work until cancelled; however this ends, every message is settled then."""
        reason: object = "the producer was closed before the answer came"
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._write_all())
                tasks.create_task(self._settle_all())
        except BaseExceptionGroup as group:
            reason = f"the producer failed: {group.exceptions[0]!r}"
            raise
        finally:
            self._outbox.close(f"{reason}")
            self._outbox.give_up(reason)
            self._pool.give_back(self._link)

    @abstractmethod
    async def _write_all(self) -> None: ...

    @abstractmethod
    async def _settle_all(self) -> None: ...


class Writer(OutboxWorker):
    """Never writes again what may have been written."""

    def __init__(self, pool: LinkPool, link: Link, outbox: Outbox[RedisBatch]) -> None:
        super().__init__(pool, link, outbox)
        self._written: asyncio.Queue[tuple[RedisBatch, asyncio.Future[list[Any]]]]
        self._written = asyncio.Queue(BATCHES_IN_FLIGHT)
        self._patience = pool.options.timeout

    async def _write_all(self) -> None:
        while True:
            batch = await self._outbox.take()
            if not await self._connected():
                continue
            batch.written = True
            answers = self._request(batch)
            await self._written.put((batch, answers))
            await self._link.drained()

    def _request(self, batch: RedisBatch) -> asyncio.Future[list[Any]]:
        return self._link.request([batch.packed()], len(batch))

    async def _connected(self) -> bool:
        """Whether the link works, or could be replaced; else what waits is not sent."""
        while not self._link.alive:
            # What was written on the old link is settled first, to keep the order.
            await self._written.join()
            self._pool.give_back(self._link)
            try:
                self._link = await self._pool.take(doing=f"writing to {self._pool.address}")
            except StreamError as error:
                self._outbox.give_up(error)
                return False
        return True

    async def _settle_all(self) -> None:
        while True:
            batch, answers = await self._written.get()
            done, _ = await asyncio.wait([answers], timeout=self._patience)
            if not done:
                batch.stalled = True
                # Breaking the link ends the wait, with the answers that came before.
                self._link.drop(f"no answer within {self._patience:g} s")
            try:
                replies, fault = await answers, ""
            except LinkLost as lost:
                replies, fault = lost.replies, f"the link broke before the answer came: {lost}"
            self._outbox.settle(self._outcomes(batch, replies, fault))
            self._written.task_done()

    def _outcomes(self, batch: RedisBatch, replies: Sequence[Any], fault: str) -> Sequence[Outcome]:
        return _outcomes(batch, replies, fault)


class ReplicatedWriter(Writer):
    """The same, and each batch waits until a replica has it: `XADD XADD … WAIT 1 timeout`.

    WAIT is about all that the link wrote, and holds up no other link.
    """

    def __init__(self, pool: LinkPool, link: Link, outbox: Outbox[RedisBatch]) -> None:
        super().__init__(pool, link, outbox)
        self._timeout = pool.options.timeout
        self._patience = self._timeout + GRACE_SECONDS
        self._wait = pack(("WAIT", 1, max(1, round(self._timeout * 1_000))))

    def _request(self, batch: RedisBatch) -> asyncio.Future[list[Any]]:
        return self._link.request([batch.packed(), self._wait], len(batch) + 1)

    def _outcomes(self, batch: RedisBatch, replies: Sequence[Any], fault: str) -> Sequence[Outcome]:
        replicas = replies[-1] if len(replies) > len(batch) else 0
        outcomes = _outcomes(batch, replies[: len(batch)], fault)
        if isinstance(replicas, int) and replicas:
            return outcomes
        why = replicas if isinstance(replicas, Refusal) else fault
        why = why or f"no replica acknowledged it within {self._timeout:g} s"
        return [
            MaybeSent(f"{doing}: it was written as {outcome.decode()}, but {why}")
            if isinstance(outcome, bytes)
            else outcome
            for doing, outcome in zip(batch.attempts(), outcomes, strict=True)
        ]


def _outcomes(batch: RedisBatch, replies: Sequence[Any], fault: str) -> Sequence[Outcome]:
    """What the replies say, and for those that are missing the fault."""
    if len(replies) == len(batch) and set(map(type, replies)) == {bytes}:
        return replies
    return [
        MaybeSent(f"{doing}: {fault}")
        if at >= len(replies)
        else replies[at]
        if isinstance(replies[at], bytes)
        else NotSent(f"{doing}: {replies[at]}")
        for at, doing in enumerate(batch.attempts())
    ]
