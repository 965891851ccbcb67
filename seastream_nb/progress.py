"""Progress bars: shown where somebody watches, after two seconds, by the caller's own thread.

The I/O thread only counts. Drawing happens while the caller waits, so that the bar lands in the
cell that asked for it.
"""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from seastream_nb import portal
from seastream_nb.checks import flag, named, or_none
from seastream_nb.errors import ConfigError

if TYPE_CHECKING:
    from seastream_nb.keys import EntryId
    from seastream_nb.query import Plan, Query

APPEARS_AFTER = 2.0
_FORMAT = "{percentage:3.0f}%|{bar}| {desc} [{elapsed}<{remaining}]"


def watched() -> bool:
    """Whether somebody watches: a terminal or a notebook, never cron, papermill or nbval.

    Raises:
        ConfigError: `$SEASTREAM_PROGRESS` is neither 0 nor 1.
    """
    chosen = os.environ.get("SEASTREAM_PROGRESS")
    if chosen:
        if chosen not in ("0", "1"):
            raise ConfigError(f"$SEASTREAM_PROGRESS is {chosen!r}: write 0 or 1")
        return chosen == "1"
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    kernel = getattr(shell, "kernel", None)
    if kernel is None:
        return sys.stderr is not None and sys.stderr.isatty()
    # Whoever runs a notebook as a batch has nobody to type an answer, and says so to the kernel.
    return bool(getattr(kernel, "_allow_stdin", False))


class Counted(Protocol):
    """What a bar shows: how much was read, and how far in time the reading is."""

    query: Query
    plan: Plan
    entries: int
    rows: int
    position: EntryId | None


class Progress:
    """A tqdm bar over the time range of a reading, with what was read and how fast."""

    def __init__(self, reading: Counted, wanted: bool | None) -> None:
        named("progress", wanted, or_none(flag))
        self._reading = reading
        self._shown = watched() if wanted is None else wanted
        self._started = time.monotonic()
        self._appears_at = self._started + (0 if wanted else APPEARS_AFTER)
        self._begin, self._end = _span(reading.plan)
        self._bar: Any = None
        self._finished = False
        self._closed = False

    def __enter__(self) -> Progress:
        if self._shown:
            portal.on_tick(self._draw)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._finished = kind is None
        if self._shown:
            portal.on_tick(self._close)

    def _draw(self) -> None:
        now = time.monotonic()
        if now < self._appears_at:
            return
        if self._bar is None:
            from tqdm.auto import tqdm

            # With a delay tqdm leaves the first drawing to us, when there is something to say.
            self._bar = tqdm(total=1.0, bar_format=_FORMAT, delay=1e-9)
            # Time has passed since the reading began, and tqdm's ETA needs to know.
            self._bar.start_t -= now - self._started
        # Pages of several shards come in no order of time; a bar never goes back.
        self._bar.n = max(self._bar.n, 1.0 if self._finished else self._done())
        entries = self._reading.entries
        rate = entries / max(now - self._started, 1e-3)
        self._bar.set_description_str(f"{entries:,} entries, {rate:,.0f}/s")

    def _close(self) -> None:
        if not self._closed:
            self._closed = True
            self._draw()
            if self._bar is not None:
                self._bar.close()

    def _done(self) -> float:
        """The part of the reading that is done, from 0 to 1: of its time, or of its number."""
        query, position = self._reading.query, self._reading.position
        if position is None:
            return 0.0
        passed = (position.ms - self._begin) / max(1, self._end - self._begin)
        if query.last is not None:
            passed = 1 - passed  # read from the end
        if query.first:
            passed = max(passed, self._reading.rows / query.first)
        if query.last and not query.containing and query.condition is None:
            passed = max(passed, self._reading.entries / query.last)
        return min(1.0, max(0.0, passed))


def _span(plan: Plan) -> tuple[int, int]:
    """The times between which the entries of a plan lie, in ticks of their ids."""
    firsts = [each.extent.first or each.start for each in plan.ranges]
    starts = [max(each.start, first).ms for each, first in zip(plan.ranges, firsts, strict=True)]
    return min(starts, default=0), max((each.end.ms for each in plan.ranges), default=0)
