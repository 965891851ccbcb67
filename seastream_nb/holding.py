"""What came from several streams that are followed, held until time order is known. No I/O.

    a page of each stream ─► held ─► what is not later than the earliest of the pages' ends

A stream that holds something is not read, so no more than one reply of each is ever held. Where one
says nothing, the others wait: as long as it takes, or until patience ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Literal

import numpy as np

from seastream_nb.keys import EntryId
from seastream_nb.page import Page

Silence = Literal["wait", "skip"]


class Holding:
    """The heads of so many streams, by number.

    With a `patience` in seconds, a stream that said nothing for so long while others had to wait
    for it is not waited for again until it says something.
    """

    def __init__(self, streams: int, patience: float | None) -> None:
        self._patience = patience
        self._held: dict[int, list[Page]] = {}
        self._open = set(range(streams))
        self._silent: set[int] = set()
        self._since: float | None = None

    def __bool__(self) -> bool:
        return bool(self._held)

    @property
    def wanted(self) -> list[int]:
        """The streams to read from: those that hold nothing and go on."""
        return sorted(self._open - self._held.keys())

    @property
    def due(self) -> float:
        """When patience ends, on the clock of `release`."""
        return (
            inf if self._since is None or self._patience is None else self._since + self._patience
        )

    def put(self, stream: int, pages: Sequence[Page]) -> None:
        """Hold what came from a stream that held nothing."""
        if pages:
            self._held[stream] = list(pages)
            self._silent.discard(stream)

    def end(self, stream: int) -> None:
        """Nothing comes from a stream any more; what it holds stays."""
        self._open.discard(stream)

    def release(self, now: float) -> list[Page]:
        """What need not wait, each page in stored order."""
        if not self._held:
            self._since = None
            return []
        awaited = self._open - self._held.keys() - self._silent
        if awaited:
            if self._since is None:
                self._since = now
            if now < self.due:
                return []
            self._silent |= awaited
        self._since = None
        ends = [_end(pages) for stream, pages in self._held.items() if stream in self._open]
        released = self._up_to(min(ends)) if ends else self._everything()
        # Of entries with one id, those of the smaller key come first, whichever came first.
        return sorted(released, key=lambda page: page.origin.stream)

    def _everything(self) -> list[Page]:
        held, self._held = self._held, {}
        return [page for pages in held.values() for page in pages]

    def _up_to(self, limit: EntryId) -> list[Page]:
        released: list[Page] = []
        for stream, pages in list(self._held.items()):
            cuts = [(page, _count(page, limit)) for page in pages]
            released += [page.slice(0, at) for page, at in cuts if at]
            left = [page.slice(at, len(page)) for page, at in cuts if at < len(page)]
            if left:
                self._held[stream] = left
            else:
                del self._held[stream]
        return released


def _end(pages: Sequence[Page]) -> EntryId:
    return max(page.entry_id(-1) for page in pages)


def _count(page: Page, limit: EntryId) -> int:
    """How many entries of a page do not come after an id."""
    ms, sub = np.uint64(limit.ms), np.uint64(limit.sub)
    return int(((page.ms < ms) | ((page.ms == ms) & (page.sub <= sub))).sum())
