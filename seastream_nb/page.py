"""Pages: entries of one shard as the server sent them, still columnar and undecoded.

A page answers three questions, and each costs nothing until asked: the ids, the occurrences of
one field, all fields. `rows.py` is what it becomes next.

Two kinds satisfy `Page`: `ListPage` wraps the nested lists that hiredis makes; the accelerated
one in `redis/kernel.py` wraps the reply's own bytes. A test holds the two together.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa

from seastream_nb.keys import EntryId, NumberedId
from seastream_nb.message import Message, Origin

Numbers = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Pairs:
    """Every field of a page, flat: which entry it stands in, its name, its value."""

    entry: Numbers
    names: Sequence[bytes]
    values: pa.BinaryArray


class Page(ABC):
    """Consecutive entries of one shard, in stored order.

    `numbered` marks the entries whose ids are `NumberedId`s; None where none is.
    """

    origin: Origin
    ms: Numbers
    sub: Numbers
    numbered: Numbers | None = None

    def __len__(self) -> int:
        return len(self.ms)

    def entry_id(self, index: int) -> EntryId:
        """The id of one entry; negative indexes count from the end."""
        return entry_id(self.ms, self.sub, self.numbered, index)

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """About how many bytes the entries take."""

    @abstractmethod
    def occurrences(self, field: bytes) -> tuple[Numbers, pa.BinaryArray]:
        """The entries that hold `field` (one index an occurrence, ascending) and its values."""

    @abstractmethod
    def pairs(self) -> Pairs:
        """All fields of all entries, in stored order."""

    @abstractmethod
    def slice(self, start: int, stop: int) -> Page:
        """The entries from `start` to before `stop`."""

    def messages(self, field: bytes) -> Iterator[Message]:
        """One `Message` an occurrence of the message field."""
        entries, values = self.occurrences(field)
        numbered = None if self.numbered is None else self.numbered[entries]
        ids = entry_ids(self.ms[entries], self.sub[entries], numbered)
        return map(Message, [self.origin] * len(entries), ids, values.to_pylist())


class ListPage(Page):
    """A page over a reply as nested lists: `[[id, [field, value, ...]], ...]`.

    An entry whose body is nil (deleted, still pending in a group) has no fields.

    >>> page = ListPage(Origin("s", 0, b"s"), [[b"5-1", [b"msg", b"hello"]], [b"6-0", None]])
    >>> len(page), page.entry_id(0), [m.payload for m in page.messages(b"msg")]
    (2, EntryId(ms=5, sub=1), [b'hello'])
    """

    def __init__(self, origin: Origin, entries: list[Any]) -> None:
        self.origin = origin
        self.entries = entries
        numbers = parse_ids([entry[0] for entry in entries])
        self.ms, self.sub = numbers[0::2], numbers[1::2]

    def slice(self, start: int, stop: int) -> ListPage:
        """The entries from `start` to before `stop`."""
        page = object.__new__(ListPage)
        page.origin, page.entries = self.origin, self.entries[start:stop]
        page.ms, page.sub = self.ms[start:stop], self.sub[start:stop]
        return page

    @property
    def nbytes(self) -> int:
        """About how many bytes the entries take, from a sample of them."""
        sample = self.entries[:: max(1, len(self.entries) // 16)]
        held = sum(len(value) for entry in sample for value in entry[1] or ())
        return held * len(self.entries) // max(1, len(sample))

    def occurrences(self, field: bytes) -> tuple[Numbers, pa.BinaryArray]:
        """The entries that hold `field` (one index an occurrence, ascending) and its values."""
        bodies = [entry[1] for entry in self.entries]
        # What SeaStreamer writes, one pair an entry, needs no search.
        if all(body is not None and len(body) == 2 and body[0] == field for body in bodies):
            return np.arange(len(bodies)), pa.array([body[1] for body in bodies], pa.binary())
        index: list[int] = []
        values: list[bytes] = []
        for position, body in enumerate(bodies):
            for at in range(0, len(body or ()), 2):
                if body[at] == field:
                    index.append(position)
                    values.append(body[at + 1])
        return np.array(index, dtype=np.int64), pa.array(values, pa.binary())

    def pairs(self) -> Pairs:
        """All fields of all entries, in stored order."""
        bodies = [entry[1] or () for entry in self.entries]
        counts = [len(body) // 2 for body in bodies]
        flat = list(chain.from_iterable(bodies))
        return Pairs(
            entry=np.repeat(np.arange(len(bodies)), counts),
            names=flat[0::2],
            values=pa.array(flat[1::2], pa.binary()),
        )


def entry_id(ms: Numbers, sub: Numbers, numbered: Numbers | None, at: int) -> EntryId:
    """One id out of columns."""
    kind = EntryId if numbered is None or not numbered[at] else NumberedId
    return kind(int(ms[at]), int(sub[at]))


def entry_ids(ms: Numbers, sub: Numbers, numbered: Numbers | None) -> Iterator[EntryId]:
    """All ids out of columns.

    >>> columns = (np.array(each) for each in ([5, 6], [1, 2], [False, True]))
    >>> [each.sequence() for each in entry_ids(*columns)]
    [327681, 2]
    """
    if numbered is None:
        return map(EntryId, ms.tolist(), sub.tolist())
    kinds = [NumberedId if each else EntryId for each in numbered.tolist()]
    return (kind(*pair) for kind, *pair in zip(kinds, ms.tolist(), sub.tolist(), strict=True))


def parse_ids(ids: list[bytes]) -> Numbers:
    """Ids `ms-sub` as one array of unsigned 64-bit numbers: ms, sub, ms, sub, ...

    >>> parse_ids([b"5-1", b"18446744073709551615-0"]).tolist()
    [5, 1, 18446744073709551615, 0]
    """
    # Reading the numbers from one text is five times as fast as making a Python int of each.
    numbers = np.fromstring(b" ".join(ids).replace(b"-", b" "), dtype=np.uint64, sep=" ")
    assert len(numbers) == 2 * len(ids), "the reply holds something that is no entry id"
    return numbers
