"""`groups()`, `consumers()` and `pending()`: frames about consumer groups, on every server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

import seastream_nb as ss
from seastream_nb.redis import groups as groups_module
from tests.servers import raw

if TYPE_CHECKING:
    from collections.abc import Callable


def start(client: Any, *keys: str, group: str = "billing", entries: int = 3) -> None:
    """Streams with entries 1-0, 2-0, ... and a group at their beginning."""
    for key in keys:
        for n in range(1, entries + 1):
            client.xadd(key, {"msg": f"{key} {n}"}, id=f"{n}-0")
        client.xgroup_create(key, group, "0")


def read(client: Any, key: str, consumer: str, count: int, group: str = "billing") -> None:
    client.xreadgroup(group, consumer, {key: ">"}, count=count)


def test_groups_tell_where_each_stands(matrix_client: Any, matrix_streamer: ss.Streamer) -> None:
    start(matrix_client, "orders")
    matrix_client.xgroup_create("orders", "audit", "2-0")
    read(matrix_client, "orders", "ana", 2)
    matrix_client.xack("orders", "billing", "1-0")

    frame = matrix_streamer["orders"].groups()

    told = frame[["name", "consumers", "pending", "lag", "last_delivered"]].to_numpy().tolist()
    assert told == [["audit", 0, 0, 1, "2-0"], ["billing", 1, 1, 1, "2-0"]]
    assert frame["oldest_pending"].fillna("none").tolist() == ["none", "2-0"]
    assert frame["oldest_pending_idle"].isna().tolist() == [True, False]
    assert frame["oldest_pending_idle"][1] >= pd.Timedelta(0)
    assert frame["last_delivered_time"][0] == pd.Timestamp("1970-01-01T00:00:00.002Z")
    assert frame.attrs["seastream_keys"] == "orders"


def test_every_shard_has_a_row_and_a_stream_without_groups_has_none(
    matrix_client: Any, matrix_streamer: ss.Streamer
) -> None:
    matrix_client.xadd("ticks", {"msg": "x"})
    assert len(matrix_streamer["ticks"].groups()) == 0
    start(matrix_client, "ticks:0", "ticks:3")
    read(matrix_client, "ticks:3", "ana", 1)

    frame = matrix_streamer["ticks"].groups()

    shown = frame[["stream", "shard", "name", "lag"]].to_numpy().tolist()
    assert shown == [["ticks", 0, "billing", 3], ["ticks", 3, "billing", 2]]
    assert matrix_streamer["ticks"].shard(3).groups()["shard"].tolist() == [3]
    assert len(matrix_streamer.stream("ticks", "ticks:0").groups()) == 3


TYPES = {
    "groups": "string uint64 string int64 int64 Int64 string datetime64[us, UTC] string "
    "timedelta64[ms]",
    "consumers": "string uint64 string int64 timedelta64[ms] timedelta64[ms]",
    "pending": "string uint64 string datetime64[us, UTC] string timedelta64[ms] int64 object",
}
ASK: dict[str, Callable[[ss.Stream], pd.DataFrame]] = {
    "groups": lambda stream: stream.groups(),
    "consumers": lambda stream: stream.consumers("billing"),
    "pending": lambda stream: stream.pending("billing"),
}


@pytest.mark.parametrize("terminal", ASK)
@pytest.mark.parametrize("filled", [True, False])
def test_types_do_not_depend_on_what_there_is(
    client: Any, streamer: ss.Streamer, terminal: str, filled: bool
) -> None:
    start(client, "orders")
    if filled:
        read(client, "orders", "ana", 2)

    frame = ASK[terminal](streamer["orders"])

    assert " ".join(map(str, frame.dtypes)) == TYPES[terminal]
    assert len(frame) == {"groups": 1, "consumers": filled, "pending": 2 * filled}[terminal]


def test_consumers_tell_who_reads(
    matrix_client: Any, matrix_streamer: ss.Streamer, matrix_url: str
) -> None:
    start(matrix_client, "orders")
    read(matrix_client, "orders", "ana", 2)
    matrix_client.xgroup_createconsumer("orders", "billing", "bob")

    frame = matrix_streamer["orders"].consumers("billing")

    assert frame[["stream", "shard", "name", "pending"]].to_numpy().tolist() == [
        ["orders", 0, "ana", 2],
        ["orders", 0, "bob", 0],
    ]
    assert (frame["idle"] < pd.Timedelta("1m")).all()
    # Redis 7.0 does not tell, and bob got nothing yet.
    assert frame["inactive"].isna().tolist() == [b"inactive" not in told(matrix_url), True]


def told(url: str) -> list[bytes]:
    facts: list[bytes] = raw(url, "XINFO", "CONSUMERS", "orders", "billing")[0]
    return facts


def test_pending_is_joined_with_payloads_of_all_shards_in_order(
    matrix_client: Any, matrix_streamer: ss.Streamer
) -> None:
    start(matrix_client, "ticks:0", "ticks:1")
    read(matrix_client, "ticks:0", "ana", 2)
    read(matrix_client, "ticks:1", "bob", 1)
    matrix_client.xclaim("ticks:1", "billing", "carl", 0, ["1-0"])

    frame = matrix_streamer["ticks"].pending("billing")

    shown = frame[["shard", "id", "owner", "deliveries", "payload"]].to_numpy().tolist()
    assert shown == [
        [0, "1-0", "ana", 1, b"ticks:0 1"],
        [1, "1-0", "carl", 2, b"ticks:1 1"],
        [0, "2-0", "ana", 1, b"ticks:0 2"],
    ]
    assert frame["timestamp"][0] == pd.Timestamp("1970-01-01T00:00:00.001Z")


def test_pending_entries_that_were_deleted_or_have_no_message_have_no_payload(
    matrix_client: Any, matrix_streamer: ss.Streamer
) -> None:
    matrix_client.xadd("orders", {"other": "x"}, id="0-1")
    start(matrix_client, "orders")
    read(matrix_client, "orders", "ana", 3)
    matrix_client.xdel("orders", "1-0")

    stream = matrix_streamer["orders"]

    payloads = stream.pending("billing")["payload"].tolist()
    assert payloads == [None, None, b"orders 2"]
    assert stream.text(field="other").pending("billing")["payload"].tolist() == [b"x", None, None]
    assert "payload" not in stream.pending("billing", payload=False)


def test_pending_is_narrowed_by_consumer_idle_time_and_limit(
    matrix_client: Any, matrix_streamer: ss.Streamer
) -> None:
    start(matrix_client, "orders", entries=6)
    read(matrix_client, "orders", "ana", 2)
    read(matrix_client, "orders", "bob", 3)
    matrix_client.xclaim("orders", "billing", "bob", 0, ["4-0"], idle=3_600_000)
    stream = matrix_streamer["orders"]

    assert stream.pending("billing", consumer="bob")["id"].tolist() == ["3-0", "4-0", "5-0"]
    assert stream.pending("billing", min_idle="30m")["id"].tolist() == ["4-0"]
    assert len(stream.pending("billing", min_idle=0)) == 5
    assert stream.pending("billing", limit=2)["id"].tolist() == ["1-0", "2-0"]
    assert len(stream.pending("billing", limit=0)) == 0


def test_a_long_pending_list_is_asked_for_in_pieces(
    matrix_client: Any, matrix_streamer: ss.Streamer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups_module, "IDS_AT_ONCE", 7)
    monkeypatch.setattr(groups_module, "ENTRIES_AT_ONCE", 5)
    start(matrix_client, "orders", entries=40)
    read(matrix_client, "orders", "ana", 40)
    matrix_client.config_resetstat()

    frame = matrix_streamer["orders"].pending("billing", limit=30)

    assert frame["id"].tolist() == [f"{n}-0" for n in range(1, 31)]
    assert frame["payload"].tolist() == [f"orders {n}".encode() for n in range(1, 31)]
    assert matrix_client.info("commandstats")["cmdstat_xpending"]["calls"] == 5


def test_pending_entries_of_several_streams_are_in_one_order(
    client: Any, streamer: ss.Streamer
) -> None:
    start(client, "orders", "returns")
    for key in ("orders", "returns"):
        read(client, key, "ana", 2)

    frame = streamer.stream("orders", "returns").pending("billing", limit=3)

    assert frame[["id", "stream"]].to_numpy().tolist() == [
        ["1-0", "orders"],
        ["1-0", "returns"],
        ["2-0", "orders"],
    ]


def test_payloads_that_would_not_fit_are_refused(client: Any, url: str) -> None:
    start(client, "orders", entries=50)
    read(client, "orders", "ana", 50)
    with ss.connect(url, max_frame_bytes=100) as streamer:
        with pytest.raises(ss.TooLarge, match="give a smaller limit=, or payload=False"):
            streamer["orders"].pending("billing")
        assert len(streamer["orders"].pending("billing", limit=5)) == 5
        assert len(streamer["orders"].pending("billing", payload=False)) == 50


@pytest.mark.parametrize("terminal", ASK)
def test_a_stream_that_does_not_exist_is_told(matrix_streamer: ss.Streamer, terminal: str) -> None:
    with pytest.raises(ss.StreamNotFound, match="there is no stream 'orders'"):
        ASK[terminal](matrix_streamer["orders"])


def test_a_shard_that_does_not_exist_is_told(client: Any, streamer: ss.Streamer) -> None:
    start(client, "ticks:0")
    with pytest.raises(ss.StreamNotFound, match="there is no stream 'ticks' with a shard 2"):
        streamer["ticks"].shard(2).groups()


def test_a_group_deleted_after_it_was_listed_has_nothing_pending(
    client: Any, streamer: ss.Streamer, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(client, "orders")
    listed = groups_module.shard_groups

    async def then_deleted(*args: Any) -> Any:
        found = await listed(*args)
        client.xgroup_destroy("orders", "billing")
        return found

    monkeypatch.setattr(groups_module, "shard_groups", then_deleted)
    frame = streamer["orders"].groups()
    assert frame["oldest_pending"].isna().tolist() == [True]


@pytest.mark.parametrize("terminal", ["consumers", "pending"])
def test_a_typing_slip_in_the_group_names_those_that_there_are(
    matrix_client: Any, matrix_streamer: ss.Streamer, terminal: str
) -> None:
    start(matrix_client, "orders")
    matrix_client.xgroup_create("orders", "audit", "0")
    ask = getattr(matrix_streamer["orders"], terminal)

    with pytest.raises(ss.StreamNotFound) as caught:
        ask("biling")

    assert str(caught.value) == (
        "stream 'orders' has no consumer group 'biling': did you mean 'billing'? "
        "there are 'audit', 'billing'"
    )


def test_a_stream_without_groups_says_so(client: Any, streamer: ss.Streamer) -> None:
    client.xadd("orders", {"msg": "x"})
    with pytest.raises(ss.GroupNotFound, match=r"has no consumer group 'billing': it has none$"):
        streamer["orders"].pending("billing")


def test_a_typing_slip_in_the_consumer_names_those_that_there_are(
    client: Any, streamer: ss.Streamer
) -> None:
    start(client, "orders")
    read(client, "orders", "ana", 1)
    with pytest.raises(ss.GroupNotFound, match=r"has no consumer 'anna': did you mean 'ana'\?"):
        streamer["orders"].pending("billing", consumer="anna")


@pytest.mark.parametrize("options", [{"limit": -1}, {"min_idle": "soon"}, {"consumer": ""}])
def test_an_argument_that_cannot_be_meant_is_named(
    client: Any, streamer: ss.Streamer, options: Any
) -> None:
    start(client, "orders")
    with pytest.raises(ss.ConfigError, match=rf"^{next(iter(options))}="):
        streamer["orders"].pending("billing", **options)
    with pytest.raises(ss.ConfigError, match=r"^group=''"):
        streamer["orders"].pending("")


def test_a_key_of_another_type_keeps_the_servers_text(client: Any, streamer: ss.Streamer) -> None:
    client.set("orders", "x")
    with pytest.raises(ss.ServerError, match="WRONGTYPE"):
        streamer["orders"].groups()


def test_names_that_are_no_text_are_shown_escaped_and_taken_as_bytes(
    client: Any, streamer: ss.Streamer
) -> None:
    start(client, "orders")
    client.xgroup_create("orders", b"\xff", "0")
    client.xgroup_createconsumer("orders", b"\xff", b"\xfe")

    assert streamer["orders"].groups()["name"].tolist() == ["billing", "\\xff"]
    assert streamer["orders"].consumers(b"\xff")["name"].tolist() == ["\\xfe"]


def test_looking_changes_nothing(matrix_client: Any, matrix_streamer: ss.Streamer) -> None:
    start(matrix_client, "orders")
    read(matrix_client, "orders", "ana", 2)
    before = matrix_client.xpending_range("orders", "billing", "-", "+", 10)
    for ask in ASK.values():
        ask(matrix_streamer["orders"])

    after = matrix_client.xpending_range("orders", "billing", "-", "+", 10)
    assert [(row["message_id"], row["times_delivered"]) for row in after] == [
        (row["message_id"], row["times_delivered"]) for row in before
    ]
    assert len(matrix_client.xinfo_consumers("orders", "billing")) == 1


async def test_the_awaiting_facade_has_them_too(client: Any, url: str) -> None:
    start(client, "orders")
    read(client, "orders", "ana", 2)
    async with ss.connect_async(url, tz="Europe/Berlin") as streamer:
        stream = streamer["orders"]
        assert (await stream.groups())["lag"].tolist() == [1]
        assert (await stream.consumers("billing"))["name"].tolist() == ["ana"]
        pending = await stream.pending("billing")
        assert pending["id"].tolist() == ["1-0", "2-0"]
        assert str(pending["timestamp"].dt.tz) == "Europe/Berlin"
