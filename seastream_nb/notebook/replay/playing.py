"""A replay that plays in the background: taken from on the I/O thread, all that is due at once.

Any thread presses the buttons. What is shown of it (`player.py`) is drawn by the same task, a few
times a second, however many messages come.
"""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Literal

from seastream_nb import portal
from seastream_nb.errors import ConfigError
from seastream_nb.message import Message, MessageHeader
from seastream_nb.notebook import running
from seastream_nb.quantities import NS_PER_SECOND, Duration, parse_duration
from seastream_nb.replay import ReplayCore
from seastream_nb.times import When

State = Literal["playing", "paused", "ended", "stopped", "failed"]
Receiver = Callable[[list[Message]], object]
MAX_ROWS = 1_000
DRAWN_EVERY = 0.2  # seconds between two drawings of what moves
LOOKED_EVERY = 1.0  # and of what stands still, which other code may steer


class Playing(ABC):
    """The run of a replay, its state, and the last messages.

    Attributes:
        core: the replay; whatever steers it steers this.
        count: how many messages were handed out.
        warnings: what reading would have warned of, such as a file that ends inside a message.
    """

    def __init__(self, core: ReplayCore) -> None:
        self.core = core
        self.count = 0
        self.warnings: list[str] = []
        self._lock = threading.Lock()
        self._playing: Future[None] | None = None
        self._state: State = "paused"
        self._error: Exception | None = None
        self._kept: deque[Message] = deque()
        self._on_messages: Receiver | None = None
        self._on_stop: list[Callable[[], object]] = []
        self._settled = asyncio.Event()
        self._pressed = asyncio.Event()

    @property
    @abstractmethod
    def title(self) -> str:
        """What is replayed, on one line, without a password."""

    @abstractmethod
    async def _draw(self) -> None:
        """Show what it is now; called on the I/O thread, never twice at a time."""

    @abstractmethod
    async def _look(self) -> None:
        """Find out what has to be known of the whole range."""

    def arrange(self, *, rows: int, on_messages: Receiver | None) -> None:
        """How many messages are kept, and who else gets them.

        Raises:
            ConfigError: `rows` is no number up to 1,000.
        """
        if type(rows) is not int or not 0 <= rows <= MAX_ROWS:
            raise ConfigError(f"rows={rows!r}: give a number from 0 to {MAX_ROWS:,}")
        self._kept = deque(self._kept, maxlen=rows)
        self._on_messages = on_messages

    # What it is doing.

    @property
    def state(self) -> State:
        """Playing, paused, ended, stopped, or failed, when `error` says why."""
        if self.core.closed:
            return "stopped"
        return "paused" if self._state == "playing" and self.core.paused else self._state

    @property
    def error(self) -> Exception | None:
        """What it failed with; None when it did not."""
        return self._error

    @property
    def position(self) -> MessageHeader | None:
        """Where the last message stands that was handed out; None before the first."""
        return self.core.position

    @property
    def messages(self) -> list[Message]:
        """The last messages that were handed out, oldest first."""
        return list(self._kept)

    # The buttons.

    @property
    def speed(self) -> float | None:
        """How many times as fast as it was; None does not wait. It may be set at any time."""
        return self.core.speed

    @speed.setter
    def speed(self, speed: float | None) -> None:
        self.core.speed = speed

    def play(self) -> None:
        """Go on; from the beginning when it was at its end, and once more when it had failed."""
        state = self._state
        self.core.resume()
        if state == "ended":
            self.seek("earliest")
        elif state == "failed":
            self.seek(self.core.position or "earliest")
        self._begin()
        self._press()

    def pause(self) -> None:
        """Stand still until `play`."""
        self.core.pause()
        self._press()

    def seek(self, when: When) -> None:
        """Go to the first message at or after a time, a message or an id.

        Raises:
            ConfigError: `when` cannot be read; the replay stays where it is.
        """
        portal.call_soon(self._settled.clear)
        self.core.seek(when)
        with self._lock:
            if self._state in ("ended", "failed"):
                self._state, self._error = "playing", None
        self._press()

    def stop(self) -> None:
        """End it; the messages stay. Stopping twice is fine."""
        with self._lock:
            stopped, self._state = self._state == "stopped", "stopped"
        if stopped:
            return
        running.ended(self)
        if self._playing is None:
            portal.spawn(self._finish())
        else:
            self._playing.cancel()

    def wait(self, timeout: Duration | None = None) -> None:
        """Wait until it is at its end or was stopped; begins it, if nothing did. It blocks.

        Raises:
            TimeoutError: that took longer; it goes on.
            StreamError: what it failed with.
        """
        if self._playing is None:
            self.play()
        error = portal.run(self._wait(None if timeout is None else parse_duration(timeout)))
        if error is not None:
            raise error

    def on_stop(self, function: Callable[[], object]) -> None:
        """Call a function once, in a thread of its own, when it has stopped."""
        self._on_stop.append(function)

    def _press(self) -> None:
        portal.call_soon(self._pressed.set)

    def _begin(self) -> None:
        """Play in the background, unless that was begun, or ended, before."""
        with self._lock:
            if self._playing is not None or self._state == "stopped":
                return
            self._state = "playing"
            self._playing = portal.spawn(self._run())
        running.started(self)
        if self._playing.done():
            running.ended(self)

    # On the I/O thread.

    async def _run(self) -> None:
        portal.noted_warnings(self.warnings)
        try:
            async with asyncio.TaskGroup() as tasks:
                beside = [tasks.create_task(self._look()), tasks.create_task(self._draw_on())]
                await self._play_on()
                for task in beside:
                    task.cancel()
        finally:
            await self._finish()

    async def _play_on(self) -> None:
        while not self.core.closed:
            try:
                while await self.core.fill():
                    await self._hand_out(self.core.take())
                self._come_to("ended")
            except Exception as error:  # what a callback raises is shown as well
                self._error = error
                self._come_to("failed")
            if not self.core.closed:
                await self.core.steering()
                self._come_to("playing")

    async def _hand_out(self, messages: list[Message]) -> None:
        self.count += len(messages)
        self._kept.extend(messages)
        if messages and self._on_messages is not None:
            # Not here: what it does may take its time, and the next ones wait for it.
            await asyncio.to_thread(self._on_messages, messages)

    def _come_to(self, state: State) -> None:
        with self._lock:
            if self._state != "stopped":
                self._state = state
        if state == "playing":
            self._error = None
            self._settled.clear()
        else:
            self._settled.set()
            self._pressed.set()

    async def _wait(self, timeout_ns: int | None) -> Exception | None:
        """What it came to: nothing, or an error. It may go on before anybody else could look."""
        async with asyncio.timeout(None if timeout_ns is None else timeout_ns / NS_PER_SECOND):
            while not self._settled.is_set():
                await self._settled.wait()
            return self._error

    async def _draw_on(self) -> None:
        while True:
            self._pressed.clear()
            await self._draw()
            await asyncio.sleep(DRAWN_EVERY)
            if self.state != "playing":
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOKED_EVERY):
                        await self._pressed.wait()

    async def _finish(self) -> None:
        with self._lock:
            self._state = "stopped"
        await self.core.close()
        running.ended(self)
        self._settled.set()
        while self._on_stop:
            await asyncio.to_thread(self._on_stop.pop())
        await self._draw()
