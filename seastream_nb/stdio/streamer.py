"""Standard input and output of this process, as a place to read streams from and print them to."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

import pyarrow as pa

from seastream_nb.backend import (
    ConsumerInfo,
    GroupInfo,
    LiveReader,
    PageReader,
    PendingEntry,
    PendingQuery,
    Shards,
    StreamInfo,
)
from seastream_nb.endpoints import Id, Pending
from seastream_nb.errors import (
    ConfigError,
    ConnectError,
    ReadOnlyError,
    StreamError,
    Unsupported,
)
from seastream_nb.keys import EntryId
from seastream_nb.message import Message
from seastream_nb.options import ConnectOptions, ConsumerOptions, ProducerOptions
from seastream_nb.page import Page
from seastream_nb.quantities import Duration
from seastream_nb.query import Pinned, Query, ShardRange
from seastream_nb.stdio.consumer import StdioConsumer
from seastream_nb.stdio.input import standard_input
from seastream_nb.stdio.output import standard_output
from seastream_nb.stdio.producer import StdioProducer
from seastream_nb.times import When

URL = "stdio://"


class StdioStreamer:
    """The asynchronous core of a streamer on stdin and stdout.

    Nothing is kept, so there is nothing to ask about or to repair: only producers and consumers.
    """

    url = URL

    def __init__(self, options: ConnectOptions) -> None:
        self.options = options
        self.partial: pa.Table | None = None
        self._open: set[StdioProducer | StdioConsumer] = set()
        self._input = standard_input()
        self._output = standard_output()
        self.closed = False
        self._process = os.getpid()
        if options.loopback:
            self._input.keep_open(self)

    async def producer(self, key: str | None = None, **options: Any) -> StdioProducer:
        """A producer, anchored when a key is given.

        What is sent once is printed once, so `idempotent` asks for nothing more.
        """
        self._require_open()
        if self.options.read_only:
            raise ReadOnlyError(f"{URL} is connected read-only: it has no producers")
        checked = ProducerOptions.make(options)
        if checked.durability != "primary":
            raise Unsupported("durability='replica': standard output has no replicas")
        producer = StdioProducer(
            checked,
            connection=self.options,
            output=self._output,
            loop_to=self._input if self.options.loopback else None,
            release=self._open.discard,
        )
        if key is not None:
            producer.anchor(key)
        self._open.add(producer)
        return producer

    async def consumer(self, *keys: str | bytes, **options: Any) -> StdioConsumer:
        """A consumer of these streams, and of what has no key; reading begins when one waits."""
        self._require_open()
        checked = ConsumerOptions.make(options)
        if not keys or not all(isinstance(key, str | bytes) for key in keys):
            raise ConfigError("consumer() needs the keys of streams, as text or bytes")
        if checked.mode == "resumable":
            raise Unsupported("mode='resumable': standard input cannot be read again")
        if checked.mode != "realtime" and self.options.read_only:
            raise ReadOnlyError(f"{URL} is connected read-only: it has no group consumers")
        if checked.mode != "realtime" and checked.group is None:
            raise ConfigError("mode='load_balanced' needs group='NAME', which others here share")
        if checked.shard_ownership != "shared":
            raise Unsupported(f"shard_ownership={checked.shard_ownership!r} needs a server")
        consumer = StdioConsumer(
            keys,
            checked,
            connection=self.options,
            source=self._input,
            release=self._open.discard,
        )
        self._open.add(consumer)
        return consumer

    def _require_open(self) -> None:
        if self.closed or self._process != os.getpid():
            raise ConnectError(f"the connection to {URL} is closed: connect again")

    async def close(self) -> None:
        """Flush the producers, end the consumers. Closing twice is fine."""
        if self._process != os.getpid():  # a forked child leaves them to its parent
            return
        self.closed = True
        failures: list[StreamError] = []
        try:
            for each in list(self._open):
                try:
                    await each.end()
                except StreamError as error:
                    failures.append(error)
        finally:
            self._input.let_end(self)
        if failures:
            raise failures[0]

    # What needs messages that are kept.

    async def now_ns(self) -> int:
        """Refuse."""
        _refuse("it keeps no messages to read a range of")

    async def pin(self, keys: Sequence[bytes], *, live: bool = False) -> Pinned:
        """Refuse."""
        _refuse("it keeps no messages to read a range of")

    def read(
        self, shard: ShardRange, *, limit: int | None = None, reverse: bool = False
    ) -> PageReader:
        """Refuse."""
        _refuse("it keeps no messages to read a range of")

    def live(self, query: Query, pinned: Pinned) -> LiveReader:
        """Refuse."""
        _refuse("it keeps no messages to read a range of")

    async def info(self, key: bytes) -> StreamInfo:
        """Refuse."""
        _refuse("it does not know which streams there are")

    async def fetch(self, key: bytes, ids: Sequence[EntryId]) -> list[Page]:
        """Refuse."""
        _refuse("it keeps no messages to look up")

    async def catalog(self, pattern: str | None = None) -> list[StreamInfo]:
        """Refuse."""
        _refuse("it does not know which streams there are")

    async def completions(self) -> list[str]:
        """None."""
        return []

    async def groups(self, key: bytes, shards: Shards) -> list[GroupInfo]:
        """Refuse."""
        _refuse("groups are those of this process, and keep nothing")

    async def consumers(self, key: bytes, shards: Shards, group: bytes) -> list[ConsumerInfo]:
        """Refuse."""
        _refuse("groups are those of this process, and keep nothing")

    async def pending(
        self, key: bytes, shards: Shards, group: bytes, wanted: PendingQuery
    ) -> list[PendingEntry]:
        """Refuse."""
        _refuse("groups are those of this process, and keep nothing")

    async def claim(
        self,
        key: str | bytes,
        group: str | bytes,
        *,
        consumer: str | bytes,
        ids: Id | Iterable[Id] | None = None,
        min_idle: Duration = "1m",
        limit: int = 100,
    ) -> list[Message]:
        """Refuse."""
        _refuse("groups are those of this process, and keep nothing")

    async def ack(self, key: str | bytes, group: str | bytes, ids: Id | Iterable[Id]) -> int:
        """Refuse."""
        _refuse("groups are those of this process, and keep nothing")

    async def trim(
        self,
        key: str | bytes,
        *,
        max_len: int | None = None,
        before: When | None = None,
        exact: bool = False,
    ) -> int:
        """Refuse."""
        _refuse("it keeps no messages to remove")

    async def delete_group(
        self, key: str | bytes, group: str | bytes, *, pending: Pending = "refuse"
    ) -> int:
        """Refuse."""
        _refuse("groups are those of this process, and keep nothing")

    async def delete_consumer(
        self,
        key: str | bytes,
        group: str | bytes,
        consumer: str | bytes,
        *,
        pending: Pending = "refuse",
    ) -> int:
        """Refuse."""
        _refuse("groups are those of this process, and keep nothing")


def _refuse(why: str) -> NoReturn:
    raise Unsupported(
        f"{URL}: {why}; take messages as they come with streamer.consumer('KEY'), or relay them "
        "to a server or a file first"
    )
