"""Groups that share the messages of a file, among consumers of one process.

Who gets a message follows from its sequence number: of the members on its stream, in the order in
which they joined, the one at `sequence mod members`. Each member reads for itself and picks its
own, so a slow one holds nobody back, and nothing piles up for it.

    members    A B        A B C            from where each epoch begins, all agree on it: what
    epoch      0 ─────── offset ────►      anyone has read is before it

What a member leaves untaken is handed to the others.
"""

from __future__ import annotations

import asyncio
import os
from bisect import bisect_right
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from functools import partial
from math import inf
from pathlib import Path

import numpy as np

from seastream_nb.errors import FileError, StreamEnded
from seastream_nb.file.handle import Identity, identity
from seastream_nb.file.reader import FileBatch, Reader
from seastream_nb.file.selection import Selection
from seastream_nb.file.session import in_thread
from seastream_nb.file.tail import Tail
from seastream_nb.inbox import Batch, Inbox
from seastream_nb.page import Numbers


class Epochs:
    """The members on each stream of a file, and from which offset on.

    >>> epochs = Epochs()
    >>> epochs.begin("s", 128, ["A"])
    >>> epochs.begin("s", 500, ["A", "B"])
    >>> epochs.members("s", 499), epochs.members("s", 500), epochs.members("t", 500)
    (('A',), ('A', 'B'), ())
    >>> epochs.next_after(["s", "t"], 128), epochs.next_after(["s"], 500)
    (500, None)
    """

    def __init__(self) -> None:
        self._begins: dict[str, list[int]] = {}
        self._members: dict[str, list[tuple[object, ...]]] = {}

    def begin(self, stream: str, offset: int, members: Iterable[object]) -> None:
        """From here on a stream has these members."""
        self._begins.setdefault(stream, []).append(offset)
        self._members.setdefault(stream, []).append(tuple(members))

    def members(self, stream: str, offset: int) -> tuple[object, ...]:
        """Who shares the messages of a stream that begin at this offset."""
        at = bisect_right(self._begins.get(stream, []), offset)
        return self._members[stream][at - 1] if at else ()

    def next_after(self, streams: Iterable[str], offset: int) -> int | None:
        """Where the members of one of these streams are others than at this offset."""
        after = []
        for stream in streams:
            begins = self._begins.get(stream, [])
            after += begins[bisect_right(begins, offset) :][:1]
        return min(after, default=None)

    def forget(self, offset: int) -> None:
        """Nobody asks for what is before this offset any more."""
        for stream, begins in self._begins.items():
            gone = max(0, bisect_right(begins, offset) - 1)
            del begins[:gone], self._members[stream][:gone]

    def copy(self) -> Epochs:
        """The same as it is now."""
        other = Epochs()
        other._begins = {stream: list(each) for stream, each in self._begins.items()}
        other._members = {stream: list(each) for stream, each in self._members.items()}
        return other


class Group:
    """The members of one group of one file; used on the I/O thread."""

    def __init__(self) -> None:
        self.members: list[Member] = []
        # Held while a member reads, so that nobody does while the members change.
        self.turn = asyncio.Lock()
        self.start_over()

    def start_over(self) -> None:
        """Nobody is left who knows where the group was."""
        self.epochs, self._reached = Epochs(), 0

    def reached(self) -> int:
        """How far the file was read by any member, also by one that has left."""
        self._reached = max([self._reached, *(member.at for member in self.members)])
        return self._reached

    def change(self, streams: Iterable[str], offset: int) -> None:
        """The members of these streams have changed; from this offset on it counts."""
        for stream in streams:
            own = [member for member in self.members if stream in member.streams]
            self.epochs.begin(stream, offset, own)

    def forget(self) -> None:
        """Drop the epochs that every member has passed."""
        if self.members:
            self.epochs.forget(min(member.at for member in self.members))


