"""Files of a run, one by one, each within a time and what they came to."""

from __future__ import annotations

import os
import resource
import signal
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import NoReturn

from tests.fuzz.making import damaged, whole_file
from tests.fuzz.oracles import Broken, hold, kernels

# One file in so many is large, and of one in so many the memory is looked at.
LARGE, TRACED = 1000, 40
# Far more than any file takes, even on a busy machine.
SECONDS = 20.0
# Of a process: libraries and kernels are most of it.
MOST_RSS = 2**30


@dataclass
class Tally:
    """What became of files."""

    files: int = 0
    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    failures: list[tuple[int, str]] = field(default_factory=list)
    slowest: tuple[float, int] = (0.0, -1)

    def __add__(self, other: Tally) -> Tally:
        names = self.outcomes.keys() | other.outcomes.keys()
        nothing: Counter[str] = Counter()
        return Tally(
            self.files + other.files,
            {
                name: self.outcomes.get(name, nothing) + other.outcomes.get(name, nothing)
                for name in names
            },
            self.failures + other.failures,
            max(self.slowest, other.slowest),
        )


def made(seed: int, number: int) -> tuple[bytes, bytes, list[str], Random]:
    """A file of a run before and after what was done to it, and the chance that is left."""
    chance = Random(f"{seed}:{number}")
    whole = whole_file(chance, large=number % LARGE == LARGE - 1)
    return whole, *damaged(chance, whole), chance


def run(folder: Path, seed: int, numbers: Iterable[int]) -> Tally:
    """These files, made in this folder."""
    kernels()
    tally = Tally()
    path = folder / "fuzzed.ss"
    for number in numbers:
        _, data, names, chance = made(seed, number)
        path.write_bytes(data)
        started = time.monotonic()
        try:
            with _limited(SECONDS):
                outcome = hold(path, chance.randint(1, 6), memory=number % TRACED == 0)
        except Exception as error:  # whatever escapes is what is looked for
            tally.failures.append((number, f"{', '.join(names)}: {_shown(error)}"))
            outcome = "failed"
        tally.files += 1
        for name in set(names):
            tally.outcomes.setdefault(name, Counter())[outcome] += 1
        tally.slowest = max(tally.slowest, (time.monotonic() - started, number))
    return tally


def _shown(error: Exception) -> str:
    if isinstance(error, Broken):
        return str(error)
    return "".join(traceback.format_exception(error)[-4:])


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Fail what does not end."""

    def too_long(*_: object) -> NoReturn:
        raise Broken(f"it takes more than {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def work(task: tuple[int, int, int]) -> tuple[Tally, int]:
    """Some of the files, in a process of its own, and the most memory that it ever had."""
    seed, first, stop = task
    with TemporaryDirectory(dir=fast_folder()) as folder:
        tally = run(Path(folder), seed, range(first, stop))
    return tally, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def fast_folder() -> Path | None:
    """Where files are kept in memory, if the system has that."""
    folder = Path("/dev/shm")
    return folder if os.access(folder, os.W_OK) else None
