"""Rows as JSON objects: exact values, one bytes object a row. Plain functions, no I/O."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa

from seastream_nb.errors import ConfigError


def json_rows(batch: pa.RecordBatch, first_row: int = 0) -> list[bytes]:
    r"""Each row as a compact JSON object; times are ISO text, decimals are text.

    >>> json_rows(pa.record_batch({"price": [1.5, None], "note": ["\u00e5", 'say "hi"']}))
    [b'{"price":1.5,"note":"\xc3\xa5"}', b'{"price":null,"note":"say \\"hi\\""}']

    Raises:
        ConfigError: a value that JSON has no form for, such as bytes or an infinite number;
            counting from `first_row`, it names the row.
    """
    if not batch.num_columns:
        return [b"{}"] * len(batch)
    columns = [_json_values(column, first_row) for column in batch.columns]
    names = (_encode(name).replace("%", "%%") for name in batch.schema.names)
    row = "{" + ",".join(f"{name}:%s" for name in names) + "}"
    return [(row % values).encode() for values in zip(*columns, strict=True)]


def _json_values(column: pa.Array, first_row: int) -> list[str]:
    values = _values(column)
    # One call of the encoder for a whole column is several times faster than one a value.
    if values and not any(has(column.type) for has in _MAY_HOLD_COMMAS):
        with suppress(TypeError, ValueError):
            return _encode(values)[1:-1].split(",")
    texts: list[str] = []
    for row, value in enumerate(values, first_row):
        try:
            texts.append(_encode(value))
        except (TypeError, ValueError) as error:
            raise ConfigError(f"row {row} cannot be written as JSON: {error}") from error
    return texts


def _values(column: pa.Array) -> list[Any]:
    kind = column.type
    if not pa.types.is_timestamp(kind) or kind.tz != "UTC":
        return column.to_pylist()  # type: ignore[no-any-return]
    # Without the zone, which takes longer than all the rest.
    naive = column.cast(pa.timestamp(kind.unit)).to_pylist()
    return [value and f"{value.isoformat()}+00:00" for value in naive]


def is_text(kind: pa.DataType) -> bool:
    """Whether the values are text.

    >>> is_text(pa.string_view()), is_text(pa.binary())
    (True, False)
    """
    types = pa.types
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


_MAY_HOLD_COMMAS = (is_text, pa.types.is_nested, pa.types.is_dictionary)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


_encode = json.JSONEncoder(
    default=_plain, allow_nan=False, ensure_ascii=False, separators=(",", ":")
).encode
