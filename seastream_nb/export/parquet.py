"""Rows into whole Parquet files, one after the other; a file holds one partition.

rows of a page ─► runs of one partition ─► row groups ─► a file, full or with the partition over
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from seastream_nb.arrow import timestamps
from seastream_nb.errors import ConfigError
from seastream_nb.export.manifest import ExportedFile, Place
from seastream_nb.export.target import Target, in_thread, told
from seastream_nb.frame import Shaper
from seastream_nb.keys import EntryId
from seastream_nb.page import Numbers
from seastream_nb.paging import cut
from seastream_nb.reading import Reading
from seastream_nb.rows import Rows

# A row group is what memory holds, and what an interrupt waits for.
GROUP_ROWS = 64 * 1024
GROUP_BYTES = 32 * 2**20
COMPRESSIONS = ("zstd", "snappy", "gzip", "brotli", "lz4", "none")

Partition = Literal["hour", "day"]
_LABELS = {"day": "%Y-%m-%d", "hour": "%Y-%m-%dT%H"}
# What readers of such folders take for null.
_NO_TIME = "__HIVE_DEFAULT_PARTITION__"


class ParquetFile:
    """One file on its way; nothing of it is seen before `finish`."""

    def __init__(self, path: Path, schema: pa.Schema, compression: str, *, overwrite: bool) -> None:
        import pyarrow.parquet as pq

        self.path = path
        self._schema = schema
        self._target = Target(path, overwrite=overwrite)
        try:
            self._writer = pq.ParquetWriter(self._target.file, schema, compression=compression)
        except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
            self._target.discard()
            raise ConfigError(
                f"a column cannot be written as Parquet: {error}; give a schema, or select()"
            ) from error
        except BaseException:
            self._target.discard()
            raise

    def write(self, batches: list[pa.RecordBatch]) -> None:
        """Write one row group."""
        table = pa.Table.from_batches(batches, self._schema).unify_dictionaries()
        with told(self.path):
            self._writer.write_table(table, row_group_size=len(table))

    def finish(self, facts: dict[str, str]) -> int:
        """Give the file its name; how many bytes it has. `facts` go into its metadata."""
        try:
            with told(self.path):
                self._writer.add_key_value_metadata(facts)
                self._writer.close()
        except BaseException:
            self.discard()
            raise
        return self._target.commit()

    def discard(self) -> None:
        """Leave nothing."""
        with suppress(Exception):  # the writer would do it itself later, and complain
            self._writer.close()
        self._target.discard()


@dataclass
class _Open:
    """The file that is written."""

    file: ParquetFile
    label: str | None
    rows: int = 0
    first: EntryId | None = None
    last: EntryId | None = None


class Files:
    """Writes rows into files, as many as it takes.

    Attributes:
        place: where the last row stands that was taken.
    """

    def __init__(
        self,
        shaper: Shaper,
        reading: Reading,
        create: Callable[[str | None], ParquetFile],
        finished: Callable[[ExportedFile, Place], Awaitable[None]],
        *,
        partition_by: Partition | None = None,
        most_rows: int | None = None,
        place: Place | None = None,
    ) -> None:
        self.place = place or Place()
        self._shaper = shaper
        self._reading = reading
        self._create = create
        self._finished = finished
        self._partition_by = partition_by
        self._most = most_rows
        self._open: _Open | None = None
        self._waiting: list[pa.RecordBatch] = []

    async def add(self, rows: Rows, decoded: pa.RecordBatch) -> None:
        """Write rows, and finish every file that is full with them."""
        for label, start, stop in self._runs(rows):
            while start < stop:
                end = stop if self._most is None else min(stop, start + self._most - self._rows)
                if self._open is not None and (label != self._open.label or end == start):
                    await self.finish()
                    continue
                part = rows.slice(start, end)
                await self._put(label, part, decoded.slice(start, end - start))
                start = end

    @property
    def _rows(self) -> int:
        return 0 if self._open is None else self._open.rows

    async def _put(self, label: str | None, rows: Rows, decoded: pa.RecordBatch) -> None:
        if self._open is None:
            self._open = await self._opened(label)
        opened = self._open
        opened.rows += len(rows)
        opened.first = opened.first or rows.entry_id(0)
        opened.last = rows.entry_id(-1)
        self.place.pass_over(rows)
        for batch in cut(self._shaper.batch(rows, decoded), GROUP_BYTES):
            self._waiting.append(batch)
            held = sum(each.nbytes for each in self._waiting)
            if held >= GROUP_BYTES or sum(map(len, self._waiting)) >= GROUP_ROWS:
                await self._flush()

    async def _flush(self) -> None:
        if self._waiting and self._open is not None:
            batches, self._waiting = self._waiting, []
            await in_thread(partial(self._open.file.write, batches))

    async def finish(self) -> None:
        """Finish the file at hand, if there is one."""
        opened = self._open
        if opened is None:
            return
        await self._flush()
        ids = {"first_id": str(opened.first or ""), "last_id": str(opened.last or "")}
        facts = {f"seastream_{name}": value for name, value in ids.items()}
        facts["seastream_rows"] = str(opened.rows)
        facts["seastream_complete"] = str(self._reading.complete).lower()
        size = await in_thread(partial(opened.file.finish, facts))
        self._open = None
        path = str(opened.file.path)
        await self._finished(
            ExportedFile(path=path, rows=opened.rows, bytes=size, **ids), self.place.copy()
        )

    async def discard(self) -> None:
        """Leave nothing of the file at hand."""
        if self._open is not None:
            await in_thread(self._open.file.discard)

    async def finish_empty(self) -> None:
        """A file without rows, which says what the columns are."""
        self._open = await self._opened(None)
        await self.finish()

    async def _opened(self, label: str | None) -> _Open:
        file = await in_thread(partial(self._create, label), ParquetFile.discard)
        return _Open(file, label)

    def _runs(self, rows: Rows) -> Iterator[tuple[str | None, int, int]]:
        """The partitions of rows that are in time order: name, first row, and where it ends."""
        if self._partition_by is None:
            yield None, 0, len(rows)
            return
        names = partitions(rows, self._partition_by, self._shaper.unit_ns, self._shaper.query.zone)
        edges = [0, *(np.flatnonzero(names[1:] != names[:-1]) + 1).tolist(), len(rows)]
        for start, stop in pairwise(edges):
            yield f"{self._partition_by}={names[start]}", start, stop


def partitions(rows: Rows, by: Partition, unit_ns: int, zone: str) -> Numbers:
    """The hour or the day of each row on the clock of a time zone."""
    times = timestamps(rows.ms, unit_ns, zone)
    labels = pc.strftime(times, format=_LABELS[by])
    return np.asarray(pc.fill_null(labels, _NO_TIME).to_pylist(), dtype=object)
