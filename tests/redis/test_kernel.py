from __future__ import annotations

import os
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from seastream_nb.errors import TooLarge
from seastream_nb.message import Origin
from seastream_nb.page import ListPage, Page
from seastream_nb.redis import kernel
from seastream_nb.redis.kernel import BufferPage, Scanner

pytest.importorskip("numba")
kernel.load()

ORIGIN = Origin("ticks", 3, b"ticks:3")

Body = list[bytes] | None

u64 = st.integers(0, 2**64 - 1) | st.integers(0, 20) | st.integers(2**64 - 20, 2**64 - 1)
ids = st.builds(lambda ms, sub: b"%d-%d" % (ms, sub), u64, u64)
names = st.sampled_from([b"msg", b"msg2", b"", b"n\r\n"]) | st.binary(max_size=3)
texts = st.binary(max_size=40) | st.sampled_from([b"", b"\r\n", b"*2\r\n", b"x" * 300])
bodies = st.none() | st.lists(st.tuples(names, texts), max_size=3).map(
    lambda pairs: [part for pair in pairs for part in pair]
)
entries_lists = st.lists(st.tuples(ids, bodies).map(list), max_size=12)
positions = st.lists(st.integers(0, 2**16), max_size=6)


def entry_bytes(entry_id: bytes, body: Body) -> bytes:
    """An entry inside the reply to XRANGE."""
    head = b"*2\r\n$%d\r\n%b\r\n" % (len(entry_id), entry_id)
    if body is None:
        return head + b"*-1\r\n"
    parts = b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in body)
    return head + b"*%d\r\n%b" % (len(body), parts)


def scanned(entries: list[list[Any]], where: list[int] | None = None) -> BufferPage:
    """The page over these entries' bytes, which arrive in pieces that end at these places."""
    data = np.frombuffer(bytearray(b"".join(entry_bytes(*entry) for entry in entries)), np.uint8)
    scanner = Scanner(len(entries))
    for end in sorted({place % (len(data) + 1) for place in where or []}):
        complete = scanner.scan(data[:end])
        assert complete == (end == len(data)) or not entries
    assert scanner.scan(data)
    assert scanner.size == len(data)
    return BufferPage(ORIGIN, scanner.entries(data))


def assert_same(ours: Page, theirs: Page, fields: list[bytes]) -> None:
    assert len(ours) == len(theirs)
    assert ours.origin == theirs.origin
    assert ours.ms.tolist() == theirs.ms.tolist()
    assert ours.sub.tolist() == theirs.sub.tolist()
    for field in fields:
        for mine, other in zip(ours.occurrences(field), theirs.occurrences(field), strict=True):
            assert mine.tolist() == other.tolist()
        assert ours.occurrences(field)[1].type == theirs.occurrences(field)[1].type
        ours.occurrences(field)[1].validate(full=True)
        assert list(ours.messages(field)) == list(theirs.messages(field))
    mine, other = ours.pairs(), theirs.pairs()
    assert mine.entry.tolist() == other.entry.tolist()
    assert list(mine.names) == list(other.names)
    assert mine.values.equals(other.values)


@given(entries_lists.filter(bool), positions, st.integers(-3, 14), st.integers(-3, 14), names)
def test_a_page_over_bytes_agrees_with_the_page_over_lists(
    entries: list[list[Any]], where: list[int], start: int, stop: int, name: bytes
) -> None:
    ours, theirs = scanned(entries, where), ListPage(ORIGIN, entries)
    fields = [b"msg", b"msg2", b"", name]
    assert_same(ours, theirs, fields)
    assert_same(ours.slice(start, stop), theirs.slice(start, stop), fields)
    again = ours.slice(1, len(ours)), theirs.slice(1, len(ours))
    assert_same(again[0].slice(0, 2), again[1].slice(0, 2), fields)


