"""`to_ss` at size: memory that does not grow with the stream, and kills at any moment."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

import seastream_nb as ss
from tests.test_replay import FIRST_MS, fill
from tests.test_to_ss import PROGRAM, without_time

if TYPE_CHECKING:
    from pathlib import Path

    import redis

GROWS_BY = 64  # MiB at most
# Written by the server itself: two million requests would take minutes.
MANY = """
for n = ARGV[1], ARGV[2] do
    local id = string.format('%.0f-0', ARGV[3] + n)
    redis.call('XADD', KEYS[1] .. ':' .. n % 4, id, 'msg', ARGV[4] .. n)
end
"""
MEASURE = """
import resource, sys
import seastream_nb as ss
with ss.connect(sys.argv[1]) as streamer:
    report = streamer[sys.argv[2]].to_ss(sys.argv[3])
print(report.messages, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def write_many(client: redis.Redis, key: str, count: int) -> None:
    for start in range(0, count, 20_000):
        stop = min(start + 20_000, count)
        client.eval(MANY, 1, key, start, stop - 1, FIRST_MS, "x" * 100)


def peak(url: str, key: str, path: Path) -> tuple[int, int]:
    """How many messages were written, and how many MiB the process took for it."""
    command = [sys.executable, "-c", MEASURE, url, key, str(path)]
    messages, used = subprocess.check_output(command, text=True).split()
    return int(messages), int(used)


@pytest.mark.soak
def test_ten_times_the_messages_take_no_more_memory(
    url: str, client: redis.Redis, tmp_path: Path
) -> None:
    counts = {"few": 200_000, "many": 2_000_000}
    used = {}
    for key, count in counts.items():
        write_many(client, key, count)
        messages, used[key] = peak(url, key, tmp_path / f"{key}.ss")
        assert messages == count
    print(f"\nexports took {used} MiB")
    assert used["many"] - used["few"] <= GROWS_BY


@pytest.mark.soak
@pytest.mark.parametrize("round_", range(3))
def test_kills_lose_nothing_and_double_nothing(
    url: str, client: redis.Redis, tmp_path: Path, round_: int
) -> None:
    chance = random.Random(round_)
    for shard in (0, 1):
        fill(client, f"s:{shard}", list(range(300_000)))
    path, part = tmp_path / "s.ss", tmp_path / "s.ss.part"
    (tmp_path / "whole").mkdir()
    with ss.connect(url, beacon_interval=1024) as streamer:
        streamer["s"].to_ss(tmp_path / "whole" / "s.ss")
    kills = 0
    for _ in range(100):
        program = subprocess.Popen([sys.executable, "-c", PROGRAM, url, str(path), "resume"])
        # On a slow machine more time is needed to begin with.
        time.sleep(chance.uniform(0.7, 1.4 + 0.2 * kills))
        if program.poll() is not None:
            assert program.returncode == 0
            break
        program.kill()
        program.wait()
        kills += 1
        if part.exists() and part.stat().st_size:  # the ends are pinned before it has any byte
            fill(client, "s:0", [400_000 + kills])
    print(f"\nexport killed {kills} times")
    assert kills
    same = without_time(path) == without_time(tmp_path / "whole" / "s.ss")
    assert same  # what differs would take minutes to show
