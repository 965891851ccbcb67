"""Files that are written: their bytes, their locks, and what is left when writing fails."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings, strategies as st

import seastream_nb as ss
from seastream_nb.errors import ConfigError, FileError, FileFormatError, StreamKeyError
from seastream_nb.file import bulk, writer
from seastream_nb.file.bulk import Columns
from seastream_nb.file.format import LAST_MS, FileHeader, Frame, Place
from seastream_nb.file.handle import make_sure
from seastream_nb.file.walk import FrameFound, Walk
from seastream_nb.file.writer import FileWriter
from tests.file.files import END, GOLDEN_NAMES, encoded, golden, numbered, unprivileged, written

SIZES = st.lists(st.integers(0, 2000), max_size=20)


def frames_of(path: Path) -> list[Frame]:
    with path.open("rb") as file:
        walk = Walk(file, path.stat().st_size)
        return [each.frame for each in walk if isinstance(each, FrameFound)]


def made(path: Path, frames: list[Frame], interval: int = 1024, *, eos: bool = False) -> Path:
    with FileWriter(path, create="if_missing", beacon_interval=interval) as file:
        file.write(frames)
        file.end(eos=eos)
    return path


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """The system refuses to make a file longer than this, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Python ignores SIGXFSZ, so the call fails instead.
    assert signal.getsignal(signal.SIGXFSZ) == signal.SIG_IGN
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


# A new file.


def test_a_new_file_has_a_header_at_once(tmp_path: Path) -> None:
    path = tmp_path / "new.ss"
    with FileWriter(path, create="if_missing", beacon_interval=2048) as file:
        header = FileHeader.parse(path.read_bytes())
        assert header == file.header
        assert (header.name, header.interval) == ("new.ss", 2048)
        assert abs(header.created_ms - path.stat().st_mtime_ns // 1_000_000) < 60_000
    assert path.stat().st_size == 128


def test_a_new_file_may_be_called_what_it_will_be(tmp_path: Path) -> None:
    path = tmp_path / ".new.ss.part"
    FileWriter(path, create="exclusive", name="new.ss").end()
    assert FileHeader.parse(path.read_bytes()).name == "new.ss"
    FileWriter(tmp_path / ("é" * 70), create="exclusive").end()
    assert FileHeader.parse((tmp_path / ("é" * 70)).read_bytes()).name == "é" * 55


def test_a_missing_file_is_made_only_where_that_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "new.ss"
    with pytest.raises(FileError, match=r"new\.ss cannot be opened: No such.*create='if_missing'"):
        FileWriter(path)
    assert not path.exists()
    FileWriter(path, create="exclusive").end()
    with pytest.raises(FileError, match=r"new\.ss exists already") as caught:
        FileWriter(path, create="exclusive")
    assert caught.value.errno == errno.EEXIST
    for create in ("never", "if_missing"):
        FileWriter(path, create=create).end()  # type: ignore[arg-type]
    with pytest.raises(FileError, match=r"No such file or directory$"):
        FileWriter(tmp_path / "gone" / "new.ss", create="if_missing")


def test_a_file_that_was_only_made_is_empty_and_gets_its_header_later(tmp_path: Path) -> None:
    path = tmp_path / "new.ss"
    make_sure(path, "exclusive")
    assert path.stat().st_size == 0
    with pytest.raises(FileError, match="exists already"):
        make_sure(path, "exclusive")
    make_sure(path, "never")
    FileWriter(path).end()
    assert path.stat().st_size == 128


def test_what_cannot_be_opened_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="Is a directory"):
        FileWriter(tmp_path)
    if unprivileged():
        path = made(tmp_path / "made.ss", [])
        path.chmod(0o400)
        with pytest.raises(FileError, match=r"made\.ss cannot be opened: Permission denied"):
            FileWriter(path)


def test_another_file_is_left_as_it_is(tmp_path: Path) -> None:
    path = written(tmp_path, b"PAR1 and more", "other.ss")
    with pytest.raises(FileFormatError, match=r"other\.ss: this is no \.ss file"):
        FileWriter(path, create="if_missing")
    assert path.read_bytes() == b"PAR1 and more"
    # And it is not locked any more.
    path.unlink()
    made(path, numbered(1))


# The bytes.


