"""Many messages at once, as columns, become the bytes of a file.

With numba a compiled loop does it, several times as fast; without it, or before `load`, a plain
one. Both give what `Splicer.add` gives, message by message. Another loop takes whole frames off a
file again, for `scan`.
"""

from __future__ import annotations

import importlib.util
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from fastcrc import crc16

from seastream_nb.file.format import (
    END,
    FIRST_CHECKSUM,
    FRAME_HEAD_SIZE,
    TRAILER_SIZE,
    Frame,
    Marker,
    Place,
    short,
)
from seastream_nb.file.splice import Bytes, Pair, Splicer

if TYPE_CHECKING:
    from types import ModuleType

Numbers = np.ndarray[Any, Any]
# Frames that are made before they are written, so few that they and their numbers stay in the
# processor's cache.
CHUNK_BYTES = 2**21
CHUNK_MESSAGES = 2**14
# Of a frame, besides key and payload.
OVERHEAD = 1 + FRAME_HEAD_SIZE + TRAILER_SIZE
# Streams and shards of one file that are taken at once, and their longest key and shard.
MOST_PLACES = 256
PLACE_SIZE = 255 + 8
_NUMBERS = struct.Struct(">QQI")

_compiled: ModuleType | None = None


def available() -> bool:
    """Whether numba is installed."""
    return importlib.util.find_spec("numba") is not None


def load() -> bool:
    """Import numba and the kernel; whether it is used from now on.

    It takes seconds the first time on a machine, then half a second a process, and nothing when
    repeated. Blocking: call it in a worker thread, where more than a million messages are coming.
    """
    global _compiled
    if _compiled is None:
        try:
            from seastream_nb.file import bulk_compiled
        except ImportError:  # no numba, or one that refuses this numpy
            return False
        _compiled = bulk_compiled
    return True


def loaded() -> bool:
    """Whether `load` has succeeded."""
    return _compiled is not None


@dataclass(frozen=True)
class Columns:
    """Messages in the order they are to be written.

    Attributes:
        pairs: streams and shards.
        pair: of each message, which of these it belongs to; int64.
        sequences, times: uint64; times in milliseconds since 1970.
        payloads: an Arrow array of binary or large binary, without nulls.
    """

    pairs: Sequence[Pair]
    pair: Numbers
    sequences: Numbers
    times: Numbers
    payloads: pa.Array

    @classmethod
    def of(cls, pair: Pair, sequences: Numbers, times: Numbers, payloads: pa.Array) -> Columns:
        """Messages of one stream and shard."""
        return cls([pair], np.zeros(len(payloads), np.int64), sequences, times, payloads)

    def __len__(self) -> int:
        return len(self.payloads)

    def slice(self, start: int, stop: int) -> Columns:
        """The messages from `start` to before `stop`, without a copy."""
        return Columns(
            self.pairs,
            self.pair[start:stop],
            self.sequences[start:stop],
            self.times[start:stop],
            self.payloads[start:stop],
        )

    @property
    def size(self) -> int:
        """How many bytes the frames are, before beacons cut them."""
        return int(self._sizes().sum())

    def _sizes(self) -> Numbers:
        keys = np.array([len(key) for key, _ in self.pairs], np.int64)
        of_each = keys if len(keys) == 1 else keys[self.pair]
        sizes: Numbers = OVERHEAD + of_each + np.diff(_offsets(self.payloads))
        return sizes

    def chunks(self) -> Iterator[Columns]:
        """Parts of about `CHUNK_BYTES`, of one message at least."""
        start = 0
        while start < len(self):
            rest = self.slice(start, start + CHUNK_MESSAGES)
            ends = np.cumsum(rest._sizes())
            stop = max(1, int(np.searchsorted(ends, CHUNK_BYTES, side="right")))
            yield rest.slice(0, stop)
            start += stop

    def frames(self) -> Iterator[Frame]:
        """One by one."""
        for part in self.chunks():
            for which, sequence, ms, payload in part.rows():
                key, shard = self.pairs[which]
                yield Frame.of(Place(key, shard, sequence, ms), payload)

    def rows(self) -> Iterator[tuple[int, int, int, bytes]]:
        """Of each message its pair, sequence, time and payload."""
        return zip(
            self.pair.tolist(),
            self.sequences.tolist(),
            self.times.tolist(),
            self.payloads.to_pylist(),
            strict=True,
        )


def spliced(splicer: Splicer, columns: Columns) -> list[Bytes]:
    """The bytes of these messages, made all at once; the splicer goes on behind them."""
    encoder = (_Plain if _compiled is None else _Compiled)(splicer, columns)
    parts: list[Bytes] = []
    done = 0
    while done < len(columns):
        done, data = encoder.run(done, splicer.room)
        for which in encoder.changed:
            sequence, ms, checksum = map(int, encoder.highest[which])
            key, shard = columns.pairs[which]
            splicer.note(Marker(Place(key, shard, sequence, ms), checksum))
        parts.extend(splicer.cut(data))
    return parts


