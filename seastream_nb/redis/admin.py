"""Repairs by hand: claim and acknowledge pending entries, trim, delete groups and consumers.

Everything here writes, so a read-only connection refuses it before anything is sent, and a command
whose answer was lost is not sent again: the error says so. What concerns several shards, or looks
before it deletes, is several commands, and others may write between them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from seastream_nb import checks
from seastream_nb.endpoints import Id, Pending
from seastream_nb.errors import ConfigError, ReadOnlyError, StreamNotFound
from seastream_nb.keys import FIRST_ID, key_text
from seastream_nb.message import Message, Origin
from seastream_nb.options import ConnectOptions
from seastream_nb.page import ListPage
from seastream_nb.quantities import Duration
from seastream_nb.redis import catalog
from seastream_nb.redis.claims import Claimed
from seastream_nb.redis.commit import IDS_AT_ONCE
from seastream_nb.redis.groups import (
    ENTRIES_AT_ONCE,
    Facts,
    consumer_facts,
    require_consumer,
    shards_of_group,
)
from seastream_nb.redis.once import once
from seastream_nb.redis.places import Chunk, by_shard, places
from seastream_nb.redis.pool import LinkPool
from seastream_nb.redis.wire import Argument
from seastream_nb.times import When, bound, parse_when, resolve

# Where XAUTOCLAIM begins, and what it answers at its end.
_START = FIRST_ID.wire()


class Administration:
    """What a streamer can repair, on one server."""

    def __init__(self, url: str, pool: LinkPool, options: ConnectOptions) -> None:
        self.url = url
        self.options = options
        self._pool = pool

    async def claim(
        self,
        key: str | bytes,
        group: str | bytes,
        *,
        consumer: str | bytes,
        ids: Id | Iterable[Id] | None = None,
        min_idle: Duration = "1m",
        limit: int = 100,
    ) -> list[Message]:
        """Take pending entries of a group over; they are `consumer`'s then, unacknowledged."""
        self._require_writable("claiming")
        stream, name, owner = _name("key", key), _name("group", group), _name("consumer", consumer)
        idle_ms = round(1_000 * checks.named("min_idle", min_idle, checks.seconds_or_zero))
        limit = checks.named("limit", limit, checks.number_from(0))
        wanted = None if ids is None else places(ids, stream)
        origins = await self._having(stream, name)
        doing, claimant = f"claiming in {_of(name, stream)}", (name, owner, idle_ms)
        if wanted is None:
            return await self._claim_oldest(origins, claimant, limit, doing)
        return await self._claim_these(by_shard(wanted, origins, ENTRIES_AT_ONCE), claimant, doing)

    async def _claim_these(
        self, chunks: Iterable[Chunk], claimant: Sequence[Argument], doing: str
    ) -> list[Message]:
        found: list[Message] = []
        for origin, ids in chunks:
            reply = await once(self._pool, "XCLAIM", origin.key, *claimant, *ids, doing=doing)
            found += self._messages(origin, reply)
        return found

    async def _claim_oldest(
        self, origins: Iterable[Origin], claimant: Sequence[Argument], limit: int, doing: str
    ) -> list[Message]:
        """The lowest ids of each shard in turn, following the server's cursor to its end."""
        found: list[Message] = []
        for origin in origins:
            cursor = _START
            while limit:
                count = min(limit, ENTRIES_AT_ONCE)
                command = ("XAUTOCLAIM", origin.key, *claimant, cursor, "COUNT", count)
                claimed = Claimed.of(await once(self._pool, *command, doing=doing))
                cursor = claimed.cursor
                limit -= sum(map(_is_there, claimed.entries))
                found += self._messages(origin, claimed.entries)
                if cursor == _START:
                    break
        return found

    def _messages(self, origin: Origin, entries: list[Any]) -> list[Message]:
        there = [entry for entry in entries if _is_there(entry)]
        return list(ListPage(origin, there).messages(self.options.field))

    async def ack(self, key: str | bytes, group: str | bytes, ids: Id | Iterable[Id]) -> int:
        """Acknowledge entries of a group, whoever has them; how many were pending."""
        self._require_writable("acknowledging")
        stream, name = _name("key", key), _name("group", group)
        wanted = places(ids, stream)
        origins = await self._having(stream, name)
        doing = f"acknowledging in {_of(name, stream)}"
        count = 0
        for origin, chunk in by_shard(wanted, origins, IDS_AT_ONCE):
            count += await once(self._pool, "XACK", origin.key, name, *chunk, doing=doing)
        return count

    async def trim(
        self,
        key: str | bytes,
        *,
        max_len: int | None = None,
        before: When | None = None,
        exact: bool = False,
    ) -> int:
        """Remove the oldest entries of every shard, for good; how many."""
        self._require_writable("trimming")
        stream = _name("key", key)
        if (max_len is None) == (before is None):
            raise ConfigError("trim() needs either max_len= or before=")
        max_len = checks.named("max_len", max_len, checks.or_none(checks.number_from(0)))
        checks.named("exact", exact, checks.flag)
        moment = None if before is None else parse_when(before, tz=self.options.tz)
        origins = await self._existing(stream)
        bounds: list[Argument] = ["MAXLEN", max_len or 0]
        if moment is not None:
            position = resolve(moment, await catalog.server_now_ns(self._pool))
            bounds = ["MINID", bound(position, unit_ns=self.options.unit_ns).wire()]
        return sum([await self._trim(origin.key, *bounds, exact=exact) for origin in origins])

    async def _trim(self, key: bytes, kind: Argument, least: Argument, *, exact: bool) -> int:
        doing = f"trimming {key_text(key)!r}"
        count = 0
        # One approximate command removes 10,000 entries at most, so the server is never busy long.
        while removed := await once(self._pool, "XTRIM", key, kind, "~", least, doing=doing):
            count += removed
        if exact:
            count += await once(self._pool, "XTRIM", key, kind, "=", least, doing=doing)
        return count

    async def delete_group(
        self, key: str | bytes, group: str | bytes, *, pending: Pending = "refuse"
    ) -> int:
        """Delete a group from every shard; how many pending entries were dropped with it."""
        self._require_writable("deleting a group")
        stream, name = _name("key", key), _name("group", group)
        having = await shards_of_group(self._pool, stream, name)
        whose = _of(name, stream)
        dropped = _may_drop(pending, whose, [each.groups[name] for each in having])
        for shard in having:
            command = ("XGROUP", "DESTROY", shard.origin.key, name)
            await once(self._pool, *command, doing=f"deleting {whose}")
        return dropped

    async def delete_consumer(
        self,
        key: str | bytes,
        group: str | bytes,
        consumer: str | bytes,
        *,
        pending: Pending = "refuse",
    ) -> int:
        """Delete a consumer of a group in every shard; how many pending entries were dropped."""
        self._require_writable("deleting a consumer")
        stream, name, who = _name("key", key), _name("group", group), _name("consumer", consumer)
        found = await consumer_facts(self._pool, stream, name)
        require_consumer(stream, name, who, found)
        whose = f"consumer {key_text(who)!r} in {_of(name, stream)}"
        its = [(origin, facts) for origin, facts in found if facts[b"name"] == who]
        _may_drop(pending, whose, [facts for _, facts in its])
        dropped = 0
        for origin, _ in its:
            command = ("XGROUP", "DELCONSUMER", origin.key, name, who)
            dropped += await once(self._pool, *command, doing=f"deleting {whose}")
        return dropped

    async def _having(self, stream: bytes, group: bytes) -> list[Origin]:
        return [each.origin for each in await shards_of_group(self._pool, stream, group)]

    async def _existing(self, stream: bytes) -> list[Origin]:
        origins = await catalog.discover(self._pool, stream)
        extents = await catalog.extents(self._pool, origins)
        there = [extent.origin for extent in extents if extent.end is not None]
        if not there:
            raise StreamNotFound(f"there is no stream {key_text(stream)!r}")
        return there

    def _require_writable(self, doing: str) -> None:
        if self.options.read_only:
            raise ReadOnlyError(f"{doing}: {self.url} is connected read-only")


def _name(what: str, given: object) -> bytes:
    name: bytes = checks.named(what, given, checks.name)
    return name


def _of(group: bytes, stream: bytes) -> str:
    return f"group {key_text(group)!r} of {key_text(stream)!r}"


def _is_there(entry: Any) -> bool:
    """Whether a claimed entry still exists; Redis 6.2 answers nil for one that was deleted."""
    return entry is not None and entry[1] is not None


def _may_drop(pending: Pending, whose: str, found: Iterable[Facts]) -> int:
    """How many entries are pending.

    Raises:
        ConfigError: some are, and may not be dropped.
    """
    checks.named("pending", pending, checks.one_of("refuse", "drop"))
    count: int = sum(facts[b"pending"] for facts in found)
    if count and pending == "refuse":
        entries = "1 entry is" if count == 1 else f"{count:,} entries are"
        raise ConfigError(
            f"{entries} pending for {whose}: claim or ack them first, or give pending='drop'"
        )
    return count
