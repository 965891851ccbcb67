"""Messages that came and were not taken yet: the I/O thread adds batches, the user's takes them.

A batch is columns, and a `Message` is made when it is taken: a page of messages that wait would
be so many objects for Python's garbage collector, which cost half the speed.
"""

from __future__ import annotations

from collections.abc import Iterator
from operator import itemgetter
from typing import Any

from seastream_nb.message import Message, Origin

_NAME, _VALUE = itemgetter(0), itemgetter(1)


class Batch:
    """The messages of one reply, in the order to deliver them.

    >>> batch = Batch()
    >>> reply = [[b"5-0", [b"msg", b"a", b"x", b"y", b"msg", b"b"]], [b"6-0", [b"x", b"y"]]]
    >>> batch.add(Origin("s", 0, b"s"), reply, b"msg")
    [b'6-0']
    >>> batch.ids, batch.payloads
    ([b'5-0', b'5-0'], [b'a', b'b'])
    """

    __slots__ = ("begin", "ids", "origins", "payloads", "then")

    def __init__(self) -> None:
        self.origins: list[Origin] = []
        # As the backend has them, bytes or EntryId: parsing all of them would cost too much.
        self.ids: list[Any] = []
        self.payloads: list[bytes] = []
        # Set by the inbox: how many messages came before, and the batch that came after.
        self.begin = 0
        self.then: Batch | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def add(self, origin: Origin, entries: list[Any], field: bytes) -> list[bytes]:
        """Add one message an occurrence of the message field, in stored order.

        The ids of the entries that have none are returned; one that was deleted while it was
        pending in a group has no body at all.
        """
        ids, bodies = zip(*entries, strict=True) if entries else ((), ())
        # What SeaStreamer writes, one pair an entry, needs no loop in Python.
        if (
            None not in bodies
            and set(map(len, bodies)) == {2}
            and set(map(_NAME, bodies)) == {field}
        ):
            self.ids += ids
            self.payloads += map(_VALUE, bodies)
            self.origins += [origin] * len(ids)
            return []
        blank = []
        for entry_id, body in entries:
            pairs = body or ()
            found = [pairs[at + 1] for at in range(0, len(pairs), 2) if pairs[at] == field]
            self.ids += [entry_id] * len(found)
            self.payloads += found
            self.origins += [origin] * len(found)
            if not found:
                blank.append(entry_id)
        return blank

    def sort(self) -> None:
        """Merge shards by time; what has the same time stays in the order it was added."""
        times = [int(entry_id.partition(b"-")[0]) for entry_id in self.ids]
        order = sorted(range(len(times)), key=times.__getitem__)
        self.origins = [self.origins[at] for at in order]
        self.ids = [self.ids[at] for at in order]
        self.payloads = [self.payloads[at] for at in order]


Place = tuple[Batch, int]
Columns = tuple[list[Origin], list[Any], list[bytes]]
"""Origins, ids and payloads of messages."""


class Inbox:
    """A queue of batches, taken by the message.

    One thread adds, another takes. The taker moves its place only after it has made the messages
    that it passes, in one assignment, so an interrupt in between loses nothing. The place also
    tells the adder what was handed over, at no cost for each message.
    """

    def __init__(self, *, tells: bool = False) -> None:
        self._last = Batch()
        self._place: Place = self._last, 0
        # Only where it is asked: whatever this points to stays in memory.
        self._told: Place | None = self._place if tells else None

    def __len__(self) -> int:
        batch, at = self._place
        return self._last.begin + len(self._last) - batch.begin - at

    def add(self, batch: Batch) -> None:
        """Put a batch behind the others."""
        batch.begin = self._last.begin + len(self._last)
        self._last.then = batch
        self._last = batch

    def pop(self) -> Message | None:
        """Take the next message; None when there is none."""
        batch, at = self._place
        while at == len(batch.ids):
            if batch.then is None:
                return None
            batch, at = batch.then, 0
        message = Message(batch.origins[at], batch.ids[at], batch.payloads[at])
        self._place = batch, at + 1
        return message

    def __iter__(self) -> Iterator[Message]:
        """Take message after message, as long as there are any."""
        while (place := self._place) != (self._last, len(self._last)):
            batch, at = place
            for message in map(Message, batch.origins[at:], batch.ids[at:], batch.payloads[at:]):
                if self._place is not place:  # somebody else took some meanwhile
                    break
                at += 1
                self._place = place = batch, at
                yield message
            if self._place is place and batch.then is not None:
                self._place = batch.then, 0

    def look(self, most: float) -> tuple[list[Message], Place]:
        """The next messages, up to `most` of them, and the place behind them for `go_on`."""
        columns, place = self.columns(most)
        return list(map(Message, *columns)), place

    def columns(self, most: float) -> tuple[Columns, Place]:
        """The same as columns, without an object for each message."""
        batch, at = self._place
        found: Columns = [], [], []
        origins, ids, payloads = found
        while True:
            stop = int(min(len(batch), at + most - len(ids)))
            origins += batch.origins[at:stop]
            ids += batch.ids[at:stop]
            payloads += batch.payloads[at:stop]
            if batch.then is None or len(ids) >= most:
                return found, (batch, stop)
            batch, at = batch.then, 0

    def go_on(self, place: Place) -> None:
        """Have taken everything before a place that `look` gave."""
        self._place = place

    # Called by the adder.

    @property
    def untold(self) -> bool:
        """Whether `handed_over` has something to tell, now or when more is taken."""
        return self._told is not None and self._told != (self._last, len(self._last))

    def handed_over(self) -> dict[bytes, list[bytes]]:
        """The entries that were taken whole since this was asked last, by Redis key."""
        found: dict[bytes, list[bytes]] = {}
        if self._told is None:
            return found
        (batch, at), place = self._told, self._place
        while True:
            stop = place[1] if batch is place[0] else len(batch)
            # An entry with several messages is handed over with its last one.
            while at < stop < len(batch) and _same_entry(batch, stop):
                stop -= 1
            _collect(found, batch, at, stop)
            self._told = batch, stop
            if batch is place[0] or batch.then is None:
                return found
            batch, at = batch.then, 0


def _same_entry(batch: Batch, at: int) -> bool:
    """Whether a message and the one before it stand in one entry."""
    return batch.ids[at] == batch.ids[at - 1] and batch.origins[at] is batch.origins[at - 1]


def _collect(found: dict[bytes, list[bytes]], batch: Batch, start: int, stop: int) -> None:
    """Add the distinct ids of a part of a batch by the Redis keys that they stand in."""
    origins, ids = batch.origins[start:stop], batch.ids[start:stop]
    # Counted by identity: hashing an origin for each message would cost more than reading it.
    if ids and origins.count(origins[0]) == len(origins):
        found.setdefault(origins[0].key, []).extend(dict.fromkeys(ids))
        return
    apart: dict[bytes, dict[bytes, None]] = {}
    for origin, entry_id in zip(origins, ids, strict=True):
        apart.setdefault(origin.key, {})[entry_id] = None
    for key, own in apart.items():
        found.setdefault(key, []).extend(own)
