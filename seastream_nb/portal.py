"""The I/O thread: one daemon thread with its own event loop runs the whole asynchronous core.

A blocking facade crosses with `run` and `iterate`, an awaiting one with `bridge` and
`iterate_awaiting`; `members.py` makes a facade's methods of them. Background work goes on while a
notebook cell computes, since it does not share the kernel's loop. An interrupt cancels what was
called, waits for its cleanup, and goes on to the caller.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import sys
import threading
import warnings
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import suppress
from contextvars import ContextVar
from math import inf
from typing import TYPE_CHECKING, Any, Generic, TypeVar, TypeVarTuple

if TYPE_CHECKING:
    from concurrent.futures import Future

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

CLEANUP_SECONDS = 5.0  # how long an interrupted caller waits for the cleanup of what it stopped
EXIT_SECONDS = 2.0  # how long the exit of the interpreter waits for background tasks to stop
TICK_SECONDS = 0.2  # how often an awaiting caller's loop wakes, to notice the stop button


class _IOThread(threading.Thread):
    """The thread and its loop, running."""

    def __init__(self) -> None:
        super().__init__(name="seastream-io", daemon=True)
        self.loop = asyncio.new_event_loop()
        self._ended = False
        self.start()

    def run(self) -> None:
        while not self._ended:
            # A task that raises one of these throws it out of the loop as well as to its caller.
            with suppress(KeyboardInterrupt, SystemExit):
                self.loop.run_forever()
        self.loop.close()

    async def end(self) -> None:
        while tasks := asyncio.all_tasks() - {asyncio.current_task()}:  # cleanup may start more
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        await self.loop.shutdown_asyncgens()
        self._ended = True
        self.loop.stop()


_current: _IOThread | None = None
_starting = threading.Lock()
_exiting = False


def _open(coroutine: Coroutine[Any, Any, object] | None = None) -> _IOThread:
    """The running thread; a coroutine that was to cross is closed when there can be none."""
    global _current
    thread = _current
    if thread is None:
        with _starting:
            thread = _current = _current or (None if _exiting else _IOThread())
    if thread is not None:
        return thread
    if coroutine is not None:
        coroutine.close()
    raise RuntimeError("seastream_nb cannot be used any more: Python is exiting")


def _start_over_after_fork() -> None:
    global _current, _starting
    if _current is not None:  # its tasks do not run here, and must not complain of that
        _current.loop.set_exception_handler(lambda loop, context: None)
    _current, _starting = None, threading.Lock()


def _stop_at_exit() -> None:
    global _current, _exiting
    if _current is not None:
        asyncio.run_coroutine_threadsafe(_current.end(), _current.loop)
        _current.join(EXIT_SECONDS)
        if _current.is_alive():  # a task does not end: both die with the process, silently
            _current.loop.set_exception_handler(lambda loop, context: None)
    _current, _exiting = None, True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_over_after_fork)
atexit.register(_stop_at_exit)


def _nothing() -> None:
    """What a waiting caller does by default."""


class _Crossing(Generic[T]):
    """One coroutine on its way through the I/O thread, where `begin` and `cancel` are called."""

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self.notify: Callable[[], object] | None = None
        self.tick: Callable[[], object] = _nothing
        self.warnings: list[str] = []
        self._coroutine = coroutine
        self._task: asyncio.Task[T] | None = None
        self.done = False
        # A bare lock, released once. An Event or a Future has a lock that an interrupt at the
        # wrong moment leaves held by the caller, and the I/O thread would wait for it forever.
        self._landed = threading.Lock()
        self._landed.acquire()

    def begin(self) -> None:
        _crossing.set(self)
        _warnings.set(self.warnings)
        self._task = asyncio.create_task(self._coroutine)
        self._task.add_done_callback(self._finish)

    def cancel(self) -> None:
        """Ask for the end, which comes when the coroutine's cleanup is done."""
        if self._task is not None:
            self._task.cancel()
        elif not self.done:
            self._coroutine.close()
            self._finish()

    def _finish(self, _: object = None) -> None:
        self.done = True
        self._landed.release()
        if self.notify is not None:
            with suppress(RuntimeError):  # the caller's loop is closed: nobody waits any more
                self.notify()

    def wait(self, seconds: float = -1) -> bool:
        return self.done or self._landed.acquire(timeout=seconds)

    def tell(self) -> None:
        """Show the warnings that came, in the caller's own thread."""
        while self.warnings:
            warnings.warn(self.warnings.pop(0), stacklevel=_level_of_the_caller())

    def result(self) -> T:
        self.tell()
        task, self._task = self._task, None
        assert task is not None
        try:
            return task.result()
        finally:
            del task  # breaks the cycle: error, its traceback, this frame, task, error


_PACKAGE = __file__.removesuffix("portal.py")


