"""Several streams as one place to read from, of one server or of several.

    shards of each stream ─► the shards of all ─► merged like those of one stream

Each part keeps its own range: what it pinned is narrowed before the merged stream sees it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import cast

import pyarrow as pa

from seastream_nb.backend import (
    ConsumerInfo,
    GroupInfo,
    LiveReader,
    PageReader,
    PendingEntry,
    PendingQuery,
    RangeSource,
    Shards,
    StreamInfo,
)
from seastream_nb.errors import ConfigError
from seastream_nb.guard import expected_entries
from seastream_nb.holding import Holding, Silence
from seastream_nb.keys import FIRST_ID, EntryId, key_text
from seastream_nb.options import ConnectOptions
from seastream_nb.page import Page
from seastream_nb.quantities import Duration, parse_duration
from seastream_nb.query import RAW, Extent, Pinned, Query, ShardRange, plan
from seastream_nb.stream import StreamCore

# How long one stream is asked at a time; an answer ends it.
READ_SECONDS = 1.0
LEAST_ASKED = 100


@dataclass(frozen=True, kw_only=True)
class PartExtent(Extent):
    """What one shard holds of the range of its part; nothing before `start` is in it."""

    part: int
    whole: Extent
    start: EntryId = FIRST_ID


class MergedSource:
    """The streams of all parts."""

    def __init__(self, parts: Sequence[StreamCore], silent: Silence, patience: Duration) -> None:
        for part in parts:
            _check(part, parts[0])
        self._parts = tuple(parts)
        seconds = parse_duration(patience) / 1e9
        self._patience = None if silent == "wait" else seconds

    @property
    def partial(self) -> pa.Table | None:
        """What the last interrupted whole-frame terminal had read."""
        return self._parts[0].source.partial

    @partial.setter
    def partial(self, table: pa.Table | None) -> None:
        for source in dict.fromkeys(part.source for part in self._parts):
            source.partial = table

    @property
    def url(self) -> str:
        """Where the parts are."""
        return ", ".join(dict.fromkeys(part.source.url for part in self._parts))

    @property
    def options(self) -> ConnectOptions:
        """How the first part was connected."""
        return self._parts[0].source.options

    @property
    def closed(self) -> bool:
        """Whether one of the parts cannot be read any more."""
        return any(part.source.closed for part in self._parts)

    async def now_ns(self) -> int:
        """The latest of the servers' clocks."""
        return max(await asyncio.gather(*(part.source.now_ns() for part in self._parts)))

    async def pin(self, keys: Sequence[bytes], *, live: bool = False) -> Pinned:
        """The shards of all parts, as far as they are in their ranges."""
        pins = await asyncio.gather(*(part.pinned(live=live) for part in self._parts))
        extents = [
            extent
            for number, (part, pinned) in enumerate(zip(self._parts, pins, strict=True))
            for extent in _narrowed(number, part.query, pinned)
        ]
        # Of messages with one id in shards of one number, those of the smaller key come first.
        extents.sort(key=lambda each: (each.origin.stream, each.origin.shard, each.part))
        return Pinned(extents=tuple(extents), now_ns=max(each.now_ns for each in pins))

    def read(
        self, shard: ShardRange, *, limit: int | None = None, reverse: bool = False
    ) -> PageReader:
        """The pages of a range, from the part that it is of."""
        extent = cast("PartExtent", shard.extent)
        start = max(shard.start, extent.start)
        if start > shard.end:
            return _Nothing()
        inner = ShardRange(extent=extent.whole, start=start, end=shard.end)
        return self._parts[extent.part].source.read(inner, limit=limit, reverse=reverse)

    def live(self, query: Query, pinned: Pinned) -> LiveReader:
        """What comes to all parts, held until its order is known."""
        readers = []
        for number, part in enumerate(self._parts):
            if part.query.pinned is not None:
                raise ConfigError("a snapshot has an end: merge streams without snapshot()")
            extents = [cast("PartExtent", each) for each in pinned.extents]
            wholes = tuple(each.whole for each in extents if each.part == number)
            begun = Pinned(extents=wholes, now_ns=pinned.now_ns)
            readers.append(part.source.live(_both(part.query, query, pinned.now_ns), begun))
        return MergedLive(readers, Holding(len(readers), self._patience))

    def _sources(self, key: bytes) -> list[RangeSource]:
        return list(dict.fromkeys(each.source for each in self._parts if key in each.query.keys))

    async def info(self, key: bytes) -> StreamInfo:
        """What the server says of one stream.

        Raises:
            ConfigError: several servers have one of this key.
        """
        sources = self._sources(key)
        if len(sources) > 1:
            raise ConfigError(f"info(): {key_text(key)!r} is on several servers: ask each of them")
        return await sources[0].info(key)

    async def fetch(self, key: bytes, ids: Sequence[EntryId]) -> list[Page]:
        """The entries with these ids, from every part that has the stream."""
        return [page for source in self._sources(key) for page in await source.fetch(key, ids)]

    async def groups(self, key: bytes, shards: Shards) -> list[GroupInfo]:
        """The consumer groups of a stream, of every part that has it."""
        return [each for source in self._sources(key) for each in await source.groups(key, shards)]

    async def consumers(self, key: bytes, shards: Shards, group: bytes) -> list[ConsumerInfo]:
        """The consumers of a group, of every part that has the stream."""
        return [
            each
            for source in self._sources(key)
            for each in await source.consumers(key, shards, group)
        ]

    async def pending(
        self, key: bytes, shards: Shards, group: bytes, wanted: PendingQuery
    ) -> list[PendingEntry]:
        """What a group was given and has not acknowledged, of every part that has the stream."""
        return [
            each
            for source in self._sources(key)
            for each in await source.pending(key, shards, group, wanted)
        ]


