"""`to_parquet`: whole files or none, and folders that go on where a stopped run left them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

import seastream_nb as ss
from seastream_nb.export.folder import MANIFEST, Folder, read_manifest
from seastream_nb.export.manifest import Manifest, Place
from seastream_nb.keys import EntryId
from tests.servers import eventually
from tests.test_replay import FIRST_MS, at, fill

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis

HOUR = 3_600_000
BOTH_WAYS = r"exists already: .* overwrite=True to replace it or resume=True to keep it$"
SCHEMA = pa.schema([("n", pa.int64())])


def fill_json(client: redis.Redis, key: str, stamps: list[int]) -> None:
    with client.pipeline(transaction=False) as pipeline:
        for each in stamps:
            pipeline.xadd(key, {"msg": json.dumps({"n": each})}, id=f"{FIRST_MS + each}-0")
        pipeline.execute()


def parts(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.parquet"), key=lambda path: path.name)


def table(folder: Path) -> pa.Table:
    """All files of a folder, in their order."""
    return pa.concat_tables([pq.ParquetFile(path).read() for path in parts(folder)])


def same(found: pa.Table, expected: pa.Table) -> bool:
    plain = [
        each.replace_schema_metadata(None).unify_dictionaries().combine_chunks()
        for each in (found, expected)
    ]
    return bool(plain[0].schema.equals(plain[1].schema)) and all(
        plain[0][name].to_pylist() == plain[1][name].to_pylist() for name in expected.column_names
    )


def manifest(folder: Path) -> Manifest:
    found = read_manifest(folder)
    assert found is not None
    return found


def listed(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


@pytest.mark.parametrize("build", ["raw", "text", "json", "fields"])
def test_one_file_is_the_stream(
    matrix_streamer: ss.Streamer, matrix_client: redis.Redis, tmp_path: Path, build: str
) -> None:
    fill_json(matrix_client, "s:0", list(range(0, 9_000, 2)))
    fill_json(matrix_client, "s:1", list(range(1, 9_000, 2)))
    stream = matrix_streamer["s"] if build == "raw" else getattr(matrix_streamer["s"], build)()
    path = tmp_path / "s.parquet"
    report = stream.to_parquet(path)
    found = pq.read_table(path)
    assert found.schema.remove_metadata().equals(stream.schema().remove_metadata())
    assert same(found, stream.reader().read_all())
    assert (report.path, report.messages, report.complete) == (path, 9_000, True)
    assert (report.first_id, report.last_id) == (f"{FIRST_MS}-0", f"{FIRST_MS + 8_999}-0")
    assert report.bytes == path.stat().st_size
    assert listed(tmp_path) == ["s.parquet"]
    assert stream.to_parquet(path, resume=True) == report


def test_a_file_that_no_export_made_is_kept_unless_it_is_to_be_replaced(
    streamer: ss.Streamer, client: redis.Redis, tmp_path: Path
) -> None:
    fill(client, "s", [0])
    path = tmp_path / "mine.parquet"
    pq.write_table(pa.table({"x": [1]}), path)
    with pytest.raises(ss.errors.ConfigError, match=r"is no export: .* overwrite=True to replace"):
        streamer["s"].to_parquet(path, resume=True)
    assert pq.read_table(path)["x"].to_pylist() == [1]
    assert streamer["s"].to_parquet(path, overwrite=True).messages == 1


def test_nothing_is_overwritten_unless_asked(
    streamer: ss.Streamer, client: redis.Redis, tmp_path: Path
) -> None:
    fill(client, "s", [0])
    for path in (tmp_path / "s.parquet", tmp_path / "folder"):
        streamer["s"].to_parquet(path)
        fill(client, "s", [client.xlen("s")])
        with pytest.raises(ss.errors.ExportExists, match=BOTH_WAYS):
            streamer["s"].to_parquet(path)
        count = client.xlen("s")
        assert ds.dataset(path).count_rows() == count - 1
        assert streamer["s"].to_parquet(path, overwrite=True).messages == count
        assert ds.dataset(path).count_rows() == count
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    (tmp_path / "other.part").mkdir()
    (tmp_path / "other.part" / "thesis.txt").write_text("x")
    for name in ("mine", "other"):
        for options in ({"overwrite": True}, {"resume": True}, {}):
            with pytest.raises(ss.errors.ExportExists) as caught:
                streamer["s"].to_parquet(tmp_path / name, **options)
            if name == "mine":
                assert "=True" not in str(caught.value)  # neither would help
    assert len(list(tmp_path.rglob("thesis.txt"))) == 2
    assert listed(tmp_path) == ["folder", "mine", "other.part", "s.parquet"]


def test_a_folder_has_whole_files_and_a_manifest(
    streamer: ss.Streamer, client: redis.Redis, tmp_path: Path
) -> None:
    fill_json(client, "s", list(range(2_500)))
    stream = streamer["s"].json(SCHEMA)
    report = stream.to_parquet(tmp_path / "s", rows_per_file=1_000)
    assert [pq.read_metadata(path).num_rows for path in parts(tmp_path / "s")] == [1000, 1000, 500]
    assert same(table(tmp_path / "s"), stream.reader().read_all())
    assert report.messages == 2_500
    assert report.bytes == sum(path.stat().st_size for path in parts(tmp_path / "s"))
    assert ds.dataset(tmp_path / "s").count_rows() == 2_500
    kept = manifest(tmp_path / "s")
    assert kept.finished
    assert str(kept.ends[0].end) == f"{FIRST_MS + 2_499}-0"
    fill_json(client, "s", [3_000])
    assert stream.to_parquet(tmp_path / "s", resume=True) == report
    with pytest.raises(ss.errors.ConfigError, match="another query"):
        stream.since(at(7)).to_parquet(tmp_path / "s", resume=True)


@pytest.mark.parametrize(
    ("by", "zone", "folders"),
    [
        ("hour", "UTC", ["hour=2023-11-14T22", "hour=2023-11-14T23", "hour=2023-11-15T00"]),
        ("day", "UTC", ["day=2023-11-14", "day=2023-11-15"]),
        ("day", "Europe/Berlin", ["day=2023-11-14", "day=2023-11-15"]),
    ],
)
def test_partitions_are_of_the_clock_of_the_zone(
    streamer: ss.Streamer, client: redis.Redis, tmp_path: Path, by: Any, zone: str, folders: Any
) -> None:
    stamps = [0, 1_000, HOUR, HOUR + 1_000, 2 * HOUR]
    fill_json(client, "s", stamps)
    stream = streamer["s"].tz(zone).json(SCHEMA)
    stream.to_parquet(tmp_path / "s", partition_by=by, rows_per_file=2)
    assert listed(tmp_path / "s") == ["_seastream.jsonl", *folders]
    assert table(tmp_path / "s")["n"].to_pylist() == stamps
    assert same(table(tmp_path / "s"), stream.reader().read_all())
    days = ds.dataset(tmp_path / "s", partitioning="hive").to_table([by])[by].to_pylist()
    offset = HOUR if zone == "Europe/Berlin" else 0
    form = "%Y-%m-%d" if by == "day" else "%Y-%m-%dT%H"
    wall = [FIRST_MS + each + offset for each in stamps]
    expected = [time.strftime(form, time.gmtime(ms / 1_000)) for ms in wall]
    assert sorted(map(str, days)) == expected


def test_times_that_nothing_can_hold_have_a_partition(
    streamer: ss.Streamer, client: redis.Redis, tmp_path: Path
) -> None:
    for each in ("5-0", "9000000000000000-0", f"{2**64 - 1}-7"):
        client.xadd("s", {"msg": "x"}, id=each)
    streamer["s"].to_parquet(tmp_path / "s", partition_by="day")
    names = listed(tmp_path / "s")
    assert names[0] == "_seastream.jsonl"
    assert "day=1970-01-01" in names
    assert "day=__HIVE_DEFAULT_PARTITION__" in names
    assert table(tmp_path / "s").num_rows == 3


def test_an_empty_stream_gives_the_columns(streamer: ss.Streamer, tmp_path: Path) -> None:
    stream = streamer["nothing"].json(SCHEMA)
    for path in (tmp_path / "x.parquet", tmp_path / "x"):
        report = stream.to_parquet(path)
        assert (report.messages, report.first_id, report.last_id) == (0, None, None)
        assert ds.dataset(path).schema.names == stream.schema().names
        assert stream.to_parquet(path, resume=True) == report


def test_an_interrupt_leaves_nothing(
    streamer: ss.Streamer, client: redis.Redis, tmp_path: Path, alarm: Callable[[float], None]
) -> None:
    fill(client, "s", list(range(60_000)))
    for turn in range(12):
        for path in (tmp_path / "x.parquet", tmp_path / "x"):
            alarm(0.005 + turn * 0.01)
            try:
                streamer["s"].to_parquet(path, rows_per_file=5_000)
            except KeyboardInterrupt:
                assert turn or not path.exists()
            alarm(0)
            # A disk that is busy for longer than an interrupt waits keeps one until it is done.
            assert eventually(lambda: {*listed(tmp_path)} <= {"x", "x.parquet"})
            if path.exists():
                assert ds.dataset(path).count_rows() == 60_000
                streamer["s"].to_parquet(path, overwrite=True)
                (path.unlink if path.is_file() else lambda path=path: _remove(path))()
    assert streamer["s"].count() == 60_000


def _remove(folder: Path) -> None:
    for each in folder.iterdir():
        each.unlink()
    folder.rmdir()


@pytest.mark.parametrize("by", [None, "hour"])
@pytest.mark.parametrize("cut", [None, "first", "last"])
def test_interrupts_again_and_again_lose_nothing_and_double_nothing(
    streamer: ss.Streamer,
    client: redis.Redis,
    tmp_path: Path,
    alarm: Callable[[float], None],
    by: Any,
    cut: str | None,
) -> None:
    # Every id is in both shards, so that files end between the two.
    for shard in (0, 1):
        fill_json(client, f"s:{shard}", [each * 700 for each in range(10_000)])
    stream = streamer["s"].where(pc.field("n") != 1_400)
    stream = stream if cut is None else getattr(stream, cut)(19_000)
    stream = stream.json(SCHEMA)
    expected = stream.reader().read_all()
    stopped = 0
    for turn in range(100):
        alarm(0.02 + turn * 0.005)
        try:
            report = stream.to_parquet(
                tmp_path / "s", partition_by=by, rows_per_file=1_501, resume=True
            )
        except KeyboardInterrupt:
            stopped += 1
            assert not (tmp_path / "s").exists() or manifest(tmp_path / "s").finished
            continue
        finally:
            alarm(0)
        break
    fill_json(client, "s:0", [8_000_000])
    assert stopped > 0
    assert report.messages == expected.num_rows
    assert same(table(tmp_path / "s"), expected)
    assert listed(tmp_path) == ["s"]


PROGRAM = """
import sys
import pyarrow as pa
import seastream_nb as ss
with ss.connect(sys.argv[1]) as streamer:
    stream = streamer["s"].json(pa.schema([("n", pa.int64())]))
    stream.to_parquet(sys.argv[2], rows_per_file=int(sys.argv[3]), resume=sys.argv[4] == "resume")
