"""Batches of messages as the commands that send them."""

from __future__ import annotations

from typing import NamedTuple

from seastream_nb.message import Origin
from seastream_nb.outbox import PARTS, OutgoingBatch
from seastream_nb.redis import wire

_TAG_FIELD = b"$%d\r\n%b\r\n" % (len(wire.TAG), wire.TAG)


class Place(NamedTuple):
    """Where messages go, with the constant parts of their commands."""

    origin: Origin
    before: bytes
    after: bytes
    auto: bytes
    """Both, with the id `*` between them."""

    @classmethod
    def make(cls, origin: Origin, field: bytes, *, tagged: bool = False) -> Place:
        """The place of the messages that are sent to a key in this field."""
        before, after = wire.xadd_head(origin.key, field, tagged=tagged)
        return cls(origin, before, after, before + b"$1\r\n*\r\n" + after)


class RedisBatch(OutgoingBatch):
    """Messages that are written together. An id of None is the server's to give.

    Attributes:
        first, doubtful: of an idempotent producer: the number of the first message, and which
            others than the known ones may have reached the server, by place in the batch.
    """

    __slots__ = ("doubtful", "first")

    def __init__(self) -> None:
        super().__init__()
        self.first = 0
        self.doubtful: set[int] = set()

    def packed(self) -> bytes:
        """The commands that send the messages."""
        commands = [
            b"%b$%d\r\n%b\r\n" % (place.auto, len(data), data)
            if entry_id is None
            else wire.xadd(place.before, place.after, entry_id, data)
            for place, entry_id, data in self
        ]
        return b"".join(commands)

    def tagged(self, producer: bytes) -> bytes:
        """The same for the messages that are not known, each with its number in a field `i`."""
        commands = []
        for at, (place, entry_id, data) in enumerate(self):
            if at not in self.known:
                tag = self.tag(producer, at)
                xadd = (
                    b"%b$%d\r\n%b\r\n" % (place.auto, len(data), data)
                    if entry_id is None
                    else wire.xadd(place.before, place.after, entry_id, data)
                )
                commands.append(b"%b%b$%d\r\n%b\r\n" % (xadd, _TAG_FIELD, len(tag), tag))
        return b"".join(commands)

    def tag(self, producer: bytes, at: int) -> bytes:
        """What tells this message from every other one of any producer."""
        return b"%b:%d" % (producer, self.first + at)

    def missing(self) -> list[int]:
        """The messages of which nothing is known."""
        return [at for at in range(len(self)) if at not in self.known]

    def last_of_keys(self) -> dict[bytes, int]:
        """The keys that are written to, each with its last message."""
        places = self.parts[::PARTS]
        # By identity: to hash a place takes longer than all the rest.
        last = dict(zip(map(id, places), range(len(places)), strict=True))
        keys: dict[bytes, int] = {}
        for at in last.values():
            key = places[at].origin.key
            keys[key] = max(at, keys.get(key, 0))
        return keys
