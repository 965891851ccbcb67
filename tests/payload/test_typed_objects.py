"""JSON objects in columns of a schema that the user gave."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from seastream_nb.errors import ConfigError, DecodeError
from seastream_nb.payload import Decode, Decoder, infer
from tests.payload.chunks import chunk


def typed(kind: pa.DataType, **options: Any) -> Decoder:
    return Decoder(Decode(kind="json", schema=pa.schema({"a": kind}), **options))


@pytest.mark.parametrize(
    ("kind", "literal", "value"),
    [
        (pa.int32(), b"-5", -5),
        (pa.uint64(), b"18446744073709551615", 2**64 - 1),
        (pa.float32(), b"0.5", 0.5),
        (pa.float64(), b"3", 3.0),
        (pa.string(), b'"2026-11-22"', "2026-11-22"),
        (pa.large_string(), b'"x"', "x"),
        (pa.binary(), b'"x"', b"x"),
        (pa.timestamp("s"), b'"2026-11-22"', datetime(2026, 11, 22)),
        (
            pa.timestamp("us", "UTC"),
            b'"2026-11-22T10:00:00.5+02:00"',
            datetime(2026, 11, 22, 8, 0, 0, 500_000, tzinfo=UTC),
        ),
        (pa.date32(), b'"2026-11-22"', date(2026, 11, 22)),
        (pa.duration("s"), b"90", timedelta(seconds=90)),
        (
            pa.decimal128(38, 2),
            b"123456789012345678901234567890.25",
            Decimal("123456789012345678901234567890.25"),
        ),
        (pa.dictionary(pa.int32(), pa.string()), b'"x"', "x"),
        (pa.list_(pa.int8()), b"[1,2]", [1, 2]),
        (pa.large_list(pa.date32()), b'["2026-11-22"]', [date(2026, 11, 22)]),
        (pa.struct({"x": pa.int16()}), b'{"x":1,"ignored":"y"}', {"x": 1}),
        (pa.struct({"d": pa.date32()}), b'{"d":"2026-11-22"}', {"d": date(2026, 11, 22)}),
    ],
)
def test_a_value_is_read_as_its_type(kind: pa.DataType, literal: bytes, value: object) -> None:
    payload = b'{"a":%b}' % literal
    for rows in (chunk(payload, b"{}"), chunk(b'{"a":%b,"ignored":[1,"x"]}' % literal, b"{}")):
        batch = typed(kind).decode(rows)
        assert batch.schema == pa.schema({"a": kind})
        assert batch["a"].to_pylist() == [value, None]


@pytest.mark.parametrize(
    ("kind", "literal"),
    [
        (pa.int8(), b"300"),
        (pa.uint8(), b"-1"),
        (pa.int64(), b"2.0"),
        (pa.int64(), b'"12"'),
        (pa.string(), b"12"),
        (pa.float32(), b"1e300"),
        (pa.timestamp("s"), b'"2026-11-22T10:00:00.5"'),
        (pa.timestamp("s"), b'"yesterday"'),
        (pa.date32(), b'"2026-13-01"'),
        (pa.decimal128(5, 2), b"1.234"),
        (pa.list_(pa.int8()), b"[1,300]"),
        (pa.struct({"x": pa.int8()}), b'{"x":300}'),
    ],
)
def test_a_value_that_does_not_fit_names_entry_and_column(
    kind: pa.DataType, literal: bytes
) -> None:
    rows = chunk(b"{}", b"{}", b'{"a":%b}' % literal, b"{}")
    with pytest.raises(DecodeError) as caught:
        typed(kind).decode(rows)
    assert "entry 2-7 of 'ticks', column 'a': a value that does not fit" in str(caught.value)
    assert (caught.value.entry_id, caught.value.column) == ("2-7", "a")

    kept = typed(kind, errors="keep").decode(rows)
    assert kept.schema.names == ["a", "_error"]
    assert kept["a"].to_pylist() == [None] * 4
    assert [text is None for text in kept["_error"].to_pylist()] == [True, True, False, True]


def test_rows_that_fit_are_kept_beside_many_that_do_not() -> None:
    payloads = [
        b'{"a":%b}' % (b"x" if n % 5 == 0 else b"300" if n % 3 == 0 else b"%d" % n)
        for n in range(60)
    ]
    kept = typed(pa.int8(), errors="keep").decode(chunk(*payloads))
    good = [None if n % 5 == 0 or n % 3 == 0 else n for n in range(60)]
    assert kept["a"].to_pylist() == good
    assert [text is None for text in kept["_error"].to_pylist()] == [n is not None for n in good]


def test_other_keys_are_left_out_but_must_be_json() -> None:
    assert typed(pa.int64()).decode(chunk(b'{"b":1,"a":2}', b'{"b":"x"}')).to_pylist() == [
        {"a": 2},
        {"a": None},
    ]
    for other in (b"NaN", b"1e400", b'{"x":1,"x":2}'):
        with pytest.raises(DecodeError):
            typed(pa.int64()).decode(chunk(b'{"a":1,"b":%b}' % other))


def test_other_keys_go_to_an_extra_column_of_the_schema() -> None:
    schema = pa.schema({"_extra": pa.string(), "id": pa.int64()})
    decode = Decode(kind="json", schema=schema)
    for rows in (
        chunk(b'{"id":1,"b":2,"c":null}', b'{"id":3}'),
        chunk(b'{"id":1,"b":2}', b'{"id":3,"b":null}'),
    ):
        batch = Decoder(decode).decode(rows)
        assert batch.schema.names == ["_extra", "payload_id"]
        assert batch.to_pylist() == [
            {"_extra": '{"b": 2}', "payload_id": 1},
            {"_extra": None, "payload_id": 3},
        ]


def test_the_schema_of_a_stream_is_the_one_given() -> None:
    decode = Decode(kind="json", schema=pa.schema({"a": pa.int8()}), errors="keep")
    rows = chunk(b'{"a":1}', b"junk")
    fixed = infer(decode, rows)
    assert fixed == Decoder(decode).schema == pa.schema({"a": pa.int8(), "_error": pa.string()})
    assert Decoder(decode, fixed=fixed).decode(rows).schema == fixed


def test_a_schema_cannot_have_a_type_that_json_cannot_be_read_as() -> None:
    with pytest.raises(ConfigError, match="'a': json cannot be read as map<string, int64>"):
        typed(pa.map_(pa.string(), pa.int64()))
