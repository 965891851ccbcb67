"""What a live view keeps: the newest rows, within its bounds; and the rates it counts."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, strategies as st

from seastream_nb.notebook.live.ring import PARTS, Held, Ring
from seastream_nb.notebook.live.tally import RECENT, Arrivals, Tally, nanoseconds
from seastream_nb.quantities import NS_PER_SECOND


def batch(*numbers: int, size: int = 0) -> pa.RecordBatch:
    texts = pa.array(["x" * size] * len(numbers)).dictionary_encode()
    return pa.record_batch(
        {
            "n": pa.array(numbers, pa.int64()),
            "timestamp": pa.array(numbers, pa.timestamp("us", "UTC")),
            "payload": pa.array([bytes(size)] * len(numbers), pa.binary()),
            "stream": texts,
        }
    )


def numbers(table: pa.Table | None) -> list[int]:
    return [] if table is None else table["n"].to_pylist()


@given(
    sizes=st.lists(st.integers(0, 40), max_size=30),
    max_rows=st.integers(1, 100),
    count=st.integers(0, 50),
)
def test_it_keeps_the_newest_rows_in_order_however_they_come(
    sizes: list[int], max_rows: int, count: int
) -> None:
    ring = Ring(max_rows, 2**30)
    sent: list[int] = []
    for size in sizes:
        new = list(range(len(sent), len(sent) + size))
        ring.add(batch(*new))
        sent += new

    assert numbers(ring.held.table()) == sent[-max_rows:]
    assert numbers(ring.held.newest(count)) == sent[-max_rows:][::-1][:count]
    assert (ring.held.seen, ring.held.kept) == (len(sent), min(len(sent), max_rows))
    assert ring.held.dropped == len(sent) - ring.held.kept


@pytest.mark.parametrize("at_once", [1, 7, 500])
def test_bytes_are_bounded_and_nearly_used(at_once: int) -> None:
    most = 200_000
    ring = Ring(10_000, most)
    for start in range(0, 2_000, at_once):
        ring.add(batch(*range(start, min(2_000, start + at_once)), size=1_000))
        assert ring.held.nbytes <= most

    kept = numbers(ring.held.table())
    assert kept == list(range(2_000 - len(kept), 2_000))
    assert ring.held.nbytes > most * (1 - 3 / PARTS)


def test_a_row_larger_than_all_there_may_be_is_dropped_and_counted() -> None:
    ring = Ring(10, 1_000)
    ring.add(batch(1, size=10_000))

    assert (ring.held.kept, ring.held.seen, ring.held.dropped) == (0, 1, 1)
    assert ring.held.table() is None


def test_rows_that_trickle_in_become_few_parts() -> None:
    ring = Ring(100_000, 2**30)
    for number in range(3_000):
        ring.add(batch(number))

    assert len(ring.held.parts) < 20
    assert numbers(ring.held.newest(3)) == [2_999, 2_998, 2_997]


def test_a_kept_row_does_not_hold_the_reply_that_it_came_in() -> None:
    whole = batch(*range(1_000), size=10_000)
    before = pa.total_allocated_bytes()
    ring = Ring(1, 2**20)
    ring.add(whole)
    del whole

    assert numbers(ring.held.table()) == [999]
    assert pa.total_allocated_bytes() - before < 2**20 - 10_000_000


def test_what_is_held_does_not_change_while_somebody_looks() -> None:
    ring = Ring(3, 2**20)
    ring.add(batch(1, 2, 3))
    held = ring.held
    ring.add(batch(4))
    ring.clear()

    assert numbers(held.table()) == [1, 2, 3]
    assert ring.held == Held()


def test_what_is_older_is_dropped_up_to_the_first_that_is_not() -> None:
    ring = Ring(100, 2**20)
    ring.add(batch(1, 2))
    ring.add(batch(5, 3, 6))
    moment = pa.scalar(4, pa.timestamp("us", "UTC"))
    ring.drop_before(moment, "timestamp")

    assert numbers(ring.held.table()) == [5, 3, 6]
    assert (ring.held.seen, ring.held.dropped) == (5, 2)
    ring.drop_before(pa.scalar(9, pa.timestamp("us", "UTC")), "timestamp")
    assert ring.held.kept == 0


# Rates.


def test_messages_are_counted_by_their_own_time_with_empty_seconds_between() -> None:
    tally = Tally(600 * NS_PER_SECOND)
    tally.add(np.array([0, 1, 2, 3]) * NS_PER_SECOND // 2)
    tally.add(np.array([3, 4]) * NS_PER_SECOND)

    assert tally.per_second() == [
        (datetime(1970, 1, 1, second=second, tzinfo=UTC), rate)
        for second, rate in enumerate([2.0, 2.0, 0.0, 1.0])
    ]


def test_counts_are_bounded_however_long_it_goes_on() -> None:
    tally = Tally(3_600 * NS_PER_SECOND)
    for hour in range(5):
        tally.add((np.arange(3_600) + 3_600 * hour) * NS_PER_SECOND)

    rates = tally.per_second()
    assert len(rates) == 600
    assert {rate for _, rate in rates} == {1.0}


def test_the_rate_of_now_forgets_what_came_long_ago() -> None:
    now = 101.0
    arrivals = Arrivals(lambda: now)
    arrivals.add(10)
    now = 103.0
    arrivals.add(10)

    assert arrivals.per_second() == 10.0
    now = 103.0 + RECENT
    assert arrivals.per_second() == 10 / RECENT
    now = 1_000.0
    assert arrivals.per_second() == 0.0


def test_times_of_either_unit_are_nanoseconds_without_nulls() -> None:
    for unit, scale in (("us", 1_000), ("ns", 1)):
        times = pa.array([5, None], pa.timestamp(unit, "UTC"))
        assert nanoseconds(times).tolist() == [5 * scale]
