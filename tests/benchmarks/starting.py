"""What the first line of a notebook costs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

from tests.benchmarks.harness import Measure, duration
from tests.benchmarks.place import Place

TIMED = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"


@duration(at_most=1.3)
def import_time(_place: Place) -> Iterator[tuple[Measure, Measure]]:
    """The package, against the two libraries that it cannot do without."""
    yield importing("seastream_nb"), importing("redis, pyarrow")


def importing(modules: str) -> Measure:
    command = [sys.executable, "-c", TIMED.format(modules)]
    return lambda: float(subprocess.check_output(command))
