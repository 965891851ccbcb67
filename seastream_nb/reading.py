"""Reading a pinned query: pages of each shard, filtered, merged, counted.

    pages of each shard ─► rows ─► rows of all shards in time order ─► the first or last n

Everything here is finite, takes nothing from the stream, and runs on the I/O thread.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from seastream_nb import portal
from seastream_nb.backend import PageReader, RangeSource
from seastream_nb.frame import Shaper
from seastream_nb.keys import EntryId, key_text
from seastream_nb.merging import merged, reversed_rows
from seastream_nb.page import Numbers, Page
from seastream_nb.paging import Pager
from seastream_nb.query import Contains, Pinned, Query, ShardRange, lower_bound, plan
from seastream_nb.rows import Rows, concat_rows, field_rows, payload_rows
from seastream_nb.times import Position

MAX_FIELDS_NAMED = 20
Shaped = tuple[Rows, pa.RecordBatch]


class Reading:
    """One run over a pinned query, and what was noticed on the way.

    `doing` is what it is called in a warning. With `quiet` no range without a message is warned
    of; with `for_messages` rows have their payload whatever the columns are.
    """

    def __init__(
        self, source: RangeSource, query: Query, pinned: Pinned, *, doing: str = "reading"
    ) -> None:
        self.quiet = self.for_messages = False
        self.query = query
        self.plan = plan(query, pinned)
        self.entries = 0
        self.skipped = 0
        self.rows = 0
        self.bytes = 0
        self.position: EntryId | None = None
        self.first_id: EntryId | None = None
        self.last_id: EntryId | None = None
        self.fields_seen: dict[bytes, None] = {}
        self._doing = doing
        self._told: set[str] = set()
        self._source = source
        self._field = message_field(source, query)
        self._readers: list[PageReader] = []

    @property
    def complete(self) -> bool:
        """False when entries of the range may have been trimmed away before they were read."""
        return all(reader.complete for reader in self._readers)

    def begin_at(self, position: Position) -> None:
        """Leave out what is before a position, as long as nothing was read."""
        ranges = [
            replace(each, start=max(each.start, lower_bound(position, each.extent)))
            for each in self.plan.ranges
        ]
        kept = tuple(each for each in ranges if each.start <= each.end)
        self.plan = replace(self.plan, ranges=kept)

    async def shaped(self, shaper: Shaper) -> AsyncGenerator[Shaped, None]:
        """The rows of the query with their decoded columns, in reading order."""
        rows = self._last_rows(shaper) if self.query.last is not None else self.merged_rows()
        left = self.query.first
        async with aclosing(rows):
            while left is None or left > 0:
                chunk = await anext(rows, None)
                if chunk is None:
                    break
                kept, decoded = shaper.shape(chunk)
                if left is not None:
                    kept, decoded = kept.slice(0, left), decoded.slice(0, left)
                    left -= len(kept)
                if len(kept):
                    self.note(kept)
                    yield kept, decoded
        shaper.finish()
        self.warn_if_never_a_message()

    async def paged(
        self, shaper: Shaper, page_size: int | None
    ) -> AsyncGenerator[pa.RecordBatch, None]:
        """The same as batches of `page_size` rows, the last one shorter."""
        pager = Pager(page_size)
        async with aclosing(self.shaped(shaper)) as parts:
            async for rows, decoded in parts:
                for page in pager.add(shaper.batch(rows, decoded)):
                    yield page
        if (rest := pager.rest()) is not None:
            yield rest
        self.warn_if_gone()

    async def merged_rows(self, *, reverse: bool = False) -> AsyncGenerator[Rows, None]:
        """The raw rows of all shards in time order, or backwards, without `where` or counts."""
        counted = self.query.last if reverse else self.query.first
        narrow = not self.query.containing and self.query.condition is None
        limit = counted if narrow else None
        sources = [self._rows_in(each, limit, reverse=reverse) for each in self.plan.ranges]
        async with aclosing(merged(sources, reverse=reverse)) as rows:
            async for chunk in rows:
                yield chunk

    async def _last_rows(self, shaper: Shaper) -> AsyncGenerator[Rows, None]:
        """The last n rows, forwards: read from the end until enough are found."""
        wanted = self.query.last or 0
        found: list[Rows] = []
        count = 0
        # Shaped apart, only to count: the columns come from reading forwards.
        counter = shaper.fresh()
        if wanted:
            async with aclosing(self.merged_rows(reverse=True)) as rows:
                async for chunk in rows:
                    kept = chunk if self.query.condition is None else counter.shape(chunk)[0]
                    found.append(kept)
                    count += len(kept)
                    if count >= wanted:
                        break
                else:
                    counter.finish()
        if found:
            forwards = reversed_rows(concat_rows(found).slice(0, wanted))
            yield forwards

    async def _rows_in(
        self, shard: ShardRange, limit: int | None, *, reverse: bool
    ) -> AsyncGenerator[Rows, None]:
        reader = self._source.read(shard, limit=limit, reverse=reverse)
        self._readers.append(reader)
        async with aclosing(aiter(reader)) as pages:
            async for page in pages:
                rows = self.rows_of(page)
                yield reversed_rows(rows) if reverse else rows

    def rows_of(self, page: Page) -> Rows:
        """The rows of one page that hold what `contains` asks for, and a note that it was read."""
        self.entries += len(page)
        self.position = page.entry_id(-1)
        decode = self.query.decode
        if decode.kind == "fields":
            names = [name.encode() if isinstance(name, str) else name for name in decode.names]
            wants_payload = self.for_messages or "payload" in (self.query.columns or ())
            rows = field_rows(page, names, payload=self._field if wants_payload else None)
            entries = np.arange(len(page))
            if self.for_messages:
                self._note_skipped(page, page.occurrences(self._field)[0])
        else:
            entries, values = page.occurrences(self._field)
            rows = payload_rows(page, entries, values)
            self._note_skipped(page, entries)
        return self._filtered(page, rows, entries) if self.query.containing else rows

    def _filtered(self, page: Page, rows: Rows, entry_of_row: Numbers) -> Rows:
        found = np.ones(len(rows), dtype=bool)
        for wanted in self.query.containing:
            if wanted.field is None:
                found &= _rows_holding(rows, wanted)
            else:
                entries, values = page.occurrences(wanted.field)
                found &= np.isin(entry_of_row, entries[_holds(values, wanted.needle)])
        return rows if found.all() else rows.take(np.flatnonzero(found))

    def _note_skipped(self, page: Page, entries: Numbers) -> None:
        with_message = int(np.count_nonzero(np.diff(entries, prepend=-1)))
        self.skipped += len(page) - with_message
        if with_message < len(page) and len(self.fields_seen) < MAX_FIELDS_NAMED:
            self.fields_seen.update(dict.fromkeys(page.pairs().names))

    def warn_if_never_a_message(self, which: str = "in this range") -> None:
        """One warning when entries were read and none of them is a message."""
        if self.skipped and self.skipped == self.entries and not self.quiet:
            seen = ", ".join(repr(key_text(name)) for name in self.fields_seen)
            self._warn_once(
                "never",
                f"no entry of {self._names} {which} has the field "
                f"{key_text(self._field)!r}; there are {seen}: read them with fields(), or name "
                "the field with message_field= or json(field=...)",
            )

    def warn_if_gone(self, *, complete: bool = True) -> None:
        """One warning when entries, here or where it goes on, were gone before they were read."""
        if not complete or any(reader.gone for reader in self._readers):
            self._warn_once(
                "gone",
                f"{self._doing} {self._names}: entries were trimmed away, or deleted, before they "
                "were read",
            )

    @property
    def _names(self) -> str:
        return ", ".join(repr(key_text(key)) for key in self.query.keys)

    def _warn_once(self, about: str, text: str) -> None:
        if about not in self._told:
            self._told.add(about)
            portal.warn_caller(text)

    def note(self, rows: Rows) -> None:
        """Count rows of the result."""
        self.rows += len(rows)
        self.bytes += rows.nbytes
        self.first_id = self.first_id or rows.entry_id(0)
        self.last_id = rows.entry_id(-1)


def sampled(query: Query, count: int) -> Query:
    """The same question, when about `count` rows will be enough of an answer."""
    return query if query.last is not None else query.sampled(count)


async def sample_rows(reading: Reading, count: int, *, recent: bool = False) -> Rows | None:
    """The first `count` rows of a range, or of its most recent ones about as many, if any."""
    found: list[Rows] = []
    async with aclosing(reading.merged_rows(reverse=recent)) as chunks:
        async for chunk in chunks:
            found.append(chunk)
            if sum(map(len, found)) >= count or (recent and reading.entries >= 10 * count):
                break
    rows = concat_rows(found).slice(0, count) if found else None
    return reversed_rows(rows) if rows is not None and recent else rows


def message_field(source: RangeSource, query: Query) -> bytes:
    """The field whose occurrences are the messages of a query."""
    chosen = query.decode.field
    if chosen is None:
        return source.options.field
    return chosen.encode() if isinstance(chosen, str) else chosen


def _holds(values: pa.BinaryArray, needle: bytes) -> Numbers:
    found = pc.match_substring(values, needle)
    return np.asarray(pc.fill_null(found, False).to_numpy(zero_copy_only=False), dtype=bool)


def _rows_holding(rows: Rows, wanted: Contains) -> Numbers:
    columns = [rows.payload] if rows.fields is None else list(rows.fields.values())
    found = np.zeros(len(rows), dtype=bool)
    for column in columns:
        found |= _holds(column, wanted.needle)
    for row, _, value in rows.repeated:
        found[row] |= wanted.needle in value
    return found
