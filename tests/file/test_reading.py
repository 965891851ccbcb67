"""Reading files as streams: ranges, order, shards, and what a file in a bad state gives."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import seastream_nb as ss
from seastream_nb.file import blocks, survey
from seastream_nb.file.format import Frame, Place
from seastream_nb.file.splice import Splicer
from tests.file.files import END, encoded, golden, unprivileged, written

START = 1_700_000_000_000


@pytest.fixture
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many blocks in a small file, which is then searched as a large one is."""
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 2048)
    monkeypatch.setattr(survey, "FEW_BLOCKS", 2)


def ticks(numbers: Iterable[int], *, key: str = "a", shard: int = 0) -> list[Frame]:
    return [Frame.of(Place(key, shard, n, START + n), b"payload %d" % n) for n in numbers]


def packed(numbers: Iterable[int], *, key: str = "a", shard: int = 0) -> list[Frame]:
    """As they come from a server."""
    return [
        Frame.of(Place(key, shard, (START + n) << 16 | 1, START + n), b"payload %d" % n)
        for n in numbers
    ]


def made(folder: Path, frames: Iterable[Frame], interval: int = 2048) -> Path:
    return written(folder, encoded(frames, interval))


def numbers(table: pa.Table) -> list[int]:
    return [int(payload.split()[1]) for payload in table["payload"].to_pylist()]


def test_a_file_stays_the_same_when_the_process_changes_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made(tmp_path, ticks(range(1, 4)))
    monkeypatch.chdir(tmp_path)
    with ss.connect(Path(path.name)) as streamer:
        (tmp_path / "other").mkdir()
        monkeypatch.chdir(tmp_path / "other")
        assert numbers(streamer["a"].to_arrow()) == [1, 2, 3]
        with streamer.producer("a") as producer, streamer.consumer("a") as consumer:
            producer.send(b"payload 4").result()
            assert consumer.next(20).payload == b"payload 4"
        assert streamer["a"].count() == 4


def test_a_file_is_a_stream_with_its_own_numbers_and_times(tmp_path: Path) -> None:
    path = made(tmp_path, [*ticks(range(1, 4)), *ticks([9], key="b"), END])
    with ss.connect(path) as streamer:
        stream = streamer["a"].select("stream", "shard", "sequence", "id", "payload")
        assert stream.to_arrow().to_pylist()[1] == {
            "stream": "a",
            "shard": 0,
            "sequence": 2,
            "id": f"{START + 2}-2",
            "payload": b"payload 2",
        }
        times = streamer["a"].to_arrow()["timestamp"].cast(pa.int64()).to_pylist()
        assert times == [(START + n) * 1000 for n in (1, 2, 3)]
        assert [(each.sequence, each.text()) for each in streamer["b"]] == [(9, "payload 9")]


def test_ids_of_a_server_come_back_as_they_were(tmp_path: Path) -> None:
    with ss.connect(made(tmp_path, packed(range(3)))) as streamer:
        table = streamer["a"].select("id", "sequence").to_arrow()
        assert table["id"].to_pylist() == [f"{START + n}-1" for n in range(3)]
        assert table["sequence"].to_pylist() == [(START + n) << 16 | 1 for n in range(3)]
        [message] = streamer["a"].get(f"{START + 1}-1")
        assert message.text() == "payload 1"


@pytest.mark.parametrize("interval", [2048, 2**20])
@pytest.mark.usefixtures("_small_blocks")
def test_a_range_is_what_filtering_everything_gives(tmp_path: Path, interval: int) -> None:
    frames = [frame for n in range(300) for frame in ticks([n], key="ab"[n % 2], shard=n % 3)]
    with ss.connect(made(tmp_path, frames, interval)) as streamer:
        for since, until in [(0, 300), (17, 18), (17, 17), (50, 250), (299, 400), (-5, 3)]:
            ids = f"{START + since}-0", f"{START + until}-0"
            table = streamer["a"].since(ids[0]).until(ids[1]).to_arrow()
            wanted = [n for n in range(300) if n % 2 == 0 and since <= n < until]
            assert numbers(table) == wanted
        assert numbers(streamer["a"].shard(1).to_arrow()) == list(range(4, 300, 6))
        assert numbers(streamer["a:1"].to_arrow()) == list(range(4, 300, 6))
        assert numbers(streamer["a"].last(3).to_arrow()) == [294, 296, 298]
        assert numbers(streamer["a"].since(f"{START + 40}-0").first(2).to_arrow()) == [40, 42]
        assert numbers(streamer.stream("a", "b").to_arrow()) == list(range(300))
        assert numbers(streamer["a"].last("10ms").to_arrow()) == [290, 292, 294, 296, 298]


