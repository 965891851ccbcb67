"""Commands on the streams of a server."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import seastream_nb as ss
from seastream_nb.asking import Asked, only_decoding, place
from seastream_nb.cli.options import (
    AsJson,
    Before,
    Count,
    EveryField,
    Exact,
    ExportFile,
    First,
    Follow,
    For,
    From,
    JsonPayload,
    Key,
    Keys,
    Last,
    Limit,
    MaxLen,
    Most,
    Overwrite,
    Pattern,
    RecordFile,
    ReferenceBounds,
    Resume,
    Shards,
    Since,
    Text,
    Until,
)
from seastream_nb.cli.output import (
    RowTables,
    cell,
    json_lines,
    note,
    print_bytes,
    print_json,
    print_table,
)
from seastream_nb.errors import ConfigError
from seastream_nb.keys import EntryId
from seastream_nb.message import NS_PER_MS
from seastream_nb.times import Edge, Fixed, When, parse_when

if TYPE_CHECKING:
    import pyarrow as pa

    from seastream_nb.export.report import ExportReport

# Rows of one table, and of one page that is read for it.
PAGE_ROWS = 1_000


def ls(pattern: Pattern = None, target: From = None, as_json: AsJson = False) -> None:
    """List the streams there are."""
    from seastream_nb.notebook.display import INFO_COLUMNS, info_row

    with connected(target) as streamer:
        infos = list(streamer.catalog(pattern).values())
    if as_json:
        for each in infos:
            print_json(asdict(each))
        return
    print_table(INFO_COLUMNS, [info_row(each) for each in infos])


def info(key: Key, target: From = None, as_json: AsJson = False) -> None:
    """Say what the server knows of one stream."""
    from seastream_nb.notebook.display import Column

    with connected(target) as streamer:
        found = asdict(streamer[key].info())
    if as_json:
        print_json(found)
    else:
        facts = [(name, cell(value)) for name, value in found.items()]
        print_table((Column("fact"), Column("value")), facts, head=False)


def read(
    key: Key,
    since: Since = None,
    until: Until = None,
    last: Last = None,
    first: First = None,
    shard: Shards = None,
    json_payload: JsonPayload = False,
    text: Text = False,
    every_field: EveryField = False,
    limit: Limit = None,
    target: From = None,
    as_json: AsJson = False,
) -> None:
    """Print the messages of a range, in time order."""
    with connected(target) as streamer:
        asked = Asked(
            shards=shard or (),
            since=since,
            until=until,
            decoding=_decoding(json_payload, text, every_field),
            last=last,
            first=first,
        )
        print_rows(_limited(asked.of(streamer[key]).pages(PAGE_ROWS), limit), as_json)


def tail(
    key: Key,
    count: Count = 10,
    follow: Follow = False,
    json_payload: JsonPayload = False,
    text: Text = False,
    every_field: EveryField = False,
    target: From = None,
    as_json: AsJson = False,
) -> None:
    """Print the last messages of a stream, and with --follow those that come."""
    with connected(target) as streamer:
        decoding = _decoding(json_payload, text, every_field)
        stream = Asked(decoding=decoding, last=str(count)).of(streamer[key])
        pages = stream.follow(page_size=PAGE_ROWS) if follow else stream.pages(PAGE_ROWS)
        print_rows(pages, as_json)


def dump(
    keys: Keys,
    file: ExportFile,
    since: Since = None,
    until: Until = None,
    last: Last = None,
    shard: Shards = None,
    reference_bounds: ReferenceBounds = False,
    overwrite: Overwrite = False,
    resume: Resume = False,
    target: From = None,
    as_json: AsJson = False,
) -> None:
    """Write a range of streams to an .ss file, lossless, up to what there is now.

    The file appears when it is whole. A bar on stderr, in a terminal, says how far it is.
    """
    with connected(target) as streamer:
        begin, end = (_reference(since), _reference(until)) if reference_bounds else (since, until)
        asked = Asked(shards=shard or (), since=begin, until=end, last=last)
        stream = asked.of(streamer.stream(*keys))
        if file == Path("-"):
            _piped(stream)
        else:
            _show_report(stream.to_ss(file, overwrite=overwrite, resume=resume), as_json)


def record(
    keys: Keys,
    file: RecordFile,
    duration: For = None,
    count: Most = None,
    since: Since = None,
    until: Until = None,
    last: Last = None,
    shard: Shards = None,
    overwrite: Overwrite = False,
    target: From = None,
    as_json: AsJson = False,
) -> None:
    """Follow streams into an .ss file, until Ctrl-C: the past first, then what comes.

    What comes is in the file at once, which is whole however this ends. --since latest leaves out
    the past.
    """
    with connected(target) as streamer:
        asked = Asked(shards=shard or (), since=since, until=until, last=last)
        stream = asked.of(streamer.stream(*keys))
        try:
            report = stream.record(file, duration=duration, messages=count, overwrite=overwrite)
        except KeyboardInterrupt:
            note(f"interrupted: {file} has what came")
            raise
        _show_report(report, as_json)


def trim(
    key: Key,
    max_len: MaxLen = None,
    before: Before = None,
    exact: Exact = False,
    target: From = None,
    as_json: AsJson = False,
) -> None:
    """Remove the oldest entries of a stream, for good."""
    if (max_len is None) == (before is None):
        raise ConfigError("trim needs either --max-len or --before")
    with connected(target, read_only=False) as streamer:
        removed = streamer.trim(key, max_len=max_len, before=before, exact=exact)
    if as_json:
        print_json({"key": key, "removed": removed})
    else:
        entries = "1 entry" if removed == 1 else f"{removed:,} entries"
        print_bytes([f"{entries} removed from {cell(key)}\n".encode()])


def connected(target: str | None, *, read_only: bool = True) -> ss.Streamer:
    """A connection that, unless the command is there to write, cannot."""
    return ss.connect(place(target), read_only=read_only)


def _reference(when: str | None) -> When | None:
    """Where a range begins or ends that SeaStreamer's tool reads: after the whole millisecond.

    >>> _reference("2023-11-14T22:13:20.0009"), _reference("5-3"), _reference("latest")
    (EntryId(ms=1700000000001, sub=0), EntryId(ms=6, sub=0), 'latest')
    """
    if when is None:
        return None
    moment = parse_when(when)
    if not isinstance(moment, Fixed):
        raise ConfigError(f"{when!r}: with --reference-bounds write a time with its date")
    if isinstance(moment.position, Edge):
        return when
    if isinstance(moment.position, EntryId):
        return EntryId(moment.position.ms + 1, 0)
    return EntryId(max(0, moment.position.ns // NS_PER_MS + 1), 0)


def _piped(stream: ss.Stream) -> None:
    """The file on stdout, when it is whole."""
    if sys.stdout.isatty():
        raise ConfigError("a file is not for the terminal: name one, or put a pipe after this")
    with tempfile.TemporaryDirectory() as folder:
        report = stream.to_ss(Path(folder, "stdout.ss"))
        with report.path.open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)


def _show_report(report: ExportReport, as_json: bool) -> None:
    if as_json:
        print_json(asdict(report))
        return
    messages = "1 message" if report.messages == 1 else f"{report.messages:,} messages"
    print_bytes([f"{messages}, {report.bytes:,} bytes in {report.path}\n".encode()])
    if not report.complete:
        note("warning: entries of the range were trimmed away before they were read")


def _decoding(json_payload: bool, text: bool, every_field: bool) -> str | None:
    return only_decoding(json=json_payload, text=text, fields=every_field)


def _limited(pages: Iterable[pa.RecordBatch], limit: int | None) -> Iterator[pa.RecordBatch]:
    """So many rows, and no page is read that is not wanted."""
    if limit is None:
        yield from pages
    elif limit:
        for page in pages:
            yield page.slice(0, limit)
            limit -= len(page)
            if limit <= 0:
                return


def print_rows(pages: Iterable[pa.RecordBatch], as_json: bool) -> None:
    """Print rows as they come."""
    tables = RowTables()
    for page in pages:
        if not len(page):
            continue
        if as_json:
            print_bytes(json_lines(page))
        else:
            tables.show(page)
        # Whoever follows wants to see it now.
        sys.stdout.flush()
