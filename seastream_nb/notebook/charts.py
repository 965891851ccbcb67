"""Pictures of a stream: PNG images, drawn by matplotlib without a display and without pyplot.

An image is what every front end shows, and what stays in a saved notebook without a kernel. The
background is clear and the ink a middle grey, which can be read on a light page and on a dark one.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from seastream_nb.notebook.display import escape

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

INK = "#808080"
FILL = "#4c8eda"
FADED = "#4c8eda55"
INCHES = (8.0, 1.6)
DPI = 96


def line_chart(times: Sequence[datetime], values: Sequence[float], label: str) -> bytes:
    """Values over time as a line, as a PNG; what is no number is a gap."""

    def draw(axes: Axes) -> None:
        axes.plot(_plain(times), list(values), color=FILL, linewidth=1.2)

    return _png(draw, label)


def bar_chart(
    times: Sequence[datetime],
    heights: Sequence[float],
    label: str,
    *,
    chosen: tuple[datetime, datetime] | None = None,
) -> bytes:
    """Heights of bins of time as bars, as a PNG; those outside the `chosen` range are faded."""

    def draw(axes: Axes) -> None:
        starts = _plain(times)
        width: Any = starts[1] - starts[0] if len(starts) > 1 else 0.8
        colours = [FILL if chosen is None or _within(t, chosen) else FADED for t in times]
        axes.bar(starts, list(heights), width=width, align="edge", color=colours)

    return _png(draw, label)


def image_html(png: bytes, alternative: str) -> str:
    """An image inside HTML, which needs no file beside it."""
    data = base64.b64encode(png).decode()
    return f'<img alt="{escape(alternative)}" src="data:image/png;base64,{data}">'


def _within(time: datetime, chosen: tuple[datetime, datetime]) -> bool:
    return chosen[0] <= time <= chosen[1]


def _plain(times: Sequence[datetime]) -> NDArray[Any]:
    # The clock of the stream's own zone; matplotlib would show that of its settings.
    return np.array([time.replace(tzinfo=None) for time in times], dtype="datetime64[us]")


def _png(draw: Any, label: str) -> bytes:
    from matplotlib import dates
    from matplotlib.figure import Figure

    locator = dates.AutoDateLocator()  # type: ignore[no-untyped-call]
    figure = Figure(figsize=INCHES, dpi=DPI, layout="constrained")
    axes = figure.subplots()
    draw(axes)
    # A dollar sign would begin a formula, and what a label says came from a stream.
    axes.set_ylabel(label.replace("$", r"\$"), color=INK, fontsize=8)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    axes.tick_params(colors=INK, labelsize=8)
    axes.xaxis.get_offset_text().set_color(INK)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(INK)
    image = io.BytesIO()
    figure.savefig(image, format="png", transparent=True, metadata={"Software": None})
    return image.getvalue()
