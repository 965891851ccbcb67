"""Messages again in time: read by pages, and handed out when each is due.

    pages in time order ─► the page at hand, the next one read ahead ─► due ─► taken

Whoever steers a replay, from any thread, only writes down what is wanted and wakes the I/O thread,
which looks at it before anything else. `pacing.py` says when a message is due.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Any

import numpy as np

from seastream_nb import portal
from seastream_nb.keys import EntryId
from seastream_nb.message import Message, MessageHeader
from seastream_nb.pacing import Pace, check_speed
from seastream_nb.query import Pinned
from seastream_nb.reading import Reading
from seastream_nb.rows import Rows
from seastream_nb.stream import StreamCore
from seastream_nb.times import Moment, When, bound, parse_when, resolve

# A wait has to be a number of seconds, and the event loop's are not endless.
LONGEST_WAIT = 3_600.0


class ReplayCore:
    """One run over a query, in time. One thread takes messages, and any thread steers.

    Attributes:
        stream: what is replayed.
        steered: whether something is wanted that the I/O thread has not looked at.
        closed: whether it was given up; nothing comes any more.
        reading: what is read, for a progress bar; None before the first page.
    """

    def __init__(self, stream: StreamCore, speed: float | None) -> None:
        self.stream = stream
        self.steered = False
        self.closed = False
        self.reading: Reading | None = None
        self._speed = check_speed(speed)
        self._paused = False
        self._sought: deque[Moment] = deque()
        self._wake = asyncio.Event()
        self._pace = Pace(speed=self._speed)
        self._pinned: Pinned | None = None
        self._ahead: _Ahead | None = None
        self._page: deque[Message] = deque()
        self._due: deque[Message] = deque()
        self._reached_ns: int | None = None
        self._taken: Message | None = None

    # Called by any thread.

    @property
    def speed(self) -> float | None:
        """How fast it goes; None does not wait."""
        return self._speed

    @speed.setter
    def speed(self, speed: float | None) -> None:
        self._speed = check_speed(speed)
        self._steer()

    @property
    def paused(self) -> bool:
        """Whether it stands still until `resume`."""
        return self._paused

    @property
    def position(self) -> MessageHeader | None:
        """Where the last message stands that was handed out; None before the first."""
        taken = self._taken
        return None if taken is None else taken.header

    @property
    def time_ns(self) -> int | None:
        """The moment of the stream that it is now; None where no message was due since a seek."""
        return self._pace.now(clock_ns=time.monotonic_ns(), reached_ns=self._reached_ns)

    def pause(self) -> None:
        """Hand out nothing more, until `resume`."""
        self._paused = True
        self._steer()

    def resume(self) -> None:
        """Go on where the pause began."""
        self._paused = False
        self._steer()

    def seek(self, when: When) -> None:
        """Go to the first message at or after a time, a message or an id; it is due at once.

        Raises:
            ConfigError: `when` cannot be read; the replay stays where it is.
        """
        self._sought.append(parse_when(when, tz=self.stream.query.zone))
        self._steer()

    def _steer(self) -> None:
        # In this order: whoever takes messages must not take one more that is not wanted.
        self.steered = True
        portal.call_soon(self._wake.set)

    def pop(self) -> Message | None:
        """A message that is due already, without a hop between threads; None: ask `fill`."""
        if self.steered or self._paused:
            return None
        if not self._due:
            return None
        # Noted before it is taken: wherever an interrupt strikes, it comes again or is `position`.
        self._taken = message = self._due[0]
        self._due.popleft()
        return message

    # Called on the I/O thread.

    async def fill(self) -> bool:
        """Wait until a message is due; False at the end.

        When the wait is cancelled, stream time stands still until the next one.
        """
        try:
            while not self.closed:
                self._wake.clear()
                await self._obey()
                if self._pace.paused:
                    await self._wake.wait()
                elif self._due:
                    return True
                elif self._page:
                    await self._ripen()
                elif not await self._turn():
                    return False
        except asyncio.CancelledError:
            self._set_pace(paused=True)
            raise
        return False

    def take(self) -> list[Message]:
        """All messages that are due already."""
        if self.steered or self._paused or not self._due:
            return []
        messages, self._due = list(self._due), deque()
        self._taken = messages[-1]
        return messages

    async def steering(self) -> None:
        """Wait until somebody steers, as when `fill` came to the end."""
        await self._wake.wait()

    async def pinned(self) -> Pinned:
        """The ends, which are those of the first time that somebody asked."""
        if self._pinned is None:
            pinned = await self.stream.pinned()
            if self._pinned is None:  # nobody else was quicker
                self._pinned = pinned
        return self._pinned

    async def close(self) -> None:
        """Stop reading. Closing twice is fine."""
        self.closed = True
        self._wake.set()
        ahead, self._ahead = self._ahead, None
        self._page.clear()
        self._due.clear()
        if ahead is not None:
            await ahead.close()

    async def _obey(self) -> None:
        """Do what was asked for since the last time."""
        self.steered = False
        while len(self._sought) > 1:
            self._sought.popleft()
        if self._sought or self._ahead is None:
            moment = self._sought[0] if self._sought else None
            await self._begin(moment)
            if moment is not None:
                self._sought.popleft()
        self._set_pace(paused=self._paused)

    def _set_pace(self, *, paused: bool) -> None:
        self._pace = self._pace.steered(
            speed=self._speed,
            paused=paused,
            clock_ns=time.monotonic_ns(),
            reached_ns=self._reached_ns,
        )

    async def _begin(self, moment: Moment | None) -> None:
        """Read from a moment on, or from the beginning."""
        pinned = await self.pinned()
        if self._ahead is not None:
            await self._ahead.close()
        self._page.clear()
        self._due.clear()
        self._pace = self._pace.afresh()
        self._reached_ns = None
        self._ahead = _Ahead(self._pages(pinned, moment))

    async def _pages(
        self, pinned: Pinned, moment: Moment | None
    ) -> AsyncGenerator[list[Message], None]:
        stream = self.stream
        self.reading = reading = Reading(stream.source, stream.query, pinned)
        reading.for_messages = True
        first = None
        if moment is not None:
            reading.quiet = True  # a part of the range says little of it
            position = resolve(moment, pinned.now_ns)
            if stream.query.first is None and stream.query.last is None:
                reading.begin_at(position)
            else:
                # What is counted is counted from where it was, and then passed over.
                first = bound(position, unit_ns=stream.source.options.unit_ns)
        async with aclosing(reading.shaped(stream.shaper())) as parts:
            async for rows, _ in parts:
                yield (rows if first is None else _from(rows, first)).messages()
        reading.warn_if_gone()

    async def _turn(self) -> bool:
        """Turn to the next page, or to what was asked for meanwhile; False at the end."""
        assert self._ahead is not None
        page = await self._ahead.next(self._wake)
        if page is None:
            return self._wake.is_set()
        self._page.extend(page)
        return True

    async def _ripen(self) -> None:
        """Wait for the next message of the page, and take all that are due with it."""
        page, now = self._page, time.monotonic_ns()
        self._pace = self._pace.begun(stream_ns=page[0].timestamp_ns, clock_ns=now)
        wait = (self._pace.due(page[0].timestamp_ns) - now) / 1e9
        if wait > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(min(wait, LONGEST_WAIT)):
                    await self._wake.wait()
            return
        self._reached_ns = page[0].timestamp_ns
        while page and self._pace.due(page[0].timestamp_ns) <= now:
            message = page.popleft()
            self._reached_ns = message.timestamp_ns
            self._due.append(message)


class _Ahead:
    """Pages, the next of which is read while this one is used.

    Reading is a task of its own, so that whoever stops to wait for it does not stop it.
    """

    def __init__(self, pages: AsyncGenerator[list[Message], None]) -> None:
        self._pages = pages
        self._notes: list[str] = []
        self._task: asyncio.Task[list[Message] | None] = self._read()

    async def next(self, wake: asyncio.Event) -> list[Message] | None:
        """The next page; None at the end, or when `wake` is set first."""
        waking = asyncio.create_task(wake.wait())
        try:
            await asyncio.wait([self._task, waking], return_when=asyncio.FIRST_COMPLETED)
        finally:
            waking.cancel()
        if not self._task.done():
            return None
        page = self._task.result()
        while self._notes:
            # Whoever waited when the page was asked for may be gone by now.
            portal.warn_caller(self._notes.pop(0))
        if page is not None:
            self._task = self._read()
        return page

    async def close(self) -> None:
        """Stop reading."""
        self._task.cancel()
        await asyncio.wait([self._task])
        if not self._task.cancelled():
            self._task.exception()  # nobody asks for it any more
        await self._pages.aclose()

    def _read(self) -> asyncio.Task[list[Message] | None]:
        async def read() -> list[Message] | None:
            portal.noted_warnings(self._notes)
            return await anext(self._pages, None)

        return asyncio.create_task(read(), name="seastream replay")


def _from(rows: Rows, first: EntryId) -> Rows:
    """The rows, which are in time order, without those before an id."""
    ms, sub = np.uint64(first.ms), np.uint64(first.sub)
    before: Any = (rows.ms < ms) | ((rows.ms == ms) & (rows.sub < sub))
    return rows.slice(int(before.sum()), len(rows))
