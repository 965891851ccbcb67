"""Following: the past, then what comes, without gap or duplicate, until it ends or is stopped."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from contextlib import aclosing, closing, contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

import seastream_nb as ss
from tests.redis.consuming import calls, send
from tests.servers import TcpServer, eventually, plain_client, tcp_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    import redis

PATIENCE = 20.0
SLACK = 0.5  # of a busy machine; a read that is not interrupted takes a second


def payloads(batches: Iterable[pa.RecordBatch]) -> list[int]:
    """The payloads as numbers, in the order they came."""
    return [int(value) for batch in batches for value in batch["payload"].to_pylist()]


@contextmanager
def later(act: Callable[[], object], condition: Callable[[], object]) -> Iterator[None]:
    """Do something as soon as a condition holds, while the block goes on."""
    failed: list[str] = []

    def wait() -> None:
        if not eventually(condition):
            failed.append("the condition did not come true")
        act()

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    assert not failed


def blocked(client: redis.Redis) -> bool:
    return int(client.info("clients")["blocked_clients"]) > 0


# The hand-over


@pytest.mark.parametrize("round_", range(3))
@pytest.mark.parametrize("shards", [1, 4])
def test_no_message_is_missed_or_read_twice_while_a_producer_writes(
    url: str, client: redis.Redis, shards: int, round_: int
) -> None:
    total = 30_000
    with ss.connect(url) as streamer, ss.connect(url) as writing:
        sharder = ss.RoundRobinSharder(shards)

        def write() -> None:
            with writing.producer("s", sharder=sharder) as producer:
                for number in range(total):
                    producer.send(str(number))

        thread = threading.Thread(target=write)
        thread.start()
        assert eventually(lambda: client.exists("s:0"))
        stream = streamer["s"].select("id", "shard", "payload").first(total)
        table = pa.Table.from_batches(list(stream.follow(max_wait=0.01)))
        thread.join()
        expected = {
            shard: [entry_id.decode() for entry_id, _ in client.xrange(f"s:{shard}")]
            for shard in range(shards)
        }
    for shard, ids in expected.items():
        assert table.filter(pc.field("shard") == shard)["id"].to_pylist() == ids
    assert sorted(map(int, table["payload"].to_pylist())) == list(range(total))


def test_what_comes_between_the_past_and_the_live_part_is_not_missed(
    streamer: ss.Streamer, client: redis.Redis
) -> None:
    send(client, "s", *range(10))
    with closing(streamer["s"].first(15).follow(page_size=5)) as batches:
        past = next(batches)
        send(client, "s", *range(10, 15))
        assert payloads([past, *batches]) == list(range(15))


async def test_the_awaiting_facade_follows_too(url: str, client: redis.Redis) -> None:
    send(client, "s", 0, 1)
    async with ss.connect_async(url) as streamer:
        stream = streamer["s"].first(4)
        got: list[int] = []
        async with aclosing(stream.follow(max_wait="10ms")) as batches:
            async for batch in batches:
                got += payloads([batch])
                if len(got) == 2:
                    send(client, "s", 2, 3)
    assert got == [0, 1, 2, 3]


def test_shards_are_merged_by_time(streamer: ss.Streamer, client: redis.Redis) -> None:
    def write(first: int) -> None:
        with client.pipeline() as pipeline:  # one transaction, so that one reply has it all
            for number in range(first, first + 6):
                pipeline.xadd(f"s:{number % 3}", {b"msg": str(number)}, id=f"{100 + number}-0")
            pipeline.execute()

    write(0)
    with closing(streamer["s"].first(12).follow()) as batches:
        got = payloads([next(batches)])
        with later(lambda: write(6), lambda: blocked(client)):
            got += payloads(batches)
    assert got == list(range(12))


# Where it begins and ends


def test_a_stream_that_does_not_exist_yet_is_waited_for(
    streamer: ss.Streamer, client: redis.Redis
) -> None:
    with later(lambda: send(client, "s", 7), lambda: blocked(client)):
        assert payloads(streamer["s"].first(1).follow()) == [7]


def test_since_latest_follows_only_what_comes(streamer: ss.Streamer, client: redis.Redis) -> None:
    send(client, "s", 0, 1)
    with later(lambda: send(client, "s", 2), lambda: blocked(client)):
        assert payloads(streamer["s"].since("latest").first(1).follow()) == [2]


def test_since_a_time_to_come_skips_what_is_before_it(
    streamer: ss.Streamer, client: redis.Redis
) -> None:
    client.xadd("s", {b"msg": b"0"}, id="5-0")

    def write() -> None:
        for tick in range(6, 12):
            client.xadd("s", {b"msg": str(tick).encode()}, id=f"{tick}-0")

    with later(write, lambda: blocked(client)):
        assert payloads(streamer["s"].since("9-0").first(3).follow()) == [9, 10, 11]


@pytest.mark.parametrize("last", [2, "1h"])
def test_last_says_how_much_of_the_past_to_begin_with(
    streamer: ss.Streamer, client: redis.Redis, last: int | str
) -> None:
    client.xadd("s", {b"msg": b"0"}, id="5-0")
    send(client, "s", 1, 2)
    got: list[int] = []
    with closing(streamer["s"].last(last).follow(max_wait=0)) as batches:
        while len(got) < 4:
            got += payloads([next(batches)])
            if len(got) == 2:
                send(client, "s", 3, 4)
    assert got == [1, 2, 3, 4]


def test_first_ends_in_the_past_without_waiting(streamer: ss.Streamer, client: redis.Redis) -> None:
    send(client, "s", *range(10))
    before = calls(client, "xread")
    assert payloads(streamer["s"].first(4).follow(page_size=3)) == [0, 1, 2, 3]
    assert list(streamer["s"].first(0).follow()) == []
    assert calls(client, "xread") == before


@pytest.mark.parametrize("until", ["now", "-1h", "latest"])
def test_an_end_that_has_passed_ends_with_the_past(
    streamer: ss.Streamer, client: redis.Redis, until: str
) -> None:
    client.xadd("s", {b"msg": b"0"}, id="5-0")
    assert payloads(streamer["s"].until(until).follow()) == [0]


def test_an_entry_at_the_end_in_every_shard_ends_it(
    streamer: ss.Streamer, client: redis.Redis
) -> None:
    end = "99999999999999"
    for shard in range(2):
        client.xadd(f"s:{shard}", {b"msg": str(shard).encode()}, id="5-0")

    def write() -> None:
        client.xadd("s:0", {b"msg": b"-1"}, id=f"{end}-0")
        client.xadd("s:1", {b"msg": b"2"}, id="99999999999998-0")
        client.xadd("s:2", {b"msg": b"3"}, id="99999999999998-1")  # found at the end
        client.xadd("s:1", {b"msg": b"-1"}, id=f"{end}-1")

    with later(write, lambda: blocked(client)):
        got = payloads(streamer["s"].until(end).follow(max_wait=0.05))
    assert got == [0, 1, 2, 3]


def test_the_servers_clock_ends_it_after_the_last_late_message(
    streamer: ss.Streamer, client: redis.Redis
) -> None:
    seconds, micros = client.time()
    end = seconds * 1_000 + micros // 1_000 + 300

    def clock() -> int:
        seconds, micros = client.time()
        return int(seconds * 1_000 + micros // 1_000)

    def write() -> None:
        client.xadd("s:1", {b"msg": b"1"}, id=f"{end - 1}-0")  # stamped by its producer
        client.xadd("s:0", {b"msg": b"2"})

    with later(write, lambda: clock() > end):
        assert payloads(streamer["s"].until(str(end)).follow()) == [1]


def test_a_snapshot_is_refused(streamer: ss.Streamer, client: redis.Redis) -> None:
    send(client, "s", 0)
    with pytest.raises(ss.ConfigError, match="snapshot"):
        next(streamer["s"].snapshot().follow())


@pytest.mark.parametrize(
    "options", [{"page_size": 0}, {"page_size": 1.5}, {"max_wait": -1}, {"max_wait": "soon"}]
)
def test_options_that_cannot_be_meant_are_refused(
    streamer: ss.Streamer, options: dict[str, Any]
) -> None:
    with pytest.raises(ss.ConfigError):
        next(streamer["s"].follow(**options))


# Batches


def test_a_batch_is_handed_out_when_it_is_full(streamer: ss.Streamer, client: redis.Redis) -> None:
    def write() -> None:
        for number in range(10):
            send(client, "s", number)

    with later(write, lambda: blocked(client)):
        batches = list(streamer["s"].first(10).follow(page_size=4, max_wait=60))
    assert [batch.num_rows for batch in batches] == [4, 4, 2]
    assert payloads(batches) == list(range(10))


def test_a_batch_is_handed_out_when_it_has_waited(
    streamer: ss.Streamer, client: redis.Redis
) -> None:
    with (
        later(lambda: send(client, "s", 0), lambda: blocked(client)),
        closing(streamer["s"].follow(page_size=1_000, max_wait=0.05)) as batches,
    ):
        assert payloads([next(batches)]) == [0]


def test_nothing_is_asked_while_nobody_iterates(streamer: ss.Streamer, client: redis.Redis) -> None:
    with closing(streamer["s"].since("latest").follow(page_size=100, max_wait=0)) as batches:
        with later(lambda: send(client, "s", 0), lambda: blocked(client)):
            next(batches)
        before = calls(client, "xread")
        send(client, "s", *range(1, 500))
        assert calls(client, "xread") == before
        sizes: list[int] = []
        while sum(sizes) < 499:
            sizes.append(next(batches).num_rows)
    assert max(sizes) <= 100


def test_large_messages_are_read_a_few_at_a_time(
    streamer: ss.Streamer, client: redis.Redis
) -> None:
    send(client, "s", *range(1_000))
    with closing(streamer["s"].follow(max_wait=0)) as batches:
        assert next(batches).num_rows == 1_000
        for _ in range(30):
            client.xadd("s", {b"msg": bytes(4 * 2**20)})
        sizes: list[int] = []
        while sum(sizes) < 30:
            sizes.append(next(batches).num_rows)
    assert max(sizes) <= 8


# What is read


def test_filters_and_columns_apply_to_the_past_and_to_what_comes(
    streamer: ss.Streamer, client: redis.Redis
) -> None:
    def write(first: int) -> None:
        for number in range(first, first + 10):
            record = {"n": number, "kind": "odd" if number % 2 else "even"}
            client.xadd(f"s:{number % 3}", {b"msg": json.dumps(record)})

    write(0)
    stream = (
        streamer["s"]
        .json(pa.schema([("n", pa.int64())]))
        .contains("even")
        .where(pc.field("n") != 4)
        .select("n", "timestamp")
        .tz("Europe/Berlin")
        .shard(0, 1)
        .first(6)
    )
    with later(lambda: write(10), lambda: blocked(client)):
        table = pa.Table.from_batches(list(stream.follow()))
    assert table.schema.equals(stream.schema())
    assert sorted(table["n"].to_pylist()) == [0, 6, 10, 12, 16, 18]


def test_keys_that_appear_later_go_to_extra(streamer: ss.Streamer, client: redis.Redis) -> None:
    send(client, "s", '{"n": 0}')
    stream = streamer["s"].json().select("n", "_extra").first(2)
    with later(lambda: send(client, "s", '{"n": 1, "x": 2}'), lambda: blocked(client)):
        table = pa.Table.from_batches(list(stream.follow()))
    assert table["n"].to_pylist() == [0, 1]
    assert json.loads(table["_extra"][1].as_py()) == {"x": 2}


def test_without_a_past_the_first_batch_fixes_the_columns(
    streamer: ss.Streamer, client: redis.Redis
) -> None:
    stream = streamer["s"].json().first(3)

    def write() -> None:
        send(client, "s", '{"n": 0}', '{"m": 1.5}')

    with closing(stream.follow(max_wait=1)) as batches:
        with later(write, lambda: blocked(client)):
            first = next(batches)
        send(client, "s", '{"n": 2, "late": true}')
        rest = list(batches)
    assert first.schema.names[-3:] == ["n", "m", "_extra"]
    assert [batch["_extra"].to_pylist() for batch in rest] == [['{"late": true}']]


def test_since_latest_has_the_columns_of_what_was_before(
    streamer: ss.Streamer, client: redis.Redis
) -> None:
    send(client, "s", '{"n": 0, "name": "a"}')
    stream = streamer["s"].json().since("latest").first(1)
    with later(lambda: send(client, "s", '{"name": "b"}'), lambda: blocked(client)):
        table = pa.Table.from_batches(list(stream.follow()))
    assert table.select(["n", "name"]).to_pylist() == [{"n": None, "name": "b"}]


def test_a_bad_message_before_the_range_does_not_matter(
    streamer: ss.Streamer, client: redis.Redis
) -> None:
    send(client, "s", "not json")
    stream = streamer["s"].json().since("latest").first(1)
    with later(lambda: send(client, "s", '{"n": 1}'), lambda: blocked(client)):
        assert [batch["n"].to_pylist() for batch in stream.follow()] == [[1]]


def test_a_bad_message_is_named_and_those_before_it_are_given(
    streamer: ss.Streamer, client: redis.Redis
) -> None:
    send(client, "s", '{"n": 0}')
    with closing(streamer["s"].json().follow(max_wait=30)) as batches:
        assert next(batches)["n"].to_pylist() == [0]

        def write() -> None:
            send(client, "s", '{"n": 1}')
            before = calls(client, "xread")
            assert eventually(lambda: calls(client, "xread") > before)
            ids.extend(send(client, "s", "not json"))

        ids: list[bytes] = []
        with later(write, lambda: blocked(client)):
            assert next(batches)["n"].to_pylist() == [1]
            with pytest.raises(ss.DecodeError) as caught:
                next(batches)
    assert caught.value.entry_id == ids[0].decode()
    assert streamer["s"].count() == 3


def test_a_where_on_no_column_is_refused_when_something_came(
    streamer: ss.Streamer, client: redis.Redis
) -> None:
    with (
        later(lambda: send(client, "s", '{"price": 0}'), lambda: blocked(client)),
        pytest.raises(ss.ConfigError, match="did you mean 'price'"),
    ):
        next(streamer["s"].json().where(pc.field("prize") > 1).follow())


def test_entries_without_the_message_field_are_passed_over(
    streamer: ss.Streamer, client: redis.Redis
) -> None:
    def write() -> None:
        client.xadd("s", {b"other": b"x"})
        send(client, "s", 1)

    with later(write, lambda: blocked(client)):
        assert payloads(streamer["s"].first(1).follow()) == [1]


# Shards


def test_new_shards_are_read_from_their_beginning(
    streamer: ss.Streamer, client: redis.Redis
) -> None:
    send(client, "s:0", 0)
    got: list[int] = []
    with closing(streamer["s"].since("latest").first(4).follow()) as batches:
        with later(lambda: send(client, "s:0", 1), lambda: blocked(client)):
            got += payloads([next(batches)])
        send(client, "s:7", 2, 3)
        send(client, "s:8", 4)
        got += payloads(batches)
    assert (got[0], sorted(got[1:])) == (1, [2, 3, 4])


def test_new_shards_are_found_among_many_other_keys(
    streamer: ss.Streamer, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seastream_nb.redis.live.LOOK_SECONDS", 0.02)
    monkeypatch.setattr("seastream_nb.redis.live.SEARCH_SECONDS", 0.0001)  # a step or so a look
    client.mset({f"key{number}": 0 for number in range(20_000)})
    with later(lambda: send(client, "s:5", 1), lambda: blocked(client)):
        assert payloads(streamer["s"].first(1).follow()) == [1]


def test_shards_that_were_not_asked_for_are_not_read(
    streamer: ss.Streamer, client: redis.Redis
) -> None:
    def write() -> None:
        send(client, "s:2", -1)
        send(client, "s:3", 1)

    with later(write, lambda: calls(client, "scan")):
        assert payloads(streamer["s"].shard(3).first(1).follow()) == [1]


def test_a_counter_that_comes_beside_the_shards_is_no_part_of_them(
    streamer: ss.Streamer, client: redis.Redis
) -> None:
    send(client, "s:0", 0)

    def write() -> None:
        client.set("s", 1)
        send(client, "s:0", 1)

    with later(write, lambda: blocked(client)):
        assert payloads(streamer["s"].first(2).follow()) == [0, 1]


def test_a_key_of_another_type_is_named(streamer: ss.Streamer, client: redis.Redis) -> None:
    send(client, "s", 0)
    send(client, "t", 1)

    def replace() -> None:
        client.delete("t")
        client.set("t", "text")

    with closing(streamer.stream("s", "t").follow()) as batches:
        found = payloads([next(batches)])
        assert (found if len(found) == 2 else found + payloads([next(batches)])) == [0, 1]
        with (
            later(replace, lambda: blocked(client)),
            pytest.raises(ss.ServerError, match="'t': WRONGTYPE"),
        ):
            next(batches)


# Faults


@pytest.fixture
def durable(tmp_path: Path) -> Iterator[TcpServer]:
    with tcp_server(tmp_path, "--appendonly", "yes", "--appendfsync", "always") as server:
        yield server


def kill_everybody_else(client: redis.Redis) -> None:
    client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


def test_connections_that_are_killed_lose_nothing_and_repeat_nothing(
    streamer: ss.Streamer, client: redis.Redis
) -> None:
    total = 3_000
    stop = threading.Event()

    def write() -> None:
        for number in range(total):
            send(client, "s", number)

    def kill() -> None:
        with plain_client(streamer.url) as killer:
            while not stop.wait(0.05):
                # Not those of the writer: a plain client's are its own business.
                for each in killer.client_list():
                    if each["cmd"].startswith("xread"):
                        killer.execute_command("CLIENT", "KILL", "ID", each["id"])

    threads = [threading.Thread(target=write), threading.Thread(target=kill)]
    with closing(streamer["s"].first(total).follow(max_wait=0.01)) as batches:
        for thread in threads:
            thread.start()
        try:
            assert payloads(batches) == list(range(total))
        finally:
            stop.set()
            for thread in threads:
                thread.join()


def test_a_restart_of_the_server_loses_nothing_and_repeats_nothing(durable: TcpServer) -> None:
    with ss.connect(durable.url) as streamer:
        producer = streamer.producer("s")
        producer.send("0").result(PATIENCE)
        with closing(streamer["s"].follow(max_wait=0)) as batches:
            assert payloads([next(batches)]) == [0]
            for number in (1, 2):
                with plain_client(durable.url) as client:
                    assert eventually(lambda: client.exists("s"))

                def restart(number: int = number) -> None:
                    durable.kill()
                    durable.restart()
                    with plain_client(durable.url) as client:
                        send(client, "s", number)

                thread = threading.Thread(target=restart)
                thread.start()
                assert payloads([next(batches)]) == [number]
                thread.join()


def test_an_outage_longer_than_the_timeout_is_told(durable: TcpServer) -> None:
    with ss.connect(durable.url, timeout=0.5) as streamer:
        with plain_client(durable.url) as client:
            send(client, "s", 0)
        with closing(streamer["s"].follow()) as batches:
            assert payloads([next(batches)]) == [0]
            durable.kill()
            with pytest.raises(ss.ConnectError, match="'s'"):
                next(batches)


def test_a_server_that_comes_back_empty_is_told_before_anything_new_is_given(
    tmp_path: Path,
) -> None:
    with tcp_server(tmp_path) as server, ss.connect(server.url) as streamer:
        with plain_client(server.url) as client:
            send(client, "s", 0)
        with closing(streamer["s"].follow(max_wait=0)) as batches:
            assert payloads([next(batches)]) == [0]
            server.restart()
            with plain_client(server.url) as client:
                send(client, "s", 1)
            with pytest.raises(ss.StreamReset, match="'s'"):
                next(batches)


def deleted(client: redis.Redis) -> None:
    client.delete("s")


def made_anew_at_lower_ids(client: redis.Redis) -> None:
    client.delete("s")
    client.xadd("s", {b"msg": b"9"}, id="1-0")


def made_anew_at_higher_ids(client: redis.Redis) -> None:
    client.delete("s")
    send(client, "s", 9)


@pytest.mark.parametrize("reset", [deleted, made_anew_at_lower_ids, made_anew_at_higher_ids])
def test_a_stream_that_is_deleted_or_made_anew_is_told(
    streamer: ss.Streamer, client: redis.Redis, reset: Callable[[redis.Redis], None]
) -> None:
    send(client, "s", 0, 1)
    with closing(streamer["s"].follow(max_wait=0)) as batches:
        assert payloads([next(batches)]) == [0, 1]
        started = time.monotonic()
        with (
            later(lambda: reset(client), lambda: blocked(client)),
            pytest.raises(ss.StreamReset, match="'s'"),
        ):
            list(batches)
        assert time.monotonic() - started < 5 + 1
    assert streamer["s"].count() == (0 if reset is deleted else 1)


def test_a_stream_that_is_trimmed_or_emptied_is_no_reset(
    streamer: ss.Streamer, client: redis.Redis
) -> None:
    ids = send(client, "s", 0, 1, 2)
    with closing(streamer["s"].first(5).follow(max_wait=0)) as batches:
        got = payloads([next(batches)])
        client.xtrim("s", maxlen=0, approximate=False)
        looked = calls(client, "xinfo|stream")

        def write() -> None:
            client.xdel("s", ids[-1])
            send(client, "s", 3, 4)

        with later(write, lambda: calls(client, "xinfo|stream") > looked + 1):
            got += payloads(batches)
    assert got == [0, 1, 2, 3, 4]


def test_a_warning_says_that_entries_were_gone_before_they_were_read(
    streamer: ss.Streamer, client: redis.Redis
) -> None:
    send(client, "s", 0)
    with closing(streamer["s"].first(4).follow(max_wait=0)) as batches:
        assert payloads([next(batches)]) == [0]
        send(client, "s", *range(1, 10))
        client.xtrim("s", maxlen=3, approximate=False)
        with pytest.warns(UserWarning, match="following 's'.*trimmed"):
            got = payloads(batches)
    assert got == [7, 8, 9]


# Stopping


def test_an_interrupt_ends_it_at_once_and_the_streamer_goes_on(
    streamer: ss.Streamer, client: redis.Redis, alarm: Callable[[float], None]
) -> None:
    send(client, "s", 0)
    for _ in range(10):
        batches = streamer["s"].follow()
        assert payloads([next(batches)]) == [0]
        started = time.monotonic()
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - it may come at once
            alarm(0.1)
            next(batches)
        assert time.monotonic() - started < 0.1 + 0.2 + SLACK
        assert list(batches) == []
        assert streamer["s"].count() == 1
    assert len(client.client_list()) < 10


async def test_cancelling_ends_it_at_once_and_the_streamer_goes_on(
    url: str, client: redis.Redis
) -> None:
    send(client, "s", 0)
    async with ss.connect_async(url) as streamer:
        for _ in range(10):
            async with aclosing(streamer["s"].follow()) as batches:
                assert payloads([await anext(batches)]) == [0]
                waiting = asyncio.ensure_future(anext(batches))
                assert await asyncio.to_thread(eventually, lambda: blocked(client))
                started = time.monotonic()
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
                assert time.monotonic() - started < 0.2 + SLACK
            assert await streamer["s"].count() == 1
        assert len(client.client_list()) < 10


def test_leaving_the_loop_gives_everything_back(streamer: ss.Streamer, client: redis.Redis) -> None:
    send(client, "s", *range(100))
    for _ in range(20):
        for _ in streamer["s"].follow(page_size=10):
            break
    assert streamer["s"].count() == 100
    assert len(client.client_list()) < 10


def test_closing_the_streamer_ends_those_who_follow(url: str, client: redis.Redis) -> None:
    streamer = ss.connect(url)
    with (
        later(streamer.close, lambda: blocked(client)),
        pytest.raises(ss.ConnectError, match="closed"),
    ):
        next(streamer["s"].follow())
