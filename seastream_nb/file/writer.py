"""Writing a file: messages in, bytes out, whole messages only. Used by one thread at a time."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Literal, Self

from seastream_nb.errors import FileError, FileFormatError
from seastream_nb.file.append import Ending, find_end
from seastream_nb.file.bulk import CHUNK_BYTES, Columns, spliced
from seastream_nb.file.format import EOS, INTERNAL_KEY, FileHeader, Frame, Place
from seastream_nb.file.handle import Create, Handle
from seastream_nb.file.legal import (
    require_columns,
    require_interval,
    require_numbers,
    require_pair,
)
from seastream_nb.file.scan import Damaged, Scan
from seastream_nb.file.splice import Bytes, Pair, Splicer
from seastream_nb.message import NS_PER_MS

BEACON_INTERVAL = 2**20
FILE_SIZE_LIMIT = 2**34


class FileWriter:
    """One file, open for writing at its end.

    What is written is with the operating system when `write` returns, and on the disk when `sync`
    does. An end-of-stream mark and a torn tail are cut off by the first write; until then the file
    is as it was. After a failure every call says why again, and the file ends with a whole message.

    Attributes:
        path: the file.
        header: its header; of a new file, made now.
        identity: device and inode, the same for every spelling and hard link.
        torn: where a torn tail began; None if there was none.
        messages: how many messages this writer wrote.

    Args:
        path: the file.
        create: whether a file that is missing is made, or must be missing.
        beacon_interval: of a new file, in bytes; one that is there keeps its own.
        file_size_limit: a message that would make the file longer than that is refused as a whole.
        torn_tail: "raise" refuses a file that ends inside a message.
        name: what the header of a new file calls it; the last part of the path.

    Raises:
        FileError: it cannot be opened, or has another writer already.
        FileFormatError: it is no `.ss` file, or damaged: `ss.repair` first.
        ConfigError: an interval that the format cannot have.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        create: Create = "never",
        beacon_interval: int = BEACON_INTERVAL,
        file_size_limit: int = FILE_SIZE_LIMIT,
        torn_tail: Literal["warn", "raise"] = "warn",
        name: str | None = None,
    ) -> None:
        require_interval(beacon_interval)
        self._handle = Handle(path, create)
        self.path, self.identity = self._handle.path, self._handle.identity
        self._limit = file_size_limit
        self._failure: FileError | None = None
        self._made = False
        self.messages = 0
        try:
            ending = self._ending(torn_tail)
            self.header = ending.header if ending else self._begin(name, beacon_interval)
        except BaseException:
            self._handle.close()
            raise
        self.torn = ending.torn if ending else None
        self._ended = ending is not None and ending.ended
        self._splicer = ending.splicer if ending else Splicer(beacon_interval)
        # How long the file is, where the next bytes go, and which go there first.
        self._size = self._handle.size
        self._end = self._splicer.at
        self._start = self._splicer.start()
        if ending is None:
            self._end, self._start = self._size, b""

    def _ending(self, torn_tail: str) -> Ending | None:
        with self._handle.reader() as file:
            ending = find_end(file, self._handle.size, str(self.path))
        if ending is not None and ending.torn is not None and torn_tail == "raise":
            raise FileFormatError(
                f"{self.path} ends inside a message that begins at byte {ending.torn:,}: "
                "torn_tail='warn' cuts it off",
                offset=ending.torn,
            )
        return ending

    def _begin(self, name: str | None, interval: int) -> FileHeader:
        header = FileHeader(name or self.path.name, _now_ms(), interval)
        if self._handle.size:
            # Only then: ext4 writes out a file that was cut to nothing when it is closed.
            self._handle.cut(0)
        start = header.encode() + Splicer(interval).start()
        try:
            self._handle.write([start], 0)
        except FileError:
            self._handle.cut(0)
            raise
        self._made = True
        return header

    @property
    def size(self) -> int:
        """How long the file is when everything given is in it."""
        return self._splicer.at

    def highest(self) -> dict[Pair, int]:
        """The highest sequence number of each stream and shard."""
        return {marker.place[:2]: marker.place.sequence for marker in self._splicer.markers}

    def write(self, frames: Iterable[Frame]) -> None:
        """Write messages, in this order; those before one that is refused are written.

        Raises:
            FileError: one would make the file too long, the disk is full, or the file was taken
                away. `messages` counts those that are written.
            StreamKeyError, ConfigError: what the format cannot hold.
        """
        self._require_working()
        parts: list[Bytes] = []
        size = 0
        try:
            for frame in frames:
                parts.append(self._add(frame))
                size += len(parts[-1])
                if size >= CHUNK_BYTES:
                    ready, parts, size = parts, [], 0
                    self._put(ready, len(ready))
        finally:
            if parts:
                self._put(parts, len(parts))

    def write_columns(self, columns: Columns) -> None:
        """Write many messages at once, as `write` does; fast where `bulk.load` succeeded."""
        self._require_working()
        require_columns(columns)
        if self.size + self._splicer.most(columns.size) > self._limit:
            self.write(columns.frames())
            return
        for chunk in columns.chunks():
            self._put(spliced(self._splicer, chunk), len(chunk))

    def flush(self) -> None:
        """Make sure that what was written is where it belongs.

        Raises:
            FileError: the file was removed, renamed, or changed by somebody else.
        """
        self._require_working()
        with self._remembering():
            self._handle.require_in_place(self._size)

    def sync(self) -> None:
        """Wait until the disk has what was written.

        Raises:
            FileError: it failed; what of it is on the disk is unknown.
        """
        self.flush()
        with self._remembering():
            self._handle.sync(folder=self._made)
        self._made = False

    def end(self, *, eos: bool = False) -> None:
        """Sync and close, with `eos` behind an end-of-stream mark; ending twice is fine.

        Raises:
            FileError: as `write` and `sync`. After a failure that was raised it only closes.
        """
        if self._handle.closed:
            return
        try:
            if self._failure is None:
                if eos and not self._ended:
                    mark = Frame.of(Place(INTERNAL_KEY, 0, 0, _now_ms()), EOS)
                    self._put([self._fitting(mark)], 0)
                    self._ended = True
                self.sync()
        finally:
            self._handle.close()

    def close(self) -> None:
        """Close at once: neither synced nor marked. Closing twice is fine."""
        self._handle.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()

    def _require_working(self) -> None:
        if self._failure is not None:
            raise FileError(*self._failure.args)
        if self._handle.closed:
            raise FileError(errno.EBADF, f"{self.path} is closed: open it again")

    @contextmanager
    def _remembering(self) -> Iterator[None]:
        """What fails now is the reason why everything later does."""
        try:
            yield
        except FileError as error:
            self._failure = error
            raise

    def _add(self, frame: Frame) -> bytes:
        if self._splicer.marker(frame.place[:2]) is None:
            require_pair(frame.place[:2])
        require_numbers(frame)
        return self._fitting(frame)

    def _fitting(self, frame: Frame) -> bytes:
        """The frame's bytes, if the file may have them."""
        length = frame.size
        if self.size + self._splicer.most(length) <= self._limit:
            return self._splicer.add(frame)
        trial = self._splicer.copy()
        data = trial.add(frame)
        if trial.at > self._limit:
            raise FileError(
                errno.EFBIG,
                f"{self.path} has {self.size:,} bytes, and {len(data):,} more would pass "
                f"file_size_limit={self._limit:,}: write to another file, or raise the limit",
            )
        self._splicer = trial
        return data

    def _put(self, parts: list[Bytes], count: int) -> None:
        """Write what the splicer made, which are so many messages."""
        with self._remembering():
            if self._end + len(self._start) + sum(map(len, parts)) != self.size:
                raise self._interrupted()
            self._handle.require_in_place(self._size)
            self._write([self._start, *parts])
        self.messages += count
        self._start = b""
        self._ended = False
        self._size = self._end = self.size

    def _write(self, parts: list[Bytes]) -> None:
        try:
            if self._size > self._end:
                self._handle.cut(self._end)
                self._size = self._end
            self._handle.write(parts, self._end)
        except BaseException:
            self._failure = self._interrupted()
            with suppress(OSError, Damaged):
                self._keep_whole(self._handle.size)
            raise

    def _keep_whole(self, size: int) -> None:
        """Let the file end with the last message that is whole."""
        if size <= self._end:
            return
        with self._handle.reader() as file:
            scan = Scan(file, size, self.header.interval, self._end)
            scan.run()
        bare = scan.begin % self.header.interval == 0 and scan.messages > 0
        # SeaStreamer would destroy a file that ends at a boundary without its beacon.
        self._handle.cut(scan.last if bare else scan.begin)
        self.messages += scan.messages - bare

    def _interrupted(self) -> FileError:
        return FileError(errno.EINTR, f"writing to {self.path} was interrupted: open it again")


def _now_ms() -> int:
    return time.time_ns() // NS_PER_MS
