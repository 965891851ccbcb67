"""Frames become messages: one a row, lazily, with back-pressure."""

from __future__ import annotations

import asyncio
import re
import threading
import time as clock
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from itertools import chain, repeat
from typing import Any, Literal, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from seastream_nb import portal
from seastream_nb.encoding import is_text, json_rows
from seastream_nb.endpoints import ProducerEndpoint
from seastream_nb.errors import ConfigError, QueueFull
from seastream_nb.options import ConnectOptions
from seastream_nb.quantities import whole
from seastream_nb.receipt import PendingReceipt
from seastream_nb.times import Fixed, Instant, parse_when

# Rows that are made into payloads at a time.
CHUNK = 1_000
# What pandas calls an index without a name when it exports a frame.
_UNNAMED_INDEX = re.compile(r"__index_level_\d+__")

Encoding = Literal["json", "raw"]
# Payload, tick of the entry's id, shard.
Row = tuple[bytes, int | None, int | None]


class Frame(Protocol):
    """Anything that exports Arrow: pandas, polars, pyarrow, DuckDB, a `Stream`."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """The Arrow C stream."""


class FrameMessages:
    """The messages of a frame, one a row.

    Without `timestamp` the frame is read as it is sent; with it, whole, for its times are checked
    before the first message is sent.

    Args:
        encoding: "json" makes each row one JSON object, without the `timestamp` and `shard`
            columns; "raw" sends one column's bytes or text.
        column: the column to send with "raw"; default `payload`.
        timestamp: the column that holds the entries' times; what is finer than the unit of the
            stream's ids is cut off.
        shard: a shard's number, or the column that holds it; default: the producer's sharder.
    """

    def __init__(
        self,
        frame: Frame,
        *,
        encoding: Encoding = "json",
        column: str | None = None,
        timestamp: str | None = None,
        shard: int | str | None = None,
    ) -> None:
        if encoding not in ("json", "raw"):
            raise ConfigError(f"encoding={encoding!r}: give 'json' or 'raw'")
        if encoding == "json" and column is not None:
            raise ConfigError("column= belongs to encoding='raw'")
        if not hasattr(frame, "__arrow_c_stream__"):
            raise TypeError(
                f"send_frame() takes a frame that exports Arrow, not {type(frame).__name__}"
            )
        self._frame = frame
        self._column = (column or "payload") if encoding == "raw" else None
        self._timestamp = timestamp
        number = whole(shard)
        self._shard = shard if number is None else number

    def rows(self, options: ConnectOptions) -> Iterator[Row]:
        """Payload, tick and shard of each row.

        Raises:
            ConfigError: a missing column, times that are null or out of order (before the first
                row), or a value that cannot be sent (naming its row).
        """
        reader = pa.RecordBatchReader.from_stream(self._frame)
        schema: pa.Schema = reader.schema
        for name in (self._column, self._timestamp, self._shard):
            if isinstance(name, str) and name not in schema.names:
                raise ConfigError(f"no column {name!r}: there are {', '.join(schema.names)}")
        if len(set(schema.names)) < len(schema.names):
            raise ConfigError(f"columns of the same name: {', '.join(schema.names)}")
        batches: Iterable[pa.RecordBatch] = reader
        ticks: Iterable[int | None] = repeat(None)
        if self._timestamp is not None:
            table = reader.read_all()
            batches = table.to_batches()
            ticks = iter(ordered_ticks(self._timestamp, table[self._timestamp], options).tolist())
        row = 0
        for batch in chain.from_iterable(map(_chunks, batches)):
            payloads, shards = self._payloads(batch, row), self._shards(batch, row)
            # The ticks go on after this chunk, so they come last.
            for payload, shard, tick in zip(payloads, shards, ticks, strict=False):
                yield payload, tick, shard
            row += len(batch)

    def _payloads(self, batch: pa.RecordBatch, first_row: int) -> list[bytes]:
        if self._column is not None:
            values = batch.column(self._column).to_pylist()
            return [_raw(value, self._column, row) for row, value in enumerate(values, first_row)]
        return json_rows(batch.select(self._fields(batch.schema.names)), first_row)

    def _fields(self, names: list[str]) -> list[str]:
        """The columns of the JSON objects."""
        apart = (self._timestamp, self._shard)
        return [each for each in names if each not in apart and not _UNNAMED_INDEX.fullmatch(each)]

    def _shards(self, batch: pa.RecordBatch, first_row: int) -> Iterable[int | None]:
        if not isinstance(self._shard, str):
            return repeat(self._shard, len(batch))
        shards: list[int | None] = batch.column(self._shard).to_pylist()
        if None in shards:
            raise ConfigError(f"row {first_row + shards.index(None)}: no {self._shard!r}")
        return shards


def _chunks(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    return (batch.slice(start, CHUNK) for start in range(0, len(batch), CHUNK))


def _raw(value: object, column: str, row: int) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    raise ConfigError(f"row {row}: {column!r} holds {type(value).__name__}, not text or bytes")


def ordered_ticks(
    name: str, column: pa.ChunkedArray, options: ConnectOptions
) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The first parts of the ids for the times of a column: milliseconds, or nanoseconds.

    >>> times = pa.chunked_array([["2026-01-05T09:30:00.0015Z", "2026-01-05T10:00Z"]])
    >>> ordered_ticks("at", times, ConnectOptions()).tolist()
    [1767605400001, 1767607200000]

    Raises:
        ConfigError: they are null, out of order, before 1970, or no times.
    """
    if column.null_count:
        raise ConfigError(f"the column {name!r} has rows without a time")
    try:
        times = _instants(column, options)
        exact = np.asarray(times.cast(pa.int64()))
        unit = pa.timestamp("ns" if options.unit_ns == 1 else "ms", times.type.tz)
        cut = pc.CastOptions(unit, allow_time_truncate=True)
        ticks = np.asarray(times.cast(options=cut).cast(pa.int64()))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ConfigError(f"the column {name!r} holds no times: {error}") from error
    if (exact[1:] < exact[:-1]).any():
        raise ConfigError(
            f"the times in {name!r} are out of order: sort the frame first, "
            "since a stream only grows at its end"
        )
    if len(exact) and exact[0] < 0:
        raise ConfigError(f"the times in {name!r} begin before 1970")
    return ticks


