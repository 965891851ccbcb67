"""Exports: what a stream that was written to files has become."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


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
