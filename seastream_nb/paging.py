"""Batches become pages of so many rows. Plain functions and values, no I/O."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from seastream_nb.errors import ConfigError
from seastream_nb.quantities import whole

PAGE_BYTES = 64 * 2**20


class Pager:
    """Batches in, pages of `rows` rows out; a page also ends at 64 MiB.

    Without `rows` the pages are the batches.

    >>> pager = Pager(2)
    >>> [page["x"].to_pylist() for page in pager.add(pa.record_batch({"x": [1, 2, 3]}))]
    [[1, 2]]
    >>> pager.rest()["x"].to_pylist(), pager.rest()
    ([3], None)
    """

    def __init__(self, rows: int | None) -> None:
        self._rows = rows
        self._waiting: list[pa.RecordBatch] = []

    def __len__(self) -> int:
        return sum(map(len, self._waiting))

    def add(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """The pages that are full with this batch."""
        for part in cut(batch, PAGE_BYTES):
            if self._rows is None:
                yield part
                continue
            if self._waiting and self._nbytes() + part.nbytes > PAGE_BYTES:
                yield self._take(len(self))
            self._waiting.append(part)
            while len(self) >= self._rows:
                yield self._take(self._rows)

    def rest(self) -> pa.RecordBatch | None:
        """The rows that fill no page, if there are any."""
        return self._take(len(self)) if self._waiting else None

    def _nbytes(self) -> int:
        return sum(each.nbytes for each in self._waiting)

    def _take(self, rows: int) -> pa.RecordBatch:
        table = pa.Table.from_batches(self._waiting).unify_dictionaries()
        self._waiting = table.slice(rows).to_batches()
        return table.slice(0, rows).combine_chunks().to_batches()[0]


def check_page_size(page_size: int | None) -> int | None:
    """The rows of a page; None for as many as are read together.

    Raises:
        ConfigError: naming the value.
    """
    if page_size is None:
        return None
    rows = whole(page_size)
    if rows is None or rows < 1:
        raise ConfigError(f"page_size={page_size!r}: give a number of rows, 1 or more")
    return rows


def cut(batch: pa.RecordBatch, max_bytes: int) -> list[pa.RecordBatch]:
    """The batch in parts of at most about `max_bytes`.

    >>> batch = pa.record_batch({"x": list(range(100))})
    >>> [part.num_rows for part in cut(batch, 400)]
    [50, 50]
    """
    parts = -(-batch.nbytes // max_bytes) or 1
    rows = -(-batch.num_rows // parts) or 1
    return [batch.slice(start, rows) for start in range(0, batch.num_rows, rows)]
