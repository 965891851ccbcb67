"""`%stream live`, `tail --follow`, `ps` and `stop`: views that read on while other cells run."""

from __future__ import annotations

import argparse
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import seastream_nb as ss
from seastream_nb import portal
from seastream_nb.asking import Call, built, place
from seastream_nb.errors import ConfigError
from seastream_nb.notebook import running
from seastream_nb.notebook.arguments import asked
from seastream_nb.notebook.display import Column, text_table
from seastream_nb.notebook.hints import note_missing
from seastream_nb.notebook.program import assigned, program

if TYPE_CHECKING:
    from seastream_nb.notebook.session import Session

Given = argparse.Namespace


def live(session: Session, given: Given) -> object:
    """A view of what comes, which is bound to a variable where one is named."""
    named = ("begin", "since"), ("chart", "chart"), ("rolling", "rolling"), ("max_rows", "max_rows")
    options = {
        option: getattr(given, name) for name, option in named if getattr(given, name) is not None
    }
    return _watched(session, given, given.keys, Call("live", (), options))


def follow(session: Session, given: Given) -> object:
    """The last messages, and then what comes, as such a view."""
    given.name = None
    return _watched(session, given, [given.key], Call("last", (given.count,)), Call("live"))


def ps(session: Session, given: Given) -> None:
    """Print what runs or is paused."""
    columns = (Column("id", right=True), Column("state"), Column("what"))
    rows = [(str(number), each.state, each.title) for number, each in running.running().items()]
    sys.stdout.write(f"{text_table(columns, rows)}\n" if rows else "nothing runs\n")


def stop(session: Session, given: Given) -> None:
    """Stop one of them, or all; without either the only one.

    Raises:
        ConfigError: there is none of that number, or several and none was named.
    """
    found = running.running()
    if given.all:
        running.stop_all()
    elif given.number is not None:
        running.stop(given.number)
    elif len(found) > 1:
        raise ConfigError(f"several run: %stream stop {' or '.join(map(str, found))}, or --all")
    else:
        running.stop_all()


def _watched(session: Session, given: Given, keys: list[str], *last: Call) -> object:
    """What the calls on the streams begin to show, or nothing where it is only told."""
    calls = [Call("stream", tuple(keys)), *asked(given).calls(), *last]
    if given.dry_run:
        line = assigned(given.name, calls)
        sys.stdout.write(program(session, given.source, [line], stays=True))
        return None
    connection = session.found(given.source)
    if connection is None:
        streamer = ss.connect(place(given.source), read_only=True)
    else:
        streamer = connection.streamer
    try:
        view: Any = built(streamer, calls)
    except BaseException:
        if connection is None:
            streamer.close()
        raise
    if connection is None:
        portal.spawn(_closed_with(view, streamer))
    note_missing(streamer, keys)
    if given.name is not None:
        session.shell.user_ns[given.name] = view
    return view


async def _closed_with(view: ss.LiveView, streamer: ss.Streamer) -> None:
    """Close a connection that was made for a view, when that has ended."""
    with suppress(Exception):  # why it failed is the view's to tell
        await view._core.wait()
    await streamer._core.close()
