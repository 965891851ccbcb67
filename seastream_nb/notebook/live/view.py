"""`Stream.live()`: a view of what comes, which reads on while the notebook goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import pyarrow as pa

from seastream_nb import interchange, portal
from seastream_nb.errors import ConfigError
from seastream_nb.notebook import display, running
from seastream_nb.notebook.charts import image_html
from seastream_nb.notebook.live.showing import chart_png, rows_within, state_text
from seastream_nb.notebook.live.wanted import Wanted
from seastream_nb.notebook.live.watching import State, Watch
from seastream_nb.notebook.view import View
from seastream_nb.quantities import Duration, Size
from seastream_nb.stream import StreamCore
from seastream_nb.times import When

if TYPE_CHECKING:
    import pandas as pd
    from ipywidgets import DOMWidget

OnPage = TypeVar("OnPage", bound=Callable[[pa.RecordBatch], object])


async def live(  # noqa: D417 - the first one is the facade's self
    stream: StreamCore,
    *,
    since: When = "latest",
    columns: Sequence[str] | None = None,
    chart: str | None = None,
    rolling: Duration | None = None,
    max_rows: int = 1_000,
    max_bytes: Size = "64MiB",
) -> Watch:
    """A view of what comes, which a cell shows and which reads on while others run.

    It is anchored when this returns: nothing that comes afterwards is missed. It begins with
    the past from `since` on, within the stream's own range; a stream that says itself where
    it begins, as with `last("10m")`, needs no `since`. It ends as `follow` does, by its
    buttons, when its output is cleared, and when its cell runs again.

    Args:
        since: "latest" is from now on.
        columns: those that show; left out, all of them, with the id.
        chart: "rate" draws messages a second, the name of a column its numbers over time.
        rolling: keep this much time, back from the newest message.
        max_rows: how many rows to keep.
        max_bytes: how much memory they may take.

    Raises:
        ConfigError: such as an unknown column, or a snapshot, which has an end.
    """
    wanted = Wanted.of(
        stream.query,
        since=since,
        columns=columns,
        chart=chart,
        rolling=rolling,
        max_rows=max_rows,
        max_bytes=max_bytes,
    )
    found = Watch(stream, wanted)
    await found.anchor()
    return found


class LiveMembers(View):
    """What a live view does without waiting: any thread may ask for it, at any time."""

    def __init__(self, core: Watch) -> None:
        self._core = core
        running.started(self)
        core.on_end = self._ended
        if core.over:
            self._ended()

    def _ended(self) -> None:
        running.ended(self)

    @property
    def state(self) -> State:
        """What it does: "running" or "paused", or for good "stopped" or "failed"."""
        return self._core.state

    @property
    def error(self) -> BaseException | None:
        """Why it failed; None when it did not."""
        return self._core.error

    @cached_property
    def title(self) -> str:
        """What it shows, on one line, with the password as `***`."""
        stream, wanted = self._core.stream, self._core.wanted
        shown = replace(stream.query, columns=wanted.columns, lower=wanted.started().lower)
        return display.stream_line(stream.on(shown))

    def pause(self) -> None:
        """Ask for nothing more, until `resume`; it keeps its place."""
        self._core.pause()

    def resume(self) -> None:
        """Go on where the pause began, without a gap."""
        self._core.resume()

    def stop(self) -> None:
        """End it, for good; the rows stay. Stopping twice is fine."""
        self._core.stop()
        self._ended()

    def seek(self, when: When) -> None:
        """Show what there is from a time, a message or an id on, and then what comes.

        The rows and their count begin anew, within the stream's own `since` and `until`. It
        returns at once; a pause stays one. "latest" leaves out what came meanwhile.

        Raises:
            ConfigError: `when` cannot be read, or the view has ended.
        """
        self._core.seek(when)

    def on_page(self, function: OnPage) -> OnPage:
        """Have a function called with each record batch from now on; it is given back.

        One thread of the view calls all of them in order, and the next page is asked for when
        they returned. What a function raises makes the view fail.
        """
        if not callable(function):
            raise ConfigError(f"on_page({function!r}): give a function of a record batch")
        self._core.on_page(function)
        return function

    def to_arrow(self) -> pa.Table:
        """The rows that are kept, in the order they came."""
        return interchange.with_metadata(*self._core.table())

    def to_pandas(
        self, *, index: str | None = None, dtype_backend: interchange.DtypeBackend | None = None
    ) -> pd.DataFrame:
        """The same as a pandas frame; `index` names the column that becomes the index."""
        table, facts = self._core.table()
        return interchange.to_pandas(table, facts, index=index, dtype_backend=dtype_backend)

    def text(self) -> str:
        """One line: what it shows, and what it does; how much it has when it does not run."""
        held = self._core.kept.held
        rows = "" if self.state == "running" else f", kept {held.kept:,} of {held.seen:,} rows"
        return f"<{type(self).__name__} {self.title}: {state_text(self._core)}{rows}>"

    def html(self) -> str:
        """The newest rows, and the chart, as they are now; without rate, lag or clock."""
        png = chart_png(self._core)
        image = "" if png is None else image_html(png, f"chart of {self._core.wanted.chart}")
        return image + rows_within(self._core, self.text().strip("<>"))

    def _make_widget(self) -> DOMWidget:
        from seastream_nb.notebook.live.panel import Panel

        self._panel = Panel(self._core, self.title)
        return self._panel.box


class LiveView(LiveMembers):
    """A view of what comes: `Stream.live` makes one, a cell shows it, any thread steers it."""

    def wait(self, n: int | None = None, timeout: Duration | None = None) -> None:
        """Wait until n messages came, since the start or the last seek; without n, until it ended.

        Raises:
            TimeoutError: they did not come within `timeout`.
            StreamEnded: it stopped before.
            StreamError: it failed. What a function of `on_page` raised is raised as it was.
        """
        self._core.require_another_thread()
        portal.run(self._core.wait(n, timeout))


class AsyncLiveView(LiveMembers):
    """A view of what comes: `AsyncStream.live` makes one, a cell shows it, any thread steers it."""

    async def wait(self, n: int | None = None, timeout: Duration | None = None) -> None:
        """Wait until n messages came, since the start or the last seek; without n, until it ended.

        Raises:
            TimeoutError: they did not come within `timeout`.
            StreamEnded: it stopped before.
            StreamError: it failed. What a function of `on_page` raised is raised as it was.
        """
        await portal.bridge(self._core.wait(n, timeout))