@pytest.mark.usefixtures("_small_blocks")
def test_a_narrow_range_reads_few_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made(tmp_path, ticks(range(4000)))
    read = []
    whole = blocks.FileBlocks.frames

    def counted(self: blocks.FileBlocks, start: int, stop: int, size: int) -> object:
        read.append(start)
        return whole(self, start, stop, size)

    monkeypatch.setattr(blocks.FileBlocks, "frames", counted)
    with ss.connect(path) as streamer:
        found = streamer["a"].since(f"{START + 2000}-0").until(f"{START + 2010}-0").to_arrow()
    assert numbers(found) == list(range(2000, 2010))
    assert path.stat().st_size > 150 * 1024
    assert len(set(read)) < 8


@pytest.mark.usefixtures("_small_blocks")
def test_what_is_out_of_order_is_read_in_stored_order(tmp_path: Path) -> None:
    order = [n * 37 % 200 for n in range(200)]
    with ss.connect(made(tmp_path, ticks(order))) as streamer:
        assert numbers(streamer["a"].to_arrow()) == order
        since = streamer["a"].since(f"{START + 50}-0").until(f"{START + 60}-0").to_arrow()
        assert numbers(since) == [n for n in order if 50 <= n < 60]
        assert numbers(streamer["a"].last(5).to_arrow()) == order[-5:]


def test_shards_out_of_order_keep_their_own_order(tmp_path: Path) -> None:
    frames = [*ticks([5, 3, 9]), *ticks([4, 8, 6], shard=1)]
    with ss.connect(made(tmp_path, frames)) as streamer:
        table = streamer["a"].to_arrow()
    # What comes late stands behind what its shard had before.
    assert numbers(table) == [4, 5, 3, 8, 6, 9]


@pytest.mark.usefixtures("_small_blocks")
def test_a_stream_that_only_the_beginning_knows_is_found(tmp_path: Path) -> None:
    """As SeaStreamer leaves a file that it opened again: later beacons forget earlier streams."""
    begun = encoded(ticks([0], key="old", shard=2), 2048)
    path = written(tmp_path, spliced_behind(begun, ticks(range(1, 400))))
    with ss.connect(path) as streamer:
        assert numbers(streamer["old"].to_arrow()) == [0]
        assert [each.key for each in streamer.catalog().values()] == ["a", "old"]


def spliced_behind(begun: bytes, frames: list[Frame]) -> bytes:
    """A file to which a writer went on that knew nothing of what was before."""
    splicer = Splicer(2048, at=len(begun))
    return begun + b"".join(splicer.add(frame) for frame in frames)


@pytest.mark.usefixtures("_small_blocks")
def test_a_shard_that_beacons_forgot_is_noticed(tmp_path: Path) -> None:
    begun = encoded([*ticks(range(100)), *ticks([100], shard=7)], 2048)
    path = written(tmp_path, spliced_behind(begun, ticks(range(101, 400))))
    with ss.connect(path) as streamer:
        with pytest.warns(UserWarning, match="holds shards of 'a' that its beacons do not tell of"):
            table = streamer["a"].to_arrow()
        assert table.schema.metadata[b"seastream_complete"] == b"false"
        assert numbers(streamer["a"].to_arrow()) == list(range(400))


