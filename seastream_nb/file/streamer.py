"""An `.ss` file as a place to read streams from and write them to."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa

from seastream_nb.backend import (
    ConsumerInfo,
    GroupInfo,
    PendingEntry,
    PendingQuery,
    Shards,
    StreamInfo,
)
from seastream_nb.endpoints import Id, Pending
from seastream_nb.errors import (
    ConfigError,
    FileError,
    FileFormatError,
    ReadOnlyError,
    StreamError,
    StreamNotFound,
    Unsupported,
)
from seastream_nb.file import frames
from seastream_nb.file.blocks import FileBlocks
from seastream_nb.file.consumer import FileConsumer
from seastream_nb.file.format import INTERNAL_KEY
from seastream_nb.file.frames import Pair
from seastream_nb.file.handle import identity, make_sure
from seastream_nb.file.live import FileLive
from seastream_nb.file.page import origin_of
from seastream_nb.file.producer import FileProducer
from seastream_nb.file.ranges import FileExtent, FileRangeReader, Notices
from seastream_nb.file.survey import ShardFacts, Survey, newest_ms
from seastream_nb.keys import EntryId, is_legal, key_text, split_shard
from seastream_nb.message import NS_PER_MS, Origin, utc_datetime
from seastream_nb.options import ConnectOptions, ConsumerOptions, ProducerOptions
from seastream_nb.page import Page
from seastream_nb.quantities import Duration
from seastream_nb.query import Extent, Pinned, Query, ShardRange
from seastream_nb.times import When


class FileStreamer:
    """The asynchronous core of a streamer on one file.

    What is read is the file as it was when the reading began: what is appended, or another file
    that takes its name, is seen by the next reading.
    """

    def __init__(self, path: Path, options: ConnectOptions) -> None:
        self._given = path
        self._there = path.absolute()
        self.url = f"file://{path}"
        self.options = options
        self.partial: pa.Table | None = None
        self.closed = False
        self._survey: Survey | None = None
        self._open: set[FileProducer | FileConsumer] = set()

    @property
    def path(self) -> Path:
        """The file, as it was given; absolute when this process has changed its folder."""
        return self._given if self._given.absolute() == self._there else self._there

    async def connect(self) -> None:
        """Make sure that there is a file that can be read, or make it.

        Raises:
            FileError: there is none, it is there already, or it cannot be opened.
            FileFormatError: it is no `.ss` file.
            ReadOnlyError: it would have to be made.
        """
        if self.options.create != "never" and self.options.read_only:
            raise ReadOnlyError(f"{self.url} is connected read-only: create= makes a file")
        await asyncio.to_thread(make_sure, self.path, self.options.create)
        await asyncio.to_thread(self._surveyed)

    # Reading: what RangeSource asks for.

    async def now_ns(self) -> int:
        """Just after the last message, or what `now=` set."""
        return (await self.pin([], live=True)).now_ns

    async def pin(self, keys: Sequence[bytes], *, live: bool = False) -> Pinned:
        """The shards of these streams, and how much of the file there is at this moment.

        Raises:
            FileFormatError: the file is damaged, or ends inside a message and
                `torn_tail="raise"`.
            FileError: it cannot be read.
        """
        await asyncio.to_thread(frames.load)
        return await asyncio.to_thread(self._pin, keys, live)

    def _pin(self, keys: Sequence[bytes], live: bool) -> Pinned:
        survey = self._surveyed()
        if survey is None:
            return Pinned(extents=tuple(map(_empty, keys)), now_ns=self.options.now or 0)
        size = survey.blocks.size()
        facts = survey.facts(size, of=frozenset(_pair_of(key)[0] for key in keys))
        tail = survey.tail(size)
        torn = None if live else tail.torn
        if torn is not None and self.options.torn_tail == "raise":
            text = f"{self.path} ends inside a message at byte {torn:,}"
            raise FileFormatError(text, offset=torn)
        newest = newest_ms(facts)
        now_ns = 0 if newest is None else (newest + 1) * NS_PER_MS
        notices = Notices()
        extents: dict[bytes, Extent] = {}
        for key in keys:
            there = self._pairs(key, facts)
            siblings = frozenset(shard for _, shard in there) if self._is_stream(key) else None
            for pair, origin in (there or {_pair_of(key): _empty(key).origin}).items():
                known = facts.get(pair)
                extents[origin.key] = FileExtent(
                    origin=origin,
                    length=known.messages if known else 0,
                    first=known.first if known else None,
                    last=known.highest if known else None,
                    end=known.highest if known else None,
                    entry_bytes=known.bytes // known.messages if known else 0,
                    survey=survey,
                    pair=pair,
                    size=size,
                    stop=tail.stop,
                    torn=torn,
                    ends_stream=tail.ends_stream,
                    siblings=siblings,
                    message_field=self.options.field,
                    notices=notices,
                )
        return Pinned(
            extents=tuple(extents.values()),
            now_ns=now_ns if self.options.now is None else self.options.now,
        )

    def _pairs(self, key: bytes, facts: Iterable[Pair]) -> dict[Pair, Origin]:
        """The streams and shards of a file that a key means, by shard."""
        if self._is_stream(key):
            name = key_text(key)
            return {pair: origin_of(pair) for pair in sorted(facts) if pair[0] == name}
        pair = _pair_of(key)
        return {pair: origin_of(pair, apart=True)} if pair in facts else {}

    def _is_stream(self, key: bytes) -> bool:
        """Whether a key means all shards of a stream, rather than one."""
        return self.options.shards == "auto" and is_legal(key_text(key))

    def _surveyed(self) -> Survey | None:
        """What is known of the file that has the name now; None while it is empty."""
        here = identity(self.path)
        if here is None:
            raise FileError(f"{self.path} was removed")
        if self._survey is None or self._survey.blocks.identity != here:
            self._survey = None
            if self.path.stat().st_size:
                self._survey = Survey(FileBlocks(self.path))
        return self._survey

    def read(
        self, shard: ShardRange, *, limit: int | None = None, reverse: bool = False
    ) -> FileRangeReader:
        """The pages of a range."""
        extent = shard.extent
        assert isinstance(extent, FileExtent)
        return FileRangeReader(extent, shard, reverse=reverse)

    def live(self, query: Query, pinned: Pinned) -> FileLive:
        """What is appended after the pinned end, to any shard of the query's streams."""

        def origin(pair: Pair) -> Origin | None:
            found = (self._pairs(key, [pair]).get(pair) for key in query.keys)
            return next((each for each in found if each is not None), None)

        return FileLive(self.path, query, pinned, origin, self.options.field)

    async def info(self, key: bytes) -> StreamInfo:
        """What the file holds of one stream; `bytes` are those of the payloads.

        Raises:
            StreamNotFound: nothing.
        """
        facts = await asyncio.to_thread(self._counted)
        there = self._pairs(key, facts)
        if not there:
            raise StreamNotFound(f"{self.path} holds no stream {key_text(key)!r}")
        return _info(key_text(key), there, facts)

    def _counted(self) -> dict[Pair, ShardFacts]:
        """Every stream and shard, counted."""
        survey = self._surveyed()
        return {} if survey is None else survey.facts(survey.blocks.size(), exact=True)

    async def fetch(self, key: bytes, ids: Sequence[EntryId]) -> list[Page]:
        """The messages with these ids, from every shard: one page for each that exists."""
        pinned = await self.pin([key])
        found: list[Page] = []
        for extent in pinned.extents:
            for each in ids if isinstance(extent, FileExtent) else ():
                reader = self.read(ShardRange(extent=extent, start=each, end=each))
                found += [page async for page in aiter(reader)]
        return found

    async def groups(self, key: bytes, shards: Shards) -> list[GroupInfo]:
        """No group: those of files live in the processes that consume them."""
        await self.info(key)
        return []

    async def consumers(self, key: bytes, shards: Shards, group: bytes) -> list[ConsumerInfo]:
        """Not for files."""
        self._refuse("consumers()")

    async def pending(
        self, key: bytes, shards: Shards, group: bytes, wanted: PendingQuery
    ) -> list[PendingEntry]:
        """Not for files."""
        self._refuse("pending()")

    async def catalog(self, pattern: str | None = None) -> list[StreamInfo]:
        """Every stream whose key matches a glob pattern, shards folded together."""
        facts = await asyncio.to_thread(self._counted)
        apart = self.options.shards == "off"
        streams: dict[str, dict[Pair, Origin]] = {}
        for pair in sorted(facts):
            if pair[0] != INTERNAL_KEY:
                origin = origin_of(pair, apart=apart)
                streams.setdefault(origin.stream, {})[pair] = origin
        return [
            _info(name, there, facts)
            for name, there in streams.items()
            if pattern is None or fnmatchcase(name, pattern)
        ]

    async def completions(self) -> list[str]:
        """Stream keys for the Tab key."""
        try:
            pinned = await asyncio.to_thread(self._surveyed)
            facts = {} if pinned is None else pinned.facts(pinned.blocks.size())
        except StreamError:
            return []
        apart = self.options.shards == "off"
        names = {origin_of(pair, apart=apart).stream for pair in facts if pair[0] != INTERNAL_KEY}
        return sorted(names)

    # Writing and following.

    async def producer(self, key: str | None = None, **options: Any) -> FileProducer:
        """A producer, anchored when a key is given."""
        if self.options.read_only:
            raise ReadOnlyError(f"{self.url} is connected read-only: it has no producers")
        producer = await FileProducer.open(
            self.path,
            ProducerOptions.make(options),
            self.options,
            release=self._open.discard,
            beacon_interval=self.options.beacon_interval,
            file_size_limit=self.options.file_size_limit,
            torn_tail=self.options.torn_tail,
            end_with_eos=self.options.end_with_eos,
        )
        self._open.add(producer)
        if key is not None:
            try:
                producer.anchor(key)
            except StreamError:
                await producer.end()
                raise
        return producer

    async def consumer(self, *keys: str | bytes, **options: Any) -> FileConsumer:
        """A consumer of these streams, anchored before this returns."""
        checked = ConsumerOptions.make(options)
        if not keys or not all(isinstance(key, str | bytes) for key in keys):
            raise ConfigError("consumer() needs the keys of streams, as text or bytes")
        consumer = await FileConsumer.open(
            self.path, keys, checked, self.options, release=self._open.discard
        )
        self._open.add(consumer)
        return consumer

    # What only servers have.

    async def claim(
        self,
        key: str | bytes,
        group: str | bytes,
        *,
        consumer: str | bytes,
        ids: Id | Iterable[Id] | None = None,
        min_idle: Duration = "1m",
        limit: int = 100,
    ) -> NoReturn:
        """Not for files."""
        self._refuse("claim()")

    async def ack(self, key: str | bytes, group: str | bytes, ids: Id | Iterable[Id]) -> NoReturn:
        """Not for files."""
        self._refuse("ack()")

    async def trim(
        self,
        key: str | bytes,
        *,
        max_len: int | None = None,
        before: When | None = None,
        exact: bool = False,
    ) -> NoReturn:
        """Not for files."""
        self._refuse("trim()")

    async def delete_group(
        self, key: str | bytes, group: str | bytes, *, pending: Pending = "refuse"
    ) -> NoReturn:
        """Not for files."""
        self._refuse("delete_group()")

    async def delete_consumer(
        self,
        key: str | bytes,
        group: str | bytes,
        consumer: str | bytes,
        *,
        pending: Pending = "refuse",
    ) -> NoReturn:
        """Not for files."""
        self._refuse("delete_consumer()")

    def _refuse(self, what: str) -> NoReturn:
        raise Unsupported(f"{what} is for servers: {self.url} is a file")

    async def close(self) -> None:
        """Flush and end the producers, end the consumers. Closing twice is fine.

        Raises:
            NotSent: the first failed send that nobody has seen.
        """
        self.closed = True
        failures: list[StreamError] = []
        for each in list(self._open):
            try:
                await each.end()
            except StreamError as error:
                failures.append(error)
        self._survey = None
        if failures:
            raise failures[0]


def _empty(key: bytes) -> Extent:
    return Extent(origin=Origin(key_text(key), 0, key))


def _pair_of(key: bytes) -> Pair:
    """The stream and shard that a key means in a file, if it means one."""
    return split_shard(key) or (key_text(key), 0)


def _info(name: str, there: dict[Pair, Origin], known: dict[Pair, ShardFacts]) -> StreamInfo:
    facts = [known[pair] for pair in there]
    first, last = min(each.first for each in facts), max(each.highest for each in facts)
    return StreamInfo(
        key=name,
        keys=tuple(key_text(origin.key) for origin in there.values()),
        shards=tuple(origin.shard for origin in there.values()),
        length=sum(each.messages for each in facts),
        first_id=str(first),
        last_id=str(last),
        first_time=utc_datetime(first.ms * NS_PER_MS),
        last_time=utc_datetime(last.ms * NS_PER_MS),
        groups=0,
        bytes=sum(each.bytes for each in facts),
    )
