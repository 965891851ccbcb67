"""The commands of `%stream`: their options, and what runs them.

A command is a line in `_table`: its name, what it does, who does it, and its groups of options.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

from seastream_nb.asking import Call, built
from seastream_nb.errors import StreamError
from seastream_nb.notebook.display import Column, brief, text_table
from seastream_nb.notebook.magics import arguments, frames, saving, views
from seastream_nb.notebook.magics.arguments import LineParser, asked, masked, parser
from seastream_nb.notebook.magics.hints import note_missing, suggesting
from seastream_nb.notebook.magics.program import assigned, program
from seastream_nb.notebook.magics.session import Session

Given = argparse.Namespace
Option = Callable[[LineParser], None]


class Command(NamedTuple):
    """What reads the rest of the line, and what then runs."""

    reader: LineParser
    run: Callable[[Session, Given], object]


# Connections.


def connect(session: Session, given: Given) -> object:
    """Connect, and read from there from now on."""
    return session.connect(given.name, given.target)


def list_connections(session: Session, given: Given) -> None:
    """Print the connections; the one that is read from has a star."""
    rows = [
        ("*" if name == session.current else "", brief(name), brief(each.streamer.url))
        for name, each in session.connections.items()
    ]
    columns = (Column(""), Column("name"), Column("where"))
    sys.stdout.write(f"{text_table(columns, rows)}\n" if rows else "no connections\n")


# What there is.


def ls(session: Session, given: Given) -> object:
    """The catalog."""
    pattern = () if given.pattern is None else (given.pattern,)
    return _answer(session, given, [Call("catalog", pattern)])


def info(session: Session, given: Given) -> object:
    """What the server knows of a stream."""
    return _answer(session, given, [Call("stream", (given.key,)), Call("info")])


def groups(session: Session, given: Given) -> object:
    """The consumer groups of a stream, as a frame."""
    return _answer(session, given, [Call("stream", (given.key,)), Call("groups")])


def tail(session: Session, given: Given) -> object:
    """The last messages, as a frame, or as a view to which what comes is added."""
    if given.follow:
        return views.follow(session, given)
    last = Call("tail", (given.count,))
    frame: Any = _answer(
        session, given, [Call("stream", (given.key,)), *asked(given).calls(), last]
    )
    if frame is not None:
        session.remember([given.key], map(str, frame.columns))
        if not len(frame):
            with session.streamer(given.source) as streamer:
                note_missing(streamer, [given.key])
    return frame


def _answer(session: Session, given: Given, calls: list[Call]) -> object:
    """What the calls give, or nothing where they are only told."""
    if given.dry_run:
        sys.stdout.write(program(session, given.source, [assigned(None, calls)]))
        return None
    with session.streamer(given.source) as streamer:
        found: object
        if "key" not in given:
            found = built(streamer, calls)
        else:
            with suggesting(streamer, given.key):
                found = built(streamer, calls)
        return found


def print_last_error(session: Session, given: Given) -> None:
    """Print the traceback of the last error that showed as one line."""
    last = getattr(sys, "last_value", None)
    error = last if isinstance(last, StreamError) else session.last_error
    lines = traceback.format_exception(error) if error else ["no error so far\n"]
    sys.stdout.write(masked("".join(lines)))


# Their options.


def _target(to: LineParser) -> None:
    to.add_argument("target", metavar="TARGET", nargs="?", help="left out: $SEASTREAM_URL")
    to.add_argument("--as", dest="name", metavar="NAME", default="default")


def _pattern(to: LineParser) -> None:
    to.add_argument("pattern", metavar="PATTERN", nargs="?")


_ONE = (arguments.key, arguments.source)
_RANGE = (arguments.keys, arguments.source, arguments.ranges)
_FRAME = (*_RANGE, arguments.decoding, arguments.framing)
_DRY = (arguments.dry,)

# IPython takes no cell without a body, also not to print help.
CELL = parser(
    "%%stream",
    "Run the body once, with a frame of streams.",
    *_FRAME,
    arguments.body,
    *_DRY,
    help_line="%%stream --help, with any line below it",
)


def command(
    name: str, text: str, run: Callable[[Session, Given], object], *options: Option
) -> tuple[str, Command]:
    """A command with these groups of options."""
    return name, Command(parser(f"%stream {name}", text, *options), run)


def table() -> dict[str, Command]:
    """The commands by name, in the order in which help lists them."""
    export = (arguments.keys, arguments.saving, arguments.source, arguments.ranges)
    record = (arguments.keys, arguments.recording, arguments.source, arguments.ranges)
    replay = (arguments.replaying, arguments.source, arguments.ranges, arguments.decoding, *_DRY)
    tailing = (*_ONE, arguments.following, arguments.decoding)
    browse = (*_RANGE, arguments.browsing, arguments.decoding, *_DRY)
    live = (arguments.keys, arguments.source, arguments.watching, arguments.decoding, *_DRY)
    return dict(
        [
            command("connect", "Connect, and read from there from now on.", connect, _target),
            command("connections", "List the connections.", list_connections),
            command("ls", "List the streams there are.", ls, _pattern, arguments.source, *_DRY),
            command("info", "Say what the server knows of a stream.", info, *_ONE, *_DRY),
            command("groups", "List the consumer groups of a stream.", groups, *_ONE, *_DRY),
            command("read", "Bind and show a range.", frames.read, *_FRAME, *_DRY),
            command("tail", "Show the last messages.", tail, *tailing, *_DRY),
            command("live", "Show what comes, while other cells run.", views.live, *live),
            command("browse", "Turn the pages of a range.", views.browse, *browse),
            command("ps", "List the views that run.", views.ps),
            command("stop", "Stop one, or all.", views.stop, arguments.stopping),
            command(
                "export",
                "Write a range to an .ss file or as Parquet.",
                saving.export,
                *export,
                arguments.decoding,
                *_DRY,
            ),
            command("record", "Follow streams into an .ss file.", saving.record, *record, *_DRY),
            command("replay", "Play a range again, here or elsewhere.", saving.replay, *replay),
            command("last-error", "Print its traceback.", print_last_error),
        ]
    )


def overview(commands: dict[str, Command]) -> str:
    """The commands, a line each."""
    rows = [(f"%stream {name}", each.reader.description or "") for name, each in commands.items()]
    rows.append(("%%stream KEY...", CELL.description or ""))
    lines = text_table((Column(""), Column("")), rows, head=False)
    return f"{lines}\n--help after each says more.\n"
