"""`%stream live`, `tail --follow`, `browse`, `replay`: views; `ps` and `stop`: those that go on."""

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
from seastream_nb.notebook.display import Column, text_table
from seastream_nb.notebook.magics.arguments import asked
from seastream_nb.notebook.magics.hints import note_missing
from seastream_nb.notebook.magics.program import assigned, program

if TYPE_CHECKING:
    from seastream_nb.notebook.magics.session import Session

Given = argparse.Namespace


def live(session: Session, given: Given) -> object:
    """A view of what comes, which is bound to a variable where one is named."""
    named = ("begin", "since"), ("chart", "chart"), ("rolling", "rolling"), ("max_rows", "max_rows")
    options = {
        option: getattr(given, name) for name, option in named if getattr(given, name) is not None
    }
    return _watched(session, given, given.keys, Call("live", (), options))


def browse(session: Session, given: Given) -> object:
    """A view that is turned page by page; its connection stays as long as the magics do."""
    named = ("at", "page_size")
    options = {name: getattr(given, name) for name in named if getattr(given, name) is not None}
    view, own = _shown(session, given, given.keys, Call("browse", (), options))
    if own is not None:
        session.opened.append(own)
    return view


def replay(session: Session, given: Given, speed: float | None) -> object:
    """A range again, with buttons."""
    calls = Call("replay", (), {"speed": speed}), Call("control")
    view, own = _shown(session, given, given.keys, *calls)
    if own is not None:
        view.on_stop(own.close)
        session.opened.append(own)  # a view that nobody plays never stops
    return view


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
    """A live view, with which its own connection ends."""
    view, own = _shown(session, given, keys, *last)
    if own is not None:
        portal.spawn(_closed_with(view, own))
    return view


def _shown(
    session: Session, given: Given, keys: list[str], *last: Call
) -> tuple[Any, ss.Streamer | None]:
    """What the calls on the streams show, with the connection that was made for it.

    Nothing where it is only told; no keys are all those of an `.ss` file.
    """
    calls = [*asked(given).calls(), *last]
    if given.dry_run:
        line = assigned(given.name, [Call("stream", tuple(keys)), *calls])
        sys.stdout.write(program(session, given.source, [line], stays=True))
        return None, None
    connection = session.found(given.source)
    own = None if connection else ss.connect(place(given.source), read_only=True)
    streamer = connection.streamer if connection else own
    assert streamer is not None
    try:
        view: Any = built(streamer.stream(*keys or streamer.catalog()), calls)
    except BaseException:
        if own is not None:
            own.close()
        raise
    if keys:
        note_missing(streamer, keys)
    if given.name is not None:
        session.shell.user_ns[given.name] = view
    return view, own


async def _closed_with(view: ss.LiveView, streamer: ss.Streamer) -> None:
    """Close a connection that was made for a view, when that has ended."""
    with suppress(Exception):  # why it failed is the view's to tell
        await view._core.wait()
    await streamer._core.close()
