"""Rows become record batches: the base columns, and their order with the decoded ones.

| column | type | meaning |
| --- | --- | --- |
| `stream` | dictionary<int32, string> | stream key without a shard suffix |
| `shard` | uint64 | |
| `sequence` | uint64, decimal128(38, 0) in the ns format | null where it cannot hold the id |
| `id` | string | `ms-sub`; only when selected |
| `timestamp` | timestamp[us, tz], [ns, tz] in the ns format | null beyond what Arrow can hold |
| `payload` | binary, string after `text()` | left out once decoded, unless selected |
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from seastream_nb.message import NS_PER_MS
from seastream_nb.page import Numbers
from seastream_nb.rows import Rows

BASE_COLUMNS = ("stream", "shard", "sequence", "id", "timestamp", "payload")
STREAM_TYPE = pa.dictionary(pa.int32(), pa.string())

_MAX_I64 = 2**63 - 1


def base_type(name: str, unit_ns: int, zone: str) -> pa.DataType:
    """The type of a base column.

    >>> base_type("timestamp", 1_000_000, "UTC"), base_type("sequence", 1, "UTC")
    (TimestampType(timestamp[us, tz=UTC]), Decimal128Type(decimal128(38, 0)))
    """
    wide = unit_ns == 1
    types = {
        "stream": STREAM_TYPE,
        "shard": pa.uint64(),
        "sequence": pa.decimal128(38, 0) if wide else pa.uint64(),
        "id": pa.string(),
        "timestamp": pa.timestamp("ns" if wide else "us", zone),
        "payload": pa.binary(),
    }
    return types[name]


def base_column(name: str, rows: Rows, unit_ns: int, zone: str) -> pa.Array:
    """One base column of rows."""
    if name == "stream":
        return _streams(rows)
    if name == "shard":
        shards = np.array([origin.shard for origin in rows.origins], dtype=np.uint64)
        return pa.array(shards[rows.origin] if len(rows) else shards[:0])
    if name == "sequence":
        if unit_ns == 1:
            return wide_sequences(rows.ms, rows.sub, rows.numbered)
        return sequences(rows.ms, rows.sub, rows.numbered)
    if name == "id":
        return entry_ids(rows.ms, rows.sub)
    if name == "timestamp":
        return timestamps(rows.ms, unit_ns, zone)
    return rows.payload if rows.payload is not None else pa.nulls(len(rows), pa.binary())


def sequences(ms: Numbers, sub: Numbers, numbered: Numbers | None = None) -> pa.UInt64Array:
    """`ms << 16 | sub`, null where 48 and 16 bits do not hold them; `sub` alone where `numbered`.

    >>> ids = np.array([[1, 2], [2**48, 0], [1, 65536]], dtype=np.uint64)
    >>> sequences(ids[:, 0], ids[:, 1]).to_pylist()
    [65538, None, None]
    """
    lost = (ms >= np.uint64(2**48)) | (sub > np.uint64(0xFFFF))
    packed = ms << np.uint64(16) | sub
    if numbered is not None:
        packed, lost = np.where(numbered, sub, packed), lost & ~numbered
    return pa.array(packed, mask=lost if lost.any() else None)


def wide_sequences(
    ms: Numbers, sub: Numbers, numbered: Numbers | None = None
) -> pa.Decimal128Array:
    """The same in 128 bits, for nanosecond ids.

    >>> wide_sequences(np.array([2**63], np.uint64), np.array([5], np.uint64)).to_pylist()
    [Decimal('604462909807314587353093')]
    >>> numbers = np.array([5, 2**40], np.uint64)
    >>> wide_sequences(numbers, numbers, np.array([False, True])).to_pylist()
    [Decimal('327685'), Decimal('1099511627776')]
    """
    words = np.empty((len(ms), 2), dtype="<u8")
    words[:, 0] = ms << np.uint64(16) | sub
    words[:, 1] = ms >> np.uint64(48)
    lost = sub > np.uint64(0xFFFF)
    if numbered is not None:
        words[numbered, 0], words[numbered, 1] = sub[numbered], 0
        lost &= ~numbered
    valid = pa.array(~lost).buffers()[1] if lost.any() else None
    return pa.Array.from_buffers(pa.decimal128(38, 0), len(ms), [valid, pa.py_buffer(words)])


def timestamps(ms: Numbers, unit_ns: int, zone: str) -> pa.TimestampArray:
    """Times in `zone`, null where 64 bits do not hold them.

    >>> timestamps(np.array([1700000000000, 2**63], np.uint64), 1_000_000, "UTC").to_pylist()[1]
    """
    scale, unit = (1000, "us") if unit_ns == NS_PER_MS else (1, "ns")
    lost = ms > np.uint64(_MAX_I64 // scale)
    ticks = (ms * np.uint64(scale)).view(np.int64)
    return pa.array(ticks, pa.timestamp(unit, zone), mask=lost if lost.any() else None)


def entry_ids(ms: Numbers, sub: Numbers) -> pa.StringArray:
    """Ids as text.

    >>> entry_ids(np.array([5], np.uint64), np.array([1], np.uint64)).to_pylist()
    ['5-1']
    """
    return pc.binary_join_element_wise(
        pa.array(ms).cast(pa.string()), pa.array(sub).cast(pa.string()), "-"
    )


def _streams(rows: Rows) -> pa.DictionaryArray:
    names = list(dict.fromkeys(origin.stream for origin in rows.origins))
    of_origin = np.array([names.index(origin.stream) for origin in rows.origins], dtype=np.int32)
    index = of_origin[rows.origin] if len(rows) else of_origin[:0]
    return pa.DictionaryArray.from_arrays(pa.array(index, pa.int32()), pa.array(names, pa.string()))


def default_columns(decoded: Iterable[str], *, payload: bool, with_id: bool) -> tuple[str, ...]:
    """The columns of a result when none are selected.

    >>> default_columns(["price"], payload=False, with_id=True)
    ('stream', 'shard', 'sequence', 'id', 'timestamp', 'price')
    """
    kept = {"id": with_id, "payload": payload}
    return (*(name for name in BASE_COLUMNS if kept.get(name, True)), *decoded)
