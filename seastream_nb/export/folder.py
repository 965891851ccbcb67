"""A folder of whole files that is made beside its name: `NAME.part`, and `NAME` when all is there.

Beside the files lies the manifest, which gets a line after each of them. Files that it does not
name are what a crash left, and go.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

from seastream_nb.errors import ExportExists, FileError
from seastream_nb.export.manifest import Manifest
from seastream_nb.export.target import Target, exists, sync_folder, told

MANIFEST = "_seastream.jsonl"


class Folder:
    """The folder of one export. Only one process at a time writes into it.

    Raises:
        ExportExists: an unfinished one is there, and it is neither continued nor overwritten.
        FileError: another process writes there.
    """

    def __init__(self, path: Path, *, overwrite: bool, resume: bool) -> None:
        self.path = path
        self.part = path.with_name(f"{path.name}.part")
        if self.part.exists() and not resume:
            if not overwrite:
                raise ExportExists(
                    f"{self.part} is an unfinished export: resume=True goes on with it, "
                    "overwrite=True begins anew"
                )
            with _Lock(self.part):
                remove(self.part)
        elif self.part.exists():
            require_ours(self.part)
        with told(self.part):
            self.part.mkdir(exist_ok=resume)
        self._alone = _Lock(self.part)

    def manifest(self) -> Manifest | None:
        """How far an earlier run has come; None when there was none."""
        return read_manifest(self.part)

    def tidy(self, manifest: Manifest | None) -> None:
        """Remove what the manifest does not name."""
        named = {MANIFEST} if manifest is None else {MANIFEST, *(e.path for e in manifest.files)}
        with told(self.part):
            for file in [each for each in self.part.rglob("*") if not each.is_dir()]:
                if str(file.relative_to(self.part)) not in named:
                    file.unlink()

    def save(self, manifest: Manifest) -> None:
        """Put the manifest on the disk."""
        target = Target(self.part / MANIFEST, overwrite=True)
        try:
            with told(target.path):
                target.file.write(manifest.encode().encode())
            target.commit()
        finally:
            target.discard()

    def add(self, manifest: Manifest) -> None:
        """Put the manifest's last line on the disk, behind those that are there."""
        path = self.part / MANIFEST
        with told(path), path.open("ab") as file:
            file.write(manifest.last_line().encode())
            file.flush()
            os.fsync(file.fileno())

    def finish(self, *, overwrite: bool) -> None:
        """Give the folder its name.

        Raises:
            ExportExists: something came there meanwhile.
        """
        with told(self.path):
            old = self.path.with_name(f".{self.path.name}.old")
            if self.path.exists() and overwrite:
                if old.exists():
                    remove(old)
                self.path.rename(old)
            try:
                self.part.rename(self.path)
            except (FileExistsError, NotADirectoryError) as error:
                raise exists(self.path) from error
            except OSError:
                if self.path.exists():
                    raise exists(self.path) from None
                raise
            sync_folder(self.path.parent)
            if old.exists():
                remove(old)

    def discard(self) -> None:
        """Leave nothing."""
        shutil.rmtree(self.part, ignore_errors=True)

    def close(self) -> None:
        """Let another process write there."""
        self._alone.close()


class _Lock:
    """A lock on a folder, until it is closed or the process ends."""

    def __init__(self, folder: Path) -> None:
        with told(folder):
            self._handle: int | None = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.close()
            raise FileError(error.errno, f"another process writes into {folder}") from None

    def close(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self.close()


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a folder; None where there is none.

    Raises:
        FileError: it cannot be read.
    """
    path = folder / MANIFEST
    try:
        return Manifest.decode(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FileError(error.errno, f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise FileError(f"{path} is no manifest of an export: {error}") from error


def remove(folder: Path) -> None:
    """Remove an export, and nothing else.

    Raises:
        ExportExists: it is none.
    """
    require_ours(folder)
    with told(folder):
        shutil.rmtree(folder)


def require_ours(folder: Path) -> None:
    """Refuse to touch what no export made.

    Raises:
        ExportExists: naming it.
    """
    if folder.is_dir():
        names = [each.name for each in folder.iterdir()]
        # Before the first manifest there is nothing, or a piece of it.
        if MANIFEST in names or all(name.startswith(f".{MANIFEST}.") for name in names):
            return
    raise ExportExists(f"{folder} is no export: remove it by hand, or choose another name")
