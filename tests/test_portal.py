from __future__ import annotations

import asyncio
import contextvars
import gc
import inspect
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from seastream_nb import members, portal
from tests.portal_kernel import Kernel

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

PATIENCE = 60.0
request_id = contextvars.ContextVar("request_id", default="nobody's")


class Core:
    """A core object that records what happens to it on the I/O thread."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.cleaned = threading.Event()
        self.released = asyncio.Event()

    async def where(self) -> str:
        return threading.current_thread().name

    async def next(self, timeout: float | None = None, *, strict: bool = False) -> str:
        """One message."""
        return f"{timeout} {strict} {threading.current_thread().name}"

    async def wait(self, then: object = None) -> None:
        """Wait for ever; the cleanup needs the loop, as closing a connection does."""
        self.started.set()
        try:
            if callable(then):
                then()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            self.cleaned.set()

    async def count(self, stop: int, error: Exception | None = None) -> AsyncGenerator[int, None]:
        """The numbers below `stop`."""
        try:
            for number in range(stop):
                await asyncio.sleep(0)
                yield number
            if error is not None:
                raise error
        finally:
            await asyncio.sleep(0.01)
            self.cleaned.set()

    async def one_then_wait(self) -> AsyncGenerator[int, None]:
        yield 1
        await self.wait(interrupt_main_thread)

    async def failing_cleanup(self) -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            raise LookupError

    async def wait_twice(self) -> None:
        """Interrupt the caller, and once more in the cleanup."""
        try:
            await self.wait(interrupt_main_thread)
        finally:
            interrupt_main_thread()
            await self.released.wait()

    async def twice(self) -> AsyncGenerator[None, None]:
        await self.wait_twice()
        yield


class Blocking:
    def __init__(self, core: Core) -> None:
        self._core = core

    next = members.blocking(Core.next)
    count = members.blocking_iter(Core.count)
    one_then_wait = members.blocking_iter(Core.one_then_wait)
    failing_cleanup = members.blocking_iter(Core.failing_cleanup)
    twice = members.blocking_iter(Core.twice)


class Awaiting:
    def __init__(self, core: Core) -> None:
        self._core = core

    next = members.awaiting(Core.next)
    count = members.awaiting_iter(Core.count)


@pytest.fixture
def core() -> Core:
    return Core()


def interrupt_main_thread() -> None:
    ident = threading.main_thread().ident
    assert ident is not None
    signal.pthread_kill(ident, signal.SIGINT)


# Calls


def test_a_call_runs_on_the_one_io_thread_whoever_calls(core: Core) -> None:
    def calls() -> list[str]:
        return [portal.run(core.where()) for _ in range(50)]

    with ThreadPoolExecutor(8) as threads:
        futures = [threads.submit(calls) for _ in range(8)]
        assert {name for future in futures for name in future.result()} == {"seastream-io"}
    assert [thread.name for thread in threading.enumerate()].count("seastream-io") == 1


def test_awaiting_works_from_one_event_loop_after_another(core: Core) -> None:
    assert [asyncio.run(portal.bridge(core.where())) for _ in range(2)] == ["seastream-io"] * 2


def test_the_loop_is_the_one_that_runs_the_calls() -> None:
    async def running() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    assert portal.run(running()) is portal.loop()


def test_a_blocking_call_on_the_io_thread_is_refused(core: Core) -> None:
    async def block_inside() -> str:
        return portal.run(core.where())

    with pytest.raises(RuntimeError, match="would never return"):
        portal.run(block_inside())


def test_awaiting_on_the_io_thread_needs_no_crossing(core: Core) -> None:
    async def tasks() -> tuple[asyncio.Task[Any] | None, ...]:
        async def current() -> asyncio.Task[Any] | None:
            return asyncio.current_task()

        return asyncio.current_task(), await portal.bridge(current())

    outer, inner = portal.run(tasks())
    assert outer is inner


def test_spawned_work_goes_on_by_itself(core: Core) -> None:
    future = portal.spawn(core.where())
    assert isinstance(future, Future)
    assert future.result(PATIENCE) == "seastream-io"


def test_cancelling_spawned_work_cancels_its_task(core: Core) -> None:
    future = portal.spawn(core.wait())
    assert core.started.wait(PATIENCE)
    future.cancel()
    assert core.cleaned.wait(PATIENCE)


def test_call_soon_calls_on_the_io_thread() -> None:
    called: Future[tuple[str, str]] = Future()
    portal.call_soon(lambda x: called.set_result((x, threading.current_thread().name)), "x")
    assert called.result(PATIENCE) == ("x", "seastream-io")


async def test_context_variables_of_the_caller_are_seen() -> None:
    async def seen() -> str:
        return request_id.get()

    request_id.set("mine")
    assert [portal.run(seen()), await portal.bridge(seen())] == ["mine", "mine"]
    assert portal.spawn(seen()).result(PATIENCE) == "mine"


# Errors


async def test_an_error_arrives_as_it_is_with_a_short_traceback() -> None:
    error = LookupError("gone")

    async def fail() -> NoReturn:
        raise error

    with pytest.raises(LookupError) as blocked:
        portal.run(fail())
    assert blocked.value is error
    names = [entry.name for entry in blocked.traceback]
    assert (names[0], names[-1], len(names) <= 4) == (
        "test_an_error_arrives_as_it_is_with_a_short_traceback",
        "fail",
        True,
    )
    with pytest.raises(LookupError) as awaited:
        await portal.bridge(fail())
    assert awaited.value is error


def test_an_error_keeps_nothing_alive_once_it_is_handled() -> None:
    class Frame:
        """Stands for the table that a failed call was building."""

    async def fail(frame: Frame) -> NoReturn:
        raise LookupError

    def failed_call() -> weakref.ref[Frame]:
        frame = Frame()
        with pytest.raises(LookupError):
            portal.run(fail(frame))
        return weakref.ref(frame)

    gc.disable()
    try:
        assert failed_call()() is None
    finally:
        gc.enable()


def test_a_task_that_exits_ends_its_caller_and_not_the_io_thread(core: Core) -> None:
    async def leave() -> NoReturn:
        sys.exit(3)

    with pytest.raises(SystemExit):
        portal.run(leave())
    assert portal.run(core.where()) == "seastream-io"


# Interrupts


def test_an_interrupt_cancels_and_waits_for_the_cleanup(core: Core) -> None:
    with pytest.raises(KeyboardInterrupt):
        portal.run(core.wait(interrupt_main_thread))
    assert core.cleaned.is_set()
    assert portal.run(core.where()) == "seastream-io"


@pytest.mark.parametrize(
    "call", [lambda core: portal.run(core.wait_twice()), lambda core: list(Blocking(core).twice())]
)
def test_a_second_interrupt_stops_waiting_for_the_cleanup(
    core: Core, call: Callable[[Core], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portal, "CLEANUP_SECONDS", threading.TIMEOUT_MAX)
    with pytest.raises(KeyboardInterrupt):
        call(core)
    assert not core.released.is_set()
    portal.call_soon(core.released.set)
    assert portal.run(core.where()) == "seastream-io"


def test_a_call_interrupted_on_its_way_never_runs_and_is_closed(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand_over = portal.loop().call_soon_threadsafe
    interrupts = [KeyboardInterrupt()]

    def interrupted_once(function: Any, *args: Any) -> asyncio.Handle:
        if interrupts:
            raise interrupts.pop()
        return hand_over(function, *args)

    coroutine = core.wait()
    with monkeypatch.context() as patch:
        patch.setattr(portal.loop(), "call_soon_threadsafe", interrupted_once)
        with pytest.raises(KeyboardInterrupt):
            portal.run(coroutine)
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED
    assert not core.started.is_set()


async def test_cancelling_an_await_waits_for_the_cleanup(core: Core) -> None:
    waiting = asyncio.create_task(portal.bridge(core.wait()))
    await asyncio.to_thread(core.started.wait, PATIENCE)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert core.cleaned.is_set()
    assert await portal.bridge(core.where()) == "seastream-io"


def test_an_await_thrown_away_with_its_loop_is_cancelled(core: Core) -> None:
    faults: list[dict[str, Any]] = []
    portal.loop().set_exception_handler(lambda loop, context: faults.append(context))
    waiting = portal.bridge(core.wait())

    async def begin() -> None:
        waiting.send(None)

    asyncio.run(begin())
    assert core.started.wait(PATIENCE)
    waiting.close()
    assert core.cleaned.wait(PATIENCE)
    assert portal.run(core.where()) == "seastream-io"
    portal.loop().set_exception_handler(None)
    assert faults == []


async def test_an_idle_await_wakes_the_callers_loop_all_the_time(core: Core) -> None:
    loop = asyncio.get_running_loop()
    waiting = asyncio.create_task(portal.bridge(core.wait()))
    await asyncio.to_thread(core.started.wait, PATIENCE)
    # Like the stop button of ipykernel: `call_soon` from a signal handler, which wakes no loop.
    threading.Thread(target=loop.call_soon, args=(waiting.cancel,)).start()
    since = time.monotonic()
    await asyncio.wait([waiting])
    assert time.monotonic() - since < 2
    assert core.cleaned.is_set()


# Facade methods


@pytest.mark.parametrize(
    ("facade", "name", "gives"),
    [
        (Blocking, "next", "str"),
        (Awaiting, "next", "str"),
        (Blocking, "count", "Iterator[int]"),
        (Awaiting, "count", "AsyncIterator[int]"),
    ],
)
def test_a_facade_method_looks_like_the_core_method(facade: type, name: str, gives: str) -> None:
    method, original = getattr(facade, name), getattr(Core, name)
    shown = inspect.signature(method)
    assert shown.parameters == inspect.signature(original).parameters
    assert shown.return_annotation == gives
    assert (method.__doc__, method.__name__) == (original.__doc__, name)


async def test_facade_methods_pass_their_arguments_to_the_core(core: Core) -> None:
    assert Blocking(core).next(2.5, strict=True) == "2.5 True seastream-io"
    assert await Awaiting(core).next(2.5, strict=True) == "2.5 True seastream-io"
    assert inspect.iscoroutinefunction(Awaiting.next)


def test_a_facade_method_calls_the_override_of_a_derived_core() -> None:
    class Derived(Core):
        async def next(self, timeout: float | None = None, *, strict: bool = False) -> str:
            return "derived"

    assert Blocking(Derived()).next() == "derived"


# Iteration


async def test_iteration_gives_every_item_and_ends(core: Core) -> None:
    assert list(Blocking(core).count(5)) == [0, 1, 2, 3, 4]
    assert [number async for number in Awaiting(core).count(5)] == [0, 1, 2, 3, 4]


def test_an_early_break_waits_for_the_cleanup(core: Core) -> None:
    for _ in Blocking(core).count(5):
        break
    assert core.cleaned.is_set()


async def test_closing_an_awaiting_iterator_waits_for_the_cleanup(core: Core) -> None:
    async with aclosing(Awaiting(core).count(5)) as numbers:
        async for _ in numbers:
            break
    assert core.cleaned.is_set()


async def test_an_awaiting_iterator_left_behind_is_cleaned_up(core: Core) -> None:
    async for _ in Awaiting(core).count(5):
        break
    assert await asyncio.to_thread(core.cleaned.wait, PATIENCE)


async def test_an_error_ends_the_iteration_and_cleans_up(core: Core) -> None:
    error = LookupError("gone")
    with pytest.raises(LookupError) as blocked:
        list(Blocking(core).count(2, error))
    assert blocked.value is error
    assert core.cleaned.is_set()
    with pytest.raises(LookupError):
        [number async for number in Awaiting(core).count(2, error)]


def test_an_error_in_the_body_of_the_loop_cleans_up(core: Core) -> None:
    with pytest.raises(ZeroDivisionError):
        sum(1 / number for number in Blocking(core).count(5))
    assert core.cleaned.wait(PATIENCE)


def test_an_error_in_the_cleanup_after_a_break_is_raised(core: Core) -> None:
    numbers = Blocking(core).failing_cleanup()
    next(numbers)
    with pytest.raises(LookupError):
        numbers.close()


def test_an_interrupted_iteration_is_cleaned_up(core: Core) -> None:
    with pytest.raises(KeyboardInterrupt):
        list(Blocking(core).one_then_wait())
    assert core.cleaned.is_set()


def test_an_iterator_collected_on_the_io_thread_is_closed_without_a_deadlock(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portal, "CLEANUP_SECONDS", threading.TIMEOUT_MAX)
    numbers = [Blocking(core).count(5)]
    next(numbers[0])
    portal.call_soon(numbers.clear)
    assert core.cleaned.wait(PATIENCE)


def test_a_wrong_argument_of_an_iterator_is_an_error_at_the_call(core: Core) -> None:
    with pytest.raises(TypeError, match="stopp"):
        Blocking(core).count(stopp=5)  # type: ignore[call-arg]


# Processes


def python(code: str) -> list[str]:
    """Run a program with warnings as errors; it must end by itself and complain of nothing."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        cwd=Path(__file__).parent.parent,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


