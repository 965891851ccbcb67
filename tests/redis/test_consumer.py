from __future__ import annotations

import asyncio
import threading
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

import seastream_nb as ss
from tests.redis.consuming import calls, numbers, payloads, send
from tests.servers import eventually, plain_client, raw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import redis

PATIENCE = 20.0


@pytest.fixture
def streamer(url: str) -> Iterator[ss.Streamer]:
    with ss.connect(url) as connected:
        yield connected


# Where reading begins


def test_nothing_sent_after_creation_is_missed(
    consume: Callable[..., Any], client: redis.Redis
) -> None:
    send(client, "old", "history")
    send(client, "sharded:1", "history")
    consumer = consume("old", "sharded", "missing")
    send(client, "old", 1)
    send(client, "sharded", 2)
    send(client, "sharded:1", 3)
    send(client, "missing", 4)
    assert sorted(numbers(consumer.take(4, PATIENCE))) == [1, 2, 3, 4]


def test_earliest_begins_with_the_first_message(
    consume: Callable[..., Any], client: redis.Redis
) -> None:
    send(client, "quiet", "q-old")
    consumer = consume("fast", "quiet", auto_stream_reset="earliest")
    send(client, "fast", "f0")
    send(client, "quiet", "q-new")
    got = [(message.stream, message.text()) for message in consumer.take(3, PATIENCE)]
    assert sorted(got) == [("fast", "f0"), ("quiet", "q-new"), ("quiet", "q-old")]


@pytest.mark.parametrize(
    "history", [[], ["old", "older", "oldest"]], ids=["absent", "with history"]
)
def test_a_quiet_stream_beside_a_busy_one_loses_nothing_and_repeats_nothing(
    consume: Callable[..., Any], client: redis.Redis, history: list[str]
) -> None:
    for key in ("slow0", "slow1"):
        send(client, key, *history)
    consumer = consume("fast", "slow0", "slow1")
    for turn in range(5):
        send(client, "fast", f"fast {turn}")
        assert consumer.next(PATIENCE).text() == f"fast {turn}"
        for key in ("slow0", "slow1"):
            send(client, key, f"{key} {turn}")
        send(client, "fast", "also fast")
        got = {message.text() for message in consumer.take(3, PATIENCE)}
        assert got == {f"slow0 {turn}", f"slow1 {turn}", "also fast"}


def test_the_tail_is_never_asked_for_by_a_dollar_sign(
    consume: Callable[..., Any], url: str, client: redis.Redis
) -> None:
    with client.monitor() as monitor:
        consumer = consume("a", "b")
        consumer.rewind("end")
        send(client, "a", 1)
        consumer.next(PATIENCE)
        consumer.seek("latest")
        raw(url, "ECHO", "done")
        seen: list[str] = []
        while not seen or "done" not in seen[-1]:
            seen.append(monitor.next_command()["command"])
    reads = [command.split() for command in seen if command.startswith("XREAD ")]
    assert reads
    assert all("$" not in command for command in reads)


def test_creation_on_a_key_of_another_type_succeeds_and_next_tells(
    consume: Callable[..., Any], client: redis.Redis
) -> None:
    client.set("text", "x")
    consumer = consume("absent", "text")
    with pytest.raises(ss.ServerError, match=r"reading 'text': WRONGTYPE"):
        consumer.next(PATIENCE)
    # Told once; the other stream is read on, and this one when it is a stream.
    send(client, "absent", 1)
    assert numbers([consumer.next(PATIENCE)]) == [1]
    client.delete("text")
    send(client, "text", 2)
    assert numbers([consumer.next(PATIENCE)]) == [2]


def test_the_only_key_is_told_of_each_time_while_it_is_of_another_type(
    consume: Callable[..., Any], client: redis.Redis
) -> None:
    client.set("text", "x")
    consumer = consume("text")
    for _ in range(2):
        with pytest.raises(ss.ServerError, match=r"reading 'text': WRONGTYPE"):
            consumer.next(PATIENCE)
    client.delete("text")
    send(client, "text", 1)
    assert numbers([consumer.next(PATIENCE)]) == [1]


# Taking messages


