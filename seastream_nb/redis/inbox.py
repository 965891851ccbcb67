"""Messages that came and were not taken yet: the I/O thread adds batches, the user's takes them.

A batch is columns, and a `Message` is made when it is taken: a page of messages that wait would
be so many objects for Python's garbage collector, which cost half the speed.
"""

from __future__ import annotations

from typing import Any

from seastream_nb.message import Message, Origin


class Batch:
    """The messages of one reply, in the order to deliver them.

    >>> batch = Batch()
    >>> reply = [[b"5-0", [b"msg", b"a", b"x", b"y", b"msg", b"b"]], [b"6-0", [b"x", b"y"]]]
    >>> batch.add(Origin("s", 0, b"s"), reply, b"msg")
    >>> batch.ids, batch.payloads
    ([b'5-0', b'5-0'], [b'a', b'b'])
    """

    __slots__ = ("begin", "ids", "origins", "payloads", "then")

    def __init__(self) -> None:
        self.origins: list[Origin] = []
        self.ids: list[bytes] = []
        self.payloads: list[bytes] = []
        # Set by the inbox: how many messages came before, and the batch that came after.
        self.begin = 0
        self.then: Batch | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def add(self, origin: Origin, entries: list[Any], field: bytes) -> None:
        """Add one message an occurrence of the message field, in stored order."""
        ids, payloads = self.ids, self.payloads
        for entry_id, body in entries:
            if len(body) == 2 and body[0] == field:
                ids.append(entry_id)
                payloads.append(body[1])
            else:
                found = [body[at + 1] for at in range(0, len(body), 2) if body[at] == field]
                ids += [entry_id] * len(found)
                payloads += found
        self.origins += [origin] * (len(ids) - len(self.origins))

    def sort(self) -> None:
        """Merge shards by time; what has the same time stays in the order it was added."""
        times = [int(entry_id.partition(b"-")[0]) for entry_id in self.ids]
        order = sorted(range(len(times)), key=times.__getitem__)
        self.origins = [self.origins[at] for at in order]
        self.ids = [self.ids[at] for at in order]
        self.payloads = [self.payloads[at] for at in order]


Place = tuple[Batch, int]


class Inbox:
    """A queue of batches, taken by the message.

    One thread adds, another takes. The taker moves its place only after it has made the messages
    that it passes, in one assignment, so an interrupt in between loses nothing.
    """

    def __init__(self) -> None:
        self._last = Batch()
        self._place: Place = self._last, 0

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

    def look(self, most: float) -> tuple[list[Message], Place]:
        """The next messages, up to `most` of them, and the place behind them for `go_on`."""
        batch, at = self._place
        found: list[Message] = []
        while True:
            stop = int(min(len(batch), at + most - len(found)))
            columns = (batch.origins[at:stop], batch.ids[at:stop], batch.payloads[at:stop])
            found += map(Message, *columns)
            if batch.then is None or len(found) >= most:
                return found, (batch, stop)
            batch, at = batch.then, 0

    def go_on(self, place: Place) -> None:
        """Have taken everything before a place that `look` gave."""
        self._place = place
