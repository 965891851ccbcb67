"""The asynchronous core of a `Stream`: a query, a place to read it from, and every terminal.

A terminal pins the end first, so all but `follow` are finite, and takes nothing from the stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from seastream_nb import checks, guard, interchange
from seastream_nb.backend import RangeSource, StreamInfo
from seastream_nb.checks import message_count, named
from seastream_nb.errors import ConfigError, StreamError
from seastream_nb.following import SAMPLE, Following
from seastream_nb.frame import Shaper
from seastream_nb.groups import GroupTerminals
from seastream_nb.keys import EntryId, key_text
from seastream_nb.message import Message
from seastream_nb.paging import check_page_size
from seastream_nb.payload import infer
from seastream_nb.progress import Progress
from seastream_nb.quantities import Duration, parse_duration
from seastream_nb.query import Pinned, Query
from seastream_nb.rate import estimated_rate, exact_rate
from seastream_nb.reading import Reading, Shaped, message_field, sample_rows, sampled

if TYPE_CHECKING:
    import duckdb
    import pandas as pd
    import polars as pl

Facts = dict[str, str | int | bool]


class StreamCore(GroupTerminals):
    """One immutable query over one source."""

    def __init__(self, source: RangeSource, query: Query) -> None:
        self.source = source
        self.query = query

    def on(self, query: Query) -> StreamCore:
        """The same source, another query."""
        return StreamCore(self.source, query)

    async def pinned(self, *, live: bool = False) -> Pinned:
        """The shards and their ends: those of the snapshot, or of now."""
        return self.query.pinned or await self.source.pin(self.query.keys, live=live)

    async def snapshot(self) -> StreamCore:
        """The same query on what is there now: reading it again gives the same rows."""
        return self.on(self.query.pin(await self.pinned()))

    async def info(self) -> StreamInfo:
        """What the server says of the whole stream, whatever the range.

        Raises:
            StreamNotFound: it does not exist.
        """
        if len(self.query.keys) > 1:
            raise ConfigError("info() is about one stream: ask each key by itself")
        return await self.source.info(self.query.keys[0])

    async def get(self, *ids: str | EntryId | Message) -> list[Message]:
        """The messages with these ids, in this order; an id that no shard holds gives none."""
        wanted = [_entry_id(each) for each in ids]
        distinct = list(dict.fromkeys(wanted))
        field = message_field(self.source, self.query)
        found: dict[EntryId, list[Message]] = {}
        for key in self.query.keys:
            for page in await self.source.fetch(key, distinct):
                found.setdefault(page.entry_id(0), []).extend(page.messages(field))
        return [message for entry_id in wanted for message in found.get(entry_id, ())]

    # Whole frames.

    async def to_arrow(self, *, progress: bool | None = None) -> pa.Table:
        """One Arrow table in (timestamp, id, shard) order.

        Raises:
            TooLarge: the range would not fit `max_frame_bytes`; before reading where it can be
                told, else while reading.
            DecodeError: naming the entry and the column.
        """
        table, facts = await self.collect(progress, with_id=False)
        return interchange.with_metadata(table, facts)

    async def to_pandas(
        self,
        *,
        index: str | None = None,
        dtype_backend: interchange.DtypeBackend | None = None,
        progress: bool | None = None,
    ) -> pd.DataFrame:
        """One pandas frame; `index` names the column that becomes the index."""
        table, facts = await self.collect(progress, with_id=False)
        return await asyncio.to_thread(
            interchange.to_pandas, table, facts, index=index, dtype_backend=dtype_backend
        )

    async def to_polars(self, *, progress: bool | None = None) -> pl.DataFrame:
        """One polars frame (extra `polars`)."""
        return interchange.to_polars(await self.to_arrow(progress=progress))

    async def to_duckdb(
        self, con: duckdb.DuckDBPyConnection | None = None, *, progress: bool | None = None
    ) -> duckdb.DuckDBPyRelation:
        """A DuckDB relation over one Arrow table (extra `sql`)."""
        relations = interchange.duckdb_connection(con)
        table = await self.to_arrow(progress=progress)
        relation: duckdb.DuckDBPyRelation = relations.from_arrow(table)
        return relation

    async def count(self, *, progress: bool | None = None) -> int:
        """How many rows `to_arrow()` would have; the range is read, not kept."""
        reading = await self._reading()
        shaper = self.shaper()
        async with aclosing(reading.shaped(shaper)) as parts:
            with Progress(reading, progress):
                async for _ in parts:
                    pass
        reading.warn_if_gone()
        return reading.rows

    async def head(self, n: int = 5) -> pd.DataFrame:
        """The first `n` rows of the range, with their ids."""
        return await self._preview("head", n)

    async def tail(self, n: int = 5) -> pd.DataFrame:
        """The last `n` rows of the range, with their ids."""
        return await self._preview("tail", n)

    async def rate(
        self, every: Any = None, *, exact: bool = True, progress: bool | None = None
    ) -> pd.DataFrame:
        """Messages over time: `timestamp, messages, per_second, estimated`.

        Bins of `every` are aligned to the clock of the stream's time zone; empty ones are there,
        from the range's bounds in time, of which none is after now, else its first and last entry.
        Left out, about sixty bins of a round length. `exact=False` probes instead of reading, at
        the same cost for any length, and says in `estimated` which bins it guessed.
        """
        every_ns = None if every is None else parse_duration(every)
        pinned = await self.pinned()
        reading = Reading(self.source, self.query, pinned)
        if not exact:
            return await estimated_rate(self.source, reading, every_ns, pinned.now_ns)
        with Progress(reading, progress):
            return await exact_rate(reading, self.shaper(), every_ns)

    # Streaming.

    async def schema(self, sample: int = SAMPLE) -> pa.Schema:
        """The schema that the streaming terminals will have.

        Without a schema given to `json()` or `fields()` it is inferred from the first `sample`
        messages of the range, and has a column `_extra` for what appears later.
        """
        named("sample", sample, checks.number_from(1))
        return (await self.fixed_shaper(await self.pinned(), sample)).schema()

    async def open_batches(
        self, page_size: int | None = None
    ) -> tuple[pa.Schema, AsyncGenerator[pa.RecordBatch, None]]:
        """The fixed schema, and the batches that follow it."""
        page_size = check_page_size(page_size)
        pinned = await self.pinned()
        shaper = await self.fixed_shaper(pinned)
        reading = Reading(self.source, self.query, pinned)
        return shaper.schema(), reading.paged(shaper, page_size)

    async def pages(self, page_size: int | None = None) -> AsyncGenerator[pa.RecordBatch, None]:
        """Record batches of `page_size` rows, the last one shorter; memory stays bounded.

        A batch also ends at 64 MiB. Without `page_size` batches are as they were read.
        """
        _, batches = await self.open_batches(page_size)
        async with aclosing(batches):
            async for batch in batches:
                yield batch

    async def follow(
        self, *, page_size: int | None = None, max_wait: Duration = 0.25
    ) -> AsyncGenerator[pa.RecordBatch, None]:
        """The past of the range as `pages` gives it, then what comes, without gap or duplicate.

        It never ends, except after `first(n)` rows, or at `until`: when an entry at or past it
        came in every shard, or the server's clock is one second past it; what a producer stamps
        with an earlier time after that is not waited for. `last(n)` and `last("10m")` say with
        how much of the past to begin. Each reply is merged in time order; within a shard the
        order is the stored one. New shards are found and read from their beginning.

        The columns are fixed at the start, by a schema or by a sample of the past. Where there is
        no past they are those of the first batch; keys that appear later go into `_extra`. One
        warning says when entries were seen to be gone before they were read.

        Args:
            page_size: rows of a batch; left out, up to 10,000 of what comes.
            max_wait: seconds after which the rows that came are handed out, however few.

        Raises:
            StreamReset: a stream was deleted or made anew meanwhile; a server before 7.0 does not
                tell the latter when the new ids are higher.
            ConnectError: an outage lasted longer than the connection's timeout.
            ConfigError: such as a snapshot, which has an end.
            DecodeError: naming the entry and the column.
        """
        page_size = check_page_size(page_size)
        zero = type(max_wait) in (int, float) and not max_wait
        patience = 0 if zero else parse_duration(max_wait)
        if self.query.pinned is not None:
            raise ConfigError(
                "a snapshot has an end: read its pages(), or follow without snapshot()"
            )
        pinned = await self.source.pin(self.query.keys, live=True)
        following = Following(self.source, self.query, pinned, page_size, patience / 1e9)
        async with aclosing(following.batches()) as batches:
            async for batch in batches:
                yield batch

    async def messages(self) -> AsyncGenerator[list[Message], None]:
        """The messages, a page at a time: one hop between threads for each would cost far more."""
        reading = await self._reading()
        reading.for_messages = True
        async with aclosing(reading.shaped(self.shaper())) as parts:
            async for rows, _ in parts:
                yield rows.messages()
        reading.warn_if_gone()

    # How.

    def shaper(self, *, fixed: pa.Schema | None = None, with_id: bool = False) -> Shaper:
        """What makes batches of rows; one run needs one."""
        return Shaper(self.query, self.source.options.unit_ns, fixed=fixed, with_id=with_id)

    async def _reading(self) -> Reading:
        return Reading(self.source, self.query, await self.pinned())

    async def fixed_shaper(self, pinned: Pinned, sample: int = SAMPLE) -> Shaper:
        """The same with the columns of the streaming terminals."""
        decode = self.query.decode
        if decode.schema is not None or decode.kind in ("raw", "text"):
            return self.shaper(fixed=infer(decode, None))
        reading = Reading(self.source, sampled(self.query, sample), pinned)
        found = await sample_rows(reading, sample)
        return self.shaper(fixed=infer(decode, found))

    async def collect(self, progress: bool | None, *, with_id: bool) -> tuple[pa.Table, Facts]:
        """One table, with the ids if wanted, and its provenance."""
        reading = await self._reading()
        await guard.check(self.source, reading.plan, self.query)
        limit = guard.limit(self.source.options)
        shaper = self.shaper(with_id=with_id)
        shows = "payload" in shaper.columns
        parts: list[Shaped] = []
        try:
            async with aclosing(reading.shaped(shaper)) as chunks:
                with Progress(reading, progress):
                    async for rows, decoded in chunks:
                        parts.append((rows if shows else rows.without_values(), decoded))
                        guard.check_held(reading, limit)
        except asyncio.CancelledError:
            # What an interrupted read has is kept: it may have taken minutes.
            with suppress(StreamError):
                table = shaper.table(parts)
                facts = {**self._facts(reading), "complete": False}
                self.source.partial = interchange.with_metadata(table, facts)
            raise
        table = shaper.table(parts)
        return table, self._facts(reading)

    async def _preview(self, method: str, n: int) -> pd.DataFrame:
        query = self.query
        if query.first is None and query.last is None:
            count = query.head if method == "head" else query.tail
            preview = count(n, method=method)
            table, facts = await self.on(preview).collect(False, with_id=True)
        else:
            n = message_count(f"{method}({n!r})", n)
            table, facts = await self.collect(False, with_id=True)
            table = table.slice(0, n) if method == "head" else table.slice(max(0, len(table) - n))
            facts["rows"] = len(table)
        return interchange.to_pandas(table, facts)

    def _facts(self, reading: Reading) -> Facts:
        shards = sorted({each.origin.shard for each in reading.plan.ranges})
        return {
            "url": self.source.url,
            "keys": ",".join(map(key_text, self.query.keys)),
            "shards": ",".join(map(str, shards)),
            "first_id": str(reading.first_id) if reading.first_id else "",
            "last_id": str(reading.last_id) if reading.last_id else "",
            "rows": reading.rows,
            "skipped": reading.skipped,
            "complete": reading.complete,
            "clamped": reading.plan.clamped,
        }


def _entry_id(given: str | EntryId | Message) -> EntryId:
    if isinstance(given, EntryId):
        return given
    if isinstance(given, Message):
        return given.entry_id
    try:
        return EntryId.parse(given)
    except (TypeError, ValueError):
        raise ConfigError(f"get({given!r}): give full ids, such as '1700000000000-0'") from None
