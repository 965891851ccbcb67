"""A group of one consumer that goes on where it was: what it took, acknowledged and committed.

Of each stream only an unbroken run of acknowledged messages moves the position, so that nothing
before it is forgotten; what was acknowledged behind a gap comes again after a restart.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from functools import partial
from itertools import groupby
from typing import Any

from seastream_nb import portal
from seastream_nb.committing import RULES, Acks, Ledger, joined
from seastream_nb.errors import StreamError
from seastream_nb.file.format import FileHeader
from seastream_nb.file.positions import Positions
from seastream_nb.file.reader import FileBatch, Position
from seastream_nb.file.session import in_thread
from seastream_nb.file.tail import Tail
from seastream_nb.inbox import Inbox
from seastream_nb.options import ConsumerOptions

# How often it is noticed what was handed over, while something is.
NOTICE_SECONDS = 0.05

Entry = tuple[bytes, bytes]
"""Key and id of a message."""


class Run:
    """The messages of one stream that were received and not committed, in the order of the file.

    >>> run = Run()
    >>> for n in (1, 2, 3):
    ...     run.received((b"a", b"%d-0" % n), (128, n))
    >>> run.done((b"a", b"2-0")), run.passed()
    (None, None)
    >>> run.done((b"a", b"1-0")), run.passed(), run.passed()
    (None, (128, 2), None)
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[Entry, Position]] = deque()
        self._open: set[Entry] = set()

    def __len__(self) -> int:
        return len(self._waiting)

    def received(self, entry: Entry, behind: Position) -> None:
        """A message came, and this position is behind it."""
        self._waiting.append((entry, behind))
        self._open.add(entry)

    def done(self, entry: Entry) -> None:
        """A message was committed; one that was read elsewhere, after a seek, is none of these."""
        self._open.discard(entry)

    def passed(self) -> Position | None:
        """The position behind all messages that are done before the first that is not."""
        position = None
        while self._waiting and self._waiting[0][0] not in self._open:
            _, position = self._waiting.popleft()
        return position


class Resumption:
    """This consumer as the one of its group. Used on the I/O thread, except where said.

    Attributes:
        rule: what `auto_commit` means.
        inbox: the group's messages that came, also while the consumer reads elsewhere.
        acked: messages that the user acknowledged, as (key, id); his thread adds them.
    """

    def __init__(self, positions: Positions, options: ConsumerOptions) -> None:
        assert options.group is not None
        self._name = options.group
        self._positions = positions
        self._options = options
        self.rule = RULES[options.auto_commit]
        self.inbox = Inbox(tells=self.rule.acks_itself)
        self.acked: deque[Entry] = deque()
        delayed = options.auto_commit == "delayed"
        self._ledger = Ledger(options.auto_commit_delay if delayed else 0.0)
        self._runs: dict[str, Run] = {}
        self._streams: dict[bytes, str] = {}
        self._header: FileHeader | None = None
        self._next_ride = 0.0
        self._committing = asyncio.Lock()
        self._unkept: dict[str, Position] = {}
        self._failure: StreamError | None = None
        self._soon: asyncio.Task[None] | None = None
        self._came = asyncio.Event()
        self._tending: asyncio.Task[None] | None = None

    async def join(self, streams: tuple[str, ...], begin: Tail) -> dict[str, Position]:
        """Where the group stands in each of its streams; a new one begins where this tail does.

        Raises:
            ConfigError: the positions are of another file that had its name.
            FileError: they cannot be read or written.
        """
        blocks = begin.opened()
        self._header = None if blocks is None else blocks.header
        joining = partial(self._positions.join, self._name, streams, begin.offset, self._header)
        positions = await in_thread(joining)
        if self.rule.acks_itself and self._tending is None:
            self._tending = asyncio.create_task(self._tend(), name="seastream group")
        return positions

    def received(self, batch: FileBatch, header: FileHeader | None) -> None:
        """Messages came, and are put in the inbox."""
        self._header = header
        whole = zip(batch.origins, batch.ids, batch.rows, strict=True)
        for stream, messages in groupby(whole, lambda each: each[0].stream):
            run = self._runs.setdefault(stream, Run())
            for origin, entry_id, row in messages:
                self._streams[origin.key] = stream
                run.received((origin.key, entry_id.wire()), (batch.base, row + 1))
        self.inbox.add(batch)
        self._came.set()

    def tell(self) -> None:
        """Raise what a commit in the background failed with, once."""
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    # Called by the user's thread.

    def ride(self) -> None:
        """Commit with a call that takes messages, where commits ride on those."""
        if self.acked and self.rule.rides and (now := time.monotonic()) >= self._next_ride:
            self._next_ride = now + self._options.auto_commit_interval
            portal.call_soon(self.commit_soon)

    # Committing.

    def commit_soon(self) -> None:
        """Commit what is acknowledged, in the background."""
        if self._soon is None or self._soon.done():
            self._soon = asyncio.create_task(self._commit_quietly(), name="seastream commit")

    async def commit(self) -> None:
        """Commit what is acknowledged, and return when the positions are kept.

        Raises:
            FileError, ConfigError: they could not be; nothing is forgotten.
        """
        self._note()
        await self._keep(self._ledger.everything())

    async def close(self, *, commit: bool) -> None:
        """Commit what is acknowledged, if wanted, and nothing later."""
        for task in (self._tending, self._soon):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
        if commit:
            await self.commit()

    async def _tend(self) -> None:
        """Commit what was handed over when it is due."""
        while True:
            self._note()
            if acks := self._ledger.due(time.monotonic()):
                try:
                    await self._keep(acks)
                except StreamError as error:
                    self._failure = error
            if not any(self._runs.values()):
                self._came.clear()
                await self._came.wait()
            await asyncio.sleep(NOTICE_SECONDS)

    async def _commit_quietly(self) -> None:
        try:
            await self.commit()
        except StreamError as error:
            self._failure = error

    def _note(self) -> None:
        """Note what was acknowledged, or handed over where that is the same."""
        acks: Acks = {}
        while self.acked:
            key, entry_id = self.acked.popleft()
            acks.setdefault(key, []).append(entry_id)
        told: dict[bytes, list[Any]] = dict(self.inbox.handed_over())
        handed: Acks = {
            key: [entry_id.wire() for entry_id in ids]  # those of files are `EntryId`
            for key, ids in told.items()
        }
        self._ledger.note(joined([acks, handed]), time.monotonic())

    async def _keep(self, acks: Acks) -> None:
        async with self._committing:
            for key, ids in acks.items():
                for entry_id in ids if key in self._streams else ():
                    self._runs[self._streams[key]].done((key, entry_id))
            for stream, run in self._runs.items():
                position = run.passed()
                if position is not None:
                    self._unkept[stream] = position
            if self._unkept:
                kept = dict(self._unkept)
                await in_thread(partial(self._positions.keep, self._name, kept, self._header))
                # Only now: what could not be kept is tried again with the next commit.
                for stream, position in kept.items():
                    if self._unkept.get(stream) == position:
                        del self._unkept[stream]
