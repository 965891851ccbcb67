"""Manifests: how far an export has come, on values alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from seastream_nb.errors import ConfigError, StreamReset
from seastream_nb.export.manifest import ExportedFile, Manifest, PinnedEnd, Place, question
from seastream_nb.keys import EntryId
from seastream_nb.message import Origin
from seastream_nb.query import Extent, Pinned, Query
from seastream_nb.rows import Rows

NAME = b"s\xff:1"
ORIGINS = (Origin("s", 1, NAME), Origin("t", 0, b"t"))
EXTENTS = [
    Extent(origin=origin, length=9, first=EntryId(1, 0), last=EntryId(9, 0), end=EntryId(9, 0))
    for origin in ORIGINS
]
FILES = tuple(
    ExportedFile(path=f"part-{number}", rows=3, bytes=70, first_id="1-0", last_id="3-0")
    for number in range(3)
)
MANIFEST = Manifest(
    asked="x",
    partition_by="day",
    now_ns=5,
    ends=tuple(map(PinnedEnd.of, EXTENTS)),
    schema=pa.schema([("n", pa.int64()), ("_extra", pa.string())]),
)
BEHIND = replace(MANIFEST, files=FILES, place=Place(EntryId(3, 0), Counter({NAME: 2})))


def rows(*places: tuple[int, int]) -> Rows:
    """Rows by (milliseconds, which origin)."""
    return Rows(
        origins=ORIGINS,
        origin=np.array([origin for _, origin in places], np.int32),
        ms=np.array([ms for ms, _ in places], np.uint64),
        sub=np.zeros(len(places), np.uint64),
    )


@pytest.mark.parametrize("manifest", [MANIFEST, BEHIND, replace(BEHIND, finished=True)])
def test_it_is_read_as_it_was_written(manifest: Manifest) -> None:
    assert Manifest.decode(manifest.encode()) == manifest


def test_a_line_for_each_file_is_enough() -> None:
    text = MANIFEST.encode()
    manifest = MANIFEST
    for number, file in enumerate(FILES):
        manifest = manifest.with_file(file, Place(EntryId(number, 0)), complete=number != 1)
        text += manifest.last_line()
        assert Manifest.decode(text) == manifest
    assert not manifest.complete


def test_a_line_that_was_cut_off_is_none() -> None:
    text = BEHIND.encode()
    whole = text.rindex("\n", 0, -1) + 1
    for stop in range(whole, len(text)):
        assert Manifest.decode(text[:stop]).files == FILES[:2]


@pytest.mark.parametrize("text", ["", "x\n", "{}\n", '{"format": 99}\n', "[]\n", "7\n"])
def test_what_is_none_says_so(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Manifest.decode(text)


def test_rows_of_the_last_id_are_counted_by_key() -> None:
    place = Place()
    place.pass_over(rows((1, 0), (3, 0), (3, 0)))
    assert (place.last, place.given) == (EntryId(3, 0), {NAME: 2})
    place.pass_over(rows((3, 1)))
    assert place.given == {NAME: 2, b"t": 1}
    kept = place.copy()
    assert place.left_of(rows((3, 0), (3, 0), (3, 0), (3, 1), (4, 0))).tolist() == [2, 4]
    assert place.left_of(rows((3, 0), (5, 0))).tolist() == [0, 1]
    assert kept.given == {NAME: 2, b"t": 1}


def test_it_goes_on_to_the_ends_that_were_pinned() -> None:
    later = [replace(each, last=EntryId(20, 0), end=EntryId(20, 0)) for each in EXTENTS]
    new = Extent(origin=Origin("u", 0, b"u"), end=EntryId(7, 0))
    pinned = MANIFEST.pinned(Pinned(extents=(new, *reversed(later)), now_ns=99))
    assert pinned == Pinned(extents=tuple(EXTENTS), now_ns=5)


@pytest.mark.parametrize("end", [None, EntryId(8, 0)])
def test_another_stream_of_the_name_is_refused(end: EntryId | None) -> None:
    now = Pinned(extents=(EXTENTS[0], replace(EXTENTS[1], end=end)), now_ns=9)
    with pytest.raises(StreamReset, match="'t'"):
        MANIFEST.pinned(now)
    with pytest.raises(StreamReset):
        MANIFEST.pinned(Pinned(extents=(EXTENTS[0],), now_ns=9))


@pytest.mark.parametrize(
    ("first", "lost"), [(1, False), (2, False), (3, False), (4, True), (None, True)]
)
def test_what_was_trimmed_before_it_was_written_is_lost(first: int | None, *, lost: bool) -> None:
    left = None if first is None else EntryId(first, 0)
    now = Pinned(extents=(EXTENTS[0], replace(EXTENTS[1], first=left)), now_ns=9)
    assert BEHIND.lost(now) == lost
    done = replace(BEHIND, place=Place(EntryId(9, 0)))
    assert not done.lost(now)


def test_only_the_same_question_goes_on() -> None:
    query = Query(keys=(b"s",))
    asked = question(query)
    assert asked == question(query.pin(Pinned(extents=(), now_ns=1)))
    assert asked != question(query.since("earliest"))
    MANIFEST.require("x", "day")
    for other in (("y", "day"), ("x", None)):
        with pytest.raises(ConfigError, match="overwrite=True"):
            MANIFEST.require(*other)
