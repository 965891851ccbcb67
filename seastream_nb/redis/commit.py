"""When what was acknowledged is committed. No I/O and no clock: whoever asks says what time it is.

*Ack*: this message is done. *Commit*: the server is told (XACK). The four rules of `auto_commit`:

| rule | a message is acked by | `commit()` | it is committed | reads |
| --- | --- | --- | --- | --- |
| immediate | handing it over | allowed | at once | on demand |
| delayed | handing it over | refused | `auto_commit_delay` later, on a timer | ahead |
| rolling | `ack()` | refused | with `next`, `take`, `page` | ahead |
| disabled | `ack()` | allowed | by `commit()` | on demand |

Whatever the rule, `end()` commits all that was acknowledged, and `abort()` nothing more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

# How many ids one command names or asks for: the server does nothing else meanwhile.
IDS_AT_ONCE = 1_000


@dataclass(frozen=True)
class CommitRule:
    """What one value of `auto_commit` means in a group.

    Attributes:
        acks_itself: handing a message over acknowledges it; `ack()` is not needed.
        refuses_ack: `ack()` is an error, as it would change nothing.
        refuses_commit: `commit()` is an error, as commits are made in the background.
        rides: commits ride on `next`, `take` and `page`, and no timer makes them.
        reads_ahead: a page is fetched while the user works on the one before.
    """

    acks_itself: bool
    refuses_ack: bool
    refuses_commit: bool
    rides: bool
    reads_ahead: bool


RULES: Mapping[str, CommitRule] = {
    "immediate": CommitRule(True, False, False, False, False),
    "delayed": CommitRule(True, True, True, False, True),
    "rolling": CommitRule(False, False, True, True, True),
    "disabled": CommitRule(False, False, False, False, False),
}

Acks = dict[bytes, list[bytes]]
"""Entry ids by Redis key."""


class Ledger:
    """Acknowledged entries that the server was not told of yet, oldest first.

    >>> ledger = Ledger(delay=5.0)
    >>> ledger.note({b"s": [b"1-0", b"2-0"]}, now=10.0)
    >>> ledger.note({b"s": [b"3-0"]}, now=12.0)
    >>> ledger.due(14.9), ledger.next_due
    ({}, 15.0)
    >>> ledger.due(15.0)
    {b's': [b'1-0', b'2-0']}
    >>> ledger.everything(), ledger.everything()
    ({b's': [b'3-0']}, {})
    """

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._noted: deque[tuple[float, Acks]] = deque()

    @property
    def next_due(self) -> float | None:
        """When the oldest ack is old enough to be committed."""
        return self._noted[0][0] + self._delay if self._noted else None

    def note(self, acks: Acks, now: float) -> None:
        """Entries were acknowledged at this time, which never goes back."""
        if acks:
            self._noted.append((now, acks))

    def due(self, now: float) -> Acks:
        """Take out what was acknowledged `delay` seconds ago or earlier."""
        taken = []
        while self._noted and self._noted[0][0] + self._delay <= now:
            taken.append(self._noted.popleft()[1])
        return joined(taken)

    def everything(self) -> Acks:
        """Take out all, however young."""
        taken = [acks for _, acks in self._noted]
        self._noted.clear()
        return joined(taken)

    def put_back(self, acks: Acks) -> None:
        """What was taken out could not be committed: it is due at once."""
        if acks:
            self._noted.appendleft((float("-inf"), acks))

    def forget(self, key: bytes) -> None:
        """Drop the acks of one key."""
        for _, acks in self._noted:
            acks.pop(key, None)


def count(acks: Acks) -> int:
    """How many entries these are."""
    return sum(map(len, acks.values()))


def joined(parts: Iterable[Acks]) -> Acks:
    """All acks by key, in their order.

    >>> joined([{b"a": [b"1-0"]}, {b"b": [b"1-0"], b"a": [b"2-0"]}])
    {b'a': [b'1-0', b'2-0'], b'b': [b'1-0']}
    """
    whole: Acks = {}
    for acks in parts:
        for key, ids in acks.items():
            whole.setdefault(key, []).extend(ids)
    return whole


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