BACKGROUND = """
import asyncio, threading
from seastream_nb import members, portal
started = threading.Event()
async def idle():
    started.set()
    await asyncio.Event().wait()
async def background(cleanup, *args):
    try:
        await idle()
    finally:
        await cleanup(*args)
        print("cleaned up")
async def numbers():
    try:
        yield 1
        yield 2
    finally:
        await asyncio.sleep(0.01)
        print("closed")
class Facade:
    class _core: numbers = staticmethod(numbers)
    numbers = members.blocking_iter(numbers)
"""


def test_background_work_goes_on_when_nobody_keeps_its_future() -> None:
    code = """
    import gc
    portal.spawn(background(asyncio.sleep, 0.01)); started.wait()
    async def number(): return len(asyncio.all_tasks())
    gc.collect()
    print(portal.run(number()))
    """
    assert python(BACKGROUND + textwrap.dedent(code)) == ["2", "cleaned up"]


def test_background_work_is_stopped_when_python_exits() -> None:
    assert python(BACKGROUND + "portal.spawn(background(asyncio.sleep, 0.01)); started.wait()") == [
        "cleaned up"
    ]


def test_a_cleanup_that_never_ends_does_not_hold_python_up() -> None:
    assert python(BACKGROUND + "portal.spawn(background(idle)); started.wait()") == []


