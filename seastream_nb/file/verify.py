"""Checking a file, and saving what is whole in it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from seastream_nb.errors import FileError
from seastream_nb.export.target import created
from seastream_nb.file.format import (
    FIRST_CHECKSUM,
    INTERNAL_KEY,
    Beacon,
    Frame,
    chained,
    header_faults,
)
from seastream_nb.file.scan import Damaged, Scan
from seastream_nb.file.splice import Pair, Splicer
from seastream_nb.file.walk import BeaconFound, Fault, FrameFound, Skipped, Walk, open_walk


@dataclass(frozen=True)
class FileReport:
    """What a check of a file found.

    Attributes:
        path: the file.
        messages: whole messages whose payload fits its CRC; the mark of the end is not counted.
        streams: how many of them there are, by (stream key, shard).
        beacons: how many beacons could be read.
        faults: what breaks the format, as (byte offset, text), in the file's order.
        torn_tail: where the message begins that the file ends inside of; None if there is none.
    """

    path: Path
    messages: int
    streams: dict[tuple[str, int], int]
    beacons: int
    faults: list[tuple[int, str]]
    torn_tail: int | None

    @property
    def ok(self) -> bool:
        """Whether there is no fault and no torn tail."""
        return not self.faults and self.torn_tail is None


@dataclass
class _Highest:
    """What the next marker of a stream and shard should say; None where damage hid it."""

    sequence: int
    ms: int
    checksum: int | None

    def add(self, frame: Frame) -> None:
        self.sequence = max(self.sequence, frame.place.sequence)
        self.ms = max(self.ms, frame.place.ms)
        if self.checksum is not None:
            self.checksum = chained(self.checksum, frame.crc)


@dataclass
class _Checker:
    """Counts, and holds beacons to what was read before them."""

    counts: Counter[Pair] = field(default_factory=Counter)
    beacons: int = 0
    faults: list[tuple[int, str]] = field(default_factory=list)
    _highest: dict[Pair, _Highest] = field(default_factory=dict)
    # By the messages alone, where `_highest` follows what beacons say.
    _whole: dict[Pair, _Highest] = field(default_factory=dict)
    _damaged: bool = False
    _ended: bool = False

    def see(self, found: Fault | FrameFound | BeaconFound | Skipped) -> None:
        if isinstance(found, Fault):
            self.faults.append((found.offset, found.text))
        elif isinstance(found, FrameFound):
            self._message(found)
        elif isinstance(found, BeaconFound):
            self._beacon(found.offset, found.beacon)
        else:
            # Messages are gone unread, so nothing is known of sums and maxima any more.
            self._highest.clear()
            self._whole.clear()
            self._damaged = True

    def _message(self, found: FrameFound) -> None:
        if self._ended:
            text = "a message follows the end-of-stream mark, where readers stop"
            self.faults.append((found.offset, text))
        self._ended = found.frame.ends_stream
        key, shard, sequence, ms = found.frame.place
        unknown = None if self._damaged else FIRST_CHECKSUM
        for known in (self._highest, self._whole):
            known.setdefault((key, shard), _Highest(sequence, ms, unknown)).add(found.frame)
        if found.intact and key != INTERNAL_KEY:
            self.counts[key, shard] += 1

    def _beacon(self, offset: int, beacon: Beacon) -> None:
        self.beacons += 1
        for (key, shard, sequence, ms), checksum in beacon.markers:
            known = self._highest.get((key, shard))
            what = f"the marker of {key!r}, shard {shard}"
            if known is None and not self._damaged:
                self.faults.append((offset, f"{what}: no message of it stands before"))
            elif self._whole.get((key, shard)) == _Highest(sequence, ms, checksum):
                pass  # right by the messages, whatever an earlier beacon said
            elif known is not None and known.checksum is not None:
                if known.checksum != checksum:
                    text = f"says running checksum {checksum:04X}, it is {known.checksum:04X}"
                    self.faults.append((offset, f"{what} {text}"))
                if (known.sequence, known.ms) != (sequence, ms):
                    text = f"says sequence {sequence} and time {ms}, the highest are"
                    self.faults.append((offset, f"{what} {text} {known.sequence} and {known.ms}"))
            # From here on by the file's word: one mistake is one fault.
            self._highest[key, shard] = _Highest(sequence, ms, checksum)

    def report(self, path: Path, torn: int | None) -> FileReport:
        return FileReport(
            path=path,
            messages=self.counts.total(),
            streams=dict(sorted(self.counts.items())),
            beacons=self.beacons,
            faults=sorted(self.faults, key=lambda fault: fault[0]),
            torn_tail=torn,
        )


def verify(path: str | os.PathLike[str]) -> FileReport:
    """Check a file from end to end: every CRC, remaining count, marker and running checksum.

    Running checksums and highest values that do not go on where they were are what SeaStreamer
    itself writes after it opened a file again; they are faults here, and no message suffers.

    Raises:
        FileFormatError: it is no `.ss` file at all.
        FileError: it cannot be read.
    """
    source = Path(path)
    with _opened(source) as (file, walk):
        if (report := _whole(source, file, walk)) is not None:
            return report
        checker = _Checker()
        for found in walk:
            checker.see(found)
    return checker.report(source, walk.torn)


def _whole(path: Path, file: BinaryIO, walk: Walk) -> FileReport | None:
    """The report of a file without any fault, by a faster pass; None where there may be one."""
    interval = walk.header.interval
    if walk.size % interval == 0 or any(header_faults(walk.head)):
        return None
    scan = Scan(file, walk.size, interval)
    try:
        scan.run()
    except Damaged:
        return None
    if scan.begin < walk.size or scan.disputed:
        return None
    counts = scan.counts()
    return FileReport(path, sum(counts.values()), counts, scan.beacons, [], None)


def repair(src: str | os.PathLike[str], dst: str | os.PathLike[str]) -> FileReport:
    """Write every intact message of `src` to a new file `dst`, and say what was wrong in `src`.

    After damage the next message is looked for that is whole, and at the latest behind the next
    beacon. Keys, shards, sequences, times, payloads and the order stay; the report's `path` is
    `src`. An end-of-stream mark is kept only where it is the last thing.

    Raises:
        ExportExists: there is a `dst` already; it is left as it is.
        FileFormatError: `src` is no `.ss` file at all.
        FileError: `src` cannot be read or `dst` not written; no half `dst` is left.
    """
    source, target = Path(src), Path(dst)
    with _opened(source) as (_, walk), created(target) as file:
        checker = _Checker()
        file.write(walk.header.encode())
        splicer = Splicer(walk.header.interval)
        file.write(splicer.start())
        end: Frame | None = None
        for found in walk:
            checker.see(found)
            if isinstance(found, FrameFound) and found.intact:
                end = found.frame if found.frame.ends_stream else None
                if end is None:
                    file.write(splicer.add(found.frame))
        if end is not None:
            file.write(splicer.add(end))
    return checker.report(source, walk.torn)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, Walk]]:
    try:
        with path.open("rb") as file:
            yield file, open_walk(file, os.fstat(file.fileno()).st_size, str(path))
    except FileError:
        raise
    except OSError as error:
        raise FileError(error.errno, f"{path} cannot be read: {error.strerror}") from error