class Member:
    """One consumer in its group, which gets its share of the messages.

    Attributes:
        streams: the streams that it reads.
        offset: where it begins.
    """

    def __init__(self, group: Group, path: Path, selection: Selection, offset: int) -> None:
        self.streams = selection.keys
        self.offset = offset
        self.turn = group.turn
        self.told: Callable[[], object] | None = None
        self._group = group
        self._epochs = group.epochs
        self._path = path
        self._selection = selection
        self._reader: Reader | None = None
        # What others left: messages, and parts of the file that are not read yet.
        self._left: deque[Batch] = deque()
        self._errands: deque[Reader] = deque()

    @property
    def at(self) -> int:
        """How far it has read."""
        return self.offset if self._reader is None else self._reader.tail.offset

    def reads(self, reader: Reader, told: Callable[[], object]) -> Reader:
        """This is what reads for it, and whom to tell of what others leave."""
        self._reader, self.told = reader, told
        return reader

    def take(self) -> Batch | None:
        """Of what others left, the next messages."""
        if self._left:
            return self._left.popleft()
        for errand in list(self._errands):
            batch = errand.take()
            if batch is not None:
                return batch
            if errand.finished:
                self._errands.remove(errand)
                if not isinstance(errand.failure, StreamEnded):
                    errand.raise_failure()
        return None

    @property
    def owes(self) -> bool:
        """Whether more of what others left is to come."""
        return bool(self._left or self._errands)

    # What its reader asks, in a worker thread, holding the turn.

    def stop_after(self, offset: int) -> int | None:
        """Where the members are others than at this offset."""
        return self._epochs.next_after(self.streams, offset)

    def mine(self, stream: str, offset: int, sequences: Numbers) -> Numbers:
        """Of a stream's messages after this offset, which are this member's, as a mask."""
        members = self._epochs.members(stream, offset)
        if self not in members:
            return np.zeros(len(sequences), bool)
        mask: Numbers = sequences % np.uint64(len(members)) == np.uint64(members.index(self))
        return mask

    async def leave(self, inbox: Inbox) -> None:
        """Leave the group; what was not taken goes to others on the same streams."""
        group = self._group
        async with self.turn:
            offset = group.reached()
            group.members.remove(self)
            group.change(self.streams, offset)
            # Whoever reads the rest of its share asks for epochs that the members have passed.
            self._epochs = group.epochs.copy()
            group.forget()
            await self._hand_over(inbox, offset)
        _forget_empty(group)

    async def _hand_over(self, inbox: Inbox, until: int) -> None:
        """Give others what is waiting, and what is not read of this member's share."""
        heirs: dict[str, Member] = {}
        for stream in self.streams:
            for member in self._group.members:
                if stream in member.streams:
                    heirs.setdefault(stream, member)
        waiting = self._waiting(inbox)
        at = self.at
        for heir in dict.fromkeys(heirs.values()):
            streams = [stream for stream, member in heirs.items() if member is heir]
            heir._left += [each for batch in waiting if (each := _only(batch, streams))]
            if at < until:
                with suppress(FileError):  # removed meanwhile, as everybody will be told
                    heir._errands.append(await self._errand(heir, streams, at, until))
            # One of another's, who left before.
            while self._errands:
                heir._errands.append(self._errands.popleft())
            if heir.told is not None:
                heir.told()
        for errand in self._errands:
            await errand.stop()

    def _waiting(self, inbox: Inbox) -> list[Batch]:
        """What was read and not taken."""
        waiting = _untaken(inbox)
        while (batch := self.take()) is not None:
            waiting.append(batch)
        if self._reader is not None and (batch := self._reader.take()) is not None:
            waiting.append(batch)
        return waiting

    async def _errand(self, heir: Member, streams: list[str], start: int, until: int) -> Reader:
        """What reads the part of this member's share that it had not read."""
        tail = await in_thread(partial(Tail, self._path, start))
        told = heir.told or (lambda: None)
        selection = self._selection.only(streams)
        return Reader(tail, selection, told=told, share=self, until=until)


def _untaken(inbox: Inbox) -> list[Batch]:
    """What waits in an inbox, as batches."""
    messages, place = inbox.look(inf)
    inbox.go_on(place)
    batch = FileBatch(0)
    batch.origins = [message.origin for message in messages]
    batch.ids = [message.entry_id for message in messages]
    batch.payloads = [message.payload for message in messages]
    return [batch] if messages else []


def _only(batch: Batch, streams: list[str]) -> Batch | None:
    """The messages of these streams, if there are any."""
    rows = [at for at, origin in enumerate(batch.origins) if origin.stream in streams]
    part = FileBatch(0)
    part.origins = [batch.origins[at] for at in rows]
    part.ids = [batch.ids[at] for at in rows]
    part.payloads = [batch.payloads[at] for at in rows]
    return part if rows else None


_groups: dict[tuple[Identity | None, str], Group] = {}


async def join_group(
    path: Path, name: str, selection: Selection, begin: Callable[[], Awaitable[Tail]]
) -> Member:
    """A new member; the first one begins where `begin` says, the others where the group is.

    Raises:
        FileError: the file cannot be read.
    """
    key = identity(path), name
    group = _groups.get(key)
    if group is None:
        group = _groups[key] = Group()
    try:
        async with group.turn:
            if not group.members:
                group.start_over()
            offset = group.reached() if group.members else (await begin()).offset
            _groups[key] = group  # it may have been forgotten while it was waited for
            member = Member(group, path, selection, offset)
            group.members.append(member)
            group.change(member.streams, offset)
            group.forget()
    finally:
        _forget_empty(group)
    return member


def _forget_empty(group: Group) -> None:
    if not group.members:
        for key in [key for key, each in _groups.items() if each is group]:
            del _groups[key]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_groups.clear)
