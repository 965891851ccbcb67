"""Decoded columns: their names, their types at the end, and batches brought to one schema."""

from __future__ import annotations

from itertools import chain, count
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from seastream_nb.keys import key_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

EXTRA = "_extra"
ERROR = "_error"
RESERVED = frozenset({"stream", "shard", "sequence", "timestamp", "payload", "id", EXTRA, ERROR})

_SOURCE = b"seastream.field"
_UNTYPED = b"seastream.untyped"


class ColumnNames:
    r"""The column name of each field: its own, unless that is taken.

    >>> names = ColumnNames()
    >>> [names.of(field) for field in (b"price", b"id", b"payload_id", b"\xff", b"\\xff")]
    ['price', 'payload_id', 'payload_id_2', '\\xff', '\\xff_2']
    >>> names.of(b"id")
    'payload_id'
    """

    def __init__(self, reserved: Iterable[str] = RESERVED) -> None:
        self._reserved = frozenset(reserved)
        self._names: dict[bytes, str] = {}

    def of(self, field: bytes) -> str:
        """The name of a field, the same each time."""
        if field not in self._names:
            name = key_text(field)
            name = f"payload_{name}" if name in self._reserved else name
            taken = set(self._names.values())
            candidates = chain([name], (f"{name}_{number}" for number in count(2)))
            self._names[field] = next(free for free in candidates if free not in taken)
        return self._names[field]


def column_field(source: bytes, name: str, kind: pa.DataType, *, untyped: bool = False) -> pa.Field:
    """A column that remembers which field it came from, and whether its type is only a guess."""
    notes = {} if name.encode() == source else {_SOURCE: source}
    if untyped:
        notes[_UNTYPED] = b"no value in the sample had a type"
    return pa.field(name, kind, metadata=notes or None)


def source_of(column: pa.Field) -> bytes:
    """The field that a column came from."""
    name: str = column.name
    notes: dict[bytes, bytes] = column.metadata or {}
    return notes.get(_SOURCE, name.encode())


def is_untyped(column: pa.Field) -> bool:
    """Whether the sample held no value that would have told the column's type."""
    return _UNTYPED in (column.metadata or {})


def settled(kind: pa.DataType, *, empty_objects: bool = True) -> pa.DataType:
    """The type of a finished column: what only ever was null is a string.

    Without `empty_objects`, an object that never had a key is one too: Parquet cannot store it.

    >>> settled(pa.list_(pa.null()))
    ListType(list<item: string>)
    """
    if pa.types.is_struct(kind) and (kind.num_fields or empty_objects):
        return pa.struct(
            [(field.name, settled(field.type, empty_objects=empty_objects)) for field in kind]
        )
    if pa.types.is_list(kind):
        return pa.list_(settled(kind.value_type, empty_objects=empty_objects))
    return pa.string() if pa.types.is_null(kind) or pa.types.is_struct(kind) else kind


def conform(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """The same values in a type that holds them all.

    >>> conform(pa.array([{"a": 1}, None]), pa.struct([("b", pa.string()), ("a", pa.float64())]))[0]
    <pyarrow.StructScalar: [('b', None), ('a', 1.0)]>
    """
    if array.type == kind:
        return array
    if array.null_count == len(array):
        return pa.nulls(len(array), kind)
    if pa.types.is_struct(kind) and pa.types.is_struct(array.type):
        children = dict(zip((field.name for field in array.type), array.flatten(), strict=True))
        missing = pa.nulls(len(array))
        return pa.StructArray.from_arrays(
            [conform(children.get(field.name, missing), field.type) for field in kind],
            fields=list(kind),
            mask=array.is_null(),
        )
    if pa.types.is_list(kind) and pa.types.is_list(array.type):
        lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        items = conform(array.flatten(), kind.value_type)
        return pa.ListArray.from_arrays(offsets, items, type=kind, mask=array.is_null())
    return array.cast(kind)


def sparse(texts: Mapping[int, str], rows: int) -> pa.StringArray:
    """A text in some rows, null in the others.

    >>> sparse({1: "x"}, 3).to_pylist()
    [None, 'x', None]
    """
    # Most chunks have none at all.
    return (
        pa.array(map(texts.get, range(rows)), pa.string()) if texts else pa.nulls(rows, pa.string())
    )


def batch_of(schema: pa.Schema, columns: Mapping[str, pa.Array], rows: int) -> pa.RecordBatch:
    """A batch of exactly the schema's columns: null where there is none, as long if it has none."""
    if not schema.names:
        return pa.RecordBatch.from_struct_array(
            pa.StructArray.from_buffers(pa.struct([]), rows, [None])
        )
    missing = pa.nulls(rows)
    arrays = [conform(columns.get(field.name, missing), field.type) for field in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def unify(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    """One table of batches that were decoded while their schema still grew.

    Args:
        batches: any columns of `schema`, with types that `schema` widens.
        schema: the final one; a column that a batch lacks is null there.
    """
    return pa.Table.from_batches(
        [
            batch_of(schema, dict(zip(batch.schema.names, batch.columns, strict=True)), len(batch))
            for batch in batches
        ],
        schema,
    )
