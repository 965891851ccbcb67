"""Pages: entries of one shard as the server sent them, still columnar and undecoded.

A page answers three questions, and each costs nothing until asked: the ids, the occurrences of
one field, all fields. `Rows` is what it becomes next: one row a message, still raw bytes, of one
shard or of several merged.

Two kinds satisfy `Page`: `ListPage` wraps the nested lists that hiredis makes; the accelerated
one in `redis/kernel.py` wraps the reply's own bytes. A test holds the two together.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa

from seastream_nb.keys import EntryId
from seastream_nb.message import Message, Origin

Numbers = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Pairs:
    """Every field of a page, flat: which entry it stands in, its name, its value."""

    entry: Numbers
    names: Sequence[bytes]
    values: pa.BinaryArray


class Page(ABC):
    """Consecutive entries of one shard, in stored order."""

    origin: Origin
    ms: Numbers
    sub: Numbers

    def __len__(self) -> int:
        return len(self.ms)

    def entry_id(self, index: int) -> EntryId:
        """The id of one entry; negative indexes count from the end."""
        return EntryId(int(self.ms[index]), int(self.sub[index]))

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
        ids = map(EntryId, self.ms[entries].tolist(), self.sub[entries].tolist())
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


def parse_ids(ids: list[bytes]) -> Numbers:
    """Ids `ms-sub` as one array of unsigned 64-bit numbers: ms, sub, ms, sub, ...

    >>> parse_ids([b"5-1", b"18446744073709551615-0"]).tolist()
    [5, 1, 18446744073709551615, 0]
    """
    # Reading the numbers from one text is five times as fast as making a Python int of each.
    numbers = np.fromstring(b" ".join(ids).replace(b"-", b" "), dtype=np.uint64, sep=" ")
    assert len(numbers) == 2 * len(ids), "the reply holds something that is no entry id"
    return numbers


@dataclass(frozen=True)
class Rows:
    """One row a message, not yet decoded: raw values and where each came from.

    `payload` is the message field's value. With `fields` every entry is a row and each field is a
    nullable binary array; a field that an entry repeats has its first value there and the later
    ones in `repeated`, as (row, name, value); `payload` is then null or left out.
    """

    origins: tuple[Origin, ...]
    origin: Numbers
    ms: Numbers
    sub: Numbers
    payload: pa.BinaryArray | None = None
    fields: dict[bytes, pa.BinaryArray] | None = None
    repeated: tuple[tuple[int, bytes, bytes], ...] = ()

    def __len__(self) -> int:
        return len(self.ms)

    def entry_id(self, row: int) -> EntryId:
        """The id of the entry that a row came from."""
        return EntryId(int(self.ms[row]), int(self.sub[row]))

    def origin_of(self, row: int) -> Origin:
        """Where a row's entry lives."""
        return self.origins[int(self.origin[row])]

    def messages(self) -> list[Message]:
        """The rows as messages; one without a payload (with `fields`) is left out."""
        if self.payload is None:
            return []
        origins = [self.origins[number] for number in self.origin.tolist()]
        ids = map(EntryId, self.ms.tolist(), self.sub.tolist())
        found = zip(origins, ids, self.payload.to_pylist(), strict=True)
        return [Message(origin, at, data) for origin, at, data in found if data is not None]

    def without_values(self) -> Rows:
        """Only where the rows came from, so that their bytes can be freed."""
        return replace(self, payload=None, fields=None, repeated=())

    @property
    def nbytes(self) -> int:
        """Bytes of the values."""
        columns = [self.payload, *(self.fields or {}).values()]
        return sum(column.nbytes for column in columns if column is not None)

    def take(self, rows: Numbers) -> Rows:
        """The rows at these indexes, in this order."""
        index = pa.array(rows)
        moved = {int(old): new for new, old in enumerate(rows)} if self.repeated else {}
        return replace(
            self,
            origin=self.origin[rows],
            ms=self.ms[rows],
            sub=self.sub[rows],
            payload=None if self.payload is None else self.payload.take(index),
            fields=None
            if self.fields is None
            else {name: values.take(index) for name, values in self.fields.items()},
            repeated=tuple(
                (moved[row], name, value) for row, name, value in self.repeated if row in moved
            ),
        )

    def slice(self, start: int, stop: int) -> Rows:
        """The rows from `start` to before `stop`, without a copy."""
        length = max(0, min(stop, len(self)) - start)
        return replace(
            self,
            origin=self.origin[start:stop],
            ms=self.ms[start:stop],
            sub=self.sub[start:stop],
            payload=None if self.payload is None else self.payload.slice(start, length),
            fields=None
            if self.fields is None
            else {name: values.slice(start, length) for name, values in self.fields.items()},
            repeated=tuple(
                (row - start, name, value)
                for row, name, value in self.repeated
                if start <= row < stop
            ),
        )


