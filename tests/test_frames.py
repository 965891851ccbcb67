"""Whole frames: columns, types, decoding, provenance, and the memory guard."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import seastream_nb as ss
from seastream_nb import errors

BASE = ["stream", "shard", "sequence", "timestamp"]


def add(client: Any, key: str, *payloads: Any) -> None:
    for number, payload in enumerate(payloads, 1):
        data = payload if isinstance(payload, str | bytes) else json.dumps(payload)
        client.xadd(key, {"msg": data}, id=f"{number}-0")


def test_the_base_columns_have_the_documented_types(streamer: ss.Streamer, client: Any) -> None:
    add(client, "s", b"\xff")
    schema = streamer["s"].to_arrow().schema
    assert [(field.name, str(field.type)) for field in schema] == [
        ("stream", "dictionary<values=string, indices=int32, ordered=0>"),
        ("shard", "uint64"),
        ("sequence", "uint64"),
        ("timestamp", "timestamp[us, tz=UTC]"),
        ("payload", "binary"),
    ]


@pytest.mark.parametrize("key", ["nothing", "app:nothing"])
def test_a_missing_key_reads_as_empty_with_the_full_schema(
    streamer: ss.Streamer, client: Any, key: str
) -> None:
    add(client, "s", "x")
    full = streamer["s"].to_arrow()
    empty = streamer[key].to_arrow()
    assert empty.num_rows == 0
    assert empty.schema.equals(full.schema)
    assert list(streamer[key].to_pandas().columns) == [*BASE, "payload"]
    assert str(streamer[key].to_pandas()["timestamp"].dtype) == "datetime64[us, UTC]"
    assert streamer[key].to_polars().schema == streamer["s"].to_polars().schema
    assert list(streamer[key].messages()) == []
    assert streamer[key].head().columns.tolist() == [
        "stream",
        "shard",
        "sequence",
        "id",
        "timestamp",
        "payload",
    ]


def test_an_empty_range_has_the_decoded_columns_when_a_schema_was_given(
    streamer: ss.Streamer,
) -> None:
    schema = pa.schema([("price", pa.float64())])
    table = streamer["s"].json(schema).to_arrow()
    assert table.schema.names == [*BASE, "price"]
    assert table.schema.field("price").type == pa.float64()
    assert streamer["s"].json().to_arrow().schema.names == BASE


def test_sequence_packs_the_id_and_is_null_where_it_cannot(
    streamer: ss.Streamer, client: Any
) -> None:
    ids = ["1700000000000-3", "1700000000000-65536", f"{2**48}-0", f"{2**63}-1"]
    for entry_id in ids:
        client.xadd("s", {"msg": "x"}, id=entry_id)
    table = streamer["s"].select("id", "sequence", "timestamp").to_arrow()
    assert table["id"].to_pylist() == ids
    assert table["sequence"].to_pylist() == [1700000000000 << 16 | 3, None, None, None]
    assert table["timestamp"].null_count == 1
    assert table["timestamp"].cast(pa.int64()).to_pylist() == [
        1700000000000_000,
        1700000000000_000,
        2**48 * 1000,
        None,
    ]
    frame = streamer["s"].to_pandas()
    assert str(frame["sequence"].dtype) == "UInt64"
    assert frame["sequence"].iloc[0] == 1700000000000 << 16 | 3
    assert repr(frame)
    assert [message.sequence for message in streamer["s"]][1:] == [None, None, None]
    assert [message.timestamp for message in streamer["s"]][3] is None


def test_the_nanosecond_format_has_wide_sequences_and_exact_times(url: str, client: Any) -> None:
    client.xadd("s", {"msg": "x"}, id="1700000000123456789-5")
    client.xadd("s", {"msg": "x"}, id=f"{2**63}-5")
    with ss.connect(url, timestamp_format="ns") as streamer:
        table = streamer["s"].to_arrow()
        assert table.schema.field("sequence").type == pa.decimal128(38, 0)
        assert int(table["sequence"][0].as_py()) == 1700000000123456789 << 16 | 5
        assert int(table["sequence"][1].as_py()) == 2**79 | 5
        assert table["timestamp"].cast(pa.int64()).to_pylist() == [1700000000123456789, None]
        assert streamer["s"].since("2023-11-14T22:13:20.123456789Z").count() == 2
        assert streamer["s"].until("2023-11-14T22:13:20.123456789Z").count() == 0
        assert next(iter(streamer["s"])).timestamp_ns == 1700000000123456789


def test_select_gives_these_columns_in_this_order(streamer: ss.Streamer, client: Any) -> None:
    add(client, "s", {"a": 1, "b": "x"})
    stream = streamer["s"].json().select("b", "id", "payload", "timestamp")
    assert stream.to_arrow().schema.names == ["b", "id", "payload", "timestamp"]
    assert stream.to_pandas().columns.tolist() == ["b", "id", "payload", "timestamp"]
    assert stream.to_polars().columns == ["b", "id", "payload", "timestamp"]
    assert stream.to_duckdb().columns == ["b", "id", "payload", "timestamp"]
    assert [batch.schema.names for batch in stream.pages()] == [["b", "id", "payload", "timestamp"]]
    assert stream.head().columns.tolist() == ["b", "id", "payload", "timestamp"]
    assert pl.DataFrame(stream).columns == ["b", "id", "payload", "timestamp"]


def test_a_selected_column_that_no_row_has_says_which_was_meant(
    streamer: ss.Streamer, client: Any
) -> None:
    add(client, "s", {"price": 1})
    with pytest.raises(errors.ConfigError, match="did you mean 'price'"):
        streamer["s"].json().select("prise").to_arrow()
    with pytest.raises(errors.ConfigError, match="twice"):
        streamer["s"].select("id", "id")


def test_one_row_an_occurrence_and_entries_without_the_field_are_counted(
    streamer: ss.Streamer, client: Any
) -> None:
    client.execute_command("XADD", "s", "1-0", "msg", "a", "x", "1", "msg", "b")
    client.execute_command("XADD", "s", "2-0", "x", "2")
    client.execute_command("XADD", "s", "3-0", b"\xff", "3", "msg", "")
    frame = streamer["s"].to_pandas()
    assert frame["payload"].tolist() == [b"a", b"b", b""]
    assert frame["timestamp"].nunique() == 2
    assert frame.attrs["seastream_skipped"] == 1
    assert frame.attrs["seastream_rows"] == 3
    assert streamer["s"].count() == 3
    assert streamer["s"].info().length == 3


def test_a_range_in_which_the_field_never_occurs_warns_once_and_names_what_is_there(
    streamer: ss.Streamer, client: Any
) -> None:
    for _ in range(3):
        client.xadd("s", {"temp": "21", "city": "Berlin"})
    with pytest.warns(UserWarning, match="'temp', 'city'") as caught:
        assert streamer["s"].to_arrow().num_rows == 0
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_another_message_field(url: str, client: Any) -> None:
    client.xadd("s", {"data": "x", "msg": "y"})
    with ss.connect(url, message_field="data") as streamer:
        assert streamer["s"].to_arrow()["payload"].to_pylist() == [b"x"]
        assert streamer["s"].text(field="msg").to_arrow()["payload"].to_pylist() == ["y"]


def test_text_gives_strings_and_names_the_entry_that_is_none(
    streamer: ss.Streamer, client: Any
) -> None:
    add(client, "s", "é", b"\xff")
    with pytest.raises(errors.DecodeError, match="2-0") as caught:
        streamer["s"].text().to_arrow()
    assert caught.value.entry_id == "2-0"
    assert streamer["s"].first(1).text().to_arrow()["payload"].to_pylist() == ["é"]
    assert streamer["s"].text().first(1).to_arrow().schema.field("payload").type == pa.string()


def test_json_becomes_the_union_of_all_keys_across_pages(
    streamer: ss.Streamer, client: Any
) -> None:
    pipeline = client.pipeline(transaction=False)
    for number in range(2500):
        record = {"n": number} if number < 2400 else {"n": number + 0.5, "late": "x"}
        pipeline.xadd("s", {"msg": json.dumps(record)})
    pipeline.execute()
    table = streamer["s"].json().to_arrow()
    assert table.schema.names == [*BASE, "n", "late"]
    assert table.schema.field("n").type == pa.float64()
    assert table["late"].null_count == 2400
    assert table["n"][0].as_py() == 0.0
    assert table["n"][2499].as_py() == 2499.5


def test_a_payload_that_is_not_json_names_the_entry_and_hides_the_payload(
    streamer: ss.Streamer, client: Any
) -> None:
    add(client, "s", {"a": 1}, "SECRET not json")
    with pytest.raises(errors.DecodeError, match="2-0") as caught:
        streamer["s"].json().to_arrow()
    assert "SECRET" not in str(caught.value)
    kept = streamer["s"].json(errors="keep").select("a", "_error", "payload").to_pandas()
    assert kept["a"].tolist()[0] == 1
    assert kept["a"].isna().tolist() == [False, True]
    assert kept["_error"].notna().tolist() == [False, True]
    assert kept["payload"].tolist()[1] == b"SECRET not json"
    assert streamer["s"].count() == 2


def test_integers_with_nulls_are_never_floats_in_pandas(streamer: ss.Streamer, client: Any) -> None:
    add(client, "s", {"n": 2**53 + 1, "l": [2**53 + 1, None]}, {"m": 2**64 - 1})
    frame = streamer["s"].json().to_pandas()
    assert str(frame["n"].dtype) == "Int64"
    assert frame["n"].tolist()[0] == 2**53 + 1
    assert str(frame["m"].dtype) == "UInt64"
    assert frame["m"].tolist()[1] == 2**64 - 1
    assert frame["l"][0] == [2**53 + 1, None]


def test_columns_that_collide_with_base_columns_are_renamed(
    streamer: ss.Streamer, client: Any
) -> None:
    add(client, "s", {"timestamp": "x", "id": 1, "price": 2, "payload": "p"})
    names = streamer["s"].json().to_arrow().schema.names
    assert names == [*BASE, "payload_timestamp", "payload_id", "price", "payload_payload"]


def test_fields_make_every_entry_a_row(streamer: ss.Streamer, client: Any) -> None:
    client.execute_command("XADD", "s", "1-0", "temp", "21.5", "city", "Berlin")
    client.execute_command("XADD", "s", "2-0", "msg", "x", "temp", "19")
    table = streamer["s"].fields().to_arrow()
    assert table.select(["temp", "city", "msg"]).to_pydict() == {
        "temp": ["21.5", "19"],
        "city": ["Berlin", None],
        "msg": [None, "x"],
    }
    typed = streamer["s"].fields("temp", schema=pa.schema([("temp", pa.float64())]))
    assert typed.to_arrow()["temp"].to_pylist() == [21.5, 19.0]
    assert streamer["s"].fields("temp").to_arrow().schema.names == [*BASE, "temp"]
    both = streamer["s"].fields("temp").select("temp", "payload").to_arrow()
    assert both["payload"].to_pylist() == [None, b"x"]


def test_fields_with_odd_names_and_repeated_fields_lose_nothing(
    streamer: ss.Streamer, client: Any
) -> None:
    client.execute_command("XADD", "s", "1-0", b"\xff", "a", "x", "1", "x", "2", "x", "3")
    table = streamer["s"].fields().to_arrow()
    assert table["\\xff"].to_pylist() == ["a"]
    assert table["x"].to_pylist() == ["1"]
    assert json.loads(table["_extra"][0].as_py()) == {"x": ["2", "3"]}


def test_provenance_is_in_the_metadata_as_plain_values(streamer: ss.Streamer, client: Any) -> None:
    for shard in (0, 1):
        client.xadd(f"s:{shard}", {"msg": "x"}, id=f"{shard + 5}-0")
    attrs = streamer["s"].to_pandas().attrs
    assert attrs == {
        "seastream_url": streamer.url,
        "seastream_keys": "s",
        "seastream_shards": "0,1",
        "seastream_first_id": "5-0",
        "seastream_last_id": "6-0",
        "seastream_rows": 2,
        "seastream_skipped": 0,
        "seastream_complete": True,
        "seastream_clamped": False,
    }
    metadata = streamer["s"].to_arrow().schema.metadata
    assert metadata[b"seastream_rows"] == b"2"
    assert metadata[b"seastream_complete"] == b"true"


def test_pandas_options(streamer: ss.Streamer, client: Any) -> None:
    add(client, "s", {"n": 1, "x": 1.5, "b": True, "t": "a"}, {"n": 2})
    stream = streamer["s"].json()
    assert stream.to_pandas(index="timestamp").index.name == "timestamp"
    arrow = stream.to_pandas(dtype_backend="pyarrow")
    assert all(isinstance(dtype, pd.ArrowDtype) for dtype in arrow.dtypes)
    nullable = stream.to_pandas(dtype_backend="numpy_nullable").dtypes.astype(str)
    assert nullable[["n", "x", "b", "shard"]].tolist() == ["Int64", "Float64", "boolean", "UInt64"]
    for wrong in ({"index": "nope"}, {"dtype_backend": "numpy"}):
        with pytest.raises(errors.ConfigError):
            stream.to_pandas(**wrong)


def test_head_and_tail_are_small_frames_with_ids(streamer: ss.Streamer, client: Any) -> None:
    add(client, "s", *({"n": number} for number in range(20)))
    stream = streamer["s"].json()
    assert stream.head()["n"].tolist() == [0, 1, 2, 3, 4]
    assert stream.tail(2)["n"].tolist() == [18, 19]
    assert stream.head(1)["id"].tolist() == ["1-0"]
    assert stream.first(7).tail(2)["n"].tolist() == [5, 6]
    assert stream.last(7).head(2)["n"].tolist() == [13, 14]


def test_a_frame_that_would_not_fit_is_refused_before_reading(url: str, client: Any) -> None:
    pipeline = client.pipeline(transaction=False)
    for _ in range(5000):
        pipeline.xadd("s", {"msg": b"x" * 1000})
    pipeline.execute()
    with ss.connect(url, max_frame_bytes="1MiB") as streamer:
        client.config_resetstat()
        for terminal in ("to_arrow", "to_pandas", "to_polars"):
            with pytest.raises(errors.TooLarge, match=r"last.*pages"):
                getattr(streamer["s"], terminal)()
        read = client.info("commandstats")["cmdstat_xrange"]["calls"]
        assert read <= 3 * 5 * 2  # five probes each, and a page ahead
        assert streamer["s"].last(100).to_arrow().num_rows == 100
        assert sum(batch.num_rows for batch in streamer["s"].pages()) == 5000
        assert streamer["s"].count() == 5000


def test_a_read_that_turns_out_too_large_is_stopped(url: str, client: Any) -> None:
    pipeline = client.pipeline(transaction=False)
    for number in range(3000):
        pipeline.xadd("s", {"msg": b"x" * (10 if number in (0, 2999) else 2000)})
    pipeline.execute()
    with ss.connect(url, max_frame_bytes="1MiB") as streamer:
        with pytest.raises(errors.TooLarge):
            streamer["s"].to_arrow()
        assert streamer["s"].first(10).to_arrow().num_rows == 10


def test_entries_trimmed_away_while_reading_are_noticed(streamer: ss.Streamer, client: Any) -> None:
    pipeline = client.pipeline(transaction=False)
    for number in range(20_000):
        pipeline.xadd("s", {"msg": str(number)}, id=f"{number + 1}-0")
    pipeline.execute()
    pages = streamer["s"].pages()
    first = next(pages)
    # The page after this one may be on its way already, so the trim reaches far beyond it.
    client.execute_command("XTRIM", "s", "MINID", "19500")
    with pytest.warns(UserWarning, match="reading 's': entries were trimmed away"):
        rest = sum(batch.num_rows for batch in pages)
    assert first.num_rows + rest < 20_000
    client.execute_command("XADD", "s", "90000-0", "msg", "x")
    assert streamer["s"].to_pandas().attrs["seastream_complete"] is True
