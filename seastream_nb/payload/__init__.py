"""Payload bytes -> decoded Arrow columns: raw, text, json, fields. No I/O, one chunk at a time.

Decode    what was asked for                  decode.py
Decoder   chunks -> batches                   decoder.py
  json      the union of keys                 objects.py
            columns of a sample or schema     fixed.py
            by Arrow, where it is exact       ndjson.py
            else payload by payload           exact.py, strict.py
            what may become of a type         shape.py
  fields    one column a field                fields.py
unify     batches -> one table                columns.py
"""

from __future__ import annotations

from seastream_nb.payload.columns import unify
from seastream_nb.payload.decode import Decode
from seastream_nb.payload.decoder import Decoder, decode_text, infer

__all__ = ["Decode", "Decoder", "decode_text", "infer", "unify"]
