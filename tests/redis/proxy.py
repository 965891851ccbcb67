"""A TCP proxy that breaks links on purpose, on a thread of its own: usable from any test.

A link through it fails as TCP does: no bytes go missing in the middle of one that lives on.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Literal

from tests.servers import HOST

Mode = Literal["pass", "refuse", "blackhole", "blackhole_down"]
UP, DOWN = "up", "down"
_RESET = struct.pack("ii", 1, 0)  # linger for no time


class Proxy:
    """What stands between clients and a server, and what it does to their links.

    Attributes:
        url, port: where clients connect to.
        target: the server's port; a new one counts for new links.
        delay: seconds that each piece of data takes, give or take a half.
        slicing: whether each byte travels alone.
        accepted: how many links there were.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.delay = 0.0
        self.slicing = False
        self.accepted = 0
        self._mode: Mode = "pass"
        self._cuts: dict[str, int] = {}
        self._late: tuple[float, bool] | None = None
        self._links: set[_Link] = set()
        self._started: Future[int] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="proxy")
        self._thread.start()
        self.port = self._started.result()
        self.url = f"redis://{HOST}:{self.port}"

    # Called by tests, on any thread.

    @property
    def mode(self) -> Mode:
        """What becomes of bytes and of new links; leaving a black hole resets what was in it."""
        return self._mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        lossy, self._mode = "blackhole" in self._mode, mode
        if lossy:
            self.rst()

    def cut_request(self, after: int) -> None:
        """Once: let so many more bytes of requests through, then close that link."""
        self._cuts[UP] = after

    def cut_reply(self, after: int) -> None:
        """Once: let so many more bytes of replies through, then close that link."""
        self._cuts[DOWN] = after

    def lose_reply(self) -> None:
        """Once: the server executes a request, and its reply is lost with the link."""
        self.cut_reply(0)

    def deliver_late(self, after: float = 2.0, *, silent: bool = False) -> None:
        """Once: hold the next request, and deliver it so many seconds later on the old link.

        The client's half is reset at once; when `silent` it stays open, and nothing comes.
        """
        self._late = after, silent

    @property
    def armed(self) -> bool:
        """Whether what shall happen once has not happened yet."""
        return bool(self._cuts or self._late)

    @property
    def holding(self) -> bool:
        """Whether a request is held to be delivered late."""
        return any(link.held for link in [*self._links])

    def disarm(self) -> None:
        """Forget what has not happened yet."""
        self._cuts, self._late = {}, None

    def rst(self) -> None:
        """Reset every link."""
        self._on_the_loop(lambda: [link.reset() for link in self._links])

    def fin(self) -> None:
        """Close every link, as a server does."""
        self._on_the_loop(lambda: [link.close() for link in self._links])

    def close(self) -> None:
        """Reset every link and stop."""
        self._on_the_loop(lambda: self._stop.set())
        self._thread.join()

    def _on_the_loop(self, action: Callable[[], object]) -> None:
        done: Future[object] = Future()
        self._loop.call_soon_threadsafe(lambda: done.set_result(action()))
        done.result()

    # On the thread of the proxy.

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._accept, HOST, 0)
        self._started.set_result(server.sockets[0].getsockname()[1])
        await self._stop.wait()
        server.close()
        for link in (links := [*self._links]):
            link.reset()
            link.task.cancel()
        await asyncio.gather(*(link.task for link in links), return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        link = _Link(writer)
        self._links.add(link)
        try:
            if self._mode != "refuse":
                back, onward = await asyncio.open_connection(HOST, self.target)
                link.halves.append(onward)
                ways = ((UP, reader, onward), (DOWN, back, writer))
                await asyncio.gather(*(self._pump(link, *each) for each in ways))
        except (OSError, asyncio.CancelledError):
            pass  # the server is away, or the test is over
        finally:
            link.reset()
            self._links.discard(link)

    async def _pump(
        self, link: _Link, way: str, source: asyncio.StreamReader, sink: asyncio.StreamWriter
    ) -> None:
        with suppress(OSError):
            while data := await source.read(1 << 16):
                if self.delay:
                    await asyncio.sleep(self.delay * random.uniform(0.5, 1.5))
                if self._mode == "blackhole" or (self._mode == "blackhole_down" and way == DOWN):
                    continue
                if way == UP and self._late is not None:
                    await self._hold(link, sink, data)
                    break
                allowed = self._cuts.get(way, len(data))
                # Before they are written: a test that got them may count from there on.
                if allowed < len(data):
                    del self._cuts[way]
                elif way in self._cuts:
                    self._cuts[way] -= len(data)
                await self._write(sink, data[:allowed])
                if allowed < len(data):
                    break
        if not link.held:
            link.close()

    async def _hold(self, link: _Link, sink: asyncio.StreamWriter, data: bytes) -> None:
        assert self._late is not None
        (after, silent), self._late = self._late, None
        link.held = True
        if not silent:
            _reset(link.halves[0])
        await asyncio.sleep(after)
        await self._write(sink, data)
        link.held = False

    async def _write(self, sink: asyncio.StreamWriter, data: bytes) -> None:
        if not self.slicing:
            sink.write(data)
            return await sink.drain()
        for at in range(len(data)):
            sink.write(data[at : at + 1])
            await asyncio.sleep(0)
        return None


class _Link:
    """Two connections as one: `halves` are the client's and the server's."""

    def __init__(self, client: asyncio.StreamWriter) -> None:
        self.halves = [client]
        self.held = False
        task = asyncio.current_task()
        assert task is not None
        self.task: asyncio.Task[None] = task

    def close(self) -> None:
        for half in self.halves:
            half.close()  # when everything written is on its way

    def reset(self) -> None:
        for half in self.halves:
            _reset(half)


def _reset(half: asyncio.StreamWriter) -> None:
    if not half.transport.is_closing():
        half.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    half.transport.abort()


@contextmanager
def proxied(target: int) -> Iterator[Proxy]:
    """A proxy to the server on this port, gone at the end."""
    proxy = Proxy(target)
    try:
        yield proxy
    finally:
        proxy.close()
