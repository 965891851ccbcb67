"""How a figure is taken: ours and the reference by turns, and the ratio of each turn.

A benchmark is a generator function: it prepares, yields the two measures, and cleans up. A measure
does the whole work once and returns a rate or a duration. The machine may be busy with other
things, so only what was measured side by side is compared, and the median of all rounds counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

from tests.benchmarks.place import Place

Measure = Callable[[], float]
Generates = Callable[[Place], Iterator[tuple[Measure, Measure]]]


@dataclass(frozen=True)
class Goal:
    """The ratio to reach: at least this, or at most."""

    ratio: float
    at_most: bool = False

    def met(self, ratio: float) -> bool:
        return ratio <= self.ratio if self.at_most else ratio >= self.ratio

    def __str__(self) -> str:
        return f"{'<=' if self.at_most else '>='} {self.ratio:.2f}"


@dataclass(frozen=True)
class Figure:
    """What came out: medians of both sides, and of the ratios of the rounds with their range."""

    name: str
    unit: str
    goal: Goal
    ours: float
    reference: float
    ratio: float
    lowest: float
    highest: float

    def line(self) -> dict[str, Any]:
        numbers = {
            name: float(f"{getattr(self, name):.4g}")
            for name in ("ours", "reference", "ratio", "lowest", "highest")
        }
        return {"name": self.name, **numbers, "unit": self.unit, "goal": str(self.goal)}


@dataclass(frozen=True)
class Benchmark:
    """One figure, and how it is taken."""

    name: str
    unit: str
    goal: Goal
    measures: Generates

    def run(self, place: Place, rounds: int) -> Figure:
        with contextmanager(self.measures)(place) as (ours, reference):
            # The first turn of each pays for what is loaded once a process.
            ours(), reference()
            pairs = [_turn(ours, reference, ours_first=bool(n % 2)) for n in range(rounds)]
        ratios = [mine / other for mine, other in pairs]
        return Figure(
            name=self.name,
            unit=self.unit,
            goal=self.goal,
            ours=median(mine for mine, _ in pairs),
            reference=median(other for _, other in pairs),
            ratio=median(ratios),
            lowest=min(ratios),
            highest=max(ratios),
        )


def _turn(ours: Measure, reference: Measure, *, ours_first: bool) -> tuple[float, float]:
    if ours_first:
        return ours(), reference()
    other = reference()
    return ours(), other


def rate(*, at_least: float) -> Callable[[Generates], Benchmark]:
    """A benchmark of messages a second."""
    goal = Goal(at_least)
    return lambda measures: Benchmark(measures.__name__, "messages/s", goal, measures)


def duration(*, at_most: float, unit: str = "s") -> Callable[[Generates], Benchmark]:
    """A benchmark of time taken."""
    goal = Goal(at_most, at_most=True)
    return lambda measures: Benchmark(measures.__name__, unit, goal, measures)


def per_second(count: int, work: Callable[[], object]) -> Measure:
    """Times work on so many messages, as a rate."""
    return lambda: count / seconds(work)


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
