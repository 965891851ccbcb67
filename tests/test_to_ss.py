"""`to_ss`: a whole file or none, lossless, and one that goes on where a stopped run left it."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc
import pytest

import seastream_nb as ss
from seastream_nb.file import exporting
from seastream_nb.file.format import FileHeader, Frame, Place
from seastream_nb.file.frames import Frames, read_frames
from seastream_nb.file.holding import columns_of
from seastream_nb.file.page import FilePage, origin_of
from seastream_nb.file.walk import FrameFound, Walk
from seastream_nb.file.writer import FileWriter
from seastream_nb.rows import payload_rows
from tests.file.files import encoded, numbered
from tests.servers import eventually
from tests.test_replay import FIRST_MS, at, fill

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis


def frames(path: Path) -> list[Frame]:
    """Every message of a file that has no fault."""
    report = ss.verify(path)
    assert report.ok, report
    with path.open("rb") as file:
        walk = Walk(file, path.stat().st_size)
        return [found.frame for found in walk if isinstance(found, FrameFound)]


def as_sent(messages: Any) -> list[tuple[Place, bytes]]:
    return [
        (Place(each.stream, each.shard, each.sequence, each.timestamp_ns // 10**6), each.payload)
        for each in messages
    ]


def as_kept(path: Path) -> list[tuple[Place, bytes]]:
    return [(each.place, each.payload) for each in frames(path)]


def without_time(path: Path) -> bytes:
    """The file, but for the time in its header."""
    data = path.read_bytes()
    header = FileHeader.parse(data[:128])
    return FileHeader(header.name, 0, header.interval).encode() + data[128:]


def load_into(client: redis.Redis, path: Path) -> None:
    """Write the messages of a file into a server, each under its id, into its shard."""
    with client.pipeline(transaction=False) as pipeline:
        for place, payload in as_kept(path):
            key = place.key if place.shard == 0 else f"{place.key}:{place.shard}"
            pipeline.xadd(key, {"msg": payload}, id=f"{place.ms}-{place.sequence & 0xFFFF}")
        pipeline.execute()


def listed(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def test_a_stream_becomes_a_file_with_every_message_as_it_was(
    matrix_streamer: ss.Streamer, matrix_client: redis.Redis, tmp_path: Path
) -> None:
    for n, payload in enumerate([b"", b"\r" * 3, b"\xff\x00", "grüße".encode(), b"x" * 3_000]):
        matrix_client.xadd("s", {"msg": payload}, id=f"{FIRST_MS + n // 2}-{n}")
    matrix_client.xadd("s", {"msg": "last"}, id=f"{FIRST_MS + 9}-65535")
    path = tmp_path / "made.ss"
    report = matrix_streamer["s"].to_ss(path)
    assert as_kept(path) == as_sent(matrix_streamer["s"])
    assert (report.path, report.messages, report.complete) == (path, 6, True)
    assert (report.first_id, report.last_id) == (f"{FIRST_MS}-0", f"{FIRST_MS + 9}-65535")
    assert report.bytes == path.stat().st_size
    assert listed(tmp_path) == ["made.ss"]
    header = FileHeader.parse(path.read_bytes()[:128])
    assert (header.name, header.interval) == ("made.ss", 2**20)
    assert matrix_streamer["s"].to_ss(path, resume=True) == report


def test_shards_are_merged_in_time_order_and_stay_what_they_were(
    matrix_streamer: ss.Streamer, matrix_client: redis.Redis, tmp_path: Path
) -> None:
    for shard in (0, 1, 7):
        fill(matrix_client, f"s:{shard}", list(range(shard, 9_000, 3)))
    report = matrix_streamer["s"].to_ss(tmp_path / "s.ss")
    kept = as_kept(tmp_path / "s.ss")
    assert kept == as_sent(matrix_streamer["s"])
    assert [place.ms for place, _ in kept] == sorted(place.ms for place, _ in kept)
    assert report.messages == 8_998
    assert set(ss.verify(tmp_path / "s.ss").streams) == {("s", 0), ("s", 1), ("s", 7)}


def test_redis_to_file_to_redis_to_file_is_the_same_file(
    streamer: ss.Streamer, client: redis.Redis, tmp_path: Path
) -> None:
    for key in ("a", "b:1", "b:2"):
        fill(client, key, list(range(5_000)))
    one, two = tmp_path / "s.ss", tmp_path / "again" / "s.ss"
    two.parent.mkdir()
    streamer.stream("a", "b").to_ss(one)
    client.flushall()
    load_into(client, one)
    assert sorted(client.keys()) == [b"a", b"b:1", b"b:2"]
    streamer.stream("a", "b").to_ss(two)
    assert without_time(two) == without_time(one)


def test_interval_and_end_mark_are_those_of_the_connection(
    url: str, client: redis.Redis, tmp_path: Path
) -> None:
    fill(client, "s", list(range(500)))
    with ss.connect(url, beacon_interval=1024, end_with_eos=True) as streamer:
        report = streamer["s"].to_ss(tmp_path / "s.ss")
        assert streamer["s"].to_ss(tmp_path / "s.ss", resume=True) == report
    assert report.messages == 500
    assert FileHeader.parse((tmp_path / "s.ss").read_bytes()[:128]).interval == 1024
    assert ss.verify(tmp_path / "s.ss").beacons > 10
    assert frames(tmp_path / "s.ss")[-1].ends_stream


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda s: s[at(10) : at(20)], range(10, 20)),
        (lambda s: s.contains("77"), [77, 177, 277]),
        (lambda s: s.json().where(pc.field("payload") == b"5"), [5]),
        (lambda s: s.where(pc.field("payload") == b"5"), [5]),
        (lambda s: s.text().first(3), range(3)),
        (lambda s: s.last(3), range(297, 300)),
        (lambda s: s.shard(1), []),
        (lambda s: s.select("stream"), range(300)),
        (lambda s: s.json(), range(300)),
    ],
)
def test_builders_say_which_messages_and_not_what_is_in_them(
    streamer: ss.Streamer, client: redis.Redis, tmp_path: Path, build: Any, expected: Any
) -> None:
    fill(client, "s", list(range(300)))
    stream = build(streamer["s"])
    if stream._core.query.decode.kind == "json" and stream._core.query.condition is not None:
        with pytest.raises(ss.errors.DecodeError):
            stream.to_ss(tmp_path / "s.ss")
        assert listed(tmp_path) == []
        return
    stream.to_ss(tmp_path / "s.ss")
    assert [int(payload) for _, payload in as_kept(tmp_path / "s.ss")] == list(expected)


def test_what_a_file_cannot_be_is_refused_before_anything_is_written(
    streamer: ss.Streamer, client: redis.Redis, tmp_path: Path
) -> None:
    for key in ("app:orders", b"\xff", "SEA_STREAMER_INTERNAL", "s:1"):
        client.xadd(key, {"msg": "x"})
        with pytest.raises(ss.errors.StreamKeyError) as refused:
            streamer[key].to_ss(tmp_path / "s.ss", resume=True)
        assert (key if isinstance(key, str) else "xff") in str(refused.value)
    with pytest.raises(ss.errors.StreamKeyError, match="no:thing"):
        streamer["no:thing"].to_ss(tmp_path / "s.ss")
    with pytest.raises(ss.errors.ConfigError, match="fields"):
        streamer["s"].fields().to_ss(tmp_path / "s.ss")
    assert listed(tmp_path) == []
    assert streamer["s"].to_ss(tmp_path / "s.ss").messages == 1


@pytest.mark.parametrize("entry", ["5-65536", f"{2**48}-0", "253402300800000-0"])
def test_an_id_that_no_file_can_hold_is_named(
    streamer: ss.Streamer, client: redis.Redis, tmp_path: Path, entry: str
) -> None:
    client.xadd("s", {"msg": "x"}, id="5-1")
    client.xadd("s", {"msg": "x"}, id=entry)
    with pytest.raises(ss.errors.ConfigError, match=f"entry {entry} of 's'"):
        streamer["s"].to_ss(tmp_path / "s.ss")
    assert listed(tmp_path) == []
    assert streamer["s"].until(entry).to_ss(tmp_path / "s.ss").messages == 1


def test_nanosecond_ids_are_refused(url: str, client: redis.Redis, tmp_path: Path) -> None:
    client.xadd("s", {"msg": "x"}, id="1700000000000000000-0")
    client.xadd("t", {"msg": "x"}, id="5-0")
    with ss.connect(url, timestamp_format="ns") as streamer:
        for key, entry in (("s", "1700000000000000000-0"), ("t", "5-0")):
            with pytest.raises(ss.errors.ConfigError, match=f"entry {entry} of"):
                streamer[key].to_ss(tmp_path / "s.ss")
    assert listed(tmp_path) == []


def test_messages_out_of_a_file_keep_their_numbers(tmp_path: Path) -> None:
    source = numbered(40)
    data = encoded(source)
    found: Frames = read_frames(
        lambda offset, count: data[offset : offset + count], 128, len(data), len(data), 1024
    )
    with FileWriter(tmp_path / "s.ss", create="exclusive") as writer:
        for pair in found.pairs:
            page = FilePage(origin_of(pair), found, found.rows(pair), b"msg")
            rows = payload_rows(page, *page.occurrences(b"msg"))
            writer.write_columns(columns_of(rows))
    kept = sorted(frames(tmp_path / "s.ss"), key=lambda frame: frame.place.sequence)
    assert kept == source


def test_an_empty_stream_is_a_file_without_messages(streamer: ss.Streamer, tmp_path: Path) -> None:
    for resume in (False, True):
        report = streamer["nothing"].to_ss(tmp_path / f"{resume}.ss", resume=resume)
        assert (report.messages, report.first_id, report.last_id) == (0, None, None)
        assert frames(report.path) == []
        assert streamer["nothing"].to_ss(report.path, resume=True) == report
    assert listed(tmp_path) == ["False.ss", "True.ss"]


def test_entries_without_the_message_field_are_warned_of(
    streamer: ss.Streamer, client: redis.Redis, tmp_path: Path
) -> None:
    client.xadd("s", {"other": "x"})
    with pytest.warns(UserWarning, match="no entry of 's'"):
        assert streamer["s"].to_ss(tmp_path / "s.ss").messages == 0
    assert streamer["s"].text(field="other").to_ss(tmp_path / "t.ss").messages == 1


def test_nothing_is_overwritten_unless_asked(
    streamer: ss.Streamer, client: redis.Redis, tmp_path: Path
) -> None:
    fill(client, "s", [0])
    path = tmp_path / "s.ss"
    path.write_text("thesis")
    said = r"s\.ss exists already: .* overwrite=True to replace it or resume=True to keep it$"
    with pytest.raises(ss.errors.ExportExists, match=said):
        streamer["s"].to_ss(path)
    with pytest.raises(ss.errors.FileFormatError):
        streamer["s"].to_ss(path, resume=True)
    client.xadd("t", {"msg": "x"}, id="5-70000")
    with pytest.raises(ss.errors.ConfigError):
        streamer["t"].to_ss(path, overwrite=True)
    assert path.read_text() == "thesis"
    for resume in (False, True):
        assert streamer["s"].to_ss(path, overwrite=True, resume=resume).messages == 1
        assert len(frames(path)) == 1
    (tmp_path / "folder").mkdir()
    with pytest.raises(ss.errors.ExportExists, match=r"choose another name$"):
        streamer["s"].to_ss(tmp_path / "folder", overwrite=True)
    assert listed(tmp_path) == ["folder", "s.ss"]


def test_what_fails_leaves_nothing_and_says_what_it_was(
    url: str, client: redis.Redis, tmp_path: Path
) -> None:
    fill(client, "s", list(range(2_000)))
    with ss.connect(url, file_size_limit=9_000) as streamer:
        with pytest.raises(ss.errors.FileError, match="file_size_limit"):
            streamer["s"].to_ss(tmp_path / "s.ss")
        with pytest.raises(ss.errors.FileError):
            streamer["s"].to_ss(tmp_path / "no" / "s.ss")
        with pytest.raises(ss.errors.ConfigError, match="resume"):
            streamer["s"].to_ss(tmp_path / "s.ss", resume="yes")  # type: ignore[arg-type]
    assert listed(tmp_path) == []


def test_an_interrupt_leaves_nothing(
    streamer: ss.Streamer, client: redis.Redis, tmp_path: Path, alarm: Callable[[float], None]
) -> None:
    fill(client, "s", list(range(60_000)))
    path = tmp_path / "s.ss"
    for turn in range(12):
        alarm(0.005 + turn * 0.01)
        try:
            streamer["s"].to_ss(path)
        except KeyboardInterrupt:
            pass
        finally:
            alarm(0)
        # A disk that is busy for longer than an interrupt waits keeps it until it is done.
        assert eventually(lambda: listed(tmp_path) in ([], ["s.ss"]))
        if path.exists():
            with ss.connect(path) as file:
                assert file["s"].count() == 60_000
            path.unlink()
    assert streamer["s"].count() == 60_000


@pytest.mark.parametrize("cut", [None, "first", "last"])
@pytest.mark.parametrize("seconds", [0.0, 0.05])
def test_interrupts_again_and_again_lose_nothing_and_double_nothing(
    streamer: ss.Streamer,
    client: redis.Redis,
    tmp_path: Path,
    alarm: Callable[[float], None],
    monkeypatch: pytest.MonkeyPatch,
    cut: str | None,
    seconds: float,
) -> None:
    monkeypatch.setattr(exporting, "PIECE_SECONDS", seconds)
    # Every id is in both shards, so that pieces end between the two.
    for shard in (0, 1):
        fill(client, f"s:{shard}", list(range(10_000)))
    stream = streamer["s"] if cut is None else getattr(streamer["s"], cut)(15_001)
    (tmp_path / "whole").mkdir()
    stream.to_ss(tmp_path / "whole" / "s.ss")
    stopped = 0
    for turn in range(100):
        alarm(0.001 + turn * 0.01)
        try:
            report = stream.to_ss(tmp_path / "s.ss", resume=True)
        except KeyboardInterrupt:
            stopped += 1
            if len(listed(tmp_path)) > 1:  # it had begun, so what comes now is not in it
                fill(client, "s:0", [100_000 + turn])
            continue
        finally:
            alarm(0)
        break
    assert stopped > 0
    assert report.messages == (20_000 if cut is None else 15_001)
    same = without_time(tmp_path / "s.ss") == without_time(tmp_path / "whole" / "s.ss")
    assert same
    assert listed(tmp_path) == ["s.ss", "whole"]


PROGRAM = """
import sys
import seastream_nb as ss
from seastream_nb.file import exporting
exporting.PIECE_SECONDS = 0
with ss.connect(sys.argv[1], beacon_interval=1024) as streamer:
    streamer["s"].to_ss(sys.argv[2], resume=sys.argv[3] == "resume")
