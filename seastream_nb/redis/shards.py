"""Which Redis keys are one stream.

A key `NAME` and the keys `NAME:<digits>` are the stream NAME with shards, when NAME is a legal
SeaStreamer key; the plain key is shard 0 and is read too. Any other key, such as `app:orders`, is
a stream of its own.
"""

from __future__ import annotations

from collections.abc import Iterable

from seastream_nb.keys import is_legal, key_text, shard_key, split_shard
from seastream_nb.message import Origin


def literal(key: bytes, unit_ns: int) -> Origin:
    """A key that is a stream of its own.

    >>> literal(b"app:orders", 1).stream
    'app:orders'
    """
    return Origin(stream=key_text(key), shard=0, key=key, unit_ns=unit_ns)


def may_have_shards(key: bytes) -> bool:
    """Whether keys `KEY:<digits>` belong to this stream.

    >>> may_have_shards(b"ticks"), may_have_shards(b"a:7")
    (True, False)
    """
    return is_legal(key_text(key))


def origins(key: bytes, candidates: Iterable[bytes], unit_ns: int) -> list[Origin]:
    """The plain key and its shards among `candidates`, by shard number.

    >>> found = origins(b"s", [b"s:10", b"s:2", b"s:x", b"s:1:2", b"t:1"], 1)
    >>> [(origin.key, origin.shard) for origin in found]
    [(b's', 0), (b's:2', 2), (b's:10', 10)]
    """
    name = key_text(key)
    shards = {
        split[1] for split in map(split_shard, candidates) if split is not None and split[0] == name
    }
    sharded = [Origin(name, shard, shard_key(name, shard), unit_ns) for shard in sorted(shards)]
    return [literal(key, unit_ns), *sharded]


def group_by_stream(keys: Iterable[bytes], *, sharded: bool) -> dict[bytes, list[bytes]]:
    """All keys of a server by the stream that they belong to: the plain key first, then by shard.

    >>> group_by_stream([b"s:10", b"app:orders", b"s:2", b"s"], sharded=True)
    {b'app:orders': [b'app:orders'], b's': [b's', b's:2', b's:10']}
    """
    streams: dict[bytes, list[tuple[int, bytes]]] = {}
    for key in set(keys):
        split = split_shard(key) if sharded else None
        stream, place = (split[0].encode(), split[1]) if split else (key, -1)
        streams.setdefault(stream, []).append((place, key))
    return {stream: [key for _, key in sorted(streams[stream])] for stream in sorted(streams)}
