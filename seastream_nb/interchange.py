"""Arrow tables to the frames that people work with, without changing a value."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from seastream_nb.errors import ConfigError, Unsupported

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

DtypeBackend = Literal["pyarrow", "numpy_nullable"]
FrameKind = Literal["pandas", "polars", "arrow"]
_PREFIX = "seastream_"
# Facts that are no text.
_VALUES: Mapping[str, Callable[[str], int | bool]] = {
    "rows": int,
    "skipped": int,
    "complete": "true".__eq__,
    "clamped": "true".__eq__,
}
# pandas holds times past the year 9999 but fails as soon as it shows one. This is the day before
# the year 10000, whatever the time zone; nanoseconds do not reach it.
_NOT_SHOWN = {
    unit: (253_402_300_800 - 86_400) * scale
    for unit, scale in (("s", 1), ("ms", 1_000), ("us", 1_000_000))
}


def with_metadata(table: pa.Table, facts: dict[str, str | int | bool]) -> pa.Table:
    """The table with provenance in its schema metadata, as `seastream_<name>`.

    >>> with_metadata(pa.table({"x": [1]}), {"rows": 1}).schema.metadata
    {b'seastream_rows': b'1'}
    """
    texts = {f"{_PREFIX}{name}": _text(value) for name, value in facts.items()}
    return table.replace_schema_metadata({**(table.schema.metadata or {}), **texts})


def _text(value: str | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def facts_of(table: pa.Table) -> dict[str, str | int | bool]:
    """What `with_metadata` wrote down, as it was.

    >>> facts_of(with_metadata(pa.table({"x": [1]}), {"rows": 1, "complete": True, "url": "a"}))
    {'rows': 1, 'complete': True, 'url': 'a'}
    """
    found: dict[str, str | int | bool] = {}
    for key, value in (table.schema.metadata or {}).items():
        name, text = key.decode(), value.decode()
        if name.startswith(_PREFIX):
            name = name.removeprefix(_PREFIX)
            found[name] = _VALUES[name](text) if name in _VALUES else text
    return found


def framed(table: pa.Table | pa.RecordBatch, kind: FrameKind) -> Any:
    """A table or a page as the frame that is asked for, as the terminals make them.

    >>> framed(pa.record_batch({"n": [2**60, None]}), "pandas")["n"].tolist()
    [1152921504606846976, <NA>]
    """
    if isinstance(table, pa.RecordBatch):
        table = pa.Table.from_batches([table])
    if kind == "pandas":
        return to_pandas(table, facts_of(table))
    return to_polars(table) if kind == "polars" else table


def narrowed(table: pa.Table) -> pa.Table:
    """The table with 128-bit integers, as DuckDB's sums are, as 64-bit ones where all fit.

    >>> narrowed(pa.table({"n": pa.array([1], pa.decimal128(38, 0))})).schema.field("n").type
    DataType(int64)
    """
    for place, field in enumerate(table.schema):
        if field.type == pa.decimal128(38, 0):
            with suppress(pa.ArrowInvalid):
                column = table.column(place).cast(pa.int64())
                table = table.set_column(place, field.with_type(pa.int64()), column)
    return table


def distinctly_named(table: pa.Table) -> pa.Table:
    """The table with each column's name once, as DuckDB's own frames have them.

    Of names that differ in case only the second is changed too: DuckDB takes them for one.

    >>> distinctly_named(pa.table([[1], [2], [3], [4]], ["n", "N", "n", "n_2"])).column_names
    ['n', 'N_1', 'n_2', 'n_2_1']
    """
    taken: set[str] = set()
    names = []
    for name in table.column_names:
        each, repeated = name, 0
        while each.lower() in taken:
            repeated += 1
            each = f"{name}_{repeated}"
        taken.add(each.lower())
        names.append(each)
    return table.rename_columns(names)


def to_pandas(
    table: pa.Table,
    facts: dict[str, str | int | bool],
    *,
    index: str | None = None,
    dtype_backend: DtypeBackend | None = None,
) -> pd.DataFrame:
    """A pandas frame; integer columns with nulls are `Int64` and the like, never float.

    A time past the year 9999 is `NaT`: pandas cannot show it. The id still tells it.
    """
    import pandas as pd

    if index is not None and index not in table.column_names:
        raise ConfigError(f"index={index!r}: there are the columns {', '.join(table.column_names)}")
    if dtype_backend not in (None, "pyarrow", "numpy_nullable"):
        raise ConfigError(f"dtype_backend={dtype_backend!r}: give 'pyarrow' or 'numpy_nullable'")
    columns = {name: _series(table[name], dtype_backend) for name in table.column_names}
    frame = pd.DataFrame(columns, columns=table.column_names, copy=False)
    frame.attrs = {f"{_PREFIX}{name}": value for name, value in facts.items()}
    return frame if index is None else frame.set_index(index)


def _series(column: pa.ChunkedArray, backend: DtypeBackend | None) -> Any:
    import pandas as pd

    kind = column.type
    if backend == "pyarrow":
        return column.to_pandas(types_mapper=pd.ArrowDtype)
    if pa.types.is_integer(kind) and (column.null_count or backend == "numpy_nullable"):
        dtype = pd.api.types.pandas_dtype(str(kind).replace("uint", "UInt").replace("int", "Int"))
        return column.to_pandas(types_mapper={kind: dtype}.get)
    if backend == "numpy_nullable":
        nullable = {
            pa.bool_(): pd.BooleanDtype(),
            pa.float32(): pd.Float32Dtype(),
            pa.float64(): pd.Float64Dtype(),
            pa.string(): pd.StringDtype(),
        }
        return column.to_pandas(types_mapper=nullable.get)
    if pa.types.is_timestamp(kind) and kind.unit != "ns":
        column = pc.if_else(pc.less(column.cast(pa.int64()), _NOT_SHOWN[kind.unit]), column, None)
    if pa.types.is_nested(kind):
        # Lists of integers with nulls would become arrays of floats.
        return pd.Series(column.to_pylist(), dtype=object)
    return column.to_pandas()


def records_to_pandas(records: Collection[object], dtypes: Mapping[str, str]) -> pd.DataFrame:
    """One row a record, one column an attribute; the types do not depend on what there is."""
    import pandas as pd

    columns = {
        name: pd.Series([getattr(record, name) for record in records], dtype=dtype)
        for name, dtype in dtypes.items()
    }
    return pd.DataFrame(columns)


def to_polars(table: pa.Table) -> pl.DataFrame:
    """A polars frame, made through the Arrow interface."""
    try:
        import polars as pl
    except ImportError:
        raise Unsupported("to_polars() needs polars: pip install 'seastream-nb[polars]'") from None
    return pl.DataFrame(table)


def duckdb_connection(con: Any) -> Any:
    """What DuckDB makes relations with: a connection, or the module for its default one.

    Raises:
        ConfigError: it is something else, such as the name of a file.
    """
    try:
        import duckdb
    except ImportError:
        raise Unsupported("to_duckdb() needs DuckDB: pip install 'seastream-nb[sql]'") from None
    if con is None or con is duckdb:
        return duckdb
    if not isinstance(con, duckdb.DuckDBPyConnection):
        raise ConfigError(f"con={con!r}: give a DuckDB connection, as duckdb.connect() makes")
    return con
