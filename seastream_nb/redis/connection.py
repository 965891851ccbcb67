"""One connection: commands go out pipelined, replies come back in order, raw.

redis-py opens it (TCP, unix socket, TLS, AUTH); then our own protocol takes the transport over.
Nothing is retried here: redis-py's retries duplicate XADDs and strand pages, so whoever sends a
command decides, by what it knows of the command's fate.

Rules this file keeps:

* A reply belongs to the oldest command without one. A waiter that gave up leaves its place in
  the queue, so its reply is read and dropped, and the connection stays usable.
* What is known when the link breaks is told: `LinkLost.replies` are the answers that came.
* A server's refusal is a value until somebody asks for it: other commands of the same pipeline
  were executed.
* A forked child never touches a link of its parent: socket and event loop are shared with it.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

from seastream_nb.errors import AuthError, ServerError, StreamError
from seastream_nb.options import ConnectOptions
from seastream_nb.redis.opening import Address, open_transport
from seastream_nb.redis.resp import ProtocolError, Refusal, ReplyBuffer, ReplyKind
from seastream_nb.redis.wire import Argument, pack

# How long a read waits at the server. A link silent for longer than this and the timeout is dead.
BLOCK_MS = 1_000

_DENIED = ("NOAUTH", "WRONGPASS", "NOPERM")


class LinkLost(Exception):
    """The connection broke; `replies` came before it did."""

    def __init__(self, reason: str, replies: Sequence[Any] = ()) -> None:
        super().__init__(reason)
        self.replies = list(replies)


class _Pending:
    """Replies that one caller waits for."""

    __slots__ = ("count", "future", "kind", "replies")

    def __init__(self, future: asyncio.Future[list[Any]], kind: ReplyKind, count: int) -> None:
        self.future = future
        self.kind = kind
        self.count = count
        self.replies: list[Any] = []

    def take_from(self, buffer: ReplyBuffer) -> bool:
        """Take what is there; whether all is there."""
        if self.kind is ReplyKind.PLAIN:
            buffer.fill(self.replies, self.count)
        while len(self.replies) < self.count:
            reply = buffer.next_reply(self.kind)
            if reply is ReplyBuffer.NEED_MORE:
                return False
            self.replies.append(reply)
        if not self.future.done():
            self.future.set_result(self.replies)
        return True


class Link(asyncio.BufferedProtocol):
    """A connection of our own protocol. Used on the I/O thread only."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._process = os.getpid()
        self._transport: asyncio.Transport | None = None
        self._buffer = ReplyBuffer()
        self._pending: deque[_Pending] = deque()
        self._lost: str | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    @classmethod
    async def open(cls, address: Address, options: ConnectOptions, within: float) -> Link:
        """Connect and authenticate, in one attempt that takes `within` seconds at most.

        Raises:
            ConnectError: nothing answers, TLS fails, or the server is not ready.
            AuthError: the credentials were refused.
            ConfigError: the server has no such database.
        """
        link = cls(address)
        link._transport = await open_transport(address, options, within)
        link._transport.set_protocol(link)
        return link

    @property
    def alive(self) -> bool:
        """Whether commands can be sent."""
        return self._lost is None and self._process == os.getpid()

    def request(
        self, commands: Iterable[bytes], count: int, kind: ReplyKind = ReplyKind.PLAIN
    ) -> asyncio.Future[list[Any]]:
        """Write packed commands; the future holds their `count` replies in order.

        Refusals are among the replies, as `Refusal` values. The future fails with `LinkLost`.
        """
        future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        if self._transport is None or not self.alive:
            future.set_exception(LinkLost(self._lost or "it belongs to the parent process"))
            future.exception()  # nobody may come for it, and that is no news
            return future
        self._pending.append(_Pending(future, kind, count))
        self._transport.writelines(commands)
        return future

    async def call(self, *command: Argument, timeout: float, doing: str) -> Any:
        """One command, one reply.

        Raises:
            LinkLost: the link broke or did not answer within `timeout` seconds.
            ServerError, AuthError: the server refused; the text is its own.
        """
        return accepted((await self.answer(self.request([pack(command)], 1), timeout))[0], doing)

    async def answer(self, future: asyncio.Future[list[Any]], timeout: float) -> list[Any]:
        """The replies of a request; a link that stays silent for `timeout` seconds is dropped."""
        try:
            async with asyncio.timeout(timeout):
                return await future
        except TimeoutError:
            reason = f"no answer within {round(timeout, 1):g} s"
            self.drop(reason)
            raise LinkLost(reason) from None

    async def drained(self) -> None:
        """Wait until the peer has taken most of what was written."""
        await self._writable.wait()

    def drop(self, reason: str = "closed") -> None:
        """Break the link now; whoever waits gets `LinkLost`."""
        if self.alive:
            self._lost = reason
            if self._transport is not None:
                self._transport.abort()
            self._fail(reason)

    # asyncio calls these.

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the transport puts the next bytes."""
        return self._buffer.get_buffer(sizehint)

    def buffer_updated(self, nbytes: int) -> None:
        """Hand complete replies to their waiters."""
        self._buffer.written(nbytes)
        try:
            while self._pending:
                waiter = self._pending[0]
                complete = waiter.take_from(self._buffer)
                if complete:
                    self._pending.popleft()
                if waiter.replies and _is_last(waiter.replies[-1]):
                    self.drop(f"the server closes the link: {waiter.replies[-1]}")
                    return
                if not complete:
                    return
            unasked = self._buffer.next_reply(ReplyKind.PLAIN)
            if unasked is not ReplyBuffer.NEED_MORE:
                # From here on no reply could be told from another's.
                self.drop(f"the server said unasked: {unasked}")
        except ProtocolError as error:
            self.drop(f"the server broke the protocol: {error}")

    def eof_received(self) -> bool:
        """Close when the server does."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the waiters."""
        if self._lost is None:
            self._lost = str(exc) if exc else "the server closed the connection"
            self._fail(self._lost)
        self._writable.set()

    def pause_writing(self) -> None:
        """The transport holds enough."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """The transport can take more."""
        self._writable.set()

    def _fail(self, reason: str) -> None:
        self._buffer.close()
        pending, self._pending = self._pending, deque()
        for waiter in pending:
            if not waiter.future.done():
                waiter.future.set_exception(LinkLost(reason, waiter.replies))
                waiter.future.exception()  # nobody may come for it, as after a prefetch


def _is_last(reply: Any) -> bool:
    """Whether the server closes the link after this: what was sent to it then would be lost."""
    return isinstance(reply, Refusal) and str(reply).startswith("ERR Protocol error")


def accepted(reply: Any, doing: str) -> Any:
    """The reply, unless it is a refusal.

    Raises:
        AuthError: the ACL or a missing login forbids it.
        ServerError: any other refusal. Both keep the server's own text.
    """
    if isinstance(reply, Refusal):
        raise refused(reply, doing)
    return reply


def refused(refusal: Refusal, doing: str) -> StreamError:
    """The error for a refusal: what was attempted, then the server's own text."""
    text = str(refusal)
    kind = AuthError if text.startswith(_DENIED) else ServerError
    return kind(f"{doing}: {text}")
