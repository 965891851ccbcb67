"""The rows that a live view keeps: the newest ones, bounded by rows and by bytes. No I/O.

One thread adds, and any may look: what is held is one value, which is replaced and never changed.
"""

from __future__ import annotations

from itertools import accumulate
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from seastream_nb.paging import cut

# A part is dropped as a whole when there are too many bytes, so that each is a small one.
PARTS = 16
# Rows that trickle in become larger parts: each batch has a price, whatever is in it.
PART_ROWS = 4_096


class Part(NamedTuple):
    """Some rows, and the memory that they hold."""

    rows: pa.RecordBatch
    nbytes: int


class Held(NamedTuple):
    """What is there at one moment: the parts in the order they came, and how many rows ever did."""

    parts: tuple[Part, ...] = ()
    seen: int = 0

    @property
    def kept(self) -> int:
        """How many rows there are."""
        return sum(len(part.rows) for part in self.parts)

    @property
    def dropped(self) -> int:
        """How many rows are not there any more."""
        return self.seen - self.kept

    @property
    def nbytes(self) -> int:
        """The memory that the rows hold."""
        return sum(part.nbytes for part in self.parts)

    def table(self) -> pa.Table | None:
        """The rows in the order they came; None when there are none."""
        if not self.parts:
            return None
        return pa.Table.from_batches([part.rows for part in self.parts]).unify_dictionaries()

    def newest(self, count: int) -> pa.Table | None:
        """At most so many rows, the newest first; None when there are none."""
        sums = accumulate(len(part.rows) for part in reversed(self.parts))
        needed = 1 + next((n for n, rows in enumerate(sums) if rows >= count), len(self.parts))
        last = Held(self.parts[-needed:]).table()
        if last is None:
            return None
        return last.take(np.arange(len(last) - 1, max(-1, len(last) - 1 - count), -1))


class Ring:
    """A buffer of record batches of one schema.

    >>> ring = Ring(max_rows=3, max_bytes=2**20)
    >>> for numbers in ([1, 2], [3, 4]):
    ...     ring.add(pa.record_batch({"n": numbers}))
    >>> ring.held.newest(2)["n"].to_pylist(), ring.held.kept, ring.held.seen, ring.held.dropped
    ([4, 3], 3, 4, 1)

    Attributes:
        held: what is there.
    """

    def __init__(self, max_rows: int, max_bytes: int) -> None:
        self.held = Held()
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._part_rows = max(1, min(PART_ROWS, max_rows // PARTS))

    def add(self, batch: pa.RecordBatch) -> None:
        """Keep the rows of a batch, and drop the oldest where there are too many."""
        seen = self.held.seen + len(batch)
        parts = [*self.held.parts]
        for part in self._parts(batch.slice(max(0, len(batch) - self._max_rows))):
            parts.append(part)
            while len(parts) > 1 and self._joins(parts[-2], parts[-1]):
                parts[-2:] = [_part(pa.concat_batches([each.rows for each in parts[-2:]]))]
        self.held = Held(self._bounded(parts), seen)

    def clear(self) -> None:
        """Drop everything, and count from nothing."""
        self.held = Held()

    def drop_before(self, moment: pa.Scalar, column: str) -> None:
        """Drop the oldest rows, up to the first one at or after a moment."""
        parts = [*self.held.parts]
        while parts:
            rows = parts[0].rows
            first = pc.index(pc.fill_null(pc.greater_equal(rows[column], moment), True), True)
            if first.as_py() >= 0:
                parts[0] = Part(rows.slice(first.as_py()), parts[0].nbytes)
                break
            del parts[0]
        self.held = Held(tuple(parts), self.held.seen)

    def _parts(self, batch: pa.RecordBatch) -> list[Part]:
        """The rows in small parts, copied: a column may be a view of a whole reply."""
        pieces = [
            piece.slice(start, self._part_rows)
            for piece in cut(batch, max(1, self._max_bytes // PARTS))
            for start in range(0, len(piece), self._part_rows)
        ]
        return [_part(piece.take(pa.array(np.arange(len(piece))))) for piece in pieces]

    def _joins(self, before: Part, after: Part) -> bool:
        # Like carrying when counting: each row is copied a few times, however they trickle in.
        return (
            len(before.rows) <= len(after.rows)
            and len(before.rows) + len(after.rows) <= self._part_rows
            and before.nbytes + after.nbytes <= self._max_bytes // PARTS
        )

    def _bounded(self, parts: list[Part]) -> tuple[Part, ...]:
        nbytes = sum(part.nbytes for part in parts)
        start = 0
        while start < len(parts) and nbytes > self._max_bytes:
            nbytes -= parts[start].nbytes
            start += 1
        excess = sum(len(part.rows) for part in parts[start:]) - self._max_rows
        while excess > 0:
            rows, held = parts[start]
            if len(rows) > excess:
                parts[start] = Part(rows.slice(excess), held)
                break
            excess -= len(rows)
            start += 1
        return tuple(parts[start:])


def _part(rows: pa.RecordBatch) -> Part:
    return Part(rows, rows.nbytes)