@pytest.mark.parametrize("interval", [128, 571, 1024, 2**20])
def test_messages_become_the_bytes_of_the_format(tmp_path: Path, interval: int) -> None:
    frames = [*numbered(40), *numbered(3, key="b")]
    path = made(tmp_path / "made.ss", frames, interval)
    assert path.read_bytes()[128:] == encoded(frames, interval)[128:]
    assert ss.verify(path).ok


@settings(max_examples=60)
@given(interval=st.integers(128, 4000), runs=st.lists(SIZES, max_size=4), keys=st.integers(1, 5))
def test_a_file_opened_any_number_of_times_equals_one_written_at_once(
    tmp_path_factory: pytest.TempPathFactory, interval: int, runs: list[list[int]], keys: int
) -> None:
    path = tmp_path_factory.mktemp("runs") / "made.ss"
    frames: list[Frame] = []
    for sizes in [[], *runs]:
        now = [
            Frame.of(
                Place(f"k{n % keys}", n % 2, len(frames) + n, n),
                bytes(n % 251 for _ in range(size)),
            )
            for n, size in enumerate(sizes)
        ]
        made(path, now, interval, eos=len(sizes) % 2 == 1)
        frames += now
    found = [each for each in frames_of(path) if not each.ends_stream]
    assert found == frames
    assert path.read_bytes()[128:].startswith(encoded(frames, interval)[128:])
    assert ss.verify(path).ok


@settings(max_examples=60)
@given(interval=st.sampled_from([128, 200, 1024]), sizes=SIZES, cut=st.floats(0, 1))
def test_a_file_cut_anywhere_and_written_on_equals_one_never_cut(
    tmp_path_factory: pytest.TempPathFactory, interval: int, sizes: list[int], cut: float
) -> None:
    path = tmp_path_factory.mktemp("cut") / "made.ss"
    frames = [Frame.of(Place("a", n % 2, n, n), bytes(size)) for n, size in enumerate(sizes)]
    data = encoded(frames, interval)
    path.write_bytes(data[: 128 + round(cut * (len(data) - 128))])
    with FileWriter(path) as file:
        file.write(frames[len(frames_of(path)) :])
    if frames[len(frames_of(path)) :]:
        assert path.read_bytes() == data
    assert [each.place for each in frames_of(path)] == [each.place for each in frames]


def test_ten_messages_thrice_with_marks_between_are_read_through(tmp_path: Path) -> None:
    for interval in (128, 256, 512, 1024):
        path, frames = tmp_path / f"{interval}.ss", numbered(30)
        for start, eos in ((0, False), (10, True), (20, True)):
            made(path, frames[start : start + 10], interval, eos=eos)
        assert frames_of(path)[:-1] == frames
        assert frames_of(path)[-1].ends_stream


def test_the_interval_of_a_file_stays(tmp_path: Path) -> None:
    path = made(tmp_path / "made.ss", numbered(9), 256)
    made(path, numbered(9, key="b"), 2048)
    assert path.read_bytes()[128:] == encoded([*numbered(9), *numbered(9, key="b")], 256)[128:]


@pytest.mark.parametrize("interval", [0, 127, 2**32])
def test_an_interval_that_no_header_holds_is_refused(tmp_path: Path, interval: int) -> None:
    with pytest.raises(ConfigError, match="beacon_interval"):
        FileWriter(tmp_path / "made.ss", create="if_missing", beacon_interval=interval)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("way", ["plain", "compiled"])
