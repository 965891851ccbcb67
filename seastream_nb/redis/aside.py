"""The shards that are read, and those that are set aside because the server refuses them.

One key that is no stream must not stop the others: it is looked at again now and then, and told of
once, as long as others are read. No I/O, and no clock: whoever asks says what time it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from seastream_nb.errors import StreamError
from seastream_nb.keys import FIRST_ID, EntryId
from seastream_nb.message import Origin
from seastream_nb.redis.followed import Growth

# How long a shard that was refused is left alone.
ASIDE_SECONDS = 0.5


@dataclass(slots=True)
class Shard:
    """One key that is read, and where reading stands.

    Attributes:
        position: the entry after which reading goes on.
        trouble: why it is set aside, if it is.
        told: whether the user knows.
        retry_at: when to look again, in the loop's time.
        reached: whether the stream has held the position, as none must have after a seek.
        growth: what came of it, and was said of it, since reading began.
        awaited: whether it is missing and its absence is no error: it was there, or may come.
    """

    origin: Origin
    position: EntryId = FIRST_ID
    trouble: StreamError | None = None
    told: bool = False
    retry_at: float = 0.0
    reached: bool = False
    growth: Growth = field(default_factory=Growth)
    awaited: bool = False


S = TypeVar("S", bound=Shard)


class Shards(Generic[S]):
    """The shards of one reader, by Redis key, in the order of delivery.

    >>> shards = Shards([Shard(Origin("a", 0, b"a")), Shard(Origin("b", 0, b"b"))])
    >>> shards.set_aside(shards[b"b"], StreamError("no stream"), now=10.0)
    >>> [shard.origin.stream for shard in shards.healthy]
    ['a']
    >>> shards.tell(), shards.tell()
    ([StreamError('no stream')], [])
    >>> len(shards.to_retry(10.1, urgent=True)), len(shards.to_retry(10.6, urgent=False))
    (0, 1)
    """

    def __init__(self, shards: Iterable[S]) -> None:
        self._shards = {shard.origin.key: shard for shard in shards}

    def __iter__(self) -> Iterator[S]:
        return iter(self._shards.values())

    def __getitem__(self, key: bytes) -> S:
        return self._shards[key]

    def __contains__(self, key: bytes) -> bool:
        return key in self._shards

    def add(self, shard: S) -> None:
        """Read one more, unless its key is read already."""
        self._shards.setdefault(shard.origin.key, shard)

    def only(self, keys: Iterable[bytes]) -> None:
        """Read the shards with these keys, and no others."""
        self._shards = {key: self._shards[key] for key in keys if key in self._shards}

    @property
    def healthy(self) -> list[S]:
        """Those that are not set aside."""
        return [shard for shard in self if shard.trouble is None]

    @property
    def aside(self) -> list[S]:
        """Those that are."""
        return [shard for shard in self if shard.trouble is not None]

    def set_aside(self, shard: S, error: StreamError, now: float) -> None:
        """Read the others only, for a while."""
        shard.trouble = error
        shard.retry_at = now + ASIDE_SECONDS

    def to_retry(self, now: float, *, urgent: bool) -> list[S]:
        """Those that should be looked at again.

        Args:
            now: the time that `retry_at` means.
            urgent: somebody waits; what he is told next should be true now.
        """
        aside = self.aside
        alone = len(aside) == len(self._shards)
        return [
            shard
            for shard in aside
            if now >= shard.retry_at or (urgent and not shard.awaited and (alone or not shard.told))
        ]

    def tell(self) -> list[StreamError]:
        """The troubles that were not told yet; each is given once."""
        untold = [shard for shard in self.aside if not (shard.told or shard.awaited)]
        for shard in untold:
            shard.told = True
        return [shard.trouble for shard in untold if shard.trouble is not None]

    @property
    def trouble(self) -> StreamError | None:
        """Why the first one is set aside that should not be missing."""
        troubles = [shard.trouble for shard in self.aside if not shard.awaited]
        return troubles[0] if troubles else None
