"""Producers on a server that works; `test_producer_outages.py` has those on one that does not."""

from __future__ import annotations

import json
import threading
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import seastream_nb as ss
from seastream_nb.errors import (
    AlreadyAnchored,
    ConfigError,
    MaybeSent,
    NotAnchored,
    NotSent,
    ProducerClosed,
    QueueFull,
    ReadOnlyError,
    StreamKeyError,
    TimeTypeError,
    Unsupported,
)
from seastream_nb.keys import EntryId
from seastream_nb.redis.connection import Link
from seastream_nb.redis.streamer import RedisStreamer
from tests.servers import raw, tcp_server

ISSUE = 200_000


@pytest.fixture
def producer(streamer: ss.Streamer) -> Iterator[ss.Producer]:
    with streamer.producer("ticks") as anchored:
        yield anchored


def texts(stream: ss.Stream) -> list[str]:
    return [message.text() for message in stream]


# Order, exactly once, receipts.


def test_messages_arrive_in_order_and_each_has_its_receipt(
    streamer: ss.Streamer, producer: ss.Producer
) -> None:
    pending = [producer.send(str(number)) for number in range(5_000)]
    producer.flush()
    assert all(each.done for each in pending)
    messages = list(streamer["ticks"])
    assert [message.text() for message in messages] == [str(number) for number in range(5_000)]
    assert [message.header for message in messages] == [each.result() for each in pending]


async def test_a_receipt_may_be_awaited_before_and_after_the_flush(url: str) -> None:
    async with (
        ss.connect_async(url) as streamer,
        await streamer.producer("ticks") as producer,
    ):
        first, second = producer.send("1"), producer.send("2")
        receipts = [await first]
        await producer.flush()
        receipts.append(await second)
        assert [message.header async for message in streamer["ticks"]] == receipts


def test_many_messages_over_eight_shards_arrive_once_and_in_order(streamer: ss.Streamer) -> None:
    with streamer.producer("ticks", sharder=ss.RoundRobinSharder(8)) as producer:
        for number in range(ISSUE):
            producer.send(b"%d" % number)
    for shard in range(8):
        payloads = streamer["ticks"].shard(shard).to_arrow()["payload"].to_pylist()
        assert payloads == [b"%d" % number for number in range(shard, ISSUE, 8)]


def test_threads_may_send_at_once_and_each_keeps_its_order(
    streamer: ss.Streamer, producer: ss.Producer
) -> None:
    def send(name: str) -> None:
        for number in range(2_000):
            producer.send(json.dumps([name, number]))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(send, "abcdefgh"))
    producer.flush()
    arrived = [message.json() for message in streamer["ticks"]]
    for name in "abcdefgh":
        assert [number for sender, number in arrived if sender == name] == list(range(2_000))
    assert len(arrived) == 16_000


def test_threads_share_one_turn_of_the_sharder(streamer: ss.Streamer) -> None:
    with streamer.producer("ticks", sharder=ss.RoundRobinSharder(4)) as producer:

        def send(_: int) -> None:
            for _number in range(500):
                producer.send("x")

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(send, range(4)))
        producer.flush()
    assert [streamer["ticks"].shard(shard).count() for shard in range(4)] == [500] * 4


def test_one_producer_sends_to_many_streams(streamer: ss.Streamer) -> None:
    with streamer.producer() as producer:
        receipts = [producer.send_to(f"s{number % 3}", str(number)) for number in range(9)]
        assert [each.result().stream for each in receipts[:4]] == ["s0", "s1", "s2", "s0"]
    assert texts(streamer["s1"]) == ["1", "4", "7"]


def test_the_message_field_is_the_connections(url: str, client: Any) -> None:
    with ss.connect(url, message_field="body") as streamer, streamer.producer("s") as producer:
        producer.send("x")
    assert [fields for _, fields in client.xrange("s")] == [{b"body": b"x"}]


# What a payload may be.


