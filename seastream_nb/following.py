"""Following a query: its past as it is read anywhere else, then what comes, in batches.

    past: Reading ─► batches, as of `pages`
    live: pages of one reply ─► rows in time order ─► columns ─► a batch when full or due

The live part begins behind the ids at which the past was pinned, so nothing is missed or read
twice. Nothing is read ahead: while nobody asks for a batch, the server is not asked either.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, suppress
from math import inf

import pyarrow as pa

from seastream_nb.backend import LiveReader, RangeSource
from seastream_nb.errors import DecodeError, StreamError
from seastream_nb.frame import Shaper
from seastream_nb.merging import interleave
from seastream_nb.paging import Pager
from seastream_nb.payload import infer
from seastream_nb.query import Bounds, Pinned, Query
from seastream_nb.reading import Reading, sample_rows, sampled
from seastream_nb.rows import Rows, concat_rows

SAMPLE = 1_000
LIVE_ROWS = 10_000
# A reply has this many entries at least if they are there, also when pages are smaller.
LEAST_ASKED = 100
# After a reply with fewer entries, rows that wait to be more give the next ones time to come: each
# message of a steady trickle would be a request of its own.
TRICKLE = 50
PACE = 0.01


class Following:
    """One run over a query that goes on; `max_wait` is in seconds."""

    def __init__(
        self,
        source: RangeSource,
        query: Query,
        pinned: Pinned,
        page_size: int | None,
        max_wait: float,
        *,
        with_id: bool = False,
    ) -> None:
        # A window says where to begin; it does not end.
        self._query = query.going_on(pinned.now_ns)
        self._source = source
        self._pinned = pinned
        self._page_size = page_size
        self._max_wait = max_wait
        self._with_id = with_id
        self._looked = False
        self._reading = self._reading_of(self._query)
        self._shaper: Shaper | None = None
        self._live_complete = True
        self._came = 0  # entries of the last reply

    @property
    def complete(self) -> bool:
        """False when entries were noticed to be gone before they were read."""
        return self._live_complete and self._reading.complete

    async def schema(self) -> pa.Schema | None:
        """The columns, where they are known before anything comes."""
        await self._look()
        return None if self._shaper is None else self._shaper.schema()

    async def batches(self) -> AsyncGenerator[pa.RecordBatch, None]:
        """The past, then what comes."""
        await self._look()
        if self._shaper is not None:
            async with aclosing(self._reading.paged(self._shaper, self._page_size)) as past:
                async for batch in past:
                    yield batch
        else:
            self._reading.warn_if_gone()
            self._reading.warn_if_never_a_message()
        if self._goes_on():
            async with aclosing(self._live()) as batches:
                async for batch in batches:
                    yield batch
            self._reading.warn_if_never_a_message()

    def _goes_on(self) -> bool:
        """Whether the end of the range was still to come when it was pinned."""
        unit_ns = self._source.options.unit_ns
        until_ns = Bounds.of(self._query, self._pinned.now_ns).until_ns(unit_ns)
        return until_ns is None or until_ns > self._pinned.now_ns + unit_ns

    @property
    def _left(self) -> int | None:
        """How many rows `first` still asks for."""
        return None if self._query.first is None else self._query.first - self._reading.rows

    def _reading_of(self, query: Query) -> Reading:
        return Reading(self._source, query, self._pinned, doing="following")

    # The past.

    async def _look(self) -> None:
        if not self._looked:
            self._looked = True
            self._shaper = await self._shaper_of_the_past()

    async def _shaper_of_the_past(self) -> Shaper | None:
        """The columns that are known before anything comes; None when they are not."""
        decode = self._query.decode
        if decode.schema is not None or decode.kind in ("raw", "text"):
            return self._shaper_of(None)
        past = self._reading_of(sampled(self._query, SAMPLE))
        rows = await sample_rows(past, SAMPLE)
        if rows is not None:
            return self._shaper_of(rows)
        # The range begins after all there is, as with since("latest"): look before it.
        before = self._reading_of(self._query.recent(SAMPLE))
        rows = await sample_rows(before, SAMPLE, recent=True)
        with suppress(DecodeError):  # nobody asked for those
            if rows is not None:
                return self._shaper_of(rows)
        self._reading = past  # which nobody will read again
        return None

    def _shaper_of(self, sample: Rows | None) -> Shaper:
        fixed = infer(self._query.decode, sample)
        unit_ns = self._source.options.unit_ns
        return Shaper(self._query, unit_ns, fixed=fixed, with_id=self._with_id)

    # What comes.

    async def _live(self) -> AsyncGenerator[pa.RecordBatch, None]:
        live = self._source.live(self._query, self._pinned)
        try:
            async with aclosing(self._batches_of(live)) as batches:
                async for batch in batches:
                    yield batch
        finally:
            await live.close()

    async def _batches_of(self, live: LiveReader) -> AsyncGenerator[pa.RecordBatch, None]:
        waiting = _Waiting(Pager(self._page_size or LIVE_ROWS), self._max_wait)
        while self._left != 0 and not live.ended:
            try:
                rows = await self._rows(live, waiting.seconds())
                arrived = _now()
                if rows is not None and self._shaper is None:
                    rows = await self._first_rows(live, rows)
                batch = None if rows is None else self._batch(rows)
                self._live_complete = live.complete
                self._reading.warn_if_gone(complete=live.complete)
            except StreamError:
                # What came before can be used, and would not come again.
                if len(waiting.pager):
                    yield waiting.pager.rest()
                raise
            for page in () if batch is None else waiting.add(batch, arrived):
                yield page
            if waiting.seconds() <= 0:
                yield waiting.pager.rest()
        if len(waiting.pager):
            yield waiting.pager.rest()

    async def _rows(self, live: LiveReader, seconds: float) -> Rows | None:
        """The rows of the next reply, if one came within so many seconds."""
        if seconds < inf and self._came < TRICKLE:
            pause = min(PACE, seconds)
            await asyncio.sleep(pause)
            seconds -= pause
        pages = await live.read(seconds, max(LEAST_ASKED, self._page_size or LIVE_ROWS))
        self._came = sum(map(len, pages))
        parts = [rows for rows in map(self._reading.rows_of, pages) if len(rows)]
        return interleave(parts) if parts else None

    async def _first_rows(self, live: LiveReader, rows: Rows) -> Rows:
        """These rows and those that come with them, whose columns are those of the stream."""
        found = [rows]
        due = _now() + self._max_wait
        with suppress(StreamError):  # the next read will say it again
            while sum(map(len, found)) < SAMPLE and not live.ended and _now() < due:
                more = await self._rows(live, due - _now())
                found += [] if more is None else [more]
        rows = concat_rows(found)
        self._shaper = self._shaper_of(rows)
        return rows

    def _batch(self, rows: Rows) -> pa.RecordBatch:
        assert self._shaper is not None
        kept, decoded = self._shaper.shape(rows)
        self._shaper.finish()
        if self._left is not None:
            kept, decoded = kept.slice(0, self._left), decoded.slice(0, self._left)
        if len(kept):
            self._reading.note(kept)
        return self._shaper.batch(kept, decoded)


class _Waiting:
    """Rows that came and fill no page, and when they are handed out all the same."""

    def __init__(self, pager: Pager, max_wait: float) -> None:
        self.pager = pager
        self._max_wait = max_wait
        self._due = inf

    def seconds(self) -> float:
        """How long the rows can wait."""
        return max(0.0, self._due - _now()) if len(self.pager) else inf

    def add(self, batch: pa.RecordBatch, arrived: float) -> Iterator[pa.RecordBatch]:
        """The pages that are full now."""
        if not len(self.pager):
            self._due = arrived + self._max_wait
        for page in self.pager.add(batch):
            yield page
            self._due = arrived + self._max_wait


def _now() -> float:
    return asyncio.get_running_loop().time()
