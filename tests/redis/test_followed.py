"""How far a shard was followed, as a value: where it ends, and when it is another one."""

from __future__ import annotations

from typing import Any

import pytest

from seastream_nb.errors import StreamReset
from seastream_nb.keys import FIRST_ID, LAST_ID, EntryId
from seastream_nb.message import Origin
from seastream_nb.page import ListPage
from seastream_nb.query import Bounds, Extent
from seastream_nb.redis.followed import FollowedShard
from seastream_nb.times import Edge, Instant

ORIGIN = Origin("s", 0, b"s", 1_000_000)
MS = 1_000_000


def extent(end: EntryId | None = None, **facts: Any) -> Extent:
    return Extent(origin=ORIGIN, end=end, **facts)


def page(*ids: str) -> ListPage:
    return ListPage(ORIGIN, [[each.encode(), [b"msg", b"x"]] for each in ids])


@pytest.mark.parametrize(
    ("end", "lower", "position"),
    [
        (None, (), FIRST_ID),
        (None, (Edge.LATEST,), FIRST_ID),
        (EntryId(5, 1), (), EntryId(5, 1)),
        (EntryId(5, 1), (Edge.LATEST,), EntryId(5, 1)),
        (EntryId(5, 1), (EntryId(3, 0),), EntryId(5, 1)),
        (EntryId(5, 1), (Instant(9 * MS),), EntryId(8, 2**64 - 1)),
        (LAST_ID, (Edge.LATEST,), LAST_ID),
    ],
)
def test_it_begins_behind_the_past_and_at_the_range(
    end: EntryId | None, lower: tuple[Any, ...], position: EntryId
) -> None:
    assert FollowedShard(extent(end), Bounds(lower=lower)).position == position


def test_what_is_at_or_past_the_end_is_cut_off_and_ends_it() -> None:
    shard = FollowedShard(extent(EntryId(5, 0)), Bounds(upper=(EntryId(8, 1),)))
    assert len(shard.take(page("6-0", "8-0"))) == 2
    assert shard.done  # nothing fits between 8-0 and 8-1
    shard = FollowedShard(extent(EntryId(5, 0)), Bounds(upper=(Instant(8 * MS),)))
    assert len(shard.take(page("6-0", "7-9"))) == 2
    assert not shard.done
    assert [len(shard.take(page("7-10", "8-0", "9-0"))), shard.done] == [1, True]
    assert len(shard.take(page("10-0"))) == 0


def test_closing_reads_what_is_there_and_no_more() -> None:
    shard = FollowedShard(extent(EntryId(5, 0)), Bounds(upper=(Edge.LATEST,)))
    shard.close(EntryId(7, 0))
    shard.close(EntryId(9, 0))
    assert not shard.done
    assert [len(shard.take(page("6-0", "7-0", "8-0"))), shard.done] == [2, True]
    missing = FollowedShard(extent(), Bounds())
    missing.close(None)
    assert missing.done


def test_a_stream_that_only_grows_or_is_trimmed_is_the_same() -> None:
    shard = FollowedShard(extent(EntryId(5, 0), added=3, length=3), Bounds())
    shard.take(page("6-0"))
    shard.check(extent(EntryId(6, 0), added=4, length=0))
    shard.check(extent(EntryId(9, 0), added=6, length=2))
    shard.check(extent(EntryId(9, 0), length=2))  # before 7.0 nothing is counted
    assert shard.complete
    not_there = FollowedShard(extent(), Bounds())
    not_there.check(extent())
    not_there.check(extent(EntryId(1, 0), added=1, length=1))


@pytest.mark.parametrize(
    "now",
    [
        extent(),
        extent(EntryId(5, 9), added=9, length=9),
        extent(EntryId(9, 0), added=4, length=4),
        extent(EntryId(9, 0), added=5, length=5),
        extent(EntryId(9, 0), added=8, length=8, first=EntryId(7, 0)),
    ],
)
def test_a_stream_that_is_gone_or_has_less_than_was_read_is_another(now: Extent) -> None:
    shard = FollowedShard(extent(EntryId(5, 0), added=3, length=3), Bounds())
    shard.take(page("6-0", "6-1"))
    with pytest.raises(StreamReset, match="'s'"):
        shard.check(now)


@pytest.mark.parametrize(
    ("now", "complete"),
    [
        (extent(EntryId(9, 0), added=9, length=6), True),
        (extent(EntryId(9, 0), added=9, length=5), False),
        (extent(EntryId(5, 0), added=3, length=0), True),
    ],
)
def test_entries_that_were_trimmed_unread_are_noticed_when_it_is_certain(
    now: Extent, complete: bool
) -> None:
    shard = FollowedShard(extent(EntryId(5, 0), added=3, length=3), Bounds())
    shard.check(now)
    assert shard.complete is complete


@pytest.mark.parametrize(
    ("upper", "until_ns"),
    [
        ((), None),
        ((Instant(9 * MS),), 9 * MS),
        ((Instant(9 * MS), EntryId(8, 0)), 8 * MS),
        ((EntryId(8, 3),), 9 * MS),
        ((Instant(9 * MS), Edge.LATEST), 0),
        ((Edge.EARLIEST,), 0),
    ],
)
def test_the_clock_is_past_the_range_when_it_stamps_nothing_in_it(
    upper: tuple[Any, ...], until_ns: int | None
) -> None:
    assert Bounds(upper=upper).until_ns(MS) == until_ns
