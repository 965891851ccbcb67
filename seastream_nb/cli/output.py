"""What commands print: JSON lines or tables; errors as one line on stderr, and a status.

Modules that take long to load are imported where they are first needed: `--help` and `decode`
should not wait for them.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import wraps
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, ParamSpec

import typer

from seastream_nb.errors import ConfigError, StreamUrlError

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.table import Table

    from seastream_nb.notebook.display import Column

P = ParamSpec("P")

FAILED = 1
USAGE = 2
INTERRUPTED = 130
# Spaces between the columns of a table.
GAP = 2


def reported(command: Callable[P, None]) -> Callable[P, None]:
    """The command, with its failures as one line and a status, and its warnings as one line.

    A reader that has enough, such as `head`, is no failure.
    """

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            with _warnings_in_one_line():
                command(*args, **kwargs)
                sys.stdout.flush()
        except BrokenPipeError:
            _discard_output()
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None
        except (ConfigError, StreamUrlError) as error:
            raise _failed(error, USAGE) from None
        except typer.Exit:
            raise
        except Exception as error:  # a traceback could show what a URL holds
            raise _failed(error, FAILED) from None

    return run


def _failed(error: Exception, status: int) -> typer.Exit:
    # What was printed before stands before it, also where both go to one place.
    try:
        sys.stdout.flush()
    except OSError:
        _discard_output()
    note(f"{type(error).__name__}: {error}")
    return typer.Exit(status)


def _discard_output() -> None:
    """Whatever is still flushed, and be it at the exit, goes nowhere."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def note(text: str) -> None:
    """One line on stderr."""
    sys.stderr.write(f"seastream: {' '.join(text.splitlines())}\n")


@contextmanager
def _warnings_in_one_line() -> Iterator[None]:
    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        note(f"warning: {message}")

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)  # what a command notices is no failure
        warnings.showwarning = show
        yield


# JSON lines.


def print_bytes(lines: Iterable[bytes]) -> None:
    """Lines as they are, whatever the encoding of the terminal."""
    out = sys.stdout.buffer
    for line in lines:
        out.write(line)


def print_json(record: Mapping[str, object]) -> None:
    """One object on a line; times are ISO text."""
    text = json.dumps(record, ensure_ascii=False, separators=(",", ":"), default=_json_value)
    print_bytes([text.encode(), b"\n"])


def _json_value(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def json_lines(batch: pa.RecordBatch) -> list[bytes]:
    r"""Each row as a JSON object on a line; bytes that are no UTF-8 are an array of numbers.

    >>> import pyarrow as pa
    >>> json_lines(pa.record_batch({"a": [1, 2], "payload": [b"x", b"\xff\x00"]}))
    [b'{"a":1,"payload":"x"}\n', b'{"a":2,"payload":[255,0]}\n']
    """
    import pyarrow as pa

    from seastream_nb.encoding import json_rows

    batch = shown(batch)
    try:
        rows = json_rows(_as_text(batch))
    except pa.ArrowInvalid:
        single = (batch.slice(row, 1) for row in range(len(batch)))
        rows = [line for row in single for line in json_rows(_as_text_or_numbers(row))]
    return [row + b"\n" for row in rows]


def shown(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch without `_extra`, the column for what came unexpected, when nothing did."""
    if "_extra" in batch.schema.names and batch["_extra"].null_count == len(batch):
        return batch.drop_columns(["_extra"])
    return batch


def _as_text(batch: pa.RecordBatch) -> pa.RecordBatch:
    import pyarrow as pa

    columns = {
        name: column.cast(pa.string()) if _is_binary(column.type) else column
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    }
    return pa.record_batch(columns)


def _as_text_or_numbers(row: pa.RecordBatch) -> pa.RecordBatch:
    import pyarrow as pa

    columns = dict(zip(row.schema.names, row.columns, strict=True))
    for name, column in columns.items():
        if _is_binary(column.type):
            try:
                columns[name] = column.cast(pa.string())
            except pa.ArrowInvalid:
                columns[name] = pa.array([list(column[0].as_py())], pa.list_(pa.uint8()))
    return pa.record_batch(columns)


def _is_binary(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


# Tables.


def print_table(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    *,
    head: bool = True,
    widths: Sequence[int] = (),
) -> None:
    """Aligned columns, none narrower than `widths`: a table that fits the terminal, or whole lines.

    >>> from seastream_nb.notebook.display import Column
    >>> print_table([Column("key"), Column("length", right=True)], [("ticks", "3")])
    key    length
    ticks       3
    """
    from rich.console import Console

    console = Console(file=sys.stdout, highlight=False)
    if console.is_terminal:
        fits = sum(widths) + GAP * len(widths) <= console.width
        console.print(_rich_table(columns, rows, head, widths if fits else ()))
    else:
        from seastream_nb.notebook.display import text_table

        sys.stdout.write(text_table(columns, rows, head=head, widths=widths) + "\n")


def _rich_table(
    columns: Sequence[Column], rows: Iterable[Sequence[str]], head: bool, widths: Sequence[int]
) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=None, show_header=head, header_style="bold", pad_edge=False, padding=(0, GAP, 0, 0)
    )
    for column, least in zip_longest(columns, widths):
        table.add_column(
            Text(column.name),
            justify="right" if column.right else "left",
            overflow="fold",
            min_width=least,
        )
    for row in rows:
        # As Text, since brackets in a payload are no markup.
        table.add_row(*map(Text, row))
    return table


class RowTables:
    """Batches as one table: the first with its head, none with narrower columns than before."""

    def __init__(self) -> None:
        self._columns: list[Column] = []
        self._widths: list[int] = []

    def show(self, batch: pa.RecordBatch) -> None:
        """Print the rows; the head again where the columns are others."""
        from seastream_nb.notebook.display import Column, width

        batch = shown(batch)
        # Whoever asked for one stream knows its name.
        names = [name for name in batch.schema.names if name != "stream"]
        columns = [Column(name, right=_is_number(batch[name].type)) for name in names]
        cells = [[cell(value) for value in batch[name].to_pylist()] for name in names]
        head = columns != self._columns
        if head:
            self._columns, self._widths = columns, [width(name) for name in names]
        self._widths = [
            max(least, *map(width, each)) for least, each in zip(self._widths, cells, strict=True)
        ]
        print_table(columns, list(zip(*cells, strict=True)), head=head, widths=self._widths)


def _is_number(kind: pa.DataType) -> bool:
    import pyarrow as pa

    numeric = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
    return any(belongs(kind) for belongs in numeric)


def cell(value: object) -> str:
    r"""A value as the text of one cell, on one line.

    >>> cell(None), cell(b"caf\xc3\xa9\n"), cell({"a": 1}), cell((0, 1))
    ('', 'café\\n', '{"a":1}', '0, 1')
    >>> cell(datetime(2026, 11, 23, 2, 10))
    '2026-11-23 02:10:00.000'
    """
    from seastream_nb.keys import key_text
    from seastream_nb.notebook.display import brief

    if value is None:
        return ""
    if isinstance(value, datetime):
        exact = value.microsecond % 1000 or getattr(value, "nanosecond", 0)
        text = value.isoformat(" ", "auto" if exact else "milliseconds")
        return text.removesuffix("+00:00")
    if isinstance(value, bytes):
        return brief(key_text(value))
    if isinstance(value, tuple):
        return ", ".join(map(cell, value))
    if isinstance(value, dict | list):
        value = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
    return brief(str(value))