"""


@pytest.mark.parametrize("times", [1, 4])
def test_a_killed_export_goes_on(url: str, client: redis.Redis, tmp_path: Path, times: int) -> None:
    for shard in (0, 1):
        fill(client, f"s:{shard}", list(range(60_000)))
    path, part = tmp_path / "s.ss", tmp_path / "s.ss.part"
    (tmp_path / "whole").mkdir()
    with ss.connect(url, beacon_interval=1024) as streamer:
        streamer["s"].to_ss(tmp_path / "whole" / "s.ss")
        for time in range(times):
            size = part.stat().st_size if part.exists() else 0
            program = subprocess.Popen([sys.executable, "-c", PROGRAM, url, path, "resume"])
            assert eventually(lambda size=size: part.exists() and part.stat().st_size > size)
            program.send_signal(signal.SIGKILL)
            program.wait()
            fill(client, "s:0", [70_000 + time])
            assert not path.exists()
        with pytest.raises(ss.errors.ExportExists, match="unfinished"):
            streamer["s"].to_ss(path)
        with pytest.raises(ss.errors.ConfigError, match="another query"):
            streamer["s"].since(at(7)).to_ss(path, resume=True)
        report = streamer["s"].to_ss(path, resume=True)
    assert report.messages == 120_000
    same = without_time(path) == without_time(tmp_path / "whole" / "s.ss")
    assert same  # what differs would take long to show
    assert listed(tmp_path) == ["s.ss", "whole"]


def unfinished(streamer: ss.Streamer, path: Path) -> None:
    """An export that was stopped in its first page."""
    with pytest.raises(ss.errors.FileError):
        streamer["s"].to_ss(path, resume=True)
    assert path.with_name(f"{path.name}.part").exists()


def test_what_is_left_is_continued_only_where_it_can_be(
    url: str, streamer: ss.Streamer, client: redis.Redis, tmp_path: Path
) -> None:
    fill(client, "s", list(range(9_000)))
    path, part = tmp_path / "s.ss", tmp_path / "s.ss.part"
    with ss.connect(url, file_size_limit=100_000) as small:
        unfinished(small, path)
        client.delete("s")
        fill(client, "s", [7])
        with pytest.raises(ss.errors.StreamReset, match="overwrite=True"):
            streamer["s"].to_ss(path, resume=True)
        assert streamer["s"].to_ss(path, overwrite=True).messages == 1
        assert listed(tmp_path) == ["s.ss"]
        path.unlink()
        # What no export made is left alone.
        part.write_text("thesis")
        for options in ({"resume": True}, {"overwrite": True}, {}):
            with pytest.raises(ss.errors.ExportExists):
                streamer["s"].to_ss(path, **options)
        assert part.read_text() == "thesis"


def test_what_was_trimmed_meanwhile_is_told(
    url: str, streamer: ss.Streamer, client: redis.Redis, tmp_path: Path
) -> None:
    fill(client, "s", list(range(9_000)))
    with ss.connect(url, file_size_limit=100_000) as small:
        unfinished(small, tmp_path / "s.ss")
    client.xtrim("s", minid=f"{FIRST_MS + 8_500}-0", approximate=False)
    report = streamer["s"].to_ss(tmp_path / "s.ss", resume=True)
    assert not report.complete
    assert report.messages < 9_000
    assert ss.verify(tmp_path / "s.ss").ok


def test_only_one_process_writes_a_part(
    streamer: ss.Streamer, client: redis.Redis, tmp_path: Path
) -> None:
    fill(client, "s", [0])
    path = tmp_path / "s.ss"
    with closing(FileWriter(tmp_path / "s.ss.part", create="exclusive")):
        for options in ({"resume": True}, {"overwrite": True}):
            with pytest.raises(ss.errors.FileError, match="written already"):
                streamer["s"].to_ss(path, **options)
    (tmp_path / "s.ss.part").unlink()
    assert streamer["s"].to_ss(path, resume=True).messages == 1


def test_merged_streams_are_one_file(
    streamer: ss.Streamer, client: redis.Redis, tmp_path: Path
) -> None:
    for key in ("a", "b"):
        fill(client, key, list(range(3_000)))
    merged = ss.merge(streamer["a"].since(at(10)), streamer["b"].until(at(2_000)))
    report = merged.to_ss(tmp_path / "m.ss", resume=True)
    assert report.messages == 4_990
    assert as_kept(tmp_path / "m.ss") == as_sent(merged)
    keys = [key for key, _ in groupby(as_kept(tmp_path / "m.ss"), lambda each: each[0].key)]
    assert keys[:3] == ["b", "a", "b"]


async def test_the_awaiting_facade_exports_the_same(
    url: str, client: redis.Redis, tmp_path: Path
) -> None:
    fill(client, "s", [0, 1])
    async with ss.connect_async(url) as streamer:
        report = await streamer["s"].to_ss(tmp_path / "s.ss", progress=False)
    assert report.messages == 2
    assert [payload for _, payload in as_kept(tmp_path / "s.ss")] == [b"0", b"1"]


@pytest.mark.parametrize("export", ["to_ss", "record"])
def test_a_folder_that_is_not_there_is_named_and_no_file_of_ours(
    streamer: ss.Streamer, tmp_path: Path, export: str
) -> None:
    folder = tmp_path / "none"
    with pytest.raises(ss.FileError, match=f"x.ss cannot be written: there is no folder {folder}$"):
        getattr(streamer["s"], export)(folder / "x.ss")