def test_next_gives_up_after_its_timeout_and_loses_nothing(
    consume: Callable[..., Any], client: redis.Redis
) -> None:
    consumer = consume("s")
    for timeout in (0, 0.02, "20ms"):
        with pytest.raises(TimeoutError, match="reading 's'"):
            consumer.next(timeout)
    send(client, "s", 1, 2)
    assert numbers([consumer.next(PATIENCE), consumer.next(PATIENCE)]) == [1, 2]


def test_take_gives_n_messages_or_what_came_in_time(
    consume: Callable[..., Any], client: redis.Redis
) -> None:
    consumer = consume("s", auto_stream_reset="earliest", batch_size=3)
    assert consumer.take(2, 0.01) == []
    send(client, "s", *range(10))
    assert consumer.take(0) == []
    assert numbers(consumer.take(4, PATIENCE)) == [0, 1, 2, 3]
    assert numbers(consumer.take(1)) == [4]
    assert eventually(lambda: numbers(consumer.take(5, 0.01)) == [5, 6, 7, 8, 9], within=1)


def test_take_waits_for_what_is_missing_and_keeps_the_rest(
    consume: Callable[..., Any], client: redis.Redis
) -> None:
    consumer = consume("s")
    send(client, "s", 0)
    later = threading.Timer(0.1, send, (client, "s", 1, 2))
    later.start()
    assert numbers(consumer.take(2, PATIENCE)) == [0, 1]
    assert numbers(consumer.take(1, PATIENCE)) == [2]
    later.join()


@pytest.mark.parametrize("call", ["take", "page"])
@pytest.mark.parametrize("count", [-1, 1.5, True, "2"])
def test_a_count_that_is_no_number_of_messages_is_refused(
    consume: Callable[..., Any], call: str, count: Any
) -> None:
    with pytest.raises(ss.ConfigError, match=repr(count)):
        getattr(consume("s"), call)(count)


def test_a_page_is_what_came_as_the_columns_of_a_stream(
    consume: Callable[..., Any], client: redis.Redis, streamer: ss.Streamer
) -> None:
    send(client, "s", *range(5))
    send(client, "s:7", "x")
    consumer = consume("s", auto_stream_reset="earliest")
    page = consumer.page(timeout=PATIENCE)
    while page.num_rows < 6:
        page = pa.concat_batches([page, consumer.page(timeout=PATIENCE)])
    stored = streamer["s"].to_arrow()
    assert page.schema.equals(stored.schema)
    assert sorted(page.to_pylist(), key=str) == sorted(stored.to_pylist(), key=str)


def test_a_page_has_up_to_max_messages_and_the_rest_comes_next(
    consume: Callable[..., Any], client: redis.Redis
) -> None:
    send(client, "s", *range(10))
    consumer = consume("s", auto_stream_reset="earliest")
    assert consumer.page(4, PATIENCE)["payload"].to_pylist() == [b"0", b"1", b"2", b"3"]
    assert consumer.page(0).num_rows == 0
    assert consumer.page(timeout=PATIENCE)["payload"].to_pylist() == [
        b"4", b"5", b"6", b"7", b"8", b"9",
    ]  # fmt: skip


def test_a_page_without_messages_has_the_same_columns(
    consume: Callable[..., Any], client: redis.Redis
) -> None:
    consumer = consume("s")
    empty = consumer.page(timeout=0.01)
    assert empty.num_rows == 0
    send(client, "s", 1)
    assert consumer.page(timeout=PATIENCE).schema.equals(empty.schema)


def test_a_page_includes_what_was_read_ahead(
    consume: Callable[..., Any], client: redis.Redis, streamer: ss.Streamer
) -> None:
    send(client, "s", *range(10))
    before = calls(client, "xread")
    consumer = consume("s", auto_stream_reset="earliest", batch_size=5)
    consumer.next(PATIENCE)
    assert eventually(lambda: calls(client, "xread") == before + 2)
    streamer.catalog()  # the same event loop has the second reply when it has this one
    page = consumer.page(timeout=PATIENCE)
    assert [int(each) for each in page["payload"].to_pylist()] == list(range(1, 10))


