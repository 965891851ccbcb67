"""What comes on standard input, for all consumers of this process.

    thread: read ─► bytes ─► I/O thread: lines ─► entries ─► consumers

One thread reads a piece at a time, and only when it is asked: while there is a consumer, and none
of them has too much that nobody took. It begins when one of them waits for a message, so whoever
was created before that misses nothing, and it never stands in the way of an interrupt.
"""

from __future__ import annotations

import asyncio
import errno
import os
import select
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Protocol

from seastream_nb import portal
from seastream_nb.errors import ConnectError, QueueFull, StreamEnded, StreamError
from seastream_nb.stdio.line import Lines, parse_line
from seastream_nb.stdio.routing import BROADCAST, Audience, Entry, Member, Numbers

STDIN = 0
PIECE_BYTES = 2**16
MOST_LINE_BYTES = 64 * 2**20
# What may wait in one consumer before nothing more is read.
MOST_WAITING = 32 * 2**20


class Listener(Member, Protocol):
    """A consumer of standard input."""

    @property
    def waiting(self) -> int:
        """How many bytes it was given that nobody took."""

    def announce(self) -> None:
        """Something changed that a waiting caller should look at."""


class Input:
    """The lines of one file descriptor. Everything but the reading itself is on the I/O thread.

    Attributes:
        malformed: how many lines were left out because they are no messages.

    Args:
        fd: where to read.
        most_waiting: how many bytes may wait in one consumer before nothing more is read.
    """

    def __init__(self, fd: int = STDIN, most_waiting: int = MOST_WAITING) -> None:
        self.malformed = 0
        self._most_waiting = most_waiting
        self._fd = fd
        self._lines = Lines(MOST_LINE_BYTES)
        self._numbers = Numbers()
        self._audience = Audience()
        self._listeners: list[Listener] = []
        self._keep_open: set[object] = set()
        self._warning: str | None = None
        # One piece is asked for at a time; one that comes when nobody wants any more is kept.
        self._wanted = False
        self._asked = False
        self._kept: bytes | None = None
        self._go = threading.Semaphore(0)
        self._thread: threading.Thread | None = None
        self._over = False
        self._failure: OSError | None = None
        self._stalled_since: float | None = None
        self._room = asyncio.Event()

    # Consumers.

    def join(self, listener: Listener) -> None:
        """Give a consumer its part of what is read from now on."""
        self._listeners.append(listener)
        self._audience.join(listener)

    def leave(self, listener: Listener) -> None:
        """Give a consumer nothing more; what it did not take is gone."""
        self._listeners = [each for each in self._listeners if each is not listener]
        self._audience.leave(listener)
        self._wanted = self._wanted and bool(self._listeners)
        self._go_on()

    def deliver(self, entries: list[Entry]) -> None:
        """Give the consumers what this process printed."""
        for entry in entries:
            self._numbers.note(entry.key or BROADCAST, entry.shard, entry.sequence)
        self._audience.give(entries)

    def keep_open(self, streamer: object) -> None:
        """Let no consumer end while this streamer may still print for them."""
        self._keep_open.add(streamer)

    def let_end(self, streamer: object) -> None:
        """This streamer prints nothing more."""
        self._keep_open.discard(streamer)
        self._announce()

    # Waiting.

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self._over and not self._keep_open

    def ending(self) -> StreamError:
        """Why nothing more will come: `StreamEnded`, or `ConnectError` if it cannot be read."""
        left_out = f"; {self.malformed:,} lines of it were no messages" if self.malformed else ""
        if self._failure is not None:
            return ConnectError(f"standard input cannot be read: {self._failure}{left_out}")
        return StreamEnded(f"standard input has ended{left_out}")

    def require_flow(self, patience: float) -> None:
        """Refuse to wait for what another consumer has held back for so many seconds.

        Raises:
            QueueFull: naming what that one reads.
        """
        since, full = self._stalled_since, self._full()
        if full is not None and since is not None and time.monotonic() - since >= patience:
            names = ", ".join(map(repr, sorted(full.keys)))
            raise QueueFull(
                f"standard input is not read on: {full.waiting:,} bytes wait in the consumer of "
                f"{names}, which nobody takes; take them, or end that consumer"
            )

    async def room(self) -> None:
        """Wait until no consumer has too much."""
        while self._full() is not None:
            self._room.clear()
            await self._room.wait()

    def warning(self) -> str | None:
        """What has to be said of lines that were left out; once."""
        warning, self._warning = self._warning, None
        return warning

    def go_on(self) -> None:
        """Somebody waits: read on, if every consumer has room."""
        self._wanted = True
        if self._kept is not None:
            piece, self._kept = self._kept, None
            self._came(piece)
        self._go_on()

    def _go_on(self) -> None:
        if self._full() is not None:
            self._stalled_since = self._stalled_since or time.monotonic()
            return
        self._stalled_since = None
        self._room.set()
        if self._wanted and not self._asked and not self._over:
            self._asked = True
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._read, name="seastream stdin", daemon=True
                )
                self._thread.start()
            self._go.release()

    def _full(self) -> Listener | None:
        return next((each for each in self._listeners if each.waiting >= self._most_waiting), None)

    def _announce(self) -> None:
        for listener in self._listeners:
            listener.announce()

    # Pieces.

    def _read(self) -> None:
        """The thread."""
        with suppress(RuntimeError):  # Python is exiting
            while self._go.acquire():
                try:
                    piece = read_piece(self._fd)
                except OSError as error:
                    portal.call_soon(self.fail, error)
                    return
                portal.call_soon(self._came, piece)

    def _came(self, piece: bytes) -> None:
        self._asked = False
        if not self._wanted:
            self._kept = piece
            return
        self._over = not piece
        lines = self._lines.add(piece) if piece else self._lines.end()
        self._audience.give(list(self._entries(lines)))
        if self._over:
            self._announce()
        self._go_on()

    def fail(self, error: OSError) -> None:
        """Nothing more can be read."""
        self._failure = error
        self._over = True
        self._announce()

    def _entries(self, lines: Iterable[bytes | None]) -> Iterator[Entry]:
        """The messages of lines; what is none is counted."""
        for line in lines:
            try:
                yield self._entry(line)
            except ValueError as error:
                self.malformed += 1
                if self.malformed == 1:
                    self._warning = (
                        f"a line of standard input is no message and was left out: {error} "
                        "(more such lines are only counted)"
                    )

    def _entry(self, line: bytes | None) -> Entry:
        if line is None:
            raise ValueError(f"it is longer than {MOST_LINE_BYTES:,} bytes")
        said = parse_line(line)
        ns = time.time_ns() if said.ns is None else said.ns
        if ns < 0:
            raise ValueError("its time is before 1970")
        place = said.key or BROADCAST, said.shard or 0
        number = self._numbers.upcoming(*place) if said.sequence is None else said.sequence
        self._numbers.note(*place, number)
        return Entry(said.key, place[1], number, ns, said.payload)


def read_piece(fd: int) -> bytes:
    """The next bytes of a file descriptor, as soon as there are any; none at its end."""
    while True:
        try:
            return os.read(fd, PIECE_BYTES)
        except BlockingIOError:  # somebody else made it so, for it may be shared
            select.select([fd], [], [])


_current: Input | None = None


def standard_input() -> Input:
    """That of this process. Called on the I/O thread."""
    global _current
    if _current is None:
        _current = Input()
        if sys.__stdin__ is None:  # closed from the start, so 0 is the number of something else
            _current.fail(OSError(errno.EBADF, os.strerror(errno.EBADF)))
    return _current


def _start_over_after_fork() -> None:
    global _current
    _current = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_over_after_fork)
