"""Which entries a query reads: bounds, windows, counts, shards, filters."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow.compute as pc
import pytest

import seastream_nb as ss
from seastream_nb import errors

START = 1_700_000_000_000  # 2023-11-14T22:13:20Z
AT = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)


def fill(client: Any, key: str, count: int, *, step: int = 1000, start: int = START) -> None:
    """Entries `step` milliseconds apart, with their number as the payload."""
    pipeline = client.pipeline(transaction=False)
    for number in range(count):
        pipeline.xadd(key, {"msg": str(number)}, id=f"{start + number * step}-0")
    pipeline.execute()


def numbers(stream: ss.Stream) -> list[int]:
    return [int(payload) for payload in stream.to_arrow()["payload"].to_pylist()]


@pytest.fixture
def ticks(streamer: ss.Streamer, client: Any) -> ss.Stream:
    fill(client, "ticks", 10)
    return streamer["ticks"]


def test_an_entry_stamped_since_is_in_and_one_stamped_until_is_out(ticks: ss.Stream) -> None:
    assert numbers(ticks.since(AT + timedelta(seconds=2)).until(AT + timedelta(seconds=5))) == [
        2,
        3,
        4,
    ]


def test_a_slice_is_since_and_until(ticks: ss.Stream) -> None:
    since, until = "2023-11-14T22:13:22Z", AT + timedelta(seconds=4)
    assert numbers(ticks[since:until]) == [2, 3]
    assert numbers(ticks[since:]) == [2, 3, 4, 5, 6, 7, 8, 9]
    assert numbers(ticks[:until]) == [0, 1, 2, 3]


def test_times_between_milliseconds_round_up_on_both_sides(ticks: ss.Stream) -> None:
    just_after = "2023-11-14T22:13:22.000000001Z"
    assert numbers(ticks.since(just_after)) == [3, 4, 5, 6, 7, 8, 9]
    assert numbers(ticks.until(just_after)) == [0, 1, 2]


def test_ids_are_bounds_too(ticks: ss.Stream) -> None:
    assert numbers(ticks.since(f"{START + 3000}-0").until(f"{START + 5000}-0")) == [3, 4]
    assert numbers(ticks.since(f"{START + 3000}-1")) == [4, 5, 6, 7, 8, 9]
    assert numbers(ticks.since(str(START + 8000))) == [8, 9]


def test_ranges_intersect(ticks: ss.Stream) -> None:
    wide = ticks.since(AT + timedelta(seconds=1)).until(AT + timedelta(seconds=9))
    narrow = wide.since(AT + timedelta(seconds=3)).until(AT + timedelta(hours=1))
    assert numbers(narrow) == [3, 4, 5, 6, 7, 8]


def test_builders_leave_the_stream_they_came_from_alone(ticks: ss.Stream) -> None:
    ticks.since("latest").first(1).json()
    assert len(numbers(ticks)) == 10


@pytest.mark.parametrize("window", [slice(0, 5), slice(None, 5), slice(5, None)])
def test_an_int_in_a_slice_is_a_type_error_that_says_why(ticks: ss.Stream, window: slice) -> None:
    with pytest.raises(TypeError, match="never a time"):
        ticks[window]


def test_an_index_is_a_type_error_that_names_what_to_write(ticks: ss.Stream) -> None:
    with pytest.raises(TypeError, match=r"stream\[since:until\]"):
        ticks[3]  # type: ignore[index]


def test_since_later_than_until_is_refused(ticks: ss.Stream) -> None:
    with pytest.raises(errors.ConfigError, match="after its end"):
        ticks.since(AT + timedelta(seconds=5)).until(AT).to_arrow()


def test_since_later_than_until_is_refused_on_a_stream_that_does_not_exist(
    streamer: ss.Streamer,
) -> None:
    with pytest.raises(errors.ConfigError, match="after its end"):
        streamer["nothing"].since(AT + timedelta(seconds=5)).until(AT).to_arrow()


def test_earliest_and_latest_are_the_ends(ticks: ss.Stream) -> None:
    assert len(numbers(ticks.since("earliest").until("latest"))) == 10
    assert numbers(ticks.since("latest")) == []
    assert numbers(ticks.until("earliest")) == []


def test_a_window_ends_now_by_the_servers_clock(streamer: ss.Streamer, client: Any) -> None:
    seconds, micros = client.time()
    now = seconds * 1000 + micros // 1000
    for age in (7_200_000, 600_000, 60_000, 0):
        client.xadd("s", {"msg": str(age)}, id=f"{now - age}-0")
    assert numbers(streamer["s"].last("30m")) == [600_000, 60_000, 0]
    assert numbers(streamer["s"].last(timedelta(minutes=5))) == [60_000, 0]
    assert numbers(streamer["s"].last(1000.0)) == [600_000, 60_000, 0]
    assert numbers(streamer["s"].since("-30m").until("-2m")) == [600_000]


def test_now_can_be_set_so_that_a_run_can_be_repeated(url: str, client: Any) -> None:
    fill(client, "ticks", 10)
    with ss.connect(url, now="2023-11-14T22:13:25Z") as streamer:
        assert numbers(streamer["ticks"].last("3s")) == [2, 3, 4]
        assert numbers(streamer["ticks"].until("now")) == [0, 1, 2, 3, 4]
        assert numbers(streamer["ticks"].since("22:13:24")) == [4, 5, 6, 7, 8, 9]


def test_naive_times_are_read_in_the_streams_zone(ticks: ss.Stream) -> None:
    berlin = ticks.tz("Europe/Berlin").since("2023-11-14T23:13:28")
    assert numbers(berlin) == [8, 9]
    assert (
        str(berlin.to_arrow().schema.field("timestamp").type) == "timestamp[us, tz=Europe/Berlin]"
    )
    assert berlin.to_pandas()["timestamp"].iloc[0].isoformat() == "2023-11-14T23:13:28+01:00"


def test_a_future_until_ends_at_the_last_entry_and_says_so(ticks: ss.Stream) -> None:
    assert ticks.until("2999-01-01").to_pandas().attrs["seastream_clamped"] is True
    assert ticks.until(AT).to_pandas().attrs["seastream_clamped"] is False


def test_first_and_last_count_messages(ticks: ss.Stream) -> None:
    assert numbers(ticks.first(3)) == [0, 1, 2]
    assert numbers(ticks.last(3)) == [7, 8, 9]
    assert numbers(ticks.first(0)) == []
    assert numbers(ticks.last(0)) == []
    assert numbers(ticks.last(100)) == list(range(10))
    assert numbers(ticks.until(AT + timedelta(seconds=5)).last(2)) == [3, 4]


@pytest.mark.parametrize(
    "narrow",
    [
        lambda stream: stream.since(AT),
        lambda stream: stream.until(AT),
        lambda stream: stream.last("5m"),
        lambda stream: stream.contains("1"),
        lambda stream: stream.first(2),
        lambda stream: stream[AT:],
    ],
)
def test_nothing_narrows_after_a_count(ticks: ss.Stream, narrow: Any) -> None:
    with pytest.raises(errors.ConfigError, match=r"first\(3\)"):
        narrow(ticks.first(3))


@pytest.mark.parametrize("count", [-1, True, 1.5, "3", None])
def test_a_count_that_is_no_count_is_refused(ticks: ss.Stream, count: Any) -> None:
    with pytest.raises(errors.ConfigError):
        ticks.first(count)


def test_a_count_of_repeated_fields_counts_messages(streamer: ss.Streamer, client: Any) -> None:
    client.execute_command("XADD", "s", "1-0", "msg", "a", "msg", "b")
    client.execute_command("XADD", "s", "2-0", "other", "x")
    client.execute_command("XADD", "s", "3-0", "msg", "c", "msg", "d")
    payloads = [b"a", b"b", b"c", b"d"]
    assert streamer["s"].to_arrow()["payload"].to_pylist() == payloads
    for count in range(5):
        assert streamer["s"].first(count).to_arrow()["payload"].to_pylist() == payloads[:count]
        tail = payloads[len(payloads) - count :]
        assert streamer["s"].last(count).to_arrow()["payload"].to_pylist() == tail


def test_contains_looks_at_raw_bytes(streamer: ss.Streamer, client: Any) -> None:
    for payload in (b"caf\xc3\xa9", b"\xff\x00bin", b"tea", b""):
        client.xadd("s", {"msg": payload, "kind": b"drink" if b"a" in payload else b"other"})
    stream = streamer["s"]
    assert stream.contains("é").to_arrow()["payload"].to_pylist() == [b"caf\xc3\xa9"]
    assert stream.contains(b"\x00").to_arrow()["payload"].to_pylist() == [b"\xff\x00bin"]
    assert stream.contains("drink", field="kind").count() == 2
    assert stream.contains("drink", field="kind").contains("t").count() == 1
    assert stream.contains("drink").count() == 0
    assert stream.fields().contains("drink").count() == 2
    with pytest.raises(errors.ConfigError):
        stream.contains("")


def test_contains_stops_reading_early_with_first(streamer: ss.Streamer, client: Any) -> None:
    fill(client, "s", 5000, step=1)
    before = client.info("commandstats")["cmdstat_xrange"]["calls"] if client.exists("x") else 0
    client.config_resetstat()
    assert numbers(streamer["s"].contains("42").first(2)) == [42, 142]
    assert client.info("commandstats")["cmdstat_xrange"]["calls"] <= 3 + before


def test_where_filters_after_decoding(streamer: ss.Streamer, client: Any) -> None:
    for number in range(10):
        client.xadd("s", {"msg": f'{{"n": {number}, "even": {str(number % 2 == 0).lower()}}}'})
    stream = streamer["s"].json()
    even = stream.where(pc.field("even"))
    assert even.to_arrow()["n"].to_pylist() == [0, 2, 4, 6, 8]
    assert even.where(pc.field("n") > 3).to_arrow()["n"].to_pylist() == [4, 6, 8]
    assert even.first(2).to_arrow()["n"].to_pylist() == [0, 2]
    assert even.last(2).to_arrow()["n"].to_pylist() == [6, 8]
    assert even.count() == 5
    assert [message.json()["n"] for message in even.first(3)] == [0, 2, 4]


def test_where_sees_base_columns_that_are_not_selected(ticks: ss.Stream) -> None:
    found = ticks.where(pc.field("id") == f"{START + 4000}-0").select("payload")
    assert found.to_arrow().to_pydict() == {"payload": [b"4"]}


def test_where_on_a_column_that_no_row_has_says_which_was_meant(
    streamer: ss.Streamer, client: Any
) -> None:
    client.xadd("s", {"msg": '{"price": 1}'})
    with pytest.raises(errors.ConfigError, match="did you mean 'price'"):
        streamer["s"].json().where(pc.field("prise") > 0).to_arrow()


def test_where_on_a_column_that_only_later_pages_have_works(
    streamer: ss.Streamer, client: Any
) -> None:
    pipeline = client.pipeline(transaction=False)
    for number in range(3000):
        pipeline.xadd("s", {"msg": '{"a": 1}' if number < 2999 else '{"late": 7}'})
    pipeline.execute()
    assert streamer["s"].json().where(pc.field("late") == 7).count() == 1


@pytest.mark.parametrize("shards", [2, 3, 7])
def test_shards_are_merged_in_time_order_whatever_the_page(
    streamer: ss.Streamer, client: Any, shards: int
) -> None:
    pipeline = client.pipeline(transaction=False)
    for number in range(4000):
        # Several shards hold the same id, and shard 0 is quiet at first.
        shard = number % shards if number > 1500 else 1 + number % (shards - 1)
        pipeline.xadd(f"s:{shard}", {"msg": str(number)}, id=f"{1 + number // 10}-{number % 10}")
    pipeline.execute()
    table = streamer["s"].select("timestamp", "id", "shard", "payload").to_arrow().to_pydict()
    assert [int(payload) for payload in table["payload"]] == list(range(4000))
    assert numbers(streamer["s"].last(5)) == [3995, 3996, 3997, 3998, 3999]
    assert numbers(streamer["s"].first(1234)) == list(range(1234))


def test_ties_go_by_shard(streamer: ss.Streamer, client: Any) -> None:
    for shard in (2, 0, 1):
        client.xadd(f"s:{shard}", {"msg": str(shard)}, id="5-5")
    client.xadd("s", {"msg": "plain"}, id="5-4")
    table = streamer["s"].to_arrow()
    assert table["payload"].to_pylist() == [b"plain", b"0", b"1", b"2"]
    assert table["shard"].to_pylist() == [0, 0, 1, 2]
    assert streamer["s"].last(3).to_arrow()["payload"].to_pylist() == [b"0", b"1", b"2"]


def test_shard_reads_only_these(streamer: ss.Streamer, client: Any) -> None:
    for shard in range(4):
        client.xadd(f"s:{shard}", {"msg": str(shard)}, id=f"{shard + 1}-0")
    assert numbers(streamer["s"].shard(0, 2)) == [0, 2]
    assert numbers(streamer["s"].shard(0, 2).shard(2, 3)) == [2]
    assert numbers(streamer["s"].shard(9)) == []
    with pytest.raises(errors.ConfigError):
        streamer["s"].shard(-1)
    with pytest.raises(errors.ConfigError):
        streamer["s"].shard()


def test_every_redis_key_is_readable(streamer: ss.Streamer, client: Any) -> None:
    for key in (b"app:orders", b"a:b:7", b"s:01", b"\xff\x00", "schlüssel".encode(), b"a b*[x]?"):
        client.xadd(key, {"msg": key})
        assert streamer[key].to_arrow()["payload"].to_pylist() == [key]
    assert streamer["app:orders"].to_arrow()["stream"].to_pylist() == ["app:orders"]


def test_a_key_that_has_no_bytes_is_refused(streamer: ss.Streamer) -> None:
    with pytest.raises(errors.StreamKeyError, match="as bytes"):
        streamer["\ud800"]


def test_a_stream_is_true_and_asks_nobody(streamer: ss.Streamer) -> None:
    assert streamer["nothing"]


def test_a_shards_key_is_a_stream_of_its_own_when_asked_for(
    streamer: ss.Streamer, client: Any
) -> None:
    client.xadd("a:7", {"msg": "seven"})
    client.xadd("a:7:1", {"msg": "other"})
    table = streamer["a:7"].to_arrow()
    assert table["payload"].to_pylist() == [b"seven"]
    assert table["stream"].to_pylist() == ["a:7"]
    assert table["shard"].to_pylist() == [0]


def test_without_shards_every_key_is_its_own_stream(url: str, client: Any) -> None:
    client.xadd("a", {"msg": "plain"})
    client.xadd("a:1", {"msg": "one"})
    with ss.connect(url, shards="off") as streamer:
        assert streamer["a"].to_arrow()["payload"].to_pylist() == [b"plain"]
        assert list(streamer.catalog()) == ["a", "a:1"]


def test_several_keys_are_merged_in_time_order(streamer: ss.Streamer, client: Any) -> None:
    for number in range(6):
        client.xadd("ab"[number % 2], {"msg": str(number)}, id=f"{number + 1}-0")
    stream = streamer.stream("b", "a", "a")
    assert numbers(stream) == [0, 1, 2, 3, 4, 5]
    assert stream.to_arrow()["stream"].to_pylist() == ["a", "b"] * 3


def test_a_key_of_another_type_keeps_the_servers_text(streamer: ss.Streamer, client: Any) -> None:
    client.set("text", "x")
    with pytest.raises(errors.ServerError, match="WRONGTYPE"):
        streamer["text"].to_arrow()
    assert streamer["other"].count() == 0


def test_a_snapshot_reads_the_same_while_a_producer_writes(
    streamer: ss.Streamer, client: Any
) -> None:
    fill(client, "s", 2500, step=1)
    snapshot = streamer["s"].snapshot()
    first = snapshot.to_arrow()
    fill(client, "s", 100, start=START + 10_000)
    client.xadd("s:1", {"msg": "1"})
    assert snapshot.to_arrow().equals(first)
    assert streamer["s"].count() == 2601
    assert snapshot.since(f"{START + 2000}").count() == 500


def test_a_snapshot_of_a_window_keeps_its_now(streamer: ss.Streamer, client: Any) -> None:
    client.xadd("s", {"msg": "1"})
    snapshot = streamer["s"].last("1h").snapshot()
    client.xadd("s", {"msg": "2"})
    assert numbers(snapshot) == [1]
    assert "snapshot" in repr(snapshot)


def test_get_of_no_id_gives_nothing_at_once(url: str, client: Any) -> None:
    client.xadd("s", {"msg": "x"})
    with ss.connect(url, timeout=0.5) as streamer:
        assert streamer["s"].get() == []


def test_get_finds_messages_by_id_in_any_shard(streamer: ss.Streamer, client: Any) -> None:
    client.xadd("s:0", {"msg": "a"}, id="5-0")
    client.xadd("s:1", {"msg": "c"}, id="5-0")
    client.xadd("s:1", {"msg": "b"}, id="6-0")
    got = streamer["s"].get("6-0", "5-0", "7-0")
    assert [(m.payload, m.shard) for m in got] == [(b"b", 1), (b"a", 0), (b"c", 1)]
    assert streamer["s"].get(got[0])[0] == got[0]
    with pytest.raises(errors.ConfigError):
        streamer["s"].get("yesterday")


def test_get_gives_a_message_as_often_as_its_id_was_asked_for(
    streamer: ss.Streamer, client: Any
) -> None:
    client.xadd("s", {"msg": "a"}, id="1-1")
    client.xadd("s", {"msg": "b"}, id="1-2")
    got = streamer["s"].get("1-1", "1-2", "1-1")
    assert [message.payload for message in got] == [b"a", b"b", b"a"]


@pytest.mark.parametrize(
    "read",
    [
        lambda stream: stream.to_arrow(),
        lambda stream: stream.count(),
        lambda stream: list(stream.pages()),
        lambda stream: list(stream.messages()),
        lambda stream: stream.last(1).to_arrow(),
        lambda stream: stream.rate("1s"),
    ],
    ids=["to_arrow", "count", "pages", "messages", "last", "rate"],
)
def test_every_terminal_refuses_a_where_on_a_column_that_no_row_has(
    streamer: ss.Streamer, client: Any, read: Any
) -> None:
    client.xadd("s", {"msg": '{"price": 1}'})
    with pytest.raises(errors.ConfigError, match="did you mean 'price'"):
        read(streamer["s"].json().where(pc.field("prise") > 0))
