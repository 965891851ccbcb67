"""Groups that go on where they were: which messages come again after an end, or a crash."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import seastream_nb as ss
from seastream_nb.errors import ConfigError, FileError
from seastream_nb.file import groups
from seastream_nb.file.writer import FileWriter
from tests.file.consuming import SOON, consuming, message, messages, numbers, opened, write
from tests.file.files import encoded, written
from tests.servers import eventually


def resuming(path: Path, *keys: str, **options: Any) -> Any:
    return consuming(path, *(keys or ("a",)), mode="resumable", **({"group": "g"} | options))


def kept(path: Path) -> dict[tuple[str, str], tuple[int, int]]:
    with closing(sqlite3.connect(f"{path}.positions")) as database:
        rows = database.execute("select * from position").fetchall()
    return {(group, stream): (base, frames) for group, stream, base, frames in rows}


@pytest.mark.parametrize("rule", ["delayed", "immediate"])
def test_what_was_taken_does_not_come_again_after_the_end(rule: str, tmp_path: Path):
    path = tmp_path / "a.ss"
    write(path, messages(1, 100))
    got: list[int | None] = []
    while len(got) < 100:
        with resuming(path, auto_commit=rule) as consumer:
            got += numbers(consumer.take(13, 0.2))
    assert got == list(range(1, 101))


def test_what_was_aborted_comes_again(tmp_path: Path):
    path = tmp_path / "a.ss"
    write(path, messages(1, 10))
    for _ in range(2):
        consumer = ss.Consumer(opened(path, "a", mode="resumable", auto_stream_reset="earliest"))
        assert numbers(consumer.take(4, SOON)) == [1, 2, 3, 4]
        consumer.abort()


def test_delayed_and_immediate_commit_by_themselves(tmp_path: Path):
    path = tmp_path / "a.ss"
    write(path, messages(1, 10))
    for rule, expected in (("immediate", 1), ("delayed", 5)):
        consumer = ss.Consumer(
            opened(
                path,
                "a",
                mode="resumable",
                group="g",
                auto_commit=rule,
                auto_commit_delay=0.05,
                auto_stream_reset="earliest",
            )
        )
        before = kept(path)
        assert numbers(consumer.take(4, SOON))[0] == expected
        eventually(lambda before=before: kept(path) != before)
        consumer.abort()
    with resuming(path) as consumer:
        assert consumer.next(SOON).sequence == 9


def test_only_an_unbroken_run_of_acks_moves_the_position(tmp_path: Path):
    path = tmp_path / "a.ss"
    write(path, messages(1, 10))
    with resuming(path, auto_commit="disabled") as consumer:
        taken = consumer.take(10, SOON)
        for n in (1, 2, 4, 5):
            consumer.ack(taken[n - 1])
        consumer.commit()
        assert numbers(taken) == list(range(1, 11))
    with resuming(path, auto_commit="disabled") as consumer:
        again = consumer.take(8, SOON)
        assert numbers(again) == list(range(3, 11))
        for each in again:
            consumer.ack(each.header)
    with resuming(path) as consumer:
        assert consumer.take(1, 0.1) == []


def test_rolling_commits_ride_on_taking(tmp_path: Path):
    path = tmp_path / "a.ss"
    write(path, messages(1, 10))
    consumer = ss.Consumer(
        opened(
            path,
            "a",
            mode="resumable",
            group="g",
            auto_commit="rolling",
            auto_commit_interval=0,
            auto_stream_reset="earliest",
        )
    )
    begun = kept(path)
    consumer.ack(consumer.next(SOON))
    message = consumer.next(SOON)  # commits the first
    eventually(lambda: kept(path) != begun)
    one = kept(path)
    consumer.ack(message)
    consumer.next(SOON)
    eventually(lambda: kept(path) != one)
    consumer.abort()
    with resuming(path) as consumer:
        assert consumer.next(SOON).sequence == 3


def test_the_group_begins_at_the_latest_and_that_is_kept_at_once(tmp_path: Path):
    path = tmp_path / "a.ss"
    write(path, messages(1, 5), eos=True)
    with resuming(path, auto_stream_reset="latest"):
        pass
    write(path, messages(6, 8), eos=True)
    with resuming(path, auto_stream_reset="latest") as consumer:
        assert numbers(list(consumer)) == [6, 7, 8]


def test_a_file_that_goes_on_after_its_mark_is_resumed(tmp_path: Path):
    """Gap 2, as a group meets it: the mark that it read is written over."""
    path = tmp_path / "a.ss"
    write(path, messages(1, 5), eos=True)
    for first in (1, 6, 11):
        with resuming(path) as consumer:
            assert numbers(list(consumer)) == list(range(first, first + 5))
        write(path, messages(first + 5, first + 9), eos=True)


def test_streams_of_one_group_stand_each_where_it_was(tmp_path: Path):
    path = tmp_path / "a.ss"
    write(path, [message(n, key) for n in range(1, 300) for key in "ab"], eos=True)
    with resuming(path, "a") as consumer:
        assert numbers(consumer.take(250, SOON)) == list(range(1, 251))
    with resuming(path, "a", "b", auto_commit="disabled") as consumer:
        taken = list(consumer)
        assert [each.sequence for each in taken if each.stream == "a"] == list(range(251, 300))
        assert [each.sequence for each in taken if each.stream == "b"] == list(range(1, 300))
        for each in taken:
            if each.stream == "b" and (each.sequence or 0) <= 100:
                consumer.ack(each)
    with resuming(path, "b", "a") as consumer:
        taken = list(consumer)
        assert [each.sequence for each in taken if each.stream == "a"] == list(range(251, 300))
        assert [each.sequence for each in taken if each.stream == "b"] == list(range(101, 300))


def test_groups_stand_apart(tmp_path: Path):
    path = tmp_path / "a.ss"
    write(path, messages(1, 5), eos=True)
    for group in ("g", "h"):
        with resuming(path, group=group) as consumer:
            assert numbers(list(consumer)) == [1, 2, 3, 4, 5]
    assert set(kept(path)) == {("g", "a"), ("h", "a")}


def test_a_seek_leaves_the_group_where_it_is(tmp_path: Path):
    path = tmp_path / "a.ss"
    write(path, messages(1, 9))
    with resuming(path) as consumer:
        assert numbers(consumer.take(3, SOON)) == [1, 2, 3]
        consumer.rewind(7)
        assert numbers(consumer.take(3, SOON)) == [7, 8, 9]
        consumer.resume_group()
        assert numbers(consumer.take(2, SOON)) == [4, 5]
        consumer.rewind("end")
    with resuming(path) as consumer:
        assert numbers(consumer.take(4, SOON)) == [6, 7, 8, 9]


def test_acks_of_what_was_sought_count_for_what_the_group_waits_for_only(tmp_path: Path):
    path = tmp_path / "a.ss"
    write(path, messages(1, 9))
    with resuming(path, auto_commit="disabled", group="h") as consumer:
        consumer.rewind(1)
        for each in consumer.take(9, SOON):
            consumer.ack(each)
        consumer.commit()
    with resuming(path, group="h") as consumer:
        assert len(consumer.take(9, SOON)) == 9


def test_positions_of_another_file_are_refused(tmp_path: Path):
    path = tmp_path / "a.ss"
    write(path, messages(1, 3))
    with resuming(path) as consumer:
        consumer.take(2, SOON)
    written(tmp_path, encoded(messages(1, 9)), "a.ss")
    with pytest.raises(ConfigError, match="another file"):
        opened(path, "a", mode="resumable", group="g")
    Path(f"{path}.positions").unlink()
    with resuming(path) as consumer:
        assert len(consumer.take(9, SOON)) == 9


def test_a_file_without_header_can_be_resumed_before_it_has_one(tmp_path: Path):
    path = written(tmp_path, b"", "a.ss")
    with resuming(path, auto_stream_reset="latest") as consumer:
        write(path, messages(1, 3))
        assert numbers(consumer.take(2, SOON)) == [1, 2]
    with resuming(path) as consumer:
        assert consumer.next(SOON).sequence == 3


def test_a_group_that_cannot_be_joined_leaves_nothing_behind(tmp_path: Path):
    for mode in ("resumable", "load_balanced"):
        with pytest.raises(FileError, match="missing"):
            opened(tmp_path / "missing.ss", "a", mode=mode)
    assert list(tmp_path.iterdir()) == []
    assert not groups._groups


def test_what_is_no_database_is_refused(tmp_path: Path):
    path = tmp_path / "a.ss"
    write(path, messages(1, 3))
    Path(f"{path}.positions").write_bytes(b"something else" * 100)
    with pytest.raises(FileError, match="positions cannot be used"):
        opened(path, "a", mode="resumable")


KILLED = """
import os, sys
from tests.file.test_resuming import resuming, Path
with resuming(Path(sys.argv[1]), auto_commit="disabled") as consumer:
    for count, message in enumerate(consumer, 1):
        print(message.sequence, flush=True)
        consumer.ack(message)
        if message.sequence % 10 == 0:
            consumer.commit()
        if count == 37:
            os._exit(1)
