"""The messages of one stream and shard in a piece of a file, as a page.

A file keeps a sequence number and a time for each message. Where they are those of a Redis id, as
`ms << 16 | sub`, the message has that id; else its id is `ms-sequence`, a `NumberedId`.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from seastream_nb.file.format import Place
from seastream_nb.file.frames import Frames, Pair
from seastream_nb.keys import EntryId, shard_key
from seastream_nb.message import Origin
from seastream_nb.page import Numbers, Page, Pairs


def origin_of(pair: Pair, *, apart: bool = False) -> Origin:
    """Where the messages of a stream and shard live; with `apart`, each shard is its own stream.

    >>> origin_of(("ticks", 2)).key, origin_of(("ticks", 2), apart=True).stream
    (b'ticks:2', 'ticks:2')
    """
    name, shard = pair
    key = shard_key(name, shard) if shard else name.encode()
    return Origin(key.decode(), 0, key) if apart else Origin(name, shard, key)


class FilePage(Page):
    """Messages out of a file; its one field is the connection's message field."""

    def __init__(self, origin: Origin, frames: Frames, rows: Numbers, field: bytes) -> None:
        self.origin = origin
        self._frames = frames
        self._rows = rows
        self._field = field
        self._payloads: pa.BinaryArray | None = None
        sequences, self.ms = frames.numbers[1][rows], frames.numbers[2][rows]
        packed = sequences >> np.uint64(16) == self.ms
        whole = bool(packed.all())
        self.numbered = None if whole else ~packed
        low = sequences & np.uint64(0xFFFF)
        self.sub = low if whole else np.where(packed, low, sequences)

    @property
    def nbytes(self) -> int:
        """How many bytes the payloads take."""
        return int(self._frames.spans[self._rows, 3].sum())

    def occurrences(self, field: bytes) -> tuple[Numbers, pa.BinaryArray]:
        """All messages and their payloads, for the message field; none for another.

        Raises:
            TooLarge: the payloads are more than the 2 GiB that an Arrow array can hold.
        """
        if field != self._field:
            return np.empty(0, np.int64), pa.array([], pa.binary())
        return np.arange(len(self)), self.payloads()

    def payloads(self) -> pa.BinaryArray:
        """The payloads, gathered once."""
        if self._payloads is None:
            self._payloads = self._frames.payloads(self._rows)
        return self._payloads

    def pairs(self) -> Pairs:
        """The message field of every message."""
        entries, payloads = self.occurrences(self._field)
        return Pairs(entry=entries, names=[self._field] * len(self), values=payloads)

    def slice(self, start: int, stop: int) -> FilePage:
        """The messages from `start` to before `stop`."""
        return self.take(np.arange(len(self))[start:stop])

    def take(self, index: Numbers) -> FilePage:
        """The messages at these places, in this order."""
        return FilePage(self.origin, self._frames, self._rows[index], self._field)

    def between(self, start: EntryId, end: EntryId) -> FilePage:
        """The messages whose ids lie between these two, both included, in stored order."""
        ms, sub = self.ms, self.sub
        after = (ms > np.uint64(start.ms)) | (
            (ms == np.uint64(start.ms)) & (sub >= np.uint64(start.sub))
        )
        before = (ms < np.uint64(end.ms)) | (
            (ms == np.uint64(end.ms)) & (sub <= np.uint64(end.sub))
        )
        kept = after & before
        return self if kept.all() else self.take(np.flatnonzero(kept))


def place_of(origin: Origin, entry_id: EntryId) -> Place | None:
    """How a message of a server stands in a file; None for an id that no sequence number holds."""
    sequence = entry_id.sequence()
    if sequence is None:
        return None
    return Place(origin.stream, origin.shard, sequence, entry_id.ms)
