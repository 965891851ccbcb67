"""What can be asked for, and the decodings that make no columns."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from seastream_nb.errors import ConfigError, DecodeError
from seastream_nb.payload import Decode, Decoder, decode_text, infer
from tests.payload.chunks import chunk


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"kind": "msgpack"}, "kind='msgpack'"),
        ({"kind": "json", "errors": "ignore"}, "errors='ignore'"),
        ({"kind": "fields", "errors": "keep"}, "errors='keep' is for json"),
        ({"kind": "text", "schema": pa.schema({"a": pa.int8()})}, "schema= is for"),
        ({"kind": "json", "schema": {"a": "int64"}}, "expects a pyarrow.Schema, not dict"),
        ({"kind": "json", "schema": pa.schema([("a", "int8"), ("a", "int8")])}, "'a' twice"),
        ({"kind": "json", "schema": pa.schema({"_error": pa.string()})}, "'_error' is made by"),
        ({"kind": "json", "schema": pa.schema({"_extra": pa.int8()})}, "its type is string"),
        (
            {"kind": "json", "schema": pa.schema([pa.field("a", pa.int8(), nullable=False)])},
            "must be nullable",
        ),
        ({"kind": "json", "names": ("a",)}, "field names are for fields"),
        ({"kind": "fields", "field": "msg"}, "field= is for one payload"),
        ({"kind": "fields", "names": ("a", "b", b"a")}, "field b'a' is named twice"),
        (
            {"kind": "fields", "names": ("a",), "schema": pa.schema({"b": pa.int8()})},
            "'b' is not among the fields",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_at_once(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        Decode(**options)


@pytest.mark.parametrize("decode", [Decode(), Decode(kind="text", field="body")])
def test_raw_and_text_have_no_decoded_columns(decode: Decode) -> None:
    rows = chunk(b"\xff", b"")
    batch = Decoder(decode).decode(rows)
    assert (batch.num_rows, batch.num_columns) == (2, 0)
    assert infer(decode, rows) == Decoder(decode).schema == pa.schema([])


def test_text_is_the_payload_as_a_string() -> None:
    texts = decode_text(chunk("é".encode(), b"", b"x").slice(0, 2))
    assert texts.type == pa.string()
    assert texts.to_pylist() == ["é", ""]


def test_a_payload_that_is_not_utf8_names_its_entry() -> None:
    with pytest.raises(DecodeError, match=r"entry 2-7 of 'ticks'.*not UTF-8") as caught:
        decode_text(chunk(b"a", b"b", b"\xc0\x80", b"d"))
    assert caught.value.entry_id == "2-7"
