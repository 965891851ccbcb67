"""What there is: `catalog()` and `info()` on a real server, on both facades."""

from __future__ import annotations

import pickle
import threading
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pandas as pd
import pytest

import seastream_nb as ss
from seastream_nb.listing import Catalog
from tests.servers import plain_client, tcp_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis


@pytest.fixture
def ticks(client: redis.Redis) -> redis.Redis:
    """A stream with shards 0, 2 and 10, one with a colon, one of odd bytes, and no stream."""
    client.xadd("ticks:10", {"msg": "c"}, id="1700000000300-0")
    client.xadd("ticks:2", {"msg": "a"}, id="1700000000100-0")
    client.xadd("ticks:2", {"msg": "b"}, id="1700000000200-5")
    client.xadd("ticks:0", {"msg": "d"}, id="1700000000250-0")
    client.xgroup_create("ticks:2", "workers")
    client.xadd("app:orders", {"msg": "x"})
    client.xadd(b"\xff", {"msg": "x"})
    client.set("ticks:3", "no stream")
    return client


def test_a_catalog_maps_each_stream_to_its_facts(streamer: ss.Streamer, ticks: redis.Redis) -> None:
    catalog = streamer.catalog()
    assert list(catalog) == ["app:orders", "ticks", "\\xff"]
    assert catalog["ticks"] == ss.StreamInfo(
        key="ticks",
        keys=("ticks:0", "ticks:2", "ticks:10"),
        shards=(0, 2, 10),
        length=4,
        first_id="1700000000100-0",
        last_id="1700000000300-0",
        first_time=datetime(2023, 11, 14, 22, 13, 20, 100_000, tzinfo=UTC),
        last_time=datetime(2023, 11, 14, 22, 13, 20, 300_000, tzinfo=UTC),
        groups=1,
        bytes=sum(ticks.memory_usage(f"ticks:{shard}") for shard in (0, 2, 10)),
    )
    assert streamer["ticks"].info() == catalog["ticks"]


def test_a_key_that_is_not_there_is_a_key_error_that_says_so(streamer: ss.Streamer) -> None:
    catalog = streamer.catalog()
    with pytest.raises(ss.StreamNotFound, match="'tikcs' is not among the 0 streams at"):
        catalog["tikcs"]
    assert catalog.get("tikcs") is None
    assert "tikcs" not in catalog


async def test_the_awaiting_facade_lists_and_describes_the_same(
    url: str, ticks: redis.Redis
) -> None:
    with ss.connect(url) as streamer:
        expected = streamer.catalog("t*")
    async with ss.connect_async(url) as streamer:
        assert await streamer.catalog("t*") == expected
        assert await streamer["ticks"].info() == expected["ticks"]
        with pytest.raises(ss.StreamNotFound, match="there is no stream 'nothing'"):
            await streamer["nothing"].info()


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("tick*", ["ticks"]),
        ("*s", ["app:orders", "ticks"]),
        ("ticks", ["ticks"]),
        ("t[hi]cks", ["ticks"]),
        ("app:*", ["app:orders"]),
        ("*:*", ["app:orders"]),
        ("", []),
        ("nothing", []),
    ],
)
def test_a_pattern_is_about_stream_keys_and_finds_whole_streams(
    streamer: ss.Streamer, ticks: redis.Redis, pattern: str, found: list[str]
) -> None:
    catalog = streamer.catalog(pattern)
    assert list(catalog) == found
    assert "ticks" not in catalog or catalog["ticks"].length == 4


@pytest.mark.parametrize("pattern", ["ticks:2", "*2", "*:[0-9]", "?????:0"])
def test_a_pattern_that_only_a_shard_matches_finds_no_part_of_a_stream(
    streamer: ss.Streamer, ticks: redis.Redis, pattern: str
) -> None:
    assert list(streamer.catalog(pattern)) == []


def test_without_shards_every_key_is_a_stream(url: str, ticks: redis.Redis) -> None:
    with ss.connect(url, shards="off") as streamer:
        assert list(streamer.catalog("ticks*")) == ["ticks:0", "ticks:10", "ticks:2"]
        assert list(streamer.catalog("ticks:2")) == ["ticks:2"]
        assert streamer["ticks:2"].info().keys == ("ticks:2",)


