"""`%stream export`, `record` and `replay`: streams into files, and on into other places."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seastream_nb.asking import Call, built, pace, written
from seastream_nb.errors import ConfigError
from seastream_nb.notebook.magics import views
from seastream_nb.notebook.magics.arguments import asked, masked
from seastream_nb.notebook.magics.hints import note_missing
from seastream_nb.notebook.magics.program import assigned, program

if TYPE_CHECKING:
    from seastream_nb.notebook.magics.session import Session

Given = argparse.Namespace


def export(session: Session, given: Given) -> object:
    """Write a range to a file, or a folder of files; its report.

    Raises:
        ConfigError: a name that is none of these, or options that do not go with it.
    """
    return _done(session, given, _export(given))


def record(session: Session, given: Given) -> object:
    """Follow streams into an `.ss` file; the report of it."""
    _require_ss(given.file)
    options = _chosen(duration=given.duration, messages=given.messages, overwrite=given.overwrite)
    try:
        return _done(session, given, Call("record", (given.file,), options))
    except KeyboardInterrupt:
        sys.stderr.write(f"interrupted; {given.file} has what came\n")
        raise


def replay(session: Session, given: Given) -> object:
    """Send a range again to another place, and give the report; without a place, show it.

    Raises:
        ConfigError: two places to read from, or new ids for what is only shown.
    """
    given.keys = [given.key]
    if given.key.endswith(".ss"):
        if given.source is not None:
            raise ConfigError(f"{given.key} is a place already: leave out --from")
        given.source, given.keys = given.key, []  # all of them
    speed = pace(given.speed)
    if given.to is None:
        if given.now:
            raise ConfigError("--now is about new ids: say where to with --to")
        return views.replay(session, given, speed)
    options: dict[str, Any] = {"speed": speed} | ({"timestamps": "now"} if given.now else {})
    return _done(session, given, Call("replay_to", (session.target(given.to),), options))


def _done(session: Session, given: Given, terminal: Call) -> object:
    """What a terminal of the streams gives, or nothing where it is only told."""
    calls = [*asked(given).calls(), terminal]
    if given.dry_run:
        every = "streamer.stream(*streamer.catalog())"
        start = assigned(None, [Call("stream", tuple(given.keys))]) if given.keys else every
        sys.stdout.write(program(session, given.source, [masked(start + written(calls))]))
        return None
    with session.streamer(given.source) as streamer:
        keys = given.keys or list(streamer.catalog())
        if given.keys:
            note_missing(streamer, keys)
        found: object = built(streamer.stream(*keys), calls)
        return found


def _chosen(**options: Any) -> dict[str, Any]:
    """The options that are not left out."""
    return {name: each for name, each in options.items() if each not in (None, False)}


def _export(given: Given) -> Call:
    options = _chosen(
        partition_by=given.partition_by, overwrite=given.overwrite, resume=given.resume
    )
    if given.file.endswith(".ss"):
        for name in ("json", "text", "fields", "select", "partition_by"):
            if getattr(given, name):
                option = name.replace("_", "-")
                raise ConfigError(
                    f"--{option} is about .parquet: an .ss file holds messages as they are"
                )
        return Call("to_ss", (given.file,), options)
    if not given.file.endswith(".parquet") and given.partition_by is None:
        raise ConfigError(
            f"{given.file!r}: name a file NAME.ss or NAME.parquet, or a folder with --partition-by"
        )
    return Call("to_parquet", (given.file,), options)


def _require_ss(file: str) -> None:
    if Path(file).suffix != ".ss":
        raise ConfigError(f"{file!r}: a recording is an .ss file: name it so")
