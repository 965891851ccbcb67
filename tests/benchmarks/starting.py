"""What the first line of a notebook costs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

from tests.benchmarks.harness import Measure, duration
from tests.benchmarks.place import Place

LIBRARIES = "import redis, pyarrow"
TIMED = "import time; t = time.perf_counter(); {}; print(time.perf_counter() - t)"


@duration(at_most=1.3)
def import_time(_place: Place) -> Iterator[tuple[Measure, Measure]]:
    """The package, against the two libraries that it cannot do without."""
    yield importing("import seastream_nb"), importing(LIBRARIES)


@duration(at_most=1.3)
def import_of_connect(_place: Place) -> Iterator[tuple[Measure, Measure]]:
    """The same with its first use, to which the package puts off most of its imports."""
    yield importing("from seastream_nb import connect"), importing(LIBRARIES)


def importing(statement: str) -> Measure:
    command = [sys.executable, "-c", TIMED.format(statement)]
    return lambda: float(subprocess.check_output(command))
