"""The whole way of a recording: server, file, check, replay to another server, a file again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import seastream_nb as ss
from seastream_nb.samples import earthquakes, prices


@pytest.fixture
def other() -> Iterator[ss.Streamer]:
    with ss.embedded() as server, ss.connect(server.url) as streamer:
        yield streamer


def body(path: Path) -> bytes:
    """A file without its header, which tells when it was made, and its name."""
    return path.read_bytes()[128:]


def test_a_week_of_earthquakes_goes_to_another_server_and_back_unchanged(
    streamer: ss.Streamer, other: ss.Streamer, tmp_path: Path
) -> None:
    with streamer.producer("quakes", sharder=ss.RoundRobinSharder(3)) as producer:
        for each in earthquakes():
            time = each["time"]
            producer.send(json.dumps(each, default=str), timestamp=time)
        producer.send(b"\x00\xff not text")
    report = streamer["quakes"].to_ss(tmp_path / "one.ss")
    assert report.complete
    checked = ss.verify(tmp_path / "one.ss")
    assert checked.ok
    assert checked.messages == report.messages == 1708
    with ss.connect(tmp_path / "one.ss", read_only=True) as file, other.producer() as producer:
        replayed = file["quakes"].replay_to(producer, speed=None)
    assert replayed.messages == 1708
    columns = "stream", "shard", "id", "payload"
    before = streamer["quakes"].select(*columns).to_arrow()
    assert other["quakes"].select(*columns).to_arrow().equals(before)
    other["quakes"].to_ss(tmp_path / "two.ss")
    # A file does not tell shard 0 from a key without a shard.
    assert streamer.catalog()["quakes"].keys == ("quakes:0", "quakes:1", "quakes:2")
    assert other.catalog()["quakes"].keys == ("quakes", "quakes:1", "quakes:2")
    same = body(tmp_path / "one.ss") == body(tmp_path / "two.ss")
    assert same


def test_a_file_replayed_into_a_file_keeps_every_number(tmp_path: Path) -> None:
    with (
        ss.connect(tmp_path / "one.ss", create="exclusive", beacon_interval=4096) as one,
        ss.connect(tmp_path / "two.ss", create="exclusive", beacon_interval=4096) as two,
    ):
        with one.producer("prices", sharder=ss.RoundRobinSharder(4)) as producer:
            for tick in prices(count=500):
                producer.send(tick.json(), timestamp=tick.time)
        with two.producer() as producer:
            one["prices"].replay_to(producer, speed=None)
        assert two["prices"].to_arrow().equals(one["prices"].to_arrow())
        assert [each.sequence for each in two["prices"]] == list(range(1, 501))
    assert ss.verify(tmp_path / "two.ss").ok


def test_a_merge_of_a_server_and_a_file_is_one_stream(
    streamer: ss.Streamer, tmp_path: Path
) -> None:
    with ss.connect(tmp_path / "one.ss", create="exclusive") as file:
        with file.producer("a") as producer, streamer.producer("a") as live:
            for second in range(10):
                sender = live if second % 2 else producer
                sender.send(str(second), timestamp=f"2026-01-01T00:00:0{second}Z")
        both = ss.merge(file["a"], streamer["a"]).text()
        assert both.to_arrow()["payload"].to_pylist() == list("0123456789")
        live_part = streamer["a"].since("2026-01-01T00:00:05Z")
        assert ss.merge(file["a"], live_part).count() == 8
