"""What `verify` finds, and what `repair` saves."""

from __future__ import annotations

import tracemalloc
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

import seastream_nb as ss
from seastream_nb.errors import FileFormatError
from seastream_nb.file import bulk
from seastream_nb.file.format import Frame, Place
from seastream_nb.file.splice import Splicer
from seastream_nb.file.walk import FrameFound, Walk
from seastream_nb.file.writer import FileWriter
from tests.file.files import (
    END,
    GOLDEN_NAMES,
    encoded,
    golden,
    numbered,
    unprivileged,
    written,
)

FAULTS_OF_THE_REFERENCE = {
    "append_small_eos": [289],
    "corrupt_payload": [128],
    "resume_one_stream": [2048],
}


def frames_of(path: Path) -> list[Frame]:
    with path.open("rb") as file:
        walk = Walk(file, path.stat().st_size)
        return [each.frame for each in walk if isinstance(each, FrameFound) and each.intact]


@pytest.mark.parametrize("name", GOLDEN_NAMES)
def test_files_of_the_reference_have_the_faults_that_are_known(name: str) -> None:
    report = ss.verify(golden(f"{name}.ss"))
    assert [offset for offset, _ in report.faults] == FAULTS_OF_THE_REFERENCE.get(name, [])
    assert report.torn_tail is None


def test_a_report_counts_messages_by_stream_and_shard(tmp_path: Path) -> None:
    frames = [*numbered(7), *numbered(2, key="b"), END]
    path = written(tmp_path, encoded(frames, 128))
    report = ss.verify(path)
    assert (report.path, report.messages, report.ok) == (path, 9, True)
    assert report.streams == {
        ("a", 0): 2, ("a", 1): 3, ("a", 2): 2, ("b", 1): 1, ("b", 2): 1
    }  # fmt: skip
    assert report.beacons == path.stat().st_size // 128


@pytest.mark.parametrize("interval", [128, 1024, 2**20])
def test_a_file_cut_anywhere_keeps_every_whole_message(tmp_path: Path, interval: int) -> None:
    frames = numbered(40, size=60)
    data = encoded(frames, interval)
    starts = [encoded(frames[:count], interval) for count in range(41)]
    for stop in range(128, len(data)):
        report = ss.verify(written(tmp_path, data[:stop]))
        whole = report.messages
        assert starts[whole][:stop] == data[:stop][: len(data)] or whole < 40
        tail = report.torn_tail
        assert [text for offset, text in report.faults if offset < stop] == []
        # What follows the last whole message is either nothing or the torn one.
        assert (tail is None) == (stop in {len(starts[whole]), _boundary(starts[whole], interval)})
        assert whole == 40 or len(starts[whole + 1]) > stop


def _boundary(begun: bytes, interval: int) -> int | None:
    """Where the last whole message ends, if that is where a beacon should stand."""
    start = len(begun) // interval * interval
    return start if start >= 128 and begun[start + 1 : start + 5] == b"\0\0\0\0" else None


def test_what_a_beacon_says_is_right_by_the_messages_or_by_the_beacon_before(
    tmp_path: Path,
) -> None:
    frames = numbered(90)
    data = encoded(frames[:30], 2048)
    # SeaStreamer begins anew when it opens a file again, and goes on from that.
    again = Splicer(2048, at=len(data))
    data += b"".join(map(again.add, frames[30:60]))
    faults = ss.verify(written(tmp_path, data)).faults
    assert len(faults) == 3
    assert all("running checksum" in text for _, text in faults)
    # Whoever counts from the first message on is right too.
    path = written(tmp_path, data)
    with FileWriter(path) as file:
        file.write(frames[60:])
    assert ss.verify(path).faults == faults
    assert ss.verify(path).messages == 90


def test_a_flipped_payload_costs_one_message(tmp_path: Path) -> None:
    data = bytearray(encoded(numbered(30)))
    data[data.index(b"payload 9") + 1] ^= 1
    report = ss.verify(written(tmp_path, bytes(data)))
    assert report.messages == 29
    assert [text for _, text in report.faults] == ["a payload does not fit its CRC"]


