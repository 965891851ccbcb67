"""`.ss` files, with payloads of 100 bytes: read as Arrow arrays, written from them."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa

from seastream_nb.file import bulk, frames
from seastream_nb.file.blocks import BLOCK_BYTES, FileBlocks
from seastream_nb.file.bulk import Columns
from seastream_nb.file.writer import FileWriter
from tests.benchmarks.harness import Measure, per_second, rate
from tests.benchmarks.place import FIRST_MS, Place, bytes_payloads

MESSAGES = 490_000  # about 64 MiB
PAYLOAD = 100


@rate(at_least=0.3)
def file_to_arrow(_place: Place) -> Iterator[tuple[Measure, Measure]]:
    """Every payload, found and checked, against zlib's CRC-32 over the bytes of the file."""
    frames.load()
    bulk.load()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "read.ss"
        write(path, columns())
        yield per_second(MESSAGES, lambda: read(path)), per_second(MESSAGES, lambda: summed(path))


@rate(at_least=0.3)
def columns_to_file(_place: Place) -> Iterator[tuple[Measure, Measure]]:
    """Columns as a file, against writing the same bytes one block after another."""
    bulk.load()
    with TemporaryDirectory() as folder:
        path, plain, given = Path(folder) / "written.ss", Path(folder) / "plain", columns()
        write(path, given)
        data = path.read_bytes()
        yield (
            per_second(MESSAGES, lambda: write(path, given)),
            per_second(MESSAGES, lambda: write_plain(plain, data)),
        )


def columns() -> Columns:
    numbers = np.arange(MESSAGES, dtype=np.uint64)
    payloads = pa.array(list(islice(bytes_payloads(PAYLOAD), MESSAGES)), pa.binary())
    return Columns.of(("ticks", 0), numbers, numbers + np.uint64(FIRST_MS), payloads)


def write(path: Path, given: Columns) -> None:
    path.unlink(missing_ok=True)
    with FileWriter(path, create="exclusive") as file:
        file.write_columns(given)
        file.flush()
        file.close()


def write_plain(path: Path, data: bytes) -> None:
    path.unlink(missing_ok=True)
    view = memoryview(data)
    with path.open("xb", buffering=0) as file:
        for at in range(0, len(data), BLOCK_BYTES):
            file.write(view[at : at + BLOCK_BYTES])


def read(path: Path) -> int:
    blocks = FileBlocks(path)
    size, count = blocks.size(), 0
    for number in range(blocks.count(size)):
        block = blocks.block(number, size)
        for pair in block.pairs:
            count += len(block.payloads(block.rows(pair)))
    assert count == MESSAGES
    return count


def summed(path: Path) -> int:
    checksum = 0
    with path.open("rb", buffering=0) as file:
        while data := file.read(BLOCK_BYTES):
            checksum = zlib.crc32(data, checksum)
    return checksum
