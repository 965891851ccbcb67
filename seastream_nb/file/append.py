"""Where to go on in a file, and what its next beacons must say. Reads, and changes nothing.

    header ─► frame ─► frame ─► … ─► (end mark, torn frame, torn beacon)
                                   └ here what is written goes on

The whole file is read. Its beacons could not stand in for that: SeaStreamer forgets sums, highest
values and streams when it opens a file again, so what a beacon does not name may still be there,
and a running checksum that it says may be of the last messages only.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, NoReturn

from fastcrc import crc16

from seastream_nb.errors import FileFormatError
from seastream_nb.file.format import (
    BEACON_HEAD_SIZE,
    END,
    EOS,
    FIRST_CHECKSUM,
    HEADER_SIZE,
    INTERNAL_KEY,
    LAST_MS,
    MAGIC,
    MARKER_REST_SIZE,
    TRAILER_SIZE,
    FileHeader,
    Marker,
    Place,
    beacon_head,
    key_of,
)
from seastream_nb.file.splice import Pair, Splicer
from seastream_nb.file.walk import Fault, Walk

READ_BYTES = 2**20
_SHARD_SIZE = 8
_CRC_SIZE = 2
_NUMBERS = struct.Struct(">QQI")
_INTERNAL = INTERNAL_KEY.encode()
_crc = crc16.cdma2000


@dataclass(frozen=True)
class Ending:
    """How a file ends, and what it takes to go on.

    Attributes:
        header: what its first 128 bytes say.
        torn: where the message or beacon begins that the file ends inside of; None if there is
            none.
        ended: whether the end-of-stream mark stands at the end.
        splicer: goes on where the last message ends; what is behind that is to be cut off.
    """

    header: FileHeader
    torn: int | None
    ended: bool
    splicer: Splicer

    @property
    def offset(self) -> int:
        """Where the next frame goes, or the beacon before it."""
        return self.splicer.at

    def highest(self) -> dict[Pair, int]:
        """The highest sequence number of each stream and shard."""
        return {marker.place[:2]: marker.place.sequence for marker in self.splicer.markers}


def find_end(file: BinaryIO, size: int, shown: str) -> Ending | None:
    """How the first `size` bytes of an open file end; None if not even a header is whole.

    Raises:
        FileFormatError: it is no `.ss` file, or damaged in a way that no torn write explains; the
            text names it as `shown`, the place, and the way out.
    """
    file.seek(0)
    head = file.read(min(size, HEADER_SIZE))
    if len(head) < HEADER_SIZE and MAGIC.startswith(head[: len(MAGIC)]):
        return None
    try:
        header = FileHeader.parse(head)
    except FileFormatError as error:
        raise FileFormatError(f"{shown}: {error}", offset=error.offset) from None
    scan = Scan(file, size, header.interval)
    try:
        scan.run()
        if scan.begin < size:
            scan.require_torn()
    except Damaged as damage:
        raise FileFormatError(
            f"{shown} is damaged at byte {damage.offset:,} ({damage}), and is not written to: "
            "ss.repair(src, dst) saves every whole message",
            offset=damage.offset,
        ) from None
    ended = scan.ended_at is not None
    return Ending(header, None if scan.begin == size else scan.begin, ended, scan.splicer())


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
        ended_at: where the end-of-stream mark begins; None if there is none.
    """

    def __init__(self, file: BinaryIO, size: int, interval: int, start: int = HEADER_SIZE) -> None:
        self._file = file
        self._size = size
        self._interval = interval
        self._at = self.begin = self.last = start
        self.messages = 0
        self.ended_at: int | None = None
        # By key and shard as they stand in a frame: highest sequence and time, running checksum.
        self._state: dict[bytes, list[int]] = {}
        self._internal: dict[bytes, list[int]] = {}
        self._markers = 0
        # Of the frame that is not complete yet: its bytes, how many it needs at least, and the
        # beacons within it: the remaining bytes they tell, the bytes before them, their markers.
        self._parts: list[bytes] = []
        self._have = 0
        self._need = 1
        self._crossed: list[tuple[int, int, int]] = []

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
        markers = []
        for place, (sequence, ms, checksum) in (self._state | self._internal).items():
            key, shard = place[:-_SHARD_SIZE].decode(), int.from_bytes(place[-_SHARD_SIZE:])
            markers.append(Marker(Place(key, shard, sequence, ms), checksum))
        return Splicer(self._interval, at=at, markers=markers, written=self._markers)

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
        for _ in range(count):
            length = self._read(1)
            key = self._read(length[0]) if length else b""
            if len(self._read(MARKER_REST_SIZE)) < MARKER_REST_SIZE:
                return False
            if key_of(key) is None:
                self._refuse("a beacon's stream key is not legal")
        last = self._read(1)
        if not last:
            return False
        if end != END or last != END:
            self._refuse("a beacon does not begin or end with 0D")
        self._crossed.append((remaining, self._have, count))
        if not self._have:
            self._passed(0)
            self.begin = self._at
        return True

    def _passed(self, total: int) -> None:
        """The frame of so many bytes is complete that the last beacons cut; 0 if they cut none."""
        for remaining, before, count in self._crossed:
            if remaining != total - before:
                self._refuse("a beacon says something else than what remains of a message")
            if self.ended_at is None:
                self._markers += count
        self._crossed.clear()

    def _frames(self, data: bytes, fresh: int) -> None:
        """Take the whole frames off these bytes, of which the last `fresh` were just read."""
        at = last = 0
        for place, sequence, ms, body, end in self._whole(data):
            trailer = end - TRAILER_SIZE
            payload, crc = data[body:trailer], data[trailer : trailer + _CRC_SIZE]
            if _crc(payload) != crc[0] << 8 | crc[1] or data[end - 1] != END[0] or ms > LAST_MS:
                self.begin = self._offset(len(data) - at, fresh)
                self._refuse("a message is damaged")
            known = self._state.get(place)
            if known is None or self.ended_at is not None:
                self.begin = self._offset(len(data) - at, fresh)
                known = self._unusual(place, payload)
            if self._crossed:
                self._passed(end - at)
            # `max` would take a tenth of the time of all this.
            if sequence > known[0]:
                known[0] = sequence
            if ms > known[1]:
                known[1] = ms
            known[2] = _crc(crc, known[2])
            self.messages += 1
            last, at = at, end
        if at:
            self.last = self._offset(len(data) - last, fresh)
            self.begin = self._offset(len(data) - at, fresh)
        self._parts = [data[at:]] if at < len(data) else []
        self._have = len(data) - at

    def _offset(self, left: int, fresh: int) -> int:
        """Where so many bytes of frames before here begin."""
        # More than were just read: what was there before them is of the same frame.
        return self._at - left if left <= fresh else self.begin

    def _unusual(self, place: bytes, payload: bytes) -> list[int]:
        """The state of a stream's first message here, or what becomes of one behind the end."""
        key, internal = place[:-_SHARD_SIZE], place.startswith(_INTERNAL)
        if internal and payload == EOS:
            self.ended_at = self.begin if self.ended_at is None else self.ended_at
            return [0, 0, FIRST_CHECKSUM]
        if self.ended_at is not None:
            self._refuse("a message follows the end-of-stream mark, where readers stop")
        if key_of(key) is None:
            self._refuse("a message's stream key is not legal")
        # Kept apart, so that an end mark of the same key comes by here too.
        states = self._internal if internal else self._state
        return states.setdefault(place, [0, 0, FIRST_CHECKSUM])

    def _refuse(self, text: str) -> NoReturn:
        """Let the walk say what is wrong; if it passes that, say this."""
        self.require_torn()
        raise Damaged(self.begin, text)

    def _whole(self, data: bytes) -> Iterator[tuple[bytes, int, int, int, int]]:
        """Key and shard, sequence, time, and where payload and frame end, of each whole frame."""
        at, size, numbers = 0, len(data), _NUMBERS.unpack_from
        self._need = 1
        while at < size:
            place_end = at + 1 + data[at] + _SHARD_SIZE
            body = place_end + _NUMBERS.size
            self._need = body - at + TRAILER_SIZE
            if at + self._need > size:
                return
            sequence, ms, length = numbers(data, place_end)
            self._need += length
            if at + self._need > size:
                return
            yield data[at + 1 : place_end], sequence, ms, body, at + self._need
            at += self._need
            self._need = 1
