"""`record`: a stream that is followed into an `.ss` file, which others may read as it grows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from math import inf
from pathlib import Path

import pyarrow as pa

from seastream_nb import checks
from seastream_nb.checks import named, or_none
from seastream_nb.errors import ConfigError
from seastream_nb.export.report import ExportReport
from seastream_nb.export.target import in_thread, told
from seastream_nb.file import bulk
from seastream_nb.file.exporting import MANY
from seastream_nb.file.handle import Handle
from seastream_nb.file.holding import COLUMNS, columns_of_batch, holdable
from seastream_nb.file.part import require_free
from seastream_nb.file.writer import FileWriter
from seastream_nb.following import Following
from seastream_nb.options import ConnectOptions
from seastream_nb.quantities import NS_PER_SECOND, Duration, parse_duration
from seastream_nb.stream import StreamCore


async def record(  # noqa: D417 - the first one is the facade's self
    stream: StreamCore,
    path: str | Path,
    *,
    duration: Duration | None = None,
    messages: int | None = None,
    overwrite: bool = False,
) -> ExportReport:
    """Follow the stream into an `.ss` file: the past of the range, then what comes.

    It ends at `until` and after `first(n)` as `follow` does, after `duration`, or after so many
    messages; else when it is interrupted. However it ends, what came is in the file, which is
    whole. It has its name from the start, and what comes is in it at once, so that others can read
    along; only one may write.

    Args:
        path: the file; the last part of it becomes the name in its header.
        duration: how long, from the call on, also while it reads the past; `since("latest")`
            leaves that out.
        messages: how many messages at most.
        overwrite: begin anew in place of a file that is there; what was in it is lost at once.

    Raises:
        ExportExists: there is something; it is left as it is.
        StreamKeyError: SeaStreamer forbids the key; nothing is written.
        ConfigError: naming an entry whose id SeaStreamer's sequence number cannot hold; or a
            snapshot, which has an end; or `fields()`.
        StreamReset, ConnectError, DecodeError: as `follow`; what came before is in the file.
        FileError: it cannot be written, or another writer has it.
    """
    target = Path(path)
    seconds = inf if duration is None else parse_duration(duration) / NS_PER_SECOND
    most = named("messages", messages, or_none(checks.number_from(1)))
    named("overwrite", overwrite, checks.flag)
    if stream.query.pinned is not None:
        raise ConfigError("a snapshot has an end: write it with to_ss(), or record without it")
    deadline = asyncio.get_running_loop().time() + seconds
    source = stream.source
    pinned = await source.pin(stream.query.keys)
    query = holdable(stream.query, pinned).select(*COLUMNS)
    following = Following(source, query, pinned, None, 0.0)
    opening = partial(_opened, target, source.options, overwrite=overwrite)
    if sum(each.length for each in pinned.extents) >= MANY:
        await in_thread(bulk.load)
    writer = await in_thread(opening, FileWriter.close)
    recording = _Recording(writer, most)
    try:
        async with aclosing(following.batches()) as batches:
            await recording.run(batches, deadline)
    finally:
        size = await in_thread(partial(_ended, writer, eos=source.options.end_with_eos))
    return ExportReport(
        path=target,
        messages=recording.messages,
        bytes=size,
        first_id=recording.first_id,
        last_id=recording.last_id,
        complete=following.complete,
    )


class _Recording:
    """What is written, and how much of it."""

    def __init__(self, writer: FileWriter, most: int | None) -> None:
        self.messages = 0
        self.first_id: str | None = None
        self.last_id: str | None = None
        self._writer = writer
        self._most = most

    async def run(self, batches: AsyncGenerator[pa.RecordBatch, None], deadline: float) -> None:
        """Write until there is nothing more, enough, or no more time."""
        when = None if deadline == inf else deadline
        while self._most is None or self.messages < self._most:
            try:
                async with asyncio.timeout_at(when) as time:
                    batch = await anext(batches, None)
            except TimeoutError:
                if time.expired():
                    return
                raise
            if batch is None:
                return
            await in_thread(partial(self._write, batch))

    def _write(self, batch: pa.RecordBatch) -> None:
        if self._most is not None:
            batch = batch.slice(0, self._most - self.messages)
        if not len(batch):
            return
        self._writer.write_columns(columns_of_batch(batch))
        self.messages += len(batch)
        self.first_id = self.first_id or batch["id"][0].as_py()
        self.last_id = batch["id"][-1].as_py()


def _opened(path: Path, options: ConnectOptions, *, overwrite: bool) -> FileWriter:
    require_free(path, overwrite=overwrite)
    if path.exists():
        # Whoever writes to it, or reads along, must not find another one's messages in it.
        held = Handle(path)
        try:
            with told(path):
                path.unlink()
        finally:
            held.close()
    return FileWriter(
        path,
        create="exclusive",
        beacon_interval=options.beacon_interval,
        file_size_limit=options.file_size_limit,
    )


def _ended(writer: FileWriter, *, eos: bool) -> int:
    writer.end(eos=eos)
    return writer.size
