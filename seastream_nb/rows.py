"""Rows: what pages become before decoding, one row a message, of one shard or of several merged.

Still raw bytes, in columns; each row knows which entry of which shard it came from.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import cast

import numpy as np
import pyarrow as pa

from seastream_nb.keys import EntryId, NumberedId
from seastream_nb.message import Message, Origin
from seastream_nb.page import Numbers, Page, entry_id, entry_ids, parse_ids


@dataclass(frozen=True)
class Rows:
    """One row a message, not yet decoded: raw values and where each came from.

    `payload` is the message field's value. With `fields` every entry is a row and each field is a
    nullable binary array; a field that an entry repeats has its first value there and the later
    ones in `repeated`, as (row, name, value); `payload` is then null or left out. `numbered` is
    the page's.
    """

    origins: tuple[Origin, ...]
    origin: Numbers
    ms: Numbers
    sub: Numbers
    payload: pa.BinaryArray | None = None
    fields: dict[bytes, pa.BinaryArray] | None = None
    repeated: tuple[tuple[int, bytes, bytes], ...] = ()
    numbered: Numbers | None = None

    def __len__(self) -> int:
        return len(self.ms)

    def entry_id(self, row: int) -> EntryId:
        """The id of the entry that a row came from."""
        return entry_id(self.ms, self.sub, self.numbered, row)

    def entry_ids(self) -> list[EntryId]:
        """The ids of all rows' entries."""
        return list(entry_ids(self.ms, self.sub, self.numbered))

    def origin_of(self, row: int) -> Origin:
        """Where a row's entry lives."""
        return self.origins[int(self.origin[row])]

    def messages(self) -> list[Message]:
        """The rows as messages; one without a payload (with `fields`) is left out."""
        if self.payload is None:
            return []
        origins = [self.origins[number] for number in self.origin.tolist()]
        found = zip(origins, self.entry_ids(), self.payload.to_pylist(), strict=True)
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
            numbered=None if self.numbered is None else self.numbered[rows],
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
            numbered=None if self.numbered is None else self.numbered[start:stop],
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
        numbered=page.numbered if whole or page.numbered is None else page.numbered[entries],
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
        numbered=page.numbered,
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
        numbered=_concat_numbered(parts),
        payload=_concat([part.payload for part in parts]),
        fields=_concat_fields(parts),
        repeated=tuple(
            (row + int(start), name, value)
            for start, part in zip(starts, parts, strict=False)
            for row, name, value in part.repeated
        ),
    )


def _concat_numbered(parts: Sequence[Rows]) -> Numbers | None:
    if all(part.numbered is None for part in parts):
        return None
    plain = [np.zeros(len(part), dtype=bool) for part in parts]
    return np.concatenate(
        [
            none if part.numbered is None else part.numbered
            for part, none in zip(parts, plain, strict=True)
        ]
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


def message_rows(
    origins: Sequence[Origin], ids: Sequence[EntryId | bytes], payloads: Sequence[bytes]
) -> Rows:
    """The rows that messages would be read as, out of columns of them.

    >>> rows = message_rows([Origin("s", 1, b"s:1")] * 2, [b"5-1", EntryId(6, 0)], [b"a", b"b"])
    >>> rows.ms.tolist(), rows.sub.tolist(), rows.origin.tolist(), len(rows.origins)
    ([5, 6], [1, 0], [0, 0], 1)
    """
    ms, sub, numbered = _id_columns(ids)
    # By identity: hashing an origin for each message would cost more than all the rest.
    places = list(map(id, origins))
    known = dict(zip(places, origins, strict=True))
    named = tuple(dict.fromkeys(known.values()))
    number = {origin: index for index, origin in enumerate(named)}
    at = {place: number[origin] for place, origin in known.items()}
    return Rows(
        origins=named,
        origin=np.array([at[place] for place in places], dtype=np.int32),
        ms=ms,
        sub=sub,
        numbered=numbered,
        payload=pa.array(payloads, pa.binary()),
    )


def _id_columns(ids: Sequence[EntryId | bytes]) -> tuple[Numbers, Numbers, Numbers | None]:
    """Times and numbers of entries, and which of them are `NumberedId`s."""
    if set(map(type, ids)) == {bytes}:
        numbers = parse_ids(cast("list[bytes]", ids))
        return numbers[0::2], numbers[1::2], None
    parsed = [EntryId.parse(each) if isinstance(each, bytes) else each for each in ids]
    numbered = [isinstance(each, NumberedId) for each in parsed]
    return (
        np.array([each.ms for each in parsed], dtype=np.uint64),
        np.array([each.sub for each in parsed], dtype=np.uint64),
        np.array(numbered) if any(numbered) else None,
    )
