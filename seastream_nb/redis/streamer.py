"""A Redis server as a place to read streams from and write them to."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pyarrow as pa

from seastream_nb.backend import (
    ConsumerInfo,
    GroupInfo,
    PendingEntry,
    PendingQuery,
    Shards,
    StreamInfo,
)
from seastream_nb.errors import (
    AuthError,
    ConfigError,
    ReadOnlyError,
    ServerError,
    StreamError,
    Unsupported,
)
from seastream_nb.keys import EntryId, key_bytes, key_text
from seastream_nb.message import Origin
from seastream_nb.options import ConnectOptions, ConsumerOptions, ProducerOptions
from seastream_nb.page import ListPage, Page
from seastream_nb.query import Pinned, Query, ShardRange
from seastream_nb.redis import catalog, groups
from seastream_nb.redis.admin import Administration
from seastream_nb.redis.connection import accepted
from seastream_nb.redis.consumer import RedisConsumer
from seastream_nb.redis.live import LiveReader
from seastream_nb.redis.opening import Address
from seastream_nb.redis.pool import LinkPool
from seastream_nb.redis.producer import RedisProducer
from seastream_nb.redis.ranges import RangeReader
from seastream_nb.redis.readback import require_rights
from seastream_nb.redis.shards import group_by_stream
from seastream_nb.redis.wire import TAG

COMPLETION_SECONDS = 0.5


class RedisStreamer(Administration):
    """The asynchronous core of a streamer on one Redis or Valkey server."""

    def __init__(self, address: Address, options: ConnectOptions) -> None:
        super().__init__(str(address), LinkPool(address, options), options)
        self.partial: pa.Table | None = None
        self._open: set[RedisProducer | RedisConsumer] = set()
        self._process = os.getpid()

    async def connect(self) -> None:
        """Make sure that the server answers: one attempt, or with `wait` until the timeout.

        Raises:
            ConnectError, AuthError, ConfigError: naming what was tried.
        """
        await self._pool.connect()

    # Reading: what RangeSource asks for.

    @property
    def closed(self) -> bool:
        """Whether its user closed it."""
        return self._pool.closed

    async def now_ns(self) -> int:
        """The server's clock, or the one that `now=` set."""
        return await catalog.server_now_ns(self._pool)

    async def pin(self, keys: Sequence[bytes], *, live: bool = False) -> Pinned:
        """The shards of these streams and where each ends at this moment."""
        now_ns = await self.now_ns()
        origins: dict[bytes, Origin] = {}
        for key in keys:
            for origin in await catalog.discover(self._pool, key):
                origins.setdefault(origin.key, origin)
        extents = await catalog.extents(self._pool, list(origins.values()))
        return Pinned(extents=tuple(extents), now_ns=now_ns)

    def read(
        self, shard: ShardRange, *, limit: int | None = None, reverse: bool = False
    ) -> RangeReader:
        """The pages of a range."""
        return RangeReader(self._pool, shard, limit=limit, reverse=reverse)

    def live(self, query: Query, pinned: Pinned) -> LiveReader:
        """What comes after the end of every pinned shard, and to shards that are new."""
        return LiveReader(self._pool, query, pinned)

    async def info(self, key: bytes) -> StreamInfo:
        """What the server says of one stream.

        Raises:
            StreamNotFound: it does not exist.
        """
        origins = await catalog.discover(self._pool, key)
        return await catalog.describe(self._pool, key, [origin.key for origin in origins])

    async def fetch(self, key: bytes, ids: Sequence[EntryId]) -> list[Page]:
        """The entries with these ids, from every shard: one page for each that exists."""
        origins = await catalog.discover(self._pool, key)
        places = [(origin, each) for origin in origins for each in ids]
        doing = f"reading {key_text(key)!r}"
        commands = [("XRANGE", at.key, each.wire(), each.wire()) for at, each in places]
        replies = await self._pool.replies(commands, doing=doing)
        pages = [
            ListPage(origin, accepted(reply, doing))
            for (origin, _), reply in zip(places, replies, strict=True)
        ]
        return [page for page in pages if len(page)]

    async def groups(self, key: bytes, shards: Shards) -> list[GroupInfo]:
        """The consumer groups of a stream, in each of its shards."""
        return await groups.groups(self._pool, key, shards)

    async def consumers(self, key: bytes, shards: Shards, group: bytes) -> list[ConsumerInfo]:
        """The consumers of a group, in each shard that has it."""
        return await groups.consumers(self._pool, key, group, shards)

    async def pending(
        self, key: bytes, shards: Shards, group: bytes, wanted: PendingQuery
    ) -> list[PendingEntry]:
        """What a group was given and has not acknowledged."""
        return await groups.pending(self._pool, key, group, wanted, shards)

    async def catalog(self, pattern: str | None = None) -> list[StreamInfo]:
        """Every stream whose key matches a glob pattern, shards folded together."""
        return await catalog.catalog(self._pool, pattern)

    async def completions(self) -> list[str]:
        """Stream keys for the Tab key; none when the server is slow or refuses."""
        try:
            async with asyncio.timeout(COMPLETION_SECONDS):
                keys = await catalog.scan(self._pool, "*", "completing stream keys")
        except (StreamError, TimeoutError):
            return []
        streams = group_by_stream(keys, sharded=self.options.shards == "auto")
        # A key that is no text has no text that means it.
        return [key_text(key) for key in streams if key_text(key).encode() == key]

    # Writing and following.

    async def producer(self, key: str | None = None, **options: Any) -> RedisProducer:
        """A producer, anchored when a key is given."""
        if self.options.read_only:
            raise ReadOnlyError(f"{self.url} is connected read-only: it has no producers")
        checked = ProducerOptions.make(options)
        if checked.durability == "replica":
            if checked.idempotent:
                raise Unsupported("durability='replica' with idempotent=True is not available yet")
            await self._pool.call("WAIT", 0, 1, doing="durability='replica' needs the right wait")
        if checked.idempotent:
            if self.options.field == TAG:
                raise ConfigError("message_field='i' is the field that idempotent=True adds")
            await require_rights(self._pool)
        version = await self._server_version()
        producer = RedisProducer(
            self._pool,
            checked,
            full_ids_only=version is not None and version < (7, 0),
            link=await self._pool.take(),
            release=self._open.discard,
        )
        self._open.add(producer)
        if key is not None:
            try:
                producer.anchor(key)
            except StreamError:
                await producer.end()
                raise
        return producer

    async def _server_version(self) -> tuple[int, ...] | None:
        """The Redis version that the server is compatible with; None when the ACL hides it."""
        try:
            text = await self._pool.call("INFO", "server", doing="asking for the version")
        except (AuthError, ServerError):
            return None
        facts = dict(line.split(b":", 1) for line in text.split(b"\r\n") if b":" in line)
        with suppress(KeyError, ValueError):
            return tuple(int(part) for part in facts[b"redis_version"].split(b".")[:2])
        return None

    async def consumer(self, *keys: str | bytes, **options: Any) -> RedisConsumer:
        """A consumer of these streams, anchored before this returns."""
        checked = ConsumerOptions.make(options)
        if not keys or not all(isinstance(key, str | bytes) for key in keys):
            raise ConfigError("consumer() needs the keys of streams, as text or bytes")
        if checked.mode != "realtime" and self.options.read_only:
            raise ReadOnlyError(f"{self.url} is connected read-only: it has no group consumers")
        if checked.shard_ownership != "shared":
            raise Unsupported(f"shard_ownership={checked.shard_ownership!r} is not available yet")
        origins: dict[bytes, Origin] = {}
        for key in keys:
            for origin in await catalog.discover(self._pool, key_bytes(key)):
                origins.setdefault(origin.key, origin)
        consumer = RedisConsumer(
            self._pool, checked, list(origins.values()), release=self._open.discard
        )
        self._open.add(consumer)
        try:
            await consumer.start()
        except BaseException:
            await consumer.end()
            raise
        return consumer

    async def close(self) -> None:
        """Flush the producers, end the consumers, disconnect. Closing twice is fine."""
        ours = self._process == os.getpid()  # a forked child leaves them to its parent
        failures: list[StreamError] = []
        try:
            for each in list(self._open) if ours else ():
                try:
                    await each.end()
                except StreamError as error:
                    failures.append(error)
        finally:
            self._pool.close()
        if failures:
            raise failures[0]
