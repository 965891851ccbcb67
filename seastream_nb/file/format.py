r"""The `.ss` format, version 1: headers, frames and beacons as bytes. No I/O.

    file    = header frame frame ...          all numbers are unsigned and big-endian

    header  = "Ss" 01 name created:8 interval:4 zeros 0D                        128 bytes
    frame   = key shard:8 sequence:8 time:8 length:4 payload crc:2 0D      32 + key + payload
    beacon  = 0D remaining:4 count:1 marker ... 0D
    marker  = key shard:8 sequence:8 time:8 checksum:2
    name, key = length:1 and that many bytes of UTF-8

Times are milliseconds since 1970. A beacon stands at every multiple of the interval, also in the
middle of a frame, and says how many of that frame's bytes are still to come. Its markers hold, of
one stream and shard each, the highest sequence and time so far and the running checksum: the CRC
of the payloads' CRCs. All of them include the frame that the beacon cuts.

SeaStreamer's file backend is the source of every rule here.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from fastcrc import crc16

from seastream_nb.errors import FileFormatError

HEADER_SIZE = 128
MAGIC = b"Ss\x01"
END = b"\r"
LEAST_INTERVAL = HEADER_SIZE
MOST_NAME_BYTES = 111
# The last millisecond of the year 9999, after which readers of the format refuse a time.
LAST_MS = 253_402_300_799_999
INTERNAL_KEY = "SEA_STREAMER_INTERNAL"
EOS = b"EOS"
# What a CRC begins with, and the running checksum before the first message.
FIRST_CHECKSUM = 0xFFFF

_KEY = re.compile(rb"[A-Za-z0-9._-]{0,249}")
_NAME_END = struct.Struct(">QI")
_PLACE = struct.Struct(">QQQ")
_FRAME_HEAD = struct.Struct(">QQQI")
_BEACON_HEAD = struct.Struct(">cIB")
_CRC = struct.Struct(">H")
FRAME_HEAD_SIZE = _FRAME_HEAD.size
BEACON_HEAD_SIZE = _BEACON_HEAD.size
MARKER_REST_SIZE = _PLACE.size + _CRC.size
TRAILER_SIZE = _CRC.size + len(END)
_LARGEST_MARKER = 1 + 255 + _PLACE.size + _CRC.size


def payload_crc(payload: bytes) -> int:
    """The CRC-16/CDMA2000 of a payload.

    >>> hex(payload_crc(b"123456789")), hex(payload_crc(b""))
    ('0x4c06', '0xffff')
    """
    return crc16.cdma2000(payload)


def chained(checksum: int, crc: int) -> int:
    """The running checksum after a message whose payload has this CRC.

    >>> [hex(c) for c in (chained(0xFFFF, 0xF556), chained(0xE2C1, 0x3D31))]
    ['0xe2c1', '0x2b27']
    """
    return crc16.cdma2000(_CRC.pack(crc), checksum)


@dataclass(frozen=True)
class FileHeader:
    """The first 128 bytes: the name at creation, when that was, and how far beacons are apart."""

    name: str
    created_ms: int
    interval: int

    def encode(self) -> bytes:
        """The header as bytes; a name over 111 bytes is cut where a character ends.

        >>> len(FileHeader("a.ss", 0, 1024).encode())
        128
        """
        name = self.name.encode("utf-8", "surrogateescape")[:MOST_NAME_BYTES]
        name = name.decode("utf-8", "ignore").encode()
        start = MAGIC + short(name) + _NAME_END.pack(self.created_ms, self.interval)
        return start.ljust(HEADER_SIZE - 1, b"\0") + END

    @classmethod
    def parse(cls, data: bytes) -> FileHeader:
        """Read the header; the padding and the last byte may be anything.

        Raises:
            FileFormatError: these bytes begin no `.ss` file of version 1.
        """
        if data[:2] != MAGIC[:2]:
            raise FileFormatError("this is no .ss file: it does not begin with 'Ss'", offset=0)
        if data[2:3] != MAGIC[2:]:
            raise FileFormatError(
                f"version {data[2]} of the .ss format is unknown, 1 is supported"
                if len(data) > 2
                else "the file ends inside its header",
                offset=2,
            )
        if len(data) < HEADER_SIZE:
            raise FileFormatError("the file ends inside its header", offset=len(data))
        end = 4 + data[3]
        if data[3] > MOST_NAME_BYTES:
            raise FileFormatError(f"a file name of {data[3]} bytes leaves no room", offset=3)
        try:
            name = data[4:end].decode()
        except UnicodeDecodeError as error:
            raise FileFormatError(
                "the file name in the header is not UTF-8", offset=4 + error.start
            ) from None
        created, interval = _NAME_END.unpack_from(data, end)
        if created > LAST_MS:
            raise FileFormatError("the time of creation is past the year 9999", offset=end)
        if interval < LEAST_INTERVAL:
            raise FileFormatError(
                f"a beacon interval of {interval} is below {LEAST_INTERVAL}", offset=end + 8
            )
        return cls(name, created, interval)


def header_faults(data: bytes) -> Iterator[tuple[int, str]]:
    """What is unusual in a header that can be read, and where."""
    used = 4 + data[3] + _NAME_END.size
    padding = data[used:-1]
    if padding.strip(b"\0"):
        offset = used + len(padding) - len(padding.lstrip(b"\0"))
        yield offset, "the padding of the header is not zero"
    if data[-1:] != END:
        yield HEADER_SIZE - 1, "the header does not end with 0D"


class Place(NamedTuple):
    """Which message: stream key, shard, sequence number, milliseconds since 1970."""

    key: str
    shard: int
    sequence: int
    ms: int


@dataclass(frozen=True)
class Frame:
    """One message as it stands in a file, with the CRC that stands there."""

    place: Place
    payload: bytes
    crc: int

    @classmethod
    def of(cls, place: Place, payload: bytes) -> Frame:
        """The frame of a message, with its payload's CRC."""
        return cls(place, payload, payload_crc(payload))

    @property
    def ends_stream(self) -> bool:
        """Whether this is the mark that nothing follows."""
        return self.place.key == INTERNAL_KEY and self.payload == EOS

    @property
    def size(self) -> int:
        """How many bytes it is, before beacons cut it."""
        return 1 + len(self.place.key) + FRAME_HEAD_SIZE + len(self.payload) + TRAILER_SIZE

    def encode(self) -> bytes:
        r"""The frame as bytes, before beacons cut it.

        >>> Frame.of(Place("a", 0, 1, 5), b"hi").encode().hex(" ", -4)
        '01610000 00000000 00000000 00000000 00010000 00000000 00050000 00026869 d73b0d'
        """
        key, *numbers = self.place
        head = short(key.encode()) + _FRAME_HEAD.pack(*numbers, len(self.payload))
        return head + self.payload + _CRC.pack(self.crc) + END


