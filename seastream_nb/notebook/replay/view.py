"""A replay with buttons: a cell shows it, with a position to drag and the last rows.

The static form says from when to when it goes, and where in it the messages are.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from seastream_nb import portal
from seastream_nb.errors import StreamError
from seastream_nb.notebook.display import Column, brief, steps, stream_text, table
from seastream_nb.notebook.magics.arguments import masked
from seastream_nb.notebook.replay.playing import Playing
from seastream_nb.notebook.replay.span import Span, clock, span_of
from seastream_nb.notebook.view import View
from seastream_nb.query import Query
from seastream_nb.replay import ReplayCore

if TYPE_CHECKING:
    from ipywidgets import DOMWidget

    from seastream_nb.notebook.replay.controls import Controls


class ReplayControl(Playing, View):
    """A replay that plays in the background, with play, pause, speed and position.

    It plays from when a cell shows it, or from `play`; without a front end nothing plays by
    itself. It stops when it is shown nowhere any more, or its cell runs again. At the end it
    stays: `seek` goes back. Any thread may use it, and the replay it is of may be steered too.
    """

    def __init__(self, core: ReplayCore, holder: object) -> None:
        super().__init__(core)
        self._holder = holder  # a replay that nobody holds is closed
        self._controls: Controls | None = None
        self._span: Span | None = None
        self._surveyed = False

    @property
    def title(self) -> str:
        """What is replayed, on one line, without a password."""
        stream = self.core.stream
        return stream_text("replay of", stream.on(Query(keys=stream.query.keys)))[1:-1]

    @property
    def span(self) -> Span | None:
        """From when to when it goes; None as long as that is not known, or when it is empty."""
        return self._span

    @property
    def error_line(self) -> str:
        """What it failed with, on one line without a password; empty when it did not."""
        return "" if self.error is None else error_line(self.error)

    @property
    def time_ns(self) -> int | None:
        """The moment of the stream that it is now, in nanoseconds; None where that is open."""
        position = self.position
        if self.state in ("playing", "paused") or position is None:
            return self.core.time_ns
        return position.timestamp_ns

    def text(self) -> str:
        """One line: what is replayed, and how fast."""
        return f"{stream_text('ReplayControl', self.core.stream)[:-1]}, {self._pace_text()}>"

    def html(self) -> str:
        """The query, how fast, from when to when, and where in it the messages are."""
        query = self.core.stream.query
        rows = [*steps(query), ("speed", self._pace_text())]
        try:
            span = portal.run(self._survey())
        except StreamError as error:
            rows.append(("error", error_line(error)))
        else:
            rows += [("messages", "none")] if span is None else _span_rows(span, query.zone)
        rows += [("warning", each) for each in self.warnings]
        return table((Column(""), Column("")), rows, self.title)

    def _pace_text(self) -> str:
        if self.speed is None:
            return "as fast as possible"
        return f"{self.speed:g}x as fast as it was" if self.speed != 1 else "as fast as it was"

    def _make_widget(self) -> DOMWidget:
        from seastream_nb.notebook.replay.controls import Controls

        self._controls = Controls(self)
        self._begin()
        return self._controls.box

    async def _draw(self) -> None:
        if self._controls is not None:
            await self._controls.draw()

    async def _survey(self) -> Span | None:
        portal.noted_warnings(self.warnings)
        if not self._surveyed:
            span = await span_of(self.core.stream, await self.core.pinned())
            self._span, self._surveyed = span, True
        return self._span

    async def _look(self) -> None:
        with suppress(StreamError):  # which playing comes upon as well
            await self._survey()


def error_line(error: BaseException) -> str:
    """An error on one line, without a password.

    >>> error_line(ValueError("no redis://ana:p@host"))
    'ValueError: no redis://***@host'
    """
    return brief(f"{type(error).__name__}: {masked(str(error))}")


def _span_rows(span: Span, zone: str) -> list[tuple[str, str]]:
    rows = [("from", clock(span.first_ns, zone)), ("to", clock(span.last_ns, zone))]
    return rows + ([("rate", span.rate_text())] if span.counts else [])