def test_shards_off_makes_each_shard_a_stream(tmp_path: Path) -> None:
    frames = [*ticks([1]), *ticks([2], shard=5)]
    with ss.connect(made(tmp_path, frames), shards="off") as streamer:
        assert numbers(streamer["a"].to_arrow()) == [1]
        assert streamer["a:5"].to_arrow()["stream"].to_pylist() == ["a:5"]
        assert sorted(streamer.catalog()) == ["a", "a:5"]


def test_the_catalog_counts_every_message(tmp_path: Path) -> None:
    frames = [*packed(range(5)), *packed(range(5, 8), shard=2), *ticks([9], key="b"), END]
    with ss.connect(made(tmp_path, frames)) as streamer:
        info = streamer.catalog()["a"]
        assert (info.length, info.shards, info.keys) == (8, (0, 2), ("a", "a:2"))
        assert (info.first_id, info.last_id) == (f"{START}-1", f"{START + 7}-1")
        assert sorted(streamer.catalog()) == ["a", "b"]
        assert streamer["b"].info().length == 1
        with pytest.raises(ss.StreamNotFound, match="holds no stream 'c'"):
            streamer["c"].info()


def test_a_key_that_is_not_there_reads_as_empty(tmp_path: Path) -> None:
    with ss.connect(made(tmp_path, ticks([1]))) as streamer:
        table = streamer["c"].to_arrow()
    assert (len(table), table.column_names) == (
        0,
        ["stream", "shard", "sequence", "timestamp", "payload"],
    )


def test_the_mark_of_the_end_is_read_only_by_its_key(tmp_path: Path) -> None:
    with ss.connect(made(tmp_path, [*ticks([1]), END, *ticks([2])])) as streamer:
        assert numbers(streamer["a"].to_arrow()) == [1, 2]
        assert streamer["SEA_STREAMER_INTERNAL"].to_arrow()["payload"].to_pylist() == [b"EOS"]


def test_a_torn_tail_gives_what_is_whole_and_one_warning(tmp_path: Path) -> None:
    frames = [*ticks(range(5)), *ticks(range(5, 10), shard=1)]
    data = encoded(frames)
    path = written(tmp_path, data[:-3])
    torn = ss.verify(path).torn_tail
    with ss.connect(path) as streamer:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            table = streamer["a"].to_arrow()
        assert [str(each.message) for each in caught] == [
            f"{path} ends inside a message at byte {torn:,}: every whole message was read"
        ]
    assert numbers(table) == list(range(9))
    assert table.schema.metadata[b"seastream_complete"] == b"false"
    with (
        ss.connect(path, torn_tail="raise") as streamer,
        pytest.raises(ss.FileFormatError, match=f"inside a message at byte {torn:,}") as refused,
    ):
        streamer["a"].to_arrow()
    assert refused.value.offset == torn


@pytest.mark.parametrize(
    "read",
    [
        lambda stream: stream.tail(1),
        lambda stream: stream.last(2).to_pandas(),
        lambda stream: list(stream.last(2).messages()),
    ],
    ids=["tail", "last", "messages"],
)
def test_the_last_messages_of_a_torn_file_come_with_one_warning(tmp_path: Path, read: Any) -> None:
    path = written(tmp_path, encoded([*ticks(range(5)), *ticks(range(5, 10), shard=1)])[:-3])
    torn = ss.verify(path).torn_tail
    with ss.connect(path) as streamer:
        with pytest.warns(UserWarning, match=f"inside a message at byte {torn:,}") as caught:
            read(streamer["a"])
        assert len(caught) == 1
        assert len(streamer["a"].head(1)) == 1


def test_damage_is_an_error_with_its_place(tmp_path: Path) -> None:
    data = bytearray(encoded(ticks(range(5))))
    data[200] ^= 1
    path = written(tmp_path, bytes(data))
    with (
        ss.connect(path) as streamer,
        pytest.raises(ss.FileFormatError, match=r"made\.ss: .*ss\.repair\(\)") as caught,
    ):
        streamer["a"].to_arrow()
    assert caught.value.offset is not None


