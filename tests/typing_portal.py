"""Facade methods as `mypy --strict` sees them: full signatures, and wrong calls are errors."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from concurrent.futures import Future
from typing import assert_type

from seastream_nb import members, portal


class Core:
    async def next(self, timeout: float | None = None, *, strict: bool = False) -> bytes:
        raise NotImplementedError

    async def pages(self, size: int = 100) -> AsyncGenerator[list[bytes], None]:
        yield []


class Blocking:
    def __init__(self, core: Core) -> None:
        self._core = core

    next = members.blocking(Core.next)
    pages = members.blocking_iter(Core.pages)


class Awaiting:
    def __init__(self, core: Core) -> None:
        self._core = core

    next = members.awaiting(Core.next)
    pages = members.awaiting_iter(Core.pages)


def blocking_methods_have_the_core_signature(consumer: Blocking) -> None:
    assert_type(consumer.next(1.5, strict=True), bytes)
    assert_type(consumer.pages(size=2), Generator[list[bytes], None, None])
    consumer.next("soon")  # type: ignore[arg-type]
    consumer.next(strickt=True)  # type: ignore[call-arg]
    consumer.pages(2, 3)  # type: ignore[call-arg]


async def awaiting_methods_have_the_core_signature(consumer: Awaiting) -> None:
    assert_type(await consumer.next(1.5, strict=True), bytes)
    assert_type(consumer.pages(size=2), AsyncGenerator[list[bytes], None])
    await consumer.next("soon")  # type: ignore[arg-type]
    await consumer.next(strickt=True)  # type: ignore[call-arg]


async def functions_keep_their_types(core: Core) -> None:
    assert_type(portal.run(core.next()), bytes)
    assert_type(await portal.bridge(core.next()), bytes)
    assert_type(portal.iterate(core.pages()), Generator[list[bytes], None, None])
    assert_type(portal.iterate_awaiting(core.pages()), AsyncGenerator[list[bytes], None])
    assert_type(portal.spawn(core.next()), Future[bytes])
    portal.call_soon(print, "text")
    portal.call_soon(core.next, "soon")  # type: ignore[arg-type]
