"""Servers that misbehave on purpose, and pools to meet them, on the event loop of the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

from seastream_nb.options import ConnectOptions
from seastream_nb.redis.opening import Address
from seastream_nb.redis.pool import LinkPool
from seastream_nb.url import Secret
from tests.servers import HOST

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


@asynccontextmanager
async def listening(script: Script) -> AsyncIterator[int]:
    """The TCP port on which `script` has each connection to itself until it returns."""
    at_work: set[asyncio.Task[None]] = set()
    idle = asyncio.Event()
    idle.set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        work = asyncio.create_task(script(reader, writer))
        at_work.add(work)
        idle.clear()
        await asyncio.wait([work])
        # A client that goes away in the middle is what these tests are about.
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            work.result()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        at_work.discard(work)
        if not at_work:
            idle.set()

    server = await asyncio.start_server(serve, HOST, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for work in at_work:
            work.cancel()
        await idle.wait()


async def command(reader: asyncio.StreamReader) -> list[bytes]:
    """The next command that a client sends."""
    count = int((await reader.readline())[1:])
    words = []
    for _ in range(count):
        size = int((await reader.readline())[1:])
        words.append((await reader.readexactly(size + 2))[:-2])
    return words


async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer what is sent when a connection is opened."""
    assert await command(reader) == [b"PING"]
    writer.write(b"+PONG\r\n")


class CuttingProxy:
    """Passes a connection on to a server, and cuts the first one after so many bytes of replies.

    Attributes:
        replied: bytes that the server has sent through it, in all.
    """

    def __init__(self, socket_path: str) -> None:
        self._socket_path = socket_path
        self.cut_after: int | None = None
        self.replied = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind, onward = await asyncio.open_unix_connection(self._socket_path)
        forth = asyncio.create_task(_pass_on(reader, onward))
        try:
            while data := await behind.read(1 << 16):
                self.replied += len(data)
                if self.cut_after is not None and len(data) > self.cut_after:
                    writer.write(data[: self.cut_after])
                    self.cut_after = None
                    return
                if self.cut_after is not None:
                    self.cut_after -= len(data)
                writer.write(data)
        finally:
            forth.cancel()
            onward.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            writer.write(data)


@asynccontextmanager
async def pool_of(address: Address, **options: Any) -> AsyncIterator[LinkPool]:
    """A pool with these connection options, closed at the end."""
    pool = LinkPool(address, ConnectOptions.make(options))
    try:
        yield pool
    finally:
        pool.close()


def tcp(port: int, password: str | None = None) -> Address:
    """A port of this machine."""
    secret = None if password is None else Secret(password)
    return Address(shown=f"redis://{HOST}:{port}", host=HOST, port=port, password=secret)


@asynccontextmanager
async def pool_against(script: Script, **options: Any) -> AsyncIterator[LinkPool]:
    """A pool of links to a server that does as the script says."""
    async with listening(script) as port, pool_of(tcp(port), **options) as pool:
        yield pool
