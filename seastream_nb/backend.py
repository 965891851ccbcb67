"""What a backend must be able to do for the rooms above it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import pyarrow as pa

from seastream_nb.keys import EntryId
from seastream_nb.options import ConnectOptions
from seastream_nb.page import Page
from seastream_nb.query import Pinned, Query, ShardRange


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


class PageReader(Protocol):
    """The pages of one shard's range, once, forwards or backwards.

    `complete` turns false when entries of the range may have been trimmed away before they
    were read.
    """

    complete: bool

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


class RangeSource(Protocol):
    """A place that streams are read from."""

    partial: pa.Table | None

    @property
    def url(self) -> str:
        """Where this is, as text that is safe to show."""

    @property
    def options(self) -> ConnectOptions:
        """How it was connected."""

    async def now_ns(self) -> int:
        """The server's clock, or the one that `now=` set."""

    async def pin(self, keys: Sequence[bytes]) -> Pinned:
        """The shards of these streams and where each ends at this moment."""

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
