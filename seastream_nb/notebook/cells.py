"""Rows of a stream as tables of text and HTML: every value escaped, and cut where it is long."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from seastream_nb.keys import key_text
from seastream_nb.notebook.display import Column, Markup, brief, escape, table, text_table

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 120  # characters of a value that show at once
MOST = 10_000  # and when it is expanded
MAX_COLUMNS = 20
TEXT_WIDTH = 40  # of a value in a table of plain text


def value_text(value: object) -> str:
    r"""A value of a row as text, whole; a null is empty.

    >>> value_text(None), value_text(b"caf\xc3\xa9 \xff"), value_text({"a": [1, None]})
    ('', 'café \\xff', '{"a": [1, null]}')
    """
    if value is None:
        return ""
    if isinstance(value, bytes):
        return key_text(value)
    if isinstance(value, datetime):
        return time_text(value)
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, default=value_text)
    return str(value)


def time_text(time: datetime) -> str:
    """A time to the millisecond, or as fine as it is.

    >>> time_text(datetime(2026, 11, 22, 2, 10, 0, 5_000))
    '2026-11-22 02:10:00.005'
    """
    fine = time.microsecond % 1_000
    return time.replace(tzinfo=None).isoformat(" ", "microseconds" if fine else "milliseconds")


def cell_html(value: object, most: int = MOST) -> Markup:
    """A value as HTML: what is long is cut, and opens at a click, to its first `most` characters.

    >>> cell_html("<b>")
    '&lt;b&gt;'
    """
    # A huge value is not turned into text as a whole.
    whole = len(value) if isinstance(value, bytes | str) else None
    text = value_text(value[: most + 1] if isinstance(value, bytes | str) else value)
    if len(text) <= SHOWN:
        return Markup(escape(text))
    size = len(text) if whole is None else whole
    kept = escape(text[:most]) + (f"… ({size:,} in all)" if len(text) > most else "")
    head = escape(text[:SHOWN])
    return Markup(f"<details><summary>{head}… ({size:,})</summary>{kept}</details>")


def rows_html(rows: pa.Table, caption: str, *, most: int = MOST) -> str:
    """The rows as an HTML table, with the columns that there is room for.

    `most` is how many characters of a value can be opened.
    """
    names = rows.column_names[:MAX_COLUMNS]
    columns = [
        Column(escape_name(name), _is_number(rows.schema.field(name).type)) for name in names
    ]
    cells = [[cell_html(value, most) for value in _values(rows, name)] for name in names]
    more = len(rows.column_names) - len(names)
    return table(
        columns, zip(*cells, strict=True), caption + (f", {more:,} more columns" * (more > 0))
    )


def frame_html(frame: pd.DataFrame, caption: str) -> str:
    """A pandas frame of plain values as an HTML table."""
    columns = [
        Column(escape_name(str(name)), kind.kind in "iuf") for name, kind in frame.dtypes.items()
    ]
    cells = [
        ["" if missing else cell_html(value) for value, missing in zip(column, lost, strict=True)]
        for column, lost in ((frame[name], frame[name].isna()) for name in frame.columns)
    ]
    return table(columns, zip(*cells, strict=True), caption)


def rows_text(rows: pa.Table) -> str:
    """The rows as a table of plain text."""
    names = rows.column_names[:MAX_COLUMNS]
    columns = [
        Column(escape_name(name), _is_number(rows.schema.field(name).type)) for name in names
    ]
    cells = [[_short(value) for value in _values(rows, name)] for name in names]
    return text_table(columns, list(zip(*cells, strict=True)))


def escape_name(name: str) -> str:
    """The name of a column, which came from a stream like everything else."""
    return brief(name)[:SHOWN]


def _values(rows: pa.Table, name: str) -> list[Any]:
    column = rows.column(name)
    if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
        # Python's datetime has no nanoseconds; a table for the eye can do without.
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
    values: list[Any] = column.to_pylist()
    return values


def _is_number(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    )


def _short(value: object) -> str:
    text = brief(value_text(value[:MOST] if isinstance(value, bytes | str) else value))
    return text if len(text) <= TEXT_WIDTH else f"{text[: TEXT_WIDTH - 1]}…"
