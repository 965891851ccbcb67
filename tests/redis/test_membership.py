"""What a group's member keeps to itself: leases, hand-over, entries that are no messages."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import pytest

import seastream_nb as ss
from seastream_nb import portal
from seastream_nb.inbox import Batch, Inbox
from seastream_nb.message import Origin
from seastream_nb.redis.connection import LinkLost
from seastream_nb.redis.grouped import GroupFetcher, GroupShard
from tests.redis.consuming import numbers, send
from tests.redis.groups import all_acked
from tests.servers import eventually

if TYPE_CHECKING:
    import redis

PATIENCE = 20.0
BALANCED: dict[str, Any] = {
    "mode": "load_balanced",
    "group": "g",
    "auto_stream_reset": "earliest",
    "auto_commit": "disabled",
}


def owners(client: redis.Redis) -> list[bytes]:
    return [each["consumer"] for each in client.xpending_range("s", "g", "-", "+", 100)]


# Leases


def test_what_an_ended_consumer_held_is_claimed_without_waiting_for_its_idle_time(
    client: redis.Redis, streamer: ss.Streamer
) -> None:
    send(client, "s", *range(3))
    hurried = {**BALANCED, "auto_claim_interval": 0.1}  # a message is left after a minute
    with streamer.consumer("s", **hurried) as first:
        assert numbers(first.take(3, PATIENCE)) == [0, 1, 2]
    with streamer.consumer("s", **hurried) as second:
        assert numbers(second.take(3, 5)) == [0, 1, 2]


def test_a_renewal_does_not_take_back_what_was_claimed_by_hand(
    client: redis.Redis, streamer: ss.Streamer
) -> None:
    send(client, "s", *range(2))
    how = {**BALANCED, "auto_claim_idle": 0.3, "auto_claim_interval": None}
    with streamer.consumer("s", consumer_id="ana", **how) as consumer:
        held = consumer.take(2, PATIENCE)
        assert streamer.claim("s", "g", consumer="repair", ids=held[:1], min_idle=0) == held[:1]
        for _ in range(3):  # renewals start the idle time of what is held anew
            assert eventually(lambda: idle_ms(client, "ana") > 50)
            assert eventually(lambda: idle_ms(client, "ana") < 50)
        assert owners(client) == [b"repair", b"ana"]


def idle_ms(client: redis.Redis, name: str) -> int:
    [held] = client.xpending_range("s", "g", "-", "+", 100, consumername=name)
    return int(held["time_since_delivered"])


# Entries that are no messages


def test_entries_without_the_message_field_are_acknowledged_with_one_warning(
    client: redis.Redis, streamer: ss.Streamer
) -> None:
    for _ in range(2):
        client.xadd("s", {b"other": b"x"})
    send(client, "s", 1)
    consumer = streamer.consumer("s", mode="resumable", group="g", auto_stream_reset="earliest")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert numbers([consumer.next(PATIENCE)]) == [1]
        assert consumer.take(1, 0.1) == []
        assert consumer.take(1, 0.1) == []
        consumer.end()
    [warning] = told
    assert "without the field 'msg' were acknowledged unread" in str(warning.message)
    assert client.xpending("s", "g")["pending"] == 0


# Handing over


def entries(*ids: bytes, each: int = 1) -> list[Any]:
    return [[entry_id, [b"msg", b"x"] * each] for entry_id in ids]


def test_the_last_messages_are_committed_whenever_they_are_taken(
    client: redis.Redis, streamer: ss.Streamer
) -> None:
    send(client, "s", *range(3))
    how = {**BALANCED, "mode": "resumable", "auto_commit": "delayed", "auto_commit_delay": 0}
    consumer = streamer.consumer("s", **how)
    portal.run(consumer._core.fill(3, 3, None))
    stirred = consumer._core._group._stir  # type: ignore[attr-defined]
    assert eventually(lambda: not stirred.is_set())  # it was looked, and nothing was taken yet
    consumer.take(3, PATIENCE)
    assert all_acked(client)


def test_an_entry_of_several_messages_is_handed_over_with_the_last_of_them() -> None:
    inbox, batch = Inbox(tells=True), Batch()
    batch.add(Origin("s", 0, b"s"), entries(b"1-0", b"2-0", each=2), b"msg")
    inbox.add(batch)
    told = []
    for _ in range(4):
        inbox.pop()
        told.append(inbox.handed_over())
    assert told == [{}, {b"s": [b"1-0"]}, {}, {b"s": [b"2-0"]}]


def test_what_was_handed_over_is_told_by_key_and_once() -> None:
    inbox = Inbox(tells=True)
    for ids in ([b"1-0"], [b"2-0", b"3-0"]):
        batch = Batch()
        batch.add(Origin("s", 0, b"s:0"), entries(*ids), b"msg")
        batch.add(Origin("s", 1, b"s:1"), entries(*ids), b"msg")
        batch.sort()
        inbox.add(batch)
    assert len(list(inbox)) == 6
    assert inbox.handed_over() == {
        b"s:0": [b"1-0", b"2-0", b"3-0"],
        b"s:1": [b"1-0", b"2-0", b"3-0"],
    }
    assert inbox.handed_over() == {}


def test_a_loop_over_the_inbox_goes_on_behind_what_its_body_took() -> None:
    inbox, batch = Inbox(), Batch()
    batch.add(Origin("s", 0, b"s"), entries(b"1-0", b"2-0", b"3-0", b"4-0"), b"msg")
    inbox.add(batch)
    seen = []
    for message in inbox:
        seen.append(message.id)
        if message.id == "1-0":
            taken = inbox.pop()
            assert taken is not None
            assert taken.id == "2-0"
    assert seen == ["1-0", "3-0", "4-0"]


# Refusals


def test_messages_that_came_with_a_refusal_are_not_lost_when_asking_about_it_fails(
    client: redis.Redis, streamer: ss.Streamer, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(client, "b", 0)
    how: dict[str, Any] = {**BALANCED, "mode": "resumable", "mkstream": True}
    consumer = streamer.consumer("a", "b", **how)
    assert numbers(consumer.take(1, PATIENCE)) == [0]
    ask, failures = GroupFetcher._start_again, [LinkLost("as if it broke just now")]

    async def fails_once(self: GroupFetcher, shard: GroupShard) -> bytes:
        if failures:
            raise failures.pop()
        return await ask(self, shard)

    monkeypatch.setattr(GroupFetcher, "_start_again", fails_once)
    client.xgroup_destroy("b", "g")
    send(client, "a", 1, 2)
    found = consumer.take(0)
    with pytest.raises(ss.StreamReset, match="'b'"):
        found += iter(lambda: consumer.next(PATIENCE), None)
    assert not failures
    found += consumer.take(2 - len(found), PATIENCE)
    assert numbers(found) == [1, 2]
