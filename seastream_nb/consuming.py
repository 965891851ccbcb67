"""What the consumers of all backends share: each ends once, in the process that made it."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from seastream_nb.errors import ConsumerClosed
from seastream_nb.inbox import Inbox
from seastream_nb.options import ConsumerOptions


class ConsumerCore(ABC):
    """The asynchronous core of a consumer.

    Attributes:
        options: how it reads, with group and consumer filled in.
        inbox: the messages that came, for the user's thread to take; another one after a seek.
    """

    def __init__(
        self, options: ConsumerOptions, *, doing: str, release: Callable[[Any], None]
    ) -> None:
        self.options = options
        self.inbox = Inbox()
        self._doing = doing
        self._release = release
        self._closed = False
        self._process = os.getpid()

    def _require_open(self) -> None:
        if self._process != os.getpid():
            raise ConsumerClosed(f"{self._doing}: this consumer is its parent process's; make one")
        if self._closed:
            raise ConsumerClosed(f"{self._doing}: this consumer has ended")

    async def end(self) -> None:
        """Commit everything that is acknowledged, and stop reading. Ending twice is fine."""
        await self._close(commit=True)

    async def abort(self) -> None:
        """Stop reading, and commit nothing more: what was not committed will come again."""
        await self._close(commit=False)

    async def _close(self, *, commit: bool) -> None:
        if self._closed or self._process != os.getpid():
            return
        self._closed = True
        self._release(self)
        try:
            await self._leave(commit=commit)
        finally:
            self.inbox = Inbox()

    @abstractmethod
    async def _leave(self, *, commit: bool) -> None:
        """Wake who waits, and let go of everything; with `commit`, first commit what is due."""
