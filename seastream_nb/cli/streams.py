"""Commands on the streams of a server."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import seastream_nb as ss
from seastream_nb.cli.options import (
    AsJson,
    Before,
    Count,
    EveryField,
    Exact,
    First,
    Follow,
    From,
    JsonPayload,
    Key,
    Last,
    Limit,
    MaxLen,
    Pattern,
    Shards,
    Since,
    Text,
    Until,
)
from seastream_nb.cli.output import (
    RowTables,
    cell,
    json_lines,
    print_bytes,
    print_json,
    print_table,
)
from seastream_nb.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa

# Rows of one table, and of one page that is read for it.
PAGE_ROWS = 1_000


def ls(pattern: Pattern = None, target: From = None, as_json: AsJson = False) -> None:
    """List the streams there are."""
    from seastream_nb.notebook.display import INFO_COLUMNS, info_row

    with _connected(target) as streamer:
        infos = list(streamer.catalog(pattern).values())
    if as_json:
        for each in infos:
            print_json(asdict(each))
        return
    print_table(INFO_COLUMNS, [info_row(each) for each in infos])


def info(key: Key, target: From = None, as_json: AsJson = False) -> None:
    """Say what the server knows of one stream."""
    from seastream_nb.notebook.display import Column

    with _connected(target) as streamer:
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
    with _connected(target) as streamer:
        stream = streamer[key]
        if shard:
            stream = stream.shard(*shard)
        if since is not None:
            stream = stream.since(since)
        if until is not None:
            stream = stream.until(until)
        stream = _decoded(stream, json_payload, text, every_field)
        if last is not None:
            stream = stream.last(int(last) if last.isdecimal() else last)
        if first is not None:
            stream = stream.first(first)
        _print_rows(_limited(stream.pages(PAGE_ROWS), limit), as_json)


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
    with _connected(target) as streamer:
        stream = _decoded(streamer[key], json_payload, text, every_field).last(count)
        pages = stream.follow(page_size=PAGE_ROWS) if follow else stream.pages(PAGE_ROWS)
        _print_rows(pages, as_json)


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
    with _connected(target, read_only=False) as streamer:
        removed = streamer.trim(key, max_len=max_len, before=before, exact=exact)
    if as_json:
        print_json({"key": key, "removed": removed})
    else:
        entries = "1 entry" if removed == 1 else f"{removed:,} entries"
        print_bytes([f"{entries} removed from {cell(key)}\n".encode()])


def _connected(target: str | None, *, read_only: bool = True) -> ss.Streamer:
    """A connection that, unless the command is there to write, cannot."""
    if target is not None and target.endswith(".ss") and "://" not in target:
        return ss.connect(Path(target), read_only=read_only)
    return ss.connect(target, read_only=read_only)


def _decoded(stream: ss.Stream, json_payload: bool, text: bool, every_field: bool) -> ss.Stream:
    if json_payload + text + every_field > 1:
        raise ConfigError("give one of --json-payload, --text and --fields")
    if json_payload:
        return stream.json()
    if every_field:
        return stream.fields()
    return stream.text() if text else stream


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


def _print_rows(pages: Iterable[pa.RecordBatch], as_json: bool) -> None:
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
