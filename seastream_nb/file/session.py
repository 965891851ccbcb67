"""One open file, written by one task for all producers that this process has on it.

    producers ─► one line of batches ─► numbered, and written by a worker thread ─► receipts

A file is told by device and inode, so its spelling does not matter.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa

from seastream_nb.errors import FileError, NotSent, StreamError
from seastream_nb.file.bulk import Columns
from seastream_nb.file.handle import Create, Identity, identity, make_sure
from seastream_nb.file.numbering import Numbering, id_of
from seastream_nb.file.splice import Pair
from seastream_nb.file.writer import FileWriter
from seastream_nb.message import Origin
from seastream_nb.outbox import BATCH_BYTES, Line, Outbox, OutgoingBatch
from seastream_nb.receipt import Outcome

T = TypeVar("T")


class Place(NamedTuple):
    """Where messages go in a file."""

    origin: Origin
    pair: Pair


class Session:
    """A file that is open for producers; all its methods are called on the I/O thread."""

    def __init__(self, writer: FileWriter) -> None:
        self.line: Line[OutgoingBatch] = Line()
        self.closed = asyncio.Event()
        self.working = True
        self._writer = writer
        self._numbering = Numbering(writer.highest())
        self._outboxes: set[Outbox[OutgoingBatch]] = set()
        self._members = 0
        self._eos = False
        # The writer is used by one thread at a time.
        self._turn = asyncio.Lock()
        self._writing = asyncio.create_task(self._write_all(), name="seastream file")

    def highest(self) -> dict[Pair, int]:
        """The highest sequence number of each stream and shard."""
        return self._numbering.highest()

    def join(self, limit: int) -> Outbox[OutgoingBatch]:
        """A queue of at most `limit` bytes for one more producer."""
        self._members += 1
        outbox = Outbox(limit, OutgoingBatch, self.line)
        self._outboxes.add(outbox)
        return outbox

    async def check(self) -> None:
        """Make sure that what was written is where it belongs.

        Raises:
            FileError: the file was removed or renamed.
        """
        await self._call(self._writer.flush)

    async def leave(self, outbox: Outbox[OutgoingBatch], *, eos: bool) -> None:
        """Bring what was written to the disk; the last one closes the file.

        It does that with a mark of the end where any of them asked for one by `eos`.

        Raises:
            FileError: it cannot be written.
        """
        if self._writing.get_loop() is not asyncio.get_running_loop():  # in a forked child
            return
        self._members -= 1
        self._eos = self._eos or eos
        if outbox.empty:
            self._outboxes.discard(outbox)
        if not self.working:
            return
        if self._members:
            await self._call(self._writer.sync)
            return
        self.working = False
        # A task of its own: who is interrupted waits for it, rather than close a file in use.
        ending = asyncio.create_task(self._end())
        try:
            await asyncio.shield(ending)
        except asyncio.CancelledError:
            await asyncio.wait([ending])
            raise

    async def _end(self) -> None:
        try:
            async with self._turn:
                self._writing.cancel()
                await asyncio.wait([self._writing])
                await in_thread(partial(self._writer.end, eos=self._eos))
        finally:
            self._close("the producer was closed before this was written")

    async def _call(self, function: Callable[[], None]) -> None:
        if self.working:
            try:
                async with self._turn:
                    await in_thread(function)
            except FileError as error:
                self._fail(error)
                raise

    async def _write_all(self) -> None:
        reason: object = "the producer was closed before this was written"
        try:
            while self.working:
                taken = await self.line.take(BATCH_BYTES)
                batches = [batch for _, batch in taken]
                async with self._turn:
                    for batch in batches:
                        batch.written = True
                    outcomes, failure = await in_thread(partial(self._write, batches))
                for (outbox, _), ended in zip(taken, outcomes, strict=True):
                    outbox.settle(ended)
                if failure is not None:
                    self._fail(failure)
        except Exception as error:
            reason = f"the producer failed: {error!r}"
            raise
        finally:
            if self.working:
                self._fail(reason)
            elif not self._turn.locked():
                self._writer.close()

    def _write(
        self, batches: Sequence[OutgoingBatch]
    ) -> tuple[list[list[Outcome]], FileError | None]:
        """Number and write messages; what became of each, and the failure that ends it all."""
        outcomes: list[list[Outcome]] = []
        rows = _Rows()
        for batch in batches:
            outcomes.append([])
            for place, entry_id, data in batch:
                try:
                    sequence, ms = self._numbering.give(place.pair, entry_id)
                except NotSent as error:
                    outcomes[-1].append(NotSent(f"sending to {place.origin.stream!r}: {error}"))
                else:
                    rows.add(place.pair, sequence, ms, data)
                    outcomes[-1].append(id_of(sequence, ms))
        before, failure = self._writer.messages, None
        try:
            self._writer.write_columns(rows.columns())
        except FileError as error:
            failure = error
            _mark_unwritten(batches, outcomes, self._writer.messages - before, error)
        return outcomes, failure

    def _fail(self, reason: object) -> None:
        self.working = False
        self._writing.cancel()
        self._close(reason)

    def _close(self, reason: object) -> None:
        for outbox in self._outboxes:
            outbox.close(f"{self._writer.path} is not written any more: {reason}")
            outbox.give_up(reason)
        self._outboxes.clear()
        if not self._turn.locked():  # else a thread is at it, and closes when it is done
            self._writer.close()
        _sessions.pop(self._writer.identity, None)
        self.closed.set()


class _Rows:
    """Messages one by one, which become columns."""

    def __init__(self) -> None:
        self._which: dict[Pair, int] = {}
        self._pair: list[int] = []
        self._numbers: list[tuple[int, int]] = []
        self._payloads: list[bytes] = []

    def add(self, pair: Pair, sequence: int, ms: int, data: bytes) -> None:
        self._pair.append(self._which.setdefault(pair, len(self._which)))
        self._numbers.append((sequence, ms))
        self._payloads.append(data)

    def columns(self) -> Columns:
        numbers = np.array(self._numbers, np.uint64).reshape(-1, 2)
        return Columns(
            list(self._which),
            np.array(self._pair, np.int64),
            numbers[:, 0],
            numbers[:, 1],
            pa.array(self._payloads, pa.large_binary()),
        )


def _mark_unwritten(
    batches: Sequence[OutgoingBatch], outcomes: list[list[Outcome]], written: int, error: FileError
) -> None:
    """Of the messages that were to be written, all but the first ones were not."""
    for batch, ended in zip(batches, outcomes, strict=True):
        for at, attempt in enumerate(batch.attempts()):
            if not isinstance(ended[at], StreamError):
                written -= 1
                if written < 0:
                    ended[at] = NotSent(f"{attempt}: {error}")


# Of each file that is open: its session, or None if it could not be opened after all.
_sessions: dict[Identity, asyncio.Future[Session | None]] = {}


async def session_of(path: str | os.PathLike[str], *, create: Create, **options: Any) -> Session:
    """The session of a file: the one that there is, or a new one with these options.

    Raises:
        FileError, FileFormatError, ConfigError: it cannot be opened for writing.
    """
    await in_thread(partial(make_sure, path, create))
    while True:
        there = identity(path)
        if there is None:
            raise FileError(errno.ENOENT, f"{path} was removed while it was opened")
        found = _sessions.get(there)
        session = await (_opened(path, there, options) if found is None else asyncio.shield(found))
        if session is not None:
            if session.working:
                return session
            await session.closed.wait()


async def _opened(path: str | os.PathLike[str], there: Identity, options: Any) -> Session | None:
    """A new session; None if there was another file in its place when it was opened."""
    opened: asyncio.Future[Session | None] = asyncio.get_running_loop().create_future()
    _sessions[there] = opened
    session: Session | None = None
    try:
        opening = partial(FileWriter, Path(path), **options)
        writer = await in_thread(opening, undo=FileWriter.close)
        if writer.identity == there:
            session = Session(writer)
        else:
            writer.close()
        return session
    finally:
        if session is None:
            del _sessions[there]
        opened.set_result(session)


async def in_thread(function: Callable[[], T], undo: Callable[[T], None] | None = None) -> T:
    """What a function returns that may block; cancelling waits for it, and for `undo`."""
    try:
        work = asyncio.get_running_loop().run_in_executor(None, function)
    except RuntimeError:  # Python is exiting and starts no thread any more
        return function()
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        if work.exception() is None and undo is not None:
            undo(work.result())
        raise


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_sessions.clear)