@pytest.mark.parametrize(
    ("payload", "data"),
    [
        ("å☃", "å☃".encode()),
        (b"\x00\xff", b"\x00\xff"),
        (bytearray(b"ab"), b"ab"),
        (memoryview(b"abcd")[::2], b"ac"),
        (b"", b""),
        ("", b""),
        (b"x" * (16 * 2**20), b"x" * (16 * 2**20)),
    ],
    ids=["text", "bytes", "bytearray", "strided view", "no bytes", "no text", "16 MiB"],
)
def test_a_payload_is_text_or_bytes(
    payload: Any, data: bytes, streamer: ss.Streamer, producer: ss.Producer
) -> None:
    producer.send(payload).result()
    assert [message.payload for message in streamer["ticks"]] == [data]


def test_a_buffer_is_copied(streamer: ss.Streamer, producer: ss.Producer) -> None:
    buffer = bytearray(b"before")
    producer.send(memoryview(buffer))
    producer.send(buffer)
    buffer[:] = b"after!"
    producer.flush()
    assert texts(streamer["ticks"]) == ["before", "before"]


def test_the_payload_of_a_message_is_sent(streamer: ss.Streamer, producer: ss.Producer) -> None:
    original = producer.send("x").result()
    (message,) = streamer["ticks"]
    copy = producer.send(message).result()
    assert copy.entry_id > original.entry_id
    assert texts(streamer["ticks"]) == ["x", "x"]


@pytest.mark.parametrize("payload", [{"a": 1}, 5, None, 1.5, ["x"]])
def test_another_payload_is_refused_and_the_error_names_a_cure(
    payload: Any, producer: ss.Producer
) -> None:
    with pytest.raises(TypeError, match=rf"not {type(payload).__name__}: .*json\.dumps"):
        producer.send(payload)


def test_a_payload_over_the_servers_limit_is_refused(producer: ss.Producer) -> None:
    with pytest.raises(ConfigError, match="512 MiB"):
        producer.send(bytes(512 * 2**20 + 1))


# Anchors and keys.


def test_a_producer_is_anchored_once(streamer: ss.Streamer) -> None:
    with streamer.producer() as producer:
        assert producer.anchored is None
        with pytest.raises(NotAnchored, match="send_to"):
            producer.send("x")
        producer.anchor("ticks")
        assert producer.anchored == "ticks"
        assert producer.send("x").result().stream == "ticks"
        with pytest.raises(AlreadyAnchored, match="'ticks'"):
            producer.anchor("others")


@pytest.mark.parametrize(
    "key",
    ["", "a:b", "å", "x" * 250, "SEA_STREAMER_INTERNAL", "SEA_STREAMER_WILDCARD", b"ticks", 5],
)
def test_a_key_that_seastreamer_forbids_is_refused(key: Any, streamer: ss.Streamer) -> None:
    with pytest.raises(StreamKeyError):
        streamer.producer(key)
    with streamer.producer() as producer:
        with pytest.raises(StreamKeyError):
            producer.anchor(key)
        with pytest.raises(StreamKeyError):
            producer.send_to(key, "x")
        producer.anchor("ticks")  # what was refused is not the anchor


def test_a_read_only_connection_has_no_producers(url: str) -> None:
    with ss.connect(url, read_only=True) as streamer, pytest.raises(ReadOnlyError):
        streamer.producer("ticks")


