"""What comes to a file after it was pinned, for as long as it is asked."""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from seastream_nb.errors import FileError, StreamReset
from seastream_nb.file.format import HEADER_SIZE
from seastream_nb.file.frames import Frames, Pair
from seastream_nb.file.page import FilePage
from seastream_nb.file.ranges import FileExtent
from seastream_nb.file.tail import LOOK_SECONDS, Tail
from seastream_nb.keys import FIRST_ID, LAST_ID
from seastream_nb.message import NS_PER_MS, Origin
from seastream_nb.page import Page
from seastream_nb.query import Bounds, Pinned, Query
from seastream_nb.times import Edge, bound

READ_BYTES = 2**20
# So long after the end of the range messages may come that were stamped before it.
LATE_NS = 1_000_000_000


class FileLive:
    """The messages that are appended, in stored order.

    `ended` turns true behind a mark of the end that is the last thing in the file, when every
    shard has a message at or past the end of the range, or a second after the clock has passed it.
    """

    def __init__(
        self,
        path: Path,
        query: Query,
        pinned: Pinned,
        origin_of: Callable[[Pair], Origin | None],
        message_field: bytes,
    ) -> None:
        self.ended = False
        self.complete = True
        self._path = path
        self._chosen = query.shards
        self._origin_of = origin_of
        self._field = message_field
        bounds = Bounds.of(query, pinned.now_ns)
        # What comes is behind all there was, so that `latest` bounds nothing any more.
        lower = [each for each in bounds.lower if not isinstance(each, Edge)]
        self._start = max((bound(each, unit_ns=NS_PER_MS) for each in lower), default=FIRST_ID)
        self._stop = bounds.stop(NS_PER_MS)
        self._until_ns = bounds.until_ns(NS_PER_MS)
        # The shards that may still get messages of the range.
        self._going = {each.pair for each in pinned.extents if isinstance(each, FileExtent)}
        known = next((each for each in pinned.extents if isinstance(each, FileExtent)), None)
        self._blocks = known.survey.blocks if known else None
        self._at = known.stop if known else HEADER_SIZE
        # Whether the last thing in the file is the mark of its end.
        self._marked = known is not None and known.ends_stream
        self._tail: Tail | None = None

    async def read(self, seconds: float, most: int) -> list[Page]:
        """About `most` messages that came, a page a shard; waits up to `seconds`, or less.

        Raises:
            StreamReset: another file has the name now, or it was cut; it is followed from its
                beginning.
            FileError: the file was removed.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        if self._tail is None:
            self._tail = Tail(self._path, self._at, self._blocks)
        while True:
            closing = self._until_ns is not None and time.time_ns() > self._until_ns + LATE_NS
            found = await asyncio.to_thread(self._read, self._tail)
            pages = [] if found is None else self._pages(found)
            self.ended |= found is None and (closing or self._marked)
            left = until - loop.time()
            if pages or self.ended or left <= 0:
                return pages
            if found is None:
                await self._tail.changed(min(left, LOOK_SECONDS))

    def _read(self, tail: Tail) -> Frames | None:
        try:
            return tail.read(READ_BYTES)
        except FileError as error:
            if error.errno not in (errno.ESTALE, errno.EIO):
                raise
            tail.close()
            self._tail, self._blocks, self._at = None, None, HEADER_SIZE
            raise StreamReset(
                f"following {self._path}: another file has its name, or it was cut short; "
                "it is read from its beginning"
            ) from error

    async def close(self) -> None:
        """Watch the file no longer."""
        if self._tail is not None:
            self._tail.close()
        self._blocks = None

    def _pages(self, found: Frames) -> list[Page]:
        pages: list[Page] = []
        for pair in found.pairs:
            origin = self._origin_of(pair)
            if origin is None or (self._chosen is not None and origin.shard not in self._chosen):
                continue
            page = FilePage(origin, found, found.rows(pair), self._field)
            last = self._stop.previous() if self._stop is not None else LAST_ID
            kept = page.between(self._start, last)
            self._going.add(pair)
            if self._stop is not None and _passed(page, self._stop.ms):
                self._going.discard(pair)
                self.ended |= not self._going
            if len(kept):
                pages.append(kept)
        self._marked = found.ends_stream
        return pages


def _passed(page: FilePage, ms: int) -> bool:
    return bool((page.ms >= np.uint64(ms)).any())
