"""The widget of a browser: what is shown of its state, and what its controls do.

A callback starts a step on the I/O thread and returns, so the kernel stays free; the controls are
off meanwhile. What the step gave is drawn by a worker thread, which sets traits and prints nothing.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any

import ipywidgets as widgets

from seastream_nb import portal
from seastream_nb.errors import StreamError
from seastream_nb.notebook.browse.browsing import MAX_PAGE, Browsing
from seastream_nb.notebook.browse.density import Density
from seastream_nb.notebook.browse.tabs import SCROLLING, ExportRow, GroupsTab, one_line
from seastream_nb.notebook.cells import MOST, rows_html, time_text
from seastream_nb.notebook.display import escape, keys_text

# ipywidgets cuts what a slider says off where a date ends; here are two, with times.
WHOLE = "<style>.seastream-range .widget-readout { max-width: none; overflow: visible }</style>"
# Of all values of a page that can be opened, in characters.
OPENED = 2_000_000

Action = Callable[[], Coroutine[Any, Any, object]]


class Controls:
    """The widgets of one browser."""

    def __init__(self, core: Browsing, where: Callable[[], str]) -> None:
        self._core = core
        self._where = where
        self._density = Density()
        self._drawn: object = None  # the density in the picture, and its chosen part
        self._steps: tuple[datetime, ...] = ()  # those of the slider
        self._drawing = threading.Lock()
        self._drawer: int | None = None  # the thread that draws: what it sets is no click
        self._stepping = threading.Lock()
        self._redrawing: asyncio.Task[None] | None = None
        self._make()
        self._listen()
        problem = ""
        try:
            self._density = portal.run(core.density())
        except StreamError as error:
            problem = one_line(error)
        self._draw(problem)
        core.on_change(self._changed)

    def _make(self) -> None:
        self.title = widgets.HTML()
        self.chart = widgets.Image(
            format="png", layout={"align_self": "flex-start", "max_width": "100%"}
        )
        self.range = widgets.SelectionRangeSlider(
            options=[("", 0), (" ", 1)],
            continuous_update=False,
            description="range",
            layout={"width": "100%", "max_width": "768px"},
        )
        self.range.add_class("seastream-range")
        self.why_not = widgets.HTML()
        names = ("first", "previous", "next", "last", "refresh")
        self.buttons = {
            name: widgets.Button(description=name, layout={"width": "auto"}) for name in names
        }
        self.go_to = widgets.Text(
            placeholder="go to a time or an id", continuous_update=False, layout={"width": "16em"}
        )
        self.page_size = widgets.BoundedIntText(
            value=self._core.pages.size, min=1, max=MAX_PAGE, layout={"width": "6em"}
        )
        self.status = widgets.HTML()
        self.messages = widgets.HTML()
        self.groups = GroupsTab(self._core, self._on_group)
        self.code = widgets.Textarea(rows=8, layout={"width": "100%"})
        self.tabs = widgets.Tab()
        self.export = ExportRow(self._core)
        steps = [*self.buttons.values(), self.go_to, widgets.Label("page size"), self.page_size]
        self.widget = widgets.VBox(
            [
                self.title,
                self.chart,
                self.range,
                self.why_not,
                widgets.HBox(steps, layout={"flex_flow": "row wrap"}),
                self.status,
                self.tabs,
                self.export.box,
            ]
        )

    def _listen(self) -> None:
        core = self._core
        actions: dict[str, Action] = {
            "first": core.first,
            "previous": core.previous,
            "next": core.next,
            "last": core.last,
            "refresh": self._refreshed,
        }
        for name, action in actions.items():
            self.buttons[name].on_click(lambda _, action=action: self._start(action))
        self.range.observe(self._on_range, "index")
        self.go_to.observe(self._on_go_to, "value")
        self.page_size.observe(self._on_page_size, "value")
        self.tabs.observe(self._on_tab, "selected_index")

    # What the controls do.

    def _on_range(self, _: Any) -> None:
        edges = self._density.edges
        if self._drawer == threading.get_ident() or not edges:
            return
        begin = min(self.range.index[0], len(edges) - 2)
        end = max(self.range.index[1], begin + 1)
        since = edges[begin] if begin else None
        until = edges[end] if end < len(edges) - 1 else None
        self._start(lambda: self._core.choose(since, until))

    def _on_go_to(self, _: Any) -> None:
        when = self.go_to.value.strip()
        if when:
            self._start(lambda: self._gone_to(when))

    async def _gone_to(self, when: str) -> None:
        await self._core.go_to(when)
        self.go_to.value = ""  # so that the same time can be given again

    def _on_page_size(self, _: Any) -> None:
        size = self.page_size.value
        if size != self._core.pages.size:
            self._start(lambda: self._core.resize(size))

    def _on_tab(self, _: Any) -> None:
        if self._shows_groups():
            self._start(self.groups.load)

    def _on_group(self) -> None:
        self._start(self.groups.load_pending)

    def _shows_groups(self) -> bool:
        at = self.tabs.selected_index
        return at is not None and self.tabs.children[at] is self.groups.box

    def _has_groups(self) -> bool:
        return any(each.groups for each in self._core.state.pinned.extents)

    async def _refreshed(self) -> None:
        await self._core.refresh()
        self._density = await self._core.density()
        if self._shows_groups() and self._has_groups():
            await self.groups.load()

    # One step at a time.

    def _start(self, action: Action) -> None:
        if self._stepping.acquire(blocking=False):
            self._enable(False)
            portal.spawn(self._run(action))

    async def _run(self, action: Action) -> None:
        problem = ""
        try:
            try:
                await action()
            except Exception as error:
                problem = one_line(error)  # whatever it is, the next click may go better
            await asyncio.to_thread(self._draw, problem)
        finally:
            self._stepping.release()
            self._enable(True)

    def _changed(self) -> None:
        """Show a step that was made from Python."""
        if not self._stepping.locked():
            self._redrawing = asyncio.create_task(asyncio.to_thread(self._draw, ""))

    def _enable(self, on: bool) -> None:
        for each in (*self.buttons.values(), self.go_to, self.page_size, self.groups.group):
            each.disabled = not on
        self.range.disabled = not on or not self._density.edges

    # What is shown.

    def _draw(self, problem: str) -> None:
        with self._drawing:
            self._drawer = threading.get_ident()
            try:
                self._draw_page(problem)
                self._draw_tabs()
                self._draw_density()
            finally:
                self._drawer = None

    def _draw_page(self, problem: str) -> None:
        state = self._core.state
        keys, where = keys_text(self._core.stream.query), self._where()
        self.title.value = f"{WHOLE}<b>{escape(keys)}</b> at {escape(self._core.stream.source.url)}"
        self.status.value = escape(problem or state.note)
        cells = len(state.table) * len(state.table.column_names)
        most = max(200, min(MOST, OPENED // max(1, cells)))
        self.messages.value = SCROLLING.format(rows_html(state.table, where, most=most))
        self.code.value = (
            f"# this page\n{self._core.page_code()}\n\n"
            f"# the chosen range\n{self._core.range_code()}\n"
        )
        self.page_size.value = self._core.pages.size

    def _draw_tabs(self) -> None:
        tabs = {"Messages": self.messages, "Groups": self.groups.box, "Code": self.code}
        if not self._has_groups():
            del tabs["Groups"]
        if self.tabs.children != tuple(tabs.values()):
            self.tabs.children = tuple(tabs.values())
            self.tabs.titles = tuple(tabs)

    def _draw_density(self) -> None:
        density = self._density
        self.why_not.value = escape(density.why_not)
        for each in (self.chart, self.range):
            each.layout.display = "" if density.edges else "none"
        self.range.disabled = not density.edges
        if not density.edges:
            return
        index = density.steps_around(*self._core.chosen_ns())
        if self._drawn != (density, index):
            self._drawn = density, index
            self.chart.value = density.png(index)
        if self._steps != density.edges:
            self._steps = density.edges
            self.range.options = labelled(density.edges)
        self.range.index = index


def labelled(edges: tuple[datetime, ...]) -> list[tuple[str, int]]:
    """The steps of a slider: times as text, and their number."""
    whole = not any(each.microsecond for each in edges)
    texts = [time_text(each).removesuffix(".000" if whole else "") for each in edges]
    return [(text, at) for at, text in enumerate(texts)]
