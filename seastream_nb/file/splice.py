"""Frames become the bytes of a file: beacons are put in at every multiple. No I/O."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from seastream_nb.file.format import (
    FIRST_CHECKSUM,
    HEADER_SIZE,
    Beacon,
    Frame,
    Marker,
    Place,
    chained,
    markers_per_beacon,
)

Pair = tuple[str, int]


class Splicer:
    r"""The bytes of a file after its header, and what the next beacon will say.

    >>> splicer = Splicer(interval=128)
    >>> splicer.start()
    b'\r\x00\x00\x00\x00\x00\r'
    >>> len(splicer.add(Frame.of(Place("a", 0, 1, 5), b"x" * 200)))
    240
    """

    def __init__(self, interval: int) -> None:
        self._interval = interval
        self._at = HEADER_SIZE
        self._most = markers_per_beacon(interval)
        self._written = 0
        self._markers: dict[Pair, Marker] = {}

    def start(self) -> bytes:
        """What follows the header before the first frame: a beacon, if the header fills it."""
        return b"" if self._at % self._interval else self._beacon(0)

    def add(self, frame: Frame) -> bytes:
        """The bytes of one more frame, with the beacons that cut it or follow it at once."""
        self._note(frame)
        return b"".join(self._cut(frame.encode()))

    def _note(self, frame: Frame) -> None:
        pair = frame.place[:2]
        before = self._markers.get(pair, Marker(frame.place, FIRST_CHECKSUM))
        highest = Place(
            *pair,
            max(before.place.sequence, frame.place.sequence),
            max(before.place.ms, frame.place.ms),
        )
        self._markers[pair] = Marker(highest, chained(before.checksum, frame.crc))

    def _cut(self, data: bytes) -> Iterator[bytes]:
        done = 0
        while done < len(data):
            part = data[done : done + self._interval - self._at % self._interval]
            done += len(part)
            self._at += len(part)
            yield part
            if self._at % self._interval == 0:
                yield self._beacon(len(data) - done)

    def _beacon(self, remaining: int) -> bytes:
        """The next beacon; streams take turns where it has no room for all of them."""
        pairs = sorted(self._markers)
        count = min(self._most, len(pairs))
        first = self._written % len(pairs) if pairs else 0
        turn = list(chain(pairs[first:], pairs[:first]))[:count]
        self._written += count
        data = Beacon(remaining, tuple(self._markers[pair] for pair in turn)).encode()
        self._at += len(data)
        return data
