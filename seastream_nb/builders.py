"""What the streams of both facades share: builders, which do no I/O, Arrow export and reprs."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal, Self, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from seastream_nb import portal
from seastream_nb.checks import named, one_of
from seastream_nb.errors import ConfigError
from seastream_nb.holding import Silence
from seastream_nb.keys import key_bytes
from seastream_nb.notebook import display
from seastream_nb.payload import Decode
from seastream_nb.quantities import Duration
from seastream_nb.query import Query
from seastream_nb.stream import StreamCore
from seastream_nb.times import When
from seastream_nb.union import MergedSource


class StreamBuilders:
    """One immutable query over a stream; every builder returns a new one and sends nothing."""

    def __init__(self, core: StreamCore) -> None:
        self._core = core
        self._export: StreamCore | None = None

    def _with(self, query: Query) -> Self:
        return type(self)(self._core.on(query))

    def since(self, when: When) -> Self:
        """Entries stamped exactly `when`, or later."""
        return self._with(self._core.query.since(when))

    def until(self, when: When) -> Self:
        """Entries stamped before `when`, not at it."""
        return self._with(self._core.query.until(when))

    def __getitem__(self, window: slice) -> Self:
        """`stream[since:until]`; positions are times, never counts."""
        if not isinstance(window, slice):
            raise TypeError(
                f"a stream has no item {window!r}: write stream[since:until] with times, "
                "stream.first(n), or stream.get(id)"
            )
        return self._with(self._core.query.between(window))

    def last(self, what: int | float | str | timedelta) -> Self:
        """The last n messages (an int), or a window ending now ("10m", a timedelta, seconds)."""
        return self._with(self._core.query.tail(what))

    def first(self, n: int) -> Self:
        """The first n messages, counted after shards are merged and filters applied."""
        return self._with(self._core.query.head(n))

    def shard(self, *shards: int) -> Self:
        """Entries of these shards only."""
        return self._with(self._core.query.shard(*shards))

    def tz(self, zone: str) -> Self:
        """Naive times given after this are read in `zone`, and `timestamp` is shown in it."""
        return self._with(self._core.query.tz(zone))

    def text(self, field: str | None = None) -> Self:
        """Payloads as text, which must be UTF-8."""
        return self._with(self._core.query.decoded(Decode(kind="text", field=field)))

    def json(
        self,
        schema: pa.Schema | None = None,
        *,
        field: str | None = None,
        errors: Literal["raise", "keep"] = "raise",
    ) -> Self:
        """The keys of JSON payloads as columns.

        Args:
            schema: the columns and types wanted; left out, they are inferred.
            field: the field that holds the payload; default: the connection's message field.
            errors: "raise" stops with a `DecodeError` naming the entry; "keep" gives a row of
                nulls with the reason in `_error`.
        """
        decode = Decode(kind="json", schema=schema, field=field, errors=errors)
        return self._with(self._core.query.decoded(decode))

    def fields(self, *names: str, schema: pa.Schema | None = None) -> Self:
        """The fields of entries as columns, every entry a row; without names: every field."""
        decode = Decode(kind="fields", names=names, schema=schema)
        return self._with(self._core.query.decoded(decode))

    def contains(self, needle: str | bytes, *, field: str | None = None) -> Self:
        """Messages whose raw bytes hold `needle`; `field` looks in another field of the entry."""
        return self._with(self._core.query.contains(needle, field))

    def where(self, expression: pc.Expression) -> Self:
        """Rows for which an expression such as `pc.field("price") > 100` holds."""
        return self._with(self._core.query.where(expression))

    def select(self, *columns: str) -> Self:
        """These columns in this order, in every terminal."""
        return self._with(self._core.query.select(*columns))

    def snapshot(self) -> Self:
        """The same query pinned to what is there now, so that repeated reads agree.

        This asks the server for the end of every shard, and blocks for that on both facades.
        """
        return type(self)(portal.run(self._core.snapshot()))

    def reader(self, page_size: int | None = None) -> pa.RecordBatchReader:
        """A `RecordBatchReader` over the range; it reads page by page, and blocks."""
        schema, batches = portal.run(self._core.open_batches(page_size))
        return pa.RecordBatchReader.from_batches(schema, portal.iterate(batches))

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """The range as an Arrow stream: finite, and the same however often it is taken.

        The first export of this object pins the end, since consumers such as DuckDB ask several
        times for one query and must not see a producer at work in between.
        """
        schema, batches = portal.run(self._exported().open_batches())
        reader = pa.RecordBatchReader.from_batches(schema, portal.iterate(batches))
        return reader.__arrow_c_stream__(requested_schema)

    def __arrow_c_schema__(self) -> object:
        """The schema that `__arrow_c_stream__` will have."""
        return portal.run(self._exported().schema()).__arrow_c_schema__()

    def _exported(self) -> StreamCore:
        if self._export is None:
            self._export = portal.run(self._core.snapshot())
        return self._export

    def __bool__(self) -> bool:
        return True  # without it, `if stream` would ask for the length

    def __len__(self) -> int:
        raise TypeError("the length of a stream is only known by reading it: use count()")

    def __repr__(self) -> str:
        return display.stream_text(type(self).__name__, self._core)

    def _repr_html_(self) -> str:
        return display.stream_html(type(self).__name__, self._core)


def stream_query(keys: tuple[str | bytes, ...], zone: str) -> Query:
    """The query over whole streams.

    Raises:
        ConfigError: no key, or one that is neither text nor bytes.
    """
    if not keys:
        raise ConfigError("stream() needs the key of a stream")
    for key in keys:
        if not isinstance(key, str | bytes):
            raise ConfigError(f"a stream key is text or bytes, not {key!r}")
    return Query(keys=tuple(dict.fromkeys(map(key_bytes, keys))), zone=zone)


def catalog_pattern(pattern: str | None) -> str | None:
    """The glob pattern of a catalog; None for all streams.

    Raises:
        ConfigError: it is no text.
    """
    if pattern is None or isinstance(pattern, str):
        return pattern
    raise ConfigError(f"catalog({pattern!r}): give a glob pattern as text, such as 'app:*'")


Streams = TypeVar("Streams", bound=StreamBuilders)


def merge(*streams: Streams, silent: Silence = "skip", patience: Duration = 1.0) -> Streams:
    """One stream of several, also of several servers, in time order.

    Each may have its own range and shards; everything else is said of the whole. Finite reads are
    always in order: (timestamp, id, shard, stream key). While `follow` waits for one stream, at
    most one reply of each of the others is held, and these are not read on.

    Args:
        *streams: streams of one facade, whose message field and unit of ids are the same.
        silent: what `follow` does about a stream that says nothing. "skip" stops waiting for it
            after `patience`, until it says something, which may then come out of order. "wait"
            keeps the order, however long it takes.
        patience: how long "skip" waits.

    Raises:
        TypeError: blocking and awaiting streams, or something else.
        ConfigError: a stream that is counted, filtered, decoded or selected from already.
    """
    kinds = {type(stream) for stream in streams}
    if len(kinds) != 1 or not issubclass(kind := kinds.pop(), StreamBuilders):
        raise TypeError("merge() takes streams, as in merge(a, b): all blocking, or all awaiting")
    named("silent", silent, one_of("wait", "skip"))
    cores = [stream._core for stream in streams]
    keys = tuple(dict.fromkeys(key for core in cores for key in core.query.keys))
    query = Query(keys=keys, zone=cores[0].query.zone)
    return kind(StreamCore(MergedSource(cores, silent, patience), query))
