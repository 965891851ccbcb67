"""Merging shards: the order of a sort, without one, and the exact reverse backwards."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, strategies as st

from seastream_nb.merging import merged, reversed_rows
from seastream_nb.message import Origin
from seastream_nb.rows import Rows

Place = tuple[int, int]


def rows_of(shard: int, places: Sequence[Place]) -> Rows:
    return Rows(
        origins=(Origin("s", shard, b"s:%d" % shard),),
        origin=np.zeros(len(places), np.int32),
        ms=np.array([ms for ms, _ in places], np.uint64),
        sub=np.array([sub for _, sub in places], np.uint64),
        payload=pa.array([b"%d" % number for number in range(len(places))], pa.binary()),
    )


async def source(rows: Rows, sizes: Sequence[int], *, reverse: bool) -> AsyncGenerator[Rows, None]:
    rows = reversed_rows(rows) if reverse else rows
    start = 0
    for size in [*sizes, len(rows)]:
        if start >= len(rows):
            return
        yield rows.slice(start, start + size)
        start += size


def flat(rows: Rows) -> list[tuple[int, int, int, bytes]]:
    assert rows.payload is not None
    shards = [rows.origin_of(row).shard for row in range(len(rows))]
    payloads = rows.payload.to_pylist()
    return list(zip(rows.ms.tolist(), rows.sub.tolist(), shards, payloads, strict=True))


places = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), max_size=25).map(sorted)
sizes = st.lists(st.integers(0, 6), max_size=8)


@pytest.mark.parametrize("reverse", [False, True])
@given(shards=st.lists(st.tuples(places, sizes), min_size=1, max_size=5))
async def test_any_shards_in_any_pages_come_in_order(
    shards: list[tuple[list[Place], list[int]]], reverse: bool
) -> None:
    everything = [rows_of(number, entries) for number, (entries, _) in enumerate(shards)]
    # Equal places in one shard are the occurrences of one entry, which a page never splits.
    whole = [
        [len(rows)] if len(set(e)) < len(e) else cut
        for rows, (e, cut) in zip(everything, shards, strict=True)
    ]
    sources = [source(r, cut, reverse=reverse) for r, cut in zip(everything, whole, strict=True)]
    seen = [row async for part in merged(sources, reverse=reverse) for row in flat(part)]
    expected = sorted((row for rows in everything for row in flat(rows)), key=lambda row: row[:3])
    assert seen == (expected[::-1] if reverse else expected)


async def test_a_broken_shard_ends_the_others() -> None:
    closed: list[int] = []

    async def good() -> AsyncGenerator[Rows, None]:
        try:
            for number in range(100):
                yield rows_of(0, [(number, 0)])
        finally:
            closed.append(0)

    async def bad() -> AsyncGenerator[Rows, None]:
        yield rows_of(1, [(5, 0)])
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        async for _ in merged([good(), bad()]):
            pass
    assert closed == [0]