def payload_rows(page: Page, entries: Numbers, values: pa.BinaryArray) -> Rows:
    """One row an occurrence of a field, as `Page.occurrences` found them."""
    whole = len(entries) == len(page) and bool((entries == np.arange(len(page))).all())
    return Rows(
        origins=(page.origin,),
        origin=np.zeros(len(entries), dtype=np.int32),
        ms=page.ms if whole else page.ms[entries],
        sub=page.sub if whole else page.sub[entries],
        payload=values,
    )


def field_rows(page: Page, names: Iterable[bytes] = (), *, payload: bytes | None = None) -> Rows:
    """One row an entry, with the named fields as columns, or every field when none is named.

    `payload` names the field that also becomes the payload.
    """
    pairs = page.pairs()
    wanted = dict.fromkeys(names or pairs.names)
    at: dict[bytes, dict[int, int]] = {name: {} for name in wanted}
    repeated: list[tuple[int, int]] = []
    for position, (row, name) in enumerate(zip(pairs.entry.tolist(), pairs.names, strict=True)):
        if name in at and at[name].setdefault(row, position) != position:
            repeated.append((row, position))
    return Rows(
        origins=(page.origin,),
        origin=np.zeros(len(page), dtype=np.int32),
        ms=page.ms,
        sub=page.sub,
        payload=None if payload is None else _first_values(page, payload),
        fields={name: _scatter(pairs.values, rows, len(page)) for name, rows in at.items()},
        repeated=tuple(
            (row, pairs.names[position], pairs.values[position].as_py())
            for row, position in repeated
        ),
    )


def _first_values(page: Page, field: bytes) -> pa.BinaryArray:
    entries, values = page.occurrences(field)
    first = {entry: at for at, entry in reversed(list(enumerate(entries.tolist())))}
    return _scatter(values, first, len(page))


def _scatter(values: pa.BinaryArray, rows: dict[int, int], length: int) -> pa.BinaryArray:
    index = np.zeros(length, dtype=np.int64)
    missing = np.ones(length, dtype=bool)
    where = np.fromiter(rows, dtype=np.int64, count=len(rows))
    index[where] = np.fromiter(rows.values(), dtype=np.int64, count=len(rows))
    missing[where] = False
    if not rows:
        return pa.nulls(length, pa.binary())
    return values.take(pa.array(index, mask=missing))


def concat_rows(parts: Sequence[Rows]) -> Rows:
    """The rows of all parts, one after the other."""
    if len(parts) == 1:
        return parts[0]
    origins = tuple(dict.fromkeys(chain.from_iterable(part.origins for part in parts)))
    number = {origin: index for index, origin in enumerate(origins)}
    starts = np.cumsum([0] + [len(part) for part in parts])
    return Rows(
        origins=origins,
        origin=np.concatenate(
            [np.array([number[o] for o in part.origins], np.int32)[part.origin] for part in parts]
        ),
        ms=np.concatenate([part.ms for part in parts]),
        sub=np.concatenate([part.sub for part in parts]),
        payload=_concat([part.payload for part in parts]),
        fields=_concat_fields(parts),
        repeated=tuple(
            (row + int(start), name, value)
            for start, part in zip(starts, parts, strict=False)
            for row, name, value in part.repeated
        ),
    )


def _concat(arrays: list[pa.BinaryArray | None]) -> pa.BinaryArray | None:
    return None if arrays[0] is None else pa.concat_arrays(arrays)


def _concat_fields(parts: Sequence[Rows]) -> dict[bytes, pa.BinaryArray] | None:
    if parts[0].fields is None:
        return None
    names = dict.fromkeys(chain.from_iterable(part.fields or () for part in parts))
    return {
        name: pa.concat_arrays(
            [(part.fields or {}).get(name, pa.nulls(len(part), pa.binary())) for part in parts]
        )
        for name in names
    }


def message_rows(messages: Sequence[Message]) -> Rows:
    """The rows that these messages would be read as."""
    origins = tuple(dict.fromkeys(message.origin for message in messages))
    number = {origin: index for index, origin in enumerate(origins)}
    ids = [message.entry_id for message in messages]
    return Rows(
        origins=origins,
        origin=np.array([number[message.origin] for message in messages], dtype=np.int32),
        ms=np.array([each.ms for each in ids], dtype=np.uint64),
        sub=np.array([each.sub for each in ids], dtype=np.uint64),
        payload=pa.array([message.payload for message in messages], pa.binary()),
    )
