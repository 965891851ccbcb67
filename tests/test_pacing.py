"""Pacing: when messages are due, on numbers alone."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest
from hypothesis import given, strategies as st

from seastream_nb.errors import ConfigError
from seastream_nb.pacing import Pace, check_speed

SECOND = 10**9
STAMP = 1_700_000_000 * SECOND


def steered(pace: Pace, at: int, reached: int | None = None, **changes: Any) -> Pace:
    wanted = {"speed": pace.speed, "paused": pace.paused, **changes}
    return pace.steered(**wanted, clock_ns=at, reached_ns=reached)


def test_the_first_message_is_due_at_once_and_the_others_after_their_distance() -> None:
    pace = Pace().begun(stream_ns=STAMP, clock_ns=70)
    assert pace.due(STAMP) == 70
    assert pace.due(STAMP + 5 * SECOND) == 70 + 5 * SECOND
    assert pace.begun(stream_ns=STAMP + 9, clock_ns=99) is pace


@given(steps=st.lists(st.integers(0, 10**12), max_size=200), speed=st.floats(0.01, 1000))
def test_being_late_is_never_added_up(steps: list[int], speed: float) -> None:
    pace = Pace(speed=speed).begun(stream_ns=STAMP, clock_ns=0)
    stamp = STAMP
    for step in steps:
        stamp += step
        pace = pace.begun(stream_ns=stamp, clock_ns=10**15)  # as late as one likes
    assert pace.due(stamp) == pytest.approx(sum(steps) / speed, abs=1)


def test_without_a_speed_everything_is_due() -> None:
    pace = Pace(speed=None).begun(stream_ns=STAMP, clock_ns=70)
    assert pace.due(STAMP + 10**18) == -inf


def test_nothing_is_due_in_a_pause_and_stream_time_stands_still() -> None:
    pace = Pace().begun(stream_ns=STAMP, clock_ns=0)
    pace = steered(pace, 2 * SECOND, paused=True)
    assert pace.due(STAMP) == inf
    pace = steered(pace, 100 * SECOND, paused=False)
    assert pace.due(STAMP + 5 * SECOND) == 103 * SECOND


def test_a_speed_set_in_a_pause_counts_from_its_end() -> None:
    pace = Pace().begun(stream_ns=STAMP, clock_ns=0)
    pace = steered(pace, 2 * SECOND, paused=True)
    pace = steered(pace, 3 * SECOND, speed=2.0)
    pace = steered(pace, 10 * SECOND, paused=False)
    assert pace.due(STAMP + 4 * SECOND) == 11 * SECOND


def test_a_change_of_speed_counts_from_that_moment_on() -> None:
    pace = Pace().begun(stream_ns=STAMP, clock_ns=0)
    pace = steered(pace, 4 * SECOND, speed=0.5)
    assert pace.due(STAMP + 5 * SECOND) == 6 * SECOND


def test_what_was_read_without_waiting_goes_on_from_where_it_is() -> None:
    pace = Pace(speed=None).begun(stream_ns=STAMP, clock_ns=0)
    pace = steered(pace, SECOND, reached=STAMP + 60 * SECOND, speed=1.0)
    assert pace.due(STAMP + 61 * SECOND) == 2 * SECOND


def test_steering_before_the_first_message_keeps_it_due_at_once() -> None:
    pace = steered(Pace(), 5, paused=True)
    pace = steered(pace, 9, paused=False).begun(stream_ns=STAMP, clock_ns=10)
    assert pace.due(STAMP) == 10


def test_after_a_seek_the_next_message_is_due_at_once() -> None:
    pace = Pace(speed=4.0).begun(stream_ns=STAMP, clock_ns=0).afresh()
    assert pace.begun(stream_ns=STAMP - 7 * SECOND, clock_ns=3).due(STAMP - 7 * SECOND) == 3


@pytest.mark.parametrize("speed", [0, -1, float("nan"), float("inf"), "fast", True])
def test_a_speed_that_is_none_is_refused(speed: Any) -> None:
    with pytest.raises(ConfigError, match="speed="):
        check_speed(speed)