def test_what_the_catalog_gives_is_read_also_where_a_key_is_no_utf8(
    streamer: ss.Streamer, client: redis.Redis
) -> None:
    for key in (b"bin\xff", b"ticks", b"bin\xfe:7"):
        client.xadd(key, {"msg": key})
    catalog = streamer.catalog()
    assert list(catalog) == ["bin\\xfe:7", "bin\\xff", "ticks"]
    for key, info in catalog.items():
        assert streamer[key].count() == streamer[info.key].count() == 1
        assert streamer.stream(*info.keys).count() == 1
        [message] = streamer[key]
        assert streamer[message.stream].count() == 1
    assert catalog[b"bin\xff"] == catalog["bin\\xff"]
    assert b"bin\xff" in catalog
    assert b"bin\xfd" not in catalog
    copied = pickle.loads(pickle.dumps(list(catalog)))
    assert [streamer[key].count() for key in copied] == [1, 1, 1]
    assert streamer[r"bin\xff"].count() == 0


def test_an_emptied_stream_is_listed_without_ids_and_times(
    streamer: ss.Streamer, client: redis.Redis
) -> None:
    client.xadd("ticks", {"msg": "x"})
    client.xtrim("ticks", maxlen=0)
    info = streamer.catalog()["ticks"]
    assert (info.length, info.first_id, info.last_time) == (0, None, None)


def test_a_time_past_the_year_9999_is_null_and_its_id_is_not(
    streamer: ss.Streamer, client: redis.Redis
) -> None:
    client.xadd("far", {"msg": "x"}, id=f"{2**63}-0")
    info = streamer["far"].info()
    assert (info.last_id, info.last_time) == (f"{2**63}-0", None)
    frame = streamer.catalog().to_pandas()
    assert frame["last_time"].isna().all()
    assert repr(frame)
    assert repr(streamer.catalog())


def test_times_follow_the_unit_of_the_ids(url: str, client: redis.Redis) -> None:
    client.xadd("fine", {"msg": "x"}, id="1700000000123456789-0")
    with ss.connect(url, timestamp_format="ns") as streamer:
        time = streamer.catalog()["fine"].first_time
        assert time == datetime(2023, 11, 14, 22, 13, 20, 123_456, tzinfo=UTC)
        assert streamer["fine"].info().last_time == time


# Info.


def test_info_of_a_key_of_another_type_is_the_servers_refusal(
    streamer: ss.Streamer, client: redis.Redis
) -> None:
    client.set("ticks", "no stream")
    with pytest.raises(ss.ServerError, match="'ticks': WRONGTYPE"):
        streamer["ticks"].info()


def test_a_key_of_another_type_beside_shards_is_no_part_of_the_stream(
    streamer: ss.Streamer, ticks: redis.Redis
) -> None:
    ticks.set("ticks", "a counter")
    assert streamer["ticks"].count() == 4
    assert streamer["ticks"].info() == streamer.catalog()["ticks"]


def test_info_counts_the_whole_stream_whatever_the_range(
    streamer: ss.Streamer, ticks: redis.Redis
) -> None:
    assert streamer["ticks"].shard(2).first(1).info().length == 4
    with pytest.raises(ss.ConfigError, match="one stream"):
        streamer.stream("ticks", "app:orders").info()


# As a frame.


def test_a_frame_has_the_same_types_whatever_there_is(
    streamer: ss.Streamer, ticks: redis.Redis
) -> None:
    full, empty = streamer.catalog().to_pandas(), streamer.catalog("nothing").to_pandas()
    assert list(full) == list(ss.StreamInfo.__dataclass_fields__)
    assert full.dtypes.to_dict() == empty.dtypes.to_dict()
    assert {str(full[name].dtype) for name in ("length", "groups", "bytes")} == {"Int64"}
    assert {str(full[name].dtype) for name in ("first_time", "last_time")} == {
        "datetime64[us, UTC]"
    }
    row = full.set_index("key").loc["ticks"]
    assert row["first_time"] == pd.Timestamp("2023-11-14T22:13:20.100Z")
    assert row["keys"] == ("ticks:0", "ticks:2", "ticks:10")


def test_a_frame_keeps_every_digit_next_to_a_null() -> None:
    nothing = dict.fromkeys(ss.StreamInfo.__dataclass_fields__)
    unknown = ss.StreamInfo(**{**nothing, "key": "a"})
    large = ss.StreamInfo(**{**nothing, "key": "b", "length": 2**53 + 1})
    assert Catalog("url", [unknown, large]).to_pandas()["length"][1] == 2**53 + 1


