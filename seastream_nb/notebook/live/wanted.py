"""What a live view is asked to show, checked once. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import pyarrow as pa

from seastream_nb.arrow import BASE_COLUMNS
from seastream_nb.checks import named, number_from, or_none
from seastream_nb.errors import ConfigError
from seastream_nb.frame import Shaper, unknown_column
from seastream_nb.payload import infer
from seastream_nb.quantities import Duration, Size, parse_duration, parse_size
from seastream_nb.query import Query
from seastream_nb.stream import StreamCore
from seastream_nb.times import Edge, Fixed, Moment, When, parse_when

RATE = "rate"
NEWEST = Fixed(Edge.LATEST)

Rows = TypeVar("Rows", pa.Table, pa.RecordBatch)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The arguments of `live`, and the query that they make of a stream's.

    `columns` are those that show, None for all; `query` has what the view itself needs as well.
    """

    query: Query
    begin: Moment
    columns: tuple[str, ...] | None
    chart: str | None
    rolling_ns: int | None
    max_rows: int
    max_bytes: int

    @classmethod
    def of(
        cls,
        query: Query,
        *,
        since: When,
        columns: Sequence[str] | None,
        chart: str | None,
        rolling: Duration | None,
        max_rows: int,
        max_bytes: Size,
    ) -> Wanted:
        """Check what is wanted; what is left out, `live` says.

        Raises:
            ConfigError: naming the argument.
        """
        if query.pinned is not None:
            raise ConfigError(
                "a snapshot has an end: show its rows with to_pandas(), or live() without it"
            )
        begin = parse_when(since, tz=query.zone)
        shown = query.columns if columns is None else named("columns", columns, _names)
        named("chart", chart, or_none(_name))
        return cls(
            query=_needed(query, shown, chart),
            begin=begin,
            columns=shown,
            chart=chart,
            rolling_ns=named("rolling", rolling, or_none(parse_duration)),
            max_rows=named("max_rows", max_rows, number_from(1)),
            max_bytes=named("max_bytes", max_bytes, parse_size),
        )

    def started(self) -> Query:
        """The question from where the view begins.

        A stream that says itself where it begins needs no "latest".
        """
        query = self.query
        begins = query.lower or query.window_ns or query.last is not None
        if self.begin == NEWEST and begins:
            return query
        return replace(query, lower=(*query.lower, self.begin))

    def sought(self, moment: Moment) -> Query:
        """The same from another moment on; the stream's own range stays one."""
        lower = (*self.query.lower, moment)
        return replace(self.query, lower=lower, window_ns=(), last=None)

    def shown(self, rows: Rows) -> Rows:
        """The columns that show."""
        return rows if self.columns is None else rows.select(list(self.columns))

    def check(self, schema: pa.Schema) -> None:
        """Refuse a chart of what is no number.

        Raises:
            ConfigError: naming the columns that are.
        """
        if self.chart in (None, RATE):
            return
        if self.chart not in schema.names:
            raise unknown_column("chart", self.chart, schema.names)
        if not _is_number(schema.field(self.chart).type):
            numbers = ", ".join(each.name for each in schema if _is_number(each.type))
            raise ConfigError(
                f"chart={self.chart!r}: that is no number; there are {numbers}, and {RATE!r}"
            )

    def empty(self, stream: StreamCore, schema: pa.Schema | None) -> pa.Table:
        """No rows, with the columns as far as they are known."""
        if schema is not None:
            return schema.empty_table()
        unit_ns = stream.source.options.unit_ns
        query = replace(self.query, columns=None)
        shaper = Shaper(query, unit_ns, fixed=infer(query.decode, None), with_id=True)
        found = shaper.schema()
        if self.columns is None:
            return found.empty_table()
        kinds = {
            name: shaper.base_type(name)
            if name in BASE_COLUMNS
            else found.field(name).type
            if name in found.names
            else pa.null()
            for name in self.columns
        }
        return pa.schema(list(kinds.items())).empty_table()


def _needed(query: Query, shown: tuple[str, ...] | None, chart: str | None) -> Query:
    """The query with the columns that show, and those that the view needs."""
    if shown is None:
        return query
    charted = () if chart in (None, RATE) else (chart,)
    return replace(query, columns=tuple(dict.fromkeys([*shown, "timestamp", "id", *charted])))


def _names(columns: Any) -> tuple[str, ...]:
    if isinstance(columns, str) or not isinstance(columns, Sequence):
        raise ConfigError("give a list of columns")
    return Query(keys=()).select(*columns).columns or ()


def _name(column: Any) -> str:
    if isinstance(column, str) and column:
        return column
    raise ConfigError(f"give {RATE!r} or the name of a column")


def _is_number(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    )
