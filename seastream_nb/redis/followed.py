"""One shard that is followed: how far it was read, and whether it is still the same. No I/O."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seastream_nb.errors import StreamReset
from seastream_nb.keys import FIRST_ID, EntryId, key_text
from seastream_nb.page import Page
from seastream_nb.query import Bounds, Extent


@dataclass
class Growth:
    """What a server's facts about a stream can only grow from, as long as it is the same stream.

    Attributes:
        last: the highest id that was seen.
        added: how many entries there ever were, as the server last counted; 0 if it does not.
        received: how many entries there were at least, by what came.

    >>> from seastream_nb.message import Origin
    >>> grown = Growth(EntryId(5, 0), added=3, received=3)
    >>> anew = Extent(origin=Origin("s", 0, b"s", 1_000_000), end=EntryId(9, 0), length=1, added=1)
    >>> grown.disagrees(anew, EntryId(5, 0))
    True
    """

    last: EntryId = FIRST_ID
    added: int = 0
    received: int = 0

    def take(self, last: EntryId, count: int) -> None:
        """Entries came."""
        self.last = last
        self.received += count

    def see(self, now: Extent) -> None:
        """The server said this of the same stream."""
        self.last = now.end or FIRST_ID
        self.added = now.added or 0

    def disagrees(self, now: Extent, position: EntryId, unread: int = 0) -> bool:
        """Whether this cannot be the stream of before, read up to a position.

        `unread` is how many more entries than came there must be at least.
        """
        if now.end is None or now.end < self.last:
            return True
        if now.added is None:
            return False
        if now.added < max(self.added, self.received + unread):
            return True
        # Nothing was ever taken out of it, and yet it begins behind what was read.
        untouched = now.added == now.length and self.received > 0
        return untouched and now.first is not None and now.first > position


class FollowedShard:
    """Where to read on in a shard, from what it held when it was pinned.

    A shard that did not exist then is read from its beginning.

    Attributes:
        position: XREAD goes on after this id.
        exists: whether it was ever seen.
        complete: false once entries were certainly trimmed away, or deleted, before they were read.
    """

    def __init__(self, extent: Extent, bounds: Bounds) -> None:
        self.origin = extent.origin
        self.exists = extent.end is not None
        self.position = max(extent.end or FIRST_ID, bounds.start(extent).previous())
        self._stop = bounds.stop(extent.origin.unit_ns)
        added = extent.added or 0
        self._growth = Growth(extent.end or FIRST_ID, added, added)
        # Entries before the range are passed over, and then nothing can be counted.
        self._counted = self.position == self._growth.last
        self.complete = True

    @property
    def done(self) -> bool:
        """Whether nothing of the range can come any more: ids only grow."""
        return self._stop is not None and self.position >= self._stop.previous()

    def take(self, page: Page) -> Page:
        """Go on behind a page that came; the part of it that is in the range."""
        self.exists = True
        self.position = page.entry_id(-1)
        self._growth.take(self.position, len(page))
        stop = self._stop
        if stop is None or self.position < stop:
            return page
        ms, sub = np.uint64(stop.ms), np.uint64(stop.sub)
        beyond = (page.ms > ms) | ((page.ms == ms) & (page.sub >= sub))
        return page.slice(0, int(beyond.argmax()))

    def close(self, end: EntryId | None) -> None:
        """Read no further than this id."""
        stop = (end or FIRST_ID).next()
        self._stop = stop if self._stop is None else min(stop, self._stop)

    def check(self, now: Extent) -> None:
        """Compare with what the server says now.

        Raises:
            StreamReset: it was deleted, or is another one than before.
        """
        key = key_text(self.origin.key)
        again = "follow it again to read what there is now"
        if now.end is None:
            if self.exists:
                raise StreamReset(f"following {key!r}: the stream was deleted; {again}")
            return
        unread = self._counted and now.end > self.position
        if self._growth.disagrees(now, self.position, unread):
            raise StreamReset(f"following {key!r}: the stream was deleted and made anew; {again}")
        self.exists = True
        self._growth.see(now)
        if self._counted and not self.done and now.added is not None:
            there = now.length if self.position < now.end else 0
            self.complete = self.complete and now.added - self._growth.received <= there
