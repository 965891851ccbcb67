"""Stream entries straight from the bytes of a reply: no Python object an entry.

This is the accelerated twin of hiredis and `ListPage`; it needs numba, which is optional and
imported only by `load`. Without it everything works, at about half the speed.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from seastream_nb.errors import TooLarge
from seastream_nb.message import Message, Origin
from seastream_nb.page import Numbers, Page, Pairs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

MAX_ARROW_BYTES = 2**31 - 1
_FIRST_ROOM = 1024

_compiled: ModuleType | None = None


def available() -> bool:
    """Whether numba is installed."""
    return importlib.util.find_spec("numba") is not None


def load() -> bool:
    """Import numba and the kernels; whether they can be used from now on.

    It takes seconds the first time on a machine, then half a second a process (numba keeps what it
    compiled on disk), and nothing when repeated. Blocking: call it in a worker thread.
    """
    global _compiled
    if _compiled is None:
        try:
            from seastream_nb.redis import compiled
        except ImportError:  # no numba, or one that refuses this numpy
            return False
        _compiled = compiled
    return True


def loaded() -> bool:
    """Whether `load` has succeeded."""
    return _compiled is not None


def _kernels() -> Any:
    assert _compiled is not None, "kernel.load() comes first"
    return _compiled


@dataclass(frozen=True)
class Entries:
    """Stream entries where they stand in a reply; `compiled` tells the shapes."""

    data: Numbers
    ids: Numbers
    heads: Numbers
    pairs: Numbers

    def __len__(self) -> int:
        return len(self.heads) - 1

    def slice(self, start: int, stop: int) -> Entries:
        """The entries from `start` to before `stop`, without a copy."""
        start, stop, _ = slice(start, stop).indices(len(self))
        stop = max(start, stop)
        return Entries(self.data, self.ids[:, start:stop], self.heads[start : stop + 1], self.pairs)


class Scanner:
    """Reads an array of stream entries while its bytes arrive.

    Args:
        count: how many entries the array announced. Room is made for what has come, not for this.
    """

    def __init__(self, count: int) -> None:
        self._kernels = _kernels()
        self._state = np.zeros(5, np.int64)
        self._state[self._kernels.ENTRIES_LEFT] = count
        room = min(count, _FIRST_ROOM)
        self._ids = np.empty((2, room), np.uint64)
        self._heads = np.empty((room + 1, 3), np.int64)
        self._pairs = np.empty((room, 4), np.int64)

    def scan(self, data: Numbers) -> bool:
        """Go on in the bytes of the array from its first entry on; whether it is complete.

        What was read before is not read again.

        Raises:
            ValueError: these bytes are no array of stream entries.
        """
        kernels = self._kernels
        while True:
            status = kernels.scan(data, self._state, self._ids, self._heads, self._pairs)
            if status == kernels.FULL:
                self._grow()
            elif status == kernels.MALFORMED:
                raise ValueError(f"no stream entry {self.size} bytes into the array")
            else:
                return bool(status == kernels.DONE)

    @property
    def size(self) -> int:
        """How many bytes were read."""
        return int(self._state[self._kernels.AT])

    def entries(self, data: Numbers) -> Entries:
        """The entries of a complete array, over the same bytes or a copy of them."""
        entries, pairs = self._state[self._kernels.ENTRIES], self._state[self._kernels.PAIRS]
        return Entries(
            data, self._ids[:, :entries], self._heads[: entries + 1], self._pairs[:pairs]
        )

    def _grow(self) -> None:
        entries, pairs = self._state[self._kernels.ENTRIES], self._state[self._kernels.PAIRS]
        if entries == self._ids.shape[1]:
            ids, heads = self._ids, self._heads
            self._ids = np.empty((2, 2 * entries), np.uint64)
            self._heads = np.empty((2 * entries + 1, 3), np.int64)
            self._ids[:, :entries], self._heads[:entries] = ids, heads[:entries]
        if pairs == len(self._pairs):
            self._pairs = np.concatenate([self._pairs, np.empty((max(pairs, 1), 4), np.int64)])


class BufferPage(Page):
    """A page over the bytes of a reply; agrees with `ListPage` in everything."""

    def __init__(self, origin: Origin, entries: Entries) -> None:
        self.origin = origin
        self.entries = entries
        self.ms, self.sub = entries.ids

    @property
    def nbytes(self) -> int:
        """How many bytes the names and values take."""
        first, stop = self._rows()
        return int(self.entries.pairs[first:stop, 1::2].sum())

    def slice(self, start: int, stop: int) -> BufferPage:
        """The entries from `start` to before `stop`."""
        return BufferPage(self.origin, self.entries.slice(start, stop))

    def occurrences(self, field: bytes) -> tuple[Numbers, pa.BinaryArray]:
        """The entries that hold `field` (one index an occurrence, ascending) and its values.

        Raises:
            TooLarge: the values are more than the 2 GiB that an Arrow array can hold.
        """
        entries, rows = self._find(field)
        return entries, self._values(rows)

    def pairs(self) -> Pairs:
        """All fields of all entries, in stored order.

        Raises:
            TooLarge: the values are more than the 2 GiB that an Arrow array can hold.
        """
        first, stop = self._rows()
        return Pairs(
            entry=np.repeat(np.arange(len(self)), np.diff(self.entries.heads[:, 0])),
            names=_texts(self.entries.data.tobytes(), self.entries.pairs[first:stop, 0:2]),
            values=self._values(np.arange(first, stop)),
        )

    def messages(self, field: bytes) -> Iterator[Message]:
        """One `Message` an occurrence of the message field."""
        entries, rows = self._find(field)
        reply = self.entries.data.tobytes()
        ids = _texts(reply, self.entries.heads[entries, 1:3])
        payloads = _texts(reply, self.entries.pairs[rows, 2:4])
        return map(Message, [self.origin] * len(ids), ids, payloads)

    def _rows(self) -> tuple[int, int]:
        """Where the pairs of these entries begin and end."""
        return int(self.entries.heads[0, 0]), int(self.entries.heads[-1, 0])

    def _find(self, field: bytes) -> tuple[Numbers, Numbers]:
        """The entries and rows of pairs with this field name."""
        data, heads, pairs = self.entries.data, self.entries.heads, self.entries.pairs
        first, stop = self._rows()
        found = np.empty((2, stop - first), np.int64)
        name = np.frombuffer(bytearray(field), np.uint8)
        count = _kernels().find(data, heads, pairs, name, *found)
        return found[0, :count], found[1, :count]

    def _values(self, rows: Numbers) -> pa.BinaryArray:
        data, pairs = self.entries.data, self.entries.pairs
        size = int(pairs[rows, 3].sum())
        if size > MAX_ARROW_BYTES:
            raise TooLarge(
                f"{len(rows)} values of {self.origin.stream!r} are {size} bytes, and an Arrow "
                "array holds 2 GiB: read in smaller pages"
            )
        offsets, values = np.empty(len(rows) + 1, np.int32), np.empty(size, np.uint8)
        _kernels().gather(data, pairs, rows, offsets, values)
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(values)]
        return pa.Array.from_buffers(pa.binary(), len(rows), buffers)


def _texts(reply: bytes, spans: Numbers) -> list[bytes]:
    """The bytes at these (offset, length) places, an object each."""
    starts, lengths = spans.T
    places = zip(starts.tolist(), (starts + lengths).tolist(), strict=True)
    return [reply[start:end] for start, end in places]
