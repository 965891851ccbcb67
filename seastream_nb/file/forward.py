"""Reading a file forward from its start, as strictly as SeaStreamer: damage ends it. Only reads.

What a walk does for a check, this does for speed: it takes blocks, and knows no way past damage.
Memory is bounded by the largest frame, which is never larger than the file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from seastream_nb.errors import FileError, FileFormatError
from seastream_nb.file.format import (
    BEACON_HEAD_SIZE,
    FRAME_HEAD_SIZE,
    HEADER_SIZE,
    LAST_MS,
    MARKER_REST_SIZE,
    TRAILER_SIZE,
    Beacon,
    FileHeader,
    Frame,
    Marker,
    Place,
    beacon_head,
    crc_of,
    frame_head,
    key_of,
    payload_crc,
)

BLOCK_BYTES = 2**18

_key_of = lru_cache(maxsize=1024)(key_of)


class _Torn(Exception):
    """The file ends here."""


class Forward:
    """The frames of a file up to the end-of-stream mark, each with the last beacon met in it.

    A beacon is met when a byte behind it is wanted, so one at the end of the file is not.

    Attributes:
        header: what the file's first 128 bytes say.
        torn: where the frame begins that the file ends inside of, once that is known.

    Raises:
        FileFormatError: the file does not begin as an `.ss` file does; while iterating: a CRC, a
            stream key or a time that SeaStreamer refuses.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size
        file.seek(0)
        self.header = FileHeader.parse(file.read(HEADER_SIZE))
        self._interval = self.header.interval
        self._at = HEADER_SIZE
        # Bytes of frames that were read, without beacons, and how many of them are done with.
        self._data = b""
        self._done = 0
        self._met: Beacon | None = None
        self._begin = HEADER_SIZE
        self.torn: int | None = None

    def __iter__(self) -> Iterator[tuple[Frame, Beacon | None]]:
        while self._done < len(self._data) or self._at < self._size:
            self._met = None
            self._begin = self._at - len(self._data) + self._done
            try:
                frame = self._frame()
            except _Torn:
                # Where a beacon was all that was left, nothing is torn.
                if self._begin < self._size:
                    self.torn = self._begin
                return
            yield frame, self._met
            if frame.ends_stream:
                return

    def _frame(self) -> Frame:
        if self._done == len(self._data):
            self._fill(1)
        size = 1 + self._data[self._done]
        head = size + FRAME_HEAD_SIZE
        if len(self._data) - self._done < head:
            # A key that is refused is refused before the file is found to end.
            self._fill(size)
        key = _key_of(self._data[self._done + 1 : self._done + size])
        if key is None:
            raise self._refused("a message's stream key is not legal")
        if len(self._data) - self._done < head:
            self._fill(head)
        place = self._data[self._done + size : self._done + head]
        shard, sequence, ms, length = frame_head(place)
        if ms > LAST_MS:
            raise self._refused("the time of a message is past the year 9999")
        if len(self._data) - self._done < head + length + TRAILER_SIZE:
            self._fill(head + length + TRAILER_SIZE)
        data, start = self._data, self._done + head
        stop = start + length
        self._done = stop + TRAILER_SIZE
        payload, crc = data[start:stop], crc_of(data[stop : self._done])
        if (computed := payload_crc(payload)) != crc:
            raise self._refused(
                f"a payload has the CRC {computed:04X}, and is stored with {crc:04X}"
            )
        return Frame(Place(key, shard, sequence, ms), payload, crc)

    def _refused(self, text: str) -> FileFormatError:
        return FileFormatError(f"{text} (offset {self._begin:,})", offset=self._begin)

    def _fill(self, count: int) -> None:
        """Read on until so many bytes are not done with."""
        parts = [self._data[self._done :]]
        have = len(parts[0])
        # A damaged length must not become a read of everything.
        if count - have > self._size - self._at:
            raise _Torn
        while have < count:
            if self._at % self._interval == 0 and self._at >= self._interval:
                self._met = self._beacon()
                if not have:
                    self._begin = self._at
            left = self._interval - self._at % self._interval
            parts.append(self._raw(min(BLOCK_BYTES, left, self._size - self._at)))
            have += len(parts[-1])
        self._data, self._done = b"".join(parts), 0

    def _raw(self, count: int) -> bytes:
        data = self._file.read(count)
        self._at += len(data)
        if len(data) < count or not count:
            raise _Torn
        return data

    def _beacon(self) -> Beacon:
        _, remaining, count = beacon_head(self._raw(BEACON_HEAD_SIZE))
        markers = []
        for _ in range(count):
            size = self._raw(1)[0]
            key = _key_of(self._raw(size) if size else b"")
            if key is None:
                raise self._refused("a beacon's stream key is not legal")
            markers.append(Marker.parse(key, self._raw(MARKER_REST_SIZE)))
            if markers[-1].place.ms > LAST_MS:
                raise self._refused("a beacon's time is past the year 9999")
        self._raw(1)
        return Beacon(remaining, tuple(markers))


@contextmanager
def open_forward(path: Path) -> Iterator[Forward]:
    """The frames of a file as long as it is open; what was refused names the file.

    Raises:
        FileFormatError: it is no `.ss` file, or is damaged.
        FileError: it cannot be opened.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise FileError(error.errno, f"{path} cannot be read: {error.strerror}") from error
    with file:
        try:
            yield Forward(file, os.fstat(file.fileno()).st_size)
        except FileFormatError as error:
            raise FileFormatError(f"{path}: {error}", offset=error.offset) from None
