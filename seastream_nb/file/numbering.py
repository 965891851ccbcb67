"""Which sequence number and time each message of a file gets. No I/O.

SeaStreamer numbers the messages of a stream 1, 2, 3 ... whatever their times. An id that is given
in full is kept as it keeps Redis's: `ms << 16 | sub`.
"""

from __future__ import annotations

from collections.abc import Mapping

from seastream_nb.errors import NotSent
from seastream_nb.file.splice import Pair
from seastream_nb.keys import MAX_U64, EntryId, NumberedId


class Numbering:
    """The numbers that are given out, for what was sent in this order.

    >>> numbering = Numbering({("a", 0): 7})
    >>> numbering.give(("a", 0), 5), numbering.give(("a", 3), 5), numbering.give(("b", 0), b"6-*")
    ((8, 5), (9, 5), (1, 6))
    """

    def __init__(self, highest: Mapping[Pair, int]) -> None:
        self._highest = dict(highest)
        # Shards of a stream share their numbers, so that these tell the order of sending.
        self._of_key: dict[str, int] = {}
        for (key, _), sequence in highest.items():
            self._of_key[key] = max(sequence, self._of_key.get(key, 0))

    def highest(self) -> dict[Pair, int]:
        """The highest number of each stream and shard."""
        return dict(self._highest)

    def give(self, pair: Pair, entry_id: int | bytes) -> tuple[int, int]:
        """Sequence and milliseconds of the next message.

        Args:
            pair: its stream and shard.
            entry_id: its milliseconds, also as `ms-*`; or a full id, `ms-sub`; or, as in another
                file, `ms#sequence`.

        Raises:
            NotSent: a full id that is not above all before it, or no number is left.
        """
        key, _ = pair
        if isinstance(entry_id, int):
            ms, sub, numbered = entry_id, b"*", b""
        else:
            text, numbered, sub = entry_id.partition(b"#")
            if not numbered:
                text, _, sub = entry_id.partition(b"-")
            ms = int(text)
        highest = self._of_key.get(key, 0)
        if sub == b"*":
            sequence = highest + 1
        else:
            sequence = int(sub) if numbered else ms << 16 | int(sub)
            if sequence <= self._highest.get(pair, -1):
                raise NotSent(f"the id {ms}-{int(sub)} is not above the last one of its shard")
        if sequence > MAX_U64:
            raise NotSent("the sequence numbers of 64 bits are used up")
        self._highest[pair] = sequence
        self._of_key[key] = max(highest, sequence)
        return sequence, ms


def id_of(sequence: int, ms: int) -> EntryId:
    """The id of a message in a file.

    >>> id_of(5 << 16 | 3, 5), id_of(3, 5)
    (EntryId(ms=5, sub=3), NumberedId(ms=5, sub=3))
    """
    if sequence >> 16 == ms:
        return EntryId(ms, sequence & 0xFFFF)
    return NumberedId(ms, sequence)
