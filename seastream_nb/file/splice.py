"""Frames become the bytes of a file: beacons are put in at every multiple. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from seastream_nb.file.format import (
    FIRST_CHECKSUM,
    HEADER_SIZE,
    Beacon,
    Frame,
    Marker,
    Place,
    chained,
    largest_beacon,
    markers_per_beacon,
)

Pair = tuple[str, int]
Bytes = bytes | memoryview


class Splicer:
    r"""The bytes of a file after its header, and what the next beacon will say.

    Given an offset, markers and how many were written before it, it goes on in a file.

    Attributes:
        at: the offset of what comes next.

    >>> splicer = Splicer(interval=128)
    >>> splicer.start()
    b'\r\x00\x00\x00\x00\x00\r'
    >>> len(splicer.add(Frame.of(Place("a", 0, 1, 5), b"x" * 200)))
    240
    """

    def __init__(
        self,
        interval: int,
        *,
        at: int = HEADER_SIZE,
        markers: Iterable[Marker] = (),
        written: int = 0,
    ) -> None:
        self.at = at
        self._interval = interval
        self._most = markers_per_beacon(interval)
        self._written = written
        self._markers = {marker.place[:2]: marker for marker in markers}

    @property
    def markers(self) -> list[Marker]:
        """What a beacon with room for all would say now, by key and shard."""
        return [self._markers[pair] for pair in sorted(self._markers)]

    def copy(self) -> Splicer:
        """Another one that goes on from here."""
        return Splicer(
            self._interval, at=self.at, markers=self._markers.values(), written=self._written
        )

    def start(self) -> bytes:
        """What stands before the next frame: a beacon, where what is there ends at a multiple."""
        return b"" if self.at % self._interval else self._beacon(0)

    @property
    def room(self) -> int:
        """How many bytes fit before the next beacon."""
        return self._interval - self.at % self._interval

    def most(self, size: int) -> int:
        """How many bytes frames of this size become at most, by the beacons among them."""
        beacon = largest_beacon(self._interval)
        return size + (size // (self._interval - beacon) + 1) * beacon

    def add(self, frame: Frame) -> bytes:
        """The bytes of one more frame, with the beacons that cut it or follow it at once."""
        pair = frame.place[:2]
        before = self.marker(pair) or Marker(frame.place, FIRST_CHECKSUM)
        highest = Place(
            *pair,
            max(before.place.sequence, frame.place.sequence),
            max(before.place.ms, frame.place.ms),
        )
        self.note(Marker(highest, chained(before.checksum, frame.crc)))
        return b"".join(self.cut(frame.encode()))

    def marker(self, pair: Pair) -> Marker | None:
        """What beacons say of a stream and shard; None before its first message."""
        return self._markers.get(pair)

    def note(self, marker: Marker) -> None:
        """Let beacons from the next one on say this of its stream and shard."""
        self._markers[marker.place[:2]] = marker

    def cut(self, data: Bytes) -> Iterator[Bytes]:
        """Frames that are noted, with beacons between; all but the last must fit before them."""
        done = 0
        while done < len(data):
            part = data[done : done + self.room]
            done += len(part)
            self.at += len(part)
            yield part
            if self.at % self._interval == 0:
                yield self._beacon(len(data) - done)

    def _beacon(self, remaining: int) -> bytes:
        """The next beacon; streams take turns where it has no room for all of them."""
        pairs = sorted(self._markers)
        count = min(self._most, len(pairs))
        first = self._written % len(pairs) if pairs else 0
        turn = list(chain(pairs[first:], pairs[:first]))[:count]
        self._written += count
        data = Beacon(remaining, tuple(self._markers[pair] for pair in turn)).encode()
        self.at += len(data)
        return data
