"""`record`: the past and what comes, in a file that is whole however the recording ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

import seastream_nb as ss
from seastream_nb.file.format import FileHeader
from seastream_nb.file.writer import FileWriter
from tests.redis.consuming import send
from tests.servers import eventually
from tests.test_follow import blocked, later
from tests.test_replay import FIRST_MS, at, fill
from tests.test_to_ss import as_kept, as_sent, frames, listed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import redis


def payloads(path: Path) -> list[int]:
    return [int(payload) for _, payload in as_kept(path)]


def test_the_past_and_what_comes_are_recorded(
    matrix_streamer: ss.Streamer, matrix_client: redis.Redis, tmp_path: Path
) -> None:
    for shard in (0, 1):
        fill(matrix_client, f"s:{shard}", list(range(shard, 3_000, 2)))
    stream = matrix_streamer["s"]
    path = tmp_path / "s.ss"
    with later(lambda: send(matrix_client, "s:1", 3_000, 3_001), lambda: blocked(matrix_client)):
        report = stream.record(path, messages=3_002)
    assert as_kept(path) == as_sent(stream)
    assert (report.path, report.messages, report.complete) == (path, 3_002, True)
    assert (report.first_id, report.bytes) == (f"{FIRST_MS}-0", path.stat().st_size)
    assert report.last_id == matrix_client.xrevrange("s:1", count=1)[0][0].decode()
    header = FileHeader.parse(path.read_bytes()[:128])
    assert (header.name, header.interval) == ("s.ss", 2**20)
    assert listed(tmp_path) == ["s.ss"]


def test_no_message_is_missed_or_written_twice_while_a_producer_writes(
    url: str, client: redis.Redis, tmp_path: Path
) -> None:
    total = 20_000
    with ss.connect(url) as streamer, ss.connect(url) as writing:

        def write() -> None:
            with writing.producer("s", sharder=ss.RoundRobinSharder(3)) as producer:
                for number in range(total):
                    producer.send(str(number))

        thread = threading.Thread(target=write)
        thread.start()
        assert eventually(lambda: client.exists("s:0"))
        streamer["s"].record(tmp_path / "s.ss", messages=total)
        thread.join()
        assert sorted(as_kept(tmp_path / "s.ss")) == sorted(as_sent(streamer["s"]))


@pytest.mark.parametrize(
    ("build", "options", "expected"),
    [
        (lambda s: s, {"messages": 3}, [0, 1, 2]),
        (lambda s: s.first(4), {}, [0, 1, 2, 3]),
        (lambda s: s.first(4), {"messages": 2}, [0, 1]),
        (lambda s: s.first(4), {"messages": 9}, [0, 1, 2, 3]),
        (lambda s: s.last(2), {"messages": 1}, [8]),
        (lambda s: s.until(at(2)), {}, [0, 1]),
        (lambda s: s.until("now"), {}, list(range(10))),
        (lambda s: s.json().contains("7").until("now"), {}, [7]),
        (lambda s: s.since("latest"), {"duration": "50ms"}, []),
        (lambda s: s, {"duration": 0.3}, list(range(10))),
    ],
)
def test_it_ends_where_it_is_told_to(
    streamer: ss.Streamer,
    client: redis.Redis,
    tmp_path: Path,
    build: Any,
    options: Any,
    expected: Any,
) -> None:
    fill(client, "s", list(range(10)))
    report = build(streamer["s"]).record(tmp_path / "s.ss", **options)
    assert payloads(tmp_path / "s.ss") == expected
    assert report.messages == len(expected)
    assert report.bytes == (tmp_path / "s.ss").stat().st_size
    assert (report.first_id is None) == (not expected)


def test_what_comes_can_be_read_at_once(
    streamer: ss.Streamer, client: redis.Redis, tmp_path: Path
) -> None:
    path = tmp_path / "s.ss"
    recording = threading.Thread(target=streamer["s"].record, args=(path,), kwargs={"messages": 3})
    recording.start()
    assert eventually(path.exists)
    for number in range(3):
        send(client, "s", number)
        assert eventually(lambda number=number: payloads(path) == list(range(number + 1)))
        if number < 2:
            with pytest.raises(ss.errors.FileError, match="written already"):
                FileWriter(path)
    recording.join()
    assert payloads(path) == [0, 1, 2]


def test_an_interrupt_keeps_what_came(
    streamer: ss.Streamer, client: redis.Redis, tmp_path: Path, alarm: Callable[[float], None]
) -> None:
    fill(client, "s", list(range(10_000)))
    for turn in range(8):
        path = tmp_path / f"{turn}.ss"
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - it may come at once
            alarm(0.01 + turn * 0.04 if turn < 7 else 3)
            streamer["s"].record(path)
        if path.exists():
            assert payloads(path) == list(range(len(frames(path))))
            FileWriter(path).close()
    assert len(frames(path)) == 10_000
    assert streamer["s"].count() == 10_000


PROGRAM = """
import sys
import seastream_nb as ss
with ss.connect(sys.argv[1], beacon_interval=1024) as streamer:
    streamer["s"].record(sys.argv[2])
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_recording_that_is_stopped_has_what_came(
    url: str, client: redis.Redis, tmp_path: Path, how: signal.Signals
) -> None:
    path = tmp_path / "s.ss"
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, url, path], stderr=subprocess.DEVNULL
    )
    assert eventually(lambda: blocked(client))
    fill(client, "s", list(range(100)))
    assert eventually(lambda: len(frames(path)) == 100)
    os.kill(program.pid, how)
    assert program.wait() != 0
    assert payloads(path) == list(range(100))


