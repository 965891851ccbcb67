"""The blocking facade, for notebooks and scripts. The work is done on the I/O thread.

Interrupting any call stops the work, waits for its cleanup, and leaves the connection usable.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from math import inf
from typing import Literal, Self, Unpack

import pyarrow as pa

from seastream_nb import portal
from seastream_nb.builders import StreamBuilders, catalog_pattern, stream_query
from seastream_nb.checks import message_count
from seastream_nb.endpoints import ConsumerEndpoint, ProducerEndpoint, StreamerEndpoint
from seastream_nb.errors import QueueFull, StreamEnded
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
from seastream_nb.leaving import Block
from seastream_nb.listing import Catalog
from seastream_nb.members import blocking, blocking_call, blocking_iter
from seastream_nb.message import Message, Payload, payload_bytes
from seastream_nb.notebook.browse.browsing import browse
from seastream_nb.notebook.browse.view import Browser
from seastream_nb.notebook.live.view import LiveView, live
from seastream_nb.options import ConnectKwargs, ConsumerKwargs, Sharder
from seastream_nb.outgoing import Encoding, Frame, FrameMessages, send_all, send_waiting
from seastream_nb.quantities import Duration, Size
from seastream_nb.receipt import PendingReceipt
from seastream_nb.replay import ReplayCore
from seastream_nb.resending import replay_to
from seastream_nb.stream import StreamCore
from seastream_nb.streamer import Target, open_streamer
from seastream_nb.times import When


def connect(target: Target = None, /, **options: Unpack[ConnectKwargs]) -> Streamer:
    """A `Streamer` on a server; one attempt, unless `wait=True`.

    Args:
        target: a URL (`redis://`, `rediss://`, `redis+unix://`, `file://`, `stdio://`), the `Path`
            of an `.ss` file, the name of a connection in `seastream.toml` or `pyproject.toml`, or
            "embedded:" for a private server of this process. Left out: `$SEASTREAM_URL`.
        **options: see `ConnectOptions`.

    Raises:
        ConfigError, StreamUrlError: a target or option that cannot be meant.
        ConnectError, AuthError: naming what was tried, without the password.
        FileError, FileFormatError: naming the file, and the byte offset of what is wrong.
    """
    opening = open_streamer(target, options)
    del target, options  # a traceback that shows variables must not show a password
    return Streamer(portal.run(opening))


class Streamer(StreamerMembers, Block):
    """A connection to a place that holds streams. Any thread may use it."""

    def catalog(self, pattern: str | None = None) -> Catalog:
        """The streams there are, or those whose key matches a glob pattern."""
        return Catalog(self.url, portal.run(self._core.catalog(catalog_pattern(pattern))))

    def stream(self, *keys: str | bytes) -> Stream:
        """A `Stream` over these keys, merged in time order; a missing one is empty."""
        return Stream(StreamCore(self._core, stream_query(keys, self._core.options.tz)))

    def __getitem__(self, key: str | bytes) -> Stream:
        return self.stream(key)

    def producer(
        self,
        key: str | None = None,
        *,
        sharder: Sharder | None = None,
        idempotent: bool = False,
        durability: Literal["primary", "replica"] = "primary",
        max_queue: Size = "256MiB",
    ) -> Producer:
        """A `Producer`, anchored when a key is given.

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
        return Producer(portal.run(core))

    def consumer(self, *keys: str | bytes, **options: Unpack[ConsumerKwargs]) -> Consumer:
        """A `Consumer`, anchored before this returns; see `ConsumerOptions`."""
        return Consumer(portal.run(self._core.consumer(*keys, **options)))

    claim = blocking(StreamerEndpoint.claim)
    ack = blocking(StreamerEndpoint.ack)
    trim = blocking(StreamerEndpoint.trim)
    delete_group = blocking(StreamerEndpoint.delete_group)
    delete_consumer = blocking(StreamerEndpoint.delete_consumer)
    close = blocking(StreamerEndpoint.close)

    def _leave(self, error: BaseException | None) -> None:
        self.close()


class Stream(StreamBuilders):
    """One immutable query over past and live messages; see the builders and terminals."""

    to_arrow = blocking(StreamCore.to_arrow)
    to_pandas = blocking(StreamCore.to_pandas)
    to_polars = blocking(StreamCore.to_polars)
    to_duckdb = blocking(StreamCore.to_duckdb)
    count = blocking(StreamCore.count)
    info = blocking(StreamCore.info)
    head = blocking(StreamCore.head)
    tail = blocking(StreamCore.tail)
    get = blocking(StreamCore.get)
    rate = blocking(StreamCore.rate)
    schema = blocking(StreamCore.schema)
    groups = blocking(StreamCore.groups)
    consumers = blocking(StreamCore.consumers)
    pending = blocking(StreamCore.pending)
    to_ss = blocking_call(to_ss)
    record = blocking_call(record)
    to_parquet = blocking_call(to_parquet)
    replay_to = blocking_call(replay_to)
    browse = blocking_call(browse, Browser)
    live = blocking_call(live, LiveView)
    pages = blocking_iter(StreamCore.pages)
    follow = blocking_iter(StreamCore.follow)

    def messages(self) -> Iterator[Message]:
        """The messages, one by one, in time order."""
        for page in portal.iterate(self._core.messages()):
            yield from page

    def __iter__(self) -> Iterator[Message]:
        return self.messages()

    def replay(self, *, speed: float | None = 1.0) -> Replay:
        """The messages again, at their original pace times `speed`, shards merged.

        The end is pinned when the first message is asked for. What a loop's body is late is caught
        up with; pause before leaving the loop for longer.

        Args:
            speed: 2.0 is twice as fast as it was; None does not wait.

        Raises:
            ConfigError: a speed that is no number above 0.
        """
        return Replay(ReplayCore(self._core, speed))


