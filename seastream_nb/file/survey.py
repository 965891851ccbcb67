"""What a file holds, without reading all of it where its beacons tell.

A beacon with room to spare names every stream and shard before it, with the highest sequence and
time so far. So the last one and what follows it tell what there is, and a search over the others
finds the blocks that a range of times can lie in:

    block     0 · 1 · 2 · 3 · 4 · 5 · 6 · 7          until: messages after the first later one
    highest      02:05 · 02:09 · 02:14 · 02:22       are looked for only where order is in doubt
    range                 ├── read ──┤

Nothing is taken on trust that reading can check: a shard that the beacons did not name is noticed
when a block holds it, and the file is then read through once. A small file always is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from seastream_nb.file.blocks import FileBlocks
from seastream_nb.file.format import HEADER_SIZE, INTERNAL_KEY, Marker, Place, markers_per_beacon
from seastream_nb.file.frames import Frames, Pair
from seastream_nb.file.numbering import id_of
from seastream_nb.keys import MAX_U64, EntryId
from seastream_nb.page import Numbers

# A file of so many blocks is read through rather than searched.
FEW_BLOCKS = 16


# Of times, second parts of ids, and sequences: at which messages to begin.
Begin = Callable[[Numbers, Numbers, Numbers], Any]


@dataclass
class ShardFacts:
    """What is known of one stream and shard.

    Attributes:
        messages, bytes: how many, and the size of their payloads; where `exact` is false, by what
            some blocks hold.
        first, last: the ids of the first and last message in stored order, of those blocks.
        highest_ms: the highest time.
        highest: an id that none is above.
    """

    messages: int
    bytes: int
    first: EntryId
    last: EntryId
    highest_ms: int
    highest: EntryId
    exact: bool = True


class Survey:
    """What one open file holds. Blocking: used in worker threads."""

    def __init__(self, blocks: FileBlocks) -> None:
        self.blocks = blocks
        # Times that went backwards were seen, so that no block can be left out by its time.
        self._disordered = False
        # The beacons have not named a shard that is there.
        self._distrusted = False
        self._known: tuple[int, bool, dict[Pair, ShardFacts]] | None = None

    def facts(
        self, size: int, *, exact: bool = False, of: frozenset[str] = frozenset()
    ) -> dict[Pair, ShardFacts]:
        """The streams and shards in the first `size` bytes.

        Args:
            size: how much of the file is meant.
            exact: count every message.
            of: stream keys that are looked for in the whole file if the beacons name none of them.
        """
        count = self.blocks.count(size)
        if self._known is None or self._known[0] != size:
            through = exact or self._distrusted or count <= FEW_BLOCKS
            found = None if through else self._by_beacons(size)
            self._known = size, found is None, found or self._counted(range(count), size)
        _, through, known = self._known
        if not through and (exact or of - {key for key, _ in known}):
            known = self._counted(range(count), size)
            self._known = size, True, known
        return known

    def tail(self, size: int) -> Frames:
        """The last block of the first `size` bytes."""
        return self.blocks.block(self.blocks.count(size) - 1, size)

    def distrust(self) -> None:
        """Read the file through the next time."""
        self._distrusted, self._known = True, None

    def part(self, pair: Pair, start_ms: int, end_ms: int, size: int) -> range:
        """The blocks that can hold messages of a shard between two times, both included."""
        count = self.blocks.count(size)
        if count <= FEW_BLOCKS:
            return range(count)
        begin, _ = self._search(pair, lambda highest: highest >= start_ms, size)
        _, stop = self._search(pair, lambda highest: highest > end_ms, size)
        return range(begin, count if self._disordered else stop)

    def before(
        self, keys: frozenset[str], reads: Callable[[Pair], bool], begin: Begin, size: int
    ) -> int:
        """Where a block begins before which no message of these shards is one to begin at.

        Only beacons that name all of these shards are believed, for those that SeaStreamer writes
        after it opened a file again forget the others.
        """
        if self.blocks.count(size) <= FEW_BLOCKS:
            return HEADER_SIZE
        pairs = {pair for pair in self.facts(size, of=keys) if reads(pair)}
        if not pairs:
            return HEADER_SIZE
        low, high = 0, self.blocks.count(size)
        while high - low > 1:
            middle = (low + high) // 2
            highest = self._markers(middle, size)
            there = [highest[pair] for pair in pairs if pair in highest]
            if len(there) < len(pairs) or _reached(there, begin):
                high = middle
            else:
                low = middle
        return self.blocks.start(low, size)

    def note(self, frames: Frames) -> None:
        """Look at the order of what was read anyway."""
        if self._disordered:
            return
        for pair in frames.pairs:
            times = frames.numbers[2][frames.rows(pair)]
            self._disordered |= bool((times[1:] < times[:-1]).any())

    def _search(self, pair: Pair, passed: Callable[[int], bool], size: int) -> tuple[int, int]:
        """Two blocks that the highest time of a shard passes something between.

        The last one that is known to begin before, and the first that is known to begin after.
        """
        before, after = 0, self.blocks.count(size)
        low, high = 1, after
        while low < high:
            middle = (low + high) // 2
            at, found = middle, None
            # Where streams take turns in the beacons, a neighbour tells.
            while at >= low and (found := self._highest(pair, at, size)) is None:
                at -= 1
            if found is not None and passed(found):
                after = high = at
            else:
                before = before if found is None else at
                low = middle + 1
        return before, after

    def _highest(self, pair: Pair, block: int, size: int) -> int | None:
        """The highest time of a shard before a block; None where the beacon does not tell.

        One that does not name the shard tells nothing: SeaStreamer forgets what was in a file
        that it opens again.
        """
        place = self._markers(block, size).get(pair)
        return None if place is None else place.ms

    def _markers(self, block: int, size: int) -> dict[Pair, Place]:
        """What the beacon at the beginning of a block says, if there is one."""
        boundary = block * self.blocks.block_bytes
        if boundary % self.blocks.header.interval:
            return {}
        found = self.blocks.beacon(boundary, size)
        return {} if found is None else {each.place[:2]: each.place for each in found[2]}

    def _names_all(self, markers: list[Marker]) -> bool:
        return len(markers) < markers_per_beacon(self.blocks.header.interval)

    def _by_beacons(self, size: int) -> dict[Pair, ShardFacts] | None:
        """By the last beacon, the first block, and what follows the beacon; None if it is full."""
        interval = self.blocks.header.interval
        at = size // interval * interval
        beacon = self.blocks.beacon(at, size) if at else None
        if beacon is None and at > interval:  # the last one is not all there
            at -= interval
            beacon = self.blocks.beacon(at, size)
        if beacon is None or not self._names_all(beacon[2]):
            return None
        count, tail = self.blocks.count(size), at // self.blocks.block_bytes
        sample = [0, *range(max(1, tail), count)]
        known = self._counted(sample, size)
        share = count / len(sample)
        for facts in known.values():
            facts.messages, facts.bytes = round(facts.messages * share), round(facts.bytes * share)
            facts.exact = False
        for marker in beacon[2]:
            _note_marker(known, marker)
        return known

    def _counted(self, numbers: range | list[int], size: int) -> dict[Pair, ShardFacts]:
        known: dict[Pair, ShardFacts] = {}
        for number in numbers:
            frames = self.blocks.block(number, size)
            self.note(frames)
            for pair, facts in _facts(frames):
                _add(known, pair, facts)
        return known


def _facts(frames: Frames) -> Iterator[tuple[Pair, ShardFacts]]:
    for pair in frames.pairs:
        rows = frames.rows(pair)
        sequences, times = frames.numbers[1][rows], frames.numbers[2][rows]
        first, last = (id_of(int(sequences[at]), int(times[at])) for at in (0, -1))
        ms = int(times.max())
        same = times == np.uint64(ms)
        yield (
            pair,
            ShardFacts(
                messages=len(rows),
                bytes=int(frames.spans[rows, 3].sum()),
                first=first,
                last=last,
                highest_ms=ms,
                highest=max(id_of(int(each), ms) for each in np.unique(sequences[same])),
            ),
        )


def _add(known: dict[Pair, ShardFacts], pair: Pair, facts: ShardFacts) -> None:
    before = known.setdefault(pair, facts)
    if before is not facts:
        before.messages += facts.messages
        before.bytes += facts.bytes
        before.last = facts.last
        before.highest_ms = max(before.highest_ms, facts.highest_ms)
        before.highest = max(before.highest, facts.highest)


def _note_marker(known: dict[Pair, ShardFacts], marker: Marker) -> None:
    pair, ms = marker.place[:2], marker.place.ms
    # Sequence and time are two messages' where a file is out of order: no id is above this.
    limit = EntryId(ms, MAX_U64)
    if pair not in known:
        only = id_of(marker.place.sequence, ms)
        known[pair] = ShardFacts(1, 0, only, only, ms, limit, exact=False)
    elif known[pair].highest_ms < ms:
        known[pair].highest_ms, known[pair].highest = ms, limit


def _reached(places: list[Place], begin: Begin) -> bool:
    """Whether a message with such a time or sequence may be one to begin at."""
    ms, sequences = (
        np.array([getattr(each, name) for each in places], np.uint64) for name in ("ms", "sequence")
    )
    return bool(np.any(begin(ms, np.full(len(places), MAX_U64, np.uint64), sequences)))


def newest_ms(facts: dict[Pair, ShardFacts]) -> int | None:
    """The time of the newest message in a file."""
    times = [each.highest_ms for (key, _), each in facts.items() if key != INTERNAL_KEY]
    return max(times, default=None)
