"""Damaged files in numbers: `make fuzz`, or `python -m tests.fuzz --files 200000 --seed N`.

Every file follows from the seed and its number, so `--seed N --only NUMBER` makes one again, and
leaves it behind as `fuzzed.ss`. Exit status 1 if anything did not hold.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.fuzz.running import MOST_RSS, Tally, made, run, work

BATCH = 500


def fuzz(files: int, seed: int) -> bool:
    tasks = [(seed, at, min(files, at + BATCH)) for at in range(0, files, BATCH)]
    print(f"fuzz        {files:,} files, seed {seed}", flush=True)
    started, total, most = time.monotonic(), Tally(), 0
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        for tally, peak in pool.map(work, tasks):
            for number, text in tally.failures:
                print(f"FAILED      --seed {seed} --only {number}: {text}", flush=True)
            total, most = total + tally, max(most, peak)
    report(total, most, time.monotonic() - started)
    return not total.failures and most <= MOST_RSS


def report(total: Tally, most: int, seconds: float) -> None:
    outcomes: Counter[str] = Counter()
    print(f"{'':12}{'files':>9}{'read':>9}{'torn':>9}{'refused':>9}")
    for name, counts in sorted(total.outcomes.items()):
        outcomes += counts
        print(f"{name:12}" + row(counts))
    print(f"in {seconds:.0f} s, a file damaged in several ways counted for each")
    slowest, number = total.slowest
    print(f"slowest     {slowest * 1000:.0f} ms, file {number}")
    print(f"memory      at most {most / 2**20:,.0f} MiB a process, {MOST_RSS / 2**20:,.0f} allowed")
    print(f"files       {total.files:,}, failures {len(total.failures)}")


def row(counts: Counter[str]) -> str:
    numbers = (counts.total(), counts["read"], counts["torn"], counts["refused"])
    return "".join(f"{each:>9,}" for each in numbers)


def again(seed: int, number: int) -> bool:
    """One file once more, kept."""
    whole, data, names, _ = made(seed, number)
    Path("fuzzed.ss").write_bytes(data)
    print(f"fuzzed.ss   {len(whole):,} bytes, {', '.join(names)}: {len(data):,} bytes")
    with TemporaryDirectory() as folder:
        tally = run(Path(folder), seed, [number])
    for _, text in tally.failures:
        print(text)
    return not tally.failures


def main() -> None:
    """Run one."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--files", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=random.randrange(10_000))
    parser.add_argument("--only", type=int, metavar="NUMBER", help="this file of the run again")
    given = parser.parse_args()
    good = fuzz(given.files, given.seed) if given.only is None else again(given.seed, given.only)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
