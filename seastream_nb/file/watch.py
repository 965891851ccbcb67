"""Files that change, told by the kernel where it can: one inotify descriptor for all of them.

The loop itself waits for it, which takes no thread and no polling.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncinotify

Told = Callable[[], object]


class Watch:
    """One file that is watched: `told` is called on the loop soon after it changed."""

    def __init__(self, path: Path, told: Told) -> None:
        self._told = told
        self._watches = _Watches.of_loop()
        self._number = self._watches.add(path, told) if self._watches else None

    @property
    def works(self) -> bool:
        """Whether the kernel tells; a network's file system takes the watch and stays silent."""
        return self._number is not None

    def close(self) -> None:
        """Watch no longer; closing twice is fine."""
        if self._watches is not None and self._number is not None:
            self._watches.remove(self._number, self._told)
        self._number = None


class _Watches:
    """The watched files of one loop, and who is told of each."""

    current: _Watches | None = None

    def __init__(self, inotify: asyncinotify.Inotify) -> None:
        self._inotify = inotify
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._watched: dict[int, asyncinotify.Watch] = {}
        self._told: dict[int, list[Told]] = {}
        self._loop.add_reader(inotify.fd, self._read)

    @classmethod
    def of_loop(cls) -> _Watches | None:
        """Those of the running loop; None where the system has no inotify to give."""
        found = cls.current
        if found is None or found._loop is not asyncio.get_running_loop():
            inotify = _inotify()
            found = None if inotify is None else cls(inotify)
            cls.current = found
        return found

    def add(self, path: Path, told: Told) -> int | None:
        """Tell of a file too; None where the system refuses."""
        from asyncinotify import Mask

        changes = Mask.MODIFY | Mask.ATTRIB | Mask.DELETE_SELF | Mask.MOVE_SELF
        try:
            watch = self._inotify.add_watch(path, changes)
        except (OSError, ValueError):  # no such file, too many watches, or closed
            self._end_unused()
            return None
        self._watched[watch.wd] = watch
        self._told.setdefault(watch.wd, []).append(told)
        return watch.wd

    def remove(self, number: int, told: Told) -> None:
        """Tell this one no more."""
        held = self._told.get(number, [])
        with suppress(ValueError):
            held.remove(told)
        if not held and self._told.pop(number, None) is not None:
            with suppress(OSError):  # the file is gone, and its watch with it
                self._inotify.rm_watch(self._watched.pop(number))
        self._end_unused()

    def _end_unused(self) -> None:
        if not self._told and not self._closed:
            if not self._loop.is_closed():
                self._loop.remove_reader(self._inotify.fd)
            self.close()

    def close(self) -> None:
        """Give the descriptor back."""
        self._closed = True
        self._inotify.close()
        if _Watches.current is self:
            _Watches.current = None

    def _read(self) -> None:
        changed: set[int] = set()
        for event in self._inotify:
            if event.watch is None:  # events were dropped, of which nobody knows
                changed.update(self._told)
            else:
                changed.add(event.watch.wd)
        for number in changed:
            for told in list(self._told.get(number, [])):
                told()


def _inotify() -> asyncinotify.Inotify | None:
    if not sys.platform.startswith("linux"):
        return None
    from asyncinotify import Inotify

    try:
        # Iterating ends when there is nothing more for now.
        return Inotify(sync_timeout=0)
    except OSError:  # this user has too many
        return None


def _close_in_child() -> None:
    if _Watches.current is not None:
        _Watches.current.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)
