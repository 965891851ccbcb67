"""What a backend's streamers, producers and consumers do for the facades.

The text of these methods is what `help` shows of a facade's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, Protocol

from seastream_nb.backend import RangeSource, StreamInfo
from seastream_nb.inbox import Inbox
from seastream_nb.keys import EntryId, SeqPos
from seastream_nb.message import Message, MessageHeader, Payload
from seastream_nb.options import ConnectOptions, ConsumerOptions, ProducerOptions
from seastream_nb.quantities import Duration
from seastream_nb.receipt import PendingReceipt
from seastream_nb.times import When

Id = str | bytes | EntryId | Message | MessageHeader
Pending = Literal["refuse", "drop"]


class ProducerEndpoint(Protocol):
    """The asynchronous core of a producer; what does not wait may be called from any thread."""

    options: ProducerOptions

    @property
    def connection(self) -> ConnectOptions:
        """How it is connected."""

    @property
    def anchored(self) -> str | None:
        """The stream that `send` writes to, or None."""

    def anchor(self, key: str) -> None:
        """Fix the stream that `send` writes to.

        Raises:
            AlreadyAnchored: it is fixed already.
            StreamKeyError: SeaStreamer forbids the key.
        """

    def own_stream(self) -> str:
        """The anchored stream.

        Raises:
            NotAnchored: there is none.
        """

    def send(self, payload: Payload, *, timestamp: When | None = None) -> PendingReceipt:
        """Queue a message for the anchored stream, without waiting for the network."""

    def send_to(
        self, key: str, payload: Payload, *, timestamp: When | None = None
    ) -> PendingReceipt:
        """Queue a message for any stream.

        Raises:
            QueueFull: more than `max_queue` bytes wait to be sent.
            ProducerClosed: after `end`.
            StreamKeyError, ConfigError, TypeError: what cannot be sent is refused before it is
                queued.
        """

    def queue(
        self, key: str, data: bytes, entry_id: bytes | None, shard: int | None = None
    ) -> PendingReceipt:
        """Queue what is checked; `shard` overrides the sharder, an id of None is the server's."""

    def tick_id(self, tick: int) -> bytes:
        """The id that leaves the second number to the server.

        Raises:
            Unsupported: the server needs full ids.
        """

    def full_id(self, entry_id: EntryId) -> bytes:
        """What `queue` takes to give a message the id that it has elsewhere."""

    async def ends(self, places: Sequence[tuple[str, int | None]]) -> list[EntryId | None]:
        """The last id that each of these streams and shards ever gave out; None where none was.

        Raises:
            StreamKeyError: SeaStreamer forbids a key.
        """

    async def room(self, size: int = 0, timeout: Duration | None = None) -> None:
        """Wait until half of the queue is free, and there is room for `size` bytes of payload.

        Raises:
            TimeoutError: after `timeout` seconds, or when the server was silent for so long that
                what waited has failed.
        """

    async def flush(self) -> None:
        """Wait until every earlier send is answered.

        Raises:
            NotSent, MaybeSent: the first failure of a send that nobody has seen yet.
        """

    async def end(self) -> None:
        """Flush, then close; later sends raise `ProducerClosed`. Ending twice is fine.

        Raises:
            NotSent, MaybeSent: as `flush`.
        """


class ConsumerEndpoint(Protocol):
    """The asynchronous core of a consumer; one thread at a time takes from its inbox."""

    options: ConsumerOptions
    inbox: Inbox

    @property
    def connection(self) -> ConnectOptions:
        """How it is connected."""

    @property
    def stream_shards(self) -> list[tuple[str, int]]:
        """The assigned shards, as (stream key, shard)."""

    @property
    def rides(self) -> bool:
        """Whether commits ride on the calls that take messages."""

    def assign(self, key: str | bytes, shard: int) -> None:
        """Read this shard too, from the next seek, rewind or return to the group on.

        Raises:
            ConfigError: the consumer was not created on this stream, or it has no such shard.
        """

    def unassign(self, key: str | bytes, shard: int) -> None:
        """Stop reading this shard, from the next seek, rewind or return to the group on.

        Raises:
            ConfigError: the shard is not assigned.
        """

    async def seek(self, when: When | int) -> None:
        """Go to a time in all assigned shards: the first message strictly later is next.

        A time skips its whole tick, as SeaStreamer does; an id or a message skips itself. An int
        is a message's `timestamp_ns`. A group stays where it is: what is read from here on is not
        acknowledged for it, until `resume_group`.

        Raises:
            ConfigError: `when` cannot be read; the consumer stays where it is.
        """

    async def rewind(self, to: SeqPos) -> None:
        """Go to the beginning, the end, or the message after a sequence number; as `seek`.

        Raises:
            ConfigError: `to` is none of these; the consumer stays where it is.
        """

    async def resume_group(self) -> None:
        """After a seek or rewind: go on where the group was, with all that was not taken then.

        Raises:
            ConfigError: a consumer in realtime mode has no group.
        """

    async def fill(self, least: float, most: float, until: float | None) -> None:
        """Wait until the inbox holds `least` messages; put in more, up to `most`, if they came.

        Args:
            least: how many messages to wait for.
            most: how many to have; what came together is put in together.
            until: when to give up, on the monotonic clock.

        Raises:
            TimeoutError: what came is in the inbox.
            ConnectError: an outage lasted longer than the connection's timeout; asking again
                goes on where reading stopped.
            ServerError: such as a key of another type, with the server's text.
            StreamReset: a stream or its group was deleted; asking again goes on.
            StreamEnded: nothing more will come, and the inbox is empty. While it holds the last
                messages, this returns at once, however few they are.
        """

    def ride(self) -> None:
        """A call takes messages; called by the user's thread, before it does."""

    def ack(self, message: Message | MessageHeader) -> None:
        """Mark a message as done; only a group that does not do it itself makes use of it.

        Raises:
            AckNotAllowed: with auto_commit="delayed", or a message of a stream that this consumer
                does not read.
        """

    async def commit(self) -> None:
        """Commit what is acknowledged, and return when the server has it.

        Raises:
            CommitNotAllowed: with auto_commit="delayed" or "rolling", and in realtime mode.
            ConnectError: the server was away for the whole timeout; nothing is forgotten.
        """

    def commit_asap(self) -> None:
        """Commit what is due soon, without waiting; refused in no mode."""

    async def end(self) -> None:
        """Commit everything that is acknowledged, and stop reading. Ending twice is fine.

        Raises:
            ConnectError: the server was away; the messages of the last acks will come again.
        """

    async def abort(self) -> None:
        """Stop reading, and commit nothing more: what was not committed will come again."""


