"""Holding what came from several streams until its order is known, on pages alone."""

from __future__ import annotations

from hypothesis import given, strategies as st

from seastream_nb.holding import Holding
from seastream_nb.message import Origin
from seastream_nb.page import ListPage, Page


def page(stream: int, *stamps: int) -> Page:
    origin = Origin(f"s{stream}", 0, b"s%d" % stream)
    return ListPage(origin, [[b"%d-0" % at, [b"msg", b"%d" % at]] for at in stamps])


def stamps(pages: list[Page]) -> list[int]:
    return sorted(int(at) for each in pages for at in each.ms)


def test_what_is_not_later_than_the_earliest_end_need_not_wait() -> None:
    holding = Holding(2, None)
    holding.put(0, [page(0, 1, 3, 5, 9)])
    assert holding.release(0) == []
    assert holding.wanted == [1]
    holding.put(1, [page(1, 2, 5)])
    assert stamps(holding.release(0)) == [1, 2, 3, 5, 5]
    assert holding.wanted == [1]
    holding.put(1, [page(1, 10)])
    assert stamps(holding.release(0)) == [9]
    assert holding.wanted == [0]


def test_who_waits_waits_as_long_as_it_takes() -> None:
    holding = Holding(2, None)
    holding.put(0, [page(0, 1)])
    assert [holding.release(now) for now in (0, 1e9)] == [[], []]
    assert holding.wanted == [1]
    assert holding


def test_patience_ends_once_and_begins_again_with_the_next_word() -> None:
    holding = Holding(3, 2.0)
    holding.put(0, [page(0, 1)])
    assert holding.release(10.0) == []
    assert holding.due == 12.0
    assert holding.release(11.9) == []
    assert stamps(holding.release(12.0)) == [1]
    holding.put(0, [page(0, 2)])
    assert stamps(holding.release(12.1)) == [2]
    holding.put(1, [page(1, 0, 7)])
    assert stamps(holding.release(12.2)) == []
    holding.put(0, [page(0, 8)])
    assert stamps(holding.release(12.3)) == [0, 7]
    assert holding.release(12.3) == []
    assert stamps(holding.release(14.3)) == [8]


def test_nobody_waits_for_a_stream_that_has_ended() -> None:
    holding = Holding(2, None)
    holding.put(0, [page(0, 1, 3)])
    holding.put(1, [page(1, 2)])
    holding.end(1)
    assert stamps(holding.release(0)) == [1, 2, 3]
    holding.put(0, [page(0, 4)])
    holding.end(0)
    assert stamps(holding.release(0)) == [4]
    assert not holding


@given(
    streams=st.lists(
        st.lists(st.lists(st.integers(0, 50), min_size=1, max_size=5), max_size=6),
        min_size=1,
        max_size=4,
    )
)
def test_any_replies_come_out_in_order_and_whole(streams: list[list[list[int]]]) -> None:
    queues = []
    for replies in streams:
        flat = sorted({at for reply in replies for at in reply})
        queues.append([flat[at : at + 3] for at in range(0, len(flat), 3)])
    expected = sorted(at for queue in queues for reply in queue for at in reply)
    holding = Holding(len(queues), None)
    seen: list[int] = []
    for _ in range(200):
        for stream in holding.wanted:
            if queues[stream]:
                holding.put(stream, [page(stream, *queues[stream].pop(0))])
            else:
                holding.end(stream)
        seen += stamps(holding.release(0))
    assert seen == expected
