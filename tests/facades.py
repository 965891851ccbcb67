"""Both facades driven alike, so that one script of a test runs on each of them."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any

import seastream_nb as ss

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

PATIENCE = 20.0
# What each consumer received: (its place among the consumers, the message).
Turns = list[tuple[int, ss.Message]]


class BlockingFacade:
    """A `Streamer`."""

    def __init__(self, url: str, **options: Any) -> None:
        self._streamer = ss.connect(url, **options)

    def producer(self, *args: Any, **options: Any) -> Any:
        return self._streamer.producer(*args, **options)

    def consumer(self, *keys: str | bytes, **options: Any) -> Any:
        return self._streamer.consumer(*keys, **options)

    def give_up(self, consumer: Any, seconds: float) -> None:
        """Wait for a message that is not expected, and stop waiting."""
        with suppress(TimeoutError):
            consumer.next(seconds)

    def race(self, consumers: Sequence[Any], count: int) -> Turns:
        """Let every consumer take messages, a millisecond between two, until `count` came."""
        turns: Turns = []
        enough = threading.Event()

        def loop(who: int, consumer: Any) -> None:
            while not enough.wait(0.001):
                with suppress(TimeoutError):
                    turns.append((who, consumer.next(0.1)))
                if len(turns) >= count:
                    enough.set()

        threads = [threading.Thread(target=loop, args=pair) for pair in enumerate(consumers)]
        for thread in threads:
            thread.start()
        enough.wait(PATIENCE)
        enough.set()
        for thread in threads:
            thread.join()
        return turns

    def close(self) -> None:
        self._streamer.close()


class AwaitingFacade:
    """An `AsyncStreamer`, each of its coroutines run to its end by whoever calls it."""

    def __init__(self, url: str, **options: Any) -> None:
        async def connect() -> ss.AsyncStreamer:
            return await ss.connect_async(url, **options)

        self._runner = asyncio.Runner()
        self._streamer = self._runner.run(connect())

    def producer(self, *args: Any, **options: Any) -> Any:
        return Waiting(self._runner, self._runner.run(self._streamer.producer(*args, **options)))

    def consumer(self, *keys: str | bytes, **options: Any) -> Any:
        return Waiting(self._runner, self._runner.run(self._streamer.consumer(*keys, **options)))

    def give_up(self, consumer: Any, seconds: float) -> None:
        """Begin to wait for a message, and cancel that after so many seconds."""

        async def cancelled() -> None:
            waiting = asyncio.create_task(consumer.target.next())
            await asyncio.sleep(seconds)
            waiting.cancel()
            with suppress(asyncio.CancelledError):
                await waiting

        self._runner.run(cancelled())

    def race(self, consumers: Sequence[Any], count: int) -> Turns:
        """Let every consumer take messages, a millisecond between two, until `count` came."""
        turns: Turns = []

        async def loop(who: int, consumer: Any) -> None:
            while len(turns) < count:
                turns.append((who, await consumer.target.next()))
                await asyncio.sleep(0.001)

        async def run() -> None:
            tasks = [asyncio.create_task(loop(*pair)) for pair in enumerate(consumers)]
            await asyncio.wait(tasks, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

        self._runner.run(run())
        return turns

    def close(self) -> None:
        self._runner.run(self._streamer.close())
        self._runner.close()


class Waiting:
    """An `AsyncProducer` or `AsyncConsumer` whose members wait, as those of their twins do."""

    def __init__(self, runner: asyncio.Runner, target: Any) -> None:
        self.target = target
        self._runner = runner

    def __getattr__(self, name: str) -> Any:
        member = getattr(self.target, name)
        return self._waiting(member) if iscoroutinefunction(member) else member

    def _waiting(self, member: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, **options: self._runner.run(member(*args, **options))

    def __iter__(self) -> Iterator[Any]:
        items = aiter(self.target)
        while True:
            yield self._runner.run(anext(items))


Facade = BlockingFacade | AwaitingFacade
FACADES: list[type[Facade]] = [BlockingFacade, AwaitingFacade]
