"""A query as Python that a user can copy: what it does, and a comment for what it leaves out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from seastream_nb.asking import Call
from seastream_nb.errors import ConfigError
from seastream_nb.keys import EntryId, key_text
from seastream_nb.notebook.display import MAX_KEYS, visible
from seastream_nb.query import Contains, Query
from seastream_nb.stream import StreamCore
from seastream_nb.times import Edge, Fixed, Instant, Moment, Relative, bound, format_ns, parse_when
from seastream_nb.union import MergedSource

_SHARD_0, _SHARD_1 = Call("shard", (0,)), Call("shard", (1,))


def frame_code(stream: StreamCore) -> str:
    """An expression over `streamer` that gives the stream as a frame, below comments if any."""
    comments = [f"# {line}" for line in _missing(stream)]
    calls = "".join(map(str, _calls(stream)))
    return "\n".join([*comments, f"{_begin(stream)}{calls}.to_pandas()"])


def _begin(stream: StreamCore) -> str:
    if isinstance(stream.source, MergedSource):
        return "stream"
    keys = [_text_or_bytes(key) for key in stream.query.keys]
    if len(keys) == 1:
        return f"streamer[{keys[0]!r}]"
    return f"streamer.stream({', '.join(map(repr, keys))})"


def _missing(stream: StreamCore) -> Iterator[str]:
    """What cannot be written, one line each."""
    query = stream.query
    if isinstance(stream.source, MergedSource):
        keys = ", ".join(map(key_text, query.keys[:MAX_KEYS]))
        yield f"stream: what ss.merge() made of {visible(keys)}"
    if query.decode.schema is not None:
        yield f"the schema= that {query.decode.kind}() was given is left out"
    if query.condition is not None:
        # Arrow breaks the lines of a long expression.
        yield f"left out: .where({visible(' '.join(str(query.condition).split()))})"


def _calls(stream: StreamCore) -> list[Call]:
    query = stream.query
    begins, ends = (_outermost(stream, query.lower, max), _outermost(stream, query.upper, min))
    found = [
        *_shards(query.shards),
        query.zone != stream.source.options.tz and Call("tz", (query.zone,)),
        *(Call("since", (_when(moment),)) for moment in begins),
        *(Call("until", (_when(moment),)) for moment in ends),
        *(Call("last", (f"{window}ns",)) for window in query.window_ns),
        *map(_contains, query.containing),
        _decoding(query),
        query.columns is not None and Call("select", query.columns),
    ]
    return [call for call in found if isinstance(call, Call)]


def _shards(shards: frozenset[int] | None) -> list[Call]:
    if shards is None:
        return []
    # No shard at all is what two that exclude each other leave.
    return [Call("shard", tuple(sorted(shards)))] if shards else [_SHARD_0, _SHARD_1]


def _outermost(stream: StreamCore, moments: tuple[Moment, ...], which: Any) -> list[Moment]:
    """The one bound that implies the others, where that is known without a server."""
    fixed = [each for each in moments if isinstance(each, Fixed)]
    ids = {each: _bound(stream, each) for each in fixed if each.position is not Edge.LATEST}
    rest = [each for each in dict.fromkeys(moments) if each not in ids]
    return [*([which(ids, key=ids.__getitem__)] if ids else []), *rest]


def _bound(stream: StreamCore, moment: Fixed) -> EntryId:
    return bound(moment.position, unit_ns=stream.source.options.unit_ns)


def _when(moment: Moment) -> str | bytes:
    """A bound as an argument that means exactly it."""
    if isinstance(moment, Relative):
        sign = "-" if moment.offset_ns < 0 else "+"
        return f"{sign}{abs(moment.offset_ns)}ns" if moment.offset_ns else "now"
    if not isinstance(moment, Fixed):
        return moment.clock
    position = moment.position
    if isinstance(position, Instant):
        return format_ns(position.ns)
    if isinstance(position, Edge):
        return position.name.lower()
    try:
        parse_when(str(position))
    except ConfigError:
        return str(position).encode()  # as text it may as well be a month
    return str(position)


def _contains(wanted: Contains) -> Call:
    field = {} if wanted.field is None else {"field": _text_or_bytes(wanted.field)}
    return Call("contains", (_text_or_bytes(wanted.needle),), field)


def _decoding(query: Query) -> Call | None:
    decode = query.decode
    if decode.kind == "raw":
        return None
    options: dict[str, object] = {} if decode.field is None else {"field": decode.field}
    if decode.errors != "raise":
        options["errors"] = decode.errors
    return Call(decode.kind, decode.names, options)


def _text_or_bytes(data: bytes) -> str | bytes:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def between(query: Query, first: EntryId, last: EntryId) -> Query:
    """The part of a query between two ids, both included."""
    upper = query.upper if last.next() == last else (*query.upper, Fixed(last.next()))
    return replace(query, lower=(*query.lower, Fixed(first)), upper=upper)
