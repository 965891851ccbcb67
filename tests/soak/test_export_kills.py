"""An export that is killed at any moment, again and again, ends with every row once."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

import seastream_nb as ss
from seastream_nb.export.folder import MANIFEST
from tests.export.test_to_parquet import PROGRAM, SCHEMA, fill_json, same, table

if TYPE_CHECKING:
    from pathlib import Path

    import redis

ROUNDS = 3


@pytest.mark.soak
@pytest.mark.parametrize("round_", range(ROUNDS))
def test_kills_lose_nothing_and_double_nothing(
    streamer: ss.Streamer, client: redis.Redis, url: str, tmp_path: Path, round_: int
) -> None:
    chance = random.Random(round_)
    for shard in (0, 1):
        fill_json(client, f"s:{shard}", list(range(150_000)))
    expected = streamer["s"].json(SCHEMA).reader().read_all()
    folder = tmp_path / "s"
    command: list[Any] = [sys.executable, "-c", PROGRAM, url, folder, "1001", "resume"]
    kills = 0
    for _ in range(100):
        program = subprocess.Popen(list(map(str, command)))
        # On a slow machine more time is needed to begin with.
        time.sleep(chance.uniform(0.7, 1.4 + 0.2 * kills))
        if program.poll() is not None:
            assert program.returncode == 0
            break
        program.kill()
        program.wait()
        kills += 1
        if (tmp_path / "s.part" / MANIFEST).exists():  # the ends are pinned before it is there
            fill_json(client, "s:0", [200_000 + kills])
    print(f"\nexport killed {kills} times, {len(list(folder.glob('*.parquet')))} files")
    assert kills
    assert same(table(folder), expected)
