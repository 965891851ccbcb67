"""Which number a message has, and which consumers of this process get it. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from seastream_nb.keys import MAX_U64

# The stream of lines without a key, which every consumer gets.
BROADCAST = "broadcast"
# Of how many shards it is known where their numbers stand.
MOST_SHARDS = 100_000


@dataclass(frozen=True, slots=True)
class Entry:
    """One message on its way; a key of None means every consumer. `ns` since 1970."""

    key: str | None
    shard: int
    sequence: int
    ns: int
    payload: bytes


class Numbers:
    """The sequence number that comes next in each shard: from 0, or after one that was given.

    >>> numbers = Numbers()
    >>> numbers.note("a", 0, 5)
    >>> numbers.upcoming("a", 0), numbers.upcoming("a", 1)
    (6, 0)
    """

    def __init__(self) -> None:
        self._next: dict[tuple[str, int], int] = {}

    def upcoming(self, key: str, shard: int) -> int:
        """The number of the next message."""
        return self._next.get((key, shard), 0)

    def note(self, key: str, shard: int, sequence: int) -> None:
        """A message had this number."""
        if len(self._next) >= MOST_SHARDS and (key, shard) not in self._next:
            del self._next[next(iter(self._next))]
        self._next[key, shard] = min(sequence + 1, MAX_U64)


class Member(Protocol):
    """A consumer, as far as it decides who gets a message."""

    @property
    def keys(self) -> frozenset[str]:
        """The streams that it was created on."""

    @property
    def group(self) -> str | None:
        """The group that it shares them with."""

    def give(self, entries: list[Entry]) -> None:
        """Take messages."""


class Audience:
    """The consumers of a process, in the order of their creation.

    Outside of groups each gets every message of its streams. Of a group, the members that read a
    stream take turns by its sequence numbers. A message without a key is of everybody's streams.
    """

    def __init__(self) -> None:
        self.members: list[Member] = []

    def join(self, member: Member) -> None:
        """Let a consumer have what comes from now on."""
        self.members.append(member)

    def leave(self, member: Member) -> None:
        """Give a consumer nothing more."""
        self.members = [each for each in self.members if each is not member]

    def give(self, entries: list[Entry]) -> None:
        """Give each consumer its part of what came."""
        # Nobody joins or leaves meanwhile, so who reads a key is found once.
        listening: dict[str | None, list[list[Member]]] = {}
        parts: dict[int, list[Entry]] = {}
        for entry in entries:
            if entry.key not in listening:
                listening[entry.key] = self._turns(entry.key)
            for turn in listening[entry.key]:
                receiver = turn[entry.sequence % len(turn)]
                parts.setdefault(id(receiver), []).append(entry)
        for member in self.members:
            if id(member) in parts:
                member.give(parts[id(member)])

    def _turns(self, key: str | None) -> list[list[Member]]:
        """Those who get a message of this key: of each list one."""
        turns: dict[object, list[Member]] = {}
        for member in self.members:
            if key is None or key in member.keys:
                turns.setdefault(member.group or member, []).append(member)
        return list(turns.values())
