"""What the magics of one shell remember: their connections, and what was read over them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import seastream_nb as ss
from seastream_nb.asking import place
from seastream_nb.errors import StreamError
from seastream_nb.notebook.magics.arguments import masked
from seastream_nb.url import Secret

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell


class Connection(NamedTuple):
    """A connection, and what it was made of; a URL may hold a password."""

    streamer: ss.Streamer
    target: Secret | Path | None


class Session:
    """A shell, and what its magics keep from one line to the next.

    Attributes:
        connections: by name.
        current: the name of the one that is read from where none is named.
        opened: connections without a name, made for views that stay.
        columns: those that reads of a stream had, by key; for the Tab key.
        last_error: the last error that showed as one line.
    """

    def __init__(self, shell: InteractiveShell) -> None:
        self.shell = shell
        self.connections: dict[str, Connection] = {}
        self.current: str | None = None
        self.opened: list[ss.Streamer] = []
        self.columns: dict[str, dict[str, None]] = {}
        self.last_error: StreamError | None = None

    def connect(self, name: str, target: str | None) -> ss.Streamer:
        """Connect, and read from there from now on; a connection of that name is closed."""
        meant = place(target)
        streamer = ss.connect(meant)
        before = self.connections.pop(name, None)
        kept = Secret(meant) if isinstance(meant, str) else meant
        self.connections[name] = Connection(streamer, kept)
        self.current = name
        if before is not None:
            before.streamer.close()
        return streamer

    def found(self, source: str | None) -> Connection | None:
        """The connection of that name, or the current one; None if there is none."""
        name = self.current if source is None else source
        return None if name is None else self.connections.get(name)

    @contextmanager
    def streamer(self, source: str | None) -> Iterator[ss.Streamer]:
        """The connection that `--from` names, the current one, or one for this time only."""
        connection = self.found(source)
        if connection is not None:
            yield connection.streamer
        else:
            with ss.connect(place(source), read_only=True) as streamer:
                yield streamer

    def target(self, name: str) -> str | Path | None:
        """What to connect to: what a connection of that name was made of, or the text itself."""
        connection = self.connections.get(name)
        if connection is None:
            return place(name)
        target = connection.target
        return target.reveal() if isinstance(target, Secret) else target

    def python(self, source: str | None) -> str:
        """How Python connects to the same; a URL without who logs in."""
        connection = self.found(source)
        if connection is None:
            target = _written(place(source))
            return f"ss.connect({target}{', ' * bool(target)}read_only=True)"
        kept = connection.target
        return f"ss.connect({_written(kept.reveal() if isinstance(kept, Secret) else kept)})"

    def remember(self, keys: Iterable[str], columns: Iterable[str]) -> None:
        """Keep the names of the columns that a read of these streams had."""
        names = dict.fromkeys(columns)
        for key in keys:
            self.columns[key] = {**self.columns.get(key, {}), **names}

    def close(self) -> None:
        """Close every connection."""
        self.current = None
        while self.connections:
            self.connections.popitem()[1].streamer.close()
        while self.opened:
            self.opened.pop().close()


def _written(target: str | Path | None) -> str:
    if isinstance(target, Path):
        return f"Path({str(target)!r})"
    return "" if target is None else repr(masked(target))
