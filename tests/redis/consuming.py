"""What the tests of consumers share: both facades driven alike, and what the server counted."""

from __future__ import annotations

import asyncio
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any

import seastream_nb as ss

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import redis


class Blocking:
    """The blocking facade."""

    def consumer(self, url: str, *keys: str | bytes, **options: Any) -> Any:
        self._streamer = ss.connect(url)
        return self._streamer.consumer(*keys, **options)

    def close(self) -> None:
        self._streamer.close()


class Awaiting:
    """The awaiting facade, each of its coroutines run to its end by whoever calls it."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()

    def consumer(self, url: str, *keys: str | bytes, **options: Any) -> Any:
        async def create() -> ss.AsyncConsumer:
            self._streamer = await ss.connect_async(url)
            return await self._streamer.consumer(*keys, **options)

        return Driven(self._runner, self._runner.run(create()))

    def close(self) -> None:
        self._runner.run(self._streamer.close())
        self._runner.close()


class Driven:
    """An `AsyncConsumer` whose members wait, as those of a `Consumer` do."""

    def __init__(self, runner: asyncio.Runner, target: ss.AsyncConsumer) -> None:
        self._runner = runner
        self._target = target

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._target, name)
        return self._waiting(member) if iscoroutinefunction(member) else member

    def _waiting(self, member: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, **options: self._runner.run(member(*args, **options))

    def __iter__(self) -> Iterator[ss.Message]:
        items = aiter(self._target)
        while True:
            yield self._runner.run(anext(items))  # type: ignore[arg-type]


def payloads(messages: list[ss.Message]) -> list[bytes]:
    return [message.payload for message in messages]


def numbers(messages: list[ss.Message]) -> list[int]:
    return [int(message.payload) for message in messages]


def send(client: redis.Redis, key: str | bytes, *values: object) -> list[bytes]:
    """Send each value as the payload of one message; the entry ids."""
    return [client.xadd(key, {b"msg": str(value).encode()}) for value in values]


def calls(client: redis.Redis, command: str) -> int:
    """How often the server has executed a command since its start."""
    stats: dict[str, dict[str, int]] = client.info("commandstats")
    return stats.get(f"cmdstat_{command}", {}).get("calls", 0)
