"""A file in the making: `NAME.part`, with the trail of how far it has come, and `NAME` at the end.

.NAME.part.jsonl    the pinned ends, then a line for each piece that is on the disk
NAME.part           header, pieces, and what a stop left behind them, which is cut off
"""

from __future__ import annotations

import errno
import os
import secrets
from contextlib import suppress
from pathlib import Path

from seastream_nb.errors import ExportExists, FileError
from seastream_nb.export.manifest import Manifest
from seastream_nb.export.target import Target, exists, named, told
from seastream_nb.file.handle import Handle
from seastream_nb.file.writer import FileWriter
from seastream_nb.options import ConnectOptions


class Part:
    """One export's file; with `resume` a later one goes on with it. One process writes it.

    Raises:
        ExportExists: an unfinished one is there, and it is neither continued nor overwritten; or
            what is there is none.
        FileError: another process writes it, or it cannot be made.
    """

    def __init__(
        self, path: Path, options: ConnectOptions, *, overwrite: bool, resume: bool
    ) -> None:
        self.path = path
        self._options = options
        self._overwrite = overwrite
        self._resume = resume
        self._trail = path.with_name(f".{path.name}.part.jsonl")
        self._part = path.with_name(f"{path.name}.part")
        if not resume:
            self._make_room()
            self._part = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
        self._writer: FileWriter | None = None
        # Until the writer has it: nobody else may read the trail and go on.
        self._held = Handle(self._part, "if_missing" if resume else "exclusive")

    @property
    def writer(self) -> FileWriter:
        """Where messages go, after `begin`."""
        assert self._writer is not None
        return self._writer

    def manifest(self) -> Manifest | None:
        """How far an earlier run has come; None when there was none.

        Raises:
            ExportExists: what is there is no unfinished export.
            FileError: its trail cannot be read.
        """
        if not self._held.size:
            return None
        try:
            return Manifest.decode(self._trail.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise _no_export(self._part) from None
        except OSError as error:
            text = f"{self._trail} cannot be read: {error.strerror}"
            raise FileError(error.errno, text) from error
        except ValueError as error:
            raise FileError(
                f"{self._trail} does not tell how far {self._part} has come ({error}): "
                "remove both, and begin anew"
            ) from error

    def begin(self, manifest: Manifest) -> None:
        """Open the file behind the pieces that the manifest names."""
        size = sum(each.bytes for each in manifest.files)
        if self._held.size < size:
            raise FileError(f"{self._part} is shorter than it was: remove it, and begin anew")
        self._save(manifest)
        self._held.cut(size)
        self._held.close()
        self._writer = FileWriter(
            self._part,
            beacon_interval=self._options.beacon_interval,
            file_size_limit=self._options.file_size_limit,
            name=self.path.name,
        )
        if size and self._writer.size != size:
            raise FileError(f"another process wrote {self._part} meanwhile")

    def add(self, manifest: Manifest) -> None:
        """Put what was written, and the manifest's last line, on the disk."""
        if not self._resume:
            return
        self.writer.sync()
        with told(self._trail), self._trail.open("ab") as trail:
            trail.write(manifest.last_line().encode())
            trail.flush()
            os.fsync(trail.fileno())

    def finish(self) -> int:
        """Give the file its name; how many bytes it has.

        Raises:
            ExportExists: something came there meanwhile.
        """
        self.writer.end(eos=self._options.end_with_eos)
        with told(self.path):
            size = self._part.stat().st_size
            named(self._part, self.path, overwrite=self._overwrite)
            if self._resume:
                self._trail.unlink(missing_ok=True)
        return size

    def stop(self) -> None:
        """Close; without `resume` nothing is left."""
        self._held.close()
        if self._writer is not None:
            self._writer.close()
        with suppress(OSError):
            unused = self._writer is None and not self._part.stat().st_size
            if unused or not self._resume:
                self._part.unlink()

    def _make_room(self) -> None:
        if not self._part.exists():
            return
        if not self._overwrite:
            raise ExportExists(
                f"{self._part} is an unfinished export: resume=True goes on with it, "
                "overwrite=True begins anew"
            )
        held = Handle(self._part)
        try:
            if held.size and not self._trail.exists():
                raise _no_export(self._part)
            with told(self._part):
                self._trail.unlink(missing_ok=True)
                self._part.unlink(missing_ok=True)
        finally:
            held.close()

    def _save(self, manifest: Manifest) -> None:
        if not self._resume:
            return
        target = Target(self._trail, overwrite=True)
        try:
            with told(self._trail):
                target.file.write(manifest.encode().encode())
            target.commit()
        finally:
            target.discard()


def require_free(path: Path, *, overwrite: bool, resumable: bool = False) -> None:
    """Refuse a name that is taken, or in a folder that is not there.

    `resumable`: the caller could be told to keep what is there.

    Raises:
        ExportExists: there is something, and it is not to be overwritten, or is no file.
        FileError: there is no such folder.
    """
    if not path.parent.is_dir():
        folder = path.parent
        raise FileError(errno.ENOENT, f"{path} cannot be written: there is no folder {folder}")
    if path.exists() and not (overwrite and path.is_file()):
        raise exists(path, replaceable=path.is_file(), resumable=resumable)


def _no_export(path: Path) -> ExportExists:
    return ExportExists(f"{path} is no unfinished export: remove it by hand")
