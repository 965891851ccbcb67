"""What streams a server holds, and what it says of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from seastream_nb.backend import StreamInfo
from seastream_nb.errors import StreamNotFound
from seastream_nb.keys import EntryId, key_text, split_shard
from seastream_nb.message import Origin, utc_datetime
from seastream_nb.query import Extent
from seastream_nb.redis import shards, wire
from seastream_nb.redis.connection import accepted
from seastream_nb.redis.pool import LinkPool
from seastream_nb.redis.resp import Refusal

SCAN_COUNT = 1_000
# An answer holds a stream's first and last entry, so many at once may be long.
KEYS_AT_ONCE = 100


async def server_now_ns(pool: LinkPool) -> int:
    """The server's clock, or the one that `now=` set, in nanoseconds since the epoch."""
    return await server_time_ns(pool) if pool.options.now is None else pool.options.now


async def server_time_ns(pool: LinkPool) -> int:
    """The server's clock, in nanoseconds since the epoch."""
    seconds, micros = await pool.call("TIME", doing="asking for the time")
    return (int(seconds) * 1_000_000 + int(micros)) * 1_000


async def scan(pool: LinkPool, pattern: str, doing: str) -> list[bytes]:
    """All stream keys that match a glob pattern."""
    keys: set[bytes] = set()
    cursor = b"0"
    while True:
        cursor, some = await scan_on(pool, cursor, pattern, doing)
        keys.update(some)
        if cursor == b"0":
            return sorted(keys)


async def scan_on(
    pool: LinkPool, cursor: bytes, pattern: str, doing: str
) -> tuple[bytes, list[bytes]]:
    """One step of a scan: where to go on, which is `0` at the end, and some of the keys."""
    cursor, keys = await pool.call(
        "SCAN", cursor, "MATCH", pattern, "COUNT", SCAN_COUNT, "TYPE", "stream", doing=doing
    )
    return cursor, keys


async def discover(pool: LinkPool, key: bytes) -> list[Origin]:
    """The shards of one stream; a stream without shards is one origin on its plain key."""
    search = ShardSearch(pool, key)
    while not await search.step():
        pass
    return await search.origins()


class ShardSearch:
    """A walk over the keys of the database for the shards of one stream, step by step."""

    def __init__(self, pool: LinkPool, key: bytes) -> None:
        self._pool = pool
        self._key = key
        # A legal stream key holds no character that means something in a glob pattern.
        self._name = key_text(key)
        self._doing = f"looking for shards of {self._name!r}"
        self._cursor = b"0"
        self._found: set[bytes] = set()

    async def step(self) -> bool:
        """Look at some more keys; whether these were the last."""
        if self._pool.options.shards == "off" or not shards.may_have_shards(self._key):
            return True
        pattern = f"{self._name}:[0-9]*"
        self._cursor, keys = await scan_on(self._pool, self._cursor, pattern, self._doing)
        self._found.update(keys)
        return self._cursor == b"0"

    async def origins(self) -> list[Origin]:
        """What was found, the plain key first."""
        origins = shards.origins(self._key, self._found, self._pool.options.unit_ns)
        if len(origins) > 1:
            # A counter `ticks` beside the streams `ticks:0`, `ticks:1` is no part of them.
            [kind] = await self._pool.replies([("TYPE", self._key)], doing=self._doing)
            if kind not in (b"stream", b"none") and not isinstance(kind, Refusal):
                return origins[1:]
        return origins


async def extents(
    pool: LinkPool, origins: Sequence[Origin], doing: str = "looking at streams"
) -> list[Extent]:
    """What each shard holds now; a key that does not exist holds nothing.

    Raises:
        ServerError: a key holds another type; the text is the server's WRONGTYPE.
    """
    commands = [("XINFO", "STREAM", origin.key) for origin in origins]
    replies = await pool.replies(commands, doing=doing)
    return [
        Extent(origin=origin)
        if is_missing(reply)
        else extent_of(origin, accepted(reply, f"looking at {key_text(origin.key)!r}"))
        for origin, reply in zip(origins, replies, strict=True)
    ]


def is_missing(reply: Any) -> bool:
    """Whether a server says that there is no such key."""
    return isinstance(reply, Refusal) and "no such key" in str(reply)


def extent_of(origin: Origin, reply: Any) -> Extent:
    """What a shard holds, as XINFO STREAM tells it."""
    facts = wire.pairs(reply)
    first, last = facts[b"first-entry"], facts[b"last-entry"]
    ends = [entry for entry in (first, last) if entry]
    sizes = [sum(map(len, entry[1] or ())) + len(entry[0]) for entry in ends]
    return Extent(
        origin=origin,
        length=facts[b"length"],
        first=EntryId.parse(first[0]) if first else None,
        last=EntryId.parse(last[0]) if last else None,
        end=EntryId.parse(facts[b"last-generated-id"]),
        entry_bytes=sum(sizes) // max(1, len(sizes)),
        groups=facts[b"groups"],
        added=facts.get(b"entries-added"),
    )


