"""The queue between the threads that send and the task that writes: bounded, in batches.

    any thread ─► queued ─► taken, and written ─► settled

A batch is filled while it is the last one queued. Batches are taken and settled in their order, so
the end of one is the end of all before it. Where several producers write to one place, their
outboxes share a line: their batches are taken in the order in which the messages were sent.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar
from weakref import WeakSet

from seastream_nb import portal
from seastream_nb.errors import MaybeSent, NotSent, ProducerClosed, QueueFull
from seastream_nb.receipt import Batch, Outcome

# Of a message: place, id, payload.
PARTS = 3
BATCH_PARTS = 1_000 * PARTS
BATCH_BYTES = 1 * 2**20
# What a queued message takes besides its payload.
OVERHEAD = 200
# Batches whose failures are remembered until somebody sees them.
FAILED_BATCHES = 1_000


# Its place, which has an `origin`; its id as the backend reads it; its payload.
Message = tuple[Any, Any, bytes]


class OutgoingBatch(Batch):
    """Messages that are written together.

    Attributes:
        parts: of each message its place, id and payload, one after another, until the end.
        size: the bytes that they count for in the queue.
        written: whether they may be in the stream.
        stalled: whether they failed because the server was silent or away for too long.
        known: what became of some already, by place in the batch.
    """

    __slots__ = ("known", "parts", "size", "stalled", "written")

    def __init__(self) -> None:
        super().__init__()
        # A tuple for each message would be one more object for the garbage collector to visit.
        self.parts: list[Any] = []
        self.size = 0
        self.written = False
        self.stalled = False
        self.known: dict[int, Outcome] = {}

    def __len__(self) -> int:
        return len(self.parts) // PARTS

    def __iter__(self) -> Iterator[Message]:
        parts = iter(self.parts)
        return zip(parts, parts, parts, strict=True)

    def attempts(self) -> list[str]:
        """What was attempted with each message, for its error."""
        return [f"sending to {place.origin.stream!r}" for place, _, _ in self]

    def settle(self, outcomes: Sequence[Outcome]) -> None:
        """Tell what became of the messages, and forget the payloads."""
        self.parts = []
        self.known = {}
        super().settle(outcomes)


B = TypeVar("B", bound=OutgoingBatch)


class Line(Generic[B]):
    """In which order the batches of one outbox, or of several, are taken."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        # One entry a batch. One too many is harmless: an interrupt may leave it.
        self.outboxes: deque[Outbox[B]] = deque()
        self.last: Outbox[B] | None = None
        self.asleep = False
        self.wake = asyncio.Event()

    async def take(self, size: int = 0) -> list[tuple[Outbox[B], B]]:
        """The next batch, when there is one, and more until they count for so many bytes."""
        while True:
            with self.lock:
                if taken := list(self._taken(size)):
                    return taken
                self.wake.clear()
                self.asleep = True
            await self.wake.wait()

    def _taken(self, size: int) -> Iterator[tuple[Outbox[B], B]]:
        left = size
        while self.outboxes and left >= 0:
            outbox = self.outboxes.popleft()
            batch = outbox.pop()
            if batch is not None:
                left -= max(1, batch.size)
                yield outbox, batch


