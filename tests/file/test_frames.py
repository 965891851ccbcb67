"""Many frames at once: the same as one by one, compiled or not, and every fault with its place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import seastream_nb as ss
from seastream_nb.file import frames, plain
from seastream_nb.file.blocks import FileBlocks
from seastream_nb.file.format import Frame, Place
from seastream_nb.file.frames import Frames
from seastream_nb.file.walk import FrameFound, open_walk
from tests.file.files import END, GOLDEN_NAMES, encoded, golden, numbered, written


@pytest.fixture(params=["plain", "compiled"])
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The loops that numba compiles, and those that need no numba."""
    if request.param == "plain":
        monkeypatch.setattr(frames, "_kernels", plain)
        return plain
    pytest.importorskip("numba")
    from seastream_nb.file import compiled

    monkeypatch.setattr(frames, "_kernels", compiled)
    return compiled


def found_in(read: Frames) -> Iterator[Frame]:
    """The frames as single values."""
    payloads = read.payloads(np.arange(len(read))).to_pylist()
    for (at, size, *_), numbers, payload in zip(
        read.spans.tolist(), read.numbers.T.tolist(), payloads, strict=True
    ):
        key = read.data[at : at + size].tobytes().decode()
        yield Frame.of(Place(key, *numbers), payload)


def all_frames(blocks: FileBlocks, *, backwards: bool = False) -> list[Frame]:
    size = blocks.size()
    numbers = list(range(blocks.count(size)))
    parts = {
        number: list(found_in(blocks.block(number, size)))
        for number in (reversed(numbers) if backwards else numbers)
    }
    return [frame for number in numbers for frame in parts[number]]


def walked(path: Path) -> list[Frame]:
    with path.open("rb") as file:
        walk = open_walk(file, path.stat().st_size, str(path))
        return [each.frame for each in walk if isinstance(each, FrameFound)]


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("name", [each for each in GOLDEN_NAMES if each != "corrupt_payload"])
def test_the_references_files_are_read_as_they_are_walked(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = golden(f"{name}.ss")
    monkeypatch.setattr("seastream_nb.file.blocks.BLOCK_BYTES", 1024)
    assert all_frames(FileBlocks(path)) == walked(path)
    assert all_frames(FileBlocks(path), backwards=True) == walked(path)


def test_a_damaged_payload_of_the_reference_says_where(kernels: ModuleType) -> None:
    blocks = FileBlocks(golden("corrupt_payload.ss"))
    with pytest.raises(ss.FileFormatError, match="does not fit its CRC") as caught:
        all_frames(blocks)
    assert caught.value.offset == 128


keys = st.sampled_from(["a", "b.c", "x" * 249])
some_frames = st.lists(
    st.builds(
        Frame.of,
        st.builds(
            Place,
            keys,
            st.integers(0, 2**64 - 1),
            st.integers(0, 2**64 - 1),
            st.integers(0, 253_402_300_799_999),
        ),
        st.binary(max_size=700),
    ),
    max_size=20,
)


@pytest.mark.usefixtures("kernels")
@settings(max_examples=60, deadline=None)
@given(some_frames, st.sampled_from([128, 131, 600, 1024, 2048]), st.integers(1, 3000))
def test_what_was_written_is_read_whatever_the_blocks(
    tmp_path_factory: pytest.TempPathFactory, made: list[Frame], interval: int, block: int
) -> None:
    path = written(tmp_path_factory.mktemp("made"), encoded(made, interval))
    blocks = FileBlocks(path)
    assert all_frames(blocks) == made
    blocks = FileBlocks(path)
    # Blocks that begin at no beacon begin where the one before ended.
    blocks.block_bytes = interval * block if interval < 1024 else block
    assert all_frames(blocks) == made
    assert all_frames(blocks, backwards=True) == made


@pytest.mark.usefixtures("kernels")
def test_pairs_are_numbered_as_they_appear(tmp_path: Path) -> None:
    made = [*numbered(7), *numbered(3, key="b"), END]
    blocks = FileBlocks(written(tmp_path, encoded(made)))
    read = blocks.block(0, blocks.size())
    assert read.pairs == [
        *(("a", shard) for shard in (1, 2, 0)),
        *(("b", shard) for shard in (1, 2, 0)),
        ("SEA_STREAMER_INTERNAL", 0),
    ]
    assert read.numbers[1][read.rows(("a", 1))].tolist() == [1, 4, 7]
    assert read.rows(("c", 0)).tolist() == []


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("interval", [128, 1024])
def test_a_file_cut_anywhere_gives_all_whole_messages(tmp_path: Path, interval: int) -> None:
    made = numbered(12)
    data = encoded(made, interval)
    for cut in range(128, len(data)):
        path = written(tmp_path, data[:cut])
        blocks = FileBlocks(path)
        got = all_frames(blocks)
        assert got == made[: len(got)]
        assert got == walked(path)
        torn = blocks.block(blocks.count(cut) - 1, cut).torn
        assert torn == ss.verify(path).torn_tail


def test_a_beacon_that_begins_a_block_and_is_cut_off_is_torn(tmp_path: Path) -> None:
    path = written(tmp_path, encoded([], 128)[:130])
    blocks = FileBlocks(path)
    blocks.block_bytes = 128
    assert [blocks.block(number, 130).torn for number in range(2)] == [None, 128]
    assert ss.verify(path).torn_tail == 128


def test_a_block_that_begins_at_a_wrong_beacon_is_refused_by_name(tmp_path: Path) -> None:
    data = bytearray(encoded(numbered(200, size=300), 128))
    data[128 * 9 + 1] = 0xFF
    path = written(tmp_path, bytes(data))
    blocks = FileBlocks(path)
    blocks.block_bytes = 128
    with pytest.raises(ss.FileFormatError, match=r"made\.ss: a beacon says .* ss.repair") as caught:
        blocks.block(9, len(data))
    # The next beacon contradicts it; no others are read.
    assert caught.value.offset == 128 * 10


@pytest.mark.usefixtures("kernels")
def test_any_damage_to_what_is_read_says_where(tmp_path: Path) -> None:
    made = numbered(30)
    data = encoded(made)
    for at in range(128, len(data)):
        damaged = data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :]
        got, offset = read_or_refused(FileBlocks(written(tmp_path, damaged)))
        if offset is not None:
            assert 128 <= offset <= at + 200
        # Only payloads have a CRC: other fields are what stands there, and a length that reaches
        # past the end is a torn tail.
        assert [each.payload for each in got] == [each.payload for each in made[: len(got)]]


def read_or_refused(blocks: FileBlocks) -> tuple[list[Frame], int | None]:
    """What is read, or where the damage is."""
    try:
        return all_frames(blocks), None
    except ss.FileFormatError as error:
        return [], error.offset


def test_a_length_of_four_gigabytes_takes_no_memory(tmp_path: Path) -> None:
    data = bytearray(encoded(numbered(5), 4096))
    head = 128 + 1 + 1 + 24
    data[head : head + 4] = b"\xff\xff\xff\xff"
    blocks = FileBlocks(written(tmp_path, bytes(data)))
    read = blocks.block(0, blocks.size())
    assert (len(read), read.torn) == (0, 128)
    assert read.data.nbytes < len(data)


def test_a_file_that_shrinks_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    path = written(tmp_path, encoded(numbered(50)))
    blocks = FileBlocks(path)
    size = blocks.size()
    with path.open("r+b") as file:
        file.truncate(200)
    with pytest.raises(ss.FileError, match="cut short"):
        blocks.block(0, size)
