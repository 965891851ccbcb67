"""Going on with an export: by the last id where ids grow, else by the number of rows."""

from __future__ import annotations

from collections import Counter
from contextlib import aclosing
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

import seastream_nb as ss
from seastream_nb import portal
from seastream_nb.export.manifest import ExportedFile, Manifest, PinnedEnd, Place, question
from seastream_nb.export.resuming import going_on
from seastream_nb.keys import EntryId
from seastream_nb.query import Extent
from tests.test_replay import FIRST_MS, fill

if TYPE_CHECKING:
    import redis

    from seastream_nb.stream import StreamCore


@dataclass(frozen=True, kw_only=True)
class Unordered(Extent):
    """A shard whose ids need not grow in stored order."""

    ordered: bool = False


async def left(core: StreamCore, ordered: bool) -> tuple[int, list[bytes]]:
    """How many rows are read after three were written, and the payloads that are left."""
    now = await core.pinned()
    if not ordered:
        extents = (
            Unordered(**{each.name: getattr(extent, each.name) for each in fields(Extent)})
            for extent in now.extents
        )
        now = replace(now, extents=tuple(extents))
    place = Place(EntryId(FIRST_MS + 1, 0), Counter({b"s:0": 1}))
    done = ExportedFile(path="x", rows=3, bytes=0, first_id="", last_id="")
    manifest = Manifest(
        asked=question(core.query),
        partition_by=None,
        now_ns=now.now_ns,
        ends=tuple(map(PinnedEnd.of, now.extents)),
        schema=pa.schema([]),
    ).with_file(done, place, complete=True)
    reading, of = going_on(core, manifest, now)
    found: list[bytes] = []
    async with aclosing(reading.shaped(core.shaper())) as parts:
        async for rows, _ in parts:
            found += rows.take(of(rows)).payload.to_pylist()
    return reading.rows, found


@pytest.mark.parametrize(("ordered", "read"), [(True, 4), (False, 6)])
@pytest.mark.parametrize("cut", ["first", "last"])
def test_rows_that_were_written_are_left_out(
    streamer: ss.Streamer, client: redis.Redis, cut: str, ordered: bool, read: int
) -> None:
    # In time order 0 0 1 1 2 2; both 0s and the first 1 were written.
    for shard in (0, 1):
        fill(client, f"s:{shard}", [0, 1, 2])
    stream = getattr(streamer["s"], cut)(6)
    assert portal.run(left(stream._core, ordered)) == (read, [b"1", b"2", b"2"])
