"""One pass over a file: where it stops being whole, and what its next beacons must say."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, BinaryIO, NoReturn

from fastcrc import crc16

from seastream_nb.file import bulk
from seastream_nb.file.bulk import Table
from seastream_nb.file.format import (
    BEACON_HEAD_SIZE,
    END,
    EOS,
    FIRST_CHECKSUM,
    HEADER_SIZE,
    INTERNAL_KEY,
    LAST_MS,
    MARKER_REST_SIZE,
    TRAILER_SIZE,
    Marker,
    Place,
    beacon_head,
    key_of,
)
from seastream_nb.file.splice import Pair, Splicer
from seastream_nb.file.walk import Fault, Walk

READ_BYTES = 2**20
# From here on the compiled way is worth the time that it takes to load.
LARGE_BYTES = 2**28
_SHARD_SIZE = 8
_CRC_SIZE = 2
_NUMBERS = struct.Struct(">QQI")
_INTERNAL = INTERNAL_KEY.encode()
_crc = crc16.cdma2000


class Damaged(Exception):
    """Bytes that are neither whole nor merely cut off."""

    def __init__(self, offset: int, text: str) -> None:
        super().__init__(text)
        self.offset = offset


class Scan:
    """One pass over a file, of which nothing before `begin` is out of order.

    Attributes:
        begin: where the first thing stands that is not whole; the size, if everything is.
        last: where the last whole message begins.
        messages: how many are whole.
        beacons: how many were read.
        disputed: whether one of them says something else than the messages before it, or the end
            is marked twice.
        ended_at: where the end-of-stream mark begins; None if there is none.
    """

    def __init__(self, file: BinaryIO, size: int, interval: int, start: int = HEADER_SIZE) -> None:
        self._file = file
        self._size = size
        self._interval = interval
        self._at = self.begin = self.last = start
        self.messages = self.beacons = 0
        self.disputed = False
        self.ended_at: int | None = None
        # By key and shard as they stand in a frame: highest sequence and time, running checksum,
        # how many messages.
        self._states: dict[bytes, Any] = {}
        self._internal: dict[bytes, Any] = {}
        if size - start >= LARGE_BYTES:
            bulk.load()
        self._table = Table() if bulk.loaded() else None
        self._markers = 0
        # Of the frame that is not complete yet: its bytes, how many it needs at least, and the
        # beacons within it: the remaining bytes they tell, the bytes before them, their markers.
        self._parts: list[bytes] = []
        self._have = 0
        self._need = 1
        self._crossed: list[tuple[int, int, list[Marker]]] = []

    def run(self) -> None:
        """Read to the end, or to where the file ends inside of something.

        Raises:
            Damaged: not everything before that is in order.
        """
        while self._at < self._size:
            if self._at % self._interval == 0:
                if not self._beacon():
                    return
                continue
            data = self._read(min(READ_BYTES, self._interval - self._at % self._interval))
            self._parts.append(data)
            self._have += len(data)
            if self._have >= self._need:
                self._frames(b"".join(self._parts), len(data))
            # No frame is longer than the file, so a bogus length is not waited for.
            if self.begin + self._need > self._size:
                return

    def require_torn(self) -> None:
        """Make sure that what stands at `begin` is cut off, and nothing whole is behind it.

        Raises:
            Damaged: more is wrong than a write that was stopped.
        """
        for found in Walk(self._file, self._size, self.begin):
            if isinstance(found, Fault) and HEADER_SIZE <= found.offset < self._size:
                raise Damaged(found.offset, found.text)

    def splicer(self) -> Splicer:
        """What goes on behind the last message that is no end mark."""
        at = self.begin if self.ended_at is None else self.ended_at
        markers = [_marker(*each) for each in (self._states | self._internal).items()]
        return Splicer(self._interval, at=at, markers=markers, written=self._markers)

    def counts(self) -> dict[Pair, int]:
        """How many messages each stream and shard has, by key and shard."""
        states = (self._states | self._internal).items()
        counts = sorted((_marker(*each).place[:2], int(each[1][3])) for each in states)
        return {pair: count for pair, count in counts if pair[0] != INTERNAL_KEY}

    def _read(self, count: int) -> bytes:
        self._file.seek(self._at)
        data = self._file.read(min(count, self._size - self._at))
        self._at += len(data)
        return data

    def _beacon(self) -> bool:
        """Read a beacon; whether the file has all of it."""
        head = self._read(BEACON_HEAD_SIZE)
        if len(head) < BEACON_HEAD_SIZE:
            return False
        end, remaining, count = beacon_head(head)
        markers = []
        for _ in range(count):
            length = self._read(1)
            key = self._read(length[0]) if length else b""
            rest = self._read(MARKER_REST_SIZE)
            if len(rest) < MARKER_REST_SIZE:
                return False
            name = key_of(key)
            if name is None:
                self._refuse("a beacon's stream key is not legal")
            markers.append(Marker.parse(name, rest))
        last = self._read(1)
        if not last:
            return False
        if end != END or last != END:
            self._refuse("a beacon does not begin or end with 0D")
        self._crossed.append((remaining, self._have, markers))
        if not self._have:
            self._passed(0)
            self.begin = self._at
        return True

    def _passed(self, total: int) -> None:
        """The frame of so many bytes is complete that the last beacons cut; 0 if they cut none."""
        for remaining, before, markers in self._crossed:
            if remaining != total - before:
                self._refuse("a beacon says something else than what remains of a message")
            if self.ended_at is None:
                self._markers += len(markers)
            self.beacons += 1
            self.disputed = self.disputed or not all(map(self._agrees, markers))
        self._crossed.clear()

    def _agrees(self, marker: Marker) -> bool:
        key, shard = marker.place[:2]
        place = key.encode() + shard.to_bytes(_SHARD_SIZE)
        state = self._states.get(place, self._internal.get(place))
        return state is not None and _marker(place, state) == marker

    def _frames(self, data: bytes, fresh: int) -> None:
        """Take the whole frames off these bytes, of which the last `fresh` were just read."""
        for at, place, sequence, ms, body, end in self._whole(data):
            trailer = end - TRAILER_SIZE
            payload, crc = data[body:trailer], data[trailer : trailer + _CRC_SIZE]
            if _crc(payload) != crc[0] << 8 | crc[1] or data[end - 1] != END[0] or ms > LAST_MS:
                self.begin = self._offset(len(data) - at, fresh)
                self._refuse("a message is damaged")
            state = self._states.get(place)
            if state is None or self.ended_at is not None:
                self.begin = self._offset(len(data) - at, fresh)
                state = self._unusual(place, payload)
            # `max` would take a tenth of the time of all this.
            if sequence > state[0]:
                state[0] = sequence
            if ms > state[1]:
                state[1] = ms
            state[2] = _crc(crc, int(state[2]))
            state[3] += 1
            self.messages += 1
            if self._crossed:
                self._passed(end - at)
            self._before, self._front = at, end
        if self._front:
            self.last = self._offset(len(data) - self._before, fresh)
            self.begin = self._offset(len(data) - self._front, fresh)
        self._have = len(data) - self._front
        self._parts = [data[self._front :]] if self._have else []

    def _whole(self, data: bytes) -> Iterator[tuple[int, bytes, int, int, int, int]]:
        """Of each whole frame: start, key and shard, sequence, time, end of its head, end."""
        size, numbers = len(data), _NUMBERS.unpack_from
        self._before = self._front = 0
        while True:
            self._need = 1
            if self._table is not None and not self._crossed and self.ended_at is None:
                self._take_known(data, self._table)
            at = self._front
            if at >= size:
                return
            place_end = at + 1 + data[at] + _SHARD_SIZE
            body = place_end + _NUMBERS.size
            self._need = body - at + TRAILER_SIZE
            if at + self._need > size:
                return
            sequence, ms, length = numbers(data, place_end)
            self._need += length
            if at + self._need > size:
                return
            yield at, data[at + 1 : place_end], sequence, ms, body, at + self._need

    def _take_known(self, data: bytes, table: Table) -> None:
        """Take frames at once, up to one of a new stream, or one that is not as it should be."""
        front, before, count = table.take(data, self._front)
        if count:
            self._before, self._front = before, front
            self.messages += count

    def _offset(self, left: int, fresh: int) -> int:
        """Where so many bytes of frames before here begin."""
        # More than were just read: what was there before them is of the same frame.
        return self._at - left if left <= fresh else self.begin

    def _unusual(self, place: bytes, payload: bytes) -> Any:
        """The state of a stream's first message here, or what becomes of one behind the end."""
        key, internal = place[:-_SHARD_SIZE], place.startswith(_INTERNAL)
        if internal and payload == EOS:
            self.disputed = self.disputed or self.ended_at is not None
            self.ended_at = self.begin if self.ended_at is None else self.ended_at
            return [0, 0, FIRST_CHECKSUM, 0]
        if self.ended_at is not None:
            self._refuse("a message follows the end-of-stream mark, where readers stop")
        if key_of(key) is None:
            self._refuse("a message's stream key is not legal")
        # Kept apart, so that an end mark of the same key comes by here too.
        states = self._internal if internal else self._states
        if place not in states:
            known = None if internal or self._table is None else self._table.add(place)
            states[place] = [0, 0, FIRST_CHECKSUM, 0] if known is None else known
        return states[place]

    def _refuse(self, text: str) -> NoReturn:
        """Let the walk say what is wrong; if it passes that, say this."""
        self.require_torn()
        raise Damaged(self.begin, text)


def _marker(place: bytes, state: Any) -> Marker:
    """What a beacon says of a key and shard as they stand in a frame."""
    sequence, ms, checksum, _ = map(int, state)
    key, shard = place[:-_SHARD_SIZE].decode(), int.from_bytes(place[-_SHARD_SIZE:])
    return Marker(Place(key, shard, sequence, ms), checksum)