class StreamerEndpoint(RangeSource, Protocol):
    """The asynchronous core of a streamer."""

    async def catalog(self, pattern: str | None = None) -> list[StreamInfo]:
        """Every stream whose key matches a glob pattern, shards folded together."""

    async def completions(self) -> list[str]:
        """Stream keys for the Tab key; none when the server is slow or refuses."""

    async def producer(self, key: str | None = None, **options: Any) -> ProducerEndpoint:
        """A producer, anchored when a key is given.

        Raises:
            ReadOnlyError: the connection is read-only.
            ConfigError, StreamKeyError: an option or key that cannot be meant.
        """

    async def consumer(self, *keys: str | bytes, **options: Any) -> ConsumerEndpoint:
        """A consumer of these streams, anchored before this returns.

        Raises:
            ConfigError: no key, or an option that cannot be meant.
        """

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
        """Take pending entries of a group over; they are `consumer`'s then, and not acknowledged.

        Entries without the message field are claimed and not returned. Deleted ones are not
        returned, and forgotten; only Redis 6.2 keeps them pending until `ack`.

        Args:
            key: the stream; all its shards are searched.
            group: the group's name.
            consumer: who has them from now on; made if it does not exist.
            ids: only these, whatever the limit; `ack` says in which shards.
            min_idle: only what was given out so long ago, or earlier; 0 takes all.
            limit: without `ids`, at most so many entries.

        Raises:
            StreamNotFound, GroupNotFound: there is no such stream or group; nothing was claimed.
            ConfigError: an argument that cannot be meant.
            ConnectError: the link broke, and entries may have been claimed: `pending` tells.
            ReadOnlyError: the connection is read-only.
        """

    async def ack(self, key: str | bytes, group: str | bytes, ids: Id | Iterable[Id]) -> int:
        """Acknowledge entries of a group, whoever has them; how many were pending.

        Args:
            key: the stream.
            group: the group's name.
            ids: ids as text or `EntryId`, messages, or headers. A message knows its shard; another
                id is acknowledged in every shard where it is pending.

        Raises:
            StreamNotFound, GroupNotFound: there is no such stream or group.
            ConfigError: what is no id, or a message of another stream; nothing was acknowledged.
            ConnectError: the link broke, and some may have been acknowledged; doing it again is
                harmless.
            ReadOnlyError: the connection is read-only.
        """

    async def trim(
        self,
        key: str | bytes,
        *,
        max_len: int | None = None,
        before: When | None = None,
        exact: bool = False,
    ) -> int:
        """Remove the oldest entries of every shard, for good; how many.

        Groups that were not given them yet never get them, and what is pending loses its payload.

        Args:
            key: the stream.
            max_len: keep the newest so many entries of each shard.
            before: keep entries stamped exactly so, or later; those of `since(before)`.
            exact: remove all that is meant. Otherwise whole blocks only, of about a hundred
                entries, which is much cheaper; fewer are removed then, never more.

        Raises:
            StreamNotFound: there is no such stream.
            ConfigError: both bounds or none, or one that cannot be meant.
            ConnectError: the link broke, and some may have been removed; doing it again is
                harmless.
            ReadOnlyError: the connection is read-only.
        """

    async def delete_group(
        self, key: str | bytes, group: str | bytes, *, pending: Pending = "refuse"
    ) -> int:
        """Delete a group from every shard; how many pending entries were dropped with it.

        With `pending="refuse"`, a group that has any is kept. Looking and deleting are two steps:
        what is given out between them is dropped.

        Raises:
            StreamNotFound, GroupNotFound: there is no such stream or group.
            ConfigError: entries are pending, naming how many; nothing was deleted.
            ConnectError: the link broke, and the group may have been deleted from some shards.
            ReadOnlyError: the connection is read-only.
        """

    async def delete_consumer(
        self,
        key: str | bytes,
        group: str | bytes,
        consumer: str | bytes,
        *,
        pending: Pending = "refuse",
    ) -> int:
        """Delete a consumer of a group in every shard; how many pending entries were dropped.

        With `pending="refuse"`, a consumer that has any is kept: claim them for another first.
        Looking and deleting are two steps: what it is given between them is dropped.

        Raises:
            StreamNotFound, GroupNotFound: there is no such stream, group or consumer.
            ConfigError: entries are pending, naming how many; nothing was deleted.
            ConnectError: the link broke, and the consumer may have been deleted in some shards.
            ReadOnlyError: the connection is read-only.
        """

    async def close(self) -> None:
        """Flush the producers, end the consumers, disconnect. Closing twice is fine.

        Raises:
            NotSent, MaybeSent: the first failed send that nobody has seen.
        """
