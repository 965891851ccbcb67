"""Producers into files: order, numbers, receipts, and what they say when writing fails."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import pytest

import seastream_nb as ss
from seastream_nb import portal
from seastream_nb.aio import AsyncProducer
from seastream_nb.errors import (
    AlreadyAnchored,
    ConfigError,
    FileError,
    FileFormatError,
    NotAnchored,
    NotSent,
    ProducerClosed,
    QueueFull,
    StreamKeyError,
    Unsupported,
)
from seastream_nb.file.format import INTERNAL_KEY, LAST_MS, Frame
from seastream_nb.file.producer import FileProducer
from seastream_nb.file.walk import FrameFound, Walk
from seastream_nb.keys import EntryId, NumberedId
from seastream_nb.options import ConnectOptions, ProducerOptions
from seastream_nb.outgoing import FrameMessages, send_all
from seastream_nb.sharders import RoundRobinSharder
from seastream_nb.sync import Producer
from tests.file.files import encoded, golden, numbered, written
from tests.file.test_writer import files_up_to
from tests.servers import eventually

T = TypeVar("T")


def frames_of(path: Path) -> list[Frame]:
    with path.open("rb") as file:
        walk = Walk(file, path.stat().st_size)
        return [each.frame for each in walk if isinstance(each, FrameFound)]


def told(path: Path) -> list[tuple[str, int, int, bytes]]:
    """Key, shard, sequence and payload of each message."""
    return [(*each.place[:3], each.payload) for each in frames_of(path)]


def opened(path: Path, *, key: str | None = "a", **options: Any) -> FileProducer:
    own = {name: options.pop(name) for name in ("sharder", "max_queue") if name in options}
    connection = options.pop("connection", ConnectOptions())
    options = {"create": "if_missing"} | options
    producer = portal.run(
        FileProducer.open(
            path, ProducerOptions(**own), connection, release=lambda _: None, **options
        )
    )
    if key is not None:
        producer.anchor(key)
    return producer


def ended(*producers: FileProducer) -> None:
    for producer in producers:
        portal.run(producer.end())


@contextmanager
def producing(path: Path, **options: Any) -> Iterator[FileProducer]:
    producer = opened(path, **options)
    try:
        yield producer
    finally:
        ended(producer)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "made.ss"


# Sending.


def test_messages_are_written_in_order_and_each_has_its_receipt(path: Path) -> None:
    before = time.time_ns() // 1_000_000
    with producing(path) as producer:
        receipts = [producer.send(f"hello-{n}").result(10) for n in range(9)]
        portal.run(producer.flush())
        assert told(path) == [("a", 0, n + 1, b"hello-%d" % n) for n in range(9)]
    for receipt, frame in zip(receipts, frames_of(path), strict=True):
        assert (receipt.stream, receipt.shard, receipt.sequence) == frame.place[:3]
        assert receipt.timestamp_ns == frame.place.ms * 1_000_000
        assert before <= frame.place.ms <= before + 60_000
        assert receipt.entry_id == NumberedId(frame.place.ms, frame.place.sequence)
    assert ss.verify(path).ok


async def test_a_receipt_may_be_awaited(path: Path) -> None:
    producer = await portal.bridge(
        FileProducer.open(
            path, ProducerOptions(), ConnectOptions(), release=lambda _: None, create="exclusive"
        )
    )
    pending = producer.send_to("b", b"x")
    assert (await pending).sequence == 1
    assert pending.done
    await portal.bridge(producer.end())


@pytest.mark.parametrize(
    ("payload", "data"),
    [
        ("café", "café".encode()),
        (b"b", b"b"),
        (bytearray(b"c"), b"c"),
        (memoryview(b"de")[1:], b"e"),
        ("", b""),
    ],
)
def test_a_payload_is_text_or_bytes(path: Path, payload: Any, data: bytes) -> None:
    with producing(path) as producer:
        producer.send(payload)
        with pytest.raises(TypeError):
            producer.send(5)  # type: ignore[arg-type]
    assert told(path) == [("a", 0, 1, data)]


def test_every_stream_is_numbered_from_one(path: Path) -> None:
    with producing(path) as producer:
        for n in range(6):
            producer.send_to("ab"[n % 2], str(n))
    assert [each[:3] for each in told(path)] == [
        (key, 0, n) for n in (1, 2, 3) for key in ("a", "b")
    ]


def test_shards_of_a_stream_share_its_numbers(path: Path) -> None:
    with producing(path, sharder=RoundRobinSharder(3)) as producer:
        receipts = [producer.send(str(n)) for n in range(7)]
        assert producer.queue("a", b"last", None, 9).result(10).shard == 9
    assert [each[:3] for each in told(path)] == [
        *(("a", n % 3, n + 1) for n in range(7)),
        ("a", 9, 8),
    ]
    assert [each.result().shard for each in receipts] == [0, 1, 2, 0, 1, 2, 0]


def test_a_shard_that_is_none_is_refused(path: Path) -> None:
    with producing(path) as producer:
        for shard in (-1, 2**64, True, "x"):
            with pytest.raises(ConfigError, match="shard"):
                producer.queue("a", b"", None, shard)  # type: ignore[arg-type]


def test_many_messages_of_many_sizes_are_all_there(path: Path) -> None:
    dice = random.Random(5)
    payloads = [dice.randbytes(dice.randrange(400)) for _ in range(20_000)]
    payloads[7_000] = dice.randbytes(3 * 2**20)
    with producing(path, beacon_interval=4096) as producer:
        for payload in payloads:
            producer.send(payload)
    assert [each[2:] for each in told(path)] == list(enumerate(payloads, 1))
    assert ss.verify(path).ok


def test_threads_may_send_at_once_and_each_keeps_its_order(path: Path) -> None:
    with producing(path) as producer:

        def send(name: str) -> None:
            for n in range(500):
                producer.send(f"{name} {n}")

        threads = [threading.Thread(target=send, args=(name,)) for name in "xyz"]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    assert [each[2] for each in told(path)] == list(range(1, 1501))
    for name in "xyz":
        ours = [each[3] for each in told(path) if each[3].startswith(name.encode())]
        assert ours == [f"{name} {n}".encode() for n in range(500)]


def test_a_producer_is_anchored_once(path: Path) -> None:
    with producing(path, key=None) as producer:
        assert producer.anchored is None
        with pytest.raises(NotAnchored):
            producer.send("x")
        producer.anchor("ticks")
        assert producer.anchored == producer.own_stream() == "ticks"
        with pytest.raises(AlreadyAnchored):
            producer.anchor("other")


@pytest.mark.parametrize("key", ["", "a:b", "é", "a" * 250, INTERNAL_KEY, "SEA_STREAMER_WILDCARD"])
def test_a_key_that_seastreamer_forbids_is_refused(path: Path, key: str) -> None:
    with producing(path) as producer, pytest.raises(StreamKeyError):
        producer.send_to(key, "x")
    assert told(path) == []


def test_a_frame_is_sent_row_by_row(path: Path) -> None:
    times = pd.to_datetime(["2026-01-05T09:30:00.0015Z", "2026-01-05T10:00:00.0000Z"])
    frame = pd.DataFrame({"at": times, "price": [1.5, 2.5], "part": [4, 5]})
    with producing(path) as producer:
        messages = FrameMessages(frame, timestamp="at", shard="part")  # type: ignore[arg-type]
        assert send_all(messages, producer) == 2  # type: ignore[arg-type]
    assert [(*each.place, each.payload) for each in frames_of(path)] == [
        ("a", 4, 1, 1767605400001, b'{"price":1.5}'),
        ("a", 5, 2, 1767607200000, b'{"price":2.5}'),
    ]


# Times and ids.


@pytest.mark.parametrize(
    ("timestamp", "ms"),
    [
        ("1970-01-01T00:00Z", 0),
        ("2026-01-05T09:30:00.0019999Z", 1767605400001),
        ("9999-12-31T23:59:59.999Z", LAST_MS),
        (pd.Timestamp("2026-01-05T10:30", tz="Europe/Berlin"), 1767605400000),
    ],
)
def test_a_timestamp_is_the_time_of_the_message(path: Path, timestamp: Any, ms: int) -> None:
    with producing(path) as producer:
        receipt = producer.send("x", timestamp=timestamp).result(10)
    assert frames_of(path)[0].place == ("a", 0, 1, ms)
    assert (receipt.timestamp_ns, receipt.sequence) == (ms * 1_000_000, 1)


def test_naive_times_are_read_in_the_zone_of_the_connection(path: Path) -> None:
    with producing(path, connection=ConnectOptions(tz="Europe/Berlin")) as producer:
        producer.send("x", timestamp="2026-01-05T10:30")
    assert frames_of(path)[0].place.ms == 1767605400000


@pytest.mark.parametrize("timestamp", ["1969-12-31T23:59:59.999Z", "-10m", "earliest", "5-65536"])
def test_what_is_no_time_that_a_file_holds_is_refused(path: Path, timestamp: str) -> None:
    with producing(path) as producer:
        with pytest.raises(ConfigError, match="timestamp="):
            producer.send("x", timestamp=timestamp)
        for tick in (-1, LAST_MS + 1):
            with pytest.raises(ConfigError, match="1970 to 9999"):
                producer.tick_id(tick)


def test_a_tick_is_of_the_connections_unit(path: Path) -> None:
    with producing(path, connection=ConnectOptions(timestamp_format="ns")) as producer:
        producer.queue("a", b"", producer.tick_id(1_700_000_000_123_456_789))
    assert frames_of(path)[0].place.ms == 1_700_000_000_123


def test_a_full_id_is_kept_as_seastreamer_packs_it(path: Path) -> None:
    with producing(path) as producer:
        sent = producer.send("x", timestamp="1700000000000-3").result(10)
        lower = producer.send("y", timestamp="1700000000000-3")
        with pytest.raises(NotSent, match="1700000000000-3 is not above"):
            lower.result(10)
        after = producer.send("z").result(10)
        assert producer.queue("a", b"w", b"1700000000000-3", 1).result(10) == sent.__class__(
            producer.queue("a", b"v", b"1700000000000-4", 1).origin, EntryId(1700000000000, 3)
        )
    assert sent.entry_id == EntryId(1700000000000, 3)
    sequence = 1700000000000 << 16 | 3
    assert [each[1:3] for each in told(path)] == [
        (0, sequence), (0, sequence + 1), (1, sequence), (1, sequence + 1)
    ]  # fmt: skip
    assert after.sequence == sequence + 1


# Several producers.


def test_producers_of_one_file_number_in_the_order_of_sending(path: Path) -> None:
    first, second = opened(path), opened(path)
    for n in range(24):
        (first if n < 12 else second).send(str(n))
    for n in range(24, 74):
        (first if n % 2 else second).send(str(n))
    ended(second)
    with pytest.raises(ProducerClosed):
        second.send("late")
    for n in range(74, 124):
        first.send(str(n))
    ended(first)
    assert told(path) == [("a", 0, n + 1, b"%d" % n) for n in range(124)]
    # Opened again, the numbers go on, and an end mark does not stay in the middle.
    with producing(path, end_with_eos=True) as third:
        third.send("124")
    with producing(path) as fourth:
        assert fourth.send("125").result(10).sequence == 126
        assert fourth.send_to("b", "0").result(10).sequence == 1
    assert told(path)[123:] == [
        ("a", 0, 124, b"123"), ("a", 0, 125, b"124"), ("a", 0, 126, b"125"), ("b", 0, 1, b"0")
    ]  # fmt: skip


def test_links_and_spellings_of_a_file_are_one_file(path: Path, tmp_path: Path) -> None:
    first = opened(path)
    (tmp_path / "hard.ss").hardlink_to(path)
    (tmp_path / "symbolic.ss").symlink_to(path)
    others = [
        opened(tmp_path / name)
        for name in ("hard.ss", "symbolic.ss", "../" + tmp_path.name + "/made.ss")
    ]
    for n, producer in enumerate([first, *others, first]):
        producer.send(str(n))
    ended(first, *others)
    assert told(path) == [("a", 0, n + 1, b"%d" % n) for n in range(5)]


def test_two_files_are_numbered_apart(tmp_path: Path) -> None:
    for name in "xy":
        with producing(tmp_path / f"{name}.ss") as producer:
            assert producer.send(name).result(10).sequence == 1


def test_producers_opened_at_once_share_the_file(path: Path) -> None:
    async def open_many() -> list[FileProducer]:
        opening = [
            FileProducer.open(
                path,
                ProducerOptions(),
                ConnectOptions(),
                release=lambda _: None,
                create="if_missing",
            )
            for _ in range(20)
        ]
        return await asyncio.gather(*opening)

    producers = portal.run(open_many())
    for producer in producers:
        producer.send_to("a", "x")

    async def end_all_and_open_one() -> FileProducer:
        ending = [producer.end() for producer in producers]
        *_, another = await asyncio.gather(
            *ending,
            FileProducer.open(path, ProducerOptions(), ConnectOptions(), release=lambda _: None),
        )
        return another

    another = portal.run(end_all_and_open_one())
    assert another.send_to("a", "y").result(10).sequence == 21
    ended(another)
    assert len(told(path)) == 21


def test_only_the_last_to_end_marks_the_end(path: Path) -> None:
    first, second = opened(path, end_with_eos=True), opened(path, end_with_eos=True)
    first.send("1")
    ended(first)
    second.send("2")
    ended(second, second, first)
    assert [each.ends_stream for each in frames_of(path)] == [False, False, True]


def test_the_last_to_end_marks_it_for_one_that_ended_before(path: Path) -> None:
    wants, last = opened(path, end_with_eos=True), opened(path)
    wants.send("1")
    ended(wants)
    last.send("2")
    ended(last)
    assert [each.ends_stream for each in frames_of(path)] == [False, False, True]


def test_the_file_is_free_after_the_last_end(path: Path) -> None:
    script = (
        "import sys\nfrom seastream_nb.file.writer import FileWriter\nFileWriter(sys.argv[1]).end()"
    )
    command = [sys.executable, "-c", script, str(path)]
    with producing(path):
        failed = subprocess.run(command, capture_output=True, check=False)
        assert b"is being written already" in failed.stderr
    subprocess.run(command, check=True)


HOLDER = """
import sys
from seastream_nb.file.writer import FileWriter
file = FileWriter(sys.argv[1], create="if_missing")
print("open", flush=True)
sys.stdin.read()
"""


def test_a_file_that_another_process_writes_is_refused(path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        for _ in range(2):
            with pytest.raises(FileError, match=r"made\.ss is being written already"):
                opened(path)
        other.kill()
    with producing(path) as producer:
        producer.send("x").result(10)


def test_a_missing_file_is_made_only_where_that_is_asked_for(path: Path) -> None:
    with pytest.raises(FileError, match="No such file"):
        opened(path, create="never")
    ended(opened(path, create="exclusive"))
    with pytest.raises(FileError, match="exists already"):
        opened(path, create="exclusive")
    ended(opened(path, create="never"))


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    data = bytearray(encoded(numbered(30)))
    data[data.index(b"payload 9") + 1] ^= 1
    with pytest.raises(FileFormatError, match=r"ss\.repair"):
        opened(written(tmp_path, bytes(data)))


def test_a_torn_file_goes_on_where_it_is_whole(tmp_path: Path) -> None:
    path = written(tmp_path, encoded(numbered(30))[:-3])
    with pytest.raises(FileFormatError, match="torn_tail"):
        opened(path, torn_tail="raise")
    with producing(path) as producer:
        assert producer.send("x").result(10).sequence == 30
    assert frames_of(path)[:-1] == numbered(29)


def test_a_file_of_the_reference_is_numbered_on(tmp_path: Path) -> None:
    path = written(tmp_path, golden("consumer.ss").read_bytes())
    with producing(path, end_with_eos=True) as producer:
        assert producer.send_to("hello", "x").result(10).sequence == 100
        assert producer.send_to("new", "x").result(10).sequence == 1
    assert len(frames_of(path)) == 103
    assert ss.verify(path).ok


# Facades.


def test_the_blocking_facade_takes_it_as_its_core(path: Path) -> None:
    with Producer(opened(path, key=None)) as producer:  # type: ignore[arg-type]
        producer.anchor("ticks")
        assert producer.send("x").result(10).sequence == 1
        assert producer.send_frame(pd.DataFrame({"price": [1.5, 2.5]})) == 2
        producer.flush()
        assert repr(producer) == "<Producer anchored to 'ticks'>"
    assert [each[2:] for each in told(path)] == [
        (1, b"x"), (2, b'{"price":1.5}'), (3, b'{"price":2.5}')
    ]  # fmt: skip


async def test_the_awaiting_facade_takes_it_as_its_core(path: Path) -> None:
    opening = FileProducer.open(
        path, ProducerOptions(), ConnectOptions(), release=lambda _: None, create="if_missing"
    )
    async with AsyncProducer(await portal.bridge(opening)) as producer:  # type: ignore[arg-type]
        producer.anchor("ticks")
        assert (await producer.send("x")).sequence == 1
        await producer.room()
        await producer.flush()
    assert told(path) == [("ticks", 0, 1, b"x")]


# Options.


def test_a_replica_of_a_file_there_is_none(path: Path) -> None:
    options = ProducerOptions(durability="replica")
    with pytest.raises(Unsupported, match="replica"):
        portal.run(FileProducer.open(path, options, ConnectOptions(), release=lambda _: None))


def test_the_queue_is_bounded(path: Path) -> None:
    release, busy = threading.Event(), threading.Event()

    async def hold() -> None:
        busy.set()
        release.wait(10)

    with producing(path, max_queue=10_000) as producer:
        held = portal.spawn(hold())
        busy.wait(10)
        for _ in range(33):
            producer.send(bytes(100))
        with pytest.raises(QueueFull, match="max_queue is 10,000"):
            producer.send(bytes(100))
        release.set()
        held.result(10)
        portal.run(producer.room(100, 10))
        producer.send(bytes(100)).result(10)
        # One that is larger than the queue may be there alone.
        portal.run(producer.flush())
        producer.send(bytes(20_000)).result(10)


# The end.


def test_after_the_end_nothing_is_sent(path: Path) -> None:
    producer = opened(path)
    pending = producer.send("x")
    ended(producer, producer)
    assert pending.done
    with pytest.raises(ProducerClosed, match="has ended"):
        producer.send("y")
    portal.run(producer.flush())
    assert told(path) == [("a", 0, 1, b"x")]


def test_the_release_is_told_of_the_end(path: Path) -> None:
    released: list[object] = []
    producer = portal.run(
        FileProducer.open(
            path, ProducerOptions(), ConnectOptions(), release=released.append, create="if_missing"
        )
    )
    ended(producer)
    assert released == [producer]


def test_an_interrupted_end_leaves_a_whole_file_that_is_free(path: Path) -> None:
    for turn in range(20):
        producer = opened(path)
        pending = [producer.send(bytes(20_000)) for _ in range(200)]
        ending = portal.spawn(producer.end())
        time.sleep(turn / 2_000)  # wherever it is then
        ending.cancel()
        assert eventually(lambda: all(each.done for each in pending))  # noqa: B023
        # Once the cleanup is done, whatever was acknowledged is there.
        with producing(path) as again:
            again.send("next").result(10)
        acknowledged = [each for each in pending if isinstance(each._outcome(), EntryId)]
        stored = {each[2] for each in told(path)}
        assert {each.result().sequence for each in acknowledged} <= stored
        assert ss.verify(path).ok


def test_the_queues_of_producers_that_ended_are_forgotten(path: Path) -> None:
    with producing(path) as first:
        for _ in range(10):
            with producing(path) as other:
                other.send("x")
        assert len(first._session._outboxes) == 1


# Failures.


def test_the_cause_of_a_failed_write_reaches_every_receipt_and_later_sends(path: Path) -> None:
    first, second = opened(path), opened(path)
    first.send("x").result(10)
    with files_up_to(5_000):
        pending = [(first if n % 2 else second).send(bytes(100)) for n in range(200)]
        with pytest.raises(NotSent, match=r"'a': .*made\.ss cannot be written: File too large"):
            portal.run(first.flush())
        with pytest.raises(NotSent, match="File too large"):
            portal.run(second.flush())
    written_ones = 0
    for each in pending:
        try:
            assert each.result(10).sequence == written_ones + 2
            written_ones += 1
        except NotSent as error:
            assert "File too large" in str(error)  # noqa: PT017
    assert 0 < written_ones == len(told(path)) - 1 < 200
    for producer in (first, second):
        with pytest.raises(ProducerClosed, match=r"made\.ss is not written any more: .*too large"):
            producer.send("y")
    # Nothing more comes of it, and the file can be opened again.
    ended(first, second)
    with producing(path) as again:
        assert again.send("z").result(10).sequence == written_ones + 2
    assert ss.verify(path).ok


def test_a_message_over_the_size_limit_fails_and_nothing_is_torn(path: Path) -> None:
    producer = opened(path, file_size_limit=2_000)
    pending = [producer.send(bytes(100)) for _ in range(50)]
    with pytest.raises(NotSent, match="file_size_limit=2,000"):
        portal.run(producer.end())
    count = len(told(path))
    assert [isinstance(each._outcome(), EntryId) for each in pending] == [
        n < count for n in range(50)
    ]
    assert path.stat().st_size <= 2_000
    assert ss.verify(path).ok


def test_a_removed_file_is_noticed_at_the_flush_and_by_what_is_sent(path: Path) -> None:
    producer = opened(path)
    producer.send("x").result(10)
    path.unlink()
    with pytest.raises(FileError, match="was removed while it was written"):
        portal.run(producer.flush())
    with pytest.raises(ProducerClosed, match="was removed"):
        producer.send("y")
    ended(producer)
    producer = opened(path)
    path.rename(path.with_suffix(".old"))
    with pytest.raises(NotSent, match="renamed or replaced"):
        producer.send("y").result(10)
    with producing(path) as again:
        again.send("z").result(10)
    ended(producer)
    assert told(path) == [("a", 0, 1, b"z")]


def test_a_forked_child_leaves_the_file_to_its_parent(path: Path) -> None:
    script = f"""
import os
from pathlib import Path
from seastream_nb import portal
from seastream_nb.errors import ProducerClosed
from tests.file.test_producer import opened, ended
path = Path({str(path)!r})
producer = opened(path)
producer.send("parent").result(10)
child = os.fork()
if child == 0:
    try:
        producer.send("child")
    except ProducerClosed as error:
        ended(producer)
        os._exit(0 if "parent" in str(error) else 1)
    os._exit(2)
assert os.waitpid(child, 0)[1] == 0
producer.send("again").result(10)
ended(producer)
"""
    subprocess.run([sys.executable, "-c", script], check=True)
    assert [each[3] for each in told(path)] == [b"parent", b"again"]


def test_python_may_exit_while_a_producer_is_open(path: Path) -> None:
    script = f"""
from pathlib import Path
from tests.file.test_producer import opened
producer = opened(Path({str(path)!r}))
producer.send("x").result(10)
for n in range(30_000):
    producer.send(bytes(1_000))
"""
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    assert done.stderr == b""
    assert told(path)[0] == ("a", 0, 1, b"x")
    assert ss.verify(path).ok
