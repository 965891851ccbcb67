"""Many payloads -> columns at once, by Arrow's reader of newline-delimited JSON.

The reader is fast and not strict: it skips empty payloads, takes `{}{}` for two rows, NaN for a
number, bytes that are not UTF-8 for text, integers beyond int64 for doubles, and overflows the
stack on deep nesting. `read_plain` gives columns only where a cheap look at the payloads and at the
result rules all of that out; what is left is for the caller to read one by one (`strict.py`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from seastream_nb.payload.shape import EXACT_FLOAT
from seastream_nb.payload.strict import MAX_DEPTH

if TYPE_CHECKING:
    from collections.abc import Iterator

Columns = dict[str, pa.Array]
Types = dict[str, pa.DataType]

# The reader takes some 500 bytes of stack a level; this fits the smallest thread stack in use.
_SAFE_DEPTH = 500
_JSON_SPACE = " \t\r\n"
_LONG_INTEGER = re.compile(rb"[:\[,\s]-?\d{16,}(?![\d.eE])")


def read(payloads: pa.Array, types: Types, *, others: str = "infer") -> Columns:
    """The columns of payloads that hold one object each.

    Args:
        payloads: binary or string, no nulls.
        types: what is known about columns; these come first, in this order.
        others: "infer" or "ignore" columns and nested fields that `types` does not name.

    Raises:
        pa.ArrowInvalid: some value has another type, or the rows are not one a payload.
    """
    if not len(payloads):
        return {name: pa.nulls(0, kind) for name, kind in types.items()}
    data = _join(payloads)
    table = pj.read_json(
        pa.BufferReader(data),
        # One block is one chunk a column, and its types are those of all rows.
        read_options=pj.ReadOptions(use_threads=False, block_size=data.size + 1),
        parse_options=pj.ParseOptions(
            explicit_schema=pa.schema(types.items()), unexpected_field_behavior=others
        ),
    )
    if table.num_rows != len(payloads):
        raise pa.ArrowInvalid("the payloads are not one object each")
    columns = {name: table.column(name).chunk(0) for name in table.column_names}
    for column in columns.values():
        # Of nulls at the head of lists whose type it does not know yet, the reader loses some.
        column.validate()
    return columns


def read_plain(payloads: pa.BinaryArray, types: Types) -> Columns | None:
    """The columns of plain payloads, known and new ones; None where the reader is not exact.

    New columns have the reader's types, which may be timestamps.
    """
    texts = _plain(payloads)
    if texts is None:
        return None
    try:
        columns = read(texts, types)
    except pa.ArrowInvalid:
        return None
    deep = any(_depth(column.type) >= MAX_DEPTH for column in columns.values())
    return columns if not deep and all(map(is_finite, columns.values())) else None


def read_exact(payloads: pa.BinaryArray, types: Types) -> Columns | None:
    """As `read_plain`, with strings as strings and no integer turned into a float that differs."""
    columns = read_plain(payloads, types)
    if columns is None:
        return None
    strings = {name: _without_times(column.type) for name, column in columns.items()}
    if any(strings[name] != column.type for name, column in columns.items()):
        return read_exact(payloads, strings)
    large = any(_has_large_floats(column) for column in columns.values())
    return None if large and _LONG_INTEGER.search(_join(payloads)) else columns


def read_lines(payloads: pa.Array, types: Types) -> Columns:
    """Exactly the columns of `types`, from payloads that are one object each.

    Raises:
        pa.ArrowInvalid: some value does not fit its type.
    """
    return cast(read(payloads, storage(types), others="ignore"), types)


def storage(types: Types) -> Types:
    """The types to read before `cast`: the reader knows no dictionary, date from text, ..."""
    return {name: _storage(kind) for name, kind in types.items()}


def cast(columns: Columns, types: Types) -> Columns:
    """The columns of `types`, from the types of their `storage`.

    Raises:
        pa.ArrowInvalid: some value does not fit its type.
    """
    chosen = {name: columns[name].cast(kind) for name, kind in types.items()}
    if not all(map(is_finite, chosen.values())):
        raise pa.ArrowInvalid("a number is too large for its type")
    return chosen


def is_finite(column: pa.Array) -> bool:
    """Whether no float in the column, at any depth, is NaN or infinite."""
    return all(
        pc.all(pc.is_finite(leaf)).as_py() is not False
        for leaf in _leaves(column)
        if pa.types.is_floating(leaf.type)
    )


def _storage(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_date(kind):
        return pa.string()
    if pa.types.is_dictionary(kind):
        return _storage(kind.value_type)
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, _storage(field.type)) for field in kind])
    if pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind):
        return pa.list_(_storage(kind.value_type))
    if pa.types.is_fixed_size_binary(kind):
        return pa.binary()
    return pa.int64() if pa.types.is_duration(kind) else kind


def _join(payloads: pa.Array) -> pa.Buffer:
    everything = pa.ListArray.from_arrays(pa.array([0, len(payloads)], pa.int32()), payloads)
    return pc.binary_join(everything, pa.scalar("\n", payloads.type))[0].as_buffer()


def _plain(payloads: pa.BinaryArray) -> pa.StringArray | None:
    try:
        texts = payloads.cast(pa.string())
    except pa.ArrowInvalid:
        return None
    if not _are_objects(texts):
        texts = pc.ascii_trim(texts, _JSON_SPACE)
    return texts if _are_objects(texts) and _are_shallow(texts) else None


def _are_objects(texts: pa.StringArray) -> bool:
    # Then `}`, newline, `{` stand between two payloads, which JSON has only between two whole
    # objects: each payload holds one or more, and as many rows as payloads means one each.
    opened, closed = pc.starts_with(texts, "{"), pc.ends_with(texts, "}")
    return bool(pc.all(opened).as_py() and pc.all(closed).as_py())


def _are_shallow(texts: pa.StringArray) -> bool:
    if pc.max(pc.binary_length(texts)).as_py() <= 2 * _SAFE_DEPTH:
        return True
    _, offsets, data = texts.buffers()
    ends = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    # `[` and `{` differ in one bit.
    opening = np.flatnonzero((np.frombuffer(data, np.uint8) | 0x20) == ord("{"))
    return bool(np.diff(np.searchsorted(opening, ends)).max() <= _SAFE_DEPTH)


def _depth(kind: pa.DataType) -> int:
    children = [kind.field(index).type for index in range(kind.num_fields)]
    return 1 + max(map(_depth, children)) if children else int(pa.types.is_nested(kind))


def _without_times(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_temporal(kind):
        return pa.string()
    if pa.types.is_list(kind):
        return pa.list_(_without_times(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, _without_times(field.type)) for field in kind])
    return kind


def _has_large_floats(column: pa.Array) -> bool:
    return any(
        max(map(abs, filter(None, pc.min_max(leaf).as_py().values())), default=0) >= EXACT_FLOAT
        for leaf in _leaves(column)
        if pa.types.is_floating(leaf.type)
    )


def _leaves(array: pa.Array) -> Iterator[pa.Array]:
    if pa.types.is_struct(array.type):
        for child in array.flatten():
            yield from _leaves(child)
    elif pa.types.is_nested(array.type):
        yield from _leaves(array.flatten())
    else:
        yield array
