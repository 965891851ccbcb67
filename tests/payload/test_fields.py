"""Entry fields as columns."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from seastream_nb.errors import ConfigError, DecodeError
from seastream_nb.payload import Decode, Decoder, infer
from tests.payload.chunks import entries, whole

FIELDS = Decode(kind="fields")


def test_each_field_is_a_column_of_text() -> None:
    table = whole(
        FIELDS,
        entries([b"side", b"buy", b"id", b"7"], [b"side", "é".encode()]),
        entries([b"note", b""], []),
    )
    assert table.schema == pa.schema(dict.fromkeys(["side", "payload_id", "note"], pa.string()))
    assert table.to_pylist() == [
        {"side": "buy", "payload_id": "7", "note": None},
        {"side": "é", "payload_id": None, "note": None},
        {"side": None, "payload_id": None, "note": ""},
        {"side": None, "payload_id": None, "note": None},
    ]


def test_a_column_is_binary_once_a_value_is_not_utf8() -> None:
    table = whole(
        FIELDS, entries([b"a", b"text"]), entries([b"a", b"\xff"]), entries([b"a", b"more"])
    )
    assert table["a"].type == pa.binary()
    assert table["a"].to_pylist() == [b"text", b"\xff", b"more"]


def test_names_that_are_not_utf8_are_escaped_and_stay_apart() -> None:
    batch = Decoder(FIELDS).decode(entries([b"\xff", b"1", rb"\xff", b"2"]))
    assert batch.to_pylist() == [{r"\xff": "1", r"\xff_2": "2"}]


def test_later_values_of_a_repeated_field_are_in_extra_as_soon_as_there_is_one() -> None:
    once, twice = (
        entries([b"a", b"1"]),
        entries([b"a", b"1", b"a", b"2", b"b", b"x", b"a", b"\xff"]),
    )
    assert whole(FIELDS, once).column_names == ["a"]
    table = whole(FIELDS, once, twice, once)
    assert table.column_names == ["a", "b", "_extra"]
    assert table["a"].to_pylist() == ["1", "1", "1"]
    first, second, third = table["_extra"].to_pylist()
    assert (first, third) == (None, None)
    assert json.loads(second) == {"a": ["2", {"base64": "/w=="}]}


def test_named_fields_are_columns_even_where_no_entry_has_them() -> None:
    decode = Decode(kind="fields", names=("b", "a"))
    table = whole(decode, entries([b"a", b"1", b"c", b"3"], names=[b"b", b"a"]))
    assert table.schema == pa.schema({"b": pa.string(), "a": pa.string()})
    assert table.to_pylist() == [{"b": None, "a": "1"}]


def test_a_stream_fixes_its_columns_and_puts_the_rest_into_extra() -> None:
    fixed = infer(FIELDS, entries([b"a", b"1", b"raw", b"\xff", b"\xfe", b"z"]))
    assert fixed == pa.schema(
        {"a": pa.string(), "raw": pa.binary(), r"\xfe": pa.string(), "_extra": pa.string()}
    )
    decoder = Decoder(FIELDS, fixed=fixed)
    plain = decoder.decode(entries([b"\xfe", b"y"], [b"raw", b"text"]))
    assert plain.schema == fixed
    assert plain.to_pylist() == [
        {"a": None, "raw": None, r"\xfe": "y", "_extra": None},
        {"a": None, "raw": b"text", r"\xfe": None, "_extra": None},
    ]
    late = decoder.decode(
        entries([b"late", b"1"], [b"a", b"1", b"late", b"2", b"late", b"\xff", b"a", b"3"], [])
    )
    first, second, third = late["_extra"].to_pylist()
    assert json.loads(first) == {"late": "1"}
    assert json.loads(second) == {"late": ["2", {"base64": "/w=="}], "a": ["3"]}
    assert third is None


def test_bytes_in_a_column_that_a_sample_fixed_as_text_are_an_error() -> None:
    decoder = Decoder(FIELDS, fixed=infer(FIELDS, entries([b"a", b"text"])))
    with pytest.raises(DecodeError, match=r"entry 1-7 of 'ticks', column 'a'.*schema=") as caught:
        decoder.decode(entries([b"a", b"more"], [b"a", b"\xff"]))
    assert caught.value.column == "a"


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (pa.int64(), b"-12", -12),
        (pa.float64(), b"1e5", 1e5),
        (pa.bool_(), b"true", True),
        (pa.binary(), b"\xff", b"\xff"),
        (
            pa.timestamp("us", "UTC"),
            b"2026-11-22T10:00:00Z",
            datetime(2026, 11, 22, 10, tzinfo=UTC),
        ),
    ],
)
def test_a_schema_gives_the_types_of_fields(kind: pa.DataType, text: bytes, value: Any) -> None:
    decode = Decode(kind="fields", schema=pa.schema({"id": kind}))
    for decoder in (Decoder(decode), Decoder(decode, fixed=infer(decode, None))):
        batch = decoder.decode(entries([b"id", text, b"other", b"x"], [b"other", b"y"]))
        assert batch.schema == pa.schema({"payload_id": kind})
        assert batch["payload_id"].to_pylist() == [value, None]


def test_a_schema_with_extra_holds_the_other_fields() -> None:
    decode = Decode(kind="fields", schema=pa.schema({"_extra": pa.string(), "a": pa.int8()}))
    assert Decoder(decode).decode(entries([b"a", b"1", b"b", b"2"])).to_pylist() == [
        {"_extra": '{"b": "2"}', "a": 1}
    ]


def test_named_fields_without_a_given_type_are_text() -> None:
    decode = Decode(kind="fields", names=("a", "b"), schema=pa.schema({"b": pa.int8()}))
    rows = entries([b"b", b"2", b"a", b"1"])
    expected = pa.schema({"a": pa.string(), "b": pa.int8()})
    assert whole(decode, rows).schema == infer(decode, rows) == expected
    assert whole(decode, rows).to_pylist() == [{"a": "1", "b": 2}]


@pytest.mark.parametrize(
    ("kind", "text"), [(pa.int64(), b"2.5"), (pa.int64(), b"\xff"), (pa.bool_(), b"yes")]
)
def test_a_field_that_does_not_fit_its_type_names_entry_and_column(
    kind: pa.DataType, text: bytes
) -> None:
    decode = Decode(kind="fields", schema=pa.schema({"a": kind}))
    with pytest.raises(DecodeError, match="entry 2-7 of 'ticks', column 'a'") as caught:
        Decoder(decode).decode(entries([b"a", b"1"], [], [b"a", text]))
    assert text.decode("latin-1") not in str(caught.value).partition("column 'a'")[2]


def test_a_schema_cannot_have_a_type_that_text_cannot_be_read_as() -> None:
    with pytest.raises(ConfigError, match="'a': fields cannot be read as list<item: int64>"):
        Decode(kind="fields", schema=pa.schema({"a": pa.list_(pa.int64())}))
