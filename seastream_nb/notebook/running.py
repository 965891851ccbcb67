"""What goes on while no cell runs, by number: `%stream ps` lists it and `%stream stop` ends it."""

from __future__ import annotations

import threading
from typing import Protocol

from seastream_nb.errors import ConfigError
from seastream_nb.notebook.view import Cell, this_cell


class Runs(Protocol):
    """A view that reads on."""

    @property
    def state(self) -> str:
        """Such as "running", "paused" or "stopped"."""

    @property
    def title(self) -> str:
        """What it reads, on one line, without a password."""

    def stop(self) -> None:
        """End it. Stopping twice is fine; any thread may."""


_lock = threading.Lock()
_running: dict[int, tuple[Runs, Cell | None]] = {}
_started = 0


def started(view: Runs) -> int:
    """Its number from now on; what the same cell started before ends: the cell runs again."""
    global _started
    cell = this_cell()
    with _lock:
        before = [each for each, where in _running.values() if cell and cell.runs_again(where)]
        _started += 1
        number = _started
        _running[number] = (view, cell)
    for each in before:
        each.stop()
    return number


def ended(view: Runs) -> None:
    """Forget a view that stopped."""
    with _lock:
        for number in [number for number, (each, _) in _running.items() if each is view]:
            del _running[number]


def running() -> dict[int, Runs]:
    """What runs or is paused, by number."""
    with _lock:
        return {number: view for number, (view, _) in _running.items()}


def stop(number: int) -> None:
    """Stop one.

    Raises:
        ConfigError: there is none of that number; the message lists those there are.
    """
    found = running()
    if number not in found:
        there = ", ".join(map(str, found)) or "none"
        raise ConfigError(f"nothing of number {number} runs; running: {there}")
    found[number].stop()


def stop_all() -> int:
    """Stop everything; how many there were."""
    found = running()
    for view in found.values():
        view.stop()
    return len(found)
