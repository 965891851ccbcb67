"""Leases at the server: entries that this consumer holds are renewed, and released at its end.

XCLAIM to oneself starts an entry's idle time anew, without counting a delivery; Redis 7.0, which
takes a consumer that reads nothing for idle, sees by it that we live. What another consumer has
claimed meanwhile is not taken back: only what the server lists under our name is renewed. Between
that look and the renewal lies one round trip, which nothing closes.
"""

from __future__ import annotations

from collections.abc import Sequence

from seastream_nb.keys import EntryId
from seastream_nb.redis.commit import IDS_AT_ONCE, Leases, chunks
from seastream_nb.redis.pool import LinkPool
from seastream_nb.redis.resp import Refusal
from seastream_nb.redis.wire import Argument


class Renewal:
    """Tells the server of the leases of one consumer."""

    def __init__(self, pool: LinkPool, group: str, consumer: str, leases: Leases) -> None:
        self._pool = pool
        self._group = group
        self._consumer = consumer
        self._leases = leases
        self._doing = f"renewing leases in group {group!r}"

    async def renew(self, now: float) -> None:
        """Say that what this consumer holds is being worked on."""
        for key, ids in self._leases.renewable(now).items():
            own = await self._own(key, ids)
            if lost := [entry_id for entry_id in ids if entry_id not in own]:
                self._leases.drop({key: lost})
            await self._claim(key, ids, own)

    async def release(self, now: float, idle: float) -> None:
        """Let others claim at once what this consumer will not work on any more.

        `idle` is how many seconds it has to seem idle for that.
        """
        for key, ids in self._leases.renewable(now).items():
            await self._claim(key, ids, await self._own(key, ids), "IDLE", round(idle * 1000) + 1)

    async def _own(self, key: bytes, ids: Sequence[bytes]) -> set[bytes]:
        """What is pending for this consumer, between the first and the last of these."""
        own: set[bytes] = set()
        start, last = min(ids, key=EntryId.parse), max(ids, key=EntryId.parse)
        while True:
            command = ("XPENDING", key, self._group, start, last, IDS_AT_ONCE, self._consumer)
            [reply] = await self._pool.replies([command], doing=self._doing)
            if isinstance(reply, Refusal):
                return own
            own.update(entry_id for entry_id, *_ in reply)
            if len(reply) < IDS_AT_ONCE:
                return own
            start = b"(" + reply[-1][0]

    async def _claim(
        self, key: bytes, ids: Sequence[bytes], own: set[bytes], *options: Argument
    ) -> None:
        mine = [entry_id for entry_id in ids if entry_id in own]
        commands = [
            ("XCLAIM", key, self._group, self._consumer, 0, *part, *options, "JUSTID")
            for key, part in chunks({key: mine})
        ]
        await self._pool.replies(commands, doing=self._doing)