def test_a_failure_keeps_what_came(
    streamer: ss.Streamer, client: redis.Redis, tmp_path: Path
) -> None:
    fill(client, "s", [0, 1])

    def write() -> None:
        fill(client, "s", [2])
        client.xadd("s", {"msg": "x"}, id=f"{FIRST_MS + 3}-65536")

    with (
        later(write, lambda: blocked(client)),
        pytest.raises(ss.errors.ConfigError, match=f"entry {FIRST_MS + 3}-65536 of 's'"),
    ):
        streamer["s"].record(tmp_path / "s.ss")
    assert payloads(tmp_path / "s.ss")[:2] == [0, 1]


@pytest.mark.parametrize("entry", ["5-65536", f"{2**48}-0", f"{2**63}-1", "253402300800000-0"])
def test_an_id_that_no_file_can_hold_is_named(
    streamer: ss.Streamer, client: redis.Redis, tmp_path: Path, entry: str
) -> None:
    client.xadd("s", {"msg": "x"}, id=entry)
    with pytest.raises(ss.errors.ConfigError, match=f"entry {entry} of 's'"):
        streamer["s"].record(tmp_path / "s.ss")


def test_nanosecond_ids_are_refused(url: str, client: redis.Redis, tmp_path: Path) -> None:
    client.xadd("s", {"msg": "x"}, id="1700000000000000000-0")
    with (
        ss.connect(url, timestamp_format="ns") as streamer,
        pytest.raises(ss.errors.ConfigError, match="entry 1700000000000000000-0 of"),
    ):
        streamer["s"].record(tmp_path / "s.ss")


def test_what_cannot_be_recorded_is_refused_before_anything_is_written(
    streamer: ss.Streamer, client: redis.Redis, tmp_path: Path
) -> None:
    path = tmp_path / "s.ss"
    path.write_text("thesis")
    for key in ("app:orders", b"\xff"):
        with pytest.raises(ss.errors.StreamKeyError):
            streamer[key].record(path, overwrite=True)
    for stream, options in (
        (streamer["s"].fields(), {}),
        (streamer["s"].snapshot(), {}),
        (streamer["s"], {"duration": "soon"}),
        (streamer["s"], {"messages": 0}),
        (streamer["s"], {"overwrite": 1}),
    ):
        with pytest.raises(ss.errors.ConfigError):
            stream.record(path, **{"overwrite": True, **options})
    with pytest.raises(ss.errors.ExportExists, match=r"overwrite=True to replace it$"):
        streamer["s"].record(path)
    assert path.read_text() == "thesis"
    with pytest.raises(ss.errors.FileError):
        streamer["s"].record(tmp_path / "no" / "s.ss")
    assert listed(tmp_path) == ["s.ss"]


def test_a_recording_begins_anew_where_it_is_asked_to(
    streamer: ss.Streamer, client: redis.Redis, tmp_path: Path
) -> None:
    path = tmp_path / "s.ss"
    fill(client, "s", list(range(100)))
    streamer["s"].record(path, messages=100)
    with closing(FileWriter(path)), pytest.raises(ss.errors.FileError, match="written already"):
        streamer["s"].record(path, messages=1, overwrite=True)
    assert len(frames(path)) == 100
    assert streamer["s"].record(path, messages=1, overwrite=True).messages == 1
    assert payloads(path) == [0]


def test_an_end_mark_is_written_where_the_connection_says_so(
    url: str, client: redis.Redis, tmp_path: Path
) -> None:
    fill(client, "s", [0])
    with ss.connect(url, end_with_eos=True) as streamer:
        report = streamer["s"].record(tmp_path / "s.ss", messages=1)
    assert [frame.ends_stream for frame in frames(tmp_path / "s.ss")] == [False, True]
    assert report.bytes == (tmp_path / "s.ss").stat().st_size


async def test_the_awaiting_facade_records_the_same(
    url: str, client: redis.Redis, tmp_path: Path
) -> None:
    fill(client, "s", [0, 1])
    async with ss.connect_async(url) as streamer:
        report = await streamer["s"].record(tmp_path / "s.ss", messages=2)
    assert report.messages == 2
    assert payloads(tmp_path / "s.ss") == [0, 1]
