"""Columns of messages become the bytes that the splicer makes of them one by one."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings, strategies as st

from seastream_nb.file import bulk
from seastream_nb.file.bulk import Columns, spliced
from seastream_nb.file.format import payload_crc
from seastream_nb.file.splice import Splicer

PAIRS = [("a", 0), ("b", 2**64 - 1), ("ticks.eu-1", 7), ("a", 1)]
KINDS = (pa.binary(), pa.large_binary())

u64 = st.integers(0, 2**64 - 1)
rows = st.lists(st.tuples(st.integers(0, 3), u64, u64, st.binary(max_size=700)), max_size=30)


@pytest.fixture(params=["plain", "compiled"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways that columns are encoded."""
    if request.param == "plain":
        monkeypatch.setattr(bulk, "_compiled", None)
    elif not bulk.load():
        pytest.skip("numba is not installed")


def columns(given: list[tuple[int, int, int, bytes]], kind: pa.DataType = KINDS[0]) -> Columns:
    which, sequences, times, payloads = zip(*given, strict=True) if given else ((), (), (), ())
    return Columns(
        PAIRS,
        np.array(which, np.int64),
        np.array(sequences, np.uint64),
        np.array(times, np.uint64),
        pa.array(payloads, kind),
    )


@pytest.mark.usefixtures("way")
@settings(max_examples=100)
@given(
    given=rows, interval=st.integers(128, 3000), kind=st.sampled_from(KINDS), cut=st.floats(0, 1)
)
def test_columns_are_encoded_as_one_by_one(
    given: list[tuple[int, int, int, bytes]], interval: int, kind: pa.DataType, cut: float
) -> None:
    one_by_one, at_once = Splicer(interval), Splicer(interval)
    expected = one_by_one.start() + b"".join(map(one_by_one.add, columns(given).frames()))
    found = at_once.start()
    where = round(cut * len(given))
    for part in (columns(given, kind).slice(0, where), columns(given, kind).slice(where, 99)):
        found += b"".join(spliced(at_once, part))
    assert found == expected
    assert (at_once.at, at_once.markers) == (one_by_one.at, one_by_one.markers)


def test_chunks_hold_every_message_once_and_are_bounded() -> None:
    given = [(n % 4, n, n, bytes(n * 9973 % 300_000)) for n in range(60)]
    parts = list(columns(given).chunks())
    assert [each for part in parts for each in part.frames()] == list(columns(given).frames())
    assert len(parts) > 3
    assert all(part.size <= bulk.CHUNK_BYTES for part in parts)
    large = columns([(0, 1, 1, bytes(3 * bulk.CHUNK_BYTES))] * 2)
    assert [len(part) for part in large.chunks()] == [1, 1]
    assert list(columns([]).chunks()) == []


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 16, 17, 250])
def test_a_payload_of_any_length_has_its_checksum(size: int) -> None:
    payload = bytes(range(size % 256)) or b""
    data = b"".join(spliced(Splicer(2**20), columns([(0, 1, 1, payload)])))
    assert data[-3:-1] == payload_crc(payload).to_bytes(2)


def test_numba_is_imported_only_by_load() -> None:
    script = """
import sys
from seastream_nb.file import bulk
assert not bulk.loaded() and "numba" not in sys.modules
if bulk.available():
    assert bulk.load() and bulk.loaded()
sys.modules["numba"] = None
bulk._compiled = None
sys.modules.pop("seastream_nb.file.bulk_compiled", None)
vars(sys.modules["seastream_nb.file"]).pop("bulk_compiled", None)
assert not bulk.load() and not bulk.loaded()
"""
    if bulk.available():
        subprocess.run([sys.executable, "-c", script], check=True)
