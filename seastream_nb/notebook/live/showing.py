"""What a live view shows, as text, HTML and a picture: everything escaped, and bounded."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pyarrow as pa

from seastream_nb.notebook.cells import rows_html
from seastream_nb.notebook.charts import line_chart
from seastream_nb.notebook.display import brief, escape
from seastream_nb.notebook.live.wanted import RATE
from seastream_nb.notebook.live.watching import Watch
from seastream_nb.notebook.magics.arguments import masked
from seastream_nb.quantities import NS_PER_SECOND
from seastream_nb.times import check_tz

ROWS = 20
MAX_HTML = 200_000
DOTS = 2_000

# matplotlib makes no promise about several threads.
_drawing = threading.Lock()


def body_html(watch: Watch, title: str) -> str:
    """The newest rows as a table with its caption, and the numbers below, with all escaped."""
    return rows_within(watch, f"{title}: {state_text(watch)}") + numbers_html(watch)


def rows_within(watch: Watch, caption: str) -> str:
    """The newest rows as HTML: as many of twenty as fit into 200 kB."""
    rows = _without_empty(watch.newest(ROWS))
    while len(html := rows_html(rows, caption)) > MAX_HTML and len(rows) > 1:
        rows = rows.slice(0, len(rows) // 2)
    return html


def state_text(watch: Watch) -> str:
    """What it does; why it ended, on one line."""
    if watch.error is not None:
        said = " ".join(f"{type(watch.error).__name__}: {watch.error}".split())
        return f"failed with {brief(masked(said))}"
    return f"{watch.state}{f', {watch.reason}' if watch.reason else ''}"


def numbers_html(watch: Watch) -> str:
    """How much there is, how fast it comes, and how late."""
    held, lag = watch.kept.held, watch.kept.lag_ns
    parts = [
        f"kept {held.kept:,}",
        f"seen {held.seen:,}",
        f"dropped {held.dropped:,}",
        f"{watch.kept.arrivals.per_second():,.1f}/s",
        "" if lag is None else f"lag {lag / NS_PER_SECOND:,.1f} s",
        "" if watch.kept.last_id is None else f"last id {watch.kept.last_id}",
        "" if watch.complete else "entries were gone before they were read",
    ]
    return f'<div style="padding:2px 8px">{escape(" · ".join(filter(None, parts)))}</div>'


def chart_png(watch: Watch) -> bytes | None:
    """The chart that was asked for; None when there is nothing to draw yet."""
    name = watch.wanted.chart
    if name is None:
        return None
    zone = check_tz(watch.wanted.query.zone)
    if name == RATE:
        points = [(at.astimezone(zone), rate) for at, rate in watch.kept.tally.per_second()]
    else:
        points = _points(watch.kept.held.table(), name)
    if len(points) < 2:
        return None
    times, values = zip(*points, strict=True)
    with _drawing:
        return line_chart(times, values, "messages/s" if name == RATE else brief(name))


def _points(rows: pa.Table | None, name: str) -> list[tuple[Any, float]]:
    """A column over time, thinned out to as many dots as a picture can show."""
    if rows is None:
        return []
    rows = rows.select(list(dict.fromkeys(["timestamp", name]))).take(
        np.unique(np.linspace(0, len(rows) - 1, min(DOTS, len(rows))).astype(np.int64))
    )
    kind = rows["timestamp"].type
    times = rows["timestamp"].cast(pa.timestamp("us", kind.tz), safe=False).to_pylist()
    values = rows[name].cast(pa.float64(), safe=False).to_pylist()
    return [
        (at, np.nan if value is None else value)
        for at, value in zip(times, values, strict=True)
        if at is not None
    ]


def _without_empty(rows: pa.Table) -> pa.Table:
    # It is there for what does not fit the other columns, and nearly always empty.
    if "_extra" in rows.column_names and rows["_extra"].null_count == len(rows):
        return rows.drop_columns(["_extra"])
    return rows
