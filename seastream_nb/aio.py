"""The awaiting facade: the same members as `sync.py`, on the caller's own event loop.

The work is done on the I/O thread, so it goes on while the caller's loop is busy. Cancelling an
await stops the work, waits for its cleanup, and leaves the connection usable.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from contextlib import aclosing, suppress
from math import inf
from types import TracebackType
from typing import Any, Literal, NoReturn, Self, Unpack

import pyarrow as pa

from seastream_nb import portal
from seastream_nb.builders import StreamBuilders, catalog_pattern, stream_query
from seastream_nb.checks import message_count
from seastream_nb.endpoints import ConsumerEndpoint, ProducerEndpoint, StreamerEndpoint
from seastream_nb.errors import StreamEnded
from seastream_nb.export.exporting import to_parquet
from seastream_nb.facade import (
    ConsumerMembers,
    ProducerMembers,
    ReplayMembers,
    StreamerMembers,
    wait_until,
)
from seastream_nb.file.exporting import to_ss
from seastream_nb.file.recording import record
from seastream_nb.leaving import AsyncBlock, noted_on
from seastream_nb.listing import Catalog
from seastream_nb.members import awaiting, awaiting_call, awaiting_iter
from seastream_nb.message import Message, Payload
from seastream_nb.notebook.browse.browsing import browse
from seastream_nb.notebook.browse.view import AsyncBrowser
from seastream_nb.notebook.live.view import AsyncLiveView, live
from seastream_nb.options import ConnectKwargs, ConsumerKwargs, Sharder
from seastream_nb.outgoing import Encoding, Frame, FrameMessages, send_from_thread
from seastream_nb.portal import bridge
from seastream_nb.quantities import Duration, Size
from seastream_nb.receipt import PendingReceipt
from seastream_nb.replay import ReplayCore
from seastream_nb.resending import replay_to
from seastream_nb.stream import StreamCore
from seastream_nb.streamer import Target, open_streamer
from seastream_nb.times import When

_NOT_YET = (
    "this is a connection to be made: await it first, as in "
    "streamer = await connect_async(...), or use async with"
)


def connect_async(target: Target = None, /, **options: Unpack[ConnectKwargs]) -> Connecting:
    """An `AsyncStreamer` on a server, by `await` or as the context of `async with`.

    The arguments and errors are those of `connect`.
    """
    return Connecting(target, options)


class Connecting:
    """A connection to be made: awaited, it is the streamer; as a context, it is closed too."""

    def __init__(self, target: Target, options: ConnectKwargs) -> None:
        # A closure, which shows none of what it holds: there may be a password.
        self._opening: Callable[[], Coroutine[Any, Any, StreamerEndpoint]] = lambda: open_streamer(
            target, options
        )
        self._streamer: AsyncStreamer | None = None

    async def _connect(self) -> AsyncStreamer:
        return AsyncStreamer(await bridge(self._opening()))

    def __getitem__(self, key: object) -> NoReturn:
        raise TypeError(_NOT_YET)

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"no {name!r} yet: {_NOT_YET}")

    def __await__(self) -> Generator[Any, None, AsyncStreamer]:
        return self._connect().__await__()

    async def __aenter__(self) -> AsyncStreamer:
        self._streamer = await self._connect()
        return self._streamer

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._streamer is not None
        with noted_on(error):
            await self._streamer.close()


class AsyncStreamer(StreamerMembers, AsyncBlock):
    """A connection to a place that holds streams. Any thread may use it."""

    _catalog = "await streamer.catalog()"

    async def catalog(self, pattern: str | None = None) -> Catalog:
        """The streams there are, or those whose key matches a glob pattern."""
        return Catalog(self.url, await bridge(self._core.catalog(catalog_pattern(pattern))))

    def stream(self, *keys: str | bytes) -> AsyncStream:
        """An `AsyncStream` over these keys, merged in time order; a missing one is empty."""
        return AsyncStream(StreamCore(self._core, stream_query(keys, self._core.options.tz)))

    def __getitem__(self, key: str | bytes) -> AsyncStream:
        return self.stream(key)

    async def producer(
        self,
        key: str | None = None,
        *,
        sharder: Sharder | None = None,
        idempotent: bool = False,
        durability: Literal["primary", "replica"] = "primary",
        max_queue: Size = "256MiB",
    ) -> AsyncProducer:
        """An `AsyncProducer`, anchored when a key is given.

        Args:
            key: the stream that `send` writes to.
            sharder: chooses the shard of each message; None: the plain key.
            idempotent: write each message exactly once, through broken connections and restarts.
            durability: "replica" waits, a batch, until a replica has the messages too.
            max_queue: how much may wait to be sent.

        Raises:
            ReadOnlyError, ConfigError, StreamKeyError: nothing was sent.
            AuthError: the ACL denies a right that `idempotent=True` or "replica" needs.
        """
        core = self._core.producer(
            key,
            sharder=sharder,
            idempotent=idempotent,
            durability=durability,
            max_queue=max_queue,
        )
        return AsyncProducer(await bridge(core))

    async def consumer(
        self, *keys: str | bytes, **options: Unpack[ConsumerKwargs]
    ) -> AsyncConsumer:
        """An `AsyncConsumer`, anchored before this returns; see `ConsumerOptions`."""
        return AsyncConsumer(await bridge(self._core.consumer(*keys, **options)))

    claim = awaiting(StreamerEndpoint.claim)
    ack = awaiting(StreamerEndpoint.ack)
    trim = awaiting(StreamerEndpoint.trim)
    delete_group = awaiting(StreamerEndpoint.delete_group)
    delete_consumer = awaiting(StreamerEndpoint.delete_consumer)
    close = awaiting(StreamerEndpoint.close)

    async def _leave(self, error: BaseException | None) -> None:
        await self.close()


class AsyncStream(StreamBuilders):
    """One immutable query over past and live messages; see the builders and terminals."""

    to_arrow = awaiting(StreamCore.to_arrow)
    to_pandas = awaiting(StreamCore.to_pandas)
    to_polars = awaiting(StreamCore.to_polars)
    to_duckdb = awaiting(StreamCore.to_duckdb)
    count = awaiting(StreamCore.count)
    info = awaiting(StreamCore.info)
    head = awaiting(StreamCore.head)
    tail = awaiting(StreamCore.tail)
    get = awaiting(StreamCore.get)
    rate = awaiting(StreamCore.rate)
    schema = awaiting(StreamCore.schema)
    groups = awaiting(StreamCore.groups)
    consumers = awaiting(StreamCore.consumers)
    pending = awaiting(StreamCore.pending)
    to_ss = awaiting_call(to_ss)
    record = awaiting_call(record)
    to_parquet = awaiting_call(to_parquet)
    replay_to = awaiting_call(replay_to)
    browse = awaiting_call(browse, AsyncBrowser)
    live = awaiting_call(live, AsyncLiveView)
    pages = awaiting_iter(StreamCore.pages)
    follow = awaiting_iter(StreamCore.follow)

    async def messages(self) -> AsyncIterator[Message]:
        """The messages, one by one, in time order."""
        async with aclosing(portal.iterate_awaiting(self._core.messages())) as pages:
            async for page in pages:
                for message in page:
                    yield message

    def __aiter__(self) -> AsyncIterator[Message]:
        return self.messages()

    def __iter__(self) -> NoReturn:
        raise TypeError("messages of an AsyncStream are waited for: async for message in stream")

    def replay(self, *, speed: float | None = 1.0) -> AsyncReplay:
        """The messages again, at their original pace times `speed`, shards merged.

        The end is pinned when the first message is asked for. What a loop's body is late is caught
        up with; pause before leaving the loop for longer.

        Args:
            speed: 2.0 is twice as fast as it was; None does not wait.

        Raises:
            ConfigError: a speed that is no number above 0.
        """
        return AsyncReplay(ReplayCore(self._core, speed))


class AsyncReplay(ReplayMembers, AsyncBlock):
    """Messages in time: iterated by one task, and steered by any, or by any thread.

    A cancelled wait loses nothing: the next one goes on, and stream time stood still.
    """

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        while (message := self._core.pop()) is None:
            if not await bridge(self._core.fill()):
                raise StopAsyncIteration
        return message

    async def seek(self, when: When) -> None:
        """Go to the first message at or after a time, a message or an id; it is due at once.

        The pinned ends stay, from which a relative time counts, and a pause stays one.

        Raises:
            ConfigError: `when` cannot be read; the replay stays where it is.
        """
        self._core.seek(when)

    close = awaiting(ReplayCore.close)

    async def _leave(self, error: BaseException | None) -> None:
        await self.close()


class AsyncProducer(ProducerMembers, AsyncBlock):
    """Sends messages; `send` queues at once, `flush` waits for the answers."""

    def send(self, payload: Payload, *, timestamp: When | None = None) -> PendingReceipt:
        """Queue a message for the anchored stream, at once.

        Args:
            payload: text, bytes, or a `Message`, whose payload is sent.
            timestamp: the entry's time; what is finer than its stream's unit is cut off. Left
                out: the server's clock.

        Raises:
            NotAnchored, ProducerClosed, ConfigError, TypeError: nothing was queued.
            QueueFull: more than `max_queue` bytes wait; `await producer.room()` first.
        """
        return self._core.send(payload, timestamp=timestamp)

    def send_to(
        self, key: str, payload: Payload, *, timestamp: When | None = None
    ) -> PendingReceipt:
        """Queue a message for any stream; as `send`."""
        return self._core.send_to(key, payload, timestamp=timestamp)

    room = awaiting(ProducerEndpoint.room)

    async def send_frame(
        self,
        frame: Frame,
        *,
        encoding: Encoding = "json",
        column: str | None = None,
        timestamp: str | None = None,
        shard: int | str | None = None,
    ) -> int:
        """Send a frame, one message a row; how many were acknowledged.

        Args:
            frame: anything that exports Arrow, read as it is sent; whole first with `timestamp`.
            encoding: "json": a row is one JSON object of its columns; "raw": one column's bytes.
            column: the column that "raw" sends, default `payload`.
            timestamp: the column with the entries' times; it is not in the payload.
            shard: a shard, or the column that holds it.

        Raises:
            ConfigError: times out of order (nothing was sent), or a value that cannot be sent.
            NotSent, MaybeSent: the first failure.
        """
        messages = FrameMessages(
            frame, encoding=encoding, column=column, timestamp=timestamp, shard=shard
        )
        count = await bridge(send_from_thread(messages, self._core))
        await self.flush()
        return count

    flush = awaiting(ProducerEndpoint.flush)
    end = awaiting(ProducerEndpoint.end)

    async def _leave(self, error: BaseException | None) -> None:
        await self.end()


class AsyncConsumer(ConsumerMembers, AsyncBlock):
    """Receives messages as they come.

    What is promised of each entry, in order within a shard, and what a fault changes:

    | mode | each entry is delivered | after a broken link, or a crash |
    | --- | --- | --- |
    | realtime | once, from the start or a seek on | goes on; after a crash nothing is known |
    | resumable | at least once for the group | again what was not committed, first |
    | load_balanced | at least once, to one consumer at a time | claimed by another consumer |

    What `auto_commit` means stands in `seastream_nb/committing.py`, and in the README.
    """

    async def next(self, timeout: Duration | None = None) -> Message:
        """The next message.

        Raises:
            TimeoutError: none came within `timeout`; nothing is lost.
            ConnectError: an outage lasted longer than the connection's timeout; the next call
                goes on where this one stopped.
            ServerError: such as a key of another type, with the server's text.
            StreamNotFound: of a group without `mkstream=True`; the next call looks again.
            StreamReset: a stream or its group was deleted; the next call goes on.
            StreamEnded: nothing more will come, as at the end of standard input; a loop ends then.
            ConsumerClosed: after `end`.
        """
        until = wait_until(timeout)
        self._core.ride()
        message = self._core.inbox.pop()
        while message is None:
            await bridge(self._core.fill(1, 1, until))
            message = self._core.inbox.pop()
        return message

    async def take(self, n: int, timeout: Duration | None = None) -> list[Message]:
        """N messages, or what has come when `timeout` has passed, possibly none.

        Raises:
            ConnectError, ServerError, StreamEnded, ConsumerClosed: as `next`; nothing is lost.
        """
        n = message_count(f"n={n!r}", n)
        until = wait_until(timeout)
        self._core.ride()
        if len(self._core.inbox) < n:
            with suppress(TimeoutError):
                await bridge(self._core.fill(n, n, until))
        return self._taken(n)

    async def page(
        self, max_messages: int | None = None, timeout: Duration | None = None
    ) -> pa.RecordBatch:
        """What is available as one record batch; waits for the first message up to `timeout`.

        It has the columns of `Stream.to_arrow`, and no row when nothing came in time.

        Raises:
            ConnectError, ServerError, StreamEnded, ConsumerClosed: as `next`; nothing is lost.
        """
        most = inf
        if max_messages is not None:
            most = message_count(f"max_messages={max_messages!r}", max_messages)
        until = wait_until(timeout)
        self._core.ride()
        if len(self._core.inbox) < most:
            with suppress(TimeoutError):
                await bridge(self._core.fill(1, most, until))
        return self._taken_batch(most)

    async def __aiter__(self) -> AsyncIterator[Message]:
        while True:
            for message in self._waiting():
                yield message
            try:
                message = await self.next()
            except StreamEnded:
                return
            yield message

    seek = awaiting(ConsumerEndpoint.seek)
    rewind = awaiting(ConsumerEndpoint.rewind)
    resume_group = awaiting(ConsumerEndpoint.resume_group)
    commit = awaiting(ConsumerEndpoint.commit)
    end = awaiting(ConsumerEndpoint.end)
    abort = awaiting(ConsumerEndpoint.abort)
    close = awaiting(ConsumerEndpoint.end)

    async def _leave(self, error: BaseException | None) -> None:
        await (self.end() if error is None else self.abort())
