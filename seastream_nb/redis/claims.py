"""Looking for entries that other consumers left pending: when, where, and what the server says.

XAUTOCLAIM looks at a bounded number of entries and says where to go on; a look ends when every
shard was gone through to its end. No I/O, and no clock: whoever asks says what time it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

_BEGINNING = b"0-0"


class Claims:
    """The looks of one consumer, one every `interval` seconds; None: never.

    >>> claims = Claims(30.0, now=100.0)
    >>> claims.next(129.0, [b"s"]), claims.next(130.0, [b"s"])
    (None, (b's', b'0-0'))
    >>> claims.go_on(b"s", b"5-1")
    >>> claims.next(131.0, [b"s"]), claims.next(131.0, [b"s"])
    ((b's', b'5-1'), None)
    """

    def __init__(self, interval: float | None, now: float) -> None:
        self._interval = interval
        self._next_look = now + (interval or 0.0)
        self._cursors: dict[bytes, bytes] = {}

    def next(self, now: float, keys: Iterable[bytes]) -> tuple[bytes, bytes] | None:
        """The key to look at, and where to go on there; None when it is not the time."""
        if self._interval is None:
            return None
        if not self._cursors and now >= self._next_look:
            self._next_look = now + self._interval
            self._cursors = dict.fromkeys(keys, _BEGINNING)
        return self._cursors.popitem() if self._cursors else None

    def go_on(self, key: bytes, cursor: bytes) -> None:
        """The server's cursor after a part of a key; `0-0` when it came to the end."""
        if cursor != _BEGINNING:
            self._cursors[key] = cursor


class Claimed(NamedTuple):
    """What XAUTOCLAIM gave: the entries, and whether it hides some that were deleted."""

    cursor: bytes
    entries: list[Any]
    hidden: bool

    @classmethod
    def of(cls, reply: list[Any]) -> Claimed:
        """Read either shape of the reply.

        >>> Claimed.of([b"0-0", [[b"1-0", [b"msg", b"x"]]], [b"2-0"]])
        Claimed(cursor=b'0-0', entries=[[b'1-0', [b'msg', b'x']]], hidden=False)
        >>> Claimed.of([b"0-0", [None]])
        Claimed(cursor=b'0-0', entries=[], hidden=True)
        """
        # From Redis 7.0 on, entries that were deleted are listed behind, and pending no more.
        # Redis 6.2 has nothing in their place, not even the id, and leaves them pending.
        cursor, claimed = reply[:2]
        entries = [entry for entry in claimed if entry is not None]
        return cls(cursor, entries, len(entries) < len(claimed))