def test_iteration_goes_on_where_it_was_left(
    consume: Callable[..., Any], client: redis.Redis
) -> None:
    send(client, "s", *range(25))
    consumer = consume("s", auto_stream_reset="earliest", batch_size=10)
    got: list[int] = []
    for stop in (3, 20, 25):
        for message in consumer:
            got += numbers([message])
            if len(got) == stop:
                break
    assert got == list(range(25))


async def test_several_tasks_that_wait_get_distinct_messages(url: str, client: redis.Redis) -> None:
    async with ss.connect_async(url) as streamer, await streamer.consumer("s") as consumer:
        waiting = [asyncio.create_task(consumer.next(PATIENCE)) for _ in range(5)]
        for value in range(5):
            send(client, "s", value)
            await asyncio.sleep(0)
        assert sorted(numbers(await asyncio.gather(*waiting))) == [0, 1, 2, 3, 4]


async def test_a_next_that_is_cancelled_loses_nothing(url: str, client: redis.Redis) -> None:
    async with ss.connect_async(url) as streamer, await streamer.consumer("s") as consumer:
        for value in range(30):
            waiting = asyncio.create_task(consumer.next(PATIENCE))
            await asyncio.sleep(0.001 * (value % 3))  # to be cancelled at different moments
            send(client, "s", value)
            waiting.cancel()
            try:
                message = await waiting
            except asyncio.CancelledError:
                message = await consumer.next(PATIENCE)
            assert numbers([message]) == [value]


# What is in an entry


def test_every_occurrence_of_the_message_field_is_a_message(
    consume: Callable[..., Any], client: redis.Redis
) -> None:
    entry = client.execute_command("XADD", "s", "*", "msg", "a", "x", "y", "msg", "b").decode()
    consumer = consume("s", auto_stream_reset="earliest")
    got = consumer.take(2, PATIENCE)
    assert payloads(got) == [b"a", b"b"]
    assert [message.id for message in got] == [entry, entry]


def test_entries_without_the_message_field_are_passed(
    consume: Callable[..., Any], client: redis.Redis
) -> None:
    consumer = consume("s", auto_stream_reset="earliest", batch_size=1)
    client.xadd("s", {b"\xff\xfe": b"a field name that is no text"})
    client.xadd("s", {b"other": b"x"})
    send(client, "s", 1)
    assert numbers([consumer.next(PATIENCE)]) == [1]


def test_an_idle_consumer_asks_about_once_a_second(
    consume: Callable[..., Any], client: redis.Redis
) -> None:
    client.xadd("s", {b"other": b"x"})
    consumer = consume("s", auto_stream_reset="earliest")
    before = calls(client, "xread")
    with pytest.raises(TimeoutError):
        consumer.next(1.5)
    assert 1 <= calls(client, "xread") - before <= 4


def test_ids_that_a_sequence_number_cannot_hold_are_delivered(
    consume: Callable[..., Any], client: redis.Redis
) -> None:
    ids = ["5-65536", "253402300800000-0", "18446744073709551615-18446744073709551615"]
    for entry_id in ids:
        client.xadd("s", {b"msg": b"x"}, id=entry_id)
    consumer = consume("s", auto_stream_reset="earliest", batch_size=1)
    got = consumer.take(3, PATIENCE)
    assert [message.id for message in got] == ids
    assert [message.sequence is None for message in got] == [True, False, True]
    assert [message.timestamp is None for message in got] == [False, True, True]
    consumer.rewind("beginning")
    assert consumer.page(3, PATIENCE)["sequence"].null_count >= 1


@pytest.mark.parametrize("key", ["app:orders", "a:7", b"\xff\x00", "a:b:1"])
def test_any_redis_key_can_be_consumed(
    consume: Callable[..., Any], client: redis.Redis, key: str | bytes
) -> None:
    send(client, "a", "another stream")
    consumer = consume(key)
    send(client, key, 1)
    message = consumer.next(PATIENCE)
    assert message.payload == b"1"
    assert consumer.stream_shards == [(message.stream, 0)]