def _instants(column: pa.ChunkedArray, options: ConnectOptions) -> pa.ChunkedArray:
    """The times with a zone; text is read and naive times are taken as in the connection's zone."""
    kind = column.type
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        return column
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        naive = column if pa.types.is_timestamp(kind) else column.cast(pa.timestamp("s"))
        return pc.assume_timezone(naive, options.tz)
    if not is_text(kind):
        raise pa.ArrowInvalid(f"its type is {kind}")
    instants = [_instant_ns(text, options.tz) for text in column.to_pylist()]
    return pa.chunked_array([pa.array(instants, pa.timestamp("ns", "UTC"))])


def _instant_ns(text: str, tz: str) -> int:
    moment = parse_when(text, tz=tz)
    if isinstance(moment, Fixed) and isinstance(moment.position, Instant):
        return moment.position.ns
    raise ConfigError(f"{text!r} is no point in time")


def send_waiting(
    producer: ProducerEndpoint, size: int, send: Callable[[], PendingReceipt]
) -> PendingReceipt:
    """What `send` returns when the queue has room for a payload of `size` bytes.

    Raises:
        QueueFull: no room came within the connection's timeout.
    """
    deadline = clock.monotonic() + producer.connection.timeout
    while True:
        left = max(0.0, deadline - clock.monotonic())
        try:
            portal.run(producer.room(size, left))
        except TimeoutError as error:
            raise QueueFull(
                f"no room came within {producer.connection.timeout:g} s: "
                f"{str(error) or 'what waits is not answered yet'}"
            ) from None
        # Another thread may have taken the room that came.
        with suppress(QueueFull):
            return send()


def send_all(
    messages: FrameMessages, producer: ProducerEndpoint, stop: threading.Event | None = None
) -> int:
    """Queue every message for the producer's own stream, until `stop` is set; how many."""
    key = producer.own_stream()
    count = 0
    for data, tick, shard in messages.rows(producer.connection):
        if stop is not None and stop.is_set():
            break
        entry_id = None if tick is None else producer.tick_id(tick)
        send = partial(producer.queue, key, data, entry_id, shard)
        try:
            send()
        except QueueFull:
            send_waiting(producer, len(data), send)
        count += 1
    return count


async def send_from_thread(messages: FrameMessages, producer: ProducerEndpoint) -> int:
    """`send_all` in a thread of its own, since reading a frame may block; cancelling stops it."""
    stop = threading.Event()
    sending = asyncio.create_task(asyncio.to_thread(send_all, messages, producer, stop))
    try:
        return await asyncio.shield(sending)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([sending])
        raise
