"""The plain members of what both facades give, streams apart: they never wait."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NoReturn

import pyarrow as pa

from seastream_nb import portal
from seastream_nb.arrow import base_column, base_type, default_columns
from seastream_nb.endpoints import ConsumerEndpoint, ProducerEndpoint, StreamerEndpoint
from seastream_nb.message import Message, MessageHeader
from seastream_nb.notebook import display
from seastream_nb.notebook.replay.view import ReplayControl
from seastream_nb.quantities import NS_PER_SECOND, Duration, parse_duration, whole
from seastream_nb.replay import ReplayCore
from seastream_nb.rows import Rows, message_rows


class StreamerMembers:
    """What a streamer does without waiting; the server knows which streams there are."""

    _catalog = "catalog()"

    def __init__(self, core: StreamerEndpoint) -> None:
        self._core = core

    @property
    def url(self) -> str:
        """Where this is connected, with the password as `***`."""
        return self._core.url

    @property
    def partial(self) -> pa.Table | None:
        """What the last interrupted whole-frame terminal had read."""
        return self._core.partial

    # Without these two, Python would ask for the streams 0, 1, 2 and so on.

    def __contains__(self, key: object) -> NoReturn:
        raise TypeError(f"whether there is a stream, only asking tells: {key!r} in {self._catalog}")

    def __iter__(self) -> NoReturn:
        raise TypeError(f"which streams there are, only asking tells: loop over {self._catalog}")

    def __repr__(self) -> str:
        return display.streamer_text(type(self).__name__, self._core)

    def _ipython_key_completions_(self) -> list[str]:
        return portal.run(self._core.completions())


class ProducerMembers:
    """What a producer does without waiting."""

    def __init__(self, core: ProducerEndpoint) -> None:
        self._core = core

    @property
    def anchored(self) -> str | None:
        """The stream that `send` writes to, or None."""
        return self._core.anchored

    def anchor(self, key: str) -> None:
        """Fix the stream that `send` writes to, once.

        Raises:
            AlreadyAnchored: it is fixed already.
            StreamKeyError: SeaStreamer forbids the key.
        """
        self._core.anchor(key)

    def __repr__(self) -> str:
        where = f"anchored to {self.anchored!r}" if self.anchored else "not anchored"
        return f"<{type(self).__name__} {where}>"


class ConsumerMembers:
    """What a consumer does without waiting. One thread at a time may use it."""

    def __init__(self, core: ConsumerEndpoint) -> None:
        self._core = core

    @property
    def stream_shards(self) -> list[tuple[str, int]]:
        """The assigned shards, as (stream key, shard)."""
        return self._core.stream_shards

    @property
    def group_id(self) -> str | None:
        """The consumer group; None in realtime mode, which has none."""
        options = self._core.options
        return None if options.mode == "realtime" else options.group

    @property
    def consumer_id(self) -> str | None:
        """The name in the group; None in realtime mode."""
        options = self._core.options
        return None if options.mode == "realtime" else options.consumer_id

    def assign(self, key: str | bytes, shard: int) -> None:
        """Read this shard too, from the next seek, rewind or return to the group on.

        Raises:
            ConfigError: the consumer was not created on this stream.
        """
        self._core.assign(key, _shard(shard))

    def unassign(self, key: str | bytes, shard: int) -> None:
        """Stop reading this shard, from the next seek, rewind or return to the group on.

        Raises:
            ConfigError: the shard is not assigned.
        """
        self._core.unassign(key, _shard(shard))

    def ack(self, message: Message | MessageHeader) -> None:
        """Mark a message as done, for a later commit; in realtime mode nothing comes of it.

        Raises:
            AckNotAllowed: auto_commit="delayed" does it, or the message is of another stream.
        """
        self._core.ack(message)

    def commit_asap(self) -> None:
        """Commit what is acknowledged soon, without waiting; never refused."""
        self._core.commit_asap()

    def _waiting(self) -> Iterator[Message]:
        """Take message after message, as long as some wait, without a hop between threads."""
        core, inbox = self._core, self._core.inbox
        rides = core.rides
        for message in inbox:
            yield message
            if rides:
                core.ride()
            if core.inbox is not inbox:  # the loop's body sought
                return

    def _taken(self, most: int) -> list[Message]:
        """Up to `most` messages that came."""
        inbox = self._core.inbox
        messages, place = inbox.look(most)
        inbox.go_on(place)
        return messages

    def _taken_batch(self, most: float) -> pa.RecordBatch:
        """The same as one record batch; they are taken when the batch is made."""
        inbox = self._core.inbox
        columns, place = inbox.columns(most)
        batch = self._batch(message_rows(*columns))
        inbox.go_on(place)
        return batch

    def _batch(self, rows: Rows) -> pa.RecordBatch:
        options = self._core.connection
        names = default_columns((), payload=True, with_id=False)
        return pa.RecordBatch.from_arrays(
            [base_column(name, rows, options.unit_ns, options.tz) for name in names],
            schema=pa.schema([(n, base_type(n, options.unit_ns, options.tz)) for n in names]),
        )

    def __repr__(self) -> str:
        shards = ", ".join(f"{key}:{shard}" for key, shard in self.stream_shards)
        options = self._core.options
        group = "" if options.mode == "realtime" else f" in group {options.group!r}"
        return f"<{type(self).__name__} {options.mode} {display.brief(shards)}{group}>"


class ReplayMembers:
    """How a replay is steered: by any thread, also while another one iterates."""

    def __init__(self, core: ReplayCore) -> None:
        self._core = core
        # Whoever breaks out of a loop leaves pages behind, and a link that reads them.
        weakref.finalize(self, _abandon, core).atexit = False
        self._control: ReplayControl | None = None

    @property
    def speed(self) -> float | None:
        """How many times as fast as it was; None does not wait. It may be set at any time."""
        return self._core.speed

    @speed.setter
    def speed(self, speed: float | None) -> None:
        self._core.speed = speed

    @property
    def paused(self) -> bool:
        """Whether it stands still until `resume`."""
        return self._core.paused

    @property
    def position(self) -> MessageHeader | None:
        """Where the last message stands that was handed out; None before the first."""
        return self._core.position

    def pause(self) -> None:
        """Hand out nothing more, until `resume`."""
        self._core.pause()

    def resume(self) -> None:
        """Go on where the pause began."""
        self._core.resume()

    def control(
        self, *, rows: int = 20, on_messages: Callable[[list[Message]], object] | None = None
    ) -> ReplayControl:
        """Buttons for a notebook: play, pause, speed, position, and the last rows.

        What a cell shows plays in the background, which takes the messages: nothing else may
        iterate meanwhile. A script calls `play`, or `wait`, which blocks. Asked for again, it is
        the same control.

        Args:
            rows: how many messages are kept and shown, the newest first.
            on_messages: called with each list of messages that came due, in a thread of its own;
                the next ones wait until it returns.

        Raises:
            ConfigError: `rows` is no number from 0 to 1,000.
        """
        control = self._control or ReplayControl(self._core, self)
        control.arrange(rows=rows, on_messages=on_messages)
        self._control = control
        return control

    def __repr__(self) -> str:
        speed = "without waiting" if self.speed is None else f"at speed {self.speed:g}"
        where = "" if self.position is None else f", at {self.position.id}"
        return f"<{type(self).__name__} {speed}{where}{', paused' * self.paused}>"


def _abandon(core: ReplayCore) -> None:
    with suppress(RuntimeError):  # Python is exiting
        portal.spawn(core.close())


def wait_until(timeout: Duration | None) -> float | None:
    """When a wait of this length ends, on the monotonic clock; 0 does not wait.

    Raises:
        ConfigError: it is no duration.
    """
    if timeout is None:
        return None
    seconds = 0 if timeout == 0 else parse_duration(timeout) / NS_PER_SECOND
    return time.monotonic() + seconds


def _shard(given: int) -> int:
    """The int of a shard out of a frame; anything else is left to be refused."""
    shard = whole(given)
    return given if shard is None else shard
