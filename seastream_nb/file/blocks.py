"""A file in blocks that can be read one by one, in any order.

    file = block 0 · block 1 · …      a block: the frames that begin between two multiples

Blocks begin at beacons, which say where the next frame does, so reading one needs none of the
others. Where beacons are farther apart than a block is long, a block begins where the one before
it ended.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from seastream_nb.errors import FileError, FileFormatError
from seastream_nb.file.format import HEADER_SIZE, FileHeader, Marker
from seastream_nb.file.frames import Frames, beacon_at, read_frames, room

BLOCK_BYTES = 2**20
# Blocks that are kept decoded, since each shard of a stream reads them.
KEPT_BYTES = 32 * 2**20
# A beacon of 255 markers, each of the longest key.
MOST_BEACON = 7 + 255 * 282


class FileBlocks:
    """One open file. Any thread may read; the file stays open as long as this is referred to.

    Raises:
        FileFormatError: it does not begin as an `.ss` file does; with the byte offset.
        FileError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            weakref.finalize(self, os.close, self._fd)
            head = os.pread(self._fd, HEADER_SIZE, 0)
        except OSError as error:
            raise FileError(error.errno, f"{path} cannot be read: {error.strerror}") from error
        stat = os.fstat(self._fd)
        self.identity = stat.st_dev, stat.st_ino
        try:
            self.header = FileHeader.parse(head)
        except FileFormatError as error:
            raise FileFormatError(f"{path}: {error}", offset=error.offset) from None
        interval = self.header.interval
        self.block_bytes = max(1, -(-BLOCK_BYTES // interval)) * interval
        if interval > BLOCK_BYTES:
            self.block_bytes = BLOCK_BYTES
        self._lock = threading.Lock()
        self._busy = [threading.Lock() for _ in range(8)]
        self._kept: OrderedDict[int, tuple[int, Frames]] = OrderedDict()
        self._held = 0
        # Where blocks begin that no beacon tells, as far as they were read.
        self._starts: dict[int, int] = {0: HEADER_SIZE}

    def size(self) -> int:
        """How many bytes the file has now."""
        return os.fstat(self._fd).st_size

    def count(self, size: int) -> int:
        """How many blocks so many bytes are."""
        return -(-size // self.block_bytes)

    def block(self, number: int, size: int) -> Frames:
        """The frames that begin in a block, of a file of this size.

        Raises:
            FileFormatError: what stands there breaks the format; with its byte offset.
            FileError: the file cannot be read, or is shorter than it was.
        """
        stop = min(size, (number + 1) * self.block_bytes)
        busy = self._busy[number % len(self._busy)]
        # Several shards that ask for one block wait for one reading; others are read beside it.
        with busy:
            if (kept := self._look(number, stop)) is not None:
                return kept
            frames = self.frames(self.start(number, size), stop, size)
            self._keep(number, stop, frames)
        return frames

    def _look(self, number: int, stop: int) -> Frames | None:
        with self._lock:
            kept = self._kept.get(number)
            if kept is None or kept[0] != stop or kept[1].torn is not None:
                return None
            self._kept.move_to_end(number)
            return kept[1]

    def _keep(self, number: int, stop: int, frames: Frames) -> None:
        with self._lock:
            if (before := self._kept.pop(number, None)) is not None:
                self._held -= before[1].data.nbytes
            self._kept[number] = stop, frames
            self._held += frames.data.nbytes
            while self._held > KEPT_BYTES and len(self._kept) > 1:
                self._held -= self._kept.popitem(last=False)[1][1].data.nbytes

    def frames(self, start: int, stop: int, size: int) -> Frames:
        """The frames that begin between two offsets, the first of which is where one begins."""
        with self._named():
            return read_frames(self.read, start, stop, size, self.header.interval)

    def read(self, offset: int, count: int) -> memoryview:
        """Exactly these bytes.

        Raises:
            FileError: they cannot be read, or are not there any more.
        """
        found, at = room(count, np.uint8), 0
        try:
            while at < count:
                part = os.preadv(self._fd, [found[at:].data], offset + at)
                if not part:
                    raise FileError(f"{self.path} was cut short while it was read")
                at += part
        except OSError as error:
            if isinstance(error, FileError):
                raise
            raise FileError(error.errno, f"{self.path}: {error.strerror}") from error
        return memoryview(found.data)

    def beacon(self, offset: int, size: int) -> tuple[int, int, list[Marker]] | None:
        """Of the beacon at a multiple: its length, the bytes that remain, its markers.

        None where the file ends before the beacon does.
        """
        data = self.read(offset, min(size - offset, 512))
        found = beacon_at(data, offset)
        if found is None and size - offset > len(data):
            found = beacon_at(self.read(offset, min(size - offset, MOST_BEACON)), offset)
        return found

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Errors of the format name the file, and the way out."""
        try:
            yield
        except FileFormatError as error:
            raise FileFormatError(
                f"{self.path}: {error}; ss.verify() lists faults, ss.repair() saves the rest",
                offset=error.offset,
            ) from None

    def start(self, number: int, size: int) -> int:
        """Where the first frame of a block begins, or a beacon before it."""
        boundary = number * self.block_bytes
        if number and boundary % self.header.interval == 0:
            with self._named():
                return self._after(boundary, size)
        known = number
        while known not in self._starts and known * self.block_bytes % self.header.interval:
            known -= 1
        with self._named():
            start = self._starts.get(known) or self._after(known * self.block_bytes, size)
        while known < number:
            known += 1
            start = self.frames(start, known * self.block_bytes, size).stop
            self._starts[known] = start
        return start

    def _after(self, boundary: int, size: int) -> int:
        """Where the frame ends that the beacon here cuts."""
        found = self.beacon(boundary, size)
        if found is None:  # what is torn is told by reading on from here
            return boundary
        length, left, _ = found
        if not left:
            return boundary
        at, interval = boundary + length, self.header.interval
        while True:
            room = interval - at % interval
            if left <= room:
                return min(size, at + left)
            left, at = left - room, at + room
            if at >= size or (found := self.beacon(at, size)) is None:
                return size
            if found[1] != left:
                raise FileFormatError(
                    f"a beacon says that {found[1]:,} bytes of a message remain, not {left:,}",
                    offset=at,
                )
            at += found[0]