def test_with_shards_off_only_the_key_itself_is_read(url: str, client: redis.Redis) -> None:
    send(client, "s:1", "shard")
    send(client, "s", 1)
    with ss.connect(url, shards="off") as streamer:
        consumer = streamer.consumer("s", auto_stream_reset="earliest")
        assert consumer.stream_shards == [("s", 0)]
        assert payloads(consumer.take(2, 0.1)) == [b"1"]


# Order


def test_messages_of_one_page_come_in_time_order_and_shards_keep_theirs(
    consume: Callable[..., Any], client: redis.Redis
) -> None:
    for key, ids in {"a": ["1-0", "3-0", "3-1", "5-0"], "b": ["2-0", "3-0", "6-0"]}.items():
        for entry_id in ids:
            client.xadd(key, {b"msg": b"x"}, id=entry_id)
    consumer = consume("a", "b", auto_stream_reset="earliest")
    got = [(message.stream, message.id) for message in consumer.take(7, PATIENCE)]
    assert got == [
        ("a", "1-0"), ("b", "2-0"), ("a", "3-0"), ("a", "3-1"), ("b", "3-0"), ("a", "5-0"),
        ("b", "6-0"),
    ]  # fmt: skip


def test_two_consumers_of_several_streams(url: str, streamer: ss.Streamer) -> None:
    # The reference's own case for real-time consumers.
    producer = streamer.producer()
    receipts = [producer.send_to("a", str(n)).result(PATIENCE) for n in range(5)]
    sequences = [receipt.sequence or 0 for receipt in receipts]
    assert sequences == sorted(set(sequences))
    half = streamer.consumer("a")
    for n in range(5, 10):
        producer.send_to("a", str(n))
    producer.flush()
    full = streamer.consumer("a", "b", auto_stream_reset="earliest")
    assert numbers(half.take(5, PATIENCE)) == [5, 6, 7, 8, 9]
    assert numbers(full.take(10, PATIENCE)) == list(range(10))
    for n in range(10, 13):
        producer.send_to("a", str(n))
    producer.flush()
    half.end()
    assert numbers(full.take(2, PATIENCE)) == [10, 11]
    for key, n in [("a", 13), ("a", 14), *(("b", n) for n in range(15, 20))]:
        producer.send_to(key, str(n))
    producer.end()
    assert numbers(full.take(3, PATIENCE)) == [12, 13, 14]
    assert numbers(full.take(5, PATIENCE)) == [15, 16, 17, 18, 19]


def test_a_consumer_of_a_sharded_stream_gets_every_shard(
    consume: Callable[..., Any], streamer: ss.Streamer
) -> None:
    producer = streamer.producer("s", sharder=ss.RoundRobinSharder(3))
    receipts = [producer.send(str(n)).result(PATIENCE) for n in range(10)]
    assert [(receipt.stream, receipt.shard) for receipt in receipts] == [
        ("s", n % 3) for n in range(10)
    ]
    consumer = consume("s", auto_stream_reset="earliest")
    assert sorted(numbers(consumer.take(10, PATIENCE))) == list(range(10))
    assert consumer.stream_shards == [("s", 0), ("s", 1), ("s", 2)]
    for n in range(10, 20):
        producer.send(str(n))
    producer.end()
    assert sorted(numbers(consumer.take(10, PATIENCE))) == list(range(10, 20))


# Bounds


def test_no_more_than_a_page_is_read_ahead(
    consume: Callable[..., Any], url: str, client: redis.Redis, streamer: ss.Streamer
) -> None:
    send(client, "s", *range(200))
    before = calls(client, "xread")
    consumer = consume("s", auto_stream_reset="earliest", batch_size=10)
    assert eventually(lambda: calls(client, "xread") > before)
    # These go through the same event loop, behind whatever the consumer would ask.
    for _ in range(20):
        streamer.catalog()
    assert calls(client, "xread") - before <= 2
    assert numbers(consumer.take(200, PATIENCE)) == list(range(200))


def test_without_acks_to_keep_nothing_grows_while_messages_pass(
    consume: Callable[..., Any], client: redis.Redis
) -> None:
    consumer = consume("s")
    with pytest.raises(ss.AckNotAllowed, match="delayed"):
        consumer.ack(None)
    with pytest.raises(ss.CommitNotAllowed, match="realtime"):
        consumer.commit()
    consumer.commit_asap()
    send(client, "s", 1)
    consumer = consume("s", auto_stream_reset="earliest", auto_commit="disabled")
    consumer.ack(consumer.next(PATIENCE))
    assert client.xinfo_groups("s") == []
    assert (consumer.group_id, consumer.consumer_id) == (None, None)


