"""The codec against the reference writer's files, byte for byte."""

from __future__ import annotations

from io import BytesIO

import pytest

from seastream_nb.errors import FileFormatError
from seastream_nb.file.format import (
    FIRST_CHECKSUM,
    FileHeader,
    chained,
    markers_per_beacon,
    payload_crc,
)
from seastream_nb.file.splice import Splicer
from seastream_nb.file.walk import BeaconFound, FrameFound, Walk
from tests.file.files import GOLDEN_NAMES, encoded, golden, numbered

# Opened again by the reference, which does not continue the running checksum (spec 2.7), or
# damaged on purpose.
NOT_OUR_BYTES = {"resume_one_stream": 4, "corrupt_payload": 1}


def walk_of(name: str) -> tuple[Walk, bytes]:
    data = golden(f"{name}.ss").read_bytes()
    return Walk(BytesIO(data), len(data)), data


@pytest.mark.parametrize(
    ("data", "crc"),
    [
        (b"123456789", 0x4C06),
        (b"hello, world", 0x8028),
        (b"123456789abcd", 0xA106),
        (b"EOS", 0xED7C),
        (b"", 0xFFFF),
        (b"\0", 0x6B6C),
    ],
)
def test_the_checksum_is_crc_16_cdma2000(data: bytes, crc: int) -> None:
    assert payload_crc(data) == crc


def test_the_running_checksum_is_fed_by_the_payloads_checksums() -> None:
    running = FIRST_CHECKSUM
    seen = []
    for crc in (0xF556, 0x3D31, 0xADFF):
        running = chained(running, crc)
        seen.append(running)
    assert seen == [0xE2C1, 0x2B27, 0xF6D7]


@pytest.mark.parametrize(
    ("interval", "markers"),
    [
        (128, 0),
        (570, 0),
        (571, 1),
        (1134, 1),
        (1135, 2),
        (2048, 3),
        (4096, 7),
        (8192, 14),
        (16384, 29),
        (32768, 58),
        (65536, 116),
        (71635, 127),
        (2**20, 127),
    ],
)
def test_a_beacon_has_room_for_so_many_markers(interval: int, markers: int) -> None:
    assert markers_per_beacon(interval) == markers


@pytest.mark.parametrize("name", GOLDEN_NAMES)
def test_a_file_of_the_reference_is_written_again_to_the_same_bytes(name: str) -> None:
    walk, data = walk_of(name)
    splicer = Splicer(walk.header.interval)
    again = walk.header.encode() + splicer.start()
    for found in walk:
        if isinstance(found, FrameFound):
            again += splicer.add(found.frame)
    assert len(again) == len(data)
    differing = sum(one != other for one, other in zip(again, data, strict=True))
    if name == "resume_one_stream":
        assert differing == NOT_OUR_BYTES[name]  # running checksums after it was opened again
    else:
        assert differing == 0


def test_beacons_of_the_reference_say_what_its_specification_lists() -> None:
    walk, _ = walk_of("consumer")
    found = [each for each in walk if isinstance(each, BeaconFound)]
    assert [each.offset for each in found] == [1024, 2048, 3072, 4096]
    assert [each.beacon.remaining for each in found] == [39, 44, 4, 9]
    markers = [marker for each in found for marker in each.beacon.markers]
    assert {marker.place[:2] for marker in markers} == {("hello", 1)}
    assert [marker.place.sequence for marker in markers] == [20, 42, 63, 85]
    assert [marker.checksum for marker in markers] == [0x0B47, 0xF128, 0x59EA, 0xF53D]


def test_a_long_file_name_is_cut_where_a_character_ends() -> None:
    header = FileHeader("é" * 100, 5, 1024)
    assert FileHeader.parse(header.encode()) == FileHeader("é" * 55, 5, 1024)


@pytest.mark.parametrize(
    ("change", "offset"),
    [
        (lambda data: b"", 0),
        (lambda data: b"PAR1" + data[4:], 0),
        (lambda data: b"Ss\x02" + data[3:], 2),
        (lambda data: data[:2], 2),
        (lambda data: data[:100], 100),
        (lambda data: data[:3] + b"\x70" + data[4:], 3),
        (lambda data: data[:5] + b"\xff" + data[6:], 5),
        (lambda data: data[:11] + b"\xff" * 8 + data[19:], 11),
        (lambda data: data[:19] + b"\0\0\0\x7f" + data[23:], 19),
    ],
    ids=[
        "empty",
        "other",
        "version",
        "magic-only",
        "cut",
        "name-length",
        "utf-8",
        "time",
        "interval",
    ],
)
def test_a_header_that_is_none_says_where(change, offset: int) -> None:
    data = FileHeader("made.ss", 5, 1024).encode()
    with pytest.raises(FileFormatError) as caught:
        FileHeader.parse(change(data))
    assert caught.value.offset == offset


def test_a_frame_that_ends_at_a_boundary_is_followed_by_its_beacon() -> None:
    exact = numbered(1, size=1024 - 128 - 33)
    assert encoded(exact)[1024:] == bytes.fromhex("0d 00000000 01") + encoded(exact)[1030:]
    assert len(encoded(exact)) == 1024 + 7 + 28
