"""Messages of any stream as a file can hold them: rows and batches become columns to be written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from seastream_nb.arrow import sequences
from seastream_nb.errors import ConfigError
from seastream_nb.file.bulk import Columns
from seastream_nb.file.format import LAST_MS
from seastream_nb.file.splice import Pair
from seastream_nb.keys import StreamKey, key_text
from seastream_nb.message import NS_PER_MS, Origin
from seastream_nb.page import Numbers
from seastream_nb.payload import Decode
from seastream_nb.query import Pinned, Query
from seastream_nb.rows import Rows

# What `columns_of_batch` reads.
COLUMNS = ("stream", "shard", "id", "sequence", "timestamp", "payload")


def holdable(query: Query, pinned: Pinned) -> Query:
    """The query of what a file is to hold: payloads as they are, decoded only for `where`.

    Raises:
        ConfigError: it is of fields, and a file has one payload a message.
        StreamKeyError: naming a stream whose key SeaStreamer forbids.
    """
    if query.decode.kind == "fields":
        raise ConfigError(
            "a file holds one payload a message: leave out fields(), or name the field with "
            "text(field=...)"
        )
    names = {each.origin.stream for each in pinned.extents} or set(map(key_text, query.keys))
    for name in sorted(names):
        StreamKey(name)
    if query.condition is None:
        query = replace(query, decode=Decode(field=query.decode.field))
    return replace(query, columns=None)


def columns_of(rows: Rows) -> Columns:
    """Rows with payloads, as a file holds them.

    Raises:
        ConfigError: naming the first entry that no file can hold.
    """
    pairs = list(dict.fromkeys(map(_pair, rows.origins)))
    of_origin = np.array([pairs.index(_pair(each)) for each in rows.origins], np.int64)
    fine = [each.unit_ns == NS_PER_MS for each in rows.origins]
    packed = sequences(rows.ms, rows.sub, rows.numbered)
    lost = pc.is_null(packed).to_numpy(zero_copy_only=False) | (rows.ms > np.uint64(LAST_MS))
    lost |= ~np.array(fine, bool)[rows.origin]
    _require_none(lost, lambda row: (str(rows.entry_id(row)), rows.origin_of(row).stream))
    assert rows.payload is not None
    numbers = np.asarray(pc.fill_null(packed, 0))
    return Columns(pairs, of_origin[rows.origin], numbers, rows.ms, rows.payload)


def columns_of_batch(batch: pa.RecordBatch) -> Columns:
    """A batch with `COLUMNS`, as a file holds it.

    Raises:
        ConfigError: naming the first entry that no file can hold.
    """
    names, shards = batch["stream"], batch["shard"].to_numpy()
    code = names.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    pairs, pair = _pairs(names.dictionary.to_pylist(), code, shards)
    times, packed = batch["timestamp"], batch["sequence"]
    in_ns = times.type.unit == "ns"
    ms = np.asarray(pc.fill_null(times.cast(pa.int64()), 0)).astype(np.uint64) // np.uint64(1000)
    null = pc.or_(pc.is_null(packed), pc.is_null(times)).to_numpy(zero_copy_only=False)
    lost = null | (ms > np.uint64(LAST_MS)) | in_ns
    _require_none(lost, lambda row: (batch["id"][row].as_py(), names[row].as_py()))
    payloads = batch["payload"].cast(pa.binary())
    return Columns(pairs, pair, packed.to_numpy(), ms, payloads)


def _pair(origin: Origin) -> Pair:
    return origin.stream, origin.shard


def _pairs(names: Sequence[str], code: Numbers, shards: Numbers) -> tuple[list[Pair], Numbers]:
    """Which streams and shards there are, and which of them each row belongs to.

    >>> pairs, pair = _pairs(["a", "b"], np.array([1, 0, 1]), np.array([7, 0, 7], np.uint64))
    >>> pairs, pair.tolist()
    ([('a', 0), ('b', 7)], [1, 0, 1])
    """
    known, of_row = np.unique(shards, return_inverse=True)
    both, pair = np.unique(code * len(known) + of_row, return_inverse=True)
    pairs = [(names[each // len(known)], int(known[each % len(known)])) for each in both.tolist()]
    return pairs, pair.astype(np.int64)


def _require_none(lost: Numbers, named: Callable[[int], tuple[str, str]]) -> None:
    if not lost.any():
        return
    entry_id, stream = named(int(np.flatnonzero(lost)[0]))
    raise ConfigError(
        f"entry {entry_id} of {stream!r} does not fit a file: ids are milliseconds up to the year "
        "9999 and a number up to 65535 there; leave it out with since() or until(), or use "
        "to_parquet()"
    )