def test_an_iterator_left_open_is_closed_when_python_exits() -> None:
    assert python(BACKGROUND + "items = Facade().numbers(); next(items)") == ["closed"]


def test_an_await_left_behind_says_nothing_when_python_exits() -> None:
    code = """
waiting = portal.bridge(background(asyncio.sleep, 0.01))
async def begin():
    waiting.send(None)
asyncio.run(begin())
started.wait()
"""
    assert python(BACKGROUND + code) == ["cleaned up"]


def test_a_call_after_the_exit_of_the_io_thread_is_refused() -> None:
    # Handlers run in reverse order: this one is registered first, before the portal's.
    code = """
import atexit
@atexit.register
def late():
    for call in (portal.run, portal.spawn):
        try:
            call(idle())
        except RuntimeError as error:
            print(error)
"""
    assert (
        python(code + BACKGROUND) == ["seastream_nb cannot be used any more: Python is exiting"] * 2
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("leave", ["sys.exit()", "os._exit(0)"])
def test_a_forked_child_has_an_io_thread_of_its_own(leave: str) -> None:
    code = f"""
import os, sys, warnings
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
async def pid(): return os.getpid()
items = Facade().numbers(); next(items)
portal.spawn(idle()); started.wait()
parent = portal.loop()
child = os.fork()
if child == 0:
    print(portal.run(pid()) == os.getpid(), portal.loop() is not parent, flush=True)
    {leave}
os.waitpid(child, 0)
print(portal.run(pid()) == os.getpid(), portal.loop() is parent, next(items))
"""
    assert python(BACKGROUND + code) == ["True True", "True True 2", "closed"]


# In kernels


@pytest.fixture(scope="module")
def kernel(matrix_kernel: Kernel) -> Kernel:
    cell, _ = matrix_kernel.run(KERNEL_SETUP)
    assert cell.error is None
    return matrix_kernel


KERNEL_SETUP = """
import asyncio, time
from seastream_nb import members, portal
cleaned = []
async def wait(name):
    print("waiting", flush=True)
    try:
        await asyncio.sleep(3600)
    finally:
        await asyncio.sleep(0.01)
        cleaned.append(name)
async def answer():
    return "next call works"
"""


@pytest.mark.parametrize(
    ("call", "errors"),
    [
        ("portal.run(wait('{}'))", {"KeyboardInterrupt"}),
        ("await portal.bridge(wait('{}'))", {"KeyboardInterrupt", "CancelledError"}),
    ],
    ids=["blocking", "awaiting"],
)
def test_the_stop_button_ends_a_cell_at_once_and_cleans_up(
    kernel: Kernel, call: str, errors: set[str]
) -> None:
    cell, seconds = kernel.run(call.format("cleaned up"), interrupt_at="waiting")
    assert cell.error in errors
    assert seconds < 2
    after, _ = kernel.run("print(cleaned.pop())\nprint(portal.run(answer()))")
    assert after.lines == ["cleaned up", "next call works"]


def test_background_work_goes_on_while_a_cell_computes(kernel: Kernel) -> None:
    cell, _ = kernel.run("""
ticks = 0
async def tick():
    global ticks
    while True:
        await asyncio.sleep(0.01)
        ticks += 1
ticking = portal.spawn(tick())
until = time.monotonic() + 30
while ticks < 10 and time.monotonic() < until:
    sum(range(1000))
ticking.cancel()
print(ticks >= 10)
""")
    assert cell.lines == ["True"]