class MergedLive:
    """What comes to several streams, merged in time order as far as `holding` knows it."""

    def __init__(self, readers: Sequence[LiveReader], holding: Holding) -> None:
        self.ended = False
        self.complete = True
        self._readers = readers
        self._holding = holding
        self._asked: dict[int, asyncio.Task[list[Page]]] = {}

    async def read(self, seconds: float, most: int) -> list[Page]:
        """What came and need not wait for other streams; waits up to `seconds` for it."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while True:
            released = self._holding.release(loop.time())
            self.ended = not self._holding and all(reader.ended for reader in self._readers)
            if released or self.ended or loop.time() >= until:
                return released
            self._ask(max(LEAST_ASKED, most // len(self._readers)))
            left = min(until, self._holding.due) - loop.time()
            await asyncio.wait(
                self._asked.values(),
                timeout=None if left == inf else max(0.0, left),
                return_when=asyncio.FIRST_COMPLETED,
            )
            self._collect()

    def _ask(self, most: int) -> None:
        for stream in self._holding.wanted:
            if stream not in self._asked:
                asking = self._read(stream, most)
                self._asked[stream] = asyncio.create_task(asking, name="seastream union")

    async def _read(self, stream: int, most: int) -> list[Page]:
        return await self._readers[stream].read(READ_SECONDS, most)

    def _collect(self) -> None:
        """Hold what was answered.

        Raises:
            StreamReset, ConnectError, ServerError: the first of what went wrong.
        """
        for stream, task in list(self._asked.items()):
            if task.done():
                del self._asked[stream]
                reader = self._readers[stream]
                self._holding.put(stream, task.result())
                if reader.ended:
                    self._holding.end(stream)
        self.complete = all(reader.complete for reader in self._readers)

    async def close(self) -> None:
        """Stop asking."""
        tasks = list(self._asked.values())
        self._asked.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for reader in self._readers:
            await reader.close()


class _Nothing:
    """The pages of an empty range."""

    complete = True
    gone = False

    async def __aiter__(self) -> AsyncGenerator[Page, None]:
        return
        yield


def _check(part: StreamCore, first: StreamCore) -> None:
    """Refuse parts that are not one stream's rows.

    Raises:
        ConfigError: saying what to do.
    """
    query = part.query
    shaped = query.decode != RAW or query.columns is not None
    filtered = bool(query.containing) or query.condition is not None
    if shaped or filtered or query.first is not None or query.last is not None:
        raise ConfigError(
            "merge() takes ranges and shards of streams: count, filter, decode and select after "
            "it, as in ss.merge(a, b).json()"
        )
    for name in ("timestamp_format", "message_field"):
        if getattr(part.source.options, name) != getattr(first.source.options, name):
            raise ConfigError(f"merge(): the streams were connected with another {name} each")


def _narrowed(number: int, query: Query, pinned: Pinned) -> list[PartExtent]:
    ranges = {each.origin.key: each for each in plan(query, pinned).ranges}
    chosen = query.shards
    return [
        _extent(number, extent, ranges.get(extent.origin.key))
        for extent in pinned.extents
        if chosen is None or extent.origin.shard in chosen
    ]


def _extent(number: int, whole: Extent, part: ShardRange | None) -> PartExtent:
    if part is None or whole.first is None or whole.last is None:
        return PartExtent(origin=whole.origin, part=number, whole=whole)
    return PartExtent(
        origin=whole.origin,
        length=expected_entries(part),
        first=max(whole.first, part.start),
        last=min(whole.last, part.end),
        end=part.end,
        entry_bytes=whole.entry_bytes,
        groups=whole.groups,
        part=number,
        whole=whole,
        start=part.start,
    )


def _both(own: Query, merged: Query, now_ns: int) -> Query:
    """What a part is to follow: what holds for it, and for all."""
    own = own.going_on(now_ns)
    shards = own.shards
    if merged.shards is not None:
        shards = merged.shards if shards is None else shards & merged.shards
    return replace(
        own,
        lower=(*own.lower, *merged.lower),
        upper=(*own.upper, *merged.upper),
        shards=shards,
    )
