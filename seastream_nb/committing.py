"""When what was acknowledged is committed. No I/O and no clock: whoever asks says what time it is.

*Ack*: this message is done. *Commit*: it is kept that it is, by XACK or beside a file. The four
rules of `auto_commit`:

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
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from seastream_nb.errors import AckNotAllowed, CommitNotAllowed
from seastream_nb.message import Message, MessageHeader
from seastream_nb.options import ConsumerOptions


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


def require_ack(auto_commit: str, message: object, *, doing: str) -> None:
    """Refuse an ack that would change nothing, or of what is no message.

    Raises:
        AckNotAllowed, TypeError: saying why.
    """
    if RULES[auto_commit].refuses_ack:
        raise AckNotAllowed(
            f"{doing}: auto_commit='delayed' acks each message that was taken; choose "
            "'rolling' or 'disabled' to ack yourself"
        )
    if type(message) not in (Message, MessageHeader):
        raise TypeError(f"ack() takes a message or its header, not {type(message).__name__}")


def require_commit(options: ConsumerOptions, *, doing: str) -> None:
    """Refuse a commit that would change nothing.

    Raises:
        CommitNotAllowed: saying why.
    """
    if options.mode == "realtime":
        raise CommitNotAllowed(f"{doing}: a consumer in realtime mode has nothing to commit")
    if RULES[options.auto_commit].refuses_commit:
        raise CommitNotAllowed(
            f"{doing}: auto_commit={options.auto_commit!r} commits by itself; choose 'disabled' to "
            "commit yourself, or commit_asap()"
        )


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
