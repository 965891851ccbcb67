"""Rows become batches with the columns that were asked for: decode, filter, cut, label.

Plain functions and values, no I/O: `reading.py` brings the rows.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from seastream_nb.arrow import BASE_COLUMNS, base_column, base_type, default_columns
from seastream_nb.errors import ConfigError
from seastream_nb.payload import Decode, Decoder, decode_text, unify
from seastream_nb.query import Query
from seastream_nb.rows import Rows

_ABSENT = re.compile(r"FieldRef\.Name\((.*?)\)")
_NO_BOOL = re.compile(r"must evaluate to bool.* evaluates to (\S+)$", re.DOTALL)
_ROW = "__row"


class Shaper:
    """Turns rows into batches of one query, chunk after chunk.

    Without `fixed` the decoded columns are the union of what comes, known at the end; with it
    they are these columns in every batch.
    """

    def __init__(
        self,
        query: Query,
        unit_ns: int,
        *,
        fixed: pa.Schema | None = None,
        with_id: bool = False,
    ) -> None:
        self.query = query
        self.unit_ns = unit_ns
        self._with_id = with_id
        self._decoder = Decoder(query.decode, fixed=fixed)
        self.fixed = fixed
        self._absent: set[str] = set()
        self._filtered = False

    def fresh(self) -> Shaper:
        """A shaper of the same query that has seen nothing."""
        return Shaper(self.query, self.unit_ns, fixed=self.fixed, with_id=self._with_id)

    @property
    def decoded_names(self) -> list[str]:
        """The decoded columns known so far."""
        return list(self._decoder.schema.names)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the result."""
        if self.query.columns is not None:
            return self.query.columns
        return default_columns(
            self.decoded_names, payload=shows_payload(self.query.decode), with_id=self._with_id
        )

    def base_type(self, name: str) -> pa.DataType:
        """The type of a base column."""
        if name == "payload" and self.query.decode.kind == "text":
            return pa.string()
        return base_type(name, self.unit_ns, self.query.zone)

    def base(self, name: str, rows: Rows) -> pa.Array:
        """A base column of rows."""
        if name == "payload" and self.query.decode.kind == "text":
            return decode_text(rows)
        return base_column(name, rows, self.unit_ns, self.query.zone)

    def shape(self, rows: Rows) -> tuple[Rows, pa.RecordBatch]:
        """The rows that `where` keeps, and their decoded columns."""
        decoded = self._decoder.decode(rows)
        if self.query.condition is None or not len(rows):
            return rows, decoded
        self._filtered = True
        kept = self._kept(rows, decoded)
        if len(kept) == len(rows):
            return rows, decoded
        return rows.take(kept), decoded.take(pa.array(kept))

    def _kept(self, rows: Rows, decoded: pa.RecordBatch) -> np.ndarray[Any, Any]:
        table = pa.table({_ROW: np.arange(len(rows))})
        for name, column in zip(decoded.schema.names, decoded.columns, strict=True):
            table = table.append_column(name, column)
        while True:
            try:
                return np.asarray(table.filter(self.query.condition)[_ROW])
            except pa.ArrowInvalid as error:
                missing = _ABSENT.search(str(error))
                if missing is None or missing[1] in table.column_names:
                    raise ConfigError(f"where({self.query.condition}): {error}") from error
                name = missing[1]
                if name in BASE_COLUMNS:
                    column = self.base(name, rows)
                else:
                    # Another page may have it; if none does, `finish` says so.
                    self._absent.add(name)
                    column = pa.nulls(len(rows))
                table = table.append_column(name, column)
            except pa.ArrowTypeError as error:
                found = _NO_BOOL.search(str(error))
                if found is None:
                    raise ConfigError(f"where({self.query.condition}): {error}") from error
                if found[1] == "null":  # a column of which this page has no value
                    return np.arange(0)
                raise ConfigError(
                    f"where({self.query.condition}): it is {found[1]}, and must be true or false, "
                    "as pc.field('price') > 100 is"
                ) from error
            except pa.ArrowNotImplementedError as error:
                raise ConfigError(f"where({self.query.condition}): {error}") from error

    def batch(self, rows: Rows, decoded: pa.RecordBatch) -> pa.RecordBatch:
        """One batch with the result's columns; for streaming with a fixed schema."""
        schema = self.schema()
        arrays = [
            self.base(name, rows) if name in BASE_COLUMNS else decoded.column(name)
            for name in schema.names
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=schema)

    def schema(self) -> pa.Schema:
        """The result's schema, as far as it is known."""
        known = self._decoder.schema
        self._check_selected(self.columns, known.names)
        return pa.schema(
            [
                (name, self.base_type(name)) if name in BASE_COLUMNS else known.field(name)
                for name in self.columns
            ]
        )

    def table(self, parts: Sequence[tuple[Rows, pa.RecordBatch]]) -> pa.Table:
        """All chunks as one table with the result's columns."""
        known = self._decoder.schema
        decoded = unify([batch for _, batch in parts], known)
        empty = not any(len(rows) for rows, _ in parts)
        columns = []
        for name in self.columns:
            if name in BASE_COLUMNS:
                chunks = [self.base(name, rows) for rows, _ in parts]
                columns.append(pa.chunked_array(chunks, self.base_type(name)))
            elif name in known.names:
                columns.append(decoded[name])
            elif empty:
                columns.append(pa.chunked_array([], pa.null()))
            else:
                self._check_selected([name], known.names)
        return pa.table(columns, names=list(self.columns)).unify_dictionaries()

    def finish(self) -> None:
        """When all rows were shaped: refuse a `where` on a name that none of them had.

        It is more likely a slip than a question, and would keep no row, silently.

        Raises:
            ConfigError: naming the nearest column.
        """
        for name in sorted(self._absent):
            if self._filtered and name not in self._decoder.schema.names:
                raise unknown_column("where", name, [*BASE_COLUMNS, *self.decoded_names])

    def _check_selected(self, columns: Iterable[str], decoded: Sequence[str]) -> None:
        for name in columns:
            if name not in BASE_COLUMNS and name not in decoded:
                raise unknown_column("select", name, [*BASE_COLUMNS, *decoded])


def shows_payload(decode: Decode) -> bool:
    """Whether the payload column stays when nothing is selected."""
    return decode.kind in ("raw", "text")


def unknown_column(where: str, name: str, known: Sequence[str]) -> ConfigError:
    """The error for a column that no row has."""
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"
    return ConfigError(f"{where}: there is no column {name!r}; {hint}")
