"""The decoder: chunks of rows in, batches of decoded columns out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pyarrow as pa

from seastream_nb.payload.columns import batch_of
from seastream_nb.payload.faults import decode_error, misfits
from seastream_nb.payload.fields import FixedFields, GrowingFields
from seastream_nb.payload.fixed import SampledObjects, TypedObjects
from seastream_nb.payload.objects import GrowingObjects

if TYPE_CHECKING:
    from seastream_nb.payload.decode import Decode
    from seastream_nb.rows import Rows


class _Columns(Protocol):
    @property
    def schema(self) -> pa.Schema: ...

    def fixed_schema(self) -> pa.Schema: ...

    def decode(self, rows: Rows) -> pa.RecordBatch: ...


class _NoColumns:
    """Raw and text: the payload itself is the only column."""

    schema = pa.schema([])

    def fixed_schema(self) -> pa.Schema:
        return self.schema

    def decode(self, rows: Rows) -> pa.RecordBatch:
        return batch_of(self.schema, {}, len(rows))


class Decoder:
    """Decodes one chunk after the other, in order, into the decoded columns alone.

    Args:
        decode: what was asked for.
        fixed: the schema that `infer` gave, for a stream: each batch then has exactly these
            columns, and what they cannot hold is JSON text in `_extra`. None: each batch has the
            columns known by then, and `unify` brings all of them to the final `schema`.
    """

    def __init__(self, decode: Decode, *, fixed: pa.Schema | None = None) -> None:
        self._columns = _columns(decode, fixed)

    @property
    def schema(self) -> pa.Schema:
        """The decoded columns, in the order of first sight; what only ever was null is a string."""
        return self._columns.schema

    def decode(self, rows: Rows) -> pa.RecordBatch:
        """The decoded columns of these rows, one row each.

        Raises:
            DecodeError: a payload that is not what was asked for; names entry and column. After it
                the decoder is of no further use.
        """
        return self._columns.decode(rows)


def infer(decode: Decode, rows: Rows | None) -> pa.Schema:
    """The decoded columns that a stream fixes after this sample, None if there is nothing yet.

    With an inferred schema that is every column of the sample, then `_extra`; `_error` is last with
    `errors="keep"`. Columns that were null throughout the sample are strings.

    Raises:
        DecodeError: the sample cannot be decoded.
    """
    columns = _columns(decode, None)
    if rows is not None:
        columns.decode(rows)
    return columns.fixed_schema()


def decode_text(rows: Rows) -> pa.StringArray:
    """The payloads as text, without a copy.

    Raises:
        DecodeError: a payload is not UTF-8.
    """
    payloads = rows.payload
    assert payloads is not None

    def fits(start: int, stop: int) -> bool:
        try:
            payloads.slice(start, stop - start).cast(pa.string())
        except pa.ArrowInvalid:
            return False
        return True

    for row in misfits(0, len(rows), fits):
        raise decode_error(rows, row, "the payload is not UTF-8 text", column="payload")
    return payloads.cast(pa.string())


def _columns(decode: Decode, fixed: pa.Schema | None) -> _Columns:
    if decode.kind == "json":
        keep = decode.errors == "keep"
        if decode.schema is not None:
            return TypedObjects(decode.schema, keep=keep)
        return GrowingObjects(keep=keep) if fixed is None else SampledObjects(fixed, keep=keep)
    if decode.kind == "fields":
        if fixed is not None:
            return FixedFields(fixed)
        if decode.schema is not None and not decode.names:
            return FixedFields.of_user(decode.schema)
        return GrowingFields(decode.names, decode.schema)
    return _NoColumns()
