"""JSON payloads -> columns that were fixed before the first chunk, by a sample or by the user."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from seastream_nb.payload import ndjson, shape
from seastream_nb.payload.columns import (
    ERROR,
    EXTRA,
    ColumnNames,
    batch_of,
    column_field,
    is_untyped,
    source_of,
    sparse,
)
from seastream_nb.payload.exact import accepted_lines, read_lines
from seastream_nb.payload.faults import Faults, MisfitError
from seastream_nb.payload.objects import error_field
from seastream_nb.payload.strict import parse_object

if TYPE_CHECKING:
    from seastream_nb.rows import Rows

Object = dict[str, Any]


class _FixedObjects(ABC):
    """Columns that stay; what comes late is set aside as JSON text."""

    def __init__(self, schema: pa.Schema, *, keep: bool) -> None:
        self.schema = schema
        self._keep = keep
        columns = [field for field in schema if field.name not in (EXTRA, ERROR)]
        self._names = {source_of(field).decode(): field.name for field in columns}
        self._types: ndjson.Types = {source_of(field).decode(): field.type for field in columns}

    def fixed_schema(self) -> pa.Schema:
        """The schema that was given."""
        return self.schema

    def decode(self, rows: Rows) -> pa.RecordBatch:
        """Exactly the columns of the schema.

        Raises:
            DecodeError: a payload is no object, or a value does not fit its column.
        """
        faults = Faults(rows, keep=self._keep, column_of=self._names.__getitem__)
        extras: dict[int, str] = {}
        columns = self._read_fast(rows.payload)
        if columns is None:
            columns = self._read_exact(rows.payload, faults, extras)
        elif EXTRA in self.schema.names:
            extras = self._extras(rows.payload, columns)
        named = {name: columns[key] for key, name in self._names.items()}
        whole = {row: text for row, text in extras.items() if row not in faults.reasons}
        named[EXTRA] = sparse(whole, len(rows))
        named[ERROR] = sparse(faults.reasons, len(rows))
        return batch_of(self.schema, named, len(rows))

    def _read_exact(
        self, payloads: pa.BinaryArray, faults: Faults, extras: dict[int, str]
    ) -> ndjson.Columns:
        def accept(row: int, payload: bytes, value: Object) -> bytes:
            late = self._late(value)
            if not late:
                return payload
            extras[row] = _json_text(late)
            return self._line(payload, value, late)

        lines = accepted_lines(payloads, accept, faults)
        return read_lines(lines, self._types, faults)

    def _extras(self, payloads: pa.BinaryArray, columns: ndjson.Columns) -> dict[int, str]:
        late = np.zeros(len(payloads), dtype=bool)
        for key in columns.keys() - self._types.keys():
            late |= columns[key].is_valid().to_numpy(zero_copy_only=False)
        return {
            int(row): _json_text(self._late(parse_object(payloads[row].as_py())))
            for row in np.flatnonzero(late)
        }

    @abstractmethod
    def _read_fast(self, payloads: pa.BinaryArray) -> ndjson.Columns | None:
        """The columns of the schema and others by Arrow alone, where that is exact."""

    @abstractmethod
    def _late(self, value: Object) -> Object:
        """The keys and values for `_extra`."""

    def _line(self, payload: bytes, _value: Object, _late: Object) -> bytes:
        """What Arrow reads for the columns."""
        return payload


class SampledObjects(_FixedObjects):
    """Columns fixed by a sample; what they cannot hold goes to `_extra`.

    That is a key that the sample did not have; a value where the sample had nothing but nulls,
    which is in `_extra` instead of its column; and a value with new keys inside, which is whole in
    `_extra` while its column has the parts that fit.
    """

    def __init__(self, schema: pa.Schema, *, keep: bool) -> None:
        super().__init__(schema, keep=keep)
        self._shapes = {key: shape.shape_of_type(kind) for key, kind in self._types.items()}
        self._untyped = {source_of(field).decode() for field in schema if is_untyped(field)}

    def _read_fast(self, payloads: pa.BinaryArray) -> ndjson.Columns | None:
        columns = ndjson.read_exact(payloads, self._types)
        if columns is None:
            return None
        fits = all(columns[key].type == kind for key, kind in self._types.items())
        return columns if fits else None

    def _late(self, value: Object) -> Object:
        return {key: item for key, item in value.items() if not self._holds(key, item)}

    def _holds(self, key: str, item: Any) -> bool:
        if item is None or key not in self._shapes:
            return item is None
        try:
            return shape.holds(self._shapes[key], shape.shape_of(item))
        except MisfitError as misfit:
            if key in self._untyped:
                return False
            fixed = f"{misfit.reason}; a sample fixed the column to {self._types[key]}"
            raise MisfitError(f"{fixed}, schema= sets another type", (key, *misfit.path)) from None

    def _line(self, _payload: bytes, value: Object, late: Object) -> bytes:
        unfit = late.keys() & self._untyped
        return json.dumps({key: item for key, item in value.items() if key not in unfit}).encode()


class TypedObjects(_FixedObjects):
    """Exactly the columns of the user's schema; other keys only go to an `_extra` that is in it."""

    def __init__(self, schema: pa.Schema, *, keep: bool) -> None:
        names = ColumnNames()
        fields = [
            field
            if field.name == EXTRA
            else column_field(field.name.encode(), names.of(field.name.encode()), field.type)
            for field in schema
        ]
        super().__init__(pa.schema([*fields, *error_field(keep=keep)]), keep=keep)

    def _read_fast(self, payloads: pa.BinaryArray) -> ndjson.Columns | None:
        columns = ndjson.read_plain(payloads, ndjson.storage(self._types))
        if columns is None:
            return None
        try:
            return columns | ndjson.cast(columns, self._types)
        except pa.ArrowInvalid:
            return None

    def _late(self, value: Object) -> Object:
        if EXTRA not in self.schema.names:
            return {}
        return {
            key: item for key, item in value.items() if item is not None and key not in self._types
        }


def _json_text(late: Object) -> str:
    return json.dumps(late, ensure_ascii=False)
