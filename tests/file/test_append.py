"""Where writing goes on in a file, and that what follows is as if it had never been closed."""

from __future__ import annotations

import random
from contextlib import suppress
from io import BytesIO

import pytest
from hypothesis import given, settings, strategies as st

from seastream_nb.errors import FileFormatError
from seastream_nb.file import bulk, scan
from seastream_nb.file.append import Ending, find_end
from seastream_nb.file.format import (
    FIRST_CHECKSUM,
    HEADER_SIZE,
    INTERNAL_KEY,
    FileHeader,
    Frame,
    Place,
    chained,
)
from seastream_nb.file.walk import FrameFound, Walk
from tests.file.files import END, GOLDEN_NAMES, encoded, golden, numbered

# A message behind the end mark, and a flipped payload byte.
REFUSED = {"append_small_eos": 289, "corrupt_payload": 128}


@pytest.fixture(autouse=True, params=["plain", "compiled"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways that a file is scanned."""
    if request.param == "plain":
        monkeypatch.setattr(bulk, "_compiled", None)
    elif not bulk.load():
        pytest.skip("numba is not installed")


def ending(data: bytes) -> Ending:
    found = find_end(BytesIO(data), len(data), "made.ss")
    assert found is not None
    return found


def continued(data: bytes, frames: list[Frame]) -> bytes:
    """The file after these frames were appended."""
    end = ending(data)
    start = data[: end.offset] + end.splicer.start()
    return start + b"".join(end.splicer.add(frame) for frame in frames)


def whole_frames(data: bytes) -> list[Frame]:
    found = [each for each in Walk(BytesIO(data), len(data)) if isinstance(each, FrameFound)]
    return [each.frame for each in found if not each.frame.ends_stream]


def various(count: int, *, seed: int = 1, size: int = 150) -> list[Frame]:
    """Frames of several keys and shards, not in order, with payloads of any bytes."""
    dice = random.Random(seed)
    return [
        Frame.of(
            Place(f"k{dice.randrange(6)}", dice.randrange(2), dice.randrange(2**64), n),
            dice.randbytes(dice.randrange(size)),
        )
        for n in range(count)
    ]


@pytest.mark.parametrize("interval", [128, 571, 1024, 2048])
@pytest.mark.parametrize("eos", [False, True], ids=["open", "ended"])
def test_a_file_cut_at_any_byte_goes_on_as_if_never_cut(interval: int, eos: bool) -> None:
    frames = various(15)
    never_cut = encoded(frames, interval)
    data = encoded([*frames, END] if eos else frames, interval)
    ends = [len(encoded(frames[:n], interval)) for n in range(len(frames) + 1)]
    for stop in range(HEADER_SIZE, len(data) + 1):
        end = ending(data[:stop])
        whole = sum(at <= stop for at in ends) - 1
        # The beacon at the end of a message may be torn, and the message whole.
        kept = len(whole_frames(data[:stop]))
        assert kept in (whole, whole + 1)
        assert continued(data[:stop], frames[kept:]) == never_cut, stop
        assert (end.torn is None) == (end.offset == stop or end.ended), stop


def test_a_frame_over_many_beacons_may_be_cut_too() -> None:
    frames = [*various(3), Frame.of(Place("big", 0, 1, 5), bytes(range(256)) * 6), *various(2)]
    data = encoded(frames, 256)
    for stop in range(HEADER_SIZE, len(data)):
        kept = len(whole_frames(data[:stop]))
        assert continued(data[:stop], frames[kept:]) == data, stop


@pytest.mark.parametrize("stop", [0, 1, 2, 3, 4, 60, 127])
def test_a_file_without_a_whole_header_holds_nothing(stop: int) -> None:
    data = encoded([])[:stop]
    assert find_end(BytesIO(data), stop, "made.ss") is None


@pytest.mark.parametrize("data", [b"PAR1", b"Sx", b"Ss\x02", b"S\x00" * 100])
def test_another_file_is_refused(data: bytes) -> None:
    with pytest.raises(FileFormatError, match=r"made\.ss"):
        find_end(BytesIO(data), len(data), "made.ss")


def test_a_file_of_only_a_header_goes_on_there() -> None:
    data = encoded([], 1024)
    assert (ending(data).offset, ending(data).torn, ending(data).highest()) == (128, None, {})
    # Where the header fills the interval its beacon may be missing, torn or there.
    data = encoded([], 128)
    for stop in range(128, 136):
        assert ending(data[:stop]).offset == (135 if stop == 135 else 128)
        assert continued(data[:stop], numbered(3)) == encoded(numbered(3), 128)


@pytest.mark.parametrize("interval", [128, 1024, 2**20])
def test_end_marks_are_taken_off_with_and_without_beacons(interval: int) -> None:
    for count in (0, 1, 7, 30, 40):
        frames = numbered(count)
        data = encoded([*frames, END], interval)
        assert ending(data).ended
        assert continued(data, numbered(5, key="b")) == encoded(
            [*frames, *numbered(5, key="b")], interval
        )
        assert continued(encoded([*frames, END, END], interval), []) == encoded(frames, interval)


@pytest.mark.parametrize("size", range(800, 900))
def test_an_end_mark_at_any_place_around_a_boundary_is_taken_off(size: int) -> None:
    frames = [Frame.of(Place("a", 0, 1, 5), bytes(size))]
    data = encoded([*frames, END])
    assert continued(data, numbered(2)) == encoded([*frames, *numbered(2)])


def test_a_file_that_ends_with_a_beacon_goes_on_behind_it() -> None:
    exact = numbered(1, size=1024 - 128 - 33)
    data = encoded(exact)
    assert ending(data).offset == len(data) == 1024 + 7 + 28
    assert continued(data, numbered(2)) == encoded([*exact, *numbered(2)])
    # Without its beacon, as the file's end or torn, the beacon is made again.
    for stop in range(1024, len(data)):
        assert ending(data[:stop]).offset == 1024
        assert continued(data[:stop], []) == data


def test_sums_and_highest_values_of_every_stream_and_shard_go_on() -> None:
    frames = various(60)
    end = ending(encoded(frames))
    for marker in end.splicer.markers:
        ours = [each for each in frames if each.place[:2] == marker.place[:2]]
        checksum = FIRST_CHECKSUM
        for each in ours:
            checksum = chained(checksum, each.crc)
        assert marker.checksum == checksum
        assert marker.place.sequence == max(each.place.sequence for each in ours)
        assert marker.place.ms == max(each.place.ms for each in ours)
    assert set(end.highest()) == {each.place[:2] for each in frames}


def test_a_file_may_hold_any_number_of_streams() -> None:
    frames = [
        Frame.of(Place(f"k{n % 700}" * (1 + n % 40), n % 3, n, n), b"x" * (n % 90))
        for n in range(3_000)
    ]
    data = encoded(frames, 4096)
    assert continued(data[:-20], frames[-1:]) == data
    assert len(ending(data).highest()) == len({each.place[:2] for each in frames})


def test_a_large_file_is_worth_the_compiled_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "_compiled", None)
    ending(encoded(numbered(3)))
    assert not bulk.loaded()
    monkeypatch.setattr(scan, "LARGE_BYTES", 0)
    assert ending(encoded(numbered(3))).highest() == {("a", 0): 3, ("a", 1): 1, ("a", 2): 2}
    assert bulk.loaded() == bulk.available()


def test_the_mark_of_an_end_that_was_taken_off_is_in_no_marker() -> None:
    end = ending(encoded([*numbered(3), END]))
    assert INTERNAL_KEY not in {marker.place.key for marker in end.splicer.markers}


def test_an_internal_message_that_is_no_end_mark_stays() -> None:
    pulse = Frame.of(Place(INTERNAL_KEY, 0, 3, 5), b"PULSE")
    data = encoded([*numbered(2), pulse, END])
    assert continued(data, []) == encoded([*numbered(2), pulse])
    assert ending(data).highest()[INTERNAL_KEY, 0] == 3


@pytest.mark.parametrize("interval", [128, 1024, 2**20])
def test_any_flipped_byte_is_refused_or_changes_nothing_that_is_whole(interval: int) -> None:
    frames = numbered(12, size=50)
    data = encoded(frames, interval)
    last = len(encoded(frames[:-1], interval))
    for at in range(HEADER_SIZE, len(data)):
        broken = bytearray(data)
        broken[at] ^= 0x55
        with suppress(FileFormatError):
            end = ending(bytes(broken))
            # Shard, sequence and time are under no checksum; else only the last message is torn.
            assert end.offset == len(data) or end.offset >= last, at


def test_a_refusal_names_file_offset_and_the_way_out() -> None:
    data = bytearray(encoded(numbered(30)))
    data[data.index(b"payload 9") + 1] ^= 1
    where = len(encoded(numbered(8)))
    with pytest.raises(FileFormatError, match=rf"made\.ss is damaged at byte {where:,}") as caught:
        ending(bytes(data))
    assert caught.value.offset == where
    assert "does not fit its CRC" in str(caught.value)


def test_a_bogus_length_before_whole_messages_is_no_torn_tail() -> None:
    frames = numbered(5)
    data = bytearray(encoded(frames))
    start = len(encoded(frames[:2]))
    data[start + 26 : start + 30] = b"\xff\xff\xff\xff"
    with pytest.raises(FileFormatError) as caught:
        ending(bytes(data))
    assert caught.value.offset == start


def test_a_message_behind_an_end_mark_is_refused() -> None:
    data = encoded([*numbered(2), END, *numbered(1, key="b")])
    with pytest.raises(FileFormatError, match="follows the end-of-stream mark") as caught:
        ending(data)
    assert caught.value.offset == len(encoded([*numbered(2), END]))


@pytest.mark.parametrize("name", GOLDEN_NAMES)
def test_files_of_the_reference_go_on_where_they_end(name: str) -> None:
    data = golden(f"{name}.ss").read_bytes()
    if name in REFUSED:
        with pytest.raises(FileFormatError) as caught:
            ending(data)
        assert caught.value.offset == REFUSED[name]
        return
    found = list(Walk(BytesIO(data), len(data)))
    frames = [each.frame for each in found if isinstance(each, FrameFound)]
    ended = frames[-1].ends_stream
    end = ending(data)
    assert (end.ended, end.torn) == (ended, None)
    assert end.offset == (len(data) - 56 if ended else len(data))
    assert end.header == FileHeader.parse(data)
    # What the reference wrote last is written again to the same bytes.
    assert continued(data, [frames[-1]] if ended else []) == data


def test_the_running_checksum_is_of_all_messages_where_the_reference_began_anew() -> None:
    data = golden("resume_one_stream.ss").read_bytes()
    checksum = FIRST_CHECKSUM
    for frame in whole_frames(data):
        checksum = chained(checksum, frame.crc)
    assert [each.checksum for each in ending(data).splicer.markers] == [checksum]


@settings(max_examples=150)
@given(
    interval=st.integers(128, 3000),
    messages=st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 2), st.integers(0, 2500)), max_size=20
    ),
    cuts=st.lists(st.floats(0, 1), max_size=4),
    eos=st.booleans(),
)
def test_cut_anywhere_and_appended_equals_never_cut(
    interval: int, messages: list[tuple[int, int, int]], cuts: list[float], eos: bool
) -> None:
    frames = [
        Frame.of(Place(f"k{key}", shard, n, n), bytes((n * i) % 251 for i in range(size)))
        for n, (key, shard, size) in enumerate(messages)
    ]
    never_cut = encoded(frames, interval)
    data = encoded([*frames, END] if eos else frames, interval)
    for cut in cuts:
        data = data[: HEADER_SIZE + round(cut * (len(data) - HEADER_SIZE))]
        kept = len(whole_frames(data))
        data = continued(data, frames[kept:])
        assert data == never_cut
