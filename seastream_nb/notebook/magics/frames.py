"""`%stream read` and the cells of `%%stream`: a range becomes a frame, and the body sees it."""

from __future__ import annotations

import argparse
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

from IPython.display import display

from seastream_nb.asking import Call, built
from seastream_nb.errors import ConfigError
from seastream_nb.interchange import facts_of, framed
from seastream_nb.notebook.magics import sql
from seastream_nb.notebook.magics.arguments import PAGE_ROWS, asked
from seastream_nb.notebook.magics.body import Body, compiled, python_of
from seastream_nb.notebook.magics.hints import note_missing
from seastream_nb.notebook.magics.program import assigned, displaying, indented, program, quoted

if TYPE_CHECKING:
    import pyarrow as pa

    import seastream_nb as ss
    from seastream_nb.notebook.magics.session import Session

TERMINALS = {"pandas": "to_pandas", "polars": "to_polars", "arrow": "to_arrow"}
Given = argparse.Namespace


def read(session: Session, given: Given) -> object:
    """Bind a frame of a range, and give it."""
    if given.dry_run:
        shown = "" if given.quiet else f"{given.name}\n"
        sys.stdout.write(_whole_program(session, given) + shown)
        return None
    frame = _bound(session, given)
    return None if given.quiet else frame


def cell(session: Session, given: Given, body: str) -> object:
    """Run the body of a cell as its line says.

    Raises:
        ConfigError: options that exclude each other.
        SyntaxError: the body is no Python; nothing is read.
    """
    __tracebackhide__ = True
    if given.each and given.sql:
        raise ConfigError("--each is about Python, --sql about SQL: give one of them")
    if given.page_size and not given.each:
        raise ConfigError("--page-size is about --each: give both or neither")
    if given.sql:
        return _cell_of_sql(session, given, body)
    if given.dry_run:
        sys.stdout.write(_program(session, given, body))
        return None
    run = compiled(session.shell, body)
    if given.each:
        _each(session, given, run)
        return None
    _bound(session, given)
    value = run()
    return None if given.quiet else value


# Whole frames.


def _calls(given: Given, terminal: Call) -> list[Call]:
    return [Call("stream", tuple(given.keys)), *asked(given).calls(), terminal]


def _bound(session: Session, given: Given) -> Any:
    """Read the range, and bind it to the variable, as far as it came."""
    calls = _calls(given, Call(TERMINALS[given.frame]))
    with session.streamer(given.source) as streamer:
        before = streamer.partial
        try:
            frame: Any = built(streamer, calls)
        except KeyboardInterrupt:
            part = streamer.partial
            _keep(session, given, None if part is before else part)
            raise
        if len(given.keys) > 1 or not len(frame):
            _note_missing(streamer, given)
    _bind(session, given, frame)
    return frame


def _keep(session: Session, given: Given, part: pa.Table | None) -> None:
    """Bind what an interrupted read has, and say so."""
    if part is None or not len(part):
        _note(f"interrupted before the first row; {given.name} is what it was")
        return
    facts = facts_of(part)
    _bind(session, given, framed(part, given.frame))
    where = f" at {facts['last_id']}" if facts["last_id"] else ""
    _note(f"interrupted after {_counted(len(part), 'row')}{where}; {given.name} has them")


def _bind(session: Session, given: Given, frame: Any) -> None:
    session.shell.user_ns[given.name] = frame
    columns = frame.column_names if given.frame == "arrow" else frame.columns
    session.remember(given.keys, map(str, columns))


def _note_missing(streamer: ss.Streamer, given: Given) -> None:
    if not given.quiet:
        note_missing(streamer, given.keys)


# Page by page.


def _each(session: Session, given: Given, run: Body) -> None:
    """Run the body once for each page; what was bound last stays."""
    __tracebackhide__ = True
    calls = _calls(given, Call("pages", (given.page_size or PAGE_ROWS,)))
    rows = pages = 0
    with session.streamer(given.source) as streamer, closing(built(streamer, calls)) as batches:
        try:
            for page in batches:
                _bind(session, given, framed(page, given.frame))
                value = run()
                rows, pages = rows + len(page), pages + 1
                if value is not None and not given.quiet:
                    display(value)  # type: ignore[no-untyped-call]
        except KeyboardInterrupt:
            _note(f"interrupted after {_counted(pages, 'page')}, {_counted(rows, 'row')}")
            raise
        if len(given.keys) > 1 or not rows:
            _note_missing(streamer, given)


# SQL.


def _cell_of_sql(session: Session, given: Given, body: str) -> object:
    calls = [*asked(given).calls(), Call("snapshot")]
    if given.dry_run:
        sys.stdout.write(_sql_program(session, given, body, calls))
        return None
    with session.streamer(given.source) as streamer:
        _note_missing(streamer, given)
        tables = {key: built(streamer.stream(key), calls) for key in given.keys}
        result = sql.run(body, tables)
        for key, table in tables.items():
            session.remember([key], table.schema().names)
    frame = framed(result, given.frame)
    session.shell.user_ns[given.name] = frame
    return None if given.quiet else frame


# The same as Python.


def _program(session: Session, given: Given, body: str) -> str:
    """What a cell does."""
    if not given.each:
        return f"{_whole_program(session, given)}\n{body}"
    run = python_of(session.shell, body).rstrip("\n")
    pages = assigned(None, _calls(given, Call("pages", (given.page_size or PAGE_ROWS,))))
    lines = [
        f"for page in {pages}:",
        indented(f"{given.name} = framed(page, {given.frame!r})"),
        indented(run if given.quiet else displaying(run)),
    ]
    imports = ["from seastream_nb.interchange import framed"]
    return program(session, given.source, lines, imports=imports)


def _whole_program(session: Session, given: Given) -> str:
    calls = _calls(given, Call(TERMINALS[given.frame]))
    return program(session, given.source, [assigned(given.name, calls)])


def _sql_program(session: Session, given: Given, body: str, calls: list[Call]) -> str:
    tables = (
        f"con.register({key!r}, {assigned(None, [Call('stream', (key,)), *calls])})"
        for key in given.keys
    )
    result = f"narrowed(distinctly_named(con.sql({quoted(body)}).to_arrow_table()))"
    lines = [*tables, f"{given.name} = framed({result}, {given.frame!r})"]
    imports = [
        "import duckdb",
        "from seastream_nb.interchange import distinctly_named, framed, narrowed",
    ]
    connection = session.found(given.source)
    zone = connection.streamer._core.options.tz if connection else "UTC"
    before = ["con = duckdb.connect()", f"con.execute({sql.in_zone(zone)!r})"]
    whole = program(session, given.source, lines, imports=imports, before=before)
    return whole if given.quiet else f"{whole}{given.name}\n"


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def _note(text: str) -> None:
    sys.stderr.write(f"{text}\n")