def test_an_empty_page_has_nothing() -> None:
    page = scanned([])
    assert len(page) == 0
    assert page.nbytes == 0
    assert list(page.messages(b"msg")) == []
    assert page.pairs().names == []


@pytest.mark.parametrize("count", [1023, 1024, 1025, 5000])
@pytest.mark.parametrize("fields", [0, 1, 3])
def test_any_number_of_entries_and_fields_fits(count: int, fields: int) -> None:
    body = [part for at in range(fields) for part in (b"f%d" % at, b"v%d" % at)]
    entries = [[b"%d-0" % at, body] for at in range(count)]
    assert_same(scanned(entries), ListPage(ORIGIN, entries), [b"f0", b"f2", b"none"])


def test_one_entry_of_many_fields_fits() -> None:
    entries = [[b"1-1", [b"msg", b"x"] * 5000]]
    assert_same(scanned(entries), ListPage(ORIGIN, entries), [b"msg"])


def test_bytes_of_a_page_are_those_of_its_names_and_values() -> None:
    bodies = [b"msg", b"hello"], None, [b"n", b"", b"m", b"x"]
    page = scanned([[b"%d-1" % at, body] for at, body in enumerate(bodies)])
    assert page.nbytes == 3 + 5 + 1 + 0 + 1 + 1
    assert page.slice(1, 3).nbytes == 3


def test_what_was_scanned_is_not_scanned_again() -> None:
    entry = entry_bytes(b"17-3", [b"msg", b"x" * 50])
    data = bytearray(entry * 100)
    scanner = Scanner(100)
    received = np.frombuffer(data, np.uint8)
    for start, end in pairwise(range(0, len(data), 1000)):
        assert not scanner.scan(received[:end])
        assert scanner.size > start
        # Were it looked at again, this would be malformed.
        received[: scanner.size] = 0
    assert scanner.scan(received)


def test_values_beyond_what_an_arrow_array_holds_are_refused_before_they_are_copied() -> None:
    page = scanned([[b"1-1", [b"msg", b"x"]], [b"1-2", [b"msg", b"x"]]])
    page.entries.pairs[:, 3] = 2**30
    with pytest.raises(TooLarge, match=r"'ticks'.*smaller pages"):
        page.occurrences(b"msg")


LOADING = """
import sys
import seastream_nb.redis.kernel as kernel
assert "numba" not in sys.modules
assert not kernel.loaded()
assert kernel.load() and kernel.loaded()
data = kernel.np.frombuffer(bytearray(b"*2\\r\\n$3\\r\\n1-2\\r\\n*0\\r\\n"), "u1")
scanner = kernel.Scanner(1)
assert scanner.scan(data)
"""


def test_numba_is_imported_by_load_only_and_a_cache_that_cannot_be_written_is_done_without(
    tmp_path: Path,
) -> None:
    package = Path(kernel.__file__).parents[1]
    copy = shutil.copytree(
        package, tmp_path / "seastream_nb", ignore=shutil.ignore_patterns("__pycache__")
    )
    # A file where the folder should be stops root too.
    (copy / "redis" / "__pycache__").touch()
    environment = {**os.environ, "HOME": os.devnull, "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("XDG_CACHE_HOME", None)
    subprocess.run([sys.executable, "-c", LOADING], cwd=tmp_path, env=environment, check=True)


def test_without_numba_load_says_no() -> None:
    code = """
import sys
sys.modules["numba"] = None
import seastream_nb.redis.kernel as kernel
assert not kernel.load() and not kernel.loaded()
"""
    subprocess.run([sys.executable, "-c", code], cwd=Path(kernel.__file__).parents[2], check=True)


def test_entries_can_be_sliced_out_of_range() -> None:
    entries = scanned([[b"1-1", None], [b"2-1", None]]).entries
    bounds = [(0, 9), (1, 1), (2, 1), (-1, 2)]
    assert [len(entries.slice(start, stop)) for start, stop in bounds] == [2, 0, 0, 1]
