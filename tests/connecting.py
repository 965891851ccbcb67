"""Connecting the same way on both facades, for tests of what happens then."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import seastream_nb as ss

# "Within a second", with slack for a busy machine.
SOON = 3.0
Connect = Callable[..., tuple[str, str]]


def connect_blocking(*target: Any, **options: Any) -> tuple[str, str]:
    """Connect, ask the server something, close; the streamer's URL and repr."""
    with ss.connect(*target, **options) as streamer:
        streamer.catalog()
        return streamer.url, repr(streamer)


def connect_awaiting(*target: Any, **options: Any) -> tuple[str, str]:
    """The same on the awaiting facade."""

    async def connect() -> tuple[str, str]:
        async with ss.connect_async(*target, **options) as streamer:
            await streamer.catalog()
            return streamer.url, repr(streamer)

    return asyncio.run(connect())


BOTH: dict[str, Connect] = {"blocking": connect_blocking, "awaiting": connect_awaiting}


@contextmanager
def soon() -> Iterator[None]:
    """What is done inside takes no longer than a user looks at a cell."""
    started = time.monotonic()
    yield
    assert time.monotonic() - started < SOON
