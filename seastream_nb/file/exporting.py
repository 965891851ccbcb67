"""`to_ss`: a pinned stream into one `.ss` file, which appears when it is whole."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from seastream_nb import checks
from seastream_nb.checks import named
from seastream_nb.errors import StreamError
from seastream_nb.export.manifest import ExportedFile, Manifest, PinnedEnd, Place, question
from seastream_nb.export.report import ExportReport
from seastream_nb.export.resuming import Left, going_on
from seastream_nb.export.target import in_thread
from seastream_nb.file import bulk
from seastream_nb.file.blocks import FileBlocks
from seastream_nb.file.format import INTERNAL_KEY
from seastream_nb.file.frames import Frames
from seastream_nb.file.holding import columns_of, holdable
from seastream_nb.file.numbering import id_of
from seastream_nb.file.part import Part, require_free
from seastream_nb.guard import expected_entries
from seastream_nb.keys import EntryId
from seastream_nb.progress import Progress
from seastream_nb.query import Pinned
from seastream_nb.reading import Reading
from seastream_nb.rows import Rows
from seastream_nb.stream import StreamCore

# How much a crash may cost that `resume` has to write again.
PIECE_SECONDS = 1.0
# From here on the compiled way is worth the time that it takes to load.
MANY = 500_000


async def to_ss(  # noqa: D417 - the first one is the facade's self
    stream: StreamCore,
    path: str | Path,
    *,
    overwrite: bool = False,
    resume: bool = False,
    progress: bool | None = None,
) -> ExportReport:
    """The messages as one `.ss` file, as SeaStreamer reads it; there when it is whole.

    Keys, shards, sequence numbers, times and payload bytes stay as they are, in time order;
    payloads are decoded only for `where`. Memory holds a few pages. Beacons stand every
    `beacon_interval` of the connection; an end mark with `end_with_eos`.

    Args:
        path: the file; the last part of it becomes the name in its header.
        overwrite: replace a file that is there, when the new one is whole.
        resume: go on with the `.part` file where a stopped run left it, up to the ends that were
            pinned then, and leave it when stopped. A file that is there already is only reported.
        progress: whether to show a bar; left out, where somebody watches.

    Raises:
        ExportExists: there is something; it is left as it is.
        StreamKeyError: SeaStreamer forbids the key; nothing is written.
        ConfigError: naming an entry whose id SeaStreamer's sequence number cannot hold, such as
            those in nanoseconds; or the export to go on with is another one; or `fields()`.
        StreamReset: the stream was deleted or made anew since the export began.
        DecodeError, FileError: naming the entry, or the file.
    """
    target = Path(path)
    named("overwrite", overwrite, checks.flag)
    named("resume", resume, checks.flag)
    report = await in_thread(partial(_there, target, overwrite=overwrite, resume=resume))
    if report is not None:
        return report
    now = await stream.pinned()
    core = stream.on(holdable(stream.query, now))
    opening = partial(Part, target, stream.source.options, overwrite=overwrite, resume=resume)
    part = await in_thread(opening, Part.stop)
    writing = _Writing(core, part, now)
    try:
        return await writing.run(progress)
    except BaseException:
        await in_thread(writing.stop)
        raise


def _there(path: Path, *, overwrite: bool, resume: bool) -> ExportReport | None:
    """The report of a finished export that is there, where it is to be continued."""
    if resume and not overwrite and path.is_file():
        return report_of(path)
    require_free(path, overwrite=overwrite, resumable=True)
    return None


class _Writing:
    """One run of an export."""

    def __init__(self, stream: StreamCore, part: Part, now: Pinned) -> None:
        self._stream = stream
        self._part = part
        self._now = now
        self._manifest: Manifest | None = None
        self._place = Place()
        # What was written since the last piece, and up to where.
        self._rows = self._size = 0
        self._first = ""
        self._due = 0.0

    async def run(self, progress: bool | None) -> ExportReport:
        manifest = await in_thread(self._part.manifest) or self._begun()
        manifest.require(question(self._stream.query), None)
        if manifest.lost(self._now):
            manifest = replace(manifest, complete=False)
        reading, left = going_on(self._stream, manifest, self._now)
        # What is there already is read once more, too.
        if manifest.rows + sum(map(expected_entries, reading.plan.ranges)) >= MANY:
            await in_thread(bulk.load)
        await in_thread(partial(self._part.begin, manifest))
        self._manifest, self._place = manifest, manifest.place.copy()
        await self._write(reading, left, progress)
        manifest = await in_thread(partial(self._piece, complete=reading.complete))
        size = await in_thread(self._part.finish)
        complete = manifest.complete and reading.complete
        report = ExportReport.of(self._part.path, manifest.files, complete=complete)
        return replace(report, bytes=size)

    def stop(self) -> None:
        """Leave what can be continued, or nothing."""
        try:
            if self._manifest is not None:
                with suppress(StreamError):  # what failed first is told
                    self._piece()
        finally:
            self._part.stop()

    def _begun(self) -> Manifest:
        return Manifest(
            asked=question(self._stream.query),
            partition_by=None,
            now_ns=self._now.now_ns,
            ends=tuple(map(PinnedEnd.of, self._now.extents)),
            schema=pa.schema([]),
        )

    async def _write(self, reading: Reading, left: Left, progress: bool | None) -> None:
        self._due = _now() + PIECE_SECONDS
        async with aclosing(reading.shaped(self._stream.shaper())) as parts:
            with Progress(reading, progress):
                async for rows, _ in parts:
                    new = left(rows)
                    rows = rows if len(new) == len(rows) else rows.take(new)
                    if len(rows):
                        await self._add(rows, complete=reading.complete)

    async def _add(self, rows: Rows, *, complete: bool) -> None:
        await in_thread(lambda: self._part.writer.write_columns(columns_of(rows)))
        # What an interrupt comes amid is not counted, and cut off by the run that goes on.
        self._place.pass_over(rows)
        self._first = self._first or str(rows.entry_id(0))
        self._rows += len(rows)
        self._size = self._part.writer.size
        if _now() >= self._due:
            await in_thread(partial(self._piece, complete=complete))
            self._due = _now() + PIECE_SECONDS

    def _piece(self, *, complete: bool = True) -> Manifest:
        """Note how far it has come."""
        assert self._manifest is not None
        if self._rows:
            before = sum(each.bytes for each in self._manifest.files)
            piece = ExportedFile(
                path=self._part.path.name,
                rows=self._rows,
                bytes=self._size - before,
                first_id=self._first,
                last_id=str(self._place.last),
            )
            place = self._place.copy()
            self._manifest = self._manifest.with_file(piece, place, complete=complete)
            self._rows, self._first = 0, ""
            self._part.add(self._manifest)
        return self._manifest


def report_of(path: Path) -> ExportReport:
    """The report of a file that is there.

    Raises:
        FileFormatError: it is no `.ss` file, or damaged.
        FileError: it cannot be read.
    """
    blocks = FileBlocks(path)
    size, count = blocks.size(), 0
    first: EntryId | None = None
    last: EntryId | None = None
    torn = False
    for number in range(blocks.count(size)):
        frames = blocks.block(number, size)
        torn = torn or frames.torn is not None
        marks = [frames.rows(pair) for pair in frames.pairs if pair[0] == INTERNAL_KEY]
        rows = np.setdiff1d(np.arange(len(frames)), np.concatenate(marks) if marks else [])
        if not len(rows):
            continue
        count += len(rows)
        first = first or _id_in(frames, int(rows[0]))
        last = _id_in(frames, int(rows[-1]))
    return ExportReport(
        path=path,
        messages=count,
        bytes=size,
        first_id=None if first is None else str(first),
        last_id=None if last is None else str(last),
        complete=not torn,
    )


def _id_in(frames: Frames, row: int) -> EntryId:
    return id_of(int(frames.numbers[1, row]), int(frames.numbers[2, row]))


def _now() -> float:
    return asyncio.get_running_loop().time()
