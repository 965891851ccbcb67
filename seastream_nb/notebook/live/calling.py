"""A user's functions, called in order by a thread of their own: they may take their time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

Call = tuple[Callable[[Any], object], Any, "asyncio.Future[BaseException | None]"]


class Caller:
    """One thread, which starts at the first call and ends with `close`."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[Call | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    @property
    def calls_this(self) -> bool:
        """Whether the code that asks is called by this thread."""
        return threading.current_thread() is self._thread

    def call(
        self, function: Callable[[Any], object], argument: Any
    ) -> asyncio.Future[BaseException | None]:
        """Have a function called; what it raised, or None, once it returned."""
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._run, args=[asyncio.get_running_loop()], name="seastream-page"
            )
            # A function that never returns must not hold up the end of Python.
            self._thread.daemon = True
            self._thread.start()
        done: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
        self._calls.put((function, argument, done))
        return done

    def close(self) -> None:
        """End the thread, as soon as the function that it calls returned."""
        self._calls.put(None)

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        while (call := self._calls.get()) is not None:
            function, argument, done = call
            error: BaseException | None = None
            try:
                function(argument)
            except BaseException as raised:
                error = raised
            with suppress(RuntimeError):  # Python is exiting
                loop.call_soon_threadsafe(_settle, done, error)
            del call, function, argument, done, error


def _settle(done: asyncio.Future[BaseException | None], error: BaseException | None) -> None:
    if not done.done():
        done.set_result(error)
