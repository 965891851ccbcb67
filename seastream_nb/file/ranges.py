"""Reading a range of one shard of a file, block by block."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from itertools import islice

from seastream_nb import portal
from seastream_nb.file import frames
from seastream_nb.file.frames import Pair
from seastream_nb.file.page import FilePage
from seastream_nb.file.survey import Survey
from seastream_nb.query import Extent, ShardRange

# Blocks that are read by one thread in one go, and how many threads are ahead.
TOGETHER, AHEAD = 4, 2


class Notices:
    """What was noticed in reading a file, told once for all its shards."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def tell(self, text: str) -> None:
        """Warn whoever called, unless it was done."""
        if text not in self._told:
            self._told.add(text)
            portal.warn_caller(text)


@dataclass(frozen=True, kw_only=True)
class FileExtent(Extent):
    """One shard of an open file of a certain size.

    Attributes:
        stop: where the first message that is not in those bytes begins.
        torn: the same, where the file ends inside of it.
        ends_stream: whether the last thing in those bytes is the mark that nothing follows.
        ordered: false, since a file may hold ids in any order.
        siblings: the shards of the same stream that are known; None for one shard by its key.
        message_field: the name by which payloads are asked for.
    """

    survey: Survey
    pair: Pair
    size: int
    stop: int
    torn: int | None
    ends_stream: bool
    siblings: frozenset[int] | None
    message_field: bytes
    notices: Notices = field(default_factory=Notices)
    ordered: bool = False


class FileRangeReader:
    """The pages of a range, forwards or backwards, in stored order.

    `complete` turns false when the file ends inside a message, or holds a shard of the stream that
    its beacons did not tell of.
    """

    def __init__(self, extent: FileExtent, shard: ShardRange, *, reverse: bool) -> None:
        self.complete = extent.torn is None
        self.gone = False
        self._extent = extent
        self._shard = shard
        self._reverse = reverse

    async def __aiter__(self) -> AsyncGenerator[FilePage, None]:
        if self._reverse:  # the end is where it begins, and it may stop soon
            self._tell_of_torn()
        await asyncio.to_thread(frames.load)
        part = await asyncio.to_thread(self._part)
        numbers = list(reversed(part) if self._reverse else part)
        pieces = iter([numbers[at : at + TOGETHER] for at in range(0, len(numbers), TOGETHER)])
        # The next blocks are read while these are used.
        ahead = deque(self._ask(piece) for piece in islice(pieces, AHEAD))
        try:
            while ahead:
                pages = await ahead.popleft()
                ahead.extend(self._ask(piece) for piece in islice(pieces, 1))
                for page in pages:
                    yield page
        finally:
            for task in ahead:
                task.cancel()
        self._tell_of_torn()

    def _tell_of_torn(self) -> None:
        if self._extent.torn is not None:
            self._extent.notices.tell(
                f"{self._extent.survey.blocks.path} ends inside a message at byte "
                f"{self._extent.torn:,}: every whole message was read"
            )

    def _part(self) -> range:
        start, end = self._shard.start, self._shard.end
        return self._extent.survey.part(self._extent.pair, start.ms, end.ms, self._extent.size)

    def _ask(self, numbers: list[int]) -> asyncio.Task[list[FilePage]]:
        return asyncio.create_task(asyncio.to_thread(self._pages, numbers))

    def _pages(self, numbers: list[int]) -> list[FilePage]:
        return [page for page in map(self._page, numbers) if len(page)]

    def _page(self, number: int) -> FilePage:
        extent = self._extent
        found = extent.survey.blocks.block(number, extent.size)
        extent.survey.note(found)
        name, _ = extent.pair
        shards = {shard for key, shard in found.pairs if key == name}
        if extent.siblings is not None and (unknown := shards - extent.siblings):
            self.complete = False
            extent.survey.distrust()
            extent.notices.tell(
                f"{extent.survey.blocks.path} holds shards of {name!r} that its beacons do not "
                f"tell of ({', '.join(map(str, sorted(unknown)))}): read it again to have them too"
            )
        page = FilePage(extent.origin, found, found.rows(extent.pair), extent.message_field)
        page = page.between(self._shard.start, self._shard.end)
        page.payloads()  # here, beside what the I/O thread does
        return page
