"""JSON objects in columns that a sample fixed, as the streaming terminals have them."""

from __future__ import annotations

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seastream_nb.errors import DecodeError
from seastream_nb.payload import Decode, Decoder, infer
from tests.payload.chunks import chunk

JSON = Decode(kind="json")
KEEP = Decode(kind="json", errors="keep")
SAMPLE = chunk(b'{"id":1,"price":2.5,"size":3,"side":"buy","book":{"bid":1},"note":null,"tags":[]}')


def fixed_decoder(decode: Decode = JSON) -> Decoder:
    return Decoder(decode, fixed=infer(decode, SAMPLE))


def test_the_schema_of_a_sample_ends_with_what_comes_later() -> None:
    expected = {
        "payload_id": pa.int64(),
        "price": pa.float64(),
        "size": pa.int64(),
        "side": pa.string(),
        "book": pa.struct({"bid": pa.int64()}),
        "note": pa.string(),
        "tags": pa.list_(pa.string()),
        "_extra": pa.string(),
    }
    assert infer(JSON, SAMPLE) == pa.schema(expected)
    assert infer(KEEP, SAMPLE) == pa.schema(expected | {"_error": pa.string()})
    assert infer(JSON, None) == pa.schema({"_extra": pa.string()})


def test_every_batch_has_exactly_the_fixed_columns() -> None:
    decoder = fixed_decoder()
    for rows in (SAMPLE, chunk(), chunk(b"{}"), chunk(b'{"side":"sell"}', b'{"late":1}')):
        batch = decoder.decode(rows)
        assert batch.schema == decoder.schema
        assert len(batch) == len(rows)
        batch.validate(full=True)


@pytest.mark.parametrize(
    ("payload", "values", "extra"),
    [
        (b'{"size":4}', {"size": 4}, None),
        (b'{"id":9}', {"payload_id": 9}, None),
        (b'{"price":1}', {"price": 1.0}, None),
        (b'{"late":{"x":[1,"y"]},"size":4}', {"size": 4}, {"late": {"x": [1, "y"]}}),
        (b'{"late":null,"size":4}', {"size": 4}, None),
        (b'{"late":123456789012345678901}', {}, {"late": 123456789012345678901}),
        (b'{"payload_id":9}', {}, {"payload_id": 9}),
        (b'{"_extra":9}', {}, {"_extra": 9}),
        (b'{"book":{"bid":2,"ask":3}}', {"book": {"bid": 2}}, {"book": {"bid": 2, "ask": 3}}),
        (b'{"book":{"bid":2,"ask":null}}', {"book": {"bid": 2}}, None),
        (b'{"note":"text"}', {"note": "text"}, None),
        (b'{"note":7,"size":4}', {"size": 4}, {"note": 7}),
        (b'{"tags":["x"]}', {"tags": ["x"]}, None),
        (b'{"tags":[1,2]}', {}, {"tags": [1, 2]}),
        ('{"späť":"é"}'.encode(), {}, {"späť": "é"}),
    ],
)
def test_what_a_sample_did_not_have_is_json_text_in_extra(
    payload: bytes, values: dict[str, object], extra: object
) -> None:
    before, row, after = fixed_decoder().decode(chunk(b"{}", payload, b"{}")).to_pylist()
    text = row.pop("_extra")
    assert (None if text is None else json.loads(text)) == extra
    assert {name: value for name, value in row.items() if value is not None} == values
    assert set(before.values()) == set(after.values()) == {None}


@pytest.mark.parametrize(
    ("payload", "column", "reason"),
    [
        (b'{"size":2.5}', "size", "a number that does not fit int64"),
        (b'{"size":9223372036854775808}', "size", "a number that does not fit int64"),
        (b'{"price":9007199254740993}', "price", "integers that no float holds exactly"),
        (b'{"side":1}', "side", "changes from string to number"),
        (b'{"id":"x"}', "payload_id", "changes from number to string"),
        (b'{"book":{"ask":1,"bid":"x"}}', "book", "number to string at book.bid"),
    ],
)
def test_a_value_of_another_type_than_the_sample_is_an_error(
    payload: bytes, column: str, reason: str
) -> None:
    rows = chunk(b'{"side":"buy"}', payload)
    with pytest.raises(DecodeError, match=f"entry 1-7 of 'ticks', column '{column}'") as caught:
        fixed_decoder().decode(rows)
    assert reason.split(" at ")[0] in str(caught.value)
    assert "schema=" in str(caught.value)

    good, bad = fixed_decoder(KEEP).decode(rows).to_pylist()
    assert (good["side"], good["_error"]) == ("buy", None)
    assert bad.pop("_error").startswith(f"column '{column}': ")
    assert set(bad.values()) == {None}


def test_a_bad_payload_among_late_keys_is_kept_as_nulls() -> None:
    batch = fixed_decoder(KEEP).decode(chunk(b'{"late":1}', b'{"late":2', b'{"size":3}'))
    assert batch["_extra"].to_pylist() == ['{"late": 1}', None, None]
    assert batch["size"].to_pylist() == [None, None, 3]
    assert [text is None for text in batch["_error"].to_pylist()] == [True, False, True]


def test_a_fixed_schema_can_be_written_to_parquet() -> None:
    sample = chunk(b'{"empty":{},"deep":[{"nothing":{}}],"null":null}')
    decoder = Decoder(JSON, fixed=infer(JSON, sample))
    batch = decoder.decode(sample)
    file = io.BytesIO()
    pq.write_table(pa.Table.from_batches([batch]), file)
    (row,) = pq.read_table(file).to_pylist()
    assert row["null"] is None
    assert json.loads(row["_extra"]) == {"empty": {}, "deep": [{"nothing": {}}]}


def test_two_keys_that_need_one_name_stay_apart() -> None:
    rows = chunk(b'{"payload_id":1,"id":2}')
    fixed = infer(JSON, rows)
    assert fixed.names == ["payload_id", "payload_id_2", "_extra"]
    assert Decoder(JSON, fixed=fixed).decode(rows).to_pylist() == [
        {"payload_id": 1, "payload_id_2": 2, "_extra": None}
    ]