@pytest.mark.parametrize("interval", [128, 1024, 2**20])
def test_any_flipped_byte_costs_at_most_one_message(tmp_path: Path, interval: int) -> None:
    frames = numbered(12, size=50)
    data = encoded(frames, interval)
    for at in range(128, len(data)):
        broken = bytearray(data)
        broken[at] ^= 0x55
        report = ss.verify(written(tmp_path, bytes(broken)))
        # Shard, sequence and time are under no checksum, so their change may not be noticed.
        assert report.messages >= 11, at
        # Unless the last beacon tells it, a lost end looks torn.
        assert report.messages == 12 or report.faults or report.torn_tail is not None, at


@pytest.mark.parametrize("way", ["plain", "compiled"])
@pytest.mark.parametrize("interval", [128, 600, 2**20])
def test_the_fast_pass_reports_what_the_walk_does(
    tmp_path: Path, interval: int, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "plain":
        monkeypatch.setattr(bulk, "_compiled", None)
    elif not bulk.load():
        pytest.skip("numba is not installed")
    internal = Frame.of(Place(END.place.key, 0, 7, 7), b"no end")
    whole = [*numbered(9, size=40), internal, *numbered(9, key="b", size=40)]
    files = [encoded(frames, interval) for frames in (whole, [*whole, END], [*whole, END, END])]
    for at in range(0, len(files[1]), 7):
        flipped = bytearray(files[1])
        flipped[at] ^= 0x15
        files.append(bytes(flipped))
    for number, data in enumerate(files):
        path, copy = written(tmp_path, data), tmp_path / "copy.ss"
        try:
            found: ss.FileReport | str = ss.verify(path)
        except FileFormatError as error:
            found = str(error)
        try:
            walked: ss.FileReport | str = ss.repair(path, copy)  # it walks, always
        except FileFormatError as error:
            walked = str(error)
        assert found == walked, number
        copy.unlink(missing_ok=True)


def test_a_length_of_four_gigabytes_in_a_small_file_allocates_nothing(tmp_path: Path) -> None:
    frames = numbered(5)
    start = len(encoded(frames[:4]))
    data = bytearray(encoded(frames))
    data[start + 26 : start + 30] = b"\xff\xff\xff\xff"
    path = written(tmp_path, bytes(data))
    tracemalloc.start()
    report = ss.verify(path)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()
    assert (report.messages, report.torn_tail) == (4, start)


def test_repair_finds_the_messages_behind_a_bogus_length(tmp_path: Path) -> None:
    frames = numbered(60)
    data = bytearray(encoded(frames))
    at = 128 + len(frames[0].encode()) + 1 + 1 + 24
    data[at : at + 4] = b"\xff\xff\xff\xff"
    source, target = written(tmp_path, bytes(data)), tmp_path / "saved.ss"
    report = ss.repair(source, target)
    assert report.messages == 59
    assert frames_of(target) == [frames[0], *frames[2:]]
    assert ss.verify(target).ok


@settings(max_examples=150, deadline=None)
@given(
    interval=st.sampled_from([128, 200, 1024, 4096]),
    sizes=st.lists(st.integers(0, 3000), min_size=1, max_size=25),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), max_size=4),
    cut=st.floats(0, 1),
)
def test_repair_gives_a_file_without_faults_in_stored_order(
    tmp_path_factory: pytest.TempPathFactory,
    interval: int,
    sizes: list[int],
    flips: list[tuple[float, int]],
    cut: float,
) -> None:
    frames = [
        Frame.of(Place(f"k{n % 4}", n % 2, n, 5 + n), bytes(n * i % 251 for i in range(size)))
        for n, size in enumerate(sizes)
    ]
    data = bytearray(encoded(frames, interval))
    for place, bits in flips:
        data[128 + int(place * (len(data) - 128))] ^= bits
    folder = tmp_path_factory.mktemp("repair")
    source = written(folder, bytes(data[: 128 + int(cut * (len(data) - 128))]))
    report = ss.repair(source, folder / "saved.ss")
    saved = ss.verify(folder / "saved.ss")
    assert saved.ok
    assert saved.messages == report.messages
    if not flips:
        assert frames_of(folder / "saved.ss") == frames[: report.messages]


