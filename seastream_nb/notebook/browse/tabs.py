"""Parts of a browser's widget that stand by themselves: consumer groups, and the export."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import ipywidgets as widgets

from seastream_nb import portal
from seastream_nb.errors import StreamError
from seastream_nb.notebook.browse.browsing import Browsing
from seastream_nb.notebook.cells import frame_html
from seastream_nb.notebook.display import brief, escape

SCROLLING = '<div style="max-height:32em;overflow:auto">{}</div>'


class GroupsTab:
    """The groups of a stream, and what is pending in the chosen one."""

    def __init__(self, core: Browsing, choose: Callable[[], object]) -> None:
        self._core = core
        self.groups = widgets.HTML()
        self.group = widgets.Dropdown(options=[], description="pending of")
        self.pending = widgets.HTML()
        self.box = widgets.VBox([self.groups, self.group, self.pending])
        self.group.observe(lambda _: choose(), "value")

    async def load(self) -> None:
        """Ask for the groups, and for the pending entries of the one that is chosen."""
        found = await self._core.stream.groups()
        self.groups.value = SCROLLING.format(frame_html(found, f"{len(found):,} groups by shard"))
        names = list(dict.fromkeys(found["name"]))
        if list(self.group.options) != names:
            before = self.group.value
            self.group.options = names
            self.group.index = names.index(before) if before in names else 0 if names else None
        await self.load_pending()

    async def load_pending(self) -> None:
        """Ask for the pending entries, a page of them at most."""
        if self.group.value is None:
            self.pending.value = ""
            return
        size = self._core.pages.size
        found = await self._core.stream.pending(self.group.value, limit=size)
        more = ", and maybe more" if len(found) == size else ""
        caption = f"{len(found):,} pending entries, the lowest ids first{more}"
        self.pending.value = SCROLLING.format(frame_html(found, caption))


class ExportRow:
    """The name of a file, a button that writes the chosen range to it, and what became of that."""

    def __init__(self, core: Browsing) -> None:
        self._core = core
        self._running: Future[None] | None = None
        self.path = widgets.Text(
            placeholder="NAME.ss or NAME.parquet", continuous_update=False, layout={"width": "24em"}
        )
        self.button = widgets.Button(description="export the range", layout={"width": "auto"})
        self.report = widgets.HTML()
        row = widgets.HBox([self.path, self.button], layout={"flex_flow": "row wrap"})
        self.box = widgets.VBox([row, self.report])
        self.button.on_click(self._on_click)

    def _on_click(self, _: Any) -> None:
        if self._running is not None and not self._running.done():
            self._running.cancel()
            return
        self.button.description = "stop the export"
        self.report.value = ""
        self._running = portal.spawn(self._export(self.path.value))

    async def _export(self, path: str) -> None:
        line = "stopped: nothing was written"
        warnings = portal.noted_warnings()
        try:
            done = await self._core.export(path)
            facts = f"{done.messages:,} messages, {done.bytes:,} bytes in {done.path}"
            line = "; ".join([facts, *warnings])
        except Exception as error:
            line = one_line(error)
        finally:
            self.report.value = escape(line)
            self.button.description = "export the range"


def one_line(error: Exception) -> str:
    """What went wrong, without a traceback."""
    text = str(error) if isinstance(error, StreamError) else f"{type(error).__name__}: {error}"
    return brief(text)