class Replay(ReplayMembers, Block):
    """Messages in time: iterated by one thread, and steered by any.

    An interrupted wait loses nothing: the next one goes on, and stream time stood still.
    """

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Message:
        while (message := self._core.pop()) is None:
            if not portal.run(self._core.fill()):
                raise StopIteration
        return message

    def seek(self, when: When) -> None:
        """Go to the first message at or after a time, a message or an id; it is due at once.

        Returns without waiting. The pinned ends stay, from which a relative time counts,
        and a pause stays one.

        Raises:
            ConfigError: `when` cannot be read; the replay stays where it is.
        """
        self._core.seek(when)

    close = blocking(ReplayCore.close)

    def _leave(self, error: BaseException | None) -> None:
        self.close()


class Producer(ProducerMembers, Block):
    """Sends messages; `send` queues at once, `flush` waits for the answers."""

    def send(self, payload: Payload, *, timestamp: When | None = None) -> PendingReceipt:
        """Queue a message for the anchored stream; waits only while the queue is full.

        Args:
            payload: text, bytes, or a `Message`, whose payload is sent.
            timestamp: the entry's time; what is finer than its stream's unit is cut off. Left
                out: the server's clock.

        Raises:
            NotAnchored, ProducerClosed, ConfigError, TypeError: nothing was queued.
            QueueFull: no room came within the connection's timeout.
        """
        try:
            return self._core.send(payload, timestamp=timestamp)
        except QueueFull:
            return self._send_waiting(self._core.own_stream(), payload, timestamp)

    def send_to(
        self, key: str, payload: Payload, *, timestamp: When | None = None
    ) -> PendingReceipt:
        """Queue a message for any stream; as `send`."""
        try:
            return self._core.send_to(key, payload, timestamp=timestamp)
        except QueueFull:
            return self._send_waiting(key, payload, timestamp)

    def _send_waiting(self, key: str, payload: Payload, timestamp: When | None) -> PendingReceipt:
        data = payload_bytes(payload)
        send = partial(self._core.send_to, key, data, timestamp=timestamp)
        return send_waiting(self._core, len(data), send)

    def send_frame(
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
        count = send_all(messages, self._core)
        self.flush()
        return count

    room = blocking(ProducerEndpoint.room)
    flush = blocking(ProducerEndpoint.flush)
    end = blocking(ProducerEndpoint.end)

    def _leave(self, error: BaseException | None) -> None:
        self.end()


class Consumer(ConsumerMembers, Block):
    """Receives messages as they come.

    What is promised of each entry, in order within a shard, and what a fault changes:

    | mode | each entry is delivered | after a broken link, or a crash |
    | --- | --- | --- |
    | realtime | once, from the start or a seek on | goes on; after a crash nothing is known |
    | resumable | at least once for the group | again what was not committed, first |
    | load_balanced | at least once, to one consumer at a time | claimed by another consumer |

    What `auto_commit` means stands in `seastream_nb/committing.py`, and in the README.
    """

    def next(self, timeout: Duration | None = None) -> Message:
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
            portal.run(self._core.fill(1, 1, until))
            message = self._core.inbox.pop()
        return message

    def take(self, n: int, timeout: Duration | None = None) -> list[Message]:
        """N messages, or what has come when `timeout` has passed, possibly none.

        Raises:
            ConnectError, ServerError, StreamEnded, ConsumerClosed: as `next`; nothing is lost.
        """
        n = message_count(f"n={n!r}", n)
        until = wait_until(timeout)
        self._core.ride()
        if len(self._core.inbox) < n:
            with suppress(TimeoutError):
                portal.run(self._core.fill(n, n, until))
        return self._taken(n)

    def page(
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
                portal.run(self._core.fill(1, most, until))
        return self._taken_batch(most)

    def __iter__(self) -> Iterator[Message]:
        while True:
            yield from self._waiting()
            try:
                message = self.next()
            except StreamEnded:
                return
            yield message

    seek = blocking(ConsumerEndpoint.seek)
    rewind = blocking(ConsumerEndpoint.rewind)
    resume_group = blocking(ConsumerEndpoint.resume_group)
    commit = blocking(ConsumerEndpoint.commit)
    end = blocking(ConsumerEndpoint.end)
    abort = blocking(ConsumerEndpoint.abort)
    close = blocking(ConsumerEndpoint.end)

    def _leave(self, error: BaseException | None) -> None:
        self.end() if error is None else self.abort()
