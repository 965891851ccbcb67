"""Pages of one run, one at a time: each is read when it is asked for, and no other ahead of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pyarrow as pa

from seastream_nb.following import Following

# How often it is looked whether the streamer was closed: a file says nothing then.
LOOK_SECONDS = 1.0


class Pages:
    """Pages of one run; the next one is read when it is asked for, and waits until it is taken."""

    def __init__(self, following: Following) -> None:
        self._batches = following.batches()
        self._read: asyncio.Task[pa.RecordBatch | None] | None = None

    @property
    def failed(self) -> bool:
        """Whether what is read is an error."""
        read = self._read
        return read is not None and read.done() and read.exception() is not None

    async def ready(self, wake: asyncio.Event) -> bool:
        """Whether a page, the end or an error is there; false when something else is to be done."""
        if self._read is None:
            self._read = asyncio.create_task(self._next(), name="seastream live page")
        await first_of(self._read, wake)
        return self._read.done()

    async def stay(self, wake: asyncio.Event) -> None:
        """Ask for nothing, until something is to be done, or what was asked for has failed."""
        reading = self._read is not None and not self._read.done()
        await first_of(self._read if reading else None, wake)

    def take(self) -> pa.RecordBatch | None:
        """The page that is ready; None is the end."""
        read, self._read = self._read, None
        assert read is not None
        return read.result()

    async def close(self) -> None:
        """Stop reading."""
        read, self._read = self._read, None
        if read is not None:
            read.cancel()
            await asyncio.wait([read])
            if not read.cancelled():
                read.exception()  # nobody asks for it any more
        await self._batches.aclose()

    async def _next(self) -> pa.RecordBatch | None:
        return await anext(self._batches, None)


async def first_of(future: asyncio.Future[Any] | None, wake: asyncio.Event) -> None:
    """Wait for the future or the event, but not for long."""
    waking = asyncio.ensure_future(wake.wait())
    both = [waking] if future is None else [waking, future]
    try:
        await asyncio.wait(both, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waking.cancel()
