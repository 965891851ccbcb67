"""An open file that nobody else writes to, noticed when it is taken away."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Literal
from weakref import WeakSet

from seastream_nb.errors import FileError

Create = Literal["never", "if_missing", "exclusive"]
Identity = tuple[int, int]

_FLAGS = {"never": 0, "if_missing": os.O_CREAT, "exclusive": os.O_CREAT | os.O_EXCL}
_MODE = 0o666
_FEW_PARTS = 8


def identity(path: str | os.PathLike[str]) -> Identity | None:
    """What tells this file from every other, whatever its spelling; None if there is none."""
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def make_sure(path: str | os.PathLike[str], create: Create) -> None:
    """Have a file there, as `create` says; one that is made is empty.

    Raises:
        FileError: it is missing, or with "exclusive" there already, or cannot be opened.
    """
    os.close(_opened(Path(path), create))


class Handle:
    """A file, locked against other writers until it is closed.

    Attributes:
        path: how it was named.
        identity: device and inode.

    Raises:
        FileError: it cannot be opened, or another writer has it; the text names it.
    """

    def __init__(self, path: str | os.PathLike[str], create: Create = "never") -> None:
        self.path = Path(path)
        # Where the process goes later changes nothing.
        self._there = self.path.absolute()
        while True:
            self._descriptor: int | None = _opened(self.path, create)
            try:
                self._lock()
            except BaseException:
                self.close()
                raise
            self.identity = _identity(os.fstat(self._descriptor))
            # Until it was locked, another file may have come in its place.
            if identity(self._there) == self.identity:
                break
            self.close()
        _handles.add(self)

    @property
    def closed(self) -> bool:
        """Whether it is not open any more."""
        return self._descriptor is None

    @property
    def descriptor(self) -> int:
        """The open file.

        Raises:
            FileError: it is closed.
        """
        if self._descriptor is None:
            raise FileError(errno.EBADF, f"{self.path} is closed: open it again")
        return self._descriptor

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return os.fstat(self.descriptor).st_size

    def reader(self) -> BinaryIO:
        """The same open file, to be read; closing it leaves this one open."""
        return os.fdopen(self.descriptor, "rb", closefd=False)

    def require_in_place(self, size: int) -> None:
        """Make sure that the file is where it was, and as long as it was left.

        Raises:
            FileError: it was removed, renamed, replaced, or written by somebody else.
        """
        status = os.fstat(self.descriptor)
        there = identity(self._there)
        if there != self.identity:
            happened = "removed" if there is None and not status.st_nlink else "renamed or replaced"
            raise FileError(errno.ENOENT, f"{self.path} was {happened} while it was written")
        if status.st_size != size:
            raise FileError(
                errno.EIO,
                f"{self.path} was changed while it was written: it should have {size:,} bytes, "
                f"not {status.st_size:,}",
            )

    def write(self, parts: Sequence[bytes | memoryview], at: int) -> None:
        """Write all of these bytes, one part after another, from an offset on.

        Raises:
            FileError: they could not be written, or not all of them.
        """
        with self._failing("written"):
            # To join many small parts costs less than to give them one by one, or as a list.
            for part in parts if len(parts) <= _FEW_PARTS else [b"".join(parts)]:
                left = memoryview(part)
                while left:
                    count = os.pwrite(self.descriptor, left, at)
                    left = left[count:]
                    at += count

    def cut(self, size: int) -> None:
        """Cut off what is behind an offset.

        Raises:
            FileError: it cannot be cut.
        """
        with self._failing("cut off"):
            os.ftruncate(self.descriptor, size)

    def sync(self, *, folder: bool = False) -> None:
        """Wait until the disk has what was written, and with `folder` the name of the file too.

        Raises:
            FileError: the disk failed, and what of it is written is unknown.
        """
        with self._failing("written to disk"):
            os.fsync(self.descriptor)
            if folder:
                above = os.open(self._there.parent, os.O_RDONLY)
                try:
                    os.fsync(above)
                finally:
                    os.close(above)

    def close(self) -> None:
        """Let others write to it. Closing twice is fine."""
        if self._descriptor is not None:
            # Closing alone would leave the lock to a process that is just being forked.
            with suppress(OSError):
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        self.abandon()

    def abandon(self) -> None:
        """Close without a word to others: the lock stays with the parent process."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _lock(self) -> None:
        with self._failing("locked"):
            try:
                fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise FileError(
                    errno.EWOULDBLOCK,
                    f"{self.path} is being written already, by another process or by another "
                    "streamer of this one: a file has one writer at a time",
                ) from None

    @contextmanager
    def _failing(self, done: str) -> Iterator[None]:
        try:
            yield
        except FileError:
            raise
        except OSError as error:
            raise FileError(
                error.errno, f"{self.path} cannot be {done}: {error.strerror}"
            ) from error


def _opened(path: Path, create: Create) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC | _FLAGS[create], _MODE)
    except FileExistsError:
        raise FileError(
            errno.EEXIST, f"{path} exists already, and create='exclusive' makes a new file"
        ) from None
    except FileNotFoundError as error:
        hint = ": create='if_missing' makes it" if path.parent.is_dir() else ""
        raise FileError(error.errno, f"{path} cannot be opened: {error.strerror}{hint}") from None
    except OSError as error:
        raise FileError(error.errno, f"{path} cannot be opened: {error.strerror}") from error


def _identity(status: os.stat_result) -> Identity:
    return status.st_dev, status.st_ino


_handles: WeakSet[Handle] = WeakSet()


def _leave_to_parent() -> None:
    for handle in _handles:
        handle.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)
