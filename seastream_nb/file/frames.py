"""Many frames at once, as columns: the bytes of a file, and where each part of them stands.

    file ─► piece without its beacons ─► spans and numbers of its frames, every CRC checked

A piece begins where a frame does. Nothing is read that is larger than the file.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from seastream_nb.errors import FileFormatError, TooLarge
from seastream_nb.file import plain
from seastream_nb.file.format import (
    BEACON_HEAD_SIZE,
    END,
    EOS,
    INTERNAL_KEY,
    MARKER_REST_SIZE,
    Marker,
    beacon_head,
    key_of,
)
from seastream_nb.page import Numbers

# The smallest frame: an empty key, an empty payload.
LEAST_FRAME = 32
# Read beyond the end of a piece, so that most frames that cross it are complete at once.
SLACK = 4096
MAX_ARROW_BYTES = 2**31 - 1
_SAYS = {
    plain.BAD_KEY: "a message's stream key is not legal",
    plain.BAD_TIME: "the time of a message is past the year 9999",
    plain.BAD_CRC: "a message's payload does not fit its CRC",
    plain.BAD_END: "a message does not end with 0D",
}
Read = Callable[[int, int], memoryview]
Pair = tuple[str, int]

_kernels: Any = plain


def load() -> bool:
    """Use compiled loops from now on, where numba is installed; whether they are used.

    It takes seconds the first time on a machine. Blocking: call it in a worker thread.
    """
    global _kernels
    if _kernels is plain:
        try:
            from seastream_nb.file import compiled
        except ImportError:  # no numba, or one that refuses this numpy
            return False
        _kernels = compiled
    return True


@dataclass(frozen=True)
class Frames:
    """The frames of a piece, in stored order.

    Attributes:
        data: their bytes, without beacons.
        spans, numbers: the shapes that `plain` tells.
        stop: where in the file the next frame begins, or a beacon before it.
        torn: where the frame or the beacon begins that the file ends inside of, if it does.
    """

    data: Numbers
    spans: Numbers
    numbers: Numbers
    stop: int
    torn: int | None

    def __len__(self) -> int:
        return len(self.spans)

    @cached_property
    def _groups(self) -> tuple[Numbers, list[Pair]]:
        groups, firsts = room(len(self), np.int32), room(len(self), np.int64)
        count = _kernels.group(self.data, self.spans, self.numbers[0], groups, firsts)
        pairs = [
            (
                self.data[at : at + size].tobytes().decode(),
                int(self.numbers[0, row]),
            )
            for row in firsts[:count].tolist()
            for at, size in [self.spans[row, :2].tolist()]
        ]
        return groups, pairs

    @property
    def pairs(self) -> list[Pair]:
        """The streams and shards there are, as they first appear."""
        return self._groups[1]

    def rows(self, pair: Pair) -> Numbers:
        """The frames of a stream and shard."""
        groups, pairs = self._groups
        if pair not in pairs:
            return np.empty(0, np.int64)
        if len(pairs) == 1:
            return np.arange(len(self))
        return np.flatnonzero(groups == pairs.index(pair))

    @property
    def ends_stream(self) -> bool:
        """Whether the last of them is the mark that nothing follows."""
        if not len(self):
            return False
        at, size, payload, length = self.spans[-1].tolist()
        mark = self.data[at : at + size].tobytes(), self.data[payload : payload + length].tobytes()
        return mark == (INTERNAL_KEY.encode(), EOS)

    def payloads(self, rows: Numbers) -> pa.BinaryArray:
        """The payloads of these frames.

        Raises:
            TooLarge: they are more than the 2 GiB that an Arrow array can hold.
        """
        size = int(self.spans[rows, 3].sum())
        if size > MAX_ARROW_BYTES:
            raise TooLarge(
                f"{len(rows)} payloads are {size:,} bytes, and an Arrow array holds 2 GiB"
            )
        offsets, values = room(len(rows) + 1, np.int32), room(size, np.uint8)
        _kernels.gather(self.data, self.spans, rows, offsets, values)
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(values)]
        return pa.Array.from_buffers(pa.binary(), len(rows), buffers)


def read_frames(read: Read, start: int, stop: int, size: int, interval: int) -> Frames:
    """The frames that begin in a part of the file.

    Args:
        read: gives so many bytes from an offset on.
        start: where a frame begins, or a beacon before one.
        stop: frames that begin here, or later, are left out.
        size: how much of the file there is.
        interval: how far beacons are apart.

    Raises:
        FileFormatError: what stands there breaks the format; with its byte offset.
    """
    stop = max(start, min(stop, size))
    data = read(start, min(size, stop + SLACK) - start)
    found: list[tuple[Numbers, Numbers]] = []
    at = 0
    while True:
        piece = _Piece(data, start, interval)
        limit = piece.place_of(stop)
        most = max(0, limit - at) // LEAST_FRAME + 1
        spans = room(4 * most, np.int64).reshape(most, 4)
        numbers = room(3 * most, np.uint64).reshape(3, most)
        count, at, status, missing = _kernels.scan(piece.bytes, at, limit, spans, numbers)
        found.append((spans[:count], numbers[:, :count]))
        if status in _SAYS:
            raise FileFormatError(_SAYS[status], offset=piece.offset_of(at))
        end = start + len(data)
        if status == plain.DONE or end == size:
            break
        # Beacons come between, so this may not be the last time.
        end = min(size, end + missing + missing // interval * LEAST_FRAME + SLACK)
        data = read(start, end - start)
    torn = piece.offset_of(at) if status != plain.DONE else None
    if torn is None and end == size and at == len(piece.bytes):
        torn = piece.torn_beacon(stop)
    joined = found[0][0] if len(found) == 1 else np.concatenate([each for each, _ in found])
    piece.check_beacons(joined, at)
    return Frames(
        data=piece.bytes,
        spans=joined,
        numbers=found[0][1]
        if len(found) == 1
        else np.concatenate([each for _, each in found], axis=1),
        stop=piece.stop_of(at),
        torn=None if torn == size else torn,
    )


def room(count: int, kind: Any) -> Numbers:
    """An array of so many numbers, not set.

    Its memory is Arrow's, which keeps what is freed: to have each page of fresh memory made by the
    system would take as long as reading does.
    """
    size = count * np.dtype(kind).itemsize
    return np.frombuffer(pa.allocate_buffer(size), kind, count)


class _Piece:
    """Part of a file with its beacons taken out."""

    def __init__(self, data: memoryview, base: int, interval: int) -> None:
        parts: list[memoryview] = []
        # Where each part begins, without beacons and in the file.
        self._places: list[int] = []
        self._offsets: list[int] = []
        # Where each beacon stands, in both ways of counting, and the bytes that it says remain.
        self._beacons: list[tuple[int, int, int]] = []
        self._base = base
        self._unread: int | None = None
        at, place, end = base, 0, base + len(data)
        while at < end:
            if at % interval == 0:
                beacon = beacon_at(data[at - base :], at)
                if beacon is None:  # it is not all here
                    self._unread = at
                    break
                length, remaining, _ = beacon
                self._beacons.append((place, at, remaining))
                at += length
            cut = min(end, (at // interval + 1) * interval)
            self._places.append(place)
            self._offsets.append(at)
            parts.append(data[at - base : cut - base])
            place, at = place + cut - at, cut
        # Compiled loops take no read-only arrays.
        self.bytes = room(place, np.uint8)
        for begin, part in zip(self._places, parts, strict=True):
            self.bytes[begin : begin + len(part)] = np.frombuffer(part, np.uint8)

    def place_of(self, offset: int) -> int:
        """How many frame bytes stand before an offset of the file."""
        part = bisect_right(self._offsets, offset) - 1
        if part < 0:
            return 0
        begin = self._places[part]
        length = (
            self._places[part + 1] if part + 1 < len(self._places) else len(self.bytes)
        ) - begin
        return begin + min(length, offset - self._offsets[part])

    def offset_of(self, place: int) -> int:
        """Where a frame byte stands in the file, after the beacon if there is one before it."""
        part = bisect_right(self._places, place) - 1
        return self._offsets[part] + place - self._places[part] if part >= 0 else self._base

    def stop_of(self, place: int) -> int:
        """Where the frame byte before this place ends: a beacon that follows is not passed."""
        return self.offset_of(place - 1) + 1 if place else self._base

    def torn_beacon(self, stop: int) -> int | None:
        """Where a beacon stands before this offset that the bytes end inside of."""
        return self._unread if self._unread is not None and self._unread < stop else None

    def check_beacons(self, spans: Numbers, stop: int) -> None:
        """Hold what beacons say of the frames that they cut to what was read.

        Raises:
            FileFormatError: a beacon says something else.
        """
        starts, ends = spans[:, 0] - 1, spans[:, 2] + spans[:, 3] + 3
        for place, offset, remaining in self._beacons:
            if place > stop:
                return
            row = int(np.searchsorted(ends, place, "right"))
            cut = row < len(starts) and starts[row] < place
            left = int(ends[row]) - place if cut else 0
            if left != remaining:
                raise FileFormatError(
                    f"a beacon says that {remaining:,} bytes of a message remain, not {left:,}",
                    offset=offset,
                )


def beacon_at(data: bytes | memoryview, offset: int) -> tuple[int, int, list[Marker]] | None:
    """Of the beacon that these bytes begin with: its length, the bytes that remain, its markers.

    None where the bytes end before it does. `offset` is where it stands in the file.

    Raises:
        FileFormatError: it is none; with the byte offset.
    """
    if len(data) < BEACON_HEAD_SIZE:
        return None
    end, remaining, count = beacon_head(bytes(data[:BEACON_HEAD_SIZE]))
    if end != END:
        raise FileFormatError("a beacon does not begin with 0D", offset=offset)
    at, markers = BEACON_HEAD_SIZE, []
    for _ in range(count):
        rest = at + 1 + data[at] if at < len(data) else len(data)
        if rest + MARKER_REST_SIZE >= len(data):
            return None
        key = key_of(bytes(data[at + 1 : rest]))
        if key is None:
            raise FileFormatError("a beacon's stream key is not legal", offset=offset + at)
        at = rest + MARKER_REST_SIZE
        markers.append(Marker.parse(key, bytes(data[rest:at])))
    if at >= len(data):
        return None
    if data[at : at + 1] != END:
        raise FileFormatError("a beacon does not end with 0D", offset=offset + at)
    return at + 1, remaining, markers
