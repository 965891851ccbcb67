"""A file that grows, read on from a frame to the next; and what can happen to it meanwhile."""

from __future__ import annotations

import asyncio
import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import Self

from seastream_nb.errors import FileError, FileFormatError
from seastream_nb.file.blocks import FileBlocks
from seastream_nb.file.format import EOS, HEADER_SIZE, INTERNAL_KEY, MAGIC, FileHeader, Frame, Place
from seastream_nb.file.frames import Frames
from seastream_nb.file.handle import identity
from seastream_nb.file.watch import Watch

# How often the file is looked at: where the kernel tells of changes, and where it cannot.
LOOK_SECONDS = 1.0
POLL_SECONDS = 0.01
MARK_SIZE = Frame.of(Place(INTERNAL_KEY, 0, 0, 0), EOS).size


class Tail:
    """What is in a file, and what comes to it.

    A file that is empty, or inside its header, is waited for; so is the rest of a message.

    Attributes:
        offset: where the next frame begins, or a beacon before it.
        ended: whether all was read, and the last of it is the mark that nothing follows.

    Args:
        path: the file.
        offset: where a frame begins, or a beacon before one.
        blocks: the file, if it is open: another one that has its name by now is noticed.

    Raises:
        FileError: it cannot be opened.
        FileFormatError: it does not begin as an `.ss` file does.
    """

    def __init__(
        self, path: Path, offset: int = HEADER_SIZE, blocks: FileBlocks | None = None
    ) -> None:
        self.path = path
        self.offset = offset
        self.ended = False
        # Where the process goes later changes nothing.
        self._there = path.absolute()
        self._blocks = blocks
        self._seen: tuple[int, int, int, int] | None = None
        self._stirred = asyncio.Event()
        self._watch: Watch | None = None
        self.opened()

    @classmethod
    def at_end(cls, path: Path) -> tuple[Self, int | None]:
        """What comes after the last whole message, and that one's time in milliseconds.

        An end-of-stream mark is still to come: whoever writes on will write over it.
        """
        tail = cls(path)
        blocks = tail.opened()
        if blocks is None:
            return tail, None
        size = blocks.size()
        number = blocks.count(size)
        frames = None
        # One that is longer than a block leaves blocks in which none begins.
        while number and not frames:
            number -= 1
            frames = blocks.block(number, size)
        if frames is not None:
            tail.offset = frames.stop
        if not frames:
            return tail, None
        if frames.ends_stream:
            tail.offset = _mark_begins(blocks, frames.stop, size)
        return tail, int(frames.numbers[2].max())

    def opened(self) -> FileBlocks | None:
        """The file, once it has its header."""
        if self._blocks is None:
            self._seen = self._look()
            head = _head(self._there, self.path)
            if len(head) < HEADER_SIZE:
                if head[:3] != MAGIC[: len(head)]:
                    FileHeader.parse(head)
                return None
            self._blocks = FileBlocks(self._there)
        return self._blocks

    def read(self, most_bytes: int, stop: int | None = None) -> Frames | None:
        """The next frames, of about so many bytes; None when there is no whole one yet.

        Blocking: call it in a worker thread.

        Args:
            most_bytes: a frame that begins within so many bytes is still read whole.
            stop: frames that begin here, or later, are left for another time.

        Raises:
            FileError: the file was removed or renamed (ENOENT), another one has its name
                (ESTALE), or it was cut short (EIO); what it held before was read.
            FileFormatError: what stands there breaks the format; with its byte offset.
        """
        # Looked at before it is read, so that no change in between is missed.
        seen = self._look()
        blocks = self.opened()
        if blocks is not None:
            size = blocks.size()
            if size < self.offset:
                raise FileError(
                    errno.EIO,
                    f"{self.path} was cut to {size:,} bytes, of which {self.offset:,} were read",
                )
            end = min(size, self.offset + most_bytes, size if stop is None else stop)
            frames = _whole(blocks, self.offset, end, size)
            if len(frames):
                self.offset = frames.stop
                self.ended = frames.ends_stream and self._at_end(blocks, size)
                return frames
        self._seen = seen
        self._require_there(blocks)
        return None

    def _at_end(self, blocks: FileBlocks, size: int) -> bool:
        """Whether nothing but a beacon follows."""
        return self.offset >= size or not len(blocks.frames(self.offset, size, size))

    def _require_there(self, blocks: FileBlocks | None) -> None:
        there = identity(self._there)
        if there is None:
            raise FileError(errno.ENOENT, f"{self.path} was removed or renamed")
        if blocks is not None and there != blocks.identity:
            raise FileError(errno.ESTALE, f"{self.path} is another file now: open it again")

    def _look(self) -> tuple[int, int, int, int] | None:
        try:
            status = self._there.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns

    async def changed(self, seconds: float) -> bool:
        """Wait until the file is not as the last read found it; whether that came in time."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        if self._watch is None:
            self._watch = Watch(self._there, self._stirred.set)
        while self._look() == self._seen:
            self._stirred.clear()
            left = until - loop.time()
            if left <= 0:
                return False
            period = LOOK_SECONDS if self._watch.works else POLL_SECONDS
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left, period)):
                    await self._stirred.wait()
        return True

    def close(self) -> None:
        """Watch the file no longer; closing twice is fine."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None


def _whole(blocks: FileBlocks, start: int, stop: int, size: int) -> Frames:
    """The frames of a part of the file, or those before what is damaged in it."""
    try:
        return blocks.frames(start, stop, size)
    except FileFormatError as error:
        if not start < error.offset < stop:
            raise
        frames = blocks.frames(start, error.offset, size)
        if not len(frames):
            raise
        return frames


def _head(there: Path, path: Path) -> bytes:
    try:
        with there.open("rb") as file:
            return os.pread(file.fileno(), HEADER_SIZE, 0)
    except OSError as error:
        raise FileError(error.errno, f"{path} cannot be read: {error.strerror}") from error


def _mark_begins(blocks: FileBlocks, end: int, size: int) -> int:
    """Where the end-of-stream mark begins that ends here."""
    begin, boundary = end - MARK_SIZE, (end - 1) // blocks.header.interval * blocks.header.interval
    beacon = blocks.beacon(boundary, size) if boundary else None
    length = 0 if beacon is None else beacon[0]
    return begin - length if boundary and begin < boundary + length else begin