class _Plain:
    """Frame by frame.

    Attributes:
        highest: of each pair the highest sequence and time, and the running checksum.
        changed: for which of them the last run changed that.
    """

    def __init__(self, splicer: Splicer, columns: Columns) -> None:
        self.changed: Iterable[int] = ()
        self.highest: Any = _highest(splicer, columns.pairs)
        self._heads = _heads(columns.pairs)
        self._rows = columns.rows()

    def run(self, first: int, room: int) -> tuple[int, Bytes]:
        """Frames from this one on until so much is full or passed, and the first one left."""
        changed, crc_of = set(), crc16.cdma2000
        parts: list[bytes] = []
        for which, sequence, ms, payload in self._rows:
            crc = crc_of(payload).to_bytes(2)
            head = self._heads[which] + _NUMBERS.pack(sequence, ms, len(payload))
            parts += (head, payload, crc, END)
            highest = self.highest[which]
            highest[:] = (
                max(highest[0], sequence),
                max(highest[1], ms),
                crc_of(crc, highest[2]),
            )
            changed.add(which)
            first += 1
            room -= len(head) + len(payload) + TRAILER_SIZE
            if room <= 0:
                break
        self.changed = changed
        return first, b"".join(parts)


class _Compiled:
    """The same by the kernel."""

    def __init__(self, splicer: Splicer, columns: Columns) -> None:
        self.changed: Iterable[int] = ()
        self.highest: Any = np.array(_highest(splicer, columns.pairs), np.uint64)
        heads = _heads(columns.pairs)
        self._given = (
            np.frombuffer(b"".join(heads), np.uint8),
            np.cumsum([0, *map(len, heads)]),
            np.ascontiguousarray(columns.pair, np.int64),
            np.ascontiguousarray(columns.sequences, np.uint64),
            np.ascontiguousarray(columns.times, np.uint64),
            _offsets(columns.payloads),
            _values(columns.payloads),
        )
        self._pair = columns.pair
        self._left = np.empty(columns.size, np.uint8)

    def run(self, first: int, room: int) -> tuple[int, Bytes]:
        assert _compiled is not None
        size = np.zeros(1, np.int64)
        tables = _compiled.TABLES
        stop = _compiled.encode(first, room, *self._given, self.highest, tables, self._left, size)
        self.changed = (0,)
        if len(self.highest) > 1:
            self.changed = np.flatnonzero(np.bincount(self._pair[first:stop])).tolist()
        data, self._left = self._left[: size[0]], self._left[size[0] :]
        return stop, data.data


class Table:
    """Streams and shards whose frames the kernel takes off a file; made after `load`."""

    def __init__(self) -> None:
        assert _compiled is not None
        self._kernel = _compiled
        self._places = np.zeros((MOST_PLACES, PLACE_SIZE), np.uint8)
        self._sizes = np.zeros(MOST_PLACES, np.int64)
        self._highest: Numbers = np.zeros((MOST_PLACES, 4), np.uint64)
        self._count = 0

    def add(self, place: bytes) -> Numbers | None:
        """Highest sequence, highest time, running checksum and count of one more; None: no room.

        `place` is its key and shard as they stand in a frame.
        """
        at = self._count
        if at == MOST_PLACES:
            return None
        self._count += 1
        self._places[at, : len(place)] = np.frombuffer(place, np.uint8)
        self._sizes[at] = len(place)
        state: Numbers = self._highest[at]
        state[:] = (0, 0, FIRST_CHECKSUM, 0)
        return state

    def take(self, data: bytes, at: int) -> tuple[int, int, int]:
        """Take frames from `at` on, up to one that is unknown, not whole or not in order.

        Returns:
            Where that begins, where the one before it does, and how many were taken.
        """
        held, count = np.frombuffer(data, np.uint8), self._count
        places, sizes = self._places[:count], self._sizes[:count]
        tables = self._kernel.TABLES
        front, before, taken = self._kernel.check(held, at, places, sizes, self._highest, tables)
        return front, before, taken


def _heads(pairs: Sequence[Pair]) -> list[bytes]:
    """What the frames of each pair begin with."""
    return [short(key.encode()) + shard.to_bytes(8) for key, shard in pairs]


def _highest(splicer: Splicer, pairs: Sequence[Pair]) -> list[list[int]]:
    """Of each pair the highest sequence and time, and the running checksum."""
    markers = [splicer.marker(pair) or Marker(Place(*pair, 0, 0), FIRST_CHECKSUM) for pair in pairs]
    return [[each.place.sequence, each.place.ms, each.checksum] for each in markers]


def _offsets(payloads: pa.Array) -> Numbers:
    """Where each payload begins in the values, and the last one ends."""
    kind = np.int64 if pa.types.is_large_binary(payloads.type) else np.int32
    offsets = np.frombuffer(payloads.buffers()[1] or bytes(8), kind)
    return offsets[payloads.offset : payloads.offset + len(payloads) + 1].astype(np.int64)


def _values(payloads: pa.Array) -> Numbers:
    return np.frombuffer(payloads.buffers()[2] or b"", np.uint8)
