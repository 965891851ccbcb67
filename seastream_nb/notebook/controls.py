"""The widget of a browser: what is shown of its state, and what its controls do.

A callback starts a step on the I/O thread and returns, so the kernel stays free; controls are off
meanwhile. What the step gave is drawn by a worker thread, which sets traits and prints nothing.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from datetime import datetime
from typing import Any

import ipywidgets as widgets

from seastream_nb import portal
from seastream_nb.errors import StreamError
from seastream_nb.notebook.browsing import MAX_PAGE, Browsing
from seastream_nb.notebook.cells import MOST, frame_html, rows_html, time_text
from seastream_nb.notebook.charts import bar_chart
from seastream_nb.notebook.density import Density
from seastream_nb.notebook.display import brief, escape, keys_text

# Of all values of a page that can be opened, in characters.
OPENED = 2_000_000
NO_STEPS = [("", None), (" ", None)]
SCROLLS = '<div style="max-height:32em;overflow:auto">{}</div>'

Action = Callable[[], Coroutine[Any, Any, object]]


class Controls:
    """The widgets of one browser."""

    def __init__(self, core: Browsing, where: Callable[[], str]) -> None:
        self._core = core
        self._where = where
        self._density = Density(why_not="the density is not known yet")
        self._drawing = threading.Lock()
        self._drawer: int | None = None  # the thread that draws; what it sets is no click
        self._drawn: object = None
        self._steps: tuple[datetime, ...] = ()
        self._busy = False
        self._redrawing: asyncio.Task[None] | None = None
        self._exporting: Future[None] | None = None
        self._make()
        self._listen()
        core.on_change(self._changed)
        try:
            self._density = portal.run(core.density())
            problem = ""
        except StreamError as error:
            problem = str(error)
        self._draw(problem)

    def _make(self) -> None:
        self.title = widgets.HTML()
        self.chart = widgets.Image(format="png", layout={"max_width": "100%"})
        self.range = widgets.SelectionRangeSlider(
            options=NO_STEPS,
            continuous_update=False,
            description="range",
            layout={"width": "100%", "max_width": "768px"},
        )
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
        self.groups = widgets.HTML()
        self.group = widgets.Dropdown(options=[], description="pending of")
        self.pending = widgets.HTML()
        self.code = widgets.Textarea(disabled=False, rows=8, layout={"width": "100%"})
        self.path = widgets.Text(
            placeholder="NAME.ss or NAME.parquet", continuous_update=False, layout={"width": "24em"}
        )
        self.export = widgets.Button(description="export the range")
        self.report = widgets.HTML()
        self.tabs = widgets.Tab()
        self._group_tab = widgets.VBox([self.groups, self.group, self.pending])
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
                widgets.HBox([self.path, self.export], layout={"flex_flow": "row wrap"}),
                self.report,
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
        self.group.observe(self._on_group, "value")
        self.export.on_click(self._on_export)

    # What the controls do.

    def _on_range(self, change: Any) -> None:
        edges = self._density.edges
        if self._drawer == threading.get_ident() or not edges:
            return
        begin, end = self.range.index
        begin = min(begin, len(edges) - 2)
        end = max(end, begin + 1)
        since = edges[begin] if begin else None
        until = edges[end] if end < len(edges) - 1 else None
        self._start(lambda: self._core.choose(since, until))

    def _on_go_to(self, change: Any) -> None:
        when = self.go_to.value.strip()
        if when:
            self._start(lambda: self._gone_to(when))

    async def _gone_to(self, when: str) -> None:
        await self._core.go_to(when)
        self.go_to.value = ""  # so that the same time can be given again

    def _on_page_size(self, change: Any) -> None:
        size = self.page_size.value
        if size != self._core.pages.size:
            self._start(lambda: self._core.resize(size))

    def _on_tab(self, change: Any) -> None:
        if self._shows_groups():
            self._start(self._load_groups)

    def _on_group(self, change: Any) -> None:
        if self.group.value is not None:
            self._start(self._load_pending)

    def _shows_groups(self) -> bool:
        at = self.tabs.selected_index
        return at is not None and self.tabs.children[at] is self._group_tab

    async def _refreshed(self) -> None:
        await self._core.refresh()
        self._density = await self._core.density()
        if self._shows_groups():
            await self._load_groups()

    async def _load_groups(self) -> None:
        found = await self._core.stream.groups()
        self.groups.value = frame_html(found, f"{len(found):,} groups and shards")
        names = list(dict.fromkeys(found["name"]))
        if list(self.group.options) != names:
            before = self.group.value
            self.group.options = names
            self.group.index = names.index(before) if before in names else 0 if names else None
        if names:
            await self._load_pending()

    async def _load_pending(self) -> None:
        size = self._core.pages.size
        found = await self._core.stream.pending(self.group.value, limit=size)
        caption = f"{len(found):,} pending entries, the lowest ids first"
        self.pending.value = SCROLLS.format(frame_html(found, caption))

    def _on_export(self, _: Any) -> None:
        if self._exporting is not None:
            self._exporting.cancel()
            return
        self.export.description = "stop the export"
        self.report.value = ""
        self._exporting = portal.spawn(self._export(self.path.value))

    async def _export(self, path: str) -> None:
        line = "stopped: nothing was written"
        try:
            done = await self._core.export(path)
            line = f"{done.messages:,} messages, {done.bytes:,} bytes in {done.path}"
        except Exception as error:
            line = one_line(error)
        finally:
            self._exporting = None
            self.export.description = "export the range"
            self.report.value = escape(line)

    # One step at a time.

    def _start(self, action: Action) -> None:
        if self._busy:
            return
        self._busy = True
        self._enable(False)
        portal.spawn(self._run(action))

    async def _run(self, action: Action) -> None:
        problem = ""
        try:
            await action()
        except Exception as error:
            # Whatever it is, the next click may go better.
            problem = one_line(error)
        try:
            await asyncio.to_thread(self._draw, problem)
        finally:
            self._busy = False
            self._enable(True)

    def _changed(self) -> None:
        """What a step from Python changed is shown too."""
        if not self._busy:
            self._redrawing = asyncio.create_task(asyncio.to_thread(self._draw, ""))

    def _enable(self, on: bool) -> None:
        for each in (*self.buttons.values(), self.go_to, self.page_size, self.group):
            each.disabled = not on
        self.range.disabled = not on or not self._density.edges

    # What is shown.

    def _draw(self, problem: str) -> None:
        with self._drawing:
            self._drawer = threading.get_ident()
            try:
                self._draw_all(problem)
            finally:
                self._drawer = None

    def _draw_all(self, problem: str) -> None:
        state = self._core.state
        keys = keys_text(self._core.stream.query)
        self.title.value = f"<b>{escape(keys)}</b> {escape(self._where())}"
        self.status.value = escape(brief(problem or state.note))
        cells = len(state.table) * len(state.table.column_names)
        most = max(200, min(MOST, OPENED // max(1, cells)))
        self.messages.value = SCROLLS.format(rows_html(state.table, self._where(), most=most))
        self.code.value = (
            f"# this page\n{self._core.page_code()}\n\n"
            f"# the chosen range\n{self._core.range_code()}\n"
        )
        self.page_size.value = self._core.pages.size
        self._draw_tabs()
        self._draw_density()

    def _draw_tabs(self) -> None:
        has_groups = any(each.groups for each in self._core.state.pinned.extents)
        tabs = {"Messages": self.messages, "Groups": self._group_tab, "Code": self.code}
        if not has_groups:
            del tabs["Groups"]
        if self.tabs.children != tuple(tabs.values()):
            self.tabs.children = tuple(tabs.values())
            self.tabs.titles = tuple(tabs)

    def _draw_density(self) -> None:
        edges, index = self._density.edges, self._index()
        self.why_not.value = escape(self._density.why_not)
        for each in (self.chart, self.range):
            each.layout.display = "" if edges else "none"
        if not edges:
            self.range.disabled = True
            return
        if self._drawn != (index, self._density):
            self._drawn = (index, self._density)
            chosen = (edges[index[0]], edges[index[1] - 1])
            counts = self._density.counts
            self.chart.value = bar_chart(edges[:-1], counts, "messages", chosen=chosen)
        if self._steps != edges:
            self._steps = edges
            self.range.options = labelled(edges)
        self.range.index = index

    def _index(self) -> tuple[int, int]:
        """The steps of the slider around the chosen range."""
        edges = self._density.edges_ns
        since, until = self._core.chosen_ns()
        begins = (at for at, ns in enumerate(edges[:-1]) if since is not None and ns <= since)
        ends = (at for at, ns in enumerate(edges) if until is not None and ns >= until)
        begin = max(begins, default=0)
        return begin, max(begin + 1, min(ends, default=len(edges) - 1))


def labelled(edges: tuple[datetime, ...]) -> list[tuple[str, int]]:
    """The steps of a slider: times as text, and their number."""
    whole = not any(each.microsecond for each in edges)
    texts = [time_text(each).removesuffix(".000" if whole else "") for each in edges]
    return [(text, at) for at, text in enumerate(texts)]


def one_line(error: Exception) -> str:
    """What went wrong, without a traceback."""
    text = str(error) if isinstance(error, StreamError) else f"{type(error).__name__}: {error}"
    return brief(text)
