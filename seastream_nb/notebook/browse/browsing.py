"""The state of a `Browser` without a widget: where one stands in a range, and every step.

A step takes effect as a whole or not at all, and reads about one page, however long the stream is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from seastream_nb import interchange, portal
from seastream_nb.errors import ConfigError
from seastream_nb.export.exporting import to_parquet
from seastream_nb.export.report import ExportReport
from seastream_nb.file.exporting import to_ss
from seastream_nb.keys import FIRST_ID
from seastream_nb.message import utc_datetime
from seastream_nb.notebook.browse.code import between, frame_code
from seastream_nb.notebook.browse.density import Density, are_times, density
from seastream_nb.notebook.browse.turning import NotShown, PageIds, Pages, State
from seastream_nb.notebook.cells import time_text
from seastream_nb.query import Pinned, Query, plan
from seastream_nb.stream import StreamCore
from seastream_nb.times import (
    Edge,
    Fixed,
    Instant,
    Moment,
    When,
    bound,
    check_tz,
    parse_when,
    resolve,
)

if TYPE_CHECKING:
    import pandas as pd

MAX_PAGE = 10_000

Step = Callable[[State], Awaitable[State]]


class Browsing:
    """One walk through a range. The coroutines run on the I/O thread, one after the other."""

    state: State

    def __init__(self, stream: StreamCore, page_size: int) -> None:
        self.stream = stream
        self.pages = Pages(stream, check_browsed(page_size))
        self._whole: Query = stream.query
        self._density: tuple[Pinned, Density] | None = None
        self._steps = asyncio.Lock()
        self._listeners: list[Callable[[], object]] = []

    async def open(self, at: When | None) -> None:
        """Show the first page of the range, or the one at a time."""
        query = self.stream.query
        pinned = await self.stream.pinned()
        self._whole = _absolute(query, pinned.now_ns)
        plan(self._whole, pinned)
        self.state = State(pinned, self._whole, *self.pages.nothing())
        await (self.first() if at is None else self.go_to(at))

    # Steps.

    async def next(self) -> pd.DataFrame:
        """The page after this one; at the end this one stays."""
        return await self._step(self.pages.next)

    async def previous(self) -> pd.DataFrame:
        """The page before this one; at the beginning this one stays."""
        return await self._step(self.pages.previous)

    async def first(self) -> pd.DataFrame:
        """The first page of the chosen range."""
        return await self._step(self.pages.first)

    async def last(self) -> pd.DataFrame:
        """The last page of the chosen range, as of now."""
        return await self._step(self.pages.last)

    async def go_to(self, when: When) -> pd.DataFrame:
        """The page that begins with the first message at or after a time, a message or an id.

        Raises:
            ConfigError: `when` cannot be read; the page stays.
        """
        moment = parse_when(when, tz=self._whole.zone)

        async def step(state: State) -> State:
            position = resolve(moment, state.pinned.now_ns)
            if position is Edge.LATEST:
                return await self.pages.last(state)
            start = bound(position, unit_ns=self.stream.source.options.unit_ns)
            found = await self.pages.forward(state, start)
            if found is not None:
                return found
            last = await self.pages.last(state)
            return replace(last, note="nothing is there or after it: this is the last page")

        return await self._step(step, anew=True)

    async def choose(self, since: When | None = None, until: When | None = None) -> pd.DataFrame:
        """Page through a part of the range; without bounds, through all of it again.

        Raises:
            ConfigError: a bound that cannot be read, or the part begins after its end.
        """
        query = self._whole if since is None else self._whole.since(since)
        query = query if until is None else query.until(until)

        async def step(state: State) -> State:
            chosen = _absolute(query, state.pinned.now_ns)
            plan(chosen, state.pinned)
            return await self.pages.first(replace(state, chosen=chosen))

        return await self._step(step, anew=True)

    async def refresh(self) -> pd.DataFrame:
        """The same page as it is now, with what came to it if it is the last one."""
        return await self._step(self.pages.again, anew=True)

    async def resize(self, page_size: int) -> pd.DataFrame:
        """Pages of another size, beginning where this one does."""
        size = check_browsed(page_size)

        async def step(state: State) -> State:
            self.pages.size = size
            start = state.span.start if state.span else FIRST_ID
            return await self.pages.forward(state, start) or await self.pages.first(state)

        return await self._step(step)

    async def to_pandas(self) -> pd.DataFrame:
        """The whole chosen range as one frame; as `Stream.to_pandas`."""
        return await self.chosen().to_pandas()

    async def export(self, path: str) -> ExportReport:
        """The chosen range as a new `.ss` or `.parquet` file.

        Raises:
            ConfigError: a name with another ending.
            ExportExists: there is something of that name.
        """
        target = path.strip()
        if target.endswith(".ss"):
            return await to_ss(self.chosen(), target, progress=False)
        if target.endswith(".parquet"):
            return await to_parquet(self.chosen(), target, progress=False)
        raise ConfigError(f"export to {target!r}: give a name that ends in .ss or .parquet")

    # What is shown.

    def chosen(self) -> StreamCore:
        """The chosen range, as a stream."""
        return self.stream.on(self.state.chosen)

    def chosen_ns(self) -> tuple[int | None, int | None]:
        """Where `choose` cut the range, in nanoseconds since the epoch."""
        chosen, whole = self.state.chosen, self._whole
        unit = self.stream.source.options.unit_ns
        return (
            max((_ns(each, unit) for each in chosen.lower[len(whole.lower) :]), default=None),
            min((_ns(each, unit) for each in chosen.upper[len(whole.upper) :]), default=None),
        )

    def times_of(self, span: PageIds) -> tuple[str, str] | None:
        """When a page begins and ends, on the clock of the stream; None where ids are no times."""
        ends = [span.start.ms, span.end.ms]
        if not are_times(ends, unit := self.stream.source.options.unit_ns):
            return None
        zone = check_tz(self._whole.zone)
        first, last = (utc_datetime(ms * unit) for ms in ends)
        assert first is not None
        assert last is not None
        return time_text(first.astimezone(zone)), time_text(last.astimezone(zone))

    def frame(self) -> pd.DataFrame:
        """The page as a frame."""
        return interchange.to_pandas(self.state.table, self.state.facts)

    def page_code(self) -> str:
        """An expression that gives the page."""
        span, chosen = self.state.span, self.state.chosen
        query = chosen if span is None else between(chosen, span.start, span.end)
        return frame_code(self.stream.on(query))

    def range_code(self) -> str:
        """An expression that gives the chosen range."""
        return frame_code(self.chosen())

    async def density(self) -> Density:
        """How many messages there are when, over the whole range."""
        portal.noted_warnings()  # the page says it too
        pinned = self.state.pinned
        if self._density is None or self._density[0] is not pinned:
            self._density = pinned, await density(self.stream.on(self._whole), pinned)
        return self._density[1]

    def on_change(self, function: Callable[[], object]) -> None:
        """Have a function called after each step, on the I/O thread."""
        self._listeners.append(function)

    # How.

    async def _step(self, step: Step, *, anew: bool = False) -> pd.DataFrame:
        async with self._steps:
            state = replace(self.state, note="")
            warnings = portal.noted_warnings()
            if anew:
                state = await self.pages.renewed(state)
            try:
                state = await step(state)
                notes = dict.fromkeys([*warnings, *filter(None, [state.note])])
                self.state = replace(state, note="; ".join(notes))
            except NotShown as failed:
                # The page is turned all the same: what follows it can be reached.
                self.state = failed.state
                raise failed.error from None
            finally:
                for listener in self._listeners:
                    listener()
            return self.frame()


async def browse(  # noqa: D417 - the first one is the facade's self
    stream: StreamCore, *, at: When | None = None, page_size: int = 100
) -> Browsing:
    """Look through the range page by page, in a cell or from Python.

    Args:
        at: where to begin: the page of the first message at or after this time or id; left
            out, the first page.
        page_size: messages of a page, at most 10,000.

    Raises:
        ConfigError: an argument that cannot be meant, or `first(n)` or `last(n)` before it.
        DecodeError: a payload on the first page is not what was asked for.
    """
    query = stream.query
    if query.first is not None or query.last is not None:
        raise ConfigError(
            "browse() turns pages of a range, not of first(n) or last(n): leave that out, or say "
            "since(), until() or last('10m')"
        )
    browsing = Browsing(stream, page_size)
    await browsing.open(at)
    return browsing


def check_browsed(page_size: object) -> int:
    """A number of rows that one can look at.

    Raises:
        ConfigError: naming the value.
    """
    if type(page_size) is not int or not 1 <= page_size <= MAX_PAGE:
        raise ConfigError(f"page_size={page_size!r}: give a number of rows, 1 to {MAX_PAGE:,}")
    return page_size


def _absolute(query: Query, now_ns: int) -> Query:
    """The same question with times that do not wait for "now" any more."""
    lower = [Fixed(resolve(moment, now_ns)) for moment in query.lower]
    upper = [Fixed(resolve(moment, now_ns)) for moment in query.upper]
    for window in query.window_ns:
        lower.append(Fixed(Instant(now_ns - window)))
        upper.append(Fixed(Instant(now_ns)))
    return replace(query, lower=tuple(lower), upper=tuple(upper), window_ns=())


def _ns(moment: Moment, unit_ns: int) -> int:
    assert isinstance(moment, Fixed)
    return bound(moment.position, unit_ns=unit_ns).ms * unit_ns
