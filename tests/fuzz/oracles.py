"""What must hold for any bytes at all that are read as a file."""

from __future__ import annotations

import importlib.util
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

import seastream_nb as ss
from seastream_nb.file import frames, plain
from seastream_nb.file.append import Ending, find_end
from seastream_nb.file.blocks import FileBlocks
from seastream_nb.file.format import Frame, Place, payload_crc
from seastream_nb.file.forward import open_forward
from seastream_nb.file.verify import FileReport
from seastream_nb.file.walk import FrameFound, Walk
from seastream_nb.file.writer import FileWriter

# What may be held at once, besides so many times the file.
LEAST_BYTES, TIMES = 2**21, 24
NEW = Frame.of(Place("appended", 3, 9, 1_800_000_000_000), b"one more")


class Broken(AssertionError):
    """Something does not hold."""


def require(holds: object, text: str) -> None:
    if not holds:
        raise Broken(text)


@dataclass(frozen=True)
class Reading:
    """What reading block by block gave, up to what it refused, if it did."""

    frames: list[Frame]
    refused: tuple[int, str] | None
    torn: int | None


@cache
def kernels() -> list[ModuleType]:
    """The loops there are: plain ones, and compiled ones where numba is."""
    if importlib.util.find_spec("numba") is None:
        return [plain]
    from seastream_nb.file import compiled

    return [plain, compiled]


def hold(path: Path, blocks: int, *, memory: bool = False) -> str:
    """Everything that reads or writes the file, held to the rest; what reading it came to.

    Args:
        path: the file, which is appended to in the end; others are made beside it.
        blocks: how many intervals a block is.
        memory: also how much is held at once.

    Raises:
        Broken: something does not hold.
    """
    size = path.stat().st_size
    readings = []
    for each in kernels():
        with _bounded(memory, size):
            readings.append(read_in_blocks(path, size, each, blocks))
    require(all(each == readings[0] for each in readings), "plain and compiled differ")
    reading = readings[0]
    with _bounded(memory, size):
        report = _verified(path, size)
    if report is None:
        require(reading.refused, "verify refuses a file that is read")
    else:
        walked, intact = _walked(path, size)
        _hold_reading(reading, report, walked, size)
        with _bounded(memory, size):
            _hold_repair(path, report)
        with _bounded(memory, size):
            _hold_forward(path, size, report, walked)
        _hold_append(path, size, report, intact, memory=memory)
    if report is None:
        _hold_unreadable(path, size)
    return "refused" if reading.refused else "torn" if reading.torn is not None else "read"


@contextmanager
def _bounded(memory: bool, size: int) -> Iterator[None]:
    if not memory:
        yield
        return
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    require(peak < LEAST_BYTES + TIMES * size, f"{peak:,} bytes are held for a file of {size:,}")


def _offset(error: ss.FileError, size: int) -> int:
    require(isinstance(error, ss.FileFormatError), f"not about the format: {error!r}")
    assert isinstance(error, ss.FileFormatError)
    require(0 <= error.offset <= size, f"offset {error.offset} of {size}: {error}")
    return error.offset


def read_in_blocks(path: Path, size: int, kernel: ModuleType, blocks: int) -> Reading:
    frames._kernels = kernel
    found: list[Frame] = []
    try:
        file = FileBlocks(path)
        interval = file.header.interval
        if interval < 2**20:
            file.block_bytes = blocks * interval
        for number in range(file.count(size)):
            block = file.block(number, size)
            require(block.stop <= size, f"a block stops at {block.stop} of {size}")
            found += _frames_of(block)
            if block.torn is not None:
                require(128 <= block.torn < size, f"torn at {block.torn} of {size}")
                return Reading(found, None, block.torn)
    except ss.FileError as error:
        return Reading(found, (_offset(error, size), str(error)), None)
    return Reading(found, None, None)


def _frames_of(block: frames.Frames) -> Iterator[Frame]:
    rows = np.arange(len(block))
    payloads = block.payloads(rows).to_pylist()
    held, seen = block.data.tobytes(), 0
    for pair in block.pairs:
        seen += len(block.rows(pair))
    require(seen == len(block), "streams and shards do not make up the block")
    for span, numbers, payload in zip(
        block.spans.tolist(), block.numbers.T.tolist(), payloads, strict=True
    ):
        at, size, start, length = span
        crc = int.from_bytes(held[start + length : start + length + 2])
        require(payload_crc(payload) == crc, "a payload that does not fit its CRC is read")
        yield Frame(Place(held[at : at + size].decode(), *numbers), payload, crc)


