"""Files made for tests, by our own codec and from the reference's."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from seastream_nb.file.format import EOS, INTERNAL_KEY, FileHeader, Frame, Place
from seastream_nb.file.splice import Splicer

# Files of the reference writer, with what the reference tool prints; not part of this project.
GOLDEN = Path(__file__).parents[3] / "shared" / "golden"
GOLDEN_NAMES = (
    "append_small_eos",
    "consumer",
    "corrupt_payload",
    "f1024_big",
    "f1024_many",
    "f128_one",
    "f2048_rr",
    "f2048_shards",
    "json",
    "resume_one_stream",
    "sample-1",
)
END = Frame.of(Place(INTERNAL_KEY, 0, 0, 5), EOS)


def golden(name: str) -> Path:
    """One of the reference's files; without them the test is skipped."""
    path = GOLDEN / name
    if not path.exists():
        pytest.skip(f"the reference's file {name} is not here")
    return path


def encoded(frames: Iterable[Frame], interval: int = 1024, name: str = "made.ss") -> bytes:
    """A whole file."""
    splicer = Splicer(interval)
    start = FileHeader(name, 1_700_000_000_000, interval).encode() + splicer.start()
    return start + b"".join(splicer.add(frame) for frame in frames)


def numbered(count: int, *, key: str = "a", size: int = 20) -> list[Frame]:
    """Frames with sequences from 1, and payloads that differ and hold no frame."""
    return [
        Frame.of(Place(key, n % 3, n, 1_700_000_000_000 + n), f"payload {n}".ljust(size).encode())
        for n in range(1, count + 1)
    ]


def written(folder: Path, data: bytes, name: str = "made.ss") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def unprivileged() -> bool:
    """Whether file permissions mean something to this user."""
    return os.geteuid() != 0