def test_any_number_of_streams_is_written_to(
    streamer: ss.Streamer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seastream_nb.producing.MOST_PLACES", 3)
    with streamer.producer() as producer:
        for number in range(20):
            producer.send_to(f"s{number % 7}", str(number))
    assert texts(streamer["s6"]) == ["6", "13"]


# Failures.


def test_only_what_the_server_refuses_in_the_middle_of_a_pipeline_fails(
    streamer: ss.Streamer, producer: ss.Producer
) -> None:
    ids = ["5-1", "5-2", "5-2", "5-1", "5-3"]
    pending = [producer.send(text, timestamp=text) for text in ids]
    for late in (pending[2], pending[3]):
        with pytest.raises(NotSent, match=r"'ticks'.*equal or smaller than the target stream"):
            late.result()
    assert [pending[each].result().id for each in (0, 1, 4)] == ["5-1", "5-2", "5-3"]
    assert texts(streamer["ticks"]) == ["5-1", "5-2", "5-3"]
    producer.flush()


def test_a_key_of_another_type_fails_alone(
    streamer: ss.Streamer, producer: ss.Producer, client: Any
) -> None:
    client.set("plain", "x")
    good, bad, after = producer.send("1"), producer.send_to("plain", "2"), producer.send("3")
    with pytest.raises(NotSent, match="sending to 'plain': WRONGTYPE"):
        bad.result()
    assert [each.result().stream for each in (good, after)] == ["ticks", "ticks"]
    assert texts(streamer["ticks"]) == ["1", "3"]


def test_a_server_out_of_memory_refuses_and_later_takes_again(tmp_path: Path) -> None:
    with (
        tcp_server(tmp_path) as server,
        ss.connect(server.url) as streamer,
        streamer.producer("ticks") as producer,
    ):
        raw(server.url, "CONFIG", "SET", "maxmemory", 1)
        refused = producer.send("x")
        with pytest.raises(NotSent, match="OOM command not allowed"):
            refused.result()
        raw(server.url, "CONFIG", "SET", "maxmemory", 0)
        assert producer.send("y").result().stream == "ticks"
        assert texts(streamer["ticks"]) == ["y"]


def test_a_user_without_permission_is_told_so(tmp_path: Path) -> None:
    with tcp_server(tmp_path) as server:
        raw(server.url, "ACL", "SETUSER", "reader", "on", ">pw", "~*", "+@all", "-xadd")
        with (
            ss.connect(server.url, username="reader", password="pw") as streamer,
            streamer.producer("ticks") as producer,
            pytest.raises(NotSent, match="NOPERM"),
        ):
            producer.send("x").result()


def test_flush_raises_the_first_failure_that_nobody_has_seen_once(producer: ss.Producer) -> None:
    producer.send("x", timestamp="9-9")
    seen, *unseen = [producer.send(text, timestamp=text) for text in ("1-1", "2-2", "3-3")]
    with pytest.raises(NotSent):
        seen.result()
    with pytest.raises(NotSent, match=r"and 1 more sends failed"):
        producer.flush()
    producer.flush()
    for each in unseen:
        with pytest.raises(NotSent):  # a receipt tells its own story whenever it is asked
            each.result()
    producer.flush()


async def test_a_failure_that_was_awaited_is_seen(url: str) -> None:
    async with (
        ss.connect_async(url) as streamer,
        await streamer.producer("ticks") as producer,
    ):
        producer.send("x", timestamp="9-9")
        with pytest.raises(NotSent):
            await producer.send("y", timestamp="1-1")
        await producer.flush()
        producer.send("y", timestamp="1-1")
        with pytest.raises(NotSent):
            await producer.flush()


def test_failures_that_are_never_seen_are_remembered_within_a_bound(
    producer: ss.Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seastream_nb.outbox.FAILED_BATCHES", 3)
    producer.send("x", timestamp="9-9").result()
    for number in range(1, 8):
        failed = producer.send("y", timestamp=f"1-{number}")
        with suppress(TimeoutError):
            while not failed.done:  # each is a batch of its own
                failed._batch.waiter().result(10)  # type: ignore[union-attr]
    with pytest.raises(NotSent, match="2 more"):
        producer.flush()
    producer.flush()


def test_a_fault_of_our_own_fails_every_receipt_instead_of_hanging(
    streamer: ss.Streamer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise MemoryError("no room for a batch")

    producer = streamer.producer("ticks")
    with monkeypatch.context() as patch:
        patch.setattr(Link, "request", broken)
        pending = producer.send("x")
        with pytest.raises(MaybeSent, match=r"'ticks'.*MemoryError.*no room for a batch"):
            pending.result(timeout=60)
    producer.flush()  # it was seen
    with pytest.raises(ProducerClosed, match="no room for a batch"):
        producer.send("x")
    producer.end()


# The end.


def test_after_the_end_nothing_is_sent(streamer: ss.Streamer) -> None:
    producer = streamer.producer("ticks")
    pending = producer.send("x")
    producer.end()
    assert pending.done
    with pytest.raises(ProducerClosed, match="ended"):
        producer.send("y")
    with pytest.raises(ProducerClosed):
        producer.send_to("others", "y")
    producer.end()
    producer.flush()
    assert texts(streamer["ticks"]) == ["x"]


def refused_at_the_end(producer: ss.Producer | ss.AsyncProducer) -> None:
    producer.send("x")
    producer.send("y", timestamp="1-1")


def test_the_end_of_a_with_block_raises_what_nobody_has_seen(streamer: ss.Streamer) -> None:
    producer = streamer.producer("ticks")
    refused_at_the_end(producer)
    with pytest.raises(NotSent), producer:
        pass
    with pytest.raises(ProducerClosed):
        producer.send("x")


def test_an_exception_that_leaves_the_block_is_not_masked(streamer: ss.Streamer) -> None:
    producer = streamer.producer("ticks")
    refused_at_the_end(producer)
    with pytest.raises(ZeroDivisionError) as caught, producer:
        raise ZeroDivisionError
    assert "NotSent" in caught.value.__notes__[0]
    assert texts(streamer["ticks"]) == ["x"]


async def test_the_awaiting_facade_ends_like_the_blocking_one(url: str) -> None:
    async with ss.connect_async(url) as streamer:
        producer = await streamer.producer("ticks")
        refused_at_the_end(producer)
        with pytest.raises(ZeroDivisionError) as caught:
            async with producer:
                raise ZeroDivisionError
        assert "NotSent" in caught.value.__notes__[0]
        await producer.end()
        with pytest.raises(ProducerClosed):
            producer.send("x")
        another = await streamer.producer("ticks")
        refused_at_the_end(another)
        with pytest.raises(NotSent):
            async with another:
                pass


def test_closing_the_streamer_flushes_its_producers(url: str) -> None:
    streamer = ss.connect(url)
    producers = [streamer.producer("ticks") for _ in range(3)]
    for number in range(3_000):
        producers[number % 3].send(str(number))
    streamer.close()
    with pytest.raises(ProducerClosed):
        producers[0].send("x")
    with ss.connect(url) as again:
        assert again["ticks"].count() == 3_000


def test_closing_the_streamer_raises_a_failure_that_nobody_has_seen(url: str) -> None:
    streamer = ss.connect(url)
    producer = streamer.producer("ticks")
    producer.send("x", timestamp="5-5")
    producer.send("x", timestamp="1-1")
    with pytest.raises(NotSent):
        streamer.close()
    streamer.close()


def test_a_producer_gives_its_link_back(streamer: ss.Streamer, client: Any) -> None:
    def connections() -> int:
        return int(client.info("clients")["connected_clients"])

    for _ in range(3):
        with streamer.producer("ticks") as producer:
            producer.send("x")
    before = connections()
    for _ in range(10):
        with streamer.producer("ticks") as producer:
            producer.send("x")
    assert connections() == before


# Timestamps.

MOMENT = datetime(2023, 11, 14, 22, 13, 20, 123000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("timestamp", "entry_id"),
    [
        (MOMENT, "1700000000123-0"),
        ("2023-11-14T22:13:20.123Z", "1700000000123-0"),
        ("2023-11-14T23:13:20.123+01:00", "1700000000123-0"),
        (MOMENT.replace(tzinfo=None), "1700000000123-0"),
        (np.datetime64("2023-11-14T22:13:20.123"), "1700000000123-0"),
        (pd.Timestamp(MOMENT), "1700000000123-0"),
        (EntryId(1700000000123, 7), "1700000000123-7"),
        ("1700000000123-7", "1700000000123-7"),
        ("1700000000123", "1700000000123-0"),
        ("2023-11-14T22:13:20.123999Z", "1700000000123-0"),
        ("2023-11-14T22:13:20.1229999Z", "1700000000122-0"),
        (datetime(1970, 1, 1, tzinfo=UTC), "0-1"),
    ],
)
def test_a_timestamp_is_the_time_of_the_entry(
    timestamp: Any, entry_id: str, producer: ss.Producer
) -> None:
    assert producer.send("x", timestamp=timestamp).result().id == entry_id


def test_entries_of_one_time_are_numbered(producer: ss.Producer) -> None:
    pending = [producer.send("x", timestamp=MOMENT) for _ in range(3)]
    assert [each.result().id for each in pending] == [f"1700000000123-{n}" for n in range(3)]


def test_a_message_says_when(streamer: ss.Streamer, producer: ss.Producer) -> None:
    original = producer.send("x").result()
    with streamer.producer("copy") as copy:
        assert copy.send("x", timestamp=original).result().id == original.id


def test_a_naive_timestamp_is_read_in_the_zone_of_the_connection(url: str) -> None:
    with ss.connect(url, tz="Europe/Berlin") as streamer, streamer.producer("s") as producer:
        receipt = producer.send("x", timestamp="2023-11-14T23:13:20.123").result()
        assert receipt.timestamp == MOMENT
        with pytest.raises(ConfigError, match="occurs twice"):
            producer.send("x", timestamp="2026-10-25T02:30")


@pytest.mark.parametrize("timestamp", ["-10m", "now", "02:10", "earliest", "latest"])
def test_a_timestamp_is_no_relative_time(timestamp: str, producer: ss.Producer) -> None:
    with pytest.raises(ConfigError, match="point in time"):
        producer.send("x", timestamp=timestamp)


def test_a_time_before_1970_or_of_a_wrong_type_is_refused(producer: ss.Producer) -> None:
    with pytest.raises(ConfigError, match="from 1970 on"):
        producer.send("x", timestamp="1969-12-31T23:59:59.999Z")
    with pytest.raises(TimeTypeError):
        producer.send("x", timestamp=1_700_000_000)  # type: ignore[arg-type]


def test_the_nanosecond_format_keeps_nanoseconds(url: str) -> None:
    with ss.connect(url, timestamp_format="ns") as streamer, streamer.producer("s") as producer:
        receipt = producer.send("x", timestamp="2023-11-14T22:13:20.123456789Z").result()
        assert (receipt.id, receipt.timestamp_ns) == (
            "1700000000123456789-0",
            1700000000123456789,
        )
        now = producer.send("x").result()
        assert abs(now.timestamp.timestamp() - datetime.now(UTC).timestamp()) < 600  # type: ignore[union-attr]
        with pytest.raises(ConfigError):
            producer.send("x", timestamp="2600-01-01")  # over what 64 bits of nanoseconds hold


def test_threads_that_send_nanosecond_times_do_not_overtake_each_other(url: str) -> None:
    with ss.connect(url, timestamp_format="ns") as streamer, streamer.producer("s") as producer:

        def send(_: int) -> None:
            for _number in range(1_000):
                producer.send("x")

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(send, range(4)))
        producer.flush()  # the server refuses an id that is below the one before
        assert streamer["s"].count() == 4_000


def test_a_server_before_7_takes_only_full_ids(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def old(_: RedisStreamer) -> tuple[int, ...]:
        return (6, 2)

    monkeypatch.setattr(RedisStreamer, "_server_version", old)
    with ss.connect(url) as streamer, streamer.producer("s") as producer:
        assert producer.send("x", timestamp="5-1").result().id == "5-1"
        assert producer.send("x").result().entry_id > EntryId(5, 1)
        with pytest.raises(Unsupported, match=r"before 7\.0"):
            producer.send("x", timestamp=MOMENT)
    with (
        ss.connect(url, timestamp_format="ns") as streamer,
        streamer.producer("n") as producer,
        pytest.raises(Unsupported),
    ):
        producer.send("x")


# The bounded queue, where the server answers.


def test_the_blocking_facade_waits_for_room(streamer: ss.Streamer) -> None:
    with streamer.producer("ticks", max_queue=10_000) as producer:
        for number in range(2_000):
            producer.send(f"{number:01000}")
    assert [int(text) for text in texts(streamer["ticks"])] == list(range(2_000))


def test_waiting_for_room_skips_no_shard(streamer: ss.Streamer) -> None:
    with streamer.producer("ticks", max_queue=10_000, sharder=ss.RoundRobinSharder(4)) as producer:
        receipts = [producer.send("x" * 1000) for _ in range(400)]
        assert [each.result().shard for each in receipts] == [0, 1, 2, 3] * 100


async def test_the_awaiting_facade_is_told_that_the_queue_is_full(url: str) -> None:
    async with (
        ss.connect_async(url) as streamer,
        await streamer.producer("ticks", max_queue=10_000) as producer,
    ):
        sent, full = 0, 0
        while sent < 300:
            try:
                producer.send(f"{sent:01000}")
                sent += 1
            except QueueFull:
                full += 1
                await producer.room()
        await producer.flush()
        assert full > 10
        assert [int(message.text()) async for message in streamer["ticks"]] == list(range(300))


async def test_a_message_larger_than_the_queue_goes_alone(url: str) -> None:
    async with (
        ss.connect_async(url) as streamer,
        await streamer.producer("ticks", max_queue=1_000) as producer,
    ):
        producer.send("x" * 100_000)
        await producer.room(100_000)
        producer.send("y" * 100_000)
        await producer.flush()
        assert await streamer["ticks"].count() == 2


def test_large_messages_pass_a_small_queue_one_by_one(streamer: ss.Streamer) -> None:
    with streamer.producer("ticks", max_queue="1KiB") as producer:
        for number in range(20):
            producer.send(f"{number:020000}")
    assert streamer["ticks"].count() == 20


def test_an_empty_queue_counts_nothing_more(producer: ss.Producer) -> None:
    for size in (0, 1, 300, 5_000):
        producer.send("x" * size)
        producer.send("x" * size, timestamp="1-1")
    with pytest.raises(NotSent):
        producer.flush()
    assert producer._core._outbox._bytes == 0


@pytest.mark.parametrize("keep", [False, True])
def test_no_payload_is_kept_after_its_answer(keep: bool, producer: ss.Producer) -> None:
    producer.send("x").result()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        receipts = [producer.send(bytes(100_000)) for _ in range(100)]
        if not keep:
            receipts.clear()
        producer.flush()
        kept = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert kept < 1_000_000


def test_the_repr_names_the_anchor(streamer: ss.Streamer) -> None:
    with streamer.producer() as producer:
        assert repr(producer) == "<Producer not anchored>"
        producer.anchor("ticks")
        assert repr(producer) == "<Producer anchored to 'ticks'>"


def test_a_sharder_that_blocks_holds_up_nobody_else(streamer: ss.Streamer) -> None:
    entered, leave = threading.Event(), threading.Event()

    class Slow:
        def shard(self, stream_key: str, payload: bytes) -> int:
            entered.set()
            leave.wait()
            return 0

    with streamer.producer("slow", sharder=Slow()) as slow, ThreadPoolExecutor(1) as threads:
        sending = threads.submit(slow.send, "x")
        entered.wait()
        with streamer.producer("ticks") as producer:
            assert producer.send("x").result(timeout=60).stream == "ticks"
        slow.flush()
        leave.set()
        assert sending.result().result(timeout=60).shard == 0
