"""The loops over frames without numba; slower, and the same in every result.

Shapes. `data` holds frame bytes without beacons, and all offsets count from its first byte.
`spans` is (n, 4): offset and length of a frame's key, of its payload. `numbers` is (3, n): shard,
sequence, milliseconds.
"""

from __future__ import annotations

import numpy as np
from fastcrc import crc16

from seastream_nb.file.format import (
    END,
    FRAME_HEAD_SIZE,
    LAST_MS,
    TRAILER_SIZE,
    crc_of,
    frame_head,
    key_of,
)
from seastream_nb.page import Numbers

# How `scan` ended.
DONE, MORE, BAD_KEY, BAD_TIME, BAD_CRC, BAD_END = range(6)


def scan(
    data: Numbers, at: int, limit: int, spans: Numbers, numbers: Numbers
) -> tuple[int, int, int, int]:
    """Read the frames that begin before `limit`.

    Returns:
        How many were read; where it stopped; how it ended; and for MORE, how many bytes it lacks
        at least.
    """
    held, size = data.tobytes(), len(data)
    count = 0
    places, read = [], []
    status = DONE, 0
    while at < limit:
        key_size = held[at] if at < size else 0
        start = at + 1 + key_size + FRAME_HEAD_SIZE
        if start > size:
            status = MORE, start - size
            break
        key = held[at + 1 : at + 1 + key_size]
        if key_of(key) is None:
            status = BAD_KEY, 0
            break
        *three, length = frame_head(held[start - FRAME_HEAD_SIZE : start])
        if three[2] > LAST_MS:
            status = BAD_TIME, 0
            break
        end = start + length + TRAILER_SIZE
        if end > size:
            status = MORE, end - size
            break
        if crc16.cdma2000(held[start : start + length]) != crc_of(held[end - TRAILER_SIZE : end]):
            status = BAD_CRC, 0
            break
        if held[end - 1 : end] != END:
            at, status = end - 1, (BAD_END, 0)
            break
        places.append((at + 1, key_size, start, length))
        read.append(three)
        count += 1
        at = end
    if count:
        spans[:count] = places
        numbers[:, :count] = list(zip(*read, strict=True))
    return count, at, *status


def group(data: Numbers, spans: Numbers, shards: Numbers, groups: Numbers, firsts: Numbers) -> int:
    """Number the (key, shard) pairs of frames by first appearance.

    Writes each frame's number to `groups`, and each pair's first frame to `firsts`; how many pairs
    there are.
    """
    held = data.tobytes()
    found: dict[tuple[bytes, int], int] = {}
    for row, ((at, size, *_), shard) in enumerate(
        zip(spans.tolist(), shards.tolist(), strict=True)
    ):
        pair = held[at : at + size], shard
        if pair not in found:
            firsts[len(found)] = row
        groups[row] = found.setdefault(pair, len(found))
    return len(found)


def gather(data: Numbers, spans: Numbers, rows: Numbers, offsets: Numbers, values: Numbers) -> None:
    """Copy the payloads of these rows one after the other, and write where each begins and ends."""
    offsets[0] = 0
    offsets[1:] = spans[rows, 3].cumsum()
    held = data.data
    parts = [held[at : at + size] for at, size in spans[rows, 2:].tolist()]
    values[:] = np.frombuffer(b"".join(parts), np.uint8)