class Outbox(Generic[B]):
    """Messages that were sent and are not answered yet, at most `limit` bytes of them."""

    def __init__(self, limit: int, make: Callable[[], B], line: Line[B] | None = None) -> None:
        self._limit = limit
        self._make = make
        self._line: Line[B] = line or Line()
        self._lock = self._line.lock
        self._closed: str | None = None
        self._bytes = 0
        self._queued: deque[B] = deque()
        self._taken: deque[B] = deque()
        self._failed: deque[B] = deque()
        _outboxes.add(self)

    @property
    def empty(self) -> bool:
        """Whether nothing waits to be answered."""
        return not self._bytes

    # Called by any thread. An interrupt comes after a call of a function, if it comes: wherever it
    # does, the batches and the counters are right.

    def check(self, size: int) -> None:
        """Refuse a payload of so many bytes that cannot be queued now.

        Raises:
            ProducerClosed: none can any more.
            QueueFull: there is no room. One that is larger than the queue may be there alone.
        """
        if self._closed is not None:
            raise ProducerClosed(self._closed)
        if self._bytes and self._bytes + size + OVERHEAD > self._limit:
            raise QueueFull(
                f"{self._bytes:,} bytes wait to be sent and max_queue is {self._limit:,}: "
                "wait with flush(), or raise max_queue"
            )

    def put(self, message: Message, size: int) -> tuple[Batch, int]:
        """Queue a message with so many bytes of payload; its batch and its place there.

        Raises:
            ProducerClosed, QueueFull: as `check`.
        """
        with self._lock:
            if self._closed is not None or self._bytes + size + OVERHEAD > self._limit:
                self.check(size)
            queued, line = self._queued, self._line
            batch = queued[-1] if queued and line.last is self else self._make()
            if len(batch.parts) >= BATCH_PARTS or batch.size >= BATCH_BYTES:
                batch = self._make()
            index = len(batch.parts) // PARTS
            batch.parts.extend(message)
            if not index:
                line.last = self
                line.outboxes.append(self)
                queued.append(batch)
            batch.size += size + OVERHEAD
            self._bytes += size + OVERHEAD
            if line.asleep:
                # In this order: if an interrupt comes between them, the next message wakes again.
                portal.call_soon(line.wake.set)
                line.asleep = False
        return batch, index

    # Called on the I/O thread.

    async def take(self) -> B:
        """The next batch, when there is one."""
        [(_, batch)] = await self._line.take()
        return batch

    def pop(self) -> B | None:
        """The oldest batch that is queued, which is taken then; called with the line's lock."""
        if not self._queued:
            return None
        self._taken.append(self._queued.popleft())
        return self._taken[-1]

    def settle(self, outcomes: Sequence[Outcome]) -> None:
        """Tell what became of the oldest batch that was taken."""
        with self._lock:
            batch = self._taken.popleft()
            self._bytes -= batch.size
        batch.settle(outcomes)
        if batch.unseen:
            while self._failed and not self._failed[0].unseen:
                self._failed.popleft()
            if len(self._failed) == FAILED_BATCHES:
                # The first failures are kept, and the last ones.
                self._failed.pop()
            self._failed.append(batch)

    def close(self, reason: str) -> None:
        """Let nothing more be queued; the first reason stays."""
        with self._lock:
            self._closed = self._closed or reason

    def give_up(self, reason: object) -> None:
        """Settle everything: what was written may have been sent, the rest was not."""
        with self._lock:
            self._taken.extend(self._queued)
            self._queued.clear()
        while self._taken:
            batch = self._taken[0]
            batch.stalled = True
            kind = MaybeSent if batch.written else NotSent
            attempts = enumerate(batch.attempts())
            self.settle([batch.known.get(at) or kind(f"{say}: {reason}") for at, say in attempts])

    def leave_to_parent(self) -> None:
        """In a forked child: the parent goes on with what is here, the child with nothing."""
        self._line = Line()
        self._lock = self._line.lock
        self._closed = "the producer belongs to the parent process: make another one"
        self._bytes = 0
        for batch in (*self._taken, *self._queued):
            batch.settle([MaybeSent(f"{doing}: the parent does") for doing in batch.attempts()])
        for batches in (self._taken, self._queued, self._failed):
            batches.clear()

    async def room(self, size: int) -> None:
        """Wait until a payload of so many bytes can be queued and half of the queue is free.

        Raises:
            TimeoutError: the server was silent for so long that what waited has failed.
        """
        most = max(0, min(self._limit // 2, self._limit - size - OVERHEAD))
        while self._bytes > most:
            with self._lock:
                oldest = [*self._taken, *self._queued][:1]
            for batch in oldest:
                await batch.ended()
                if batch.stalled and self._closed is None:
                    raise TimeoutError("the server does not answer, and what waited has failed")

    async def flush(self) -> None:
        """Wait until everything queued so far is settled.

        Raises:
            NotSent, MaybeSent: the first failure that nobody has seen.
        """
        with self._lock:
            last = [*self._taken, *self._queued][-1:]
        for batch in last:
            # An interrupt may have come between a message and its wake.
            self._line.wake.set()
            await batch.ended()
        # Copied at once: a thread that asks a receipt takes its error out.
        unseen = [error for batch in self._failed for error in [*batch.unseen.values()]]
        self._failed.clear()
        if unseen:
            more = f" (and {len(unseen) - 1:,} more sends failed)" if len(unseen) > 1 else ""
            raise type(unseen[0])(f"{unseen[0]}{more}")


_outboxes: WeakSet[Outbox[Any]] = WeakSet()


def _leave_to_parent() -> None:
    for outbox in _outboxes:
        outbox.leave_to_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)
