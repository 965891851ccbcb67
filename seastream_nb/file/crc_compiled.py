"""The CRC of payloads, for the loops that numba compiles."""

from __future__ import annotations

from typing import Any

import numpy as np
from fastcrc import crc16

from seastream_nb.jit import Array, byte_at, inlined

STEP = 16
# Of each byte the CRC when 0 to 15 zeros follow it, one table behind the other: the tables of one
# step are looked up independently of each other. Short numbers, so that all of them stay in the
# processor's first cache.
TABLES = np.array(
    [
        crc16.cdma2000(bytes([byte, *bytes(zeros)]), 0)
        for zeros in range(STEP)
        for byte in range(256)
    ],
    np.uint16,
)
_8 = np.uint64(8)
_BYTE = np.uint64(0xFF)


@inlined
def crc_of(tables: Array, crc: Any, data: Array, start: int, end: int) -> Any:
    """The CRC-16 of a part of the data, going on from another; uint64."""
    at = start
    while at + 16 <= end:
        crc = _step(tables, crc, data, at, 16)
        at += 16
    if at + 8 <= end:
        crc = _step(tables, crc, data, at, 8)
        at += 8
    while at < end:
        which = np.uint64(byte_at(data, at)) ^ (crc >> _8)
        crc = ((crc & _BYTE) << _8) ^ np.uint64(tables[which])
        at += 1
    return crc


@inlined
def _step(tables: Array, crc: Any, data: Array, at: int, size: int) -> Any:
    """The CRC after so many bytes more, of which only two have to wait for the one before."""
    later = np.uint64(0)
    for index in range(2, size):
        later ^= _after(tables, np.uint64(byte_at(data, at + index)), size - 1 - index)
    first = np.uint64(byte_at(data, at)) ^ (crc >> _8)
    second = np.uint64(byte_at(data, at + 1)) ^ (crc & _BYTE)
    return later ^ (_after(tables, first, size - 1) ^ _after(tables, second, size - 2))


@inlined
def _after(tables: Array, byte: Any, zeros: int) -> Any:
    """The CRC of a byte and so many zeros."""
    return np.uint64(tables[np.uint64(256 * zeros) + byte])
