"""Reading a file on, a batch ahead of who takes them; what is not wanted is passed over.

Tail ─► frames ─► those of the keys, from the beginning on, of this member ─► batch ─► inbox
"""

from __future__ import annotations

import asyncio
import copy
import errno
from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from seastream_nb.errors import FileError, StreamEnded
from seastream_nb.file.format import FileHeader
from seastream_nb.file.frames import Frames
from seastream_nb.file.numbering import id_of
from seastream_nb.file.selection import Selection
from seastream_nb.file.session import in_thread
from seastream_nb.file.survey import Begin
from seastream_nb.file.tail import Tail
from seastream_nb.inbox import Batch
from seastream_nb.keys import EntryId
from seastream_nb.page import Numbers

READ_BYTES = 2**20
WAIT_SECONDS = 60.0

# Where a piece was read that began so, and how many of its frames are passed over.
Position = tuple[int, int]


def later_than(entry_id: EntryId) -> Begin:
    """Begin at the first message with a higher id.

    >>> of = [np.array(each, np.uint64) for each in ([4, 5, 5, 6], [9, 1, 2, 0], [1, 2, 3, 4])]
    >>> later_than(EntryId(5, 1))(*of).tolist(), numbered_from(3)(*of).tolist()
    ([False, False, True, True], [False, False, True, True])
    """
    tick, last = np.uint64(entry_id.ms), np.uint64(entry_id.sub)
    return lambda ms, sub, _: (ms > tick) | ((ms == tick) & (sub > last))


def numbered_from(sequence: int) -> Begin:
    """Begin at the first message with this sequence number, or a higher one."""
    least = np.uint64(sequence)
    return lambda _, __, sequences: sequences >= least


class Share(Protocol):
    """Which messages are this member's, of a group that shares them."""

    def stop_after(self, offset: int) -> int | None:
        """Where the members are others than at this offset."""

    def mine(self, stream: str, offset: int, sequences: Numbers) -> Numbers:
        """Of a stream's messages after this offset, which are this member's, as a mask."""


class FileBatch(Batch):
    """Messages out of a file, which know where they stood.

    Attributes:
        base: where the piece began that they were read of.
        rows: which frames of it they are.
    """

    __slots__ = ("base", "rows")

    def __init__(self, base: int) -> None:
        super().__init__()
        self.base = base
        self.rows: list[int] = []


