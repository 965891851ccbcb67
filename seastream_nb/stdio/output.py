"""What is printed on standard output, by all producers of this process.

    any thread: send ─► number, line ─► batch ─► thread: write ─► settled

Lines are numbered and queued under one lock, so those of a stream stand in their order. They are
written by a thread of their own, since a pipe that nobody reads keeps a write waiting. A line is
sent when all of it was taken by the operating system. After a failure nothing more is written:
what follows half a line would be taken for its end.
"""

from __future__ import annotations

import errno
import os
import queue
import select
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from itertools import accumulate
from typing import TYPE_CHECKING, Protocol

from seastream_nb import portal
from seastream_nb.errors import NotSent
from seastream_nb.keys import NumberedId
from seastream_nb.receipt import Batch, Outcome
from seastream_nb.stdio.line import format_line
from seastream_nb.stdio.routing import Entry, Numbers

if TYPE_CHECKING:
    from seastream_nb.stdio.input import Input

STDOUT = 1
BATCH_LINES = 1_000
BATCH_BYTES = 2**20


class Owner(Protocol):
    """Whose lines a batch holds.

    Attributes:
        waiting: for how many bytes its lines count that are not settled yet.
        patience: how many seconds to wait for consumers of this process to have room.
    """

    waiting: int
    patience: float

    @property
    def loop_to(self) -> Input | None:
        """The consumers that get what is printed, too."""

    def queued(self, batch: PrintedBatch) -> None:
        """A batch of its lines is queued; called with the lock held."""

    def settled(self, batch: PrintedBatch, *, failed: bool) -> None:
        """Its oldest batch is about to be settled; called with the lock held."""


class PrintedBatch(Batch):
    """Lines of one producer that are written together.

    Attributes:
        parts: of each message its id, itself, and its line; until the end.
        size: the bytes that they count for in their producer's queue.
    """

    __slots__ = ("owner", "parts", "size")

    def __init__(self, owner: Owner) -> None:
        super().__init__()
        self.owner = owner
        self.parts: list[tuple[NumberedId, Entry, bytes]] = []
        self.size = 0

    def room_for_more(self, owner: Owner) -> bool:
        """Whether a line of this producer may be added."""
        full = len(self.parts) >= BATCH_LINES or self.size >= BATCH_BYTES
        return self.owner is owner and not full


class Output:
    """The lines that go to one file descriptor.

    Attributes:
        lock: held while a producer looks at what it has queued, and changes it.
    """

    def __init__(self, fd: int = STDOUT) -> None:
        self.lock = threading.Lock()
        self._fd = fd
        self._numbers = Numbers()
        self._batches: queue.SimpleQueue[PrintedBatch] = queue.SimpleQueue()
        self._last: PrintedBatch | None = None
        self._thread: threading.Thread | None = None
        self._failure: str | None = None

    def begin(self) -> None:
        """Start the thread; called on the I/O thread, which no interrupt reaches."""
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._write, name="seastream stdout", daemon=True
            )
            self._thread.start()

    # Called by any thread with the lock held. An interrupt comes after a call of a function, if it
    # comes: wherever it does, what is queued is whole.

    def put(
        self, owner: Owner, key: str, shard: int, tick: int, unit_ns: int, payload: bytes, size: int
    ) -> tuple[PrintedBatch, int]:
        """Queue a message that counts for `size` bytes; its batch and its place there.

        Raises:
            ConfigError: no line can hold it.
        """
        number = self._numbers.upcoming(key, shard)
        line = format_line(key, shard, number, tick * unit_ns, payload)
        entry = Entry(key, shard, number, tick * unit_ns, payload)
        batch = self._last
        if batch is None or not batch.room_for_more(owner):
            batch = PrintedBatch(owner)
            self._batches.put(batch)
            owner.queued(batch)
            self._last = batch
        self._numbers.note(key, shard, number)
        batch.parts.append((NumberedId(tick, number), entry, line))
        batch.size += size
        owner.waiting += size
        return batch, len(batch.parts) - 1

    # The thread.

    def _write(self) -> None:
        while True:
            batch = self._batches.get()
            with self.lock:
                if self._last is batch:
                    self._last = None
            outcomes = self._print(batch)
            failed = any(isinstance(outcome, NotSent) for outcome in outcomes[-1:])
            with self.lock:
                batch.owner.waiting -= batch.size
                batch.owner.settled(batch, failed=failed)
            batch.settle(outcomes)
            batch.parts = []

    def fail(self, reason: str | None) -> None:
        """Nothing more can be written."""
        self._failure = f"standard output cannot be written: {reason}"

    def _print(self, batch: PrintedBatch) -> Sequence[Outcome]:
        """Write a batch; what became of each line."""
        source = batch.owner.loop_to
        if source is not None and not _has_room(source, batch.owner.patience):
            reason = "the consumers of this process hold so much that nobody takes"
            return _outcomes(batch, 0, reason)
        count = self._count_of_written([line for _, _, line in batch.parts])
        if source is not None and count:
            with suppress(RuntimeError):  # Python is exiting
                portal.call_soon(source.deliver, [entry for _, entry, _ in batch.parts[:count]])
        return _outcomes(batch, count, self._failure)

    def _count_of_written(self, lines: list[bytes]) -> int:
        """Write lines, until one cannot be written as a whole; how many were."""
        if self._failure is not None:
            return 0
        left = memoryview(b"".join(lines))
        whole = len(left)
        try:
            while left:
                left = left[write_piece(self._fd, left) :]
        except OSError as error:
            self.fail(error.strerror)
            return sum(end <= whole - len(left) for end in accumulate(map(len, lines)))
        return len(lines)


def write_piece(fd: int, data: memoryview) -> int:
    """Write some of the bytes, as soon as there is room; how many."""
    while True:
        try:
            return os.write(fd, data)
        except BlockingIOError:  # somebody else made it so, for it may be shared
            select.select([], [fd], [])


def _outcomes(batch: PrintedBatch, count: int, reason: object) -> list[Outcome]:
    """The ids of the first lines, and the failure of the others."""
    printed = [entry_id for entry_id, _, _ in batch.parts[:count]]
    failed = [NotSent(f"sending to {entry.key!r}: {reason}") for _, entry, _ in batch.parts[count:]]
    return [*printed, *failed]


def _has_room(source: Input, seconds: float) -> bool:
    try:
        room = portal.spawn(source.room())
    except RuntimeError:  # Python is exiting
        return False
    try:
        room.result(seconds)
    except (TimeoutError, CancelledError):
        room.cancel()
        return False
    return True


_current: Output | None = None


def standard_output() -> Output:
    """That of this process. Called on the I/O thread."""
    global _current
    if _current is None:
        _current = Output()
        if sys.__stdout__ is None:  # closed from the start, so 1 is the number of something else
            _current.fail(os.strerror(errno.EBADF))
    return _current


def _start_over_after_fork() -> None:
    global _current
    _current = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_over_after_fork)