# What the server does not tell.


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The place `host:port` of a server with users who may not ask everything."""
    rules = {
        "all": "+@all",
        "no_xinfo": "+@all -xinfo",
        "no_memory": "+@all -memory",
        "neither": "+@all -xinfo -memory",
        "no_scan": "+@all -scan",
    }
    with tcp_server(tmp_path_factory.mktemp("guarded")) as server:
        with closing(plain_client(server.url)) as client:
            for user, rule in rules.items():
                client.execute_command("ACL", "SETUSER", user, "on", ">pw", "~*", *rule.split())
            client.execute_command("ACL", "SETUSER", "one_shard", "on", ">pw", "~ticks:0", "+@all")
            client.xadd("ticks:0", {"msg": "x"}, id="5-0")
            client.xadd("ticks:1", {"msg": "x"}, id="6-0")
        yield server.url.removeprefix("redis://")


@pytest.mark.parametrize("user", ["all", "no_xinfo", "no_memory", "neither", "one_shard"])
def test_what_the_acl_denies_is_null_and_the_rest_is_there(guarded: str, user: str) -> None:
    with ss.connect(f"redis://{user}:pw@{guarded}") as streamer:
        [info] = streamer.catalog().values()
        asks_streams, asks_memory = user in ("all", "no_memory"), user in ("all", "no_xinfo")
        assert (info.key, info.keys, info.shards) == ("ticks", ("ticks:0", "ticks:1"), (0, 1))
        assert (info.length, info.first_id, info.groups) == (
            (2, "5-0", 0) if asks_streams else (None, None, None)
        )
        assert (info.last_time is not None) == asks_streams
        assert (info.bytes is not None) == asks_memory
        assert streamer.catalog().to_pandas()["length"].isna().all() != asks_streams
        assert repr(streamer.catalog()).endswith("-") != asks_memory


def test_an_acl_that_denies_the_listing_itself_is_an_error(guarded: str) -> None:
    with (
        ss.connect(f"redis://no_scan:pw@{guarded}") as streamer,
        pytest.raises(ss.AuthError, match="listing streams: NOPERM"),
    ):
        streamer.catalog()


def test_info_that_may_not_ask_xinfo_still_tells_missing_streams(guarded: str) -> None:
    with ss.connect(f"redis://no_xinfo:pw@{guarded}") as streamer:
        assert streamer["ticks"].info().keys == ("ticks:0", "ticks:1")
        with pytest.raises(ss.StreamNotFound):
            streamer["nothing"].info()


def test_streams_that_come_and_go_meanwhile_are_left_out_or_whole(
    url: str, client: redis.Redis
) -> None:
    """Streams are deleted, and replaced by strings, between SCAN and XINFO."""
    over = threading.Event()

    def churn() -> None:
        with closing(plain_client(url)) as other:
            while not over.is_set():
                with other.pipeline(transaction=False) as pipe:
                    for number in range(50):
                        pipe.delete(f"s{number}", f"t{number}").set(f"t{number}", "x")
                    for number in range(50):
                        pipe.delete(f"t{number}")
                        pipe.xadd(f"s{number}", {"msg": "x"}).xadd(f"t{number}", {"msg": "x"})
                    pipe.execute()

    for number in range(200):
        client.xadd(f"still{number}", {"msg": "x"})
    churning = threading.Thread(target=churn)
    churning.start()
    try:
        with ss.connect(url) as streamer:
            for _ in range(50):
                catalog = streamer.catalog()
                assert sum(key.startswith("still") for key in catalog) == 200
                assert {info.length for info in catalog.values()} <= {0, 1}
    finally:
        over.set()
        churning.join()


def test_twenty_thousand_streams_are_listed(streamer: ss.Streamer, client: redis.Redis) -> None:
    with client.pipeline(transaction=False) as pipe:
        for number in range(20_000):
            pipe.xadd(f"user:{number}:events", {"msg": "x"}, id="5-0")
        pipe.execute()
    catalog = streamer.catalog()
    assert len(catalog) == 20_000
    assert {info.last_id for info in catalog.values()} == {"5-0"}
    assert len(catalog.to_pandas()) == 20_000