def test_times_between_lines_are_of_the_file(tmp_path: Path) -> None:
    """Now is just after the last message, so that windows do not depend on the day."""
    with ss.connect(made(tmp_path, ticks(range(100)))) as streamer:
        assert numbers(streamer["a"].last("10ms").to_arrow()) == list(range(90, 100))
        assert numbers(streamer["a"].snapshot().last(1).to_arrow()) == [99]


def test_a_pinned_reading_ignores_what_is_appended(tmp_path: Path) -> None:
    path = made(tmp_path, ticks(range(3)))
    with ss.connect(path) as streamer:
        pinned = streamer["a"].snapshot()
        with streamer.producer("a") as producer:
            producer.send("payload 99")
        assert numbers(pinned.to_arrow()) == [0, 1, 2]
        assert numbers(streamer["a"].to_arrow()) == [0, 1, 2, 99]


def test_a_file_that_takes_the_name_of_another_is_read_anew(tmp_path: Path) -> None:
    path = made(tmp_path, ticks(range(3)))
    with ss.connect(path) as streamer:
        pinned = streamer["a"].snapshot()
        path.rename(tmp_path / "old.ss")
        made(tmp_path, ticks([7]))
        assert numbers(streamer["a"].to_arrow()) == [7]
        assert numbers(pinned.to_arrow()) == [0, 1, 2]
        path.unlink()
        with pytest.raises(ss.FileError, match="was removed"):
            streamer["a"].to_arrow()


def test_what_cannot_be_opened_says_why(tmp_path: Path) -> None:
    with pytest.raises(ss.FileError, match="No such file"):
        ss.connect(tmp_path / "none.ss")
    with pytest.raises(ss.FileError, match="Is a directory"):
        ss.connect(tmp_path)
    with pytest.raises(ss.FileFormatError, match="does not begin with 'Ss'"):
        ss.connect(written(tmp_path, b"PAR1" * 100))
    with pytest.raises(ss.FileFormatError, match="ends inside its header"):
        ss.connect(written(tmp_path, encoded([])[:100]))
    path = made(tmp_path, [])
    with pytest.raises(ss.FileError, match="exists already"):
        ss.connect(path, create="exclusive")
    if unprivileged():
        path.chmod(0)
        with pytest.raises(ss.FileError, match="Permission denied"):
            ss.connect(path)


def test_a_file_can_be_made_and_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "new one, ö.ss"
    with ss.connect(f"file://{path}", create="if_missing") as streamer:
        assert len(streamer["a"].to_arrow()) == 0
        assert len(streamer.catalog()) == 0
        with streamer.producer("a") as producer:
            producer.send("payload 1")
        assert numbers(streamer["a"].to_arrow()) == [1]
    with ss.connect(f"file://{tmp_path}/new%20one%2C%20%C3%B6.ss") as streamer:
        assert numbers(streamer["a"].to_arrow()) == [1]


def test_read_only_means_that_nothing_is_written(tmp_path: Path) -> None:
    path = made(tmp_path, ticks([1]))
    before = path.read_bytes()
    with (
        ss.connect(path, read_only=True) as streamer,
        pytest.raises(ss.ReadOnlyError, match="read-only: it has no producers"),
    ):
        streamer.producer("a")
    with pytest.raises(ss.ReadOnlyError, match="create= makes a file"):
        ss.connect(tmp_path / "new.ss", create="if_missing", read_only=True)
    assert path.read_bytes() == before
    assert not (tmp_path / "new.ss").exists()


def test_what_only_servers_have_is_refused_by_name(tmp_path: Path) -> None:
    with ss.connect(made(tmp_path, ticks([1]))) as streamer:
        for call in (
            lambda: streamer.trim("a", max_len=1),
            lambda: streamer.ack("a", "g", "1-1"),
            lambda: streamer["a"].pending("g"),
        ):
            with pytest.raises(ss.Unsupported, match="is for servers"):
                call()


def test_the_references_file_of_two_kinds_of_streams_is_read() -> None:
    with ss.connect(golden("sample-1.ss")) as streamer:
        assert sorted(streamer.catalog()) == ["breakpoint", "event", "file"]
        table = streamer["event"].to_arrow()
        assert table["sequence"].to_pylist() == list(range(1, 23))