"""


@pytest.mark.parametrize("how", ["resume", "plain"])
def test_a_killed_export_goes_on(
    streamer: ss.Streamer, client: redis.Redis, url: str, tmp_path: Path, how: str
) -> None:
    for shard in (0, 1):
        fill_json(client, f"s:{shard}", list(range(60_000)))
    stream = streamer["s"].json(SCHEMA)
    expected = stream.reader().read_all()
    folder, part = tmp_path / "s", tmp_path / "s.part"
    program = subprocess.Popen([sys.executable, "-c", PROGRAM, url, str(folder), "501", how])
    eventually(lambda: len(list(part.glob("*.parquet"))) > 5)
    program.send_signal(signal.SIGKILL)
    program.wait()
    fill_json(client, "s:0", [70_000])
    assert not folder.exists()
    kept = {each.path: (part / each.path).read_bytes() for each in manifest(part).files}
    assert len(kept) >= 5
    with pytest.raises(ss.errors.ExportExists, match="unfinished"):
        stream.to_parquet(folder)
    report = stream.to_parquet(folder, rows_per_file=7_000, resume=True)
    assert report.messages == 120_000
    assert {name: (folder / name).read_bytes() for name in kept} == kept
    assert same(table(folder), expected)
    assert listed(tmp_path) == ["s"]


def test_what_was_trimmed_meanwhile_is_told(
    streamer: ss.Streamer, client: redis.Redis, tmp_path: Path
) -> None:
    fill_json(client, "s", list(range(5_000)))
    stream = streamer["s"].json(SCHEMA)
    unfinished(stream, tmp_path, 2_000)
    client.xtrim("s", minid=f"{FIRST_MS + 1_999}-0", approximate=False)
    report = stream.to_parquet(tmp_path / "s", resume=True)
    assert (report.messages, report.complete) == (5_000, True)
    unfinished(stream.since(at(100)), tmp_path, 2_000, "t")
    client.xtrim("s", minid=f"{FIRST_MS + 4_500}-0", approximate=False)
    report = stream.since(at(100)).to_parquet(tmp_path / "t", resume=True)
    assert not report.complete
    assert report.messages < 4_900


def unfinished(stream: ss.Stream, folder: Path, rows: int, name: str = "s") -> None:
    """An export that was stopped after its first file."""
    part = folder / f"{name}.part"
    stream.to_parquet(folder / name, rows_per_file=rows)
    (folder / name).rename(part)
    whole = manifest(part)
    first = whole.files[0]
    place = Place(EntryId.parse(first.last_id), Counter({whole.ends[0].key: 1}))
    stopped = replace(whole, files=(first,), place=place, finished=False)
    (part / MANIFEST).write_text(stopped.encode() + '{"file": {"path": "part-0')


def test_a_stream_that_is_another_one_is_refused(
    streamer: ss.Streamer, client: redis.Redis, tmp_path: Path
) -> None:
    fill_json(client, "s", list(range(5_000)))
    stream = streamer["s"].json(SCHEMA)
    unfinished(stream, tmp_path, 2_000)
    client.delete("s")
    for stamps in ([], [7]):
        fill_json(client, "s", stamps)
        with pytest.raises(ss.errors.StreamReset, match="overwrite=True"):
            stream.to_parquet(tmp_path / "s", resume=True)
    assert stream.to_parquet(tmp_path / "s", overwrite=True).messages == 1
    assert listed(tmp_path) == ["s"]


def test_only_one_process_writes_into_a_folder(
    streamer: ss.Streamer, client: redis.Redis, tmp_path: Path
) -> None:
    fill_json(client, "s", [0])
    other = Folder(tmp_path / "s", overwrite=False, resume=True)
    with closing(other):
        for options in ({"resume": True}, {"overwrite": True}):
            with pytest.raises(ss.errors.FileError, match="another process"):
                streamer["s"].to_parquet(tmp_path / "s", **options)
    assert streamer["s"].to_parquet(tmp_path / "s", resume=True).messages == 1


def test_what_fails_leaves_nothing_and_says_what_it_was(
    streamer: ss.Streamer, client: redis.Redis, tmp_path: Path
) -> None:
    fill_json(client, "s", list(range(2_000)))
    client.xadd("s", {"msg": "no json"})
    for name in ("x", "x.parquet"):
        with pytest.raises(ss.errors.DecodeError):
            streamer["s"].json().to_parquet(tmp_path / name, rows_per_file=100)
        with pytest.raises(ss.errors.FileError):
            streamer["s"].to_parquet(tmp_path / "no" / name)
    assert listed(tmp_path) == []
    empty = pa.schema([("n", pa.struct([]))])
    client.xadd("t", {"msg": "{}"})
    with pytest.raises(ss.errors.ConfigError, match="Parquet"):
        streamer["t"].json(empty).to_parquet(tmp_path / "t.parquet")
    for options in ({"partition_by": "week"}, {"rows_per_file": 0}, {"compression": "zip"}):
        with pytest.raises(ss.errors.ConfigError, match=next(iter(options))):
            streamer["s"].to_parquet(tmp_path / "x", **options)  # type: ignore[arg-type]
    assert listed(tmp_path) == []


def test_merged_streams_go_on_too(
    streamer: ss.Streamer, client: redis.Redis, tmp_path: Path, alarm: Callable[[float], None]
) -> None:
    fill_json(client, "a", list(range(30_000)))
    fill_json(client, "b", list(range(30_000)))
    merged = ss.merge(streamer["a"].since(at(10)), streamer["b"].until(at(29_000))).json(SCHEMA)
    expected = merged.reader().read_all()
    stopped = 0
    for turn in range(100):
        alarm(0.03 + turn * 0.01)
        try:
            merged.to_parquet(tmp_path / "m", rows_per_file=3_333, resume=True)
        except KeyboardInterrupt:
            stopped += 1
            continue
        finally:
            alarm(0)
        break
    assert stopped
    assert same(table(tmp_path / "m"), expected)


async def test_the_awaiting_facade_exports_the_same(
    url: str, client: redis.Redis, tmp_path: Path
) -> None:
    fill(client, "s", [0, 1])
    async with ss.connect_async(url) as streamer:
        report = await streamer["s"].to_parquet(tmp_path / "s.parquet", compression="none")
    assert report.messages == 2
    assert pq.read_table(tmp_path / "s.parquet")["payload"].to_pylist() == [b"0", b"1"]
