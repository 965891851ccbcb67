"""The widget of a live view: buttons, a chart, and the newest rows.

Painting sets traits and nothing else: no output, no display, from any thread. What is painted is
always the latest, at most five messages a second to the front end, and only when something changed.
"""

from __future__ import annotations

import asyncio
import base64
import time
from contextlib import suppress
from typing import Any

import ipywidgets

from seastream_nb import portal
from seastream_nb.notebook.box import Box
from seastream_nb.notebook.live.showing import body_html, chart_png
from seastream_nb.notebook.live.watching import Watch

# The rows four times a second and the chart once: five messages.
PAUSE = 0.25
CHART_PAUSE = 1.0
# One clear dot, until there is a chart: an image without data shows as a broken one.
NOTHING = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAAC0lEQVR4nGNgAAIAAAUAAXpeqz8AAAAASUVORK5CYII="
)
# A box would stretch it to its width, and one dot to a square that pushes the rows out of sight.
AS_IT_IS = {"align_self": "flex-start", "max_width": "100%"}


class Panel:
    """The widget of one view.

    Attributes:
        box: the widget.
    """

    def __init__(self, watch: Watch, title: str) -> None:
        self._watch = watch
        self._title = title
        self._drawn = -1
        self._drawn_at = 0.0
        self._toggle = _button("Pause", self._pause_or_resume)
        stop, latest = _button("Stop", watch.stop), _button("Latest", self._jump)
        self._buttons = ipywidgets.HBox([self._toggle, stop, latest])
        self._chart = ipywidgets.Image(value=NOTHING, format="png", layout=AS_IT_IS)
        self._body = ipywidgets.HTML(body_html(watch, title))
        charts = [] if watch.wanted.chart is None else [self._chart]
        self.box = Box([self._buttons, *charts, self._body], watch.stop)
        portal.call_soon(self._start)

    def _start(self) -> None:
        self._task = asyncio.create_task(self._painting(), name="seastream live panel")

    async def _painting(self) -> None:
        """Paint when there is news, until the view has ended."""
        while True:
            news, over = self._watch.news, self._watch.over
            await asyncio.to_thread(self._paint, over)
            if over:
                return
            await asyncio.sleep(PAUSE)
            # The rate of what does not come any more sinks.
            fading = self._watch.kept.arrivals.per_second() > 0
            with suppress(TimeoutError):
                async with asyncio.timeout(CHART_PAUSE if fading else None):
                    await news.wait()

    def _paint(self, over: bool) -> None:
        self._toggle.description = "Resume" if self._watch.state == "paused" else "Pause"
        self._body.value = body_html(self._watch, self._title)
        if over:
            self._buttons.layout.display = "none"
        seen, now = self._watch.kept.held.seen, time.monotonic()
        if seen != self._drawn and (over or now - self._drawn_at >= CHART_PAUSE):
            self._drawn, self._drawn_at = seen, now
            png = chart_png(self._watch)
            if png is not None:
                self._chart.value = png

    # Called by whatever thread gets the front end's messages: these return at once.

    def _pause_or_resume(self) -> None:
        if self._watch.state == "paused":
            self._watch.resume()
        else:
            self._watch.pause()

    def _jump(self) -> None:
        if self._watch.state in ("running", "paused"):
            self._watch.seek("latest")


def _button(text: str, act: Any) -> Any:
    button = ipywidgets.Button(description=text, layout={"width": "auto"})
    button.on_click(lambda _: act())
    return button