def _level_of_the_caller() -> int:
    """How many frames above the one that asks is the first that is not of this package."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame, level = frame.f_back, level + 1
    return level


_crossing: ContextVar[_Crossing[Any]] = ContextVar("crossing")
_warnings: ContextVar[list[str]] = ContextVar("warnings")  # to be shown by the caller


def on_tick(function: Callable[[], object]) -> None:
    """Have the waiting caller's own thread call this every 0.2 s, and once when it gets the result.

    For what must happen in the caller's thread, such as drawing in its notebook cell. Called in
    the coroutine; a later function takes the place of an earlier one.
    """
    crossing = _crossing.get(None)
    if crossing is not None:
        crossing.tick = function


def warn_caller(message: str) -> None:
    """Warn in the caller's own thread, at the line that called the facade, while it waits.

    Called in the coroutine. A warning on the I/O thread would name a line that nobody wrote.
    """
    kept = _warnings.get(None)
    if kept is None:
        warnings.warn(message, stacklevel=2)
    else:
        kept.append(message)


def noted_warnings(notes: list[str] | None = None) -> list[str]:
    """What `warn_caller` is told in this task from now on, for whoever shows it by other means."""
    notes = [] if notes is None else notes
    _warnings.set(notes)
    return notes


def loop() -> asyncio.AbstractEventLoop:
    """The event loop of the I/O thread, which starts at its first use; a fork has its own."""
    return _open().loop


def call_soon(function: Callable[[*Ts], object], *args: *Ts) -> None:
    """Call a function on the I/O thread soon, without waiting for it."""
    loop().call_soon_threadsafe(function, *args)


# A loop refers to its tasks weakly: one that waits for what only it knows would be garbage.
_spawned: set[Future[Any]] = set()


def spawn(coroutine: Coroutine[Any, Any, T]) -> Future[T]:
    """A future of the coroutine, which runs on the I/O thread; the exit of Python cancels it.

    Nobody has to keep the future.
    """
    future = asyncio.run_coroutine_threadsafe(coroutine, _open(coroutine).loop)
    _spawned.add(future)
    future.add_done_callback(_spawned.discard)
    return future


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of the coroutine, which runs on the I/O thread while this thread waits.

    An interrupt cancels it and waits up to 5 s for its cleanup; a second one ends that wait. The
    coroutine sees the caller's context variables, and its errors are raised here as they are.
    On the I/O thread itself it raises `RuntimeError`: that thread would wait for itself forever.
    """
    thread = _open(coroutine)
    if thread is threading.current_thread():
        coroutine.close()
        raise RuntimeError("a blocking call on the I/O thread would never return: await instead")
    crossing = _Crossing(coroutine)
    try:
        thread.loop.call_soon_threadsafe(crossing.begin)
        while not crossing.wait(TICK_SECONDS):
            crossing.tick()
            crossing.tell()
    except BaseException:
        thread.loop.call_soon_threadsafe(crossing.cancel)
        with suppress(KeyboardInterrupt):
            crossing.wait(CLEANUP_SECONDS)
        crossing.tick()
        raise
    crossing.tick()
    return crossing.result()


async def bridge(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of the coroutine, which runs on the I/O thread while the caller's loop goes on.

    Cancelling the await cancels the coroutine and waits up to 5 s for its cleanup. The caller's
    loop wakes every 0.2 s meanwhile: the stop button of a notebook does not wake an idle loop.
    """
    thread = _open(coroutine)
    caller = asyncio.get_running_loop()
    if caller is thread.loop:
        return await coroutine
    landed: asyncio.Future[None] = caller.create_future()

    crossing = _Crossing(coroutine)
    crossing.notify = lambda: caller.call_soon_threadsafe(landed.set_result, None)
    try:
        thread.loop.call_soon_threadsafe(crossing.begin)
        await _ticking(landed, crossing, tell=crossing.tell)
    except BaseException as stop:
        if not crossing.done:
            thread.loop.call_soon_threadsafe(crossing.cancel)
        if isinstance(stop, asyncio.CancelledError):  # else no place to await: being thrown away
            await _ticking(landed, crossing, CLEANUP_SECONDS)
        raise
    return crossing.result()


async def _ticking(
    landed: asyncio.Future[None],
    crossing: _Crossing[Any],
    seconds: float = inf,
    tell: Callable[[], object] = _nothing,
) -> None:
    while seconds > 0 and not landed.done():
        await asyncio.wait([landed], timeout=TICK_SECONDS)
        seconds -= TICK_SECONDS
        crossing.tick()
        tell()


def iterate(items: AsyncGenerator[T, None]) -> Generator[T, None, None]:
    """A plain generator over an asynchronous one, which runs on the I/O thread.

    Each item is one crossing. However the iteration ends (also by `break`, garbage collection, an
    error or an interrupt), the inner generator is closed, and its cleanup waited for up to 5 s.
    Each step is a task of its own: no `asyncio.timeout` or `TaskGroup` may span a `yield`.
    """
    thread = _open()
    try:
        with suppress(StopAsyncIteration):
            while True:
                yield run(_step(items))
    finally:
        if thread is _current:  # else the parent's in a forked child, or ended at exit
            crossing = _Crossing(_aclose(items))
            thread.loop.call_soon_threadsafe(crossing.begin)
            # Garbage collection may come here on the I/O thread itself, which cannot wait.
            if thread is not threading.current_thread() and crossing.wait(CLEANUP_SECONDS):
                crossing.result()


async def iterate_awaiting(items: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """An asynchronous generator on the caller's loop over one that runs on the I/O thread.

    The rules of `iterate`, but what `break` leaves is closed at once only inside
    `async with contextlib.aclosing(...)`, and otherwise some time after garbage collection.
    """
    try:
        with suppress(StopAsyncIteration):
            while True:
                yield await bridge(_step(items))
    finally:
        await bridge(_aclose(items))


async def _step(items: AsyncGenerator[T, None]) -> T:
    return await anext(items)


async def _aclose(items: Any) -> None:
    if not items.ag_running:  # else its cleanup outlasts the patience of who interrupted it
        await items.aclose()
