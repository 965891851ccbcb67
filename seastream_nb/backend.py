"""What a backend must be able to do for the rooms above it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import pyarrow as pa

from seastream_nb.keys import EntryId
from seastream_nb.options import ConnectOptions
from seastream_nb.page import Page
from seastream_nb.query import Pinned, Query, ShardRange

# The chosen shards; None means all.
Shards = frozenset[int] | None


@dataclass(frozen=True, kw_only=True)
class StreamInfo:
    """What the server says of one stream, all shards together; null where it does not tell.

    `keys` are the Redis keys, `shards` their numbers, `length` the entries, `bytes` the memory,
    `groups` the consumer groups; ids are text, times are aware.
    """

    key: str
    keys: tuple[str, ...]
    shards: tuple[int, ...]
    length: int | None
    first_id: str | None
    last_id: str | None
    first_time: datetime | None
    last_time: datetime | None
    groups: int | None
    bytes: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupInfo:
    """Where a consumer group stands in one shard.

    `lag` counts the entries after `last_delivered`, null where that cannot be known exactly.
    `oldest_pending` is the lowest id that was delivered and not acknowledged.
    """

    stream: str
    shard: int
    name: str
    consumers: int
    pending: int
    lag: int | None
    last_delivered: str
    last_delivered_time: datetime | None
    oldest_pending: str | None
    oldest_pending_idle: timedelta | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ConsumerInfo:
    """One consumer of a group in one shard.

    `idle` is the time since it last asked, `inactive` since it last got something; the latter is
    null before Redis 7.2, and while it got nothing yet.
    """

    stream: str
    shard: int
    name: str
    pending: int
    idle: timedelta
    inactive: timedelta | None


@dataclass(frozen=True, kw_only=True, slots=True)
class PendingEntry:
    """An entry that was delivered to `owner` and not acknowledged.

    `idle` is the time since it was last delivered, `deliveries` how often that was. `payload` is
    null when the entry was deleted meanwhile, or has no message field.
    """

    stream: str
    shard: int
    id: str
    timestamp: datetime | None
    owner: str
    idle: timedelta
    deliveries: int
    payload: bytes | None


@dataclass(frozen=True, kw_only=True)
class PendingQuery:
    """Which pending entries are wanted: at most `limit`, the lowest ids first.

    `field` is the field whose value is the payload; None leaves payloads out.
    """

    consumer: bytes | None = None
    min_idle_ms: int | None = None
    limit: int = 1_000
    field: bytes | None = None


class PageReader(Protocol):
    """The pages of one shard's range, once, forwards or backwards.

    `complete` turns false when entries of the range may have been trimmed away before they
    were read, or a file ends inside a message; `gone` turns true in the first case.
    """

    complete: bool
    gone: bool

    def __aiter__(self) -> AsyncGenerator[Page, None]:
        """Pages in reading order; each page itself is in stored order."""


class LiveReader(Protocol):
    """What comes to the shards of a query after it was pinned, for as long as it is asked.

    `ended` turns true when nothing of the range can come any more, `complete` false when entries
    were noticed to be gone before they were read. Nothing is read ahead, and nothing is held
    between two reads.
    """

    ended: bool
    complete: bool

    async def read(self, seconds: float, most: int) -> list[Page]:
        """About `most` entries that came, a page a shard, each in stored order.

        Waits for the first of them up to `seconds`, or less: then there may be none.

        Raises:
            StreamReset: a stream was deleted or recreated meanwhile.
            ConnectError, AuthError, ServerError: it cannot be read.
        """

    async def close(self) -> None:
        """Give back what is held; called once, at the end."""


class RangeSource(Protocol):
    """A place that streams are read from."""

    partial: pa.Table | None

    @property
    def url(self) -> str:
        """Where this is, as text that is safe to show."""

    @property
    def options(self) -> ConnectOptions:
        """How it was connected."""

    @property
    def closed(self) -> bool:
        """Whether its user closed it."""

    async def now_ns(self) -> int:
        """The server's clock, or the one that `now=` set."""

    async def pin(self, keys: Sequence[bytes], *, live: bool = False) -> Pinned:
        """The shards of these streams and where each ends at this moment.

        `live` says that what comes afterwards is read too: a message that is being written at
        the end is no fault then.
        """

    def read(
        self, shard: ShardRange, *, limit: int | None = None, reverse: bool = False
    ) -> PageReader:
        """The pages of a range; `limit` says how many entries will probably be enough."""

    def live(self, query: Query, pinned: Pinned) -> LiveReader:
        """What comes after the end of every pinned shard, and to shards that are new."""

    async def info(self, key: bytes) -> StreamInfo:
        """What the server says of one stream."""

    async def fetch(self, key: bytes, ids: Sequence[EntryId]) -> list[Page]:
        """The entries with these ids, from every shard: one page for each that exists."""

    async def groups(self, key: bytes, shards: Shards) -> list[GroupInfo]:
        """The consumer groups of a stream, in each of its shards."""

    async def consumers(self, key: bytes, shards: Shards, group: bytes) -> list[ConsumerInfo]:
        """The consumers of a group, in each shard that has it."""

    async def pending(
        self, key: bytes, shards: Shards, group: bytes, wanted: PendingQuery
    ) -> list[PendingEntry]:
        """What a group was given and has not acknowledged."""
