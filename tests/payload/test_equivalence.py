"""The fast way and the exact way, and Python's own json, agree on everything."""

from __future__ import annotations

import json
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pytest
from hypothesis import given, strategies as st

from seastream_nb.payload import Decode, Decoder, infer, ndjson, unify
from tests.payload.chunks import chunk

JSON = Decode(kind="json")
KEEP = Decode(kind="json", errors="keep")

KEYS = st.sampled_from(["a", "b", "id", "é", "", "n\n"])
INTEGERS = st.one_of(
    st.integers(-9, 9),
    st.integers(-(2**65), 2**65),
    st.builds(
        lambda power, step, sign: sign * (2**power + step),
        st.sampled_from([53, 63, 64]),
        st.integers(-2, 2),
        st.sampled_from([1, -1]),
    ),
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    INTEGERS,
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
    st.sampled_from(["2026-11-22", "2026-11-22T10:00:00Z", "NaN", "[{[{", "12345678901234567890"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=5,
)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=4)
TAME = st.fixed_dictionaries(
    {},
    optional={
        "a": st.one_of(st.none(), st.integers(-9, 9), st.floats(-1e20, 1e20)),
        "id": st.one_of(st.none(), st.text(max_size=3).filter(str.isascii)),
        "b": st.lists(st.dictionaries(KEYS, st.integers(0, 9), max_size=2), max_size=2),
        "c": st.one_of(st.none(), st.fixed_dictionaries({}, optional={"x": st.booleans()})),
    },
)


@st.composite
def printed(draw: st.DrawFn, objects: st.SearchStrategy[dict[str, Any]]) -> bytes:
    text = json.dumps(
        draw(objects),
        ensure_ascii=draw(st.booleans()),
        indent=draw(st.sampled_from([None, None, 1, "\t"])),
        separators=draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\r\n", " : ")])),
    )
    spaces = st.sampled_from(["", "", " ", "\r\n", "\n\t"])
    return (draw(spaces) + text + draw(spaces)).encode()


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    payload = draw(printed(OBJECTS))
    start = draw(st.integers(0, len(payload)))
    stop = draw(st.integers(start, min(start + 2, len(payload))))
    pieces = [
        b"",
        b"{",
        b"}",
        b"[",
        b'"',
        b",",
        b":",
        b"0",
        b"e9",
        b"-",
        b"\n",
        b"\xff",
        b"\\ud8ff",
    ]
    literals = [b"{}", b"}{", b"NaN", b"1e999", b"//", b'"a":1,', b"\xef\xbb\xbf", b"\\u0000", b"."]
    return payload[:start] + draw(st.sampled_from(pieces + literals)) + payload[stop:]


def chunks_of(payloads: st.SearchStrategy[bytes]) -> st.SearchStrategy[list[list[bytes]]]:
    return st.lists(st.lists(payloads, max_size=5), min_size=1, max_size=3)


def decoded(decoder: Decoder, chunks: list[list[bytes]], *, fast: bool) -> pa.Table:
    rows = [chunk(*payloads) for payloads in chunks]
    if fast:
        batches = [decoder.decode(part) for part in rows]
    else:
        with patch.object(ndjson, "read_plain", return_value=None):
            batches = [decoder.decode(part) for part in rows]
    table = unify(batches, decoder.schema)
    table.validate(full=True)
    return table


def both_ways(
    decode: Decode, chunks: list[list[bytes]], fixed: pa.Schema | None = None
) -> pa.Table:
    fast = decoded(Decoder(decode, fixed=fixed), chunks, fast=True)
    exact = decoded(Decoder(decode, fixed=fixed), chunks, fast=False)
    assert fast.schema == exact.schema
    # As text, in which 0.0 and -0.0 differ.
    assert str(fast.to_pylist()) == str(exact.to_pylist())
    return fast


def without_nulls(value: Any) -> Any:
    """A null and an absent key are one thing in a column."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


@given(chunks_of(printed(OBJECTS)))
def test_whole_frames_hold_what_python_reads(chunks: list[list[bytes]]) -> None:
    table = both_ways(KEEP, chunks)
    payloads = [payload for part in chunks for payload in part]
    assert len(table) == len(payloads)
    for row, payload in zip(table.to_pylist(), payloads, strict=True):
        error = row.pop("_error")
        found = {"id" if name == "payload_id" else name: item for name, item in row.items()}
        assert without_nulls(found) == ({} if error else without_nulls(json.loads(payload)))


@given(chunks_of(st.one_of(printed(OBJECTS), damaged())))
def test_damaged_payloads_are_judged_alike(chunks: list[list[bytes]]) -> None:
    both_ways(KEEP, chunks)


@given(st.lists(printed(TAME), max_size=3), chunks_of(printed(st.one_of(TAME, OBJECTS))))
def test_fixed_columns_and_extra_lose_nothing(
    sample: list[bytes], chunks: list[list[bytes]]
) -> None:
    table = both_ways(KEEP, chunks, infer(KEEP, chunk(*sample)))
    payloads = [payload for part in chunks for payload in part]
    for row, payload in zip(table.to_pylist(), payloads, strict=True):
        error, extra = row.pop("_error"), json.loads(row.pop("_extra") or "{}")
        found = {"id" if name == "payload_id" else name: item for name, item in row.items()}
        assert without_nulls(found | extra) == ({} if error else without_nulls(json.loads(payload)))


@given(chunks_of(st.one_of(printed(TAME), printed(OBJECTS), damaged())), st.booleans())
def test_given_types_are_read_alike(chunks: list[list[bytes]], extra: bool) -> None:
    columns = {"a": pa.float32(), "id": pa.string(), "b": pa.list_(pa.struct({"a": pa.int8()}))}
    schema = pa.schema(columns | ({"_extra": pa.string()} if extra else {}))
    both_ways(Decode(kind="json", schema=schema, errors="keep"), chunks)


@pytest.mark.parametrize(
    "payload",
    [
        b'{"symbol":"ABC","price":100.25,"size":3,"side":"buy","open":true}',
        b'{"day":"2026-11-22","at":{"t":"2026-11-22T10:00:00Z"}}',
        b'{"items":[{"x":1},{"y":[null]}],"none":null}',
        b'{"big":1e300,"digits":"12345678901234567890","name":"NaN","path":"[[[{{{"}',
        b' {\n  "pretty": 1\n}\n',
        b'{"long":"%b","nested":[%b{}]}' % (b"[" * 100, b"{}," * 100),
    ],
)
def test_ordinary_objects_take_the_fast_way(payload: bytes) -> None:
    assert ndjson.read_exact(pa.array([payload] * 3), {}) is not None