def test_columns_are_written_as_messages_one_by_one(
    tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "plain":
        monkeypatch.setattr(bulk, "_compiled", None)
    elif not bulk.load():
        pytest.skip("numba is not installed")
    count = 30_000
    numbers = np.arange(count, dtype=np.uint64)
    payloads = pa.array([b"payload %d" % n for n in range(count)], pa.binary())
    columns = Columns.of(("ticks", 3), numbers + 1, numbers + 1_700_000_000_000, payloads)
    with FileWriter(tmp_path / "many.ss", create="if_missing") as file:
        file.write_columns(columns)
        assert file.messages == count
        assert file.highest() == {("ticks", 3): count}
    made(tmp_path / "one.ss", list(columns.frames()), 2**20)
    assert (tmp_path / "many.ss").read_bytes()[128:] == (tmp_path / "one.ss").read_bytes()[128:]
    assert ss.verify(tmp_path / "many.ss").ok


@pytest.mark.parametrize(
    ("place", "error"),
    [
        (Place("", 0, 1, 1), StreamKeyError),
        (Place("a b", 0, 1, 1), StreamKeyError),
        (Place("é", 0, 1, 1), StreamKeyError),
        (Place("k" * 250, 0, 1, 1), StreamKeyError),
        (Place("SEA_STREAMER_INTERNAL", 0, 1, 1), StreamKeyError),
        (Place("a", -1, 1, 1), ConfigError),
        (Place("a", 2**64, 1, 1), ConfigError),
        (Place("a", 0, 2**64, 1), ConfigError),
        (Place("a", 0, 1, -1), ConfigError),
        (Place("a", 0, 1, LAST_MS + 1), ConfigError),
    ],
)
def test_what_the_format_cannot_hold_is_refused_and_what_came_before_is_written(
    tmp_path: Path, place: Place, error: type[Exception]
) -> None:
    first, *rest = numbered(3, key="ok")
    with FileWriter(tmp_path / "made.ss", create="if_missing") as file:
        with pytest.raises(error):
            file.write([first, Frame.of(place, b"x"), *rest])
        assert file.messages == 1
        file.write(rest)
    assert frames_of(tmp_path / "made.ss") == [first, *rest]


def test_columns_that_the_format_cannot_hold_are_refused_as_a_whole(tmp_path: Path) -> None:
    one = np.ones(1, np.uint64)
    with FileWriter(tmp_path / "made.ss", create="if_missing") as file:
        for pair, times, payloads, error in (
            (("a:b", 0), one, pa.array([b"x"]), StreamKeyError),
            (("a", 0), one * np.uint64(2**60), pa.array([b"x"]), ConfigError),
            (("a", 0), one, pa.array([None], pa.binary()), ConfigError),
        ):
            with pytest.raises(error):
                file.write_columns(Columns.of(pair, one, times, payloads))
    assert frames_of(tmp_path / "made.ss") == []


# A file that is there.


@pytest.mark.parametrize("eos", [False, True])
def test_opening_alone_changes_nothing(tmp_path: Path, eos: bool) -> None:
    data = encoded([*numbered(30), END] if eos else numbered(30))
    for stop in (*range(1010, 1080), len(data)):
        path = written(tmp_path, data[:stop])
        FileWriter(path).end()
        assert path.read_bytes() == data[:stop]
    FileWriter(path).end(eos=eos)
    assert path.read_bytes() == data


@pytest.mark.parametrize("name", GOLDEN_NAMES)
def test_files_of_the_reference_are_written_on(tmp_path: Path, name: str) -> None:
    data = golden(f"{name}.ss").read_bytes()
    path = written(tmp_path, data)
    if name in ("append_small_eos", "corrupt_payload"):
        with pytest.raises(FileFormatError, match=r"ss\.repair"):
            FileWriter(path)
        assert path.read_bytes() == data
        return
    before = [each for each in frames_of(path) if not each.ends_stream]
    made(path, numbered(40, key="ours"), eos=True)
    assert frames_of(path)[:-1] == [*before, *numbered(40, key="ours")]
    kept = data[:-56] if frames_of(golden(f"{name}.ss"))[-1].ends_stream else data
    assert path.read_bytes().startswith(kept)
    if name != "resume_one_stream":
        assert ss.verify(path).ok


def test_a_torn_tail_may_be_refused_instead(tmp_path: Path) -> None:
    data = encoded(numbered(3))
    path = written(tmp_path, data[:-5])
    where = len(encoded(numbered(2)))
    with pytest.raises(FileFormatError, match=f"begins at byte {where}") as caught:
        FileWriter(path, torn_tail="raise")
    assert caught.value.offset == where
    assert path.read_bytes() == data[:-5]
    with FileWriter(path) as file:
        assert file.torn == where
        file.write(numbered(3)[2:])
    assert path.read_bytes() == data


# One writer at a time.


def test_a_file_has_one_writer_whatever_its_name(tmp_path: Path) -> None:
    path, link, symbolic = (tmp_path / name for name in ("made.ss", "hard.ss", "symbolic.ss"))
    with FileWriter(path, create="if_missing") as file:
        link.hardlink_to(path)
        symbolic.symlink_to(path)
        for other in (path, link, symbolic, tmp_path / "." / "made.ss"):
            with pytest.raises(FileError, match="is being written already") as caught:
                FileWriter(other)
            assert caught.value.errno == errno.EWOULDBLOCK
    for other in (path, link, symbolic):
        with FileWriter(other) as again:
            assert again.identity == file.identity


HOLDER = """
import sys
from seastream_nb.file.writer import FileWriter
file = FileWriter(sys.argv[1], create="if_missing")
print("open", flush=True)
sys.stdin.read()
"""


def test_a_file_has_one_writer_among_processes(tmp_path: Path) -> None:
    path = tmp_path / "made.ss"
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(FileError, match=r"made\.ss is being written already"):
            FileWriter(path)
        other.kill()
    made(path, numbered(3))
    assert frames_of(path) == numbered(3)


def test_a_forked_child_neither_writes_nor_holds_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "made.ss"
    file = FileWriter(path, create="if_missing")
    script = f"""
import os
from seastream_nb.file.writer import FileWriter
from seastream_nb.errors import FileError
from tests.file.files import numbered
file = FileWriter({str(path)!r})
child = os.fork()
if child == 0:
    try:
        file.write(numbered(1))
    except FileError as error:
        os._exit(0 if "is closed" in str(error) else 1)
    os._exit(2)
assert os.waitpid(child, 0)[1] == 0
file.write(numbered(2))
sleeper = os.fork()
if sleeper == 0:
    os.pause() if hasattr(os, "pause") else os.read(os.pipe()[0], 1)
file.end()
FileWriter({str(path)!r}).end()
os.kill(sleeper, 9)
os.waitpid(sleeper, 0)
"""
    file.end()
    subprocess.run([sys.executable, "-c", script], check=True)
    assert frames_of(path) == numbered(2)


# Limits and failures.


@pytest.mark.parametrize("interval", [128, 1024])
def test_a_message_over_the_size_limit_is_refused_as_a_whole(tmp_path: Path, interval: int) -> None:
    frames = numbered(30, size=40)
    for limit in range(900, 1400, 7):
        path = tmp_path / f"{limit}.ss"
        with FileWriter(
            path, create="if_missing", beacon_interval=interval, file_size_limit=limit
        ) as file:
            with pytest.raises(FileError, match="file_size_limit") as caught:
                file.write(frames)
            assert caught.value.errno == errno.EFBIG
            count = file.messages
        assert path.read_bytes()[128:] == encoded(frames[:count], interval)[128:]
        assert path.stat().st_size <= limit < len(encoded(frames[: count + 1], interval))


def test_the_limit_may_be_reached_exactly(tmp_path: Path) -> None:
    frames = numbered(30)
    limit = len(encoded(frames))
    with FileWriter(
        tmp_path / "made.ss", create="if_missing", beacon_interval=1024, file_size_limit=limit
    ) as file:
        file.write(frames)
        with pytest.raises(FileError, match="file_size_limit"):
            file.end(eos=True)
    assert (tmp_path / "made.ss").stat().st_size == limit


def test_columns_stop_at_the_limit_too(tmp_path: Path) -> None:
    count = 50_000
    numbers = np.arange(count, dtype=np.uint64)
    columns = Columns.of(("a", 0), numbers, numbers, pa.array([bytes(50)] * count, pa.binary()))
    path = tmp_path / "made.ss"
    with FileWriter(path, create="if_missing", file_size_limit=2_500_000) as file:
        with pytest.raises(FileError, match="file_size_limit"):
            file.write_columns(columns)
        assert file.messages == len(frames_of(path))
    assert 2_500_000 - 100 < path.stat().st_size <= 2_500_000
    assert ss.verify(path).ok


def test_a_file_that_is_over_its_limit_already_is_read_and_not_written(tmp_path: Path) -> None:
    path = made(tmp_path / "made.ss", numbered(30))
    data = path.read_bytes()
    with FileWriter(path, file_size_limit=500) as file, pytest.raises(FileError, match="500"):
        file.write(numbered(1))
    assert path.read_bytes() == data


@pytest.mark.parametrize("interval", [128, 1024])
def test_a_full_disk_leaves_whole_messages(tmp_path: Path, interval: int) -> None:
    frames = numbered(30, size=40)
    for room in range(900, 1200):
        path = tmp_path / f"{room}.ss"
        file = FileWriter(path, create="if_missing", beacon_interval=interval)
        with files_up_to(room), pytest.raises(FileError, match="cannot be written") as caught:
            file.write(frames)
        assert caught.value.errno == errno.EFBIG
        report = ss.verify(path)
        assert report.ok, room
        assert report.messages == file.messages
        assert path.stat().st_size <= room < len(encoded(frames[: file.messages + 2], interval))
        # Everything later says why, and another writer goes on.
        with pytest.raises(FileError, match="cannot be written"):
            file.write(frames)
        for call in (file.flush, file.sync):
            with pytest.raises(FileError, match="cannot be written"):
                call()
        file.end()
        made(path, frames[file.messages :], interval)
        assert path.read_bytes()[128:] == encoded(frames, interval)[128:]


def test_a_disk_too_full_for_a_header_leaves_an_empty_file(tmp_path: Path) -> None:
    with files_up_to(100), pytest.raises(FileError, match="cannot be written"):
        FileWriter(tmp_path / "made.ss", create="if_missing")
    assert (tmp_path / "made.ss").stat().st_size == 0
    made(tmp_path / "made.ss", numbered(2))


def test_an_interrupted_write_leaves_whole_messages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames, path = numbered(30), tmp_path / "made.ss"
    file = FileWriter(path, create="if_missing", beacon_interval=1024)
    real = os.pwrite

    def interrupted(descriptor: int, data: memoryview, at: int) -> int:
        real(descriptor, data[:500], at)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", interrupted)
        with pytest.raises(KeyboardInterrupt):
            file.write(frames)
    assert ss.verify(path).ok
    assert frames_of(path) == frames[: file.messages]
    with pytest.raises(FileError, match="was interrupted"):
        file.write(frames)
    file.end()


def test_a_message_lost_to_an_interrupt_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "made.ss"
    file = FileWriter(path, create="if_missing")
    file.write(numbered(2))
    real = writer.Splicer.add

    def interrupted(self: writer.Splicer, frame: Frame) -> bytes:
        real(self, frame)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(writer.Splicer, "add", interrupted)
        with pytest.raises(KeyboardInterrupt):
            file.write(numbered(1))
    with pytest.raises(FileError, match="was interrupted"):
        file.write(numbered(1))
    file.end()
    assert frames_of(path) == numbered(2)


# The file is taken away.


def test_a_removed_file_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "made.ss"
    file = FileWriter(path, create="if_missing")
    file.write(numbered(2))
    file.flush()
    path.unlink()
    for call in (file.flush, lambda: file.write(numbered(1)), file.flush):
        with pytest.raises(FileError, match=r"made\.ss was removed while it was written"):
            call()
    file.end()
    assert not path.exists()


def test_a_renamed_or_replaced_file_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "made.ss"
    file = FileWriter(path, create="if_missing")
    file.write(numbered(2))
    path.rename(tmp_path / "made.ss.1")
    with pytest.raises(FileError, match="renamed or replaced"):
        file.write(numbered(1))
    file.end()
    made(path, numbered(3))
    assert frames_of(tmp_path / "made.ss.1") == numbered(2)
    again = FileWriter(path)
    (tmp_path / "made.ss.1").replace(path)
    with pytest.raises(FileError, match="renamed or replaced"):
        again.flush()
    again.end()


def test_the_process_may_go_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    with FileWriter("made.ss", create="if_missing") as file:
        monkeypatch.chdir(tmp_path / "other")
        file.write(numbered(2))
        file.flush()
    assert frames_of(tmp_path / "made.ss") == numbered(2)


def test_a_file_changed_by_somebody_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "made.ss"
    file = FileWriter(path, create="if_missing")
    file.write(numbered(2))
    with path.open("ab") as other:
        other.write(b"surprise")
    data = path.read_bytes()
    with pytest.raises(FileError, match="was changed while it was written"):
        file.write(numbered(1))
    file.end()
    assert path.read_bytes() == data


# The end.


def test_after_the_end_nothing_is_written(tmp_path: Path) -> None:
    path = tmp_path / "made.ss"
    file = FileWriter(path, create="if_missing")
    file.write(numbered(1))
    file.end(eos=True)
    file.end()
    for call in (lambda: file.write(numbered(1)), file.flush, file.sync):
        with pytest.raises(FileError, match="is closed"):
            call()
    assert [each.ends_stream for each in frames_of(path)] == [False, True]


def test_a_long_message_may_cross_many_beacons(tmp_path: Path) -> None:
    frame = Frame.of(Place("a", 0, 1, 1), bytes(3 * 2**20))
    path = made(tmp_path / "made.ss", [frame, *numbered(3)])
    assert frames_of(path) == [frame, *numbered(3)]
    assert ss.verify(path).ok