def test_repair_keeps_the_end_mark_only_at_the_end(tmp_path: Path) -> None:
    first, *rest = numbered(3)
    source = written(tmp_path, encoded([first, END, *rest, END]))
    report = ss.repair(source, tmp_path / "saved.ss")
    assert [text for _, text in report.faults] == [
        "a message follows the end-of-stream mark, where readers stop"
    ]
    assert frames_of(tmp_path / "saved.ss") == [first, *rest, END]


def test_repair_never_replaces_a_file(tmp_path: Path) -> None:
    source = written(tmp_path, encoded(numbered(3)))
    target = written(tmp_path, b"precious", "other.ss")
    with pytest.raises(ss.ExportExists, match=r"other\.ss exists already: choose another name$"):
        ss.repair(source, target)
    with pytest.raises(ss.ExportExists):
        ss.repair(source, source)
    assert target.read_bytes() == b"precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made.ss", "other.ss"]


def test_what_is_no_file_of_ours_says_so(tmp_path: Path) -> None:
    with pytest.raises(ss.FileFormatError, match=r"no \.ss file") as caught:
        ss.verify(written(tmp_path, b"PAR1 and more"))
    assert caught.value.offset == 0
    with pytest.raises(ss.FileError, match=r"gone\.ss cannot be read: No such file"):
        ss.verify(tmp_path / "gone.ss")
    with pytest.raises(ss.FileError, match="Is a directory"):
        ss.verify(tmp_path)
    with pytest.raises(ss.FileFormatError):
        ss.repair(written(tmp_path, b"PAR1"), tmp_path / "saved.ss")
    assert not (tmp_path / "saved.ss").exists()


def test_a_repair_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    source = written(tmp_path, encoded(numbered(3)))
    with pytest.raises(ss.FileError, match="cannot be written"):
        ss.repair(source, tmp_path / "missing" / "saved.ss")
    if unprivileged():
        tmp_path.chmod(0o500)
        with pytest.raises(ss.FileError, match="Permission denied"):
            ss.repair(source, tmp_path / "saved.ss")
        tmp_path.chmod(0o700)
    assert [path.name for path in tmp_path.iterdir()] == ["made.ss"]


class Counted(BytesIO):
    """A file that counts what is read of it."""

    count = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.count += len(data)
        return data


def test_many_bogus_lengths_do_not_become_reads_of_the_rest(tmp_path: Path) -> None:
    frames = numbered(600, size=200)
    data = bytearray(encoded(frames, 1024))
    lengths = [data.find(b"payload %d " % n) - 4 for n in range(1, 600, 5)]
    for at in lengths:
        data[at : at + 4] = (2**31).to_bytes(4)
    file = Counted(data)
    found = [each for each in Walk(file, len(data)) if isinstance(each, FrameFound)]
    assert len(found) >= 450
    assert file.count < 8 * len(data)


def test_damage_full_of_ends_is_searched_without_reading_a_frame_for_each() -> None:
    frames = [Frame.of(Place("a", 0, 1, 5), b"\r\xff\xff" * 20_000), *numbered(5)]
    data = bytearray(encoded(frames, 2**20))
    data[200] ^= 1
    data[131 + 23] = 0xFF  # the time has a wrong byte
    file = Counted(data)
    found = [each for each in Walk(file, len(data)) if isinstance(each, FrameFound)]
    assert [each.frame for each in found if each.intact][-5:] == frames[1:]
    assert file.count < 8 * len(data)


@pytest.mark.parametrize("more", [b"", b"\x01a"])
def test_a_last_beacon_that_says_too_much_is_a_fault(tmp_path: Path, more: bytes) -> None:
    data = bytearray(encoded([], 128))
    data[128 + 4] = 31
    report = ss.verify(written(tmp_path, bytes(data) + more))
    assert [offset for offset, _ in report.faults] == [128]
    assert report.torn_tail == (len(data) if more else None)
