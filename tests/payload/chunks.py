"""Chunks of rows as a page gives them, and whole reads of several chunks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from seastream_nb.message import Origin
from seastream_nb.page import ListPage
from seastream_nb.payload import Decode, Decoder, unify
from seastream_nb.rows import Rows, field_rows

if TYPE_CHECKING:
    from collections.abc import Iterable

STREAM = Origin("ticks", 0, b"ticks")


def chunk(*payloads: bytes, start: int = 0) -> Rows:
    """One row a payload; the entry ids are `start-7` and up."""
    return Rows(
        origins=(STREAM,),
        origin=np.zeros(len(payloads), dtype=np.int32),
        ms=np.arange(start, start + len(payloads), dtype=np.uint64),
        sub=np.full(len(payloads), 7, dtype=np.uint64),
        payload=pa.array(payloads, pa.binary()),
    )


def entries(*bodies: list[bytes], names: Iterable[bytes] = ()) -> Rows:
    """One row an entry, from flat lists of names and values; the ids are `0-7` and up."""
    page = ListPage(STREAM, [[b"%d-7" % ms, body] for ms, body in enumerate(bodies)])
    return field_rows(page, names)


def whole(decode: Decode, *chunks: Rows) -> pa.Table:
    """All chunks as one frame."""
    decoder = Decoder(decode)
    batches = [decoder.decode(rows) for rows in chunks]
    return unify(batches, decoder.schema)
