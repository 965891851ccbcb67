"""Replaying into another stream: the same messages under their old ids, or as new ones.

    a pinned stream ─► a replay ─► the queue of a producer ─► receipts

Before the first message is sent, the ids that are to come are held against the last id of every
shard that they go to: a stream only grows at its end.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager, ExitStack, aclosing, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from seastream_nb.checks import named, one_of
from seastream_nb.endpoints import ProducerEndpoint
from seastream_nb.errors import AuthError, ConfigError, QueueFull
from seastream_nb.facade import ProducerMembers
from seastream_nb.keys import EntryId, key_bytes, key_text, shard_key
from seastream_nb.message import Message, Origin
from seastream_nb.pacing import check_speed
from seastream_nb.progress import Progress
from seastream_nb.query import Pinned, plan
from seastream_nb.reading import Reading
from seastream_nb.receipt import PendingReceipt
from seastream_nb.replay import ReplayCore
from seastream_nb.stream import StreamCore
from seastream_nb.targets import opened_at

# A stream, and its shard; None is the plain key.
Place = tuple[str, int | None]

Timestamps = Literal["original", "now"]


@dataclass(frozen=True)
class ReplayReport:
    """What a replay sent, all of it acknowledged.

    Attributes:
        messages: how many.
        bytes: bytes of their payloads.
        first_id, last_id: the ids that the first and the last of them have now; None if there
            was none.
        seconds: how long it took.
    """

    messages: int
    bytes: int
    first_id: str | None
    last_id: str | None
    seconds: float


Target = ProducerMembers | str | Path


def replay_to(  # noqa: D417 - the first one is the facade's self
    stream: StreamCore,
    target: Target,
    *,
    speed: float | None = 1.0,
    timestamps: Timestamps = "original",
    progress: bool | None = None,
) -> Coroutine[Any, Any, ReplayReport]:
    """Send the messages again, into a producer's stream or another server's.

    Several streams keep their keys, and shards stay what they were. Sending is paced by the
    target's queue too.

    Args:
        target: a `Producer`, or the URL of a stream: `redis://host/key`, `redis://host/db/key`.
            Without a key, streams keep theirs. Of a file, its path will do; it is made where
            there is none.
        speed: as of `replay`; None sends as fast as can be.
        timestamps: "original" keeps the ids; "now" lets the target give new ones.
        progress: whether to show a bar; left out, where somebody watches.

    Raises:
        ConfigError: ids do not fit behind those of the target, or an argument that cannot be
            meant; nothing was sent.
        NotSent, MaybeSent: the first failure; what was sent before it stays.
    """
    # What is returned holds no text of the target, which may have a password.
    named("timestamps", timestamps, one_of("original", "now"))
    resending = _Resending(stream, check_speed(speed), original=timestamps == "original")
    if isinstance(target, ProducerMembers):
        return resending.run(nullcontext(target._core), progress)
    return resending.run(opened_at(target, stream.source.options), progress)


class _Resending:
    """One replay into a target."""

    def __init__(self, stream: StreamCore, speed: float | None, *, original: bool) -> None:
        self._stream = stream
        self._speed = speed
        self._original = original
        self._sender: ProducerEndpoint
        self._last: dict[Place, EntryId] = {}
        self._unanswered: deque[tuple[PendingReceipt, int]] = deque()
        self._messages = self._bytes = 0
        self._ids: list[str] = []

    async def run(
        self, opened: AbstractAsyncContextManager[ProducerEndpoint], progress: bool | None
    ) -> ReplayReport:
        """Send everything, and wait for the answers."""
        began = time.monotonic()
        async with opened as self._sender:
            await self._sender.flush()
            pinned = await self._stream.pinned()
            await self._check(pinned)
            pinned_stream = self._stream.on(self._stream.query.pin(pinned))
            await self._send_all(ReplayCore(pinned_stream, self._speed), progress)
            while self._unanswered:
                await self._answer()
        return ReplayReport(
            messages=self._messages,
            bytes=self._bytes,
            first_id=self._ids[0] if self._ids else None,
            last_id=self._ids[-1] if self._ids else None,
            seconds=time.monotonic() - began,
        )

    # Before anything is sent.

    async def _check(self, pinned: Pinned) -> None:
        """Refuse what cannot be sent.

        Raises:
            ConfigError: several streams into one, ids of another unit, or ids that do not fit.
            StreamKeyError: SeaStreamer forbids a key.
        """
        keys = self._stream.query.keys
        if self._sender.anchored is not None and len(keys) > 1:
            raise ConfigError(
                f"replaying {len(keys)} streams into {self._sender.anchored!r} would make them "
                "one: replay each by itself, or give a target without a key"
            )
        if not self._original:
            return
        if self._sender.connection.unit_ns != self._stream.source.options.unit_ns:
            raise ConfigError(
                "the ids of the target count another unit of time: connect with the same "
                "timestamp_format, or give timestamps='now'"
            )
        ranges = plan(self._stream.query, pinned).ranges
        places = list(dict.fromkeys(self._place(each.origin) for each in ranges))
        try:
            ends = zip(places, await self._sender.ends(places), strict=True)
        except AuthError:
            return  # who may only write cannot look: the server refuses what does not fit
        taken = {place: end for place, end in ends if end is not None}
        if taken:
            for place, first in (await self._firsts(pinned, set(taken))).items():
                if first <= taken[place]:
                    raise _unfitting(place, taken[place], first)

    async def _firsts(self, pinned: Pinned, wanted: set[Place]) -> dict[Place, EntryId]:
        """The first id that would be sent to each of these places."""
        query = self._stream.query
        whole = Reading(self._stream.source, query, pinned)
        whole.quiet = True  # sending reads it again
        if query.first is not None or query.last is not None:
            # Which shard gives how many of the counted messages, only reading tells.
            return await self._first_of(whole, wanted)
        found: dict[Place, EntryId] = {}
        for each in whole.plan.ranges:
            place = self._place(each.origin)
            if place in wanted:
                one = Reading(self._stream.source, query, pinned)
                one.quiet = True
                one.plan = replace(whole.plan, ranges=(each,))
                for first in (await self._first_of(one, {place})).values():
                    found[place] = min(first, found.get(place, first))
        return found

    async def _first_of(self, reading: Reading, wanted: set[Place]) -> dict[Place, EntryId]:
        found: dict[Place, EntryId] = {}
        async with aclosing(reading.shaped(self._stream.shaper())) as parts:
            async for rows, _ in parts:
                for number, origin in enumerate(rows.origins):
                    at = np.flatnonzero(rows.origin == number)[:1]
                    if len(at):
                        found.setdefault(self._place(origin), rows.entry_id(int(at[0])))
                if wanted <= found.keys():
                    break
        return {place: first for place, first in found.items() if place in wanted}

    def _place(self, origin: Origin) -> Place:
        key = self._sender.anchored or origin.stream
        plain = origin.shard == 0 and origin.key == key_bytes(origin.stream)
        # Only shard 0 may stand on the plain key, unless a sharder says that there are shards.
        return key, None if plain and self._sender.options.sharder is None else origin.shard

    # Sending.

    async def _send_all(self, replay: ReplayCore, progress: bool | None) -> None:
        try:
            with ExitStack() as shown:
                while await replay.fill():
                    if progress is not False and replay.reading is not None:
                        shown.enter_context(Progress(replay.reading, progress))
                        progress = False
                    while (message := replay.pop()) is not None:
                        await self._send(message)
                    while self._unanswered and self._unanswered[0][0].done:
                        await self._answer()
        finally:
            await replay.close()

    async def _send(self, message: Message) -> None:
        place = self._place(message.origin)
        entry_id = None
        if self._original:
            last = self._last.get(place)
            if last is not None and message.entry_id <= last:
                sent = self._messages + len(self._unanswered)
                raise ConfigError(
                    f"entry {message.id} of {message.stream!r} cannot follow {last}: an id stands "
                    f"for one message in a shard; give timestamps='now' ({sent:,} messages before "
                    "it were sent)"
                )
            self._last[place] = message.entry_id
            entry_id = self._sender.full_id(message.entry_id)
        while True:
            with suppress(QueueFull):
                receipt = self._sender.queue(place[0], message.payload, entry_id, place[1])
                break
            await self._room(message.size)
        self._unanswered.append((receipt, message.size))

    async def _room(self, size: int) -> None:
        while self._unanswered and self._unanswered[0][0].done:
            await self._answer()
        timeout = self._sender.connection.timeout
        try:
            await self._sender.room(size, timeout)
        except TimeoutError as error:
            reason = str(error) or "what waits is not answered yet"
            raise QueueFull(f"no room came within {timeout:g} s: {reason}") from None

    async def _answer(self) -> None:
        """Wait for the oldest answer.

        Raises:
            NotSent, MaybeSent: it is none.
        """
        pending, size = self._unanswered.popleft()
        receipt = await pending
        self._messages += 1
        self._bytes += size
        self._ids[1:] = [receipt.id]


def _unfitting(place: Place, last: EntryId, first: EntryId) -> ConfigError:
    key, shard = place
    name = key if shard is None else key_text(shard_key(key, shard))
    return ConfigError(
        f"replaying into {name!r}: its last id {last} is not before {first}, the first to be sent, "
        "and a stream only grows at its end: give timestamps='now', another stream, or "
        "since() to leave out what is there; nothing was sent"
    )
