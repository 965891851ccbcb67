"""Walking through a file from frame to frame, past what is damaged. Reads, and changes nothing.

    frame ─► frame ─► (damage) ─► where the next whole frame begins, or the next beacon ─► frame

Memory is bounded by the largest frame, never larger than the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO

from seastream_nb.errors import FileFormatError
from seastream_nb.file.format import (
    BEACON_HEAD_SIZE,
    END,
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
    header_faults,
    key_of,
    may_begin,
    payload_crc,
)


@dataclass(frozen=True)
class Fault:
    """Something that breaks the format, and where."""

    offset: int
    text: str


@dataclass(frozen=True)
class FrameFound:
    """A frame that can be read, where it begins, and whether its payload fits its CRC."""

    offset: int
    frame: Frame
    intact: bool


@dataclass(frozen=True)
class BeaconFound:
    """A beacon and where it stands."""

    offset: int
    beacon: Beacon


@dataclass(frozen=True)
class Skipped:
    """Damage after which it is unknown what was written: everything between two offsets."""

    start: int
    stop: int


Found = Fault | FrameFound | BeaconFound | Skipped


class _Damaged(Exception):
    def __init__(self, offset: int, text: str, search: int) -> None:
        super().__init__(text)
        self.fault = Fault(offset, text)
        # From where on something whole may be found again.
        self.search = search


class _Torn(Exception):
    """The file ends here."""


@dataclass(frozen=True)
class _Crossing:
    """A beacon that was passed, after so many bytes of the frame."""

    found: BeaconFound
    done: int


class Walk:
    """One walk through a file, in stored order, from where a frame or its beacon begins.

    Attributes:
        head: the file's first 128 bytes.
        header: what they say.
        size: how many bytes are looked at.
        torn: where the frame begins that the file ends inside of, once that is known.

    Raises:
        FileFormatError: the file does not begin as an `.ss` file does.
    """

    def __init__(self, file: BinaryIO, size: int, start: int = HEADER_SIZE) -> None:
        self._file = file
        self.size = size
        file.seek(0)
        self.head = file.read(HEADER_SIZE)
        self.header = FileHeader.parse(self.head)
        self._interval = self.header.interval
        self._at = start
        self._crossed: list[_Crossing] = []
        self._done = 0
        self._begin = start
        self.torn: int | None = None

    def __iter__(self) -> Iterator[Found]:
        yield from (Fault(*each) for each in header_faults(self.head))
        while self._at < self.size:
            start = self._at
            try:
                found, faults = self._frame()
            except _Torn:
                yield from (crossing.found for crossing in self._crossed)
                begin, before = self._begin, [each for each in self._crossed if not each.done]
                yield from self._wrong_counts(0, before)
                if begin == self.size:  # it ends with a beacon, and nothing is torn
                    return
                again = self._search(begin + 1)
                if again == self.size:
                    self.torn = begin
                    return
                # What follows is whole, so only the length was wrong.
                yield Fault(begin, "the length of a message is damaged")
                yield Skipped(begin, again)
                self._at = again
                continue
            except _Damaged as damage:
                yield damage.fault
                again = self._search(damage.search)
                yield Skipped(start, again)
                self._at = again
                continue
            yield from (each.found for each in self._crossed if not each.done)
            yield found
            yield from (each.found for each in self._crossed if each.done)
            yield from faults
        if self.size % self._interval == 0:
            yield Fault(self.size, "the file ends where a beacon should stand")

    # One frame.

    def _frame(self) -> tuple[FrameFound, list[Fault]]:
        self._crossed, self._done, self._begin = [], 0, self._at
        size = self._read(1)[0]
        start = self._begin
        key = key_of(self._read(size))
        if key is None:
            raise _Damaged(start, "a message's stream key is not legal", start + 1)
        shard, sequence, ms, length = frame_head(self._read(FRAME_HEAD_SIZE))
        if ms > LAST_MS:
            raise _Damaged(start, "the time of a message is past the year 9999", start + 1)
        total = 1 + size + FRAME_HEAD_SIZE + length + TRAILER_SIZE
        if total > self.size - start:
            self._require_confirmed(total, length)
        payload, trailer = self._read(length), self._read(TRAILER_SIZE)
        wrong = self._wrong_counts(total, self._crossed)
        frame = Frame(Place(key, shard, sequence, ms), payload, crc_of(trailer))
        intact = payload_crc(payload) == frame.crc
        ended = trailer[-1:] == END
        if not intact and (wrong or not ended):
            raise _Damaged(start, "a message's payload or length is damaged", start + 1)
        faults = wrong
        if not intact:
            faults = [*faults, Fault(start, "a payload does not fit its CRC")]
        if not ended:
            faults = [*faults, Fault(self._at - 1, "a message does not end with 0D")]
        return FrameFound(start, frame, intact), faults

    def _require_confirmed(self, total: int, length: int) -> None:
        """Refuse a length past the end that a beacon denies, before all the rest is read."""
        room = self._interval - self._at % self._interval
        self._read(min(length, room) + 1)
        if self._wrong_counts(total, self._crossed):
            raise _Damaged(self._begin, "the length of a message is damaged", self._begin + 1)
        self._read(self.size)

    def _wrong_counts(self, total: int, crossed: list[_Crossing]) -> list[Fault]:
        """Beacons that say something else than how much of the frame within them is to come."""
        return [
            Fault(
                each.found.offset,
                f"the beacon says that {each.found.beacon.remaining:,} bytes of a message remain; "
                f"there are {max(0, left):,}",
            )
            for each in crossed
            if each.found.beacon.remaining != (left := total - each.done if each.done else 0)
        ]

    def _read(self, count: int) -> bytes:
        """The next bytes of frames, without the beacons between them."""
        parts = []
        while count:
            if self._at % self._interval == 0 and self._at >= self._interval:
                offset = self._at
                beacon = self._beacon()
                self._crossed.append(_Crossing(BeaconFound(offset, beacon), self._done))
                if not self._done:
                    self._begin = self._at
            part = self._raw(min(count, self._interval - self._at % self._interval))
            parts.append(part)
            self._done += len(part)
            count -= len(part)
        return b"".join(parts)

    def _raw(self, count: int) -> bytes:
        if self._at + count > self.size:
            self._at = self.size
            raise _Torn
        self._file.seek(self._at)
        data = self._file.read(count)
        self._at += len(data)
        if len(data) < count:
            raise _Torn
        return data

    def _beacon(self) -> Beacon:
        offset = self._at
        end, remaining, count = beacon_head(self._raw(BEACON_HEAD_SIZE))
        if end != END:
            raise _Damaged(offset, "a beacon does not begin with 0D", offset + 1)
        markers = []
        for _ in range(count):
            start = self._at
            key = key_of(self._raw(self._raw(1)[0]))
            if key is None:
                raise _Damaged(start, "a beacon's stream key is not legal", offset + 1)
            markers.append(Marker.parse(key, self._raw(MARKER_REST_SIZE)))
        if self._raw(1) != END:
            raise _Damaged(self._at - 1, "a beacon does not end with 0D", offset + 1)
        return Beacon(remaining, tuple(markers))

    # After damage.

    def _search(self, start: int) -> int:
        """Where something whole begins again; the end of the file if nothing does."""
        at = start
        while at < self.size:
            if at % self._interval == 0 and (behind := self._behind_beacon(at)) is not None:
                return behind
            boundary = min(self.size, (at // self._interval + 1) * self._interval)
            if (found := self._frame_between(at, boundary)) is not None:
                return found
            at = boundary
        return self.size

    def _behind_beacon(self, at: int) -> int | None:
        """Where the frame ends that the beacon here cuts; None if that cannot be told."""
        self._at, self._crossed, self._done = at, [], 0
        try:
            left = self._beacon().remaining
            # Step by step: a damaged count must not become a read of that size.
            while left:
                left -= len(self._read(min(left, self._interval)))
            here = self._at
            if here < self.size and here % self._interval:
                self._frame()
        except (_Damaged, _Torn):
            return None
        return here

    def _frame_between(self, start: int, stop: int) -> int | None:
        """Where an intact frame begins, after the 0D that the one before it ends with."""
        self._file.seek(start - 1)
        window = self._file.read(stop - start)
        at = window.find(END)
        while at >= 0:
            self._at = here = start + at
            with suppress(_Damaged, _Torn):
                if may_begin(window, at + 1, self.size - here):
                    found, _ = self._frame()
                    if found.intact and found.frame.place.key:
                        return here
            at = window.find(END, at + 1)
        return None


def open_walk(file: BinaryIO, size: int, shown: str) -> Walk:
    """A walk through an open file.

    Raises:
        FileFormatError: it is no `.ss` file; the text names it.
    """
    try:
        return Walk(file, size)
    except FileFormatError as error:
        raise FileFormatError(f"{shown}: {error}", offset=error.offset) from None
