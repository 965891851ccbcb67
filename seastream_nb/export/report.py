"""Exports: what a stream that was written to files has become."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from seastream_nb.export.manifest import ExportedFile


@dataclass(frozen=True)
class ExportReport:
    """What an export wrote.

    Attributes:
        path: the file or the folder.
        messages: how many messages, or rows, there are.
        bytes: how large the files are, together.
        first_id, last_id: the ids of the first and the last of them; None if there is none.
        complete: false when entries of the range were trimmed away before they were read.
    """

    path: Path
    messages: int
    bytes: int
    first_id: str | None
    last_id: str | None
    complete: bool

    @classmethod
    def of(cls, path: Path, files: Sequence[ExportedFile], *, complete: bool) -> ExportReport:
        """The report of several files, in time order."""
        full = [each for each in files if each.rows]
        return cls(
            path=path,
            messages=sum(each.rows for each in files),
            bytes=sum(each.bytes for each in files),
            first_id=full[0].first_id if full else None,
            last_id=full[-1].last_id if full else None,
            complete=complete,
        )
