"""The CRC of payloads, for the loops that numba compiles."""

from __future__ import annotations

from typing import Any

import numpy as np
from fastcrc import crc16

from seastream_nb.jit import Array, byte_at, inlined

# Of each byte the CRC when 0 to 15 zeros follow it: sixteen bytes are taken in one step, whose
# tables are looked up independently of each other.
TABLES = np.array(
    [
        [crc16.cdma2000(bytes([byte]) + bytes(zeros), 0) for byte in range(256)]
        for zeros in range(16)
    ],
    np.int32,
)


@inlined
def crc_of(tables: Array, crc: Any, data: Array, start: int, end: int) -> Any:
    """The CRC-16 of a part of the data, going on from another."""
    at = start
    while at + 16 <= end:
        crc = (
            tables[15, byte_at(data, at) ^ (crc >> 8)]
            ^ tables[14, byte_at(data, at + 1) ^ (crc & 0xFF)]
            ^ tables[13, byte_at(data, at + 2)]
            ^ tables[12, byte_at(data, at + 3)]
            ^ tables[11, byte_at(data, at + 4)]
            ^ tables[10, byte_at(data, at + 5)]
            ^ tables[9, byte_at(data, at + 6)]
            ^ tables[8, byte_at(data, at + 7)]
            ^ tables[7, byte_at(data, at + 8)]
            ^ tables[6, byte_at(data, at + 9)]
            ^ tables[5, byte_at(data, at + 10)]
            ^ tables[4, byte_at(data, at + 11)]
            ^ tables[3, byte_at(data, at + 12)]
            ^ tables[2, byte_at(data, at + 13)]
            ^ tables[1, byte_at(data, at + 14)]
            ^ tables[0, byte_at(data, at + 15)]
        )
        at += 16
    while at + 8 <= end:
        crc = (
            tables[7, byte_at(data, at) ^ (crc >> 8)]
            ^ tables[6, byte_at(data, at + 1) ^ (crc & 0xFF)]
            ^ tables[5, byte_at(data, at + 2)]
            ^ tables[4, byte_at(data, at + 3)]
            ^ tables[3, byte_at(data, at + 4)]
            ^ tables[2, byte_at(data, at + 5)]
            ^ tables[1, byte_at(data, at + 6)]
            ^ tables[0, byte_at(data, at + 7)]
        )
        at += 8
    while at < end:
        crc = ((crc << 8) & 0xFFFF) ^ tables[0, byte_at(data, at) ^ (crc >> 8)]
        at += 1
    return crc
