"""The loops that numba compiles: columns become frames, and frames are checked, byte by byte.

Importing this module imports numba and compiles, or loads from numba's cache on disk; `bulk.load`
is the only door to it. The kernels release the GIL.

Shapes, for n messages of m pairs of stream and shard: `heads` (uint8) holds of each pair what its
frames begin with, key with length and shard; `head_ends` (m + 1) says where. `pair` (n) is the
pair of each message, `sequences` (n) and `times` (n) its numbers; `offsets` (n + 1) and `values`
are the payloads. `highest` (m, 3) holds of each pair the highest sequence, highest time and running
checksum, and is kept up; to be checked, (m, 4), also how many messages there were.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from seastream_nb.file.crc_compiled import TABLES as TABLES, crc_of as _crc
from seastream_nb.file.format import FIRST_CHECKSUM, LAST_MS
from seastream_nb.jit import Array, byte_at, compiled, inlined

END = 0x0D
MOST_MS = np.uint64(LAST_MS)
FIRST = np.uint64(FIRST_CHECKSUM)


def _given(kind: Any) -> Any:
    """The type of an array that is only read, as Arrow's are."""
    return types.Array(kind, 1, "C", readonly=True)


@inlined
def _copy(source: Array, start: int, end: int, out: Array, at: int) -> int:
    for index in range(end - start):
        out[np.uintp(at + index)] = byte_at(source, start + index)
    return at + end - start


@inlined
def _number(value: Any, size: int, out: Array, at: int) -> int:
    for index in range(size):
        shift = np.uint64(8 * (size - 1 - index))
        out[np.uintp(at + index)] = np.uint8((value >> shift) & np.uint64(0xFF))
    return at + size


@compiled(
    types.int64(
        types.int64,
        types.int64,
        _given(types.uint8),
        _given(types.int64),
        _given(types.int64),
        _given(types.uint64),
        _given(types.uint64),
        _given(types.int64),
        _given(types.uint8),
        types.uint64[:, ::1],
        types.uint16[::1],
        types.uint8[::1],
        types.int64[::1],
    )
)
def encode(
    first: int,
    room: int,
    heads: Array,
    head_ends: Array,
    pair: Array,
    sequences: Array,
    times: Array,
    offsets: Array,
    values: Array,
    highest: Array,
    tables: Array,
    out: Array,
    size: Array,
) -> int:
    """Write frames from message `first` on, until `room` bytes are full or passed.

    Returns:
        The first message that is not written; how many bytes are is in `size`.
    """
    at = 0
    index = first
    while index < len(pair) and at < room:
        which, start, end = pair[index], offsets[index], offsets[index + 1]
        sequence, ms = sequences[index], times[index]
        at = _copy(heads, head_ends[which], head_ends[which + 1], out, at)
        at = _number(sequence, 8, out, at)
        at = _number(ms, 8, out, at)
        at = _number(np.uint64(end - start), 4, out, at)
        at = _copy(values, start, end, out, at)
        crc = _crc(tables, FIRST, values, start, end)
        _number(crc, 2, out, at)
        highest[which, 0] = max(highest[which, 0], sequence)
        highest[which, 1] = max(highest[which, 1], ms)
        highest[which, 2] = _crc(tables, highest[which, 2], out, at, at + 2)
        out[np.uintp(at + 2)] = END
        at += 3
        index += 1
    size[0] = at
    return index


@inlined
def _read(data: Array, at: int, size: int) -> Any:
    value = np.uint64(0)
    for index in range(size):
        value = (value << np.uint64(8)) | np.uint64(byte_at(data, at + index))
    return value


@inlined
def _size(value: Any) -> Any:
    # Mixed with a signed number, an unsigned one becomes a float.
    return np.int64(value)


@inlined
def _is(data: Array, at: int, size: int, places: Array, sizes: Array, which: int) -> bool:
    if sizes[which] != size:
        return False
    index = size - 1
    # From the shard on, in which places of one stream differ.
    while index >= 0 and byte_at(data, at + index) == places[which, index]:
        index -= 1
    return index < 0


@compiled(
    (
        _given(types.uint8),
        types.int64,
        types.uint8[:, ::1],
        types.int64[::1],
        types.uint64[:, ::1],
        types.uint16[::1],
    )
)
def check(
    data: Array, at: int, places: Array, sizes: Array, highest: Array, tables: Array
) -> tuple[int, int, int]:
    """Take frames of these places, up to one that is another's, not whole or not in order.

    Returns:
        Where that begins, where the one before it does, and how many were taken.
    """
    before, taken, which = at, 0, 0
    while len(sizes) and at < data.size:
        size = _size(byte_at(data, at)) + 8
        body = at + 1 + size + 20
        if body + 3 > data.size:
            break
        end = body + _size(_read(data, body - 4, 4)) + 3
        if end > data.size:
            break
        if not _is(data, at + 1, size, places, sizes, which):
            which = 0
            while which < len(sizes) and not _is(data, at + 1, size, places, sizes, which):
                which += 1
            if which == len(sizes):
                break
        crc = _crc(tables, FIRST, data, body, end - 3)
        stored = _read(data, end - 3, 2)
        sequence, ms = _read(data, body - 20, 8), _read(data, body - 12, 8)
        if crc != stored or byte_at(data, end - 1) != END or ms > MOST_MS:
            break
        highest[which, 0] = max(highest[which, 0], sequence)
        highest[which, 1] = max(highest[which, 1], ms)
        highest[which, 2] = _crc(tables, highest[which, 2], data, end - 3, end - 1)
        highest[which, 3] += np.uint64(1)
        before, at = at, end
        taken += 1
    return at, before, taken
