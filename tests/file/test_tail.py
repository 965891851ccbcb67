"""Following a file: whole frames as they come, and everything that can happen to it meanwhile."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import pytest

from seastream_nb.errors import FileError, FileFormatError
from seastream_nb.file import watch
from seastream_nb.file.format import Frame, Place
from seastream_nb.file.frames import Frames
from seastream_nb.file.tail import Tail
from seastream_nb.file.writer import FileWriter
from tests.file.files import END, encoded, golden, numbered, written

MANY = 2**20
FD = Path("/proc/self/fd")


def payloads(frames: Frames | None) -> list[bytes]:
    if frames is None:
        return []
    return [
        frames.data[at : at + size].tobytes().rstrip() for at, size in frames.spans[:, 2:].tolist()
    ]


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x")


def texts(first: int, last: int) -> list[bytes]:
    return [b"payload %d" % n for n in range(first, last + 1)]


async def test_whole_frames_come_as_the_file_grows_byte_by_byte(tmp_path: Path):
    data = encoded([*numbered(12, size=90), END])
    path = written(tmp_path, b"")
    tail = Tail(path)
    got: list[bytes] = []
    with path.open("ab", buffering=0) as file:
        for at in range(len(data)):
            file.write(data[at : at + 1])
            got += payloads(tail.read(MANY))
            assert not tail.ended or at >= len(data) - 1
    assert got == [*texts(1, 12), b"EOS"]
    assert tail.ended


async def test_a_read_is_of_about_so_many_bytes_and_no_frame_is_lost_between(tmp_path: Path):
    path = written(tmp_path, encoded(numbered(200), interval=1024))
    tail, got = Tail(path), []
    while (frames := tail.read(300)) is not None:
        assert 0 < len(frames) < 15
        got += payloads(frames)
    assert got == texts(1, 200)


async def test_a_frame_that_begins_at_the_stop_is_left_for_another_time(tmp_path: Path):
    path = written(tmp_path, encoded(numbered(50)))
    first, second = Tail(path), Tail(path)
    got = payloads(first.read(700))
    again: list[bytes] = []
    while (frames := second.read(100, first.offset)) is not None:
        again += payloads(frames)
    assert again == got
    assert second.offset == first.offset


async def test_a_mark_that_is_not_the_last_thing_does_not_end_the_file(tmp_path: Path):
    tail = Tail(written(tmp_path, encoded([*numbered(2), END, *numbered(3)])))
    assert payloads(tail.read(MANY)) == [*texts(1, 2), b"EOS", *texts(1, 3)]
    assert not tail.ended


async def test_a_mark_followed_by_a_beacon_only_ends_the_file(tmp_path: Path):
    """Gap 9: the last byte of the file belongs to a beacon."""
    room = 1024 - 128 - END.size - 33
    path = written(tmp_path, encoded([*numbered(1, size=room), END]))
    assert path.stat().st_size > 1024
    tail = Tail(path)
    assert payloads(tail.read(MANY))[1:] == [b"EOS"]
    assert tail.ended


async def test_a_file_without_a_header_is_waited_for(tmp_path: Path):
    path = written(tmp_path, b"")
    tail = Tail(path)
    assert tail.read(MANY) is None
    path.write_bytes(encoded(numbered(3)))
    assert payloads(tail.read(MANY)) == texts(1, 3)


async def test_what_is_no_ss_file_is_refused_even_when_it_is_short(tmp_path: Path):
    with pytest.raises(FileFormatError, match=r"no \.ss file"):
        Tail(written(tmp_path, b"PK"))
    with pytest.raises(FileError, match="missing"):
        Tail(tmp_path / "missing.ss")


async def test_messages_before_damage_come_before_the_error(tmp_path: Path):
    data = bytearray(encoded(numbered(6)))
    data[data.index(b"payload 4")] ^= 1
    tail = Tail(written(tmp_path, bytes(data)))
    assert payloads(tail.read(MANY)) == texts(1, 3)
    for _ in range(2):
        with pytest.raises(FileFormatError, match="CRC"):
            tail.read(MANY)


async def test_a_removed_file_says_so_once_all_of_it_was_read(tmp_path: Path):
    path = written(tmp_path, encoded(numbered(3)))
    tail = Tail(path)
    tail.opened()
    path.unlink()
    assert payloads(tail.read(MANY)) == texts(1, 3)
    with pytest.raises(FileError, match="removed or renamed") as caught:
        tail.read(MANY)
    assert caught.value.errno == errno.ENOENT


async def test_a_rotated_file_says_that_another_one_has_its_name(tmp_path: Path):
    path = written(tmp_path, encoded(numbered(3)))
    tail = Tail(path)
    written(tmp_path, encoded(numbered(9)), "other.ss").rename(path)
    assert payloads(tail.read(MANY)) == texts(1, 3)
    with pytest.raises(FileError, match="another file now") as caught:
        tail.read(MANY)
    assert caught.value.errno == errno.ESTALE


async def test_a_truncated_file_says_so_instead_of_waiting(tmp_path: Path):
    """Gap 18."""
    path = written(tmp_path, encoded(numbered(9)))
    tail = Tail(path)
    tail.read(MANY)
    os.truncate(path, 200)
    with pytest.raises(FileError, match="was cut to 200 bytes") as caught:
        tail.read(MANY)
    assert caught.value.errno == errno.EIO


@pytest.mark.parametrize("change", ["grow", "cut", "remove", "replace", "rename"])
@pytest.mark.parametrize("told", [True, False])
async def test_every_change_wakes_who_waits(
    change: str, told: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    if not told:
        monkeypatch.setattr(watch, "_inotify", lambda: None)
    path = written(tmp_path, encoded(numbered(3)))
    other = written(tmp_path, encoded(numbered(3)), "other.ss")
    tail = Tail(path)
    while tail.read(MANY):
        pass
    waiting = asyncio.create_task(tail.changed(60))
    await asyncio.sleep(0.02)
    assert not waiting.done()
    {
        "grow": lambda: grow(path),
        "cut": lambda: os.truncate(path, 150),
        "remove": path.unlink,
        "replace": lambda: other.rename(path),
        "rename": lambda: path.rename(tmp_path / "away.ss"),
    }[change]()
    assert await asyncio.wait_for(waiting, 20)
    tail.close()


async def test_a_change_between_read_and_wait_is_not_missed(tmp_path: Path):
    path = written(tmp_path, encoded(numbered(3)))
    tail = Tail(path)
    assert tail.read(MANY)
    assert tail.read(MANY) is None
    assert not await tail.changed(0.01)
    grow(path)
    assert await tail.changed(20)
    tail.close()


@pytest.mark.skipif(not FD.exists(), reason="this system does not tell what is open")
async def test_watching_shares_one_descriptor_and_gives_it_back(tmp_path: Path):
    def descriptors() -> int:
        found = [os.path.realpath(each) for each in FD.iterdir()]
        return sum("inotify" in each for each in found)

    def threads() -> int:
        return len(list(Path("/proc/self/task").iterdir()))

    before = threads()
    tails = [Tail(written(tmp_path, encoded(numbered(1)), f"{n % 3}.ss")) for n in range(6)]
    for tail in tails:
        while tail.read(MANY):
            pass
        assert not await tail.changed(0)
    assert descriptors() == 1
    assert threads() == before
    for tail in tails[1:]:
        tail.close()
    waiting = asyncio.create_task(tails[0].changed(60))
    await asyncio.sleep(0)
    grow(tails[0].path)
    assert await asyncio.wait_for(waiting, 20)
    tails[0].close()
    tails[0].close()
    assert descriptors() == 0


async def test_the_reference_files_are_followed_to_their_ends():
    """Conformance 17, on the level of frames."""
    for name, count, ended in (("sample-1.ss", 28, True), ("consumer.ss", 101, True)):
        tail, got = Tail(golden(name)), 0
        while (frames := tail.read(1000)) is not None:
            got += len(frames)
        assert (got, tail.ended) == (count, ended)


@pytest.mark.parametrize("interval", [128, 1024])
async def test_the_end_is_where_a_writer_would_go_on(interval: int, tmp_path: Path):
    for size in range(1, 300, 7):
        frames = [*numbered(4, size=size)]
        for behind, ends in ((b"", False), (b"", True), (b"\x01a\0", False)):
            data = encoded([*frames, *([END] * ends)], interval)
            path = written(tmp_path, data + behind)
            tail, last_ms = Tail.at_end(path)
            with FileWriter(path) as writer:
                writer.write(numbered(1))
            assert payloads(tail.read(MANY)) == texts(1, 1), (size, ends)
            assert last_ms == (5 if ends else 1_700_000_000_004) or last_ms == 1_700_000_000_004
            ended, _ = Tail.at_end(written(tmp_path, data))
            assert payloads(ended.read(MANY)) == [b"EOS"] * ends
            assert ended.ended is ends


async def test_the_end_of_a_message_longer_than_a_block_is_found(tmp_path: Path):
    long = Frame.of(Place("a", 0, 2, 7), b"x" * 3_000_000)
    for frames in ([long], [*numbered(1), long], [long, *numbered(1)]):
        data = encoded(frames, 2**20)
        tail, _ = Tail.at_end(written(tmp_path, data))
        assert tail.read(MANY) is None
        assert len(data) - 300 < tail.offset <= len(data)
    torn = encoded([*numbered(1), long])[:-9]
    tail, _ = Tail.at_end(written(tmp_path, torn))
    assert tail.offset == 128 + numbered(1)[0].size
    assert Tail.at_end(written(tmp_path, b""))[1] is None
