"""Whatever was done to a file: errors with a place, nothing large, and everyone agrees."""

from __future__ import annotations

from pathlib import Path

from tests.fuzz.running import run


def test_damaged_files_keep_what_is_whole_and_all_readers_agree(tmp_path: Path) -> None:
    tally = run(tmp_path, 1, range(900))
    assert tally.failures == []
    outcomes = {name for counts in tally.outcomes.values() for name in counts}
    assert outcomes == {"read", "torn", "refused"}
