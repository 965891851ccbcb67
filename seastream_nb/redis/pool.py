"""Links to one server, kept for the next command, replaced when they break.

A command that only reads may be sent again on a new link, until the connection's timeout has
passed; whether a command is such a one, the caller says. Whoever needs a link during an outage
waits for its end as long, except at the very first connect.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from collections.abc import Sequence
from typing import Any

from seastream_nb.errors import ConnectError
from seastream_nb.options import ConnectOptions
from seastream_nb.redis.connection import Link, LinkLost, accepted
from seastream_nb.redis.opening import Address
from seastream_nb.redis.resp import Refusal
from seastream_nb.redis.wire import Argument, pack

MAX_IDLE = 8
# The first connect fails while the user still looks at the cell; later ones may be slow.
FIRST_ATTEMPT = 2.0
ATTEMPT = 5.0
FIRST_PAUSE = 0.02
MAX_PAUSE = 1.0
# After so many seconds without a failure, or a success, pauses are short again.
CALM = 5.0
# A link that was idle for longer is asked for a sign of life before it is used.
TRUSTED = 30.0
# The server will answer soon, and has not executed the command.
_NOT_YET = ("LOADING", "BUSY ", "MASTERDOWN", "TRYAGAIN", "CLUSTERDOWN")
# It has not executed it either; another one will, or this one when its role is clear.
_ELSEWHERE = ("READONLY", "NOREPLICAS")


class LinkPool:
    """Opens, lends and replaces links. Used on the I/O thread only."""

    def __init__(self, address: Address, options: ConnectOptions) -> None:
        self.address = address
        self.options = options
        self.closed = False
        self._idle: list[tuple[Link, float]] = []  # each with when it was given back
        self._lent: set[Link] = set()
        self._pause = FIRST_PAUSE
        self._failed_at = float("-inf")

    async def connect(self) -> None:
        """Make sure that the server answers: one attempt, or with `wait` until the timeout.

        Raises:
            ConnectError, AuthError, ConfigError: naming what was tried.
        """
        if self.options.wait:
            self.give_back(await self.take())
        else:
            self.give_back(await self._open(min(FIRST_ATTEMPT, self.options.timeout)))

    async def take(self, deadline: float | None = None, doing: str = "") -> Link:
        """A link for one user at a time; an outage is waited out until `deadline`.

        `deadline` is in the loop's time, and by default as far away as the connection's timeout.

        Raises:
            ConnectError: the outage lasted longer, or the pool is closed; begins with `doing`.
            AuthError, ConfigError: at once, since waiting does not cure it.
        """
        loop = asyncio.get_running_loop()
        started, attempts = loop.time(), 0
        if deadline is None:
            deadline = started + self.options.timeout
        said = f"{doing}: " if doing else ""
        while True:
            if (link := await self._take_idle()) is not None:
                return link
            attempts += 1
            try:
                return await self._open(max(FIRST_PAUSE, min(ATTEMPT, deadline - loop.time())))
            except ConnectError as error:
                if self.closed:
                    raise
                if isinstance(error.__cause__, ssl.SSLCertVerificationError):
                    raise ConnectError(f"{said}{error}") from error.__cause__
                left = deadline - loop.time()
                if left <= 0:
                    tried = f"{attempts} attempts in {loop.time() - started:.1f} s"
                    raise ConnectError(f"{said}{error}; gave up after {tried}") from error
            await asyncio.sleep(min(left, self._next_pause()))

    async def reopen(self, deadline: float, doing: str) -> Link:
        """Another link after one broke, not at once: a server may close every link it gets.

        Raises:
            ConnectError, AuthError, ConfigError: as `take`.
        """
        self._require_open()
        pause = self._next_pause()
        if asyncio.get_running_loop().time() + pause > deadline:
            raise ConnectError(f"{doing}; gave up after {self.options.timeout:g} s")
        await asyncio.sleep(pause)
        return await self.take(deadline, doing)

    def worked(self) -> None:
        """A link did what it is for: the next outage is another one, with short pauses first."""
        self._failed_at = float("-inf")

    def give_back(self, link: Link) -> None:
        """Keep a healthy link for the next user."""
        self._lent.discard(link)
        if link.alive and not self.closed and len(self._idle) < MAX_IDLE:
            self._idle.append((link, time.monotonic()))
        else:
            link.drop()

    async def call(self, *command: Argument, doing: str) -> Any:
        """The reply to a command that only reads; it is sent again if the link breaks.

        Raises:
            ConnectError, AuthError, ServerError.
        """
        return accepted((await self.replies([command], doing=doing))[0], doing)

    async def replies(self, commands: Sequence[Sequence[Argument]], *, doing: str) -> list[Any]:
        """The replies to commands sent as one pipeline; refusals are among them.

        They are sent again if the link breaks, so executing them twice must do no harm.

        Raises:
            ConnectError: the server was away, or not ready, for the whole timeout.
            AuthError: it is back, and refuses the credentials.
        """
        return await self.packed_replies([pack(command) for command in commands], doing=doing)

    async def packed_replies(self, packed: Sequence[bytes], *, doing: str) -> list[Any]:
        """The same for commands that are packed already."""
        if not packed:
            return []  # no answer would come
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.options.timeout
        link = await self.take(deadline, doing)
        while True:
            try:
                request = link.request(packed, len(packed))
                answers = await link.answer(request, max(FIRST_PAUSE, deadline - loop.time()))
                trouble = next(filter(not_yet, answers), None)
                if trouble is None:
                    self.worked()
                    return answers
            except LinkLost as lost:
                trouble = lost
            finally:
                self.give_back(link)
            link = await self.reopen(deadline, f"{doing}: {trouble}")

    def close(self) -> None:
        """Drop every link, lent ones too."""
        self.closed = True
        for link in [*self._lent, *(link for link, _ in self._idle)]:
            link.drop()
        self._idle.clear()
        self._lent.clear()

    async def _take_idle(self) -> Link | None:
        while self._idle:
            link, since = self._idle.pop()
            self._lent.add(link)
            if time.monotonic() - since > TRUSTED:
                await self._probe(link)
            if link.alive:
                return link
            self.give_back(link)
        return None

    async def _probe(self, link: Link) -> None:
        """Break a link that a firewall or a sleeping laptop has cut silently."""
        try:
            await link.answer(link.request([pack(["PING"])], 1), FIRST_ATTEMPT)
        except LinkLost:
            link.drop()
        except BaseException:
            self.give_back(link)
            raise

    async def _open(self, within: float) -> Link:
        self._require_open()
        link = await Link.open(self.address, self.options, within)
        try:
            self._require_open()
        except ConnectError:
            link.drop()
            raise
        self._lent.add(link)
        return link

    def _require_open(self) -> None:
        if self.closed:
            raise ConnectError(f"the connection to {self.address} is closed")

    def _next_pause(self) -> float:
        """Seconds before another attempt: the more often it failed lately, the longer."""
        now = time.monotonic()
        calm = now - self._failed_at > CALM
        self._failed_at = now
        self._pause = FIRST_PAUSE if calm else min(MAX_PAUSE, 2 * self._pause)
        return self._pause * random.uniform(0.5, 1.0)  # noqa: S311 - jitter


def not_yet(reply: Any) -> bool:
    """Whether a refusal says that the server did nothing and will soon be ready."""
    return isinstance(reply, Refusal) and str(reply).startswith(_NOT_YET)


def waited_out(reply: Any) -> bool:
    """Whether a refusal says that a write was not executed, here, but will be some time later."""
    return not_yet(reply) or (isinstance(reply, Refusal) and str(reply).startswith(_ELSEWHERE))