"""


def test_nothing_is_lost_when_the_process_dies(tmp_path: Path):
    path = tmp_path / "a.ss"
    write(path, messages(1, 100), eos=True)
    got: list[list[int]] = []
    for _ in range(3):
        ran = subprocess.run(
            [sys.executable, "-c", KILLED, str(path)],
            capture_output=True,
            text=True,
            check=False,
            cwd=Path(__file__).parents[2],
        )
        got.append([int(each) for each in ran.stdout.split()])
    assert got == [list(range(1, 38)), list(range(31, 68)), list(range(61, 98))]


def test_messages_between_others_are_counted_right_across_pieces(tmp_path: Path):
    """Positions are kept by the order of frames, whatever stands between them."""
    path = tmp_path / "a.ss"
    frames = [message(n, "abc"[n % 3]) for n in range(1, 400)]
    big = [frame.of(frame.place, frame.payload.ljust(9_000)) for frame in frames]
    with FileWriter(path, create="if_missing") as writer:
        writer.write(big)
        writer.end(eos=True)
    got: list[int | None] = []
    while True:
        with resuming(path, "a", "c") as consumer:
            part = consumer.take(17, 0.5) if len(got) < 266 else []
        if not part:
            break
        got += numbers(part)
    assert got == [n for n in range(1, 400) if n % 3 != 1]
