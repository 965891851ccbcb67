"""The bytes that a connection receives, in blocks that pages can keep instead of a copy. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from seastream_nb.page import Numbers

FIRST_BLOCK = 256 * 1024
LARGEST_BLOCK = 8 * 2**20
# Less room than this is not worth a system call.
LEAST_ROOM = 64 * 1024


class ReceiveBuffer:
    """Unread bytes: those from `_front` to `_end` of the present block.

    A block is written once. The part of it that a page keeps is never moved or overwritten, and
    is at least a quarter of the block, so that no page holds more than four times its bytes.

    >>> buffer = ReceiveBuffer()
    >>> buffer.get_buffer(-1)[:5] = b"hello"
    >>> buffer.written(5)
    >>> bytes(buffer._take(4)), len(buffer)
    (b'hell', 1)
    """

    def __init__(self) -> None:
        self._block = np.empty(FIRST_BLOCK, np.uint8)
        self._view = self._block.data
        self._front = self._end = 0
        self._kept = False
        self._block_size = FIRST_BLOCK

    def __len__(self) -> int:
        return self._end - self._front

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where to put received bytes; for `asyncio.BufferedProtocol`."""
        room = max(sizehint, LEAST_ROOM)
        if len(self._block) - self._end < room:
            self._make_room(room)
        return self._view[self._end :]

    def written(self, count: int) -> None:
        """So many bytes were put into the buffer."""
        self._end += count

    def _take(self, size: int) -> Numbers:
        """Take bytes off the front, to be kept for good."""
        taken = self._block[self._front : self._front + size]
        self._front += size
        if size < len(self._block) // 4:
            return taken.copy()
        self._kept = True
        if len(self._block) > LARGEST_BLOCK:
            self._make_room(LEAST_ROOM)
        return taken

    def _make_room(self, room: int) -> None:
        """Move the unread bytes to the front of this block, or of another.

        They stay only in a block of which they fill less than half, and move to one that they
        fill less than half of: so each byte moves a bounded number of times. Later blocks have
        the size that this one needed.
        """
        unread = self._block[self._front : self._end]
        needed = 2 * (len(unread) + room)
        if self._kept or needed > len(self._block):
            self._block_size = max(self._block_size, min(needed, LARGEST_BLOCK))
            self._block = np.empty(max(self._block_size, needed), np.uint8)
            self._view = self._block.data
        self._block[: len(unread)] = unread
        self._front, self._end, self._kept = 0, len(unread), False
