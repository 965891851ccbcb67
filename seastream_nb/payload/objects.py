"""JSON payloads -> the union of their keys, chunk after chunk, with types that widen.

Arrow reads a whole chunk where that is exact; otherwise every payload is parsed alone, the misfits
are set aside, and Arrow reads the rest with the types that are then known. Both ways give the same
columns; a test holds them together. `fixed.py` does the same for columns that cannot change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from seastream_nb.payload import ndjson, shape
from seastream_nb.payload.columns import (
    ERROR,
    EXTRA,
    ColumnNames,
    batch_of,
    column_field,
    settled,
    sparse,
)
from seastream_nb.payload.exact import accepted_lines, read_lines
from seastream_nb.payload.faults import Faults, MisfitError

if TYPE_CHECKING:
    from seastream_nb.rows import Rows


class GrowingObjects:
    """A column for each key seen so far, in the order of first sight."""

    def __init__(self, *, keep: bool) -> None:
        self._keep = keep
        self._shapes: dict[str, shape.Shape] = {}
        self._names = ColumnNames()

    @property
    def schema(self) -> pa.Schema:
        """The columns so far, with their final types."""
        return self._schema({key: settled(kind) for key, kind in self._types().items()})

    def fixed_schema(self) -> pa.Schema:
        """The columns so far as a stream would fix them."""
        fields = []
        for key, kind in self._types().items():
            storable = settled(kind, empty_objects=False)
            untyped = storable != kind
            fields.append(column_field(key.encode(), self._name(key), storable, untyped=untyped))
        return pa.schema([*fields, pa.field(EXTRA, pa.string()), *error_field(keep=self._keep)])

    def decode(self, rows: Rows) -> pa.RecordBatch:
        """The columns known after this chunk.

        Raises:
            DecodeError: a payload is no object, or changes the type of a column.
        """
        faults = Faults(rows, keep=self._keep, column_of=self._name)
        columns = self._read_fast(rows.payload)
        if columns is None:
            columns = self._read_exact(rows.payload, faults)
        named = {self._name(key): column for key, column in columns.items()}
        named[ERROR] = sparse(faults.reasons, len(rows))
        return batch_of(self._schema(self._types()), named, len(rows))

    def _read_fast(self, payloads: pa.BinaryArray) -> ndjson.Columns | None:
        # The reader cannot widen a column of nulls that it was told about.
        known = {key: kind for key, kind in self._types().items() if settled(kind) == kind}
        columns = ndjson.read_exact(payloads, known)
        if columns is None:
            return None
        try:
            self._learn({key: shape.shape_of_array(column) for key, column in columns.items()})
        except MisfitError:
            return None
        return columns

    def _read_exact(self, payloads: pa.BinaryArray, faults: Faults) -> ndjson.Columns:
        def accept(_row: int, payload: bytes, value: dict[str, Any]) -> bytes:
            self._learn(shape.shape_of_object(value))
            return payload

        lines = accepted_lines(payloads, accept, faults)
        # Lists of nothing but nulls need some type to be read right.
        types = {key: settled(kind) for key, kind in self._types().items()}
        return read_lines(lines, types, faults)

    def _learn(self, found: dict[str, shape.Shape]) -> None:
        self._shapes = shape.merge_objects(self._shapes, found)

    def _types(self) -> ndjson.Types:
        return {key: shape.type_of(of) for key, of in self._shapes.items()}

    def _schema(self, types: ndjson.Types) -> pa.Schema:
        fields = [column_field(key.encode(), self._name(key), kind) for key, kind in types.items()]
        return pa.schema([*fields, *error_field(keep=self._keep)])

    def _name(self, key: str) -> str:
        return self._names.of(key.encode())


def error_field(*, keep: bool) -> list[pa.Field]:
    """The column of reasons, when misfits are kept."""
    return [pa.field(ERROR, pa.string())] if keep else []
