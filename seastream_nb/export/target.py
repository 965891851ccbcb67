"""Files that appear under their name when they are whole, and folders of such files."""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TypeVar

from seastream_nb.errors import ExportExists, FileError

T = TypeVar("T")

WRITE_BYTES = 2**20
# Where a file can have one name only.
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


class Target:
    """A file that is written beside its name, in the same folder, and gets the name at the end.

    Attributes:
        file: where to write.

    Raises:
        FileError: it cannot be made.
    """

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        self.path = path
        self._overwrite = overwrite
        self._beside = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
        with told(path):
            self.file: BinaryIO = self._beside.open("xb", buffering=WRITE_BYTES)

    def commit(self) -> int:
        """Put what was written on the disk, and give it its name; how many bytes it has.

        Raises:
            ExportExists: there is something of that name, and it is not to be overwritten.
            FileError: it cannot be written. Either way nothing is left.
        """
        try:
            with told(self.path):
                self.file.flush()
                os.fsync(self.file.fileno())
                size = os.fstat(self.file.fileno()).st_size
                named(self._beside, self.path, overwrite=self._overwrite)
                return size
        finally:
            self.discard()

    def discard(self) -> None:
        """Leave nothing of what has no name yet."""
        with suppress(OSError):  # a full disk fails again at closing
            self.file.close()
        self._beside.unlink(missing_ok=True)


@contextmanager
def created(path: Path) -> Iterator[BinaryIO]:
    """A file that appears under its name when the block ends well, and never in place of another.

    Raises:
        ExportExists: there is something of that name already.
        FileError: it cannot be written; nothing is left.
    """
    target = Target(path)
    try:
        with told(path):
            yield target.file
        target.commit()
    finally:
        target.discard()


@contextmanager
def told(path: Path) -> Iterator[None]:
    """What the system says of writing, as errors that name the file.

    Raises:
        ExportExists, FileError: as they say.
    """
    try:
        yield
    except FileExistsError:
        raise exists(path) from None
    except FileError:
        raise
    except OSError as error:
        raise FileError(error.errno, f"{path} cannot be written: {error.strerror}") from error


def named(beside: Path, path: Path, *, overwrite: bool) -> None:
    """Give a file in the same folder its name, for good.

    Raises:
        FileExistsError: there is something of that name, and it is not to be overwritten.
    """
    if overwrite:
        beside.replace(path)
    else:
        try:
            # Unlike a rename, a link fails where there is something already.
            os.link(beside, path)
            beside.unlink()
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if path.exists():
                raise FileExistsError from None
            beside.replace(path)
    sync_folder(path.parent)


def exists(path: Path, *, replaceable: bool = False, resumable: bool = False) -> ExportExists:
    """The error for a name that is taken, with the arguments that the caller has for it.

    >>> print(exists(Path("a.ss"), replaceable=True))
    a.ss exists already: choose another name, or give overwrite=True to replace it
    """
    ways = ", or give overwrite=True to replace it" * replaceable
    ways += " or resume=True to keep it" * (replaceable and resumable)
    return ExportExists(f"{path} exists already: choose another name{ways}")


def sync_folder(folder: Path) -> None:
    """Put on the disk which names a folder has."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


async def in_thread(function: Callable[[], T], undo: Callable[[T], object] | None = None) -> T:
    """What a function gives that uses the disk, called in a thread of its own.

    An interrupt comes after it, not amid it; `undo` then gets what nobody else will.
    """
    working = asyncio.create_task(asyncio.to_thread(function))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.wait([working])
        if undo is not None and working.exception() is None:
            undo(working.result())
        raise
