"""The cases of the reference's own suite that are about reading files, by their numbers.

Those about layers of its own (8 to 10, 15, 16) are told by what a reader of a file sees.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import seastream_nb as ss
from seastream_nb.file import survey
from seastream_nb.file.blocks import FileBlocks
from seastream_nb.file.format import Beacon, FileHeader, Frame, Marker, Place
from seastream_nb.file.survey import Survey
from seastream_nb.file.tail import Tail
from tests.facades import PATIENCE
from tests.file.files import encoded, golden, written

START = 1_700_000_000_000


def ten(interval: int) -> bytes:
    """Messages 1 to 10, a millisecond apart."""
    frames = [Frame.of(Place("a", 0, n, START + n), b"%d" % n * 20) for n in range(1, 11)]
    return encoded(frames, interval)


def test_11_beacons_of_a_file_made_by_hand_are_skipped(tmp_path: Path) -> None:
    """Empty beacons at 128, 256 and 384; the last one cuts the last byte of a payload off."""
    header = FileHeader("hand.ss", START, 128).encode()
    first = Frame.of(Place("a", 0, 1, 5), b"x" * (121 - 33))
    second = Frame.of(Place("a", 0, 2, 6), b"y" * (121 - 33 + 2))
    data = header + Beacon(0).encode() + first.encode() + Beacon(0).encode()
    data += second.encode()[:-2] + Beacon(2).encode() + second.encode()[-2:]
    path = written(tmp_path, data)
    assert [data.find(each.encode()) for each in (Beacon(0), Beacon(2))] == [128, 384]
    blocks = FileBlocks(path)
    assert len(blocks.block(0, blocks.size())) == 2
    # Where the frame ends that a beacon cuts, a block begins.
    blocks.block_bytes = 128
    assert [blocks.start(number, blocks.size()) for number in (1, 2, 3)] == [128, 256, 393]


def test_8_what_is_flushed_is_read_by_who_follows_and_a_half_waits_for_the_other(
    tmp_path: Path,
) -> None:
    message = Frame.of(Place("a", 0, 1, START), b"abcd").encode()
    path = written(tmp_path, encoded([]))
    tail = Tail(path)
    with path.open("ab", buffering=0) as file:
        file.write(message[:-5])  # in the middle of the payload
        assert tail.read(2**20) is None
        file.write(message[-5:])
        frames = tail.read(2**20)
    assert frames is not None
    assert frames.payloads(np.arange(1)).to_pylist() == [b"abcd"]
    assert tail.read(2**20) is None
    tail.close()


def test_9_from_the_start_from_between_and_from_the_end_what_is_appended_follows(
    tmp_path: Path,
) -> None:
    with (
        ss.connect(tmp_path / "a.ss", create="exclusive") as streamer,
        streamer.producer("a") as producer,
        streamer.consumer("a") as consumer,
    ):

        def append(*numbers: int) -> None:
            for number in numbers:
                producer.send(b"%d" % number)
            producer.flush()

        def taken(count: int) -> list[int]:
            return [int(each.text()) for each in consumer.take(count, PATIENCE)]

        append(1, 2, 3, 4, 5, 6)
        consumer.rewind("beginning")
        assert taken(6) == [1, 2, 3, 4, 5, 6]
        consumer.rewind(4)
        assert taken(3) == [4, 5, 6]
        consumer.rewind(6)
        append(7, 8)
        assert taken(3) == [6, 7, 8]
        consumer.rewind("end")
        append(9)
        assert taken(1) == [9]


@pytest.mark.parametrize("size", [100, 128, 333, 4096])
def test_10_messages_are_whole_across_the_borders_of_what_is_read_at_once(
    size: int, tmp_path: Path
) -> None:
    frames = [Frame.of(Place("a", 0, n, START + n), bytes([n]) * (n * 7 % 50)) for n in range(60)]
    tail, got = Tail(written(tmp_path, encoded(frames, 1024))), []
    while (read := tail.read(size)) is not None:
        got += read.payloads(np.arange(len(read))).to_pylist()
    assert got == [each.payload for each in frames]
    tail.close()


@pytest.mark.parametrize("interval", [640, 2**20])
def test_14_seeks_by_sequence_and_by_time(interval: int, tmp_path: Path) -> None:
    path = written(tmp_path, ten(interval))
    with ss.connect(path) as streamer, streamer.consumer("a") as consumer:
        for sequence, first in ((0, 1), (1, 1), (5, 5), (10, 10)):
            consumer.rewind(sequence)
            left = 11 - first
            assert [each.sequence for each in consumer.take(left, PATIENCE)] == [*range(first, 11)]
        for ms, first in ((START, 1), (START + 5, 6)):
            consumer.seek(ms * 1_000_000)
            assert consumer.next(PATIENCE).sequence == first
        # Past the end nothing is found, and the consumer goes on where it is sent next.
        for move in (lambda: consumer.rewind(11), lambda: consumer.seek((START + 10) * 1_000_000)):
            move()
            with pytest.raises(TimeoutError):
                consumer.next(0.01)
        consumer.rewind("beginning")
        assert consumer.next(PATIENCE).sequence == 1


def test_15_a_search_is_led_by_the_beacons_that_tell(tmp_path: Path) -> None:
    """Whichever beacons name a stream, what is found is the same."""
    frames = [Frame.of(Place("ab"[n % 7 == 0], 0, n, START + n), b"z" * 90) for n in range(200)]
    with ss.connect(written(tmp_path, encoded(frames, 2048))) as streamer:
        for since in range(0, 200, 13):
            for key in "ab":
                stream = streamer[key].since(f"{START + since}-0").until(f"{START + since + 20}-0")
                wanted = [n for n in range(since, min(200, since + 20)) if key == "ab"[n % 7 == 0]]
                assert [each.sequence for each in stream] == wanted


@pytest.mark.parametrize("since", [0, 1, 1_500, 2_999])
def test_16_the_search_for_an_end_looks_at_no_place_twice(
    since: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []
    beacon = FileBlocks.beacon

    def counted(self: FileBlocks, offset: int, size: int) -> Any:
        looked.append(offset)
        return beacon(self, offset, size)

    monkeypatch.setattr(FileBlocks, "beacon", counted)
    monkeypatch.setattr(survey, "FEW_BLOCKS", 2)
    frames = [Frame.of(Place("a", 0, n, START + n), b"z" * 90) for n in range(3_000)]
    blocks = FileBlocks(written(tmp_path, encoded(frames, 1024)))
    blocks.block_bytes = 1024
    part = Survey(blocks).part(("a", 0), START + since, START + since, blocks.size())
    # Of some 400 blocks; the search for either end may begin at the same.
    assert len(looked) <= 2 * 9
    assert max(Counter(looked).values()) <= 2
    found = [number for block in part for number in blocks.block(block, blocks.size()).numbers[1]]
    assert since in found


def test_17_one_stream_of_a_sample_then_its_end() -> None:
    with (
        ss.connect(golden("sample-1.ss"), read_only=True) as streamer,
        streamer.consumer("event", auto_stream_reset="earliest") as consumer,
    ):
        assert [each.sequence for each in consumer] == list(range(1, 23))
        with pytest.raises(ss.StreamEnded):
            consumer.next(PATIENCE)


def test_30_the_references_recording_is_read_from_any_message_on() -> None:
    with (
        ss.connect(golden("consumer.ss"), read_only=True) as streamer,
        streamer.consumer("hello", auto_stream_reset="earliest") as consumer,
    ):
        assert [each.text() for each in consumer.take(100, PATIENCE)] == [
            f"hello-{n}" for n in range(100)
        ]
        for sequence in (1, 21, 43, 64, 86):
            consumer.rewind(sequence)
            assert consumer.next(PATIENCE).sequence == sequence
        consumer.rewind("beginning")
        assert consumer.next(PATIENCE).sequence == 0


def test_a_marker_is_the_highest_of_both_numbers(tmp_path: Path) -> None:
    frames = [Frame.of(Place("a", 0, n, START - n), b"w" * 300) for n in range(6)]
    blocks = FileBlocks(written(tmp_path, encoded(frames, 1024)))
    found = blocks.beacon(1024, blocks.size())
    assert found is not None
    [marker] = found[2]
    assert isinstance(marker, Marker)
    assert marker.place[2:] == (2, START)