def _verified(path: Path, size: int) -> FileReport | None:
    """The report; None for a file that begins as none does."""
    try:
        report = ss.verify(path)
    except ss.FileError as error:
        _offset(error, size)
        return None
    for offset, text in report.faults:
        require(0 <= offset <= size, f"fault at {offset} of {size}: {text}")
    torn = report.torn_tail
    require(torn is None or 128 <= torn < size, f"torn tail at {torn} of {size}")
    return report


def _walked(path: Path, size: int) -> tuple[list[Frame], list[Frame]]:
    """All frames that can be read, and those that are intact."""
    with path.open("rb") as file:
        found = [each for each in Walk(file, size) if isinstance(each, FrameFound)]
    for each in found:
        fits = payload_crc(each.frame.payload) == each.frame.crc
        require(fits == each.intact, "the walk is wrong about a CRC")
    return [each.frame for each in found], [each.frame for each in found if each.intact]


def _hold_reading(reading: Reading, report: FileReport, walked: list[Frame], size: int) -> None:
    require(reading.frames == walked[: len(reading.frames)], "blocks are no beginning of the walk")
    if any(offset < size for offset, _ in report.faults):
        return
    require(not reading.refused, f"refused without a fault: {reading.refused}")
    require(reading.frames == walked, "blocks hold less than the walk finds")
    require(
        reading.torn == report.torn_tail,
        f"torn at {reading.torn} by blocks, at {report.torn_tail} by the walk",
    )


def _hold_repair(path: Path, report: FileReport) -> None:
    target = path.with_name("repaired.ss")
    try:
        require(ss.repair(path, target) == report, "repair and verify report different things")
        after = ss.verify(target)
        require(after.ok, f"what was repaired has {after.faults}, torn at {after.torn_tail}")
        require(after.streams == report.streams, "what was repaired has other messages")
        require(after.messages == report.messages, "what was repaired has other messages")
    finally:
        target.unlink(missing_ok=True)


def _hold_forward(path: Path, size: int, report: FileReport, walked: list[Frame]) -> None:
    found, torn, refused = [], None, None
    try:
        with open_forward(path) as forward:
            for frame, _ in forward:
                require(payload_crc(frame.payload) == frame.crc, "forward passes a wrong CRC")
                found.append(frame)
            torn = forward.torn
    except ss.FileError as error:
        refused = _offset(error, size), str(error)
    if any(offset < size for offset, _ in report.faults) or (refused and report.torn_tail):
        return
    require(not refused, f"forward refuses without a fault: {refused}")
    ends = [number for number, frame in enumerate(walked, 1) if frame.ends_stream]
    require(found == walked[: ends[0] if ends else None], "forward finds other messages")
    require(ends or torn == report.torn_tail, f"torn at {torn} forward, at {report.torn_tail}")


def _hold_append(
    path: Path, size: int, report: FileReport, intact: list[Frame], *, memory: bool
) -> None:
    with _bounded(memory, size):
        ending = _ending(path, size)
    whole = not any(offset < size for offset, _ in report.faults)
    if ending is None:
        after_the_end = any("follows the end" in text for _, text in report.faults)
        require(not whole or after_the_end, "not written to, without a fault")
        return
    require(128 <= ending.offset <= size, f"goes on at {ending.offset} of {size}")
    if whole:
        require(ending.torn == report.torn_tail, f"torn at {ending.torn}, {report.torn_tail}")
    kept = intact[:-1] if ending.ended else intact
    before = path.read_bytes()
    _append(path)
    data = path.read_bytes()
    require(data[: ending.offset] == before[: ending.offset], "what was there was changed")
    after, _ = _walked(path, len(data))
    require(after == [*kept, NEW], "appending lost a message")
    if whole:
        appended = ss.verify(path)
        require(appended.ok, f"appending makes faults: {appended.faults}")


def _append(path: Path) -> None:
    with FileWriter(path) as writer:
        writer.write([NEW])
        writer.close()


def _ending(path: Path, size: int) -> Ending | None:
    """Where to go on; None where that is refused."""
    with path.open("rb") as file:
        try:
            ending: Any = find_end(file, size, str(path))
        except ss.FileError as error:
            _offset(error, size)
            return None
    require(ending, "a header that verify reads is none to append to")
    return ending  # type: ignore[no-any-return]


def _hold_unreadable(path: Path, size: int) -> None:
    """A file without a header of its own: refused and left alone, or begun anew."""
    before = path.read_bytes()
    try:
        _append(path)
    except ss.FileError as error:
        _offset(error, size)
        require(path.read_bytes() == before, "a file that is refused was changed")
        return
    require(size < 128, "a header that is damaged is written over")
    require(ss.verify(path).ok, "a file that was begun anew has faults")
