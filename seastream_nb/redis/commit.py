"""Acks in parts for one command, leases on what is not acknowledged. No I/O and no clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from seastream_nb.committing import Acks

# How many ids one command names or asks for: the server does nothing else meanwhile.
IDS_AT_ONCE = 1_000


def chunks(acks: Acks) -> list[tuple[bytes, list[bytes]]]:
    """The same in parts that are small enough for one command."""
    return [
        (key, ids[start : start + IDS_AT_ONCE])
        for key, ids in acks.items()
        for start in range(0, len(ids), IDS_AT_ONCE)
    ]


class Leases:
    """Entries that a load-balanced consumer holds, and since when: what it has and did not commit.

    A lease that is renewed keeps the others from claiming the entry. None is renewed for longer
    than `max_hold` seconds, so that a consumer that is stuck does not keep messages for ever.

    >>> leases = Leases(max_hold=600.0)
    >>> leases.take(b"s", [b"1-0", b"2-0"], now=0.0)
    >>> leases.take(b"s", [b"3-0"], now=500.0)
    >>> leases.drop({b"s": [b"2-0"]})
    >>> leases.renewable(599.0), leases.renewable(601.0)
    ({b's': [b'1-0', b'3-0']}, {b's': [b'3-0']})
    >>> leases.remember(committed=True)
    >>> leases.drop({b"s": [b"3-0"]})
    >>> leases.held(b"s"), leases.knows(b"s")(b"3-0")
    ([], True)
    """

    def __init__(self, max_hold: float) -> None:
        self._max_hold = max_hold
        self._since: dict[bytes, dict[bytes, float]] = {}
        self._done: dict[bytes, set[bytes]] | None = None

    def held(self, key: bytes) -> list[bytes]:
        """The entries of one key that are held."""
        return list(self._since.get(key, ()))

    def knows(self, key: bytes) -> Callable[[bytes], bool]:
        """Tells of an entry whether it was received: it is held, or was committed lately."""
        held = self._since.get(key, {})
        done = (self._done or {}).get(key, ())
        return lambda entry_id: entry_id in held or entry_id in done

    def remember(self, *, committed: bool) -> None:
        """Whether to know also what is committed from now on.

        While what is pending is read again, an answer may name an entry whose commit overtook it.
        """
        if not committed:
            self._done = None
        elif self._done is None:
            self._done = {}

    def take(self, key: bytes, ids: Iterable[bytes], now: float) -> None:
        """Entries were received."""
        self._since.setdefault(key, {}).update(dict.fromkeys(ids, now))

    def drop(self, acks: Acks) -> None:
        """Entries were committed, or are others' now."""
        for key, ids in acks.items():
            if self._done is not None:
                self._done.setdefault(key, set()).update(ids)
            held = self._since.get(key, {})
            for entry_id in ids:
                held.pop(entry_id, None)

    def renewable(self, now: float) -> Acks:
        """The entries whose lease may be renewed; the others are given up."""
        for held in self._since.values():
            # Taken in the order of time, so the oldest stand first.
            old = [each for each, since in held.items() if now - since > self._max_hold]
            for entry_id in old:
                del held[entry_id]
        return {key: list(held) for key, held in self._since.items() if held}