class Reader:
    """Reads on from a tail's offset, one batch ahead, until it is stopped.

    Attributes:
        tail: the file, and how far it was read.
        failure: why nothing more comes; what was read before is taken first.

    Args:
        tail: the file.
        selection: which messages are wanted.
        told: called on the loop when there is something to take, or a failure.
        begin: what is before the first message that fits is passed over.
        skips: of each stream, where it begins; none before the tail's offset.
        share: of a group that shares messages, which are wanted.
        turn: held while reading.
        until: messages that begin here, or later, are not read.
    """

    def __init__(
        self,
        tail: Tail,
        selection: Selection,
        *,
        told: Callable[[], object],
        begin: Begin | None = None,
        skips: Mapping[str, Position] | None = None,
        share: Share | None = None,
        turn: asyncio.Lock | None = None,
        until: int | None = None,
    ) -> None:
        self.tail = tail
        self.failure: Exception | None = None
        self._selection = selection
        self._told = told
        self._begin = begin
        self._skips = dict(skips or {})
        self._share = share
        self._turn = turn or asyncio.Lock()
        self._until = until
        self._ahead: FileBatch | None = None
        self._taken = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name="seastream file reader")

    @property
    def header(self) -> FileHeader | None:
        """The file's header, once it has one."""
        blocks = self.tail.opened()
        return None if blocks is None else blocks.header

    @property
    def finished(self) -> bool:
        """Whether nothing more is read, and all was taken."""
        return self._task.done() and self._ahead is None

    def select(self, selection: Selection) -> None:
        """Of what is read from now on, these messages are wanted."""
        self._selection = selection

    def take(self) -> FileBatch | None:
        """The batch that was read, if there is one."""
        batch, self._ahead = self._ahead, None
        self._taken.set()
        return batch

    def raise_failure(self) -> None:
        """Say why nothing more comes, if that is so and everything was taken."""
        if self.failure is not None and self._ahead is None:
            raise copy.copy(self.failure)

    async def stop(self) -> None:
        """Read no more; a piece that is being read is waited for."""
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            while self._until is None or self.tail.offset < self._until:
                async with self._turn:
                    batch = await in_thread(self._next)
                if batch is not None and len(batch):
                    self._ahead = batch
                    self._taken.clear()
                    self._told()
                    await self._taken.wait()
                elif batch is None and self.tail.ended:
                    raise StreamEnded(f"{self.tail.path} was ended by who wrote it")
                elif batch is None:
                    await self.tail.changed(WAIT_SECONDS)
        except FileError as error:
            gone = error.errno == errno.ENOENT
            self.failure = StreamEnded(str(error.args[-1])) if gone else error
        except Exception as error:
            self.failure = error
        finally:
            self.tail.close()
            self._told()

    def _next(self) -> FileBatch | None:
        """The next messages that are wanted, perhaps none; None when there are no more yet."""
        base = self.tail.offset
        if self.tail.ended:
            return None
        frames = self.tail.read(READ_BYTES, self._stop_after(base))
        if frames is None:
            return None
        batch = FileBatch(base)
        parts = []
        for pair in frames.pairs:
            origin = self._selection.origin(pair)
            if origin is not None:
                rows = self._wanted(origin.stream, frames, frames.rows(pair), base)
                parts.append((origin, rows))
        self._pass(base, len(frames))
        rows = np.concatenate([rows for _, rows in parts]) if parts else np.empty(0, np.int64)
        which = np.repeat(np.arange(len(parts)), [len(rows) for _, rows in parts])
        order = np.argsort(rows, kind="stable")
        rows, which = rows[order], which[order]
        first = self._first(frames, rows)
        rows, which = rows[first:], which[first:]
        _, sequences, times = frames.numbers[:, rows].tolist()
        batch.rows = rows.tolist()
        batch.ids = list(map(id_of, sequences, times))
        batch.origins = [parts[at][0] for at in which.tolist()]
        batch.payloads = frames.payloads(rows).to_pylist()
        return batch

    def _stop_after(self, base: int) -> int | None:
        stops = [offset for offset, _ in self._skips.values() if offset > base]
        if self._share is not None and (stop := self._share.stop_after(base)) is not None:
            stops.append(stop)
        if self._until is not None:
            stops.append(self._until)
        return min(stops, default=None)

    def _wanted(self, stream: str, frames: Frames, rows: Numbers, base: int) -> Numbers:
        """Of a stream's frames those that are not before its beginning, and this member's."""
        if stream in self._skips:
            offset, count = self._skips[stream]
            rows = rows[:0] if base < offset else rows[np.searchsorted(rows, count) :]
        if self._share is not None:
            rows = rows[self._share.mine(stream, base, frames.numbers[1][rows])]
        return rows

    def _pass(self, base: int, count: int) -> None:
        """So many frames were read from this offset on."""
        for stream, (offset, left) in list(self._skips.items()):
            if offset <= base:
                self._skips[stream] = offset, max(0, left - count)

    def _first(self, frames: Frames, rows: Numbers) -> int:
        """Which of these frames is where reading begins; behind the last if none is."""
        if self._begin is None:
            return 0
        _, sequences, ms = frames.numbers[:, rows]
        packed = sequences >> np.uint64(16) == ms
        sub = np.where(packed, sequences & np.uint64(0xFFFF), sequences)
        fits = np.flatnonzero(self._begin(ms, sub, sequences))
        if not len(fits):
            return len(rows)
        self._begin = None
        return int(fits[0])
