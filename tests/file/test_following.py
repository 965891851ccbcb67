"""Following a file: the past, then what is appended, without gap or duplicate."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import seastream_nb as ss
from tests.file.files import END, encoded, numbered, written


def payloads(batches: Iterator[Any], count: int) -> list[bytes]:
    got: list[bytes] = []
    for batch in batches:
        got += batch["payload"].to_pylist()
        if len(got) >= count:
            break
    return got


def test_the_past_and_what_is_appended_come_once_in_order(tmp_path: Path) -> None:
    path = tmp_path / "live.ss"
    with (
        ss.connect(path, create="if_missing", beacon_interval=1024) as streamer,
        streamer.producer("a") as producer,
        ThreadPoolExecutor(1) as thread,
    ):
        for n in range(100):
            producer.send(f"{n}")
        producer.flush()
        rest = thread.submit(payloads, streamer["a"].follow(), 300)
        for n in range(100, 300):
            producer.send_to("b", "other")
            producer.send(f"{n}")
            if n % 20 == 0:
                producer.flush()
        producer.flush()
        assert rest.result(20) == [b"%d" % n for n in range(300)]


def test_a_message_that_is_being_written_is_waited_for(tmp_path: Path) -> None:
    data = encoded(numbered(10))
    path = written(tmp_path, data[:-7])
    with ss.connect(path) as streamer, ThreadPoolExecutor(1) as thread:
        rest = thread.submit(payloads, streamer["a"].follow(), 10)
        with path.open("ab") as file:
            file.write(data[-7:])
        assert len(rest.result(20)) == 10


def test_following_ends_at_the_mark_of_the_end(tmp_path: Path) -> None:
    path = written(tmp_path, encoded([*numbered(3), END]))
    with ss.connect(path) as streamer:
        assert sum(map(len, streamer["a"].since("latest").follow())) == 0
        assert sum(map(len, streamer["a"].follow())) == 3


def test_following_ends_at_until(tmp_path: Path) -> None:
    path = written(tmp_path, encoded(numbered(5)))
    with ss.connect(path) as streamer:
        table = list(streamer["a"].until("1700000000003-0").follow())
    assert sum(map(len, table)) == 2


def test_a_shard_that_is_new_is_followed_too(tmp_path: Path) -> None:
    path = written(tmp_path, encoded(numbered(1)))
    with ss.connect(path) as streamer, ThreadPoolExecutor(1) as thread:
        rest = thread.submit(payloads, streamer["a"].follow(), 2)
        with streamer.producer("a", sharder=ss.RoundRobinSharder(9)) as producer:
            for _ in range(9):
                producer.send("x")
        assert len(rest.result(20)) >= 2


def test_removal_and_rotation_are_noticed(tmp_path: Path) -> None:
    path = written(tmp_path, encoded(numbered(3)))
    with ss.connect(path) as streamer:
        batches = streamer["a"].follow()
        assert len(payloads(batches, 3)) == 3
        path.rename(tmp_path / "old.ss")
        written(tmp_path, encoded(numbered(2)))
        with pytest.raises(ss.StreamReset, match="another file has its name"):
            next(batches)
        batches = streamer["a"].follow()
        assert len(payloads(batches, 2)) == 2
        path.unlink()
        with pytest.raises(ss.FileError, match="was removed"):
            next(batches)


def test_a_file_that_is_cut_is_noticed(tmp_path: Path) -> None:
    path = written(tmp_path, encoded(numbered(30)))
    with ss.connect(path) as streamer:
        batches = streamer["a"].follow()
        assert len(payloads(batches, 30)) == 30
        with path.open("r+b") as file:
            file.truncate(200)
        with pytest.raises(ss.StreamReset, match="was cut short"):
            next(batches)


def test_an_end_that_is_no_end_is_passed(tmp_path: Path) -> None:
    """As SeaStreamer leaves a file that it opened again before its first beacon."""
    data = encoded([*numbered(2), END, *numbered(3)])
    path = written(tmp_path, data[:-30])
    with ss.connect(path) as streamer, ThreadPoolExecutor(1) as thread:
        rest = thread.submit(payloads, streamer["a"].follow(), 5)
        with path.open("ab") as file:
            file.write(data[-30:])
        assert len(rest.result(20)) == 5
