"""Which entries are meant: ids and messages, by the shards that they may be in. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from seastream_nb.endpoints import Id
from seastream_nb.errors import ConfigError
from seastream_nb.keys import EntryId, key_text, split_shard
from seastream_nb.message import Message, MessageHeader, Origin

# The Redis key, where a message tells it, and the id.
Place = tuple[bytes | None, EntryId]
# Ids for one command, and the shard that it is about.
Chunk = tuple[Origin, list[bytes]]


def places(ids: Id | Iterable[Id], stream: bytes) -> list[Place]:
    """The key, where a message tells it, and id of each.

    Raises:
        ConfigError: what is no id, or a message of another stream.
    """
    if isinstance(ids, str | bytes | EntryId | Message | MessageHeader):
        ids = [ids]
    if not isinstance(ids, Iterable):
        raise ConfigError(f"ids={ids!r}: give ids or messages, one or several")
    return [_place(each, key_text(stream)) for each in ids]


def _place(given: Id, stream: str) -> tuple[bytes | None, EntryId]:
    if isinstance(given, Message | MessageHeader):
        # Read as a key of its own (`ticks:3`), a message is one of the stream `ticks` as well.
        split = split_shard(given.origin.key)
        if stream not in (given.stream, key_text(given.origin.key), split and split[0]):
            raise ConfigError(f"{given.id} is a message of {given.stream!r}, not of {stream!r}")
        return given.origin.key, given.entry_id
    if isinstance(given, EntryId):
        return None, given
    try:
        return None, EntryId.parse(given)
    except (TypeError, ValueError):
        raise ConfigError(f"{given!r} is no id: give full ids, such as '1700000000000-0'") from None


def by_shard(wanted: Sequence[Place], origins: Iterable[Origin], most: int) -> Iterable[Chunk]:
    """For each shard the ids that may be there, at most so many at once."""
    for origin in origins:
        there = [at.wire() for key, at in wanted if key in (None, origin.key)]
        for first in range(0, len(there), most):
            yield origin, there[first : first + most]
