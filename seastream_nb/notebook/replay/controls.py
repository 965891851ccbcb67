"""The buttons of a replay as widgets. Only traits are set, a few times a second: nothing prints.

Whoever uses them is on any thread but one: what the I/O thread sets is drawn, and no order.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import pyarrow as pa

from seastream_nb.errors import StreamError
from seastream_nb.frame import Shaper
from seastream_nb.message import Message, utc_datetime
from seastream_nb.notebook.box import Box
from seastream_nb.notebook.cells import rows_html
from seastream_nb.notebook.display import escape
from seastream_nb.notebook.replay.span import Span, bars_html, clock
from seastream_nb.query import Query
from seastream_nb.rows import message_rows
from seastream_nb.stream import StreamCore

if TYPE_CHECKING:
    from seastream_nb.notebook.replay.view import ReplayControl

SPEEDS = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 100.0, 1_000.0, inf)
STEPS = 1_000  # of the position from end to end
DECODED = 1_000_000  # bytes of payloads that are decoded to be shown
_WIDE = widgets.Layout(width="100%")


class Controls:
    """The widgets of one control."""

    def __init__(self, control: ReplayControl) -> None:
        self._control = control
        self._drawer = 0
        self._shown: tuple[object, ...] = ()
        self._play = widgets.ToggleButton(layout=widgets.Layout(width="6em"))
        self._stop = widgets.Button(
            description="stop", icon="stop", layout=widgets.Layout(width="6em")
        )
        self._speed = widgets.Dropdown(
            description="speed", options=_speeds(control.speed), value=control.speed or inf
        )
        self._time = widgets.HTML()
        self._bars = widgets.HTML(layout=widgets.Layout(width="100%", padding="0 8px"))
        self._position = widgets.IntSlider(
            readout=False, continuous_update=False, disabled=True, layout=_WIDE
        )
        self._rows = widgets.HTML(layout=_WIDE)
        self.box = Box(
            [
                widgets.HBox([self._play, self._stop, self._speed, self._time]),
                self._bars,
                self._position,
                self._rows,
            ],
            control.stop,
        )
        self._draw_buttons()
        self._listen()

    def _listen(self) -> None:
        control = self._control

        def play(change: Any) -> None:
            if self._by_hand():
                (control.play if change["new"] else control.pause)()

        def speed(change: Any) -> None:
            if self._by_hand() and change["new"] is not None:
                control.speed = None if change["new"] == inf else change["new"]

        def seek(change: Any) -> None:
            span = control.span
            when = None if span is None else utc_datetime(span.first_ns + change["new"] * 1_000)
            if self._by_hand() and when is not None:
                control.seek(when)

        self._play.observe(play, "value")
        self._speed.observe(speed, "value")
        self._position.observe(seek, "value")
        self._stop.on_click(lambda _: control.stop())

    def _by_hand(self) -> bool:
        return threading.get_ident() != self._drawer

    async def draw(self) -> None:
        """Show what the control is now; on the I/O thread."""
        self._drawer = threading.get_ident()
        self._draw_buttons()
        if self._control.span is not None:
            self._draw_position(self._control.span)
        control = self._control
        shown = (control.count, control.state, control.error, len(control.warnings))
        if shown != self._shown:
            # Not on this thread, which has others to serve: payloads may be large.
            self._rows.value = await asyncio.to_thread(_rows, control)
            self._shown = shown

    def _draw_buttons(self) -> None:
        control = self._control
        state, speed = control.state, control.speed or inf
        playing = state == "playing"
        self._play.value = playing
        self._play.icon = "pause" if playing else "play"
        self._play.description = "pause" if playing else "play"
        for each in (self._play, self._stop, self._speed):
            each.disabled = state == "stopped"
        if self._speed.value != speed:
            if speed not in [value for _, value in self._speed.options]:
                self._speed.options = _speeds(speed)
            self._speed.value = speed

    def _draw_position(self, span: Span) -> None:
        slider, control = self._position, self._control
        reach = (span.last_ns - span.first_ns) // 1_000
        if slider.max != reach:
            slider.max, slider.step = max(1, reach), max(1, reach // STEPS)
            self._bars.value = bars_html(span.counts) if span.counts else ""
        stopped = control.state == "stopped" or utc_datetime(span.last_ns) is None
        slider.disabled = stopped or not reach
        now = control.time_ns
        if now is not None:
            now = min(max(now, span.first_ns), span.last_ns)
            at = (now - span.first_ns) // 1_000
            slider.value = at if now == span.last_ns else at // slider.step * slider.step
            self._time.value = _time_html(now, control.core.stream.query.zone, control.speed)


def _speeds(chosen: float | None) -> list[tuple[str, float]]:
    """The speeds to choose from; one that was given by code is among them."""
    return [
        (f"{speed:g}x" if speed != inf else "as fast as possible", speed)
        for speed in sorted({*SPEEDS, chosen or inf})
    ]


def _time_html(now: int, zone: str, speed: float | None) -> str:
    text = clock(now, zone)
    # Digits that change faster than anyone reads are left out.
    shown = text if speed is not None and speed < 1 else text.partition(".")[0]
    return escape(f"{shown} {zone}")


def _rows(control: ReplayControl) -> str:
    """The last rows, newest first, under what there is to say."""
    messages = control.messages[::-1]
    lines = [f"{control.title}: {control.state}, {control.count:,} messages so far"]
    lines += [control.error_line] if control.error_line else []
    lines += control.warnings[:3]
    if not messages:
        return "".join(f"<div>{escape(line)}</div>" for line in lines)
    caption, *more = lines
    notes = "".join(f"<div>{escape(line)}</div>" for line in more)
    return notes + rows_html(rows_table(control.core.stream, messages), caption)


def rows_table(stream: StreamCore, messages: Sequence[Message]) -> pa.Table:
    """Messages with the columns that the stream's frames have, the time first."""
    rows = message_rows(
        [message.origin for message in messages],
        [message.entry_id for message in messages],
        [message.payload for message in messages],
    )
    plain = Shaper(Query(keys=stream.query.keys, zone=stream.query.zone), stream.shaper().unit_ns)
    shaper = stream.shaper()
    if sum(message.size for message in messages) > DECODED or stream.query.decode.kind == "fields":
        shaper = plain
    try:
        table = shaper.table([shaper.shape(rows)])
    except (StreamError, pa.ArrowException):  # such as a selected column that none of these has
        table = plain.table([plain.shape(rows)])
    if shaper is not plain and stream.query.columns is not None:
        return table
    several = {"stream": len(rows.origins) > 1, "shard": len(rows.origins) > 1, "sequence": False}
    names = [name for name in table.column_names if several.get(name, name != "timestamp")]
    return table.select(["timestamp", *names])
