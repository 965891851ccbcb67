"""Turning the pages of a range: from one state to the next, reading about one page.

A page is the range between two ids, both included, so its code gives exactly its rows. Pages that
were visited are kept as such ranges: going back shows the same ones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import pyarrow as pa

from seastream_nb.errors import ConfigError, DecodeError, StreamError, TooLarge
from seastream_nb.keys import FIRST_ID, LAST_ID, EntryId
from seastream_nb.notebook.browse.code import between
from seastream_nb.notebook.browse.finding import MOST_ENTRIES, Found, find
from seastream_nb.query import Pinned, Query, plan
from seastream_nb.stream import Facts, StreamCore
from seastream_nb.times import Fixed

# Pages that can be gone back to as they were; those before are found anew.
MAX_VISITED = 1_000


@dataclass(frozen=True)
class PageIds:
    """The ids of one page, both included; `short` when the range ended before it was full."""

    start: EntryId
    end: EntryId
    short: bool = False
    stopped: bool = False


@dataclass(frozen=True)
class State:
    """Where one stands.

    Attributes:
        pinned: the shards and their ends.
        chosen: the range that is paged through; its times are absolute.
        spans, at: the pages visited, one after the other in the range, and which of them is shown.
        table, facts: its rows with their ids, and their provenance.
        note: what there is to say of it, or "".
    """

    pinned: Pinned
    chosen: Query
    table: pa.Table
    facts: Facts
    spans: tuple[PageIds, ...] = ()
    at: int = 0
    note: str = ""

    @property
    def span(self) -> PageIds | None:
        """The page that is shown; None where the range has no messages."""
        return self.spans[self.at] if self.spans else None


class NotShown(Exception):
    """A page that was found, and whose rows cannot be shown."""

    def __init__(self, state: State, error: StreamError) -> None:
        super().__init__(str(error))
        self.state = state
        self.error = error


class Pages:
    """The pages of one stream, in sizes of so many rows or more where ids are the same."""

    def __init__(self, stream: StreamCore, size: int) -> None:
        self.stream = stream
        self.size = size

    async def renewed(self, state: State) -> State:
        """The state with the ends that the shards have now, unless it is of a snapshot."""
        return replace(state, pinned=await self.stream.pinned())

    async def next(self, state: State) -> State:
        """The page after, or the same one with a note."""
        if state.at + 1 < len(state.spans):
            return await self.shown(replace(state, at=state.at + 1))
        start = state.spans[-1].end.next() if state.spans else FIRST_ID
        if state.spans and state.spans[-1].end == LAST_ID:
            return replace(state, note="this is the last page")
        state, found = await self._onward(state, start, after=state.spans)
        return found or replace(state, note="this is the last page: nothing comes after it")

    async def previous(self, state: State) -> State:
        """The page before, or the same one with a note."""
        if state.at:
            before = replace(state, at=state.at - 1)
            # A short page may have grown, and is found anew.
            kept = before.spans[:-1] if before.spans[-1].short else before.spans
            return await self.shown(replace(before, spans=kept))
        if not state.spans:
            return await self.last(state)
        found = await self.backward(state, state.spans[0].start)
        return found or replace(state, note="this is the first page: nothing comes before it")

    async def first(self, state: State) -> State:
        """The first page of the range."""
        state, found = await self._onward(state, FIRST_ID)
        return found or self.empty(state)

    async def last(self, state: State) -> State:
        """The last page of the range, as of now."""
        state = await self.renewed(state)
        found = await self.backward(replace(state, spans=(), at=0), None)
        return found or self.empty(state)

    async def again(self, state: State) -> State:
        """The same page as it is now, with what came to it if it is the last one."""
        if state.span is None:
            return await self.first(state)
        before = state.spans[: state.at]
        if not state.span.short:
            shown = await self.shown(state)
            if len(shown.table):
                return shown
        found = await self.forward(state, state.span.start, after=before)
        return found or await self.first(state)

    async def forward(
        self, state: State, start: EntryId, *, after: tuple[PageIds, ...] = ()
    ) -> State | None:
        """The state with the page from an id on, behind those visited; None if there is none."""
        query = replace(state.chosen, lower=(*state.chosen.lower, Fixed(start)))
        found = await self._found(query, state)
        if found.first is None and found.stopped is None:
            return None
        end = found.stopped or found.last or start
        span = PageIds(found.first or start, end, not found.full, found.stopped is not None)
        spans = (*after, span)[-MAX_VISITED:]
        return await self.shown(replace(state, spans=spans, at=len(spans) - 1))

    async def _onward(
        self, state: State, start: EntryId, *, after: tuple[PageIds, ...] = ()
    ) -> tuple[State, State | None]:
        """The same, when more may have come than was there when the ends were looked at."""
        found = await self.forward(state, start, after=after)
        span = found and found.span
        if span and (span.stopped or not span.short):
            return state, found
        anew = await self.renewed(state)
        if anew.pinned.extents == state.pinned.extents:
            return anew, found
        return anew, await self.forward(anew, start, after=after)

    async def backward(self, state: State, before: EntryId | None) -> State | None:
        """The same with the page that ends before an id, in front of those visited."""
        chosen = state.chosen
        upper = chosen.upper if before is None else (*chosen.upper, Fixed(before))
        found = await self._found(replace(chosen, upper=upper), state, reverse=True)
        if found.first is None and found.stopped is None:
            return None
        highest = LAST_ID if before is None else before.previous()
        start = found.stopped or found.first or highest
        end = found.last or highest
        span = PageIds(start, end, before is None and not found.full, found.stopped is not None)
        spans = (span, *state.spans)[:MAX_VISITED]
        return await self.shown(replace(state, spans=spans, at=0))

    async def _found(self, query: Query, state: State, *, reverse: bool = False) -> Found:
        try:
            plan(query, state.pinned)
        except ConfigError:
            return Found(None, None, full=False, stopped=None)  # past the end of the range
        first = not state.spans  # what no row has is a slip, unless rows were found before
        size = self.size
        return await find(self.stream, query, state.pinned, size, reverse=reverse, strict=first)

    async def shown(self, state: State) -> State:
        """The state with the rows of its page."""
        span = state.span
        assert span is not None
        query = between(state.chosen, span.start, span.end).pin(state.pinned)
        try:
            table, facts = await self.stream.on(query).collect(False, with_id=True)
        except (ConfigError, DecodeError, TooLarge) as error:
            table, facts = self.nothing()
            failed = replace(state, table=table, facts=facts, note=str(error))
            raise NotShown(failed, error) from None
        gone = "the messages of this page are gone: trimmed or deleted meanwhile"
        note = _looked(len(table)) if span.stopped else "" if len(table) else gone
        return replace(state, table=table, facts=facts, note=note)

    def empty(self, state: State) -> State:
        """The state of a range without messages."""
        table, facts = self.nothing()
        note = "there are no messages in this range"
        return replace(state, spans=(), at=0, table=table, facts=facts, note=note)

    def nothing(self) -> tuple[pa.Table, Facts]:
        """No rows."""
        return self.stream.shaper(with_id=True).table([]), {}


def _looked(rows: int) -> str:
    found = "the page ends here" if rows else "nothing was found so far"
    return (
        f"{found}: {MOST_ENTRIES:,} entries of a shard, or 64 MiB, were looked at; "
        "the next page goes on"
    )
