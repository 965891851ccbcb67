"""Repairs by hand: `claim`, `ack`, `trim`, `delete_group`, `delete_consumer`, on every server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

import seastream_nb as ss
from seastream_nb.keys import EntryId
from seastream_nb.redis import admin
from seastream_nb.redis.once import once
from tests.redis.faults import command, greet, pool_against
from tests.redis.test_groups import read, start
from tests.servers import version_of

if TYPE_CHECKING:
    from collections.abc import Callable


def pending(client: Any, key: str = "orders", group: str = "billing") -> dict[str, str]:
    """Who has which entry."""
    rows = client.xpending_range(key, group, "-", "+", 1_000)
    return {row["message_id"].decode(): row["consumer"].decode() for row in rows}


def ids(messages: list[ss.Message]) -> list[str]:
    return [message.id for message in messages]


@pytest.fixture
def stalled(matrix_client: Any) -> Any:
    """Six entries in `orders`; `ana` of `billing` was given four and is gone."""
    start(matrix_client, "orders", entries=6)
    read(matrix_client, "orders", "ana", 4)
    return matrix_client


# claim


def test_claim_takes_what_was_idle_for_long_enough(
    stalled: Any, matrix_streamer: ss.Streamer
) -> None:
    stalled.xclaim("orders", "billing", "ana", 0, ["2-0", "3-0"], idle=120_000)

    claimed = matrix_streamer.claim("orders", "billing", consumer="bob")

    assert [message.payload for message in claimed] == [b"orders 2", b"orders 3"]
    assert pending(stalled) == {"1-0": "ana", "2-0": "bob", "3-0": "bob", "4-0": "ana"}


def test_claim_takes_no_more_than_its_limit_and_from_all_shards(
    matrix_client: Any, matrix_streamer: ss.Streamer
) -> None:
    start(matrix_client, "ticks:0", "ticks:1")
    for key in ("ticks:0", "ticks:1"):
        read(matrix_client, key, "ana", 3)

    claimed = matrix_streamer.claim("ticks", "billing", consumer="bob", min_idle=0, limit=5)

    places = [(message.shard, message.id) for message in claimed]
    assert places == [(0, "1-0"), (0, "2-0"), (0, "3-0"), (1, "1-0"), (1, "2-0")]
    assert pending(matrix_client, "ticks:1")["3-0"] == "ana"


def test_claim_follows_the_cursor_past_entries_that_are_not_idle(
    matrix_client: Any, matrix_streamer: ss.Streamer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin, "ENTRIES_AT_ONCE", 2)
    start(matrix_client, "orders", entries=100)
    read(matrix_client, "orders", "ana", 100)
    matrix_client.xclaim("orders", "billing", "ana", 0, ["97-0", "99-0"], idle=120_000)

    assert ids(matrix_streamer.claim("orders", "billing", consumer="bob")) == ["97-0", "99-0"]


def test_claim_by_id_takes_these_and_no_others(stalled: Any, matrix_streamer: ss.Streamer) -> None:
    wanted = matrix_streamer["orders"].get("3-0")[0]

    claimed = matrix_streamer.claim(
        "orders", "billing", consumer="bob", ids=["2-0", wanted, EntryId(6, 0)], min_idle=0, limit=1
    )

    assert ids(claimed) == ["2-0", "3-0"]
    assert pending(stalled) == {"1-0": "ana", "2-0": "bob", "3-0": "bob", "4-0": "ana"}


@pytest.mark.parametrize("by_id", [True, False])
def test_claim_does_not_return_deleted_entries(
    stalled: Any, matrix_streamer: ss.Streamer, matrix_url: str, by_id: bool
) -> None:
    stalled.xdel("orders", "1-0", "3-0")
    wanted = [f"{n}-0" for n in range(1, 5)] if by_id else None

    claimed = matrix_streamer.claim(
        "orders", "billing", consumer="bob", ids=wanted, min_idle=0, limit=2
    )

    assert ids(claimed) == ["2-0", "4-0"]
    kept = version_of(matrix_url) < (7, 0)
    assert ("1-0" in pending(stalled)) == kept
    # What Redis 6.2 keeps can be seen and acknowledged.
    frame = matrix_streamer["orders"].pending("billing")
    gone = frame["id"][frame["payload"].isna()].tolist()
    assert gone == (["1-0", "3-0"] if kept else [])
    assert matrix_streamer.ack("orders", "billing", gone) == len(gone)


def test_claim_of_nothing_is_empty(stalled: Any, matrix_streamer: ss.Streamer) -> None:
    assert matrix_streamer.claim("orders", "billing", consumer="bob") == []
    assert matrix_streamer.claim("orders", "billing", consumer="bob", ids=[]) == []
    assert matrix_streamer.claim("orders", "billing", consumer="bob", min_idle=0, limit=0) == []


# ack


def test_ack_takes_ids_in_every_form(stalled: Any, matrix_streamer: ss.Streamer) -> None:
    third, fourth = matrix_streamer["orders"].get("3-0", "4-0")

    count = matrix_streamer.ack(
        "orders", "billing", ["1-0", EntryId(2, 0), third, fourth.header, "6-0"]
    )

    assert count == 4
    assert pending(stalled) == {}


@pytest.mark.parametrize("one", ["1-0", b"1-0", EntryId(1, 0)])
def test_ack_takes_a_single_id_as_well(
    stalled: Any, matrix_streamer: ss.Streamer, one: Any
) -> None:
    assert matrix_streamer.ack("orders", "billing", one) == 1
    assert "1-0" not in pending(stalled)


def test_ack_takes_the_ids_of_a_frame(stalled: Any, matrix_streamer: ss.Streamer) -> None:
    frame = matrix_streamer["orders"].pending("billing")

    assert matrix_streamer.ack("orders", "billing", frame["id"]) == 4


def test_a_message_is_acknowledged_in_its_shard_and_an_id_in_every_shard(
    matrix_client: Any, matrix_streamer: ss.Streamer
) -> None:
    start(matrix_client, "ticks:0", "ticks:1")
    for key in ("ticks:0", "ticks:1"):
        read(matrix_client, key, "ana", 3)
    message = matrix_streamer["ticks"].shard(1).get("1-0")[1]
    assert message.shard == 1

    assert matrix_streamer.ack("ticks", "billing", message) == 1
    assert set(pending(matrix_client, "ticks:0")) == {"1-0", "2-0", "3-0"}
    assert matrix_streamer.ack("ticks", "billing", ["1-0", "2-0"]) == 3


@pytest.mark.parametrize(("source", "target"), [("ticks:1", "ticks"), ("ticks", "ticks:1")])
def test_a_message_belongs_to_the_stream_and_to_its_key(
    client: Any, streamer: ss.Streamer, source: str, target: str
) -> None:
    start(client, "ticks:0", "ticks:1")
    for key in ("ticks:0", "ticks:1"):
        read(client, key, "ana", 3)
    message = streamer[source].get("1-0")[-1]

    assert streamer.ack(target, "billing", message) == 1
    assert set(pending(client, "ticks:1")) == {"2-0", "3-0"}


def test_many_acks_are_sent_in_bounded_commands(
    matrix_client: Any, matrix_streamer: ss.Streamer
) -> None:
    start(matrix_client, "orders", entries=2_500)
    read(matrix_client, "orders", "ana", 2_500)
    matrix_client.config_resetstat()

    assert matrix_streamer.ack("orders", "billing", (f"{n}-0" for n in range(1, 2_501))) == 2_500
    assert matrix_client.info("commandstats")["cmdstat_xack"]["calls"] == 3


def test_what_is_no_id_or_of_another_stream_acknowledges_nothing(
    stalled: Any, matrix_streamer: ss.Streamer
) -> None:
    stalled.xadd("other", {"msg": "x"}, id="1-0")
    foreign = matrix_streamer["other"].get("1-0")[0]

    with pytest.raises(ss.ConfigError, match=r"1-0 is a message of 'other', not of 'orders'"):
        matrix_streamer.ack("orders", "billing", ["1-0", foreign])
    with pytest.raises(ss.ConfigError, match="'1' is no id: give full ids"):
        matrix_streamer.ack("orders", "billing", ["1-0", "1"])
    with pytest.raises(ss.ConfigError, match="7 is no id: give full ids"):
        matrix_streamer.ack("orders", "billing", [7])
    with pytest.raises(ss.ConfigError, match="ids=None: give ids or messages"):
        matrix_streamer.ack("orders", "billing", None)
    assert len(pending(stalled)) == 4


# trim


def test_trim_keeps_the_newest_of_each_shard(
    matrix_client: Any, matrix_streamer: ss.Streamer
) -> None:
    start(matrix_client, "ticks:0", "ticks:1", entries=10)

    assert matrix_streamer.trim("ticks", max_len=3, exact=True) == 14
    assert [matrix_client.xlen(key) for key in ("ticks:0", "ticks:1")] == [3, 3]
    assert matrix_streamer.trim("ticks", max_len=0, exact=True) == 6


@pytest.mark.parametrize("before", ["7-0", "1970-01-01T00:00:00.007Z"])
def test_trim_before_a_time_keeps_what_since_reads(
    matrix_client: Any, matrix_streamer: ss.Streamer, before: str
) -> None:
    start(matrix_client, "orders", entries=10)
    kept = matrix_streamer["orders"].since(before).count()

    assert matrix_streamer.trim("orders", before=before, exact=True) == 6
    assert matrix_client.xlen("orders") == kept == 4


def test_trim_reads_times_in_the_unit_of_the_stream_and_in_the_time_zone(
    matrix_client: Any, matrix_url: str
) -> None:
    noon = 1_767_265_200  # 2026-01-01 12:00 in Berlin
    for second in range(4):
        matrix_client.xadd("ns", {"msg": "x"}, id=f"{(noon + second) * 10**9}-0")

    options: Any = {"timestamp_format": "ns", "tz": "Europe/Berlin"}
    with ss.connect(matrix_url, **options, now="2026-01-01T12:00:04") as streamer:
        assert streamer.trim("ns", before="2026-01-01T12:00:01", exact=True) == 1
        assert streamer.trim("ns", before="-2s", exact=True) == 1
        assert streamer["ns"].count() == 2


def test_an_approximate_trim_removes_no_more_than_is_meant(
    matrix_client: Any, matrix_streamer: ss.Streamer
) -> None:
    with matrix_client.pipeline(transaction=False) as pipe:
        for n in range(1, 25_051):
            pipe.xadd("orders", {"msg": "x"}, id=f"{n}-0")
        pipe.execute()

    removed = matrix_streamer.trim("orders", max_len=1_000)

    # More than the 10,000 of one command, and all but a block of about a hundred.
    assert 23_900 <= removed <= 24_050
    assert matrix_client.xlen("orders") == 25_050 - removed
    assert matrix_streamer.trim("orders", max_len=1_000, exact=True) == 24_050 - removed


def test_trim_wants_one_bound(matrix_client: Any, matrix_streamer: ss.Streamer) -> None:
    matrix_client.xadd("orders", {"msg": "x"})
    with pytest.raises(ss.ConfigError, match="either max_len= or before="):
        matrix_streamer.trim("orders")
    with pytest.raises(ss.ConfigError, match="either max_len= or before="):
        matrix_streamer.trim("orders", max_len=1, before="-1d")
    with pytest.raises(ss.ConfigError, match="max_len=-1"):
        matrix_streamer.trim("orders", max_len=-1)
    with pytest.raises(ss.TimeTypeError):
        matrix_streamer.trim("orders", before=5)
    assert matrix_client.xlen("orders") == 1


# delete


def test_a_group_with_pending_entries_is_kept_unless_they_may_be_dropped(
    stalled: Any, matrix_streamer: ss.Streamer
) -> None:
    with pytest.raises(ss.ConfigError, match=r"4 entries are pending for group 'billing'"):
        matrix_streamer.delete_group("orders", "billing")
    assert len(matrix_streamer["orders"].groups()) == 1

    assert matrix_streamer.delete_group("orders", "billing", pending="drop") == 4
    assert len(matrix_streamer["orders"].groups()) == 0


def test_a_group_is_deleted_from_every_shard_that_has_it(
    matrix_client: Any, matrix_streamer: ss.Streamer
) -> None:
    start(matrix_client, "ticks:0", "ticks:2")
    matrix_client.xadd("ticks:1", {"msg": "x"})

    assert matrix_streamer.delete_group("ticks", "billing") == 0
    assert len(matrix_streamer["ticks"].groups()) == 0


def test_a_consumer_with_pending_entries_is_kept_unless_they_may_be_dropped(
    stalled: Any, matrix_streamer: ss.Streamer
) -> None:
    matrix_streamer.claim("orders", "billing", consumer="bob", ids="1-0", min_idle=0)
    with pytest.raises(ss.ConfigError, match=r"1 entry is pending for consumer 'bob' in group"):
        matrix_streamer.delete_consumer("orders", "billing", "bob")

    assert matrix_streamer.delete_consumer("orders", "billing", "ana", pending="drop") == 3
    assert pending(stalled) == {"1-0": "bob"}
    matrix_streamer.ack("orders", "billing", "1-0")
    assert matrix_streamer.delete_consumer("orders", "billing", "bob") == 0
    assert len(matrix_streamer["orders"].consumers("billing")) == 0


def test_what_else_than_refuse_or_drop_is_an_error(
    stalled: Any, matrix_streamer: ss.Streamer
) -> None:
    with pytest.raises(ss.ConfigError, match=r"pending='yes': choose one of 'refuse', 'drop'"):
        matrix_streamer.delete_group("orders", "billing", pending="yes")
    assert len(pending(stalled)) == 4


# All of them

REPAIRS: dict[str, Callable[[ss.Streamer, str, str], Any]] = {
    "claim": lambda streamer, key, group: streamer.claim(key, group, consumer="bob", min_idle=0),
    "ack": lambda streamer, key, group: streamer.ack(key, group, "1-0"),
    "delete_group": lambda streamer, key, group: streamer.delete_group(key, group, pending="drop"),
    "delete_consumer": lambda streamer, key, group: streamer.delete_consumer(
        key, group, "ana", pending="drop"
    ),
    "trim": lambda streamer, key, group: streamer.trim(key, max_len=0),
}
OF_GROUPS = [name for name in REPAIRS if name != "trim"]


@pytest.mark.parametrize("repair", REPAIRS)
def test_a_stream_that_does_not_exist_is_not_repaired(
    client: Any, streamer: ss.Streamer, repair: str
) -> None:
    with pytest.raises(ss.StreamNotFound, match="there is no stream 'orders'"):
        REPAIRS[repair](streamer, "orders", "billing")
    assert client.dbsize() == 0


@pytest.mark.parametrize("repair", OF_GROUPS)
def test_a_typing_slip_in_a_group_repairs_nothing(
    client: Any, streamer: ss.Streamer, repair: str
) -> None:
    start(client, "orders")
    read(client, "orders", "ana", 2)
    with pytest.raises(ss.GroupNotFound, match=r"did you mean 'billing'\?"):
        REPAIRS[repair](streamer, "orders", "biling")
    assert pending(client) == {"1-0": "ana", "2-0": "ana"}


def test_a_typing_slip_in_a_consumer_deletes_nothing(client: Any, streamer: ss.Streamer) -> None:
    start(client, "orders")
    read(client, "orders", "ana", 2)
    with pytest.raises(ss.GroupNotFound, match=r"has no consumer 'anna': did you mean 'ana'\?"):
        streamer.delete_consumer("orders", "billing", "anna", pending="drop")
    assert pending(client) == {"1-0": "ana", "2-0": "ana"}


@pytest.mark.parametrize("repair", REPAIRS)
def test_a_read_only_connection_sends_no_repair(client: Any, url: str, repair: str) -> None:
    start(client, "orders")
    read(client, "orders", "ana", 2)
    with ss.connect(url, read_only=True) as streamer:
        client.config_resetstat()
        with pytest.raises(ss.ReadOnlyError, match="is connected read-only"):
            REPAIRS[repair](streamer, "orders", "billing")
        seen = client.info("commandstats").keys()

    assert seen <= {"cmdstat_config|resetstat", "cmdstat_info"}


def test_a_read_only_connection_looks_at_groups(client: Any, url: str) -> None:
    start(client, "orders")
    read(client, "orders", "ana", 2)
    with ss.connect(url, read_only=True) as streamer:
        assert len(streamer["orders"].groups()) == 1
        assert len(streamer["orders"].consumers("billing")) == 1
        assert len(streamer["orders"].pending("billing")) == 2


async def test_the_awaiting_facade_repairs_too(client: Any, url: str) -> None:
    start(client, "orders", entries=4)
    read(client, "orders", "ana", 3)
    async with ss.connect_async(url) as streamer:
        claimed = await streamer.claim("orders", "billing", consumer="bob", min_idle=0)
        assert await streamer.ack("orders", "billing", claimed) == 3
        assert await streamer.delete_consumer("orders", "billing", "bob") == 0
        assert await streamer.delete_group("orders", "billing") == 0
        assert await streamer.trim("orders", max_len=1, exact=True) == 3


async def test_a_server_that_is_not_ready_is_asked_again() -> None:
    answers = [b"-LOADING Redis is loading the dataset in memory\r\n", b":3\r\n"]

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer)
        while await command(reader):
            writer.write(answers.pop(0))

    async with pool_against(script) as pool:
        assert await once(pool, "XTRIM", "s", "MAXLEN", 5, doing="trimming 's'") == 3
    assert answers == []