def frame_head(data: bytes) -> tuple[int, int, int, int]:
    """Shard, sequence, time and payload length, which follow a frame's key."""
    shard, sequence, ms, length = _FRAME_HEAD.unpack(data)
    return shard, sequence, ms, length


def may_begin(data: bytes, at: int, left: int) -> bool:
    r"""Whether a frame can begin here, as far as these bytes tell; so much of the file is left.

    >>> frame = Frame.of(Place("a", 0, 1, 5), b"hi").encode()
    >>> may_begin(frame, 0, 35), may_begin(frame, 0, 34), may_begin(frame[:9], 0, 34)
    (True, False, True)
    """
    rest = at + 1 + data[at] if at < len(data) else len(data)
    head = data[rest : rest + FRAME_HEAD_SIZE]
    if len(head) < FRAME_HEAD_SIZE:
        return True
    *_, ms, length = frame_head(head)
    total = rest - at + FRAME_HEAD_SIZE + length + TRAILER_SIZE
    return total <= left and ms <= LAST_MS and key_of(data[at + 1 : rest]) is not None


def crc_of(trailer: bytes) -> int:
    """The CRC at the beginning of a frame's last three bytes."""
    return int(_CRC.unpack_from(trailer)[0])


class Marker(NamedTuple):
    """Of one stream and shard: the highest sequence, the highest time, the running checksum."""

    place: Place
    checksum: int

    def encode(self) -> bytes:
        """The marker as bytes."""
        key, *numbers = self.place
        return short(key.encode()) + _PLACE.pack(*numbers) + _CRC.pack(self.checksum)

    @classmethod
    def parse(cls, key: str, rest: bytes) -> Marker:
        """Read what follows the key."""
        return cls(Place(key, *_PLACE.unpack_from(rest)), crc_of(rest[_PLACE.size :]))


@dataclass(frozen=True)
class Beacon:
    """What stands at a multiple of the interval; `remaining` bytes of a frame follow it."""

    remaining: int
    markers: tuple[Marker, ...] = ()

    def encode(self) -> bytes:
        r"""The beacon as bytes.

        >>> Beacon(3).encode()
        b'\r\x00\x00\x00\x03\x00\r'
        """
        head = _BEACON_HEAD.pack(END, self.remaining, len(self.markers))
        return head + b"".join(marker.encode() for marker in self.markers) + END


def beacon_head(data: bytes) -> tuple[bytes, int, int]:
    """The delimiter, the remaining bytes and the number of markers of a beacon."""
    end, remaining, count = _BEACON_HEAD.unpack(data)
    return end, remaining, count


def markers_per_beacon(interval: int) -> int:
    """How many markers a beacon holds at most.

    >>> [markers_per_beacon(each) for each in (128, 571, 1024, 2048, 4096, 71_635, 2**20)]
    [0, 1, 1, 3, 7, 127, 127]
    """
    space = interval - BEACON_HEAD_SIZE - len(END)
    return min(255, space // _LARGEST_MARKER) // 2


def largest_beacon(interval: int) -> int:
    """How many bytes a beacon takes at most.

    >>> [largest_beacon(each) for each in (128, 1024, 2**20)]
    [7, 289, 35821]
    """
    return BEACON_HEAD_SIZE + markers_per_beacon(interval) * _LARGEST_MARKER + len(END)


def key_of(data: bytes) -> str | None:
    """The stream key that these bytes are; None if SeaStreamer would refuse it.

    An empty key is none that can be made, but the reference reads and writes it.

    >>> key_of(b"ticks"), key_of(b""), key_of(b"a b")
    ('ticks', '', None)
    """
    return data.decode() if _KEY.fullmatch(data) else None


def short(text: bytes) -> bytes:
    """A string with its length before it."""
    return bytes([len(text)]) + text
