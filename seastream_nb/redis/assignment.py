"""Which shards a consumer reads: those of its streams, less what was unassigned. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from seastream_nb.errors import ConfigError
from seastream_nb.keys import MAX_U64, is_legal, key_bytes, key_text, shard_key
from seastream_nb.message import Origin
from seastream_nb.options import ConnectOptions
from seastream_nb.redis.shards import literal, may_have_shards


class Assignment:
    """The assigned shards of a consumer, in the order of delivery.

    Attributes:
        streams: the streams that it was created on.

    >>> assignment = Assignment([Origin("s", 0, b"s"), Origin("s", 2, b"s:2")], ConnectOptions())
    >>> assignment.unassign("s", 2)
    >>> assignment.find([Origin("s", 2, b"s:2"), Origin("s", 7, b"s:7")])
    [Origin(stream='s', shard=7, key=b's:7', unit_ns=1000000)]
    >>> assignment.stream_shards
    [('s', 0), ('s', 7)]
    """

    def __init__(self, origins: Sequence[Origin], connection: ConnectOptions) -> None:
        self.streams = tuple(dict.fromkeys(origin.stream for origin in origins))
        self._connection = connection
        self._assigned = {origin.key: origin for origin in origins}
        self._unassigned: set[bytes] = set()

    def __iter__(self) -> Iterator[Origin]:
        return iter(list(self._assigned.values()))

    def __str__(self) -> str:
        return ", ".join(map(repr, self.streams))

    @property
    def keys(self) -> set[bytes]:
        """All Redis keys that are or were assigned."""
        return {*self._assigned, *self._unassigned}

    @property
    def stream_shards(self) -> list[tuple[str, int]]:
        """The assigned shards, as (stream key, shard)."""
        return sorted({(origin.stream, origin.shard) for origin in self._assigned.values()})

    @property
    def growing(self) -> list[bytes]:
        """The streams that may get more shards."""
        if self._connection.shards == "off":
            return []
        return [key for key in map(key_bytes, self.streams) if may_have_shards(key)]

    def assign(self, key: str | bytes, shard: int) -> None:
        """Add a shard.

        Raises:
            ConfigError: the consumer was not created on this stream, or it has no such shard.
        """
        for origin in self._origins(key, shard):
            self._unassigned.discard(origin.key)
            self._assigned.setdefault(origin.key, origin)

    def unassign(self, key: str | bytes, shard: int) -> None:
        """Take a shard away.

        Raises:
            ConfigError: it is not assigned.
        """
        held = [origin.key for origin in self._origins(key, shard) if origin.key in self._assigned]
        if not held:
            raise ConfigError(f"shard {shard} of {key!r} is not assigned to this consumer")
        for each in held:
            self._unassigned.add(each)
            del self._assigned[each]

    def find(self, origins: Iterable[Origin]) -> list[Origin]:
        """Assign the shards that were not known; which they are."""
        new = [origin for origin in origins if origin.key not in self.keys]
        self._assigned.update((origin.key, origin) for origin in new)
        return new

    def is_optional(self, origin: Origin) -> bool:
        """Whether this key may be missing: beside shards the plain key often is."""
        siblings = sum(each.stream == origin.stream for each in self._assigned.values())
        return siblings > 1 and origin.key == key_bytes(origin.stream)

    def _origins(self, key: str | bytes, shard: int) -> list[Origin]:
        """The Redis keys of one shard."""
        name = key_text(key_bytes(key))
        if name not in self.streams:
            raise ConfigError(f"{name!r} is no stream of this consumer, which reads {self}")
        sharded = self._connection.shards == "auto" and is_legal(name)
        if type(shard) is not int or not 0 <= shard <= MAX_U64 or (shard and not sharded):
            raise ConfigError(f"{name!r} has no shard {shard!r}")
        unit_ns = self._connection.unit_ns
        # Shard 0 is the plain key and `NAME:0`, as when shards are discovered.
        plain = [literal(key_bytes(key), unit_ns)] if shard == 0 else []
        own = [Origin(name, shard, shard_key(name, shard), unit_ns)] if sharded else []
        return plain + own
