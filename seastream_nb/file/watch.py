"""Files that change, told by the kernel where it can: one inotify descriptor for all of them.

It is read by the loop itself, which takes no thread and no polling.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

# linux/inotify.h
_MODIFY, _ATTRIB, _DELETE_SELF, _MOVE_SELF, _IGNORED = 0x2, 0x4, 0x400, 0x800, 0x8000
_EVENTS = _MODIFY | _ATTRIB | _DELETE_SELF | _MOVE_SELF
_HEAD = struct.Struct("iIII")
_READ_BYTES = 64 * 2**10

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

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor
        self._loop = asyncio.get_running_loop()
        self._told: dict[int, list[Told]] = {}
        self._loop.add_reader(descriptor, self._read)

    @classmethod
    def of_loop(cls) -> _Watches | None:
        """Those of the running loop; None where the system has no inotify to give."""
        found = cls.current
        if found is None or found._loop is not asyncio.get_running_loop():
            descriptor = _call("inotify_init1", os.O_NONBLOCK | os.O_CLOEXEC)
            found = None if descriptor < 0 else cls(descriptor)
            cls.current = found
        return found

    def add(self, path: Path, told: Told) -> int | None:
        """Tell of a file too; None where the system refuses."""
        if self._descriptor is None:
            return None
        number = _call("inotify_add_watch", self._descriptor, os.fsencode(path), _EVENTS)
        if number < 0:
            self._end_unused()
            return None
        self._told.setdefault(number, []).append(told)
        return number

    def remove(self, number: int, told: Told) -> None:
        """Tell this one no more."""
        held = self._told.get(number, [])
        with suppress(ValueError):
            held.remove(told)
        if not held and self._told.pop(number, None) is not None and self._descriptor is not None:
            _call("inotify_rm_watch", self._descriptor, number)
        self._end_unused()

    def _end_unused(self) -> None:
        if not self._told and self._descriptor is not None:
            if not self._loop.is_closed():
                self._loop.remove_reader(self._descriptor)
            self.close()

    def close(self) -> None:
        """Give the descriptor back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = None
        if _Watches.current is self:
            _Watches.current = None

    def _read(self) -> None:
        assert self._descriptor is not None
        try:
            data = os.read(self._descriptor, _READ_BYTES)
        except BlockingIOError:
            return
        at, changed = 0, set()
        while at < len(data):
            number, mask, _, length = _HEAD.unpack_from(data, at)
            at += _HEAD.size + length
            changed.add(number)
            if number == -1:  # events were dropped, of which nobody knows
                changed.update(self._told)
            if mask & _IGNORED:
                for told in self._told.pop(number, []):
                    told()
        for number in changed:
            for told in list(self._told.get(number, [])):
                told()


def _call(name: str, *args: object) -> int:
    """Call the C library; below 0 where it fails, or has no such function."""
    try:
        return int(getattr(ctypes.CDLL(None), name)(*args))
    except (AttributeError, OSError, TypeError):
        return -1


def _close_in_child() -> None:
    if _Watches.current is not None:
        _Watches.current.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)
