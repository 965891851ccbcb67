"""Where groups stand in a file: a small SQLite database beside it, `NAME.ss.positions`.

    file(name, created)                                     whose positions these are
    position(consumer_group, stream, base, frames)          one row a group and stream

A position is where a piece began that was read, and how many frames of it are done with: frames
are told by their order, not by their sequence numbers, which may repeat.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from seastream_nb.errors import ConfigError, FileError
from seastream_nb.file.format import FileHeader
from seastream_nb.file.reader import Position

SUFFIX = ".positions"
BUSY_SECONDS = 10.0
_TABLES = """
create table if not exists file (name text not null, created integer not null);
create table if not exists position (
    consumer_group text not null, stream text not null,
    base integer not null, frames integer not null,
    primary key (consumer_group, stream)
) without rowid;
"""
_KEEP = """
insert into position values (?, ?, ?, ?) on conflict do update
set base = excluded.base, frames = excluded.frames
where (excluded.base, excluded.frames) > (base, frames)
"""


class Positions:
    """The positions beside one file; any process and thread may use them.

    Every change is a transaction of its own; a position never goes back.

    Attributes:
        path: the database.
    """

    def __init__(self, file: Path) -> None:
        self.path = file.with_name(file.name + SUFFIX)
        self._file = file

    def join(
        self, group: str, streams: Sequence[str], begin: int, header: FileHeader | None
    ) -> dict[str, Position]:
        """Where a group stands, in each of these streams; a new one stands at `begin`.

        Raises:
            ConfigError: they are the positions of another file that had this name.
            FileError: they cannot be read or written.
        """
        with self._changing() as database:
            self._require_same(database, header)
            for stream in streams:
                database.execute(
                    "insert or ignore into position values (?, ?, ?, 0)", (group, stream, begin)
                )
            rows = database.execute(
                "select stream, base, frames from position where consumer_group = ?", (group,)
            ).fetchall()
        return {stream: (base, frames) for stream, base, frames in rows if stream in streams}

    def keep(
        self, group: str, positions: Mapping[str, Position], header: FileHeader | None
    ) -> None:
        """Let the group stand here, unless it is further already.

        Raises:
            ConfigError: they are the positions of another file that had this name.
            FileError: they cannot be written.
        """
        with self._changing() as database:
            self._require_same(database, header)
            rows = [(group, stream, *position) for stream, position in positions.items()]
            database.executemany(_KEEP, rows)

    def _require_same(self, database: sqlite3.Connection, header: FileHeader | None) -> None:
        if header is None:  # a file that has none yet has no messages either
            return
        known = database.execute("select name, created from file").fetchone()
        own = header.name, header.created_ms
        if known is None:
            database.execute("insert into file values (?, ?)", own)
        elif known != own:
            raise ConfigError(
                f"{self.path} tells where groups stand in another file, made as {known[0]!r} at "
                f"{known[1]} ms: remove it if {self._file.name} shall be read anew"
            )

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        try:
            connecting = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None)
            with closing(connecting) as database:
                database.execute("begin immediate")
                for statement in _TABLES.split(";"):
                    database.execute(statement)
                yield database
                database.execute("commit")
        except sqlite3.Error as error:
            raise FileError(f"{self.path} cannot be used: {error}") from error
