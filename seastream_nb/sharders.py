"""Sharders: which shard each message of a producer goes to.

Any object with `shard(stream_key, payload) -> int` is one.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable
from hashlib import blake2b

from seastream_nb.errors import ConfigError
from seastream_nb.quantities import whole


class RoundRobinSharder:
    """Shards 0, 1, ... n-1 in turn, counted for each stream by itself.

    >>> sharder = RoundRobinSharder(2)
    >>> [sharder.shard("a", b""), sharder.shard("b", b""), sharder.shard("a", b"")]
    [0, 0, 1]
    """

    def __init__(self, n: int) -> None:
        self.n = _shards(n)
        self._next: defaultdict[str, int] = defaultdict(int)

    def shard(self, stream_key: str, payload: bytes) -> int:
        """The next shard of this stream."""
        turn = self._next[stream_key]
        self._next[stream_key] = (turn + 1) % self.n
        return turn


class PseudoRandomSharder:
    """Evenly random shards; the same `seed` gives the same sequence.

    >>> sharder = PseudoRandomSharder(4, seed=1)
    >>> all(0 <= sharder.shard("a", b"") < 4 for _ in range(100))
    True
    """

    def __init__(self, n: int, seed: int | None = None) -> None:
        self.n = _shards(n)
        self._random = random.Random(seed)  # noqa: S311 - spreading load, not secrets

    def shard(self, stream_key: str, payload: bytes) -> int:
        """A random shard."""
        return self._random.randrange(self.n)


class KeyHashSharder:
    """The same shard for the same key; `key` takes it from the payload (default: all of it).

    The hash is BLAKE2b, so it is the same in every process and on every machine.

    >>> sharder = KeyHashSharder(8, key=lambda payload: payload[:3])
    >>> sharder.shard("a", b"SEA 1.2") == sharder.shard("a", b"SEA 9.9")
    True
    """

    def __init__(self, n: int, key: Callable[[bytes], str | bytes] | None = None) -> None:
        if key is not None and not callable(key):
            raise ConfigError(f"key={key!r}: give a function of the payload")
        self.n = _shards(n)
        self._key = key

    def shard(self, stream_key: str, payload: bytes) -> int:
        """The shard that this payload's key belongs to."""
        key = payload if self._key is None else self._key(payload)
        if not isinstance(key, str | bytes | bytearray | memoryview):
            raise ConfigError(f"the key of a sharder was {key!r}: give text or bytes, as str(key)")
        data = key.encode() if isinstance(key, str) else key
        return int.from_bytes(blake2b(data, digest_size=8).digest(), "big") % self.n


def _shards(n: int) -> int:
    shards = whole(n)
    if shards is None or shards < 1:
        raise ConfigError(f"a sharder over {n!r} shards: give a number, 1 or more")
    return shards
