"""The loops over frames that numba compiles; `frames.load` is the only door to them.

They do what their namesakes in `plain` do, and a test holds the two together. `plain` tells the
shapes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from seastream_nb.file.crc_compiled import TABLES, crc_of
from seastream_nb.file.format import FIRST_CHECKSUM, LAST_MS
from seastream_nb.file.plain import BAD_CRC, BAD_END, BAD_KEY, BAD_TIME, DONE, MORE
from seastream_nb.jit import Array, byte_at, compiled, inlined

CARRIAGE_RETURN = 13
HEAD, TRAILER = 28, 3
MOST_KEY = 249
MOST_MS = np.uint64(LAST_MS)
FIRST = np.uint64(FIRST_CHECKSUM)


def _legal() -> Array:
    legal = np.zeros(256, np.bool_)
    legal[list(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")] = True
    return legal


LEGAL = _legal()


@inlined
def _u64(data: Array, at: int) -> Any:
    value = np.uint64(0)
    for place in range(8):
        value = (value << np.uint64(8)) | np.uint64(byte_at(data, at + place))
    return value


@compiled("UniTuple(int64, 4)(uint8[::1], int64, int64, int64[:, ::1], uint64[:, ::1])")
def scan(
    data: Array, at: int, limit: int, spans: Array, numbers: Array
) -> tuple[int, int, int, int]:
    """Read the frames that begin before `limit`."""
    count = 0
    while at < limit:
        size: Any = np.int64(data[at]) if at < data.size else 0
        start = at + 1 + size + HEAD
        if start > data.size:
            return count, at, MORE, start - data.size
        legal = size <= MOST_KEY
        for place in range(at + 1, at + 1 + size):
            legal &= LEGAL[byte_at(data, place)]
        if not legal:
            return count, at, BAD_KEY, 0
        ms = _u64(data, start - 12)
        if ms > MOST_MS:
            return count, at, BAD_TIME, 0
        length: Any = np.int64(0)
        for place in range(start - 4, start):
            length = (length << 8) | np.int64(byte_at(data, place))
        end = start + length + TRAILER
        if end > data.size:
            return count, at, MORE, end - data.size
        stored = np.uint64(byte_at(data, end - 3)) << 8 | np.uint64(byte_at(data, end - 2))
        if crc_of(TABLES, FIRST, data, start, start + length) != stored:
            return count, at, BAD_CRC, 0
        if byte_at(data, end - 1) != CARRIAGE_RETURN:
            return count, end - 1, BAD_END, 0
        spans[count, 0] = at + 1
        spans[count, 1] = size
        spans[count, 2] = start
        spans[count, 3] = length
        numbers[0, count] = _u64(data, start - 28)
        numbers[1, count] = _u64(data, start - 20)
        numbers[2, count] = ms
        count += 1
        at = end
    return count, at, DONE, 0


@inlined
def _same(data: Array, spans: Array, shards: Array, one: int, other: int) -> bool:
    if shards[one] != shards[other] or spans[one, 1] != spans[other, 1]:
        return False
    first, second = spans[one, 0], spans[other, 0]
    for place in range(spans[one, 1]):
        if byte_at(data, first + place) != byte_at(data, second + place):
            return False
    return True


@compiled("int64(uint8[::1], int64[:, ::1], uint64[::1], int32[::1], int64[::1])")
def group(data: Array, spans: Array, shards: Array, groups: Array, firsts: Array) -> int:
    """Number the (key, shard) pairs of frames by first appearance."""
    room = 1
    while room < 2 * len(spans):
        room *= 2
    table = np.full(room, -1, np.int64)
    found = 0
    for row in range(len(spans)):
        if row and _same(data, spans, shards, row, row - 1):
            groups[row] = groups[row - 1]
            continue
        mixed = shards[row] * np.uint64(0x9E3779B97F4A7C15)
        for place in range(spans[row, 0], spans[row, 0] + spans[row, 1]):
            mixed = (mixed ^ np.uint64(byte_at(data, place))) * np.uint64(0x100000001B3)
        slot = np.int64(mixed >> np.uint64(20)) & (room - 1)
        while table[slot] >= 0 and not _same(data, spans, shards, row, firsts[table[slot]]):
            slot = (slot + 1) & (room - 1)
        if table[slot] < 0:
            table[slot] = found
            firsts[found] = row
            found += 1
        groups[row] = table[slot]
    return found


@compiled("void(uint8[::1], int64[:, ::1], int64[::1], int32[::1], uint8[::1])")
def gather(data: Array, spans: Array, rows: Array, offsets: Array, values: Array) -> None:
    """Copy the payloads of these rows one after the other."""
    at = 0
    offsets[0] = 0
    for index in range(len(rows)):
        start, length = spans[rows[index], 2], spans[rows[index], 3]
        for byte in range(length):
            values[np.uintp(at + byte)] = byte_at(data, start + byte)
        at += length
        offsets[index + 1] = at