async def catalog(pool: LinkPool, pattern: str | None) -> list[StreamInfo]:
    """Every stream whose key matches, shards folded together, sorted by key.

    A stream that is deleted meanwhile is left out.
    """
    streams = await _matching(pool, pattern)
    unit_ns = pool.options.unit_ns
    origins = [_origin(key, each, unit_ns) for key, keys in streams.items() for each in keys]
    looked = await _look(pool, origins, "listing streams")
    there = {shard.origin.key: shard for shard in looked if not shard.refused("WRONGTYPE")}
    found = {key: [there[each] for each in keys if each in there] for key, keys in streams.items()}
    return [_summary(key_text(key), of_stream) for key, of_stream in found.items() if of_stream]


async def _matching(pool: LinkPool, pattern: str | None) -> dict[bytes, list[bytes]]:
    """The streams whose key matches, with all their keys."""
    doing = "listing streams"
    sharded = pool.options.shards == "auto"
    keys = await scan(pool, "*" if pattern is None else pattern, doing)
    if sharded and pattern is not None:
        # The pattern speaks of streams: their shards have a suffix that it does not name, and a
        # key that it matches as a shard may be one of a stream that it does not match.
        suffixed = await scan(pool, f"{pattern}:[0-9]*", doing)
        keys = [key for key in keys if split_shard(key) is None]
        keys += [key for key in suffixed if split_shard(key) is not None]
    return shards.group_by_stream(keys, sharded=sharded)


async def describe(pool: LinkPool, key: bytes, keys: Iterable[bytes]) -> StreamInfo:
    """One stream's facts; what the ACL denies is null.

    Raises:
        StreamNotFound: none of the keys exists.
        ServerError: a key holds another type; the text is the server's WRONGTYPE.
    """
    origins = [_origin(key, each, pool.options.unit_ns) for each in keys]
    found = await _look(pool, origins, f"looking at {key_text(key)!r}")
    if not found:
        raise StreamNotFound(f"there is no stream {key_text(key)!r}")
    return _summary(key_text(key), found)


def _origin(stream: bytes, key: bytes, unit_ns: int) -> Origin:
    split = split_shard(key) if key != stream else None
    return Origin(key_text(stream), split[1] if split else 0, key, unit_ns)


@dataclass(frozen=True, slots=True)
class _Shard:
    """One key of a stream, and what the server says of it; `bytes` is None where it does not."""

    origin: Origin
    extent: Extent | Refusal
    bytes: int | None

    def refused(self, code: str) -> bool:
        return isinstance(self.extent, Refusal) and str(self.extent).startswith(code)


async def _look(pool: LinkPool, origins: Sequence[Origin], doing: str) -> list[_Shard]:
    """What the server says of these keys; those that do not exist are left out."""
    found: list[_Shard] = []
    for start in range(0, len(origins), KEYS_AT_ONCE):
        chunk = origins[start : start + KEYS_AT_ONCE]
        commands = [
            (*question, origin.key)
            for origin in chunk
            for question in (("XINFO", "STREAM"), ("MEMORY", "USAGE"))
        ]
        replies = await pool.replies(commands, doing=doing)
        for origin, facts, usage in zip(chunk, replies[0::2], replies[1::2], strict=True):
            extent = facts if isinstance(facts, Refusal) else extent_of(origin, facts)
            shard = _Shard(origin, extent, usage if isinstance(usage, int) else None)
            # Where XINFO is denied, a key that takes no memory is one that does not exist.
            if not (is_missing(facts) or (shard.refused("NOPERM") and usage is None)):
                found.append(shard)
    return found


def _summary(key: str, found: Sequence[_Shard]) -> StreamInfo:
    """The facts of a stream, from those of its keys: all of them, or null."""
    denied = any(shard.refused("NOPERM") for shard in found)
    doing = f"looking at {key!r}"
    extents = [] if denied else [accepted(shard.extent, doing) for shard in found]
    firsts = [extent.first for extent in extents if extent.first is not None]
    lasts = [extent.last for extent in extents if extent.last is not None]
    usages = [shard.bytes for shard in found if shard.bytes is not None]
    unit_ns = found[0].origin.unit_ns
    return StreamInfo(
        key=key,
        keys=tuple(key_text(shard.origin.key) for shard in found),
        shards=tuple(shard.origin.shard for shard in found),
        length=None if denied else sum(extent.length for extent in extents),
        first_id=str(min(firsts)) if firsts else None,
        last_id=str(max(lasts)) if lasts else None,
        first_time=utc_datetime(min(firsts).ms * unit_ns) if firsts else None,
        last_time=utc_datetime(max(lasts).ms * unit_ns) if lasts else None,
        groups=None if denied else sum(extent.groups for extent in extents),
        bytes=sum(usages) if len(usages) == len(found) else None,
    )
