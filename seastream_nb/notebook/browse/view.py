"""`Stream.browse()`: looking through a stream page by page, in a cell and from Python."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seastream_nb import portal
from seastream_nb.errors import StreamError
from seastream_nb.members import awaiting, blocking
from seastream_nb.notebook.browse.browsing import Browsing
from seastream_nb.notebook.cells import rows_html
from seastream_nb.notebook.charts import image_html
from seastream_nb.notebook.display import brief, escape, keys_text
from seastream_nb.notebook.view import View

if TYPE_CHECKING:
    import pandas as pd
    from ipywidgets import DOMWidget

ROWS = 20  # of the static form
STATIC_CHARACTERS = 1_000  # and of each of its values

CODE = "font-family:monospace;white-space:pre-wrap"


class BrowserView(View):
    """What both browsers show: one page of a range, and how to get it by code."""

    def __init__(self, core: Browsing) -> None:
        self._core = core

    @property
    def page(self) -> pd.DataFrame:
        """The page that is shown, with the ids of its messages."""
        return self._core.frame()

    @property
    def code(self) -> str:
        """The page as an expression over `streamer`, which gives the same rows.

        What cannot be written as code, such as a schema, is named in a comment before it.
        """
        return self._core.page_code()

    def text(self) -> str:
        """The page on one line."""
        return f"<{type(self).__name__} {keys_text(self._core.stream.query)}, {self._where()}>"

    def html(self) -> str:
        """The density, the page's first rows, and its code."""
        state = self._core.state
        rows = state.table.slice(0, ROWS)
        more = len(state.table) - len(rows)
        keys = keys_text(self._core.stream.query)
        caption = f"{keys}: {self._where()}" + (f", the first {ROWS}" if more else "")
        return (
            f"<div>{self._picture()}</div>"
            f"{rows_html(rows, caption, most=STATIC_CHARACTERS)}"
            f"{f'<div>{escape(state.note)}</div>' if state.note else ''}"
            f'<pre style="{CODE}">{escape_lines(self.code)}</pre>'
        )

    def _where(self) -> str:
        core = self._core
        span = core.state.span
        if span is None:
            return "no messages"
        ids = f"{len(core.state.table):,} messages from {span.start} to {span.end}"
        times = core.times_of(span)
        return f"{ids}, {times[0]} to {times[1]}" if times else ids

    def _picture(self) -> str:
        try:
            found = portal.run(self._core.density())
        except StreamError as error:
            return escape(brief(str(error)))
        if found.why_not:
            return escape(found.why_not)
        png = found.png(found.steps_around(*self._core.chosen_ns()))
        return image_html(png, "messages over time")

    def _make_widget(self) -> DOMWidget:
        from seastream_nb.notebook.browse.controls import Controls

        # The front end knows the widgets, and they know what they do.
        self._controls = Controls(self._core, self._where)
        return self._controls.widget


def escape_lines(text: str) -> str:
    """Lines of text as HTML."""
    return "\n".join(map(escape, text.split("\n")))


class Browser(BrowserView):
    """A look through a stream, page by page; nothing is taken from it, and no group is made.

    A page has `page_size` messages, more where the next ones have the same id, fewer where that
    would be over 64 MiB. Its cost does not depend on the stream's length. Times that count from
    now, such as `last("10m")`, were settled when it was opened.
    """

    next = blocking(Browsing.next)
    previous = blocking(Browsing.previous)
    first = blocking(Browsing.first)
    last = blocking(Browsing.last)
    go_to = blocking(Browsing.go_to)
    choose = blocking(Browsing.choose)
    refresh = blocking(Browsing.refresh)
    to_pandas = blocking(Browsing.to_pandas)


class AsyncBrowser(BrowserView):
    """A look through a stream, page by page; nothing is taken from it, and no group is made.

    A page has `page_size` messages, more where the next ones have the same id, fewer where that
    would be over 64 MiB. Its cost does not depend on the stream's length. Times that count from
    now, such as `last("10m")`, were settled when it was opened.
    """

    next = awaiting(Browsing.next)
    previous = awaiting(Browsing.previous)
    first = awaiting(Browsing.first)
    last = awaiting(Browsing.last)
    go_to = awaiting(Browsing.go_to)
    choose = awaiting(Browsing.choose)
    refresh = awaiting(Browsing.refresh)
    to_pandas = awaiting(Browsing.to_pandas)
