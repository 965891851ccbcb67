"""Entry fields -> columns, one a field: text where it is UTF-8, else binary, or a given type."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from seastream_nb.keys import key_bytes
from seastream_nb.payload.columns import (
    EXTRA,
    ColumnNames,
    batch_of,
    column_field,
    settled,
    source_of,
    sparse,
)
from seastream_nb.payload.faults import decode_error, misfits

if TYPE_CHECKING:
    from seastream_nb.rows import Rows

Values = dict[bytes, pa.BinaryArray]


class GrowingFields:
    """The named fields, or a column for each field seen so far, in the order of first sight.

    Args:
        names: the fields to read; none means all.
        schema: the types of some of `names`.
    """

    def __init__(self, names: tuple[str | bytes, ...], schema: pa.Schema | None) -> None:
        given = () if schema is None else schema
        self._given = {field.name.encode(): field.type for field in given if field.name != EXTRA}
        self._types = {name: self._given.get(name, pa.null()) for name in map(key_bytes, names)}
        self._open = not names
        # With a schema `_extra` is there if it is in it, without one as soon as it is needed.
        self._may_extra = schema is None or EXTRA in schema.names
        self._extra = schema is not None and self._may_extra
        self._names = ColumnNames()

    @property
    def schema(self) -> pa.Schema:
        """The columns so far, with their final types."""
        return self._schema(
            {name: settled(kind) for name, kind in self._types.items()}, self._extra
        )

    def fixed_schema(self) -> pa.Schema:
        """The columns so far as a stream would fix them."""
        types = {name: settled(kind) for name, kind in self._types.items()}
        return self._schema(types, self._may_extra)

    def decode(self, rows: Rows) -> pa.RecordBatch:
        """The columns known after this chunk.

        Raises:
            DecodeError: a value does not fit the type that was given for its field.
        """
        columns = {}
        for name, values in (rows.fields or {}).items():
            if self._open or name in self._types:
                columns[self._names.of(name)] = self._column(rows, name, values)
        if self._may_extra and rows.repeated:
            self._extra = True
            columns[EXTRA] = _extras(rows, {})
        return batch_of(self._schema(self._types, self._extra), columns, len(rows))

    def _column(self, rows: Rows, name: bytes, values: pa.BinaryArray) -> pa.Array:
        if name in self._given:
            return _typed(rows, values, self._given[name], self._names.of(name))
        # A field that once was binary stays binary.
        column = values if self._types.get(name) == pa.binary() else _text_or_binary(values)
        self._types[name] = column.type
        return column

    def _schema(self, types: dict[bytes, pa.DataType], extra: bool) -> pa.Schema:
        fields = [column_field(name, self._names.of(name), kind) for name, kind in types.items()]
        return pa.schema([*fields, *([pa.field(EXTRA, pa.string())] if extra else [])])


class FixedFields:
    """Exactly the columns of a schema; late fields go to its `_extra`, if it has that."""

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self._columns = {source_of(field): field for field in schema if field.name != EXTRA}
        self._has_extra = EXTRA in schema.names

    @classmethod
    def of_user(cls, schema: pa.Schema) -> FixedFields:
        """The columns of a schema whose names are the names of fields."""
        names = ColumnNames()
        return cls(
            pa.schema(
                [
                    field
                    if field.name == EXTRA
                    else column_field(
                        field.name.encode(), names.of(field.name.encode()), field.type
                    )
                    for field in schema
                ]
            )
        )

    def fixed_schema(self) -> pa.Schema:
        """The schema that was given."""
        return self.schema

    def decode(self, rows: Rows) -> pa.RecordBatch:
        """Exactly the columns of the schema.

        Raises:
            DecodeError: a value does not fit its column.
        """
        columns, late = {}, {}
        for name, values in (rows.fields or {}).items():
            field = self._columns.get(name)
            if field is None:
                late[name] = values
            else:
                columns[field.name] = _typed(rows, values, field.type, field.name)
        if self._has_extra and (late or rows.repeated):
            columns[EXTRA] = _extras(rows, late)
        return batch_of(self.schema, columns, len(rows))


def _text_or_binary(values: pa.BinaryArray) -> pa.Array:
    try:
        return values.cast(pa.string())
    except pa.ArrowInvalid:
        return values


def _typed(rows: Rows, values: pa.BinaryArray, kind: pa.DataType, column: str) -> pa.Array:
    def fits(start: int, stop: int) -> bool:
        try:
            _cast(values.slice(start, stop - start), kind)
        except pa.ArrowInvalid:
            return False
        return True

    for row in misfits(0, len(values), fits):
        reason = f"a value that does not fit {kind}"
        hint = "; schema= sets another type, binary takes any bytes"
        raise decode_error(rows, row, reason, column=column, hint=hint)
    return _cast(values, kind)


def _cast(values: pa.BinaryArray, kind: pa.DataType) -> pa.Array:
    return values if kind == pa.binary() else values.cast(pa.string()).cast(kind)


def _extras(rows: Rows, late: Values) -> pa.StringArray:
    """What no column holds: late fields by their value, repeated ones by the list of later values.

    A late field that is repeated has all its values in the list.
    """
    names = ColumnNames(reserved=())
    found: dict[int, dict[str, Any]] = {}
    for field, values in late.items():
        for row, value in enumerate(values.to_pylist()):
            if value is not None:
                found.setdefault(row, {})[names.of(field)] = _json_value(value)
    for row, field, value in rows.repeated:
        before = found.setdefault(row, {}).setdefault(names.of(field), [])
        if not isinstance(before, list):
            before = found[row][names.of(field)] = [before]
        before.append(_json_value(value))
    texts = {row: json.dumps(extra, ensure_ascii=False) for row, extra in found.items()}
    return sparse(texts, len(rows))


def _json_value(value: bytes) -> str | dict[str, str]:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}
