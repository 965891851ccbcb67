"""`to_parquet`: a pinned stream into one file, or into a folder of files that can be continued."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyarrow as pa

from seastream_nb import checks
from seastream_nb.checks import named, one_of, or_none
from seastream_nb.errors import ConfigError, FileError
from seastream_nb.export.folder import Folder, read_manifest, require_ours
from seastream_nb.export.manifest import ExportedFile, Manifest, PinnedEnd, Place, question
from seastream_nb.export.parquet import COMPRESSIONS, Files, ParquetFile, Partition
from seastream_nb.export.report import ExportReport
from seastream_nb.export.resuming import Left, going_on
from seastream_nb.export.target import exists, in_thread
from seastream_nb.frame import Shaper
from seastream_nb.progress import Progress
from seastream_nb.query import Pinned
from seastream_nb.reading import Reading
from seastream_nb.stream import StreamCore

SUFFIX = ".parquet"


async def to_parquet(  # noqa: D417 - the first one is the facade's self
    stream: StreamCore,
    path: str | Path,
    *,
    partition_by: Partition | None = None,
    rows_per_file: int = 5_000_000,
    compression: str = "zstd",
    overwrite: bool = False,
    resume: bool = False,
    progress: bool | None = None,
) -> ExportReport:
    """The messages as Parquet: one file for a name in `.parquet`, else a folder of files.

    Nothing is seen under `path` before everything is there. A folder has a manifest with the
    pinned ends; it is `path` with `.part` until it is whole. The columns are those of
    `schema()`, and memory holds a row group. For polars a folder is `"folder/**/*.parquet"`,
    since it reads a folder only where every file is one of the data.

    Args:
        path: the file or folder.
        partition_by: folders `day=2026-11-22` or `hour=2026-11-22T09` inside, on the clock of
            the stream's time zone.
        rows_per_file: in a folder, rows of a file at most.
        compression: "zstd", "snappy", "gzip", "brotli", "lz4" or "none".
        overwrite: replace an export that is there.
        resume: go on with a folder where a stopped run left it, and leave it when stopped.
            What is there already is only reported.
        progress: whether to show a bar; left out, where somebody watches.

    Raises:
        ExportExists: there is something; it is left as it is.
        ConfigError: the export to go on with is another one, or a bad argument.
        StreamReset: the stream was deleted or made anew since the export began.
        DecodeError, FileError: naming the entry, or the file.
    """
    named("partition_by", partition_by, or_none(one_of("hour", "day")))
    rows_per_file = named("rows_per_file", rows_per_file, checks.number_from(1))
    named("compression", compression, one_of(*COMPRESSIONS))
    export = _Export(stream, Path(path), compression, overwrite=overwrite, resume=resume)
    if partition_by is None and export.path.suffix == SUFFIX:
        return await export.to_file(progress)
    return await export.to_folder(partition_by, rows_per_file, progress)


class _Export:
    """One run of an export."""

    def __init__(
        self, stream: StreamCore, path: Path, compression: str, *, overwrite: bool, resume: bool
    ) -> None:
        self.path = path
        self._stream = stream
        self._compression = compression
        self._overwrite = named("overwrite", overwrite, checks.flag)
        self._resume = named("resume", resume, checks.flag)
        self._asked = question(stream.query)

    # One file.

    async def to_file(self, progress: bool | None) -> ExportReport:
        if self.path.exists():
            if self._resume and not self._overwrite:
                return await in_thread(partial(_report_of, self.path))
            if not self._overwrite:
                raise exists(self.path, replaceable=self.path.is_file(), resumable=True)
        done: list[ExportedFile] = []

        async def finished(file: ExportedFile, _: Place) -> None:
            done.append(file)

        pinned = await self._stream.pinned()
        shaper = await self._stream.fixed_shaper(pinned)
        schema = shaper.schema()
        reading = Reading(self._stream.source, self._stream.query, pinned)
        files = Files(shaper, reading, lambda _: self._file(self.path, schema), finished)
        await _run(reading, shaper, files, None, progress)
        return ExportReport.of(self.path, done, complete=reading.complete)

    def _file(self, path: Path, schema: pa.Schema, *, inside: bool = False) -> ParquetFile:
        # Inside a folder of ours there may be what a crash left.
        overwrite = inside or self._overwrite
        return ParquetFile(path, schema, self._compression, overwrite=overwrite)

    # A folder of files.

    async def to_folder(
        self, by: Partition | None, rows_per_file: int, progress: bool | None
    ) -> ExportReport:
        report = await in_thread(partial(self._there_already, by))
        if report is not None:
            return report
        folder = await in_thread(self._folder, self._leave)
        try:
            done = await self._fill(folder, by, rows_per_file, progress)
            await in_thread(partial(folder.finish, overwrite=self._overwrite))
        except BaseException:
            await in_thread(partial(self._leave, folder))
            raise
        folder.close()
        return ExportReport.of(self.path, done.files, complete=done.complete)

    def _folder(self) -> Folder:
        return Folder(self.path, overwrite=self._overwrite, resume=self._resume)

    def _leave(self, folder: Folder) -> None:
        if not self._resume:
            folder.discard()
        folder.close()

    def _there_already(self, by: Partition | None) -> ExportReport | None:
        """The report of a finished export that is there, where it is to be continued."""
        if not self.path.exists():
            return None
        manifest = read_manifest(self.path) if self.path.is_dir() else None
        finished = manifest is not None and manifest.finished
        if manifest is not None and finished and self._resume and not self._overwrite:
            manifest.require(self._asked, by)
            return ExportReport.of(self.path, manifest.files, complete=manifest.complete)
        if not self._overwrite:
            ours = manifest is not None
            raise exists(self.path, replaceable=ours, resumable=finished and not self._resume)
        require_ours(self.path)
        return None

    async def _fill(
        self, folder: Folder, by: Partition | None, rows_per_file: int, progress: bool | None
    ) -> Manifest:
        now = await self._stream.pinned()
        manifest = await in_thread(folder.manifest)
        await in_thread(partial(folder.tidy, manifest))
        if manifest is None:
            shaper = await self._stream.fixed_shaper(now)
            manifest = self._begun(by, now, shaper)
        manifest.require(self._asked, by)
        if manifest.lost(now):
            manifest = replace(manifest, complete=False)
        # A crash may have left a piece of a line.
        await in_thread(partial(folder.save, manifest))
        shaper = self._stream.shaper(fixed=manifest.schema)
        reading, left = going_on(self._stream, manifest, now)
        filling = _Filling(folder, manifest, reading, partial(self._file, inside=True))
        schema = shaper.schema()
        files = Files(
            shaper,
            reading,
            lambda label: filling.create(label, schema),
            filling.finished,
            partition_by=by,
            most_rows=rows_per_file,
            place=manifest.place.copy(),
        )
        await _run(reading, shaper, files, left, progress)
        return await filling.close()

    def _begun(self, by: Partition | None, now: Pinned, shaper: Shaper) -> Manifest:
        return Manifest(
            asked=self._asked,
            partition_by=by,
            now_ns=now.now_ns,
            ends=tuple(map(PinnedEnd.of, now.extents)),
            schema=shaper.fixed,
        )


class _Filling:
    """A folder that is filled: each file that is whole goes into the manifest."""

    def __init__(
        self,
        folder: Folder,
        manifest: Manifest,
        reading: Reading,
        file: Callable[[Path, pa.Schema], ParquetFile],
    ) -> None:
        self._folder = folder
        self._manifest = manifest
        self._reading = reading
        self._file = file

    def create(self, label: str | None, schema: pa.Schema) -> ParquetFile:
        parent = self._folder.part / (label or "")
        parent.mkdir(exist_ok=True)
        return self._file(parent / f"part-{len(self._manifest.files):05}{SUFFIX}", schema)

    async def finished(self, file: ExportedFile, place: Place) -> None:
        inside = replace(file, path=str(Path(file.path).relative_to(self._folder.part)))
        complete = self._reading.complete
        self._manifest = self._manifest.with_file(inside, place, complete=complete)
        await in_thread(partial(self._folder.add, self._manifest))

    async def close(self) -> Manifest:
        complete = self._manifest.complete and self._reading.complete
        self._manifest = replace(self._manifest, finished=True, complete=complete)
        await in_thread(partial(self._folder.save, self._manifest))
        return self._manifest


async def _run(
    reading: Reading, shaper: Shaper, files: Files, left: Left | None, progress: bool | None
) -> None:
    """Read everything into files; `left` says what an earlier run did not write."""
    try:
        async with aclosing(reading.shaped(shaper)) as parts:
            with Progress(reading, progress):
                async for rows, decoded in parts:
                    new = None if left is None else left(rows)
                    if new is not None and len(new) < len(rows):
                        rows, decoded = rows.take(new), decoded.take(pa.array(new))
                    if len(rows):
                        await files.add(rows, decoded)
        if files.place.last is None:
            await files.finish_empty()
        await files.finish()
    except BaseException:
        await files.discard()
        raise


def _report_of(path: Path) -> ExportReport:
    """The report of a file that is there.

    Raises:
        ConfigError: it is none of ours.
    """
    import pyarrow.parquet as pq

    try:
        facts = pq.read_metadata(path).metadata or {}
        rows = int(facts[b"seastream_rows"])
    except (pa.ArrowInvalid, OSError) as error:
        raise FileError(f"{path} cannot be read: {error}") from error
    except KeyError:
        raise ConfigError(
            f"{path} is no export: choose another name, or give overwrite=True to replace it"
        ) from None
    return ExportReport(
        path=path,
        messages=rows,
        bytes=path.stat().st_size,
        first_id=facts[b"seastream_first_id"].decode() or None,
        last_id=facts[b"seastream_last_id"].decode() or None,
        complete=facts[b"seastream_complete"] == b"true",
    )
