"""How far an export of several files has come: pinned ends, whole files, a place. No I/O.

The order of rows is the same at every reading of the same ends. So an export goes on at the id that
its last row has, behind as many rows of that id as each key has given already.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from seastream_nb.errors import ConfigError, StreamReset
from seastream_nb.keys import FIRST_ID, EntryId, key_text
from seastream_nb.message import Origin
from seastream_nb.query import Extent, Pinned, Query
from seastream_nb.rows import Rows

FORMAT = 1


def question(query: Query) -> str:
    """What tells a query from every other one, whatever it is pinned to."""
    return hashlib.sha256(repr(replace(query, pinned=None)).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class ExportedFile:
    """One whole file; `path` is inside the folder."""

    path: str
    rows: int
    bytes: int
    first_id: str
    last_id: str


@dataclass(frozen=True, kw_only=True)
class PinnedEnd:
    """The first and last id of one key that the export is to hold."""

    stream: str
    shard: int
    key: bytes
    first: EntryId | None
    end: EntryId | None
    start: EntryId | None

    @classmethod
    def of(cls, extent: Extent) -> PinnedEnd:
        """What a shard held when the export began."""
        origin = extent.origin
        return cls(
            stream=origin.stream,
            shard=origin.shard,
            key=origin.key,
            first=extent.first,
            end=extent.end,
            start=getattr(extent, "start", None),
        )

    def within(self, now: Extent) -> Extent:
        """What the shard holds now, up to the same end.

        Raises:
            StreamReset: it is another one than then.
        """
        if self.end is not None and (now.end is None or now.end < self.end):
            raise StreamReset(
                f"exporting {key_text(self.key)!r}: the stream was deleted or made anew since the "
                "export began; begin it anew with overwrite=True"
            )
        changes: dict[str, Any] = {"end": self.end}
        if now.last is not None and self.end is not None:
            changes["last"] = min(now.last, self.end)
        if self.start is not None:
            changes["start"] = self.start
        return replace(now, **changes)


@dataclass
class Place:
    """Where an export stands: the id of its last row, and how many rows of it each key gave.

    >>> place = Place()
    >>> place.last is None
    True
    """

    last: EntryId | None = None
    given: Counter[bytes] = field(default_factory=Counter)

    def pass_over(self, rows: Rows) -> None:
        """These rows are written."""
        last = rows.entry_id(-1)
        if last != self.last:
            self.last, self.given = last, Counter()
        at = np.flatnonzero((rows.ms == np.uint64(last.ms)) & (rows.sub == np.uint64(last.sub)))
        self.given.update(rows.origin_of(int(row)).key for row in at)

    def copy(self) -> Place:
        """The same place, whatever becomes of this one."""
        return Place(self.last, self.given.copy())

    def left_of(self, rows: Rows) -> np.ndarray[Any, Any]:
        """The rows that are not written yet, of rows that begin at the id of this place.

        It counts off what it leaves out, so it is asked page after page.
        """
        left = np.ones(len(rows), dtype=bool)
        for row in range(len(rows)):
            if rows.entry_id(row) != self.last:
                break
            key = rows.origin_of(row).key
            if self.given[key] > 0:
                self.given[key] -= 1
                left[row] = False
        return np.flatnonzero(left)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What an export is of, and how far it has come.

    Attributes:
        asked: the query, as `question` tells it.
        partition_by: the names of the folders.
        now_ns: the server's clock when the ends were pinned.
        ends: the pinned ends.
        schema: the decoded columns.
        files: the whole files, in time order.
        place: where the last of them ends.
        complete: false when entries were trimmed away before they were read.
        finished: whether everything is there.
    """

    asked: str
    partition_by: str | None
    now_ns: int
    ends: tuple[PinnedEnd, ...]
    schema: pa.Schema
    files: tuple[ExportedFile, ...] = ()
    place: Place = field(default_factory=Place)
    complete: bool = True
    finished: bool = False

    @property
    def rows(self) -> int:
        """How many rows the files hold."""
        return sum(each.rows for each in self.files)

    def with_file(self, file: ExportedFile, place: Place, *, complete: bool) -> Manifest:
        """The manifest when one more file is whole."""
        complete = complete and self.complete
        return replace(self, files=(*self.files, file), place=place, complete=complete)

    def encode(self) -> str:
        """The manifest as lines of JSON: what it is of, and a line for each file."""
        ends = [
            {**asdict(each), "key": _text(each.key)} | _ids(each, "first", "end", "start")
            for each in self.ends
        ]
        head = {
            "format": FORMAT,
            "asked": self.asked,
            "partition_by": self.partition_by,
            "now_ns": self.now_ns,
            "ends": ends,
            "schema": b64encode(self.schema.serialize()).decode(),
        }
        files = [{"file": asdict(each)} for each in self.files[:-1]]
        lines = [json.dumps(each) + "\n" for each in (head, *files)]
        return "".join(lines) + (self.last_line() if self.files else "")

    def last_line(self) -> str:
        """What the last file adds to the lines before."""
        given = [[_text(key), count] for key, count in sorted(self.place.given.items())]
        last: dict[str, Any] = {
            "file": asdict(self.files[-1]),
            "place": {"last": _id_text(self.place.last), "given": given},
            "complete": self.complete,
            "finished": self.finished,
        }
        return json.dumps(last) + "\n"

    @classmethod
    def decode(cls, text: str) -> Manifest:
        """The manifest out of its lines; one that a crash cut off is no line.

        Raises:
            ValueError: it is none, or one of a later version.
        """
        try:
            head, *lines = [json.loads(line) for line in text.split("\n")[:-1]]
            if head["format"] != FORMAT:
                raise ValueError(f"its format is {head['format']}")
            last = lines[-1] if lines else {}
            place = last.get("place", {"last": None, "given": []})
            return cls(
                asked=head["asked"],
                partition_by=head["partition_by"],
                now_ns=head["now_ns"],
                ends=tuple(map(_end, head["ends"])),
                schema=pa.ipc.read_schema(pa.py_buffer(b64decode(head["schema"]))),
                files=tuple(ExportedFile(**each["file"]) for each in lines),
                place=Place(
                    _id(place["last"]),
                    Counter({_bytes(key): count for key, count in place["given"]}),
                ),
                complete=last.get("complete", True),
                finished=last.get("finished", False),
            )
        except (KeyError, TypeError, pa.ArrowInvalid) as error:
            raise ValueError(f"it has no {error}") from error

    def require(self, asked: str, partition_by: str | None) -> None:
        """Refuse to go on with what was another export.

        Raises:
            ConfigError: saying what to do.
        """
        if (asked, partition_by) != (self.asked, self.partition_by):
            raise ConfigError(
                "the export that is there was begun with another query or partition_by: give the "
                "same ones, or begin anew with overwrite=True"
            )

    def pinned(self, now: Pinned) -> Pinned:
        """The ends that the export began with, in what there is now.

        Raises:
            StreamReset: a stream is another one than then.
        """
        extents = tuple(end.within(extent) for end, extent in self._there(now))
        return Pinned(extents=extents, now_ns=self.now_ns)

    def lost(self, now: Pinned) -> bool:
        """Whether entries that were not written yet were trimmed away since the export began."""
        last = self.place.last or FIRST_ID
        for end, extent in self._there(now):
            if end.end is None or end.first is None or end.end <= last:
                continue  # nothing of it is left to be read
            if extent.first is None or (extent.first > last and extent.first != end.first):
                return True
        return False

    def _there(self, now: Pinned) -> Iterator[tuple[PinnedEnd, Extent]]:
        """What each key held, and what it holds now; those that are new are left out."""
        found: dict[tuple[str, int, bytes], list[Extent]] = {}
        for extent in now.extents:
            at = (extent.origin.stream, extent.origin.shard, extent.origin.key)
            found.setdefault(at, []).append(extent)
        for end in self.ends:
            there = found.get((end.stream, end.shard, end.key))
            yield end, there.pop(0) if there else _gone(end)


def _gone(end: PinnedEnd) -> Extent:
    return Extent(origin=Origin(end.stream, end.shard, end.key))


def _end(value: dict[str, Any]) -> PinnedEnd:
    ids = {name: _id(value[name]) for name in ("first", "end", "start")}
    return PinnedEnd(**{**value, "key": _bytes(value["key"]), **ids})


def _ids(end: PinnedEnd, *names: str) -> dict[str, str | None]:
    return {name: _id_text(getattr(end, name)) for name in names}


def _id_text(entry_id: EntryId | None) -> str | None:
    return None if entry_id is None else str(entry_id)


def _id(text: str | None) -> EntryId | None:
    return None if text is None else EntryId.parse(text)


def _text(key: bytes) -> str:
    return key.decode("utf-8", "surrogateescape")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
