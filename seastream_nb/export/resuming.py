"""Going on with an export where another run left it: what is left to be read, and to be written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from seastream_nb.export.manifest import Manifest
from seastream_nb.page import Numbers
from seastream_nb.query import Extent, Pinned, Query
from seastream_nb.reading import Reading
from seastream_nb.rows import Rows
from seastream_nb.stream import StreamCore

# Which of the rows that are read next are not written yet; asked page after page.
Left = Callable[[Rows], Numbers]


def going_on(stream: StreamCore, manifest: Manifest, now: Pinned) -> tuple[Reading, Left]:
    """What is left to be read, and which rows of it were written already.

    Raises:
        StreamReset: the stream is another one than when the export began.
    """
    last = manifest.place.last
    if last is None or not all(map(_ordered, now.extents)):
        # Where times go back, nothing but the number of rows says how far it has come.
        reading = Reading(stream.source, stream.query, manifest.pinned(now))
        reading.quiet = manifest.rows > 0
        return reading, _Counted(manifest.rows).left_of
    reading = Reading(stream.source, _left(stream.query, manifest), manifest.pinned(now))
    reading.begin_at(last)
    reading.quiet = manifest.rows > 0
    return reading, manifest.place.copy().left_of


class _Counted:
    """So many rows are written."""

    def __init__(self, rows: int) -> None:
        self._rows = rows

    def left_of(self, rows: Rows) -> Numbers:
        passed = min(self._rows, len(rows))
        self._rows -= passed
        return np.arange(passed, len(rows))


def _ordered(extent: Extent) -> bool:
    """Whether ids grow in stored order: those of a server do, those of a file need not."""
    return bool(getattr(getattr(extent, "whole", extent), "ordered", True))


def _left(query: Query, manifest: Manifest) -> Query:
    """The query, with as many messages counted as there are to come."""
    again = manifest.place.given.total()  # rows of the last id, which are read once more
    if query.first is not None:
        return replace(query, first=query.first - manifest.rows + again)
    if query.last is not None:
        return replace(query, last=query.last - manifest.rows + again)
    return query
