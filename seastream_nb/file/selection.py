"""Which messages of a file a consumer reads: those of its keys, less unassigned shards. No I/O."""

from __future__ import annotations

from collections.abc import Sequence

from seastream_nb.errors import ConfigError
from seastream_nb.file.format import INTERNAL_KEY
from seastream_nb.file.frames import Pair
from seastream_nb.file.page import origin_of
from seastream_nb.keys import MAX_U64, key_bytes, key_text
from seastream_nb.message import Origin

WILDCARD = "SEA_STREAMER_WILDCARD"


class Selection:
    """The keys of a consumer, and the shards that it does not read.

    Args:
        keys: stream keys; `*`, or SeaStreamer's name for it, is all but internal messages, and
            `ticks:2` is shard 2 of `ticks` as a stream of its own.
        apart: whether each shard is its own stream.

    >>> selection = Selection(["a", "b"])
    >>> selection.unassign("a", 2)
    >>> selection.origin(("a", 1)), selection.origin(("a", 2)), selection.origin(("c", 0))
    (Origin(stream='a', shard=1, key=b'a:1', unit_ns=1000000), None, None)
    >>> selection.stream_shards
    [('a', 1), ('b', 0)]
    """

    def __init__(self, keys: Sequence[str | bytes], *, apart: bool = False) -> None:
        names = [key_text(key_bytes(key)) for key in keys]
        self.wildcard = "*" in names or WILDCARD in names
        self.keys = tuple(dict.fromkeys(each for each in names if each not in ("*", WILDCARD)))
        self._apart = apart
        self._unassigned: set[Pair] = set()
        # Those that were met, so that there is one object of each.
        self._met: dict[Pair, Origin] = {}

    def __str__(self) -> str:
        return ", ".join(map(repr, [*self.keys, *(["*"] * self.wildcard)]))

    def snapshot(self) -> Selection:
        """The same as it is now; what the copy meets is seen here too."""
        copy = Selection(self.keys, apart=self._apart)
        copy.wildcard = self.wildcard
        copy._unassigned = set(self._unassigned)
        copy._met = self._met
        return copy

    def only(self, keys: Sequence[str]) -> Selection:
        """The same as it is now, of these of its keys."""
        copy = self.snapshot()
        copy.keys = tuple(keys)
        copy._met = {}
        return copy

    def origin(self, pair: Pair) -> Origin | None:
        """Where these messages live, for whoever reads them here; None if they are not read."""
        origin = self._met.get(pair) or self._origin(pair)
        if origin is None or (origin.stream, origin.shard) in self._unassigned:
            return None
        self._met[pair] = origin
        return origin

    def _origin(self, pair: Pair) -> Origin | None:
        own = origin_of(pair, apart=self._apart)
        if own.stream in self.keys or (self.wildcard and pair[0] != INTERNAL_KEY):
            return own
        literal = origin_of(pair, apart=True)
        return literal if literal.stream in self.keys else None

    @property
    def stream_shards(self) -> list[tuple[str, int]]:
        """The shards that are read, as far as messages of them came; else shard 0 of each key."""
        # A reader's thread may meet one now: a list is made in one step.
        met = {(origin.stream, origin.shard) for origin in list(self._met.values())}
        silent = {(key, 0) for key in self.keys if all(key != stream for stream, _ in met)}
        return sorted((met | silent) - self._unassigned)

    def assign(self, key: str | bytes, shard: int) -> None:
        """Read a shard that was unassigned; all others are read anyway.

        Raises:
            ConfigError: the consumer was not created on this stream, or it has no such shard.
        """
        self._unassigned.discard(self._place(key, shard))

    def unassign(self, key: str | bytes, shard: int) -> None:
        """Leave a shard out.

        Raises:
            ConfigError: it is not assigned.
        """
        place = self._place(key, shard)
        if place in self._unassigned:
            raise ConfigError(f"shard {shard} of {place[0]!r} is not assigned to this consumer")
        self._unassigned.add(place)

    def reads(self, stream: str) -> bool:
        """Whether messages of a stream may come."""
        return stream in self.keys or (self.wildcard and stream != INTERNAL_KEY)

    def _place(self, key: str | bytes, shard: int) -> Pair:
        name = key_text(key_bytes(key))
        if not self.reads(name):
            raise ConfigError(f"{name!r} is no stream of this consumer, which reads {self}")
        sharded = not self._apart and ":" not in name
        if type(shard) is not int or not 0 <= shard <= MAX_U64 or (shard and not sharded):
            raise ConfigError(f"{name!r} has no shard {shard!r}")
        return name, shard