# The end


CALLS: list[Callable[[Any], object]] = [
    lambda consumer: consumer.next(),
    lambda consumer: consumer.take(1),
    lambda consumer: consumer.page(),
    lambda consumer: consumer.seek("earliest"),
    lambda consumer: consumer.rewind("end"),
    lambda consumer: next(iter(consumer)),
    lambda consumer: consumer.commit(),
]


@pytest.mark.parametrize("end", ["end", "abort", "close"])
def test_an_ended_consumer_says_so_and_may_be_ended_again(
    consume: Callable[..., Any], client: redis.Redis, end: str
) -> None:
    send(client, "s", *range(10))
    consumer = consume("s", auto_stream_reset="earliest")
    consumer.next(PATIENCE)
    getattr(consumer, end)()
    for call in CALLS:
        with pytest.raises(ss.ConsumerClosed, match="reading 's'"):
            call(consumer)
    consumer.end()
    consumer.abort()


def test_the_context_ends_a_consumer_on_success_and_on_an_error(streamer: ss.Streamer) -> None:
    with streamer.consumer("s") as consumer:
        pass
    with pytest.raises(LookupError), streamer.consumer("s") as broken:
        raise LookupError
    for each in (consumer, broken):
        with pytest.raises(ss.ConsumerClosed):
            each.next()


def test_closing_the_streamer_ends_its_consumers(url: str, client: redis.Redis) -> None:
    streamer = ss.connect(url)
    consumer = streamer.consumer("s")
    streamer.close()
    with pytest.raises(ss.ConsumerClosed):
        consumer.next()
    consumer.end()


def test_a_next_in_another_thread_hears_of_the_end(streamer: ss.Streamer) -> None:
    consumer = streamer.consumer("s")
    waiting = threading.Event()
    heard: list[Exception] = []

    def wait() -> None:
        waiting.set()
        try:
            consumer.next()
        except ss.ConsumerClosed as error:
            heard.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    waiting.wait()
    consumer.end()
    thread.join(PATIENCE)
    assert len(heard) == 1


async def test_a_next_in_another_task_hears_of_the_end(url: str) -> None:
    async with ss.connect_async(url) as streamer:
        consumer = await streamer.consumer("s")
        waiting = [asyncio.create_task(consumer.next()) for _ in range(3)]
        await asyncio.sleep(0)
        await consumer.end()
        for each in waiting:
            with pytest.raises(ss.ConsumerClosed):
                await each


def test_an_ended_consumer_leaves_no_connection_reading(url: str, client: redis.Redis) -> None:
    with ss.connect(url) as streamer:
        for _ in range(20):
            streamer.consumer("s").end()
        assert eventually(lambda: blocked(url) == 0)
    assert eventually(lambda: client.info("clients")["connected_clients"] <= 3)


def blocked(url: str) -> int:
    with plain_client(url) as client:
        return int(client.info("clients")["blocked_clients"])


def test_a_timeout_that_cannot_be_meant_is_refused_also_when_messages_wait(
    streamer: ss.Streamer, client: redis.Redis
) -> None:
    send(client, "s", *range(9))
    consumer = streamer.consumer("s", auto_stream_reset="earliest")
    assert numbers(consumer.take(2)) == [0, 1]
    waits = (consumer.next, partial(consumer.take, 1), partial(consumer.page, 1))
    for wait, timeout in product(waits, ("x", -1, "-1s")):
        with pytest.raises(ss.ConfigError, match=f"{timeout}"):
            wait(timeout)
    assert numbers(consumer.take(7, 0)) == [2, 3, 4, 5, 6, 7, 8]


def test_a_realtime_consumer_has_no_group_whatever_it_was_given(streamer: ss.Streamer) -> None:
    consumer = streamer.consumer("s", group="g", consumer_id="c")
    assert (consumer.group_id, consumer.consumer_id) == (None, None)
