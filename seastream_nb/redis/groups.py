"""What a server says of consumer groups: where they stand, who reads, what is pending.

Several commands are needed, and nothing holds the server still between them: a number is true of
some moment during the call, and two columns may be of two moments.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from seastream_nb import guard
from seastream_nb.backend import ConsumerInfo, GroupInfo, PendingEntry, PendingQuery, Shards
from seastream_nb.errors import GroupNotFound, StreamNotFound, TooLarge
from seastream_nb.keys import EntryId, key_text
from seastream_nb.message import Origin, utc_datetime
from seastream_nb.page import ListPage
from seastream_nb.redis import catalog, wire
from seastream_nb.redis.commit import IDS_AT_ONCE
from seastream_nb.redis.connection import accepted
from seastream_nb.redis.lag import lags
from seastream_nb.redis.pool import LinkPool
from seastream_nb.redis.resp import Refusal
from seastream_nb.redis.wire import Argument

# An entry may be large, so fewer of them than of ids are asked for at once.
ENTRIES_AT_ONCE = 100

Facts = dict[bytes, Any]


@dataclass(frozen=True, slots=True)
class ShardGroups:
    """The groups of one shard, as XINFO GROUPS tells them."""

    origin: Origin
    groups: dict[bytes, Facts]


async def shard_groups(pool: LinkPool, key: bytes, chosen: Shards = None) -> list[ShardGroups]:
    """The groups of every shard that exists.

    Raises:
        StreamNotFound: none does.
        ServerError: a key holds another type; the text is the server's WRONGTYPE.
    """
    origins = await catalog.discover(pool, key)
    origins = [each for each in origins if chosen is None or each.shard in chosen]
    doing = f"looking at the groups of {key_text(key)!r}"
    commands = [("XINFO", "GROUPS", each.key) for each in origins]
    replies = await pool.replies(commands, doing=doing)
    found = [
        ShardGroups(origin, _by_name(accepted(reply, doing)))
        for origin, reply in zip(origins, replies, strict=True)
        if not catalog.is_missing(reply)
    ]
    if not found:
        which = "" if chosen is None else f" with a shard {', '.join(map(str, sorted(chosen)))}"
        raise StreamNotFound(f"there is no stream {key_text(key)!r}{which}")
    return found


def _by_name(reply: list[list[Any]]) -> dict[bytes, Facts]:
    return {facts[b"name"]: facts for facts in map(wire.pairs, reply)}


async def shards_of_group(
    pool: LinkPool, key: bytes, group: bytes, chosen: Shards = None
) -> list[ShardGroups]:
    """The shards that have the group.

    Raises:
        StreamNotFound: there is no such stream.
        GroupNotFound: no shard has the group; names those that there are.
    """
    found = await shard_groups(pool, key, chosen)
    having = [each for each in found if group in each.groups]
    if not having:
        known = {name for each in found for name in each.groups}
        raise _not_found(f"stream {key_text(key)!r} has no consumer group", group, known)
    return having


def _not_found(problem: str, name: bytes, known: Iterable[bytes]) -> GroupNotFound:
    names = sorted(map(key_text, known))
    close = difflib.get_close_matches(key_text(name), names, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    there = f"there are {', '.join(map(repr, names))}" if names else "it has none"
    return GroupNotFound(f"{problem} {key_text(name)!r}: {hint}{there}")


async def groups(pool: LinkPool, key: bytes, chosen: Shards = None) -> list[GroupInfo]:
    """Where each group stands in each shard.

    Raises:
        StreamNotFound: there is no such stream.
    """
    found = await shard_groups(pool, key, chosen)
    extents = await catalog.extents(pool, [each.origin for each in found])
    rows: list[GroupInfo] = []
    for shard, extent in zip(found, extents, strict=True):
        facts = [shard.groups[name] for name in sorted(shard.groups)]
        lag = await lags(pool, extent, facts)
        oldest = await _oldest_pending(pool, shard.origin, facts)
        rows += map(_group_info, [shard.origin] * len(facts), facts, lag, oldest)
    return rows


async def _oldest_pending(
    pool: LinkPool, origin: Origin, groups: Sequence[Facts]
) -> list[tuple[str, timedelta] | None]:
    commands = [("XPENDING", origin.key, facts[b"name"], "-", "+", 1) for facts in groups]
    doing = f"looking at what is pending in {origin.stream!r}"
    replies = await pool.replies(commands, doing=doing)
    # A group that was deleted after it was listed has nothing pending.
    rows = [() if _no_group(reply) else accepted(reply, doing) for reply in replies]
    found = [next(iter(row), None) for row in rows]
    return [first and (first[0].decode(), _milliseconds(first[2])) for first in found]


def _no_group(reply: Any) -> bool:
    return isinstance(reply, Refusal) and str(reply).startswith("NOGROUP")


def _group_info(
    origin: Origin, facts: Facts, lag: int | None, oldest: tuple[str, timedelta] | None
) -> GroupInfo:
    last = EntryId.parse(facts[b"last-delivered-id"])
    return GroupInfo(
        stream=origin.stream,
        shard=origin.shard,
        name=key_text(facts[b"name"]),
        consumers=facts[b"consumers"],
        pending=facts[b"pending"],
        lag=lag,
        last_delivered=str(last),
        last_delivered_time=utc_datetime(last.ms * origin.unit_ns) if last.ms else None,
        oldest_pending=oldest[0] if oldest else None,
        oldest_pending_idle=oldest[1] if oldest else None,
    )


async def consumer_facts(
    pool: LinkPool, key: bytes, group: bytes, chosen: Shards = None
) -> list[tuple[Origin, Facts]]:
    """The consumers of a group in every shard that has it, as XINFO CONSUMERS tells them.

    Raises:
        StreamNotFound, GroupNotFound: the stream, or the group.
    """
    having = await shards_of_group(pool, key, group, chosen)
    commands = [("XINFO", "CONSUMERS", each.origin.key, group) for each in having]
    doing = f"looking at the consumers of {key_text(group)!r} in {key_text(key)!r}"
    replies = await pool.replies(commands, doing=doing)
    return [
        (each.origin, facts)
        for each, reply in zip(having, replies, strict=True)
        for facts in map(wire.pairs, accepted(reply, doing))
    ]


def require_consumer(
    key: bytes, group: bytes, consumer: bytes, found: Sequence[tuple[Origin, Facts]]
) -> None:
    """Refuse a consumer that is in no shard of the group.

    Raises:
        GroupNotFound: names those that there are.
    """
    names = {facts[b"name"] for _, facts in found}
    if consumer not in names:
        where = f"group {key_text(group)!r} of {key_text(key)!r} has no consumer"
        raise _not_found(where, consumer, names)


async def consumers(
    pool: LinkPool, key: bytes, group: bytes, chosen: Shards = None
) -> list[ConsumerInfo]:
    """Who reads for a group, in each shard that has it; raises as `consumer_facts`."""
    return [
        ConsumerInfo(
            stream=origin.stream,
            shard=origin.shard,
            name=key_text(facts[b"name"]),
            pending=facts[b"pending"],
            idle=_milliseconds(facts[b"idle"]),
            inactive=_inactive(facts.get(b"inactive")),
        )
        for origin, facts in await consumer_facts(pool, key, group, chosen)
    ]


def _inactive(told: int | None) -> timedelta | None:
    # -1 is the server's word for "never".
    return None if told is None or told < 0 else _milliseconds(told)


async def pending(
    pool: LinkPool, key: bytes, group: bytes, wanted: PendingQuery, chosen: Shards = None
) -> list[PendingEntry]:
    """What a group was given and has not acknowledged, the lowest ids of all shards first.

    Raises:
        StreamNotFound, GroupNotFound: the stream, the group, or the consumer.
    """
    if wanted.consumer is not None:
        found = await consumer_facts(pool, key, group, chosen)
        require_consumer(key, group, wanted.consumer, found)
    having = await shards_of_group(pool, key, group, chosen)
    rows: list[tuple[Origin, list[Any]]] = []
    for shard in having:
        rows += [(shard.origin, row) for row in await _rows(pool, shard, group, wanted)]
        rows.sort(key=lambda place: (EntryId.parse(place[1][0]), place[0].shard))
        del rows[wanted.limit :]
    payloads = await _payloads(pool, rows, wanted.field)
    return [
        _pending_entry(origin, row, payload)
        for (origin, row), payload in zip(rows, payloads, strict=True)
    ]


async def _rows(
    pool: LinkPool, shard: ShardGroups, group: bytes, wanted: PendingQuery
) -> list[list[Any]]:
    """Up to `limit` rows of XPENDING, in commands of a bounded size."""
    doing = f"looking at what is pending in {shard.origin.stream!r}"
    idle: list[Argument] = [] if wanted.min_idle_ms is None else ["IDLE", wanted.min_idle_ms]
    owner: list[Argument] = [] if wanted.consumer is None else [wanted.consumer]
    rows: list[list[Any]] = []
    start = b"-"
    while missing := wanted.limit - len(rows):
        count = min(missing, IDS_AT_ONCE)
        command = ["XPENDING", shard.origin.key, group, *idle, start, "+", count, *owner]
        page = await pool.call(*command, doing=doing)
        rows += page
        if len(page) < count:
            break
        start = EntryId.parse(page[-1][0]).next().wire()
    return rows


async def _payloads(
    pool: LinkPool, rows: Sequence[tuple[Origin, list[Any]]], field: bytes | None
) -> list[bytes | None]:
    """The payload of each entry, None where it is gone or has no such field."""
    if field is None:
        return [None] * len(rows)
    found: list[bytes | None] = []
    held, most = 0, guard.limit(pool.options)
    for first in range(0, len(rows), ENTRIES_AT_ONCE):
        chunk = rows[first : first + ENTRIES_AT_ONCE]
        doing = "reading pending entries"
        commands = [("XRANGE", origin.key, row[0], row[0]) for origin, row in chunk]
        replies = await pool.replies(commands, doing=doing)
        for (origin, _), reply in zip(chunk, replies, strict=True):
            messages = ListPage(origin, accepted(reply, doing)).messages(field)
            payload = next((message.payload for message in messages), None)
            held += len(payload or b"")
            found.append(payload)
        if most is not None and held > most:
            raise TooLarge(
                f"the payloads of {len(rows):,} pending entries would pass max_frame_bytes: "
                "give a smaller limit=, or payload=False"
            )
    return found


def _pending_entry(origin: Origin, row: list[Any], payload: bytes | None) -> PendingEntry:
    entry_id = EntryId.parse(row[0])
    return PendingEntry(
        stream=origin.stream,
        shard=origin.shard,
        id=str(entry_id),
        timestamp=utc_datetime(entry_id.ms * origin.unit_ns),
        owner=key_text(row[1]),
        idle=_milliseconds(row[2]),
        deliveries=row[3],
        payload=payload,
    )


def _milliseconds(count: int) -> timedelta:
    return timedelta(milliseconds=count)
