"""JSON objects as the columns of a whole frame."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest

from seastream_nb.errors import DecodeError
from seastream_nb.payload import Decode, Decoder
from seastream_nb.payload.strict import MAX_DEPTH
from tests.payload.chunks import chunk, whole

JSON = Decode(kind="json")
KEEP = Decode(kind="json", errors="keep")


def column(*payloads: bytes) -> tuple[pa.DataType, list[Any]]:
    table = whole(JSON, chunk(*payloads))
    assert table.column_names == ["a"]
    return table.schema.field("a").type, table["a"].to_pylist()


@pytest.mark.parametrize(
    ("literal", "kind", "value"),
    [
        (b"9223372036854775807", pa.int64(), 2**63 - 1),
        (b"-9223372036854775808", pa.int64(), -(2**63)),
        (b"9223372036854775808", pa.uint64(), 2**63),
        (b"18446744073709551615", pa.uint64(), 2**64 - 1),
        (b"-0.0", pa.float64(), -0.0),
        (b"1E5", pa.float64(), 1e5),
        (b"1e-400", pa.float64(), 0.0),
        (b"1.7976931348623157e308", pa.float64(), 1.7976931348623157e308),
        (b"9007199254740993.0", pa.float64(), 2.0**53),
        (b"true", pa.bool_(), True),
        (rb'"\ud83d\ude00\u0000\/"', pa.string(), "\U0001f600\0/"),
        (b'"2026-11-22"', pa.string(), "2026-11-22"),
        (b'"2026-11-22T10:00:00Z"', pa.string(), "2026-11-22T10:00:00Z"),
        (b'["2026-11-22"]', pa.list_(pa.string()), ["2026-11-22"]),
        (b'{"t":"2026-11-22"}', pa.struct([("t", pa.string())]), {"t": "2026-11-22"}),
        (b"[1,2.5]", pa.list_(pa.float64()), [1.0, 2.5]),
        (b'[{"x":1},{"y":"z"}]', None, [{"x": 1, "y": None}, {"x": None, "y": "z"}]),
        (b"[null,null,1]", pa.list_(pa.int64()), [None, None, 1]),
        (b"[null,null]", pa.list_(pa.string()), [None, None]),
        (b"null", pa.string(), None),
        (b"[]", pa.list_(pa.string()), []),
        (b"{}", pa.struct([]), {}),
    ],
)
def test_a_value_keeps_its_type(literal: bytes, kind: pa.DataType | None, value: Any) -> None:
    found, values = column(b'{"a":%b}' % literal)
    assert str(values) == str([value])
    assert kind is None or found == kind


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "Expecting value"),
        (b"  \n", "Expecting value"),
        (b'{"a":1}{"a":2}', "Extra data"),
        (b'{"a":1} {"a":2}', "Extra data"),
        (b'{"a":1}\n{"a":2}', "Extra data"),
        (b'{"a":1},', "Extra data"),
        (b'{"a":1}x', "Extra data"),
        (b'{"a":1}\0', "Extra data"),
        (b'{"a":1', "Expecting ',' delimiter"),
        (b'{"a":1,}', "property name"),
        (b"{'a':1}", "property name"),
        (b'{"a":1 /* one */}', "Expecting ',' delimiter"),
        (b'{"a":01}', "Expecting ',' delimiter"),
        (b'{"a":.5}', "Expecting value"),
        (b'{"a":"x\ty"}', "Invalid control character"),
        (b'{"a":"x\ny"}', "Invalid control character"),
        (rb'{"a":"\x"}', "escape"),
        (b"[]", "a JSON list, not an object"),
        (b"1", "a JSON number, not an object"),
        (b"null", "a JSON null, not an object"),
        (b'{"a":NaN}', "NaN is not JSON"),
        (b'{"a":[-Infinity]}', "-Infinity is not JSON"),
        (b'{"a":1e400}', "a number that no float64 can hold"),
        (b'{"a":0e400}', "an exponent too large for a float64"),
        (b'{"a":1%b}' % (b"0" * 5000), "an integer of too many digits"),
        (b'{"a":1,"a":1}', "a key occurs twice"),
        (rb'{"a":1,"\u0061":null}', "a key occurs twice"),
        (b'{"b":[{"x":1,"x":1}]}', "a key occurs twice"),
        (b'{"a":"\xff"}', "not UTF-8 at byte 6"),
        (b'{"a":"\xed\xa0\x80"}', "not UTF-8 at byte 6"),
        (b'\xef\xbb\xbf{"a":1}', "Expecting value"),
        (rb'{"a":"\ud800"}', "a lone surrogate"),
        (rb'{"\udc00":1}', "a lone surrogate"),
        (b'{"b":%b1%b}' % (b"[" * MAX_DEPTH, b"]" * MAX_DEPTH), "nested deeper than 100"),
        (b'{"b":%b1%b}' % (b"[" * 200_000, b"]" * 200_000), "nested deeper than 100"),
    ],
)
def test_a_payload_that_is_not_one_json_object_is_an_error(payload: bytes, reason: str) -> None:
    rows = chunk(b'{"a":1}', payload, b'{"a":3}', start=1700)
    with pytest.raises(DecodeError) as caught:
        Decoder(JSON).decode(rows)
    assert "entry 1701-7 of 'ticks'" in str(caught.value)
    assert reason in str(caught.value)
    assert (caught.value.entry_id, caught.value.column) == ("1701-7", None)

    kept = Decoder(KEEP).decode(rows)
    assert kept["a"].to_pylist() == [1, None, 3]
    first, text, last = kept["_error"].to_pylist()
    assert (first, last) == (None, None)
    assert text.startswith("not one JSON object: ")
    assert reason in text


@pytest.mark.parametrize(
    ("before", "literal", "where", "reason"),
    [
        (b"1", b'"x"', "a", "changes from number to string"),
        (b'"x"', b"1", "a", "changes from string to number"),
        (b"true", b"1", "a", "changes from boolean to number"),
        (b"[1]", b"1", "a", "changes from list to number"),
        (b'{"b":[{"c":1}]}', b'{"b":[{"c":"x"}]}', "a", "number to string at a.b[].c"),
        (b"0", b"18446744073709551616", "a", "fit neither int64 nor uint64"),
        (b"0", b"-9223372036854775809", "a", "fit neither int64 nor uint64"),
        (b"-1", b"9223372036854775808", "a", "fit neither int64 nor uint64"),
        (b"9223372036854775808", b"-1", "a", "fit neither int64 nor uint64"),
        (b"0.5", b"9007199254740993", "a", "integers that no float holds exactly"),
        (b"9007199254740993", b"0.5", "a", "integers that no float holds exactly"),
        (b"null", b'[1,"x"]', "a", "changes from number to string at a.[]"),
    ],
)
@pytest.mark.parametrize("chunked", [False, True])
def test_a_change_of_type_is_an_error(
    before: bytes, literal: bytes, where: str, reason: str, chunked: bool
) -> None:
    first, second = b'{"a":%b,"z":1}' % before, b'{"a":%b,"z":2}' % literal
    chunks = [chunk(first), chunk(second, start=1)] if chunked else [chunk(first, second)]
    with pytest.raises(DecodeError, match=f"entry 1-7 of 'ticks', column '{where}'") as caught:
        whole(JSON, *chunks)
    assert reason in str(caught.value).replace("a[]", "a.[]")
    assert (caught.value.entry_id, caught.value.column) == ("1-7", where)

    kept = whole(KEEP, *chunks)
    assert kept["z"].to_pylist() == [1, None]
    assert kept["a"].to_pylist() == [json.loads(before), None]
    assert kept["_error"].to_pylist()[1].startswith(f"column '{where}': ")


def test_no_error_quotes_the_payload() -> None:
    for payload in (b'{"card":"4111', b'{"n":1}{"card":"4111"}', b'{"n":["4111",4111]}'):
        with pytest.raises(DecodeError) as caught:
            Decoder(JSON).decode(chunk(b'{"n":1}', payload))
        assert "4111" not in str(caught.value)


def test_the_error_column_is_there_exactly_when_errors_are_kept() -> None:
    good = chunk(b'{"a":1}')
    assert Decoder(JSON).decode(good).schema.names == ["a"]
    kept = Decoder(KEEP).decode(good)
    assert kept.schema.names == ["a", "_error"]
    assert kept["_error"].to_pylist() == [None]


def test_ints_become_floats_when_floats_come_in_a_later_chunk() -> None:
    table = whole(JSON, chunk(b'{"a":1}', b'{"a":null}'), chunk(b'{"a":2.5}'), chunk(b'{"a":3}'))
    assert table["a"].type == pa.float64()
    assert table["a"].to_pylist() == [1.0, None, 2.5, 3.0]


def test_int64_becomes_uint64_while_every_value_fits() -> None:
    table = whole(JSON, chunk(b'{"a":1}'), chunk(b'{"a":9223372036854775808}'), chunk(b'{"a":2}'))
    assert table["a"].type == pa.uint64()
    assert table["a"].to_pylist() == [1, 2**63, 2]


def test_columns_are_the_union_of_keys_in_the_order_of_first_sight() -> None:
    table = whole(
        JSON,
        chunk(b'{"b":1,"a":null}'),
        chunk(b'{"c":"x","a":[],"b":2}', b"{}"),
        chunk(b'{"a":[{"k":1}]}', b'{"a":[{"l":true,"k":2.5}],"c":null}'),
    )
    assert table.schema == pa.schema(
        {
            "b": pa.int64(),
            "a": pa.list_(pa.struct({"k": pa.float64(), "l": pa.bool_()})),
            "c": pa.string(),
        }
    )
    assert table.to_pylist() == [
        {"b": 1, "a": None, "c": None},
        {"b": 2, "a": [], "c": "x"},
        {"b": None, "a": None, "c": None},
        {"b": None, "a": [{"k": 1.0, "l": None}], "c": None},
        {"b": None, "a": [{"k": 2.5, "l": True}], "c": None},
    ]


def test_a_nested_null_gets_its_type_later_and_keeps_its_place() -> None:
    table = whole(
        JSON,
        chunk(b'{"a":{"x":null,"y":1},"e":{}}', b'{"a":null}'),
        chunk(b'{"a":{"y":2,"x":"t"},"e":{"z":1}}'),
        chunk(b'{"a":{"y":0.5,"w":[null]}}'),
    )
    kind = pa.struct({"x": pa.string(), "y": pa.float64(), "w": pa.list_(pa.string())})
    assert table.schema == pa.schema({"a": kind, "e": pa.struct({"z": pa.int64()})})
    assert table["a"].to_pylist() == [
        {"x": None, "y": 1.0, "w": None},
        None,
        {"x": "t", "y": 2.0, "w": None},
        {"x": None, "y": 0.5, "w": [None]},
    ]
    assert table["e"].to_pylist() == [{"z": None}, None, {"z": 1}, None]


def test_a_key_named_as_a_base_column_is_renamed() -> None:
    payload = b'{"id":1,"payload":2,"payload_id":3,"_extra":4,"_error":5,"price":6}'
    assert Decoder(JSON).decode(chunk(payload)).to_pylist() == [
        {
            "payload_id": 1,
            "payload_payload": 2,
            "payload_id_2": 3,
            "payload__extra": 4,
            "payload__error": 5,
            "price": 6,
        }
    ]


def test_a_renamed_column_is_named_as_such_in_errors() -> None:
    with pytest.raises(DecodeError, match="column 'payload_id'"):
        Decoder(JSON).decode(chunk(b'{"id":1}', b'{"id":"x"}'))


@pytest.mark.parametrize(
    "payload", [b'\r\n{"a":\n 1}\t', b'{\n  "a": 1\n}\n', b'{"a":\r1}', b' {"a":1} ']
)
def test_white_space_around_and_inside_is_json(payload: bytes) -> None:
    assert column(payload, b'{"a":2}', payload) == (pa.int64(), [1, 2, 1])


def test_many_containers_in_one_payload_are_not_deep() -> None:
    items = [{"x": number} for number in range(10 * MAX_DEPTH)]
    kind, values = column(json.dumps({"a": items}).encode())
    assert kind == pa.list_(pa.struct({"x": pa.int64()}))
    assert values == [items]


def test_nesting_up_to_the_limit_is_read() -> None:
    levels = MAX_DEPTH - 1
    _, (value,) = column(b'{"a":%b1%b}' % (b"[" * levels, b"]" * levels))
    for _ in range(levels):
        (value,) = value
    assert value == 1


def test_objects_without_keys_are_rows_without_columns() -> None:
    batch = Decoder(JSON).decode(chunk(b"{}", b"{}"))
    assert (batch.num_rows, batch.num_columns) == (2, 0)


def test_an_empty_chunk_has_the_columns_known_so_far() -> None:
    decoder = Decoder(JSON)
    decoder.decode(chunk(b'{"a":1}'))
    batch = decoder.decode(chunk())
    assert (batch.num_rows, batch.schema) == (0, pa.schema({"a": pa.int64()}))


def test_a_slice_of_a_page_decodes_as_its_own() -> None:
    rows = chunk(b"junk", b'{"a":1}', b'{"a":[2', b'{"a":3}')
    assert Decoder(JSON).decode(rows.slice(1, 2)).to_pylist() == [{"a": 1}]
    with pytest.raises(DecodeError, match="entry 2-7"):
        Decoder(JSON).decode(rows.slice(1, 4))


def test_a_bad_entry_does_not_set_the_type_of_a_column() -> None:
    table = whole(KEEP, chunk(b'{"a":1,"b":1}', b'{"b":"x","a":2.5,"c":1}', b'{"b":2}'))
    assert table.schema == pa.schema({"a": pa.int64(), "b": pa.int64(), "_error": pa.string()})
