"""Relaying: messages of one place sent on to another, each with a new header.

    consumer ─► message ─► producer ─► receipt ─► ack

A message of a group is acknowledged when the output has it, and not before: what a crash leaves
in between comes again. What was sent is waited for, however the relay ends.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, Literal

from seastream_nb import portal
from seastream_nb.checks import named, one_of
from seastream_nb.endpoints import ConsumerEndpoint, ProducerEndpoint, StreamerEndpoint
from seastream_nb.errors import (
    ConfigError,
    MaybeSent,
    NotSent,
    QueueFull,
    StreamEnded,
    StreamError,
)
from seastream_nb.message import Message
from seastream_nb.receipt import PendingReceipt
from seastream_nb.streamer import open_streamer
from seastream_nb.url import StreamerUri, StreamUrl, split_keys

Offset = Literal["start", "end"]
Mode = Literal["load_balanced", "resumable"]
Opening = Callable[[], Coroutine[Any, Any, StreamerEndpoint]]

# Messages that are taken at a time, and that are sent and not answered yet.
BATCH = 1_000
MOST_IN_FLIGHT = 10_000
# What waits to be sent, in bytes.
MOST_QUEUED = 64 * 2**20
# How long a message is waited for before the receipts that came, and the commits that are due.
LOOK_SECONDS = 0.1
IDLE_SECONDS = 1.0


class Relay:
    """A relay between two URLs, for a command that runs until its input ends or it is stopped.

    Attributes:
        messages: how many the output has acknowledged.

    Args:
        source: a URL with the keys of streams, as `redis://localhost/ticks,trades`.
        target: a URL with the key of one stream.
        offset: "start" begins with the oldest message that is there, "end" with what comes.
        group: go on where this consumer group stopped; `offset` counts where it is new.
        mode: of a group: "load_balanced" shares the input with its other relays, and takes what a
            dead one left after a minute; "resumable" is for one relay, and begins with that.
        source_options, target_options: for connecting, as those of `connect`.

    Raises:
        StreamUrlError, StreamKeyError: a URL that cannot be read, or without the keys.
        ConfigError: the output is one of the inputs.
    """

    def __init__(
        self,
        source: str,
        target: str,
        *,
        offset: Offset = "end",
        group: str | None = None,
        mode: Mode = "load_balanced",
        source_options: Mapping[str, Any] | None = None,
        target_options: Mapping[str, Any] | None = None,
    ) -> None:
        self.messages = 0
        self._offset: Offset = named("offset", offset, one_of("start", "end"))
        self._group = group
        self._mode: Mode = named("mode", mode, one_of("load_balanced", "resumable"))
        inputs, output = StreamUrl.parse(source), StreamUrl.parse(target)
        if not inputs.keys:
            raise ConfigError(f"relaying {inputs}: name the streams after its last slash")
        self._keys, self._key = inputs.keys, output.key
        if output.key in inputs.keys and _same_place(inputs.streamer, output.streamer):
            raise ConfigError(
                f"relaying {inputs} to {output}: what is sent would come back without end"
            )
        # Closures, which show none of the passwords that they hold.
        self._open_source: Opening = lambda: open_streamer(
            split_keys(source)[0], source_options or {}
        )
        self._open_target: Opening = lambda: open_streamer(
            split_keys(target)[0], target_options or {}
        )

    async def run(self) -> int:
        """Relay until the input ends; how many messages the output acknowledged.

        Cancelling it waits for the receipts of what was sent, and acknowledges that.

        Raises:
            ConnectError, AuthError: of either side.
            NotSent, MaybeSent: the first message that the output does not have for sure.
            ConfigError: a message that the output cannot hold, naming it.
        """
        async with AsyncExitStack() as stack:
            source = await self._open_source()
            stack.push_async_callback(source.close)
            target = await self._open_target()
            stack.push_async_callback(target.close)
            running = await Running.start(
                source,
                self._keys,
                target,
                self._key,
                offset=self._offset,
                group=self._group,
                mode=self._mode,
            )
            try:
                await running.run()
            finally:
                self.messages = running.messages
        return self.messages

    def run_blocking(self) -> int:
        """`run`, while this thread waits; an interrupt stops it as cancelling does."""
        return portal.run(self.run())


class Running:
    """Messages on their way from a consumer to a producer.

    Attributes:
        messages: how many the producer has receipts of.
    """

    def __init__(
        self, consumer: ConsumerEndpoint, producer: ProducerEndpoint, *, acks: bool
    ) -> None:
        self.messages = 0
        self._consumer = consumer
        self._producer = producer
        self._acks = acks
        self._in_flight: deque[tuple[Message, PendingReceipt]] = deque()

    @classmethod
    async def start(
        cls,
        source: StreamerEndpoint,
        keys: Sequence[str],
        target: StreamerEndpoint,
        key: str,
        *,
        offset: Offset = "end",
        group: str | None = None,
        mode: Mode = "load_balanced",
    ) -> Running:
        """A relay between two streamers: what comes after this returns is relayed by `run`."""
        # The output first: without it, no group is made.
        producer = await target.producer(key, max_queue=MOST_QUEUED)
        options: dict[str, Any] = {
            "auto_stream_reset": "earliest" if offset == "start" else "latest"
        }
        if group is not None:
            options |= {"mode": mode, "group": group, "auto_commit": "rolling"}
        consumer = await source.consumer(*keys, **options)
        return cls(consumer, producer, acks=group is not None)

    async def run(self) -> None:
        """Relay until the input ends, or a failure; what was sent is answered then."""
        try:
            while True:
                await self._step()
        except StreamEnded:
            await self._finish()
        except BaseException:
            with suppress(StreamError):  # the first one is the reason
                await self._finish()
            raise

    async def _step(self) -> None:
        """Send what came, and look at the receipts."""
        self._consumer.ride()
        patience = LOOK_SECONDS if self._in_flight else IDLE_SECONDS
        with suppress(TimeoutError):
            until = asyncio.get_running_loop().time() + patience
            await self._consumer.fill(1, BATCH, until)
        messages, place = self._consumer.inbox.look(BATCH)
        self._consumer.inbox.go_on(place)
        for message in messages:
            await self._send(message)
        while self._in_flight and self._in_flight[0][1].done:
            await self._settle()

    async def _send(self, message: Message) -> None:
        while len(self._in_flight) >= MOST_IN_FLIGHT:
            await self._settle()
        while True:
            try:
                pending = self._producer.send(message)
            except QueueFull:
                await self._producer.room(message.size)
            except ConfigError as error:
                raise ConfigError(f"entry {message.id} of {message.stream!r}: {error}") from None
            else:
                self._in_flight.append((message, pending))
                return

    async def _settle(self) -> None:
        """Wait for the oldest receipt, and acknowledge its message."""
        message, pending = self._in_flight.popleft()
        await pending
        self.messages += 1
        if self._acks:
            self._consumer.ack(message)

    async def _finish(self) -> None:
        """Wait for all receipts, and commit; what was not sent stays with the group."""
        failures: list[StreamError] = []
        while self._in_flight:
            try:
                await self._settle()
            except (NotSent, MaybeSent) as error:
                failures.append(error)
        await self._consumer.end()
        if failures:
            raise failures[0]


def _same_place(one: StreamerUri, other: StreamerUri) -> bool:
    """Whether two URLs certainly lead to the same streams; stdin and stdout are two places."""
    if "stdio" in (one.scheme, other.scheme):
        return False
    if one.scheme == other.scheme == "file":
        return Path(one.path).resolve() == Path(other.path).resolve()
    places = [(each.nodes, each.path, each.db or 0) for each in (one, other)]
    return places[0] == places[1]
