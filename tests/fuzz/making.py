"""Files that are whole, and what becomes of files: everything follows from one source of chance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from random import Random

from seastream_nb.file.format import EOS, INTERNAL_KEY, Frame, Place
from seastream_nb.file.splice import Splicer
from seastream_nb.file.walk import BeaconFound, FrameFound, Walk
from tests.file.files import encoded

INTERVALS = (128, 129, 200, 571, 640, 1024, 2048, 4096, 2**16, 2**20, 2**32 - 1)
KEYS = ("a", "b.c", "ticks", "x" * 249, INTERNAL_KEY, "")
SHARDS = (0, 0, 1, 7, 2**64 - 1)
NUMBERS_32 = (0, 1, 2, 31, 255, 256, 2**16, 2**20, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1)
DATA = Path(__file__).parents[2] / "data" / "earthquakes.csv"
Mutation = Callable[[Random, "Layout", bytearray], None]


@dataclass(frozen=True)
class Layout:
    """Where frames and beacons begin in a file before it is damaged."""

    data: bytes
    frames: list[tuple[int, Frame]]
    beacons: list[int]

    @classmethod
    def of(cls, data: bytes) -> Layout:
        found = list(Walk(BytesIO(data), len(data)))
        return cls(
            data,
            [(each.offset, each.frame) for each in found if isinstance(each, FrameFound)],
            [each.offset for each in found if isinstance(each, BeaconFound)],
        )


@cache
def lines() -> list[bytes]:
    """Real records, one a line."""
    return DATA.read_bytes().splitlines(keepends=True)


def payload(chance: Random, most: int) -> bytes:
    size = chance.choice((0, 1, chance.randint(2, 40), chance.randint(0, most)))
    match chance.randrange(5):
        case 0:
            return chance.randbytes(size)
        case 1:
            return chance.choice(lines())
        case 2:  # looks like ends of frames, and like heads of short ones
            return bytes(chance.choices(b"\r\0\0\0\1a", k=size))
        case 3:  # holds a frame
            return b"\r" + Frame.of(Place("within", 0, 1, 1), chance.randbytes(size)).encode()
        case _:
            return b"payload".ljust(size, b".")


def frames(chance: Random, count: int, most: int) -> list[Frame]:
    keys = chance.sample(KEYS[:5] if chance.random() < 0.9 else KEYS, chance.randint(1, 3))
    made, ms = [], chance.choice((0, 1_700_000_000_000))
    for number in range(count):
        ms += chance.randint(0, 3)
        place = Place(chance.choice(keys), chance.choice(SHARDS), number, ms)
        made.append(Frame.of(place, payload(chance, most)))
    return made


def whole_file(chance: Random, *, large: bool = False) -> bytes:
    """A file as writers leave it: fresh, appended to, ended or not."""
    interval = chance.choice(INTERVALS)
    most = 2**15 if large else chance.choice((60, 300, 1500))
    count = chance.randint(100, 400) if large else chance.randint(0, 24)
    data = encoded(frames(chance, count, most), interval)
    if chance.random() < 0.2:  # SeaStreamer counts anew when it opens a file again
        again = Splicer(interval, at=len(data))
        data += b"".join(map(again.add, frames(chance, chance.randint(1, 8), most)))
    if chance.random() < 0.4:
        end = Splicer(interval, at=len(data))
        data += end.add(Frame.of(Place(INTERNAL_KEY, 0, 0, 5), EOS))
    return data


def damaged(chance: Random, whole: bytes) -> tuple[bytes, list[str]]:
    """The file after one to four accidents, and what they were."""
    layout, data = Layout.of(whole), bytearray(whole)
    names = chance.choices(list(MUTATIONS), k=chance.choice((1, 1, 1, 2, 2, 3, 4)))
    for name in names:
        MUTATIONS[name](chance, layout, data)
    return bytes(data), names


def _some(chance: Random, data: bytearray) -> tuple[int, int]:
    start = chance.randint(0, len(data))
    return start, min(len(data), start + chance.choice((1, 2, 3, 7, 36, chance.randint(0, 600))))


def _flip(chance: Random, _layout: Layout, data: bytearray) -> None:
    if data:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _set(chance: Random, _layout: Layout, data: bytearray) -> None:
    if data:
        data[chance.randrange(len(data))] = chance.choice((0, 1, 13, 255, chance.randrange(256)))


def _cut(chance: Random, layout: Layout, data: bytearray) -> None:
    places = [0, 127, 128, *layout.beacons, *(at for at, _ in layout.frames)]
    near = max(0, chance.choice(places) + chance.randint(-3, 9))
    del data[chance.choice((near, chance.randint(0, len(data)))) :]


def _insert(chance: Random, _layout: Layout, data: bytearray) -> None:
    at = chance.randint(0, len(data))
    data[at:at] = chance.randbytes(chance.choice((1, 2, 7, chance.randint(0, 300))))


def _delete(chance: Random, _layout: Layout, data: bytearray) -> None:
    start, stop = _some(chance, data)
    del data[start:stop]


def _zero(chance: Random, _layout: Layout, data: bytearray) -> None:
    start, stop = _some(chance, data)
    data[start:stop] = bytes(stop - start)


def _duplicate(chance: Random, _layout: Layout, data: bytearray) -> None:
    start, stop = _some(chance, data)
    at = chance.choice((stop, chance.randint(0, len(data))))
    data[at:at] = data[start:stop]


def _move(chance: Random, _layout: Layout, data: bytearray) -> None:
    start, stop = _some(chance, data)
    part = data[start:stop]
    del data[start:stop]
    at = chance.randint(0, len(data))
    data[at:at] = part


def _put(data: bytearray, at: int, value: bytes) -> None:
    if 0 <= at <= len(data) - len(value):
        data[at : at + len(value)] = value


def _frame_field(chance: Random, layout: Layout, data: bytearray) -> None:
    if not layout.frames:
        return
    at, frame = chance.choice(layout.frames)
    head = at + 1 + len(frame.place.key)
    field = chance.choice((at, head, head + 8, head + 16))
    size = 1 if field == at else 8
    _put(data, field, chance.choice((bytes(size), b"\xff" * size, chance.randbytes(size))))


def _length(chance: Random, layout: Layout, data: bytearray) -> None:
    if not layout.frames:
        return
    at, frame = chance.choice(layout.frames)
    size, left = len(frame.payload), max(0, len(data) - at)
    value = chance.choice((*NUMBERS_32, size + 1, max(0, size - 1), left, left // 2))
    _put(data, at + 1 + len(frame.place.key) + 24, value.to_bytes(4))


def _remaining(chance: Random, layout: Layout, data: bytearray) -> None:
    if layout.beacons:
        value = chance.choice((*NUMBERS_32, chance.randrange(2048)))
        _put(data, chance.choice(layout.beacons) + 1, value.to_bytes(4))


def _count(chance: Random, layout: Layout, data: bytearray) -> None:
    if layout.beacons:
        value = chance.choice((0, 1, 2, 127, 255))
        _put(data, chance.choice(layout.beacons) + 5, bytes([value]))


def _header(chance: Random, _layout: Layout, data: bytearray) -> None:
    end = 4 + (data[3] if len(data) > 3 else 0)
    match chance.randrange(6):
        case 0:
            _put(data, 3, bytes([chance.choice((0, 1, 110, 111, 112, 255))]))
        case 1:
            _put(data, end, chance.choice((b"\xff" * 8, bytes(8), chance.randbytes(8))))
        case 2:
            value = chance.choice((*INTERVALS, *NUMBERS_32, 127, 130))
            _put(data, end + 8, value.to_bytes(4))
        case 3:
            _put(data, chance.randrange(3), chance.randbytes(1))
        case 4:
            _put(data, chance.randint(4, 127), chance.randbytes(1))
        case _:
            _put(data, 127, b"\0")


def _append(chance: Random, layout: Layout, data: bytearray) -> None:
    more = chance.choice((chance.randbytes(chance.randint(1, 400)), bytes(100), layout.data))
    data += more
    if chance.random() < 0.3:
        data += frames(chance, 1, 60)[0].encode()


def _nothing(_chance: Random, _layout: Layout, _data: bytearray) -> None:
    pass


MUTATIONS: dict[str, Mutation] = {
    "nothing": _nothing,
    "flip": _flip,
    "set": _set,
    "cut": _cut,
    "insert": _insert,
    "delete": _delete,
    "zero": _zero,
    "duplicate": _duplicate,
    "move": _move,
    "frame field": _frame_field,
    "length": _length,
    "remaining": _remaining,
    "count": _count,
    "header": _header,
    "append": _append,
}
