"""What a live view does on the I/O thread: it follows a stream, and keeps the newest rows.

    following ─► a page, when it is wanted ─► rows kept ─► the user's functions

Whoever steers it, from any thread, only writes down what is wanted and wakes the I/O thread, which
looks at it before anything else. Nothing is read ahead: while it is paused, at most the page that
was asked for before waits, and is the next one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from types import TracebackType
from typing import Any, Literal

import pyarrow as pa

from seastream_nb import portal
from seastream_nb.checks import named, number_from, or_none, seconds_or_zero
from seastream_nb.errors import ConfigError, ConnectError, StreamEnded
from seastream_nb.following import Following
from seastream_nb.keys import key_text
from seastream_nb.notebook.live.calling import Caller
from seastream_nb.notebook.live.kept import Kept
from seastream_nb.notebook.live.pages import Pages, first_of
from seastream_nb.notebook.live.ring import Held
from seastream_nb.notebook.live.wanted import Wanted
from seastream_nb.quantities import Duration
from seastream_nb.query import Query
from seastream_nb.stream import Facts, StreamCore
from seastream_nb.times import Moment, When, parse_when

State = Literal["running", "paused", "stopped", "failed"]

# Rows that came are handed out after so many seconds: more often nobody sees.
MAX_WAIT = 0.1
CLOSED = "its streamer was closed"


class Watch:
    """One live view of a stream. Any thread steers, and looks at the rows.

    Attributes:
        wanted: what is shown of which rows.
        kept: the rows, and the numbers about them.
        error: why it failed; None otherwise.
        reason: why it stopped by itself, in words.
        on_end: what is called on the I/O thread when it has ended.
    """

    def __init__(self, stream: StreamCore, wanted: Wanted) -> None:
        self.stream = stream
        self.wanted = wanted
        self.error: BaseException | None = None
        self.reason = ""
        self.on_end: Callable[[], object] = lambda: None
        self.news = asyncio.Event()
        self._over: State | None = None
        self._paused = False
        self._stopping = False
        self._sought: deque[Moment] = deque()
        self._wake = asyncio.Event()
        self._following: Following | None = None
        self._schema: pa.Schema | None = None
        self._functions: list[Callable[[pa.RecordBatch], object]] = []
        self._caller = Caller()
        self._trace: TracebackType | None = None
        self.kept = Kept(wanted, 0)
        self._handled = 0  # rows that the user's functions have had as well

    # Called by any thread.

    @property
    def state(self) -> State:
        """What it does: "stopped" and "failed" are final."""
        if self._over is not None:
            return self._over
        return "stopped" if self._stopping else "paused" if self._paused else "running"

    @property
    def over(self) -> bool:
        """Whether nothing goes on any more, and everything is given back."""
        return self._over is not None

    @property
    def complete(self) -> bool:
        """False when entries were noticed to be gone before they were read."""
        return self._following is None or self._following.complete

    def pause(self) -> None:
        """Ask for nothing more, until `resume`."""
        self._paused = True
        self._steer()

    def resume(self) -> None:
        """Go on where the pause began."""
        self._paused = False
        self._steer()

    def stop(self) -> None:
        """End it, and keep the rows."""
        self._stopping = True
        self._steer()

    def seek(self, when: When) -> None:
        """Begin anew from there.

        Raises:
            ConfigError: `when` cannot be read, or it has ended.
        """
        moment = parse_when(when, tz=self.stream.query.zone)
        if self.state in ("stopped", "failed"):
            raise ConfigError(f"the view is {self.state}: start another one with live()")
        self._sought.append(moment)
        self._steer()

    def on_page(self, function: Callable[[pa.RecordBatch], object]) -> None:
        """Have a function called with each page from now on, as its caller would see it."""
        context = copy_context()
        self._functions.append(lambda page: context.run(function, page))

    def require_another_thread(self) -> None:
        """Refuse to wait for pages inside the function that is shown one.

        Raises:
            RuntimeError: it would wait for itself.
        """
        if self._caller.calls_this:
            raise RuntimeError("wait() in a function of on_page would wait for itself")

    def _steer(self) -> None:
        portal.call_soon(self._steered)

    def table(self) -> tuple[pa.Table, Facts]:
        """The rows that are kept, in the order they came, and where they are from."""
        held = self.kept.held
        return self._shown(held.table()), self._facts(held)

    def newest(self, count: int) -> pa.Table:
        """At most so many rows, the newest first."""
        return self._shown(self.kept.held.newest(count))

    def _shown(self, rows: pa.Table | None) -> pa.Table:
        if rows is None:
            rows = self.wanted.empty(self.stream, self._schema)
        return self.wanted.shown(rows)

    def _facts(self, held: Held) -> Facts:
        return {
            "url": self.stream.source.url,
            "keys": ",".join(map(key_text, self.stream.query.keys)),
            "last_id": self.kept.last_id or "",
            "rows": held.kept,
            "seen": held.seen,
            "dropped": held.dropped,
            "complete": self.complete,
        }

    # Called on the I/O thread.

    async def wait(self, n: int | None = None, timeout: Duration | None = None) -> None:
        """Wait until n messages came, since the start or the last seek; or until it has ended.

        Raises:
            TimeoutError: they did not within `timeout`.
            StreamEnded: it stopped before.
            StreamError: why it failed, and whatever a function of `on_page` raised.
        """
        named("n", n, or_none(number_from(0)))
        seconds = named("timeout", timeout, or_none(seconds_or_zero))
        try:
            async with asyncio.timeout(seconds):
                while not self._enough(n):
                    await self.news.wait()
        except TimeoutError:
            said = f"it is {self.state}" if n is None else f"{self._handled} of {n} messages came"
            raise TimeoutError(f"{said} after {seconds:g} s") from None

    def _enough(self, n: int | None) -> bool:
        if self.error is not None:
            raise self.error.with_traceback(self._trace)
        if n is not None and self._handled >= n and not self._sought:
            return True
        if self._over is not None and n is not None:
            why = self.reason or "it was stopped"
            raise StreamEnded(f"{self._handled} of {n} messages came: {why}")
        return self._over is not None

    async def anchor(self) -> None:
        """Fix where it begins, and start.

        Raises:
            ConfigError: an unknown column; and whatever the server says.
        """
        pages = await self._pages(self.wanted.started())
        # Its warnings go to a call that returned, so that nothing is printed: `complete` tells.
        self._task = asyncio.create_task(self._run(pages), name="seastream live")

    async def _pages(self, query: Query) -> Pages:
        source = self.stream.source
        pinned = await source.pin(query.keys, live=True)
        self.kept, self._handled = Kept(self.wanted, pinned.now_ns), 0
        with_id = self.wanted.columns is None
        following = Following(source, query, pinned, None, MAX_WAIT, with_id=with_id)
        self._following = following
        self._schema = await following.schema()
        if self._schema is not None:
            self.wanted.check(self._schema)
        return Pages(following)

    async def _run(self, pages: Pages) -> None:
        try:
            while not self._stopping:
                self._wake.clear()
                if self._sought:
                    pages = await self._moved(pages)
                elif self.stream.source.closed:
                    self.reason = CLOSED
                    return
                elif self._paused and not pages.failed:
                    await pages.stay(self._wake)
                elif await pages.ready(self._wake) and (pages.failed or not self._steered_away):
                    batch = pages.take()
                    if batch is None:
                        self.reason = "the range ended"
                        return
                    await self._take(batch)
        except asyncio.CancelledError:
            self.reason = "Python is exiting"
            raise
        except Exception as error:
            self._failed(error)
        finally:
            await pages.close()
            self._caller.close()
            self._over = "stopped" if self.error is None else "failed"
            self._tell()
            self.on_end()

    @property
    def _steered_away(self) -> bool:
        """Whether a page that came just now is not wanted now."""
        return self._stopping or self._paused or bool(self._sought)

    def _failed(self, error: Exception) -> None:
        if isinstance(error, ConnectError) and self.stream.source.closed:
            self.reason = CLOSED
        else:
            self.error, self._trace = error, error.__traceback__

    async def _moved(self, pages: Pages) -> Pages:
        """Follow from where it is wanted last."""
        while len(self._sought) > 1:
            self._sought.popleft()
        await pages.close()
        found = await self._pages(self.wanted.sought(self._sought[0]))
        self._sought.popleft()
        self._tell()
        return found

    async def _take(self, batch: pa.RecordBatch) -> None:
        """Keep the rows of a page, and show it to the user's functions."""
        if not len(batch):
            return
        if self._schema is None:
            self._schema = batch.schema
            self.wanted.check(batch.schema)
        self.kept.add(batch)
        self._tell()
        for function in tuple(self._functions):
            await self._call(function, self.wanted.shown(batch))
        self._handled = self.kept.held.seen
        self._tell()

    async def _call(self, function: Callable[[Any], object], batch: pa.RecordBatch) -> None:
        done = self._caller.call(function, batch)
        while not done.done() and not self._stopping:
            self._wake.clear()
            await first_of(done, self._wake)
        if done.done() and (error := done.result()) is not None:
            raise error if isinstance(error, Exception) else RuntimeError(repr(error))

    def _steered(self) -> None:
        self._wake.set()
        self._tell()

    def _tell(self) -> None:
        self.news.set()
        self.news = asyncio.Event()
