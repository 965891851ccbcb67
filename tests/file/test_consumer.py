"""Consumers of files in real time: what comes, in which order, and how it ends."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import seastream_nb as ss
from seastream_nb import portal
from seastream_nb.aio import AsyncConsumer
from seastream_nb.errors import (
    AckNotAllowed,
    CommitNotAllowed,
    ConfigError,
    ConsumerClosed,
    FileError,
    FileFormatError,
    StreamEnded,
)
from seastream_nb.file import blocks, survey
from seastream_nb.file.format import Frame, Place
from seastream_nb.file.producer import FileProducer
from seastream_nb.file.splice import Splicer
from seastream_nb.options import ConnectOptions, ProducerOptions
from tests.file.consuming import (
    MARK,
    SOON,
    consuming,
    message,
    messages,
    numbers,
    opened,
    told,
    write,
)
from tests.file.files import encoded, golden, written
from tests.servers import eventually


def mixed(first: int, last: int) -> list[Frame]:
    return [message(n, key) for n in range(first, last + 1) for key in "ab"]


def test_the_reference_sample_gives_its_events_and_ends():
    """Conformance 17."""
    with consuming(golden("sample-1.ss"), "event") as consumer:
        assert numbers(list(consumer)) == list(range(1, 23))
        for _ in range(2):
            with pytest.raises(StreamEnded):
                consumer.next(SOON)


def test_messages_of_a_producer_arrive_in_every_mode(tmp_path: Path):
    """Conformance 21."""
    for mode in ("realtime", "resumable", "load_balanced"):
        path = written(tmp_path, b"", f"{mode}.ss")
        opening = FileProducer.open(
            path, ProducerOptions(), ConnectOptions(), release=lambda _: None
        )
        with (
            consuming(path, "a", mode=mode, auto_stream_reset="latest") as consumer,
            ss.Producer(portal.run(opening)) as producer,
        ):
            for n in range(1, 10):
                producer.send_to("a", f"p{n}")
            taken = consumer.take(9, SOON)
            assert [told(each) for each in taken] == [("a", 0, n) for n in range(1, 10)]
            assert [each.payload for each in taken] == [b"p%d" % n for n in range(1, 10)]


def test_a_consumer_ends_when_the_producer_ended_the_file(tmp_path: Path):
    """Conformance 24, and gap 15: nothing hangs without a producer."""
    path = tmp_path / "a.ss"
    write(path, messages(1, 3))
    with consuming(path, "a") as consumer:
        assert numbers(consumer.take(3, SOON)) == [1, 2, 3]
        write(path, messages(4, 5), eos=True)
        assert numbers(list(consumer)) == [4, 5]
        with pytest.raises(StreamEnded, match="ended by who wrote it"):
            consumer.next(SOON)
    with pytest.raises(ConsumerClosed):
        consumer.next(SOON)


def test_a_file_that_was_ended_and_goes_on_is_read_from_start_to_end(tmp_path: Path):
    """Conformance 25, and gap 2."""
    path = tmp_path / "a.ss"
    write(path, messages(1, 124), eos=True)
    write(path, messages(125, 149), eos=True)
    with consuming(path, "a") as consumer:
        assert numbers(list(consumer)) == list(range(1, 150))
    with consuming(golden("append_small_eos.ss"), "*") as consumer:
        assert len(consumer.take(1000, 0.5)) > 0


@pytest.mark.parametrize("key", ["a", "*", "SEA_STREAMER_WILDCARD"])
def test_the_past_comes_first_and_the_latest_only_sees_what_comes(key: str, tmp_path: Path):
    """Conformance 26."""
    path = tmp_path / "a.ss"
    write(path, messages(0, 49))
    with consuming(path, key) as first, consuming(path, key, auto_stream_reset="latest") as late:
        got = [first.next(SOON).sequence for _ in range(10)]
        for each in first:
            got.append(each.sequence)
            if each.sequence == 49:
                break
        assert got == list(range(50))
        write(path, messages(50, 99), eos=True)
        assert numbers(list(first)) == list(range(50, 100))
        assert numbers(list(late)) == list(range(50, 100))
        for consumer in (first, late):
            with pytest.raises(StreamEnded):
                consumer.next(SOON)


def test_consumers_of_one_file_get_only_their_keys(tmp_path: Path):
    """Conformance 27."""
    path = written(tmp_path, b"")
    with (
        consuming(path, "a") as first,
        consuming(path, "b", auto_stream_reset="latest") as second,
        consuming(path, "a", "b") as both,
    ):
        write(path, mixed(1, 20), eos=True)
        assert [told(each) for each in first] == [("a", 0, n) for n in range(1, 21)]
        assert [told(each) for each in second] == [("b", 0, n) for n in range(1, 21)]
        assert [told(each)[::2] for each in both] == [
            (key, n) for n in range(1, 21) for key in "ab"
        ]


def test_the_wildcard_beside_a_key_delivers_once_and_no_internal_message(tmp_path: Path):
    """Gap 24."""
    path = tmp_path / "a.ss"
    write(path, mixed(1, 2), eos=True)
    with consuming(path, "*", "a") as consumer:
        assert [told(each) for each in consumer] == [told_of(each) for each in mixed(1, 2)]


def told_of(frame: Frame) -> tuple[str, int, int]:
    return frame.place[:3]


def test_who_asks_for_internal_messages_gets_the_mark(tmp_path: Path):
    path = tmp_path / "a.ss"
    write(path, messages(1, 2), eos=True)
    with consuming(path, "SEA_STREAMER_INTERNAL") as consumer:
        assert [told(each) for each in consumer] == [MARK]
    with consuming(path, "*", "SEA_STREAMER_INTERNAL") as consumer:
        assert [each.payload for each in consumer] == [b"a-1", b"a-2", b"EOS"]


def test_all_shards_are_read_less_those_that_were_unassigned(tmp_path: Path):
    path = tmp_path / "a.ss"
    write(path, [message(n, "a", n % 3) for n in range(1, 10)], eos=True)
    with consuming(path, "a") as consumer:
        assert numbers(list(consumer)) == list(range(1, 10))
        assert consumer.stream_shards == [("a", 0), ("a", 1), ("a", 2)]
        consumer.unassign("a", 1)
        consumer.rewind("beginning")
        consumer.unassign("a", 2)
        assert numbers(list(consumer)) == [2, 3, 5, 6, 8, 9]
        consumer.assign("a", 1)
        consumer.seek("earliest")
        assert numbers(list(consumer)) == [1, 3, 4, 6, 7, 9]
        for key, shard in (("b", 0), ("a", -1), ("a", 2)):
            with pytest.raises(ConfigError):
                consumer.unassign(key, shard)
    with consuming(path, "missing") as consumer:
        assert consumer.stream_shards == [("missing", 0)]
    with consuming(path, "a:2") as consumer:
        assert [told(each) for each in consumer] == [("a:2", 0, n) for n in (2, 5, 8)]
    with consuming(path, "a", connection=ConnectOptions(shards="off")) as consumer:
        assert numbers(list(consumer)) == [3, 6, 9]


@pytest.mark.parametrize("at", [0, 25, 50, 75, 99])
@pytest.mark.parametrize("mode", ["realtime", "load_balanced", "resumable"])
def test_rewind_goes_to_that_message_or_the_next(at: int, mode: str, tmp_path: Path):
    """Conformance 29, also as the only member of a group; gap 16."""
    path = tmp_path / "a.ss"
    write(path, messages(0, 99))
    with consuming(path, "a", mode=mode) as consumer:
        assert numbers(consumer.take(100, SOON)) == list(range(100))
        consumer.rewind("beginning")
        assert consumer.next(SOON).sequence == 0
        consumer.rewind(at)
        assert numbers(consumer.take(100 - at, SOON)) == list(range(at, 100))
        write(path, messages(100, 101))
        assert numbers(consumer.take(2, SOON)) == [100, 101]


def test_rewind_by_sequence_counts_the_subscribed_keys_only(tmp_path: Path):
    """Gap 20."""
    path = tmp_path / "a.ss"
    frames = [each for n in range(1, 11) for each in (message(1000 + n, "b"), message(n, "a"))]
    write(path, frames)
    with consuming(path, "a") as consumer:
        consumer.rewind(5)
        assert numbers(consumer.take(6, SOON)) == [5, 6, 7, 8, 9, 10]


def test_seek_goes_to_the_first_message_strictly_later(tmp_path: Path):
    path = tmp_path / "a.ss"
    base = 1_700_000_000_000
    frames = [message(n, key, ms=base + n // 2) for n in range(1, 9) for key in "ab"]
    write(path, frames)
    with consuming(path, "a") as consumer:
        all_of_them = consumer.take(8, SOON)
        for when in ((base + 1) * 1_000_000, f"{base + 1}-9999999", "2023-11-14T22:13:20.001Z"):
            consumer.seek(when)
            assert numbers(consumer.take(5, SOON)) == [4, 5, 6, 7, 8], when
        consumer.seek(all_of_them[2])
        assert numbers(consumer.take(5, SOON)) == [4, 5, 6, 7, 8]
        consumer.seek("-3ms")  # from just after the last message, at +4 ms
        assert numbers(consumer.take(3, SOON)) == [6, 7, 8]
        consumer.seek("latest")
        write(path, messages(9, 9))
        assert consumer.next(SOON).sequence == 9


def test_a_seek_beyond_the_end_waits_for_later_messages(tmp_path: Path):
    """Gap 21: the reference's consumer is dead then."""
    path = tmp_path / "a.ss"
    write(path, messages(1, 5))
    with consuming(path, "a") as consumer:
        consumer.next(SOON)
        consumer.rewind(7)
        with pytest.raises(TimeoutError):
            consumer.next(0.05)
        write(path, messages(6, 8))
        assert numbers(consumer.take(2, SOON)) == [7, 8]


def test_a_seek_that_fails_leaves_the_consumer_where_it_is(tmp_path: Path):
    """Gap 21."""
    path = tmp_path / "a.ss"
    write(path, messages(1, 5))
    with consuming(path, "a") as consumer:
        assert consumer.next(SOON).sequence == 1
        for wrong in ("no time", 2.5):
            with pytest.raises(ConfigError):
                consumer.seek(wrong)  # type: ignore[arg-type]
        for wrong in (-1, 2**64, "middle"):
            with pytest.raises(ConfigError):
                consumer.rewind(wrong)  # type: ignore[arg-type]
        path.rename(tmp_path / "away.ss")
        with pytest.raises(FileError):
            consumer.rewind("beginning")
        assert numbers(consumer.take(4, SOON)) == [2, 3, 4, 5]


def test_seeking_revives_a_consumer_that_has_ended(tmp_path: Path):
    path = tmp_path / "a.ss"
    write(path, messages(1, 3), eos=True)
    with consuming(path, "a") as consumer:
        assert numbers(list(consumer)) == [1, 2, 3]
        consumer.rewind(2)
        assert numbers(list(consumer)) == [2, 3]
        consumer.rewind("end")
        assert list(consumer) == []


def test_a_late_consumer_of_a_file_without_mark_loses_nothing(tmp_path: Path):
    """Gap 4: what was read ahead comes before the news that the file is gone."""
    path = tmp_path / "a.ss"
    write(path, messages(1, 42))
    with consuming(path, "a") as consumer:
        eventually(lambda: consumer._core._sought._ahead is not None)
        path.unlink()
        assert numbers(list(consumer)) == list(range(1, 43))
        with pytest.raises(StreamEnded, match="removed"):
            consumer.next(SOON)


def test_messages_before_damage_come_and_the_error_stays(tmp_path: Path):
    data = bytearray(encoded(messages(1, 6)))
    data[data.index(b"a-4")] ^= 1
    with consuming(written(tmp_path, bytes(data)), "a") as consumer:
        assert numbers(consumer.take(6, SOON)) == [1, 2, 3]
        for _ in range(2):
            with pytest.raises(FileFormatError, match="CRC"):
                consumer.next(SOON)
        consumer.rewind(2)
        assert consumer.next(SOON).sequence == 2


def test_truncation_and_rotation_are_told_instead_of_waited_out(tmp_path: Path):
    """Gap 18."""
    path = tmp_path / "a.ss"
    for change, text in (
        (lambda: os.truncate(path, 140), "was cut"),
        (lambda: written(tmp_path, encoded([]), "b.ss").rename(path), "another file"),
    ):
        path.unlink(missing_ok=True)
        write(path, messages(1, 3))
        with consuming(path, "a") as consumer:
            assert len(consumer.take(3, SOON)) == 3
            change()
            with pytest.raises(FileError, match=text):
                consumer.next(SOON)


def test_a_file_without_header_holds_up_nobody(tmp_path: Path):
    """Gap 17."""
    path, other = written(tmp_path, b""), tmp_path / "other.ss"
    write(other, messages(1, 1))
    for reset in ("earliest", "latest"):
        path.write_bytes(b"")
        with consuming(path, "a", auto_stream_reset=reset) as consumer:
            with consuming(other, "a") as second:
                assert second.next(SOON).sequence == 1
            with pytest.raises(TimeoutError):
                consumer.next(0.02)
            write(path, messages(1, 2))
            assert numbers(consumer.take(2, SOON)) == [1, 2]


def test_files_that_end_with_a_beacon_can_be_followed(tmp_path: Path):
    """Gap 9."""
    room = 1024 - 128 - 33
    path = tmp_path / "a.ss"
    path.write_bytes(encoded([Frame.of(Place("a", 0, 1, 5), b"x" * room)]))
    assert path.stat().st_size > 1024
    with consuming(path, "a", auto_stream_reset="latest") as consumer:
        consumer.rewind("end")
        write(path, messages(2, 3))
        assert numbers(consumer.take(2, SOON)) == [2, 3]
        consumer.rewind(1)
        assert numbers(consumer.take(3, SOON)) == [1, 2, 3]


def test_reading_ahead_is_about_a_page(tmp_path: Path):
    """Gap 30: nothing piles up for a consumer that takes nothing."""
    path = tmp_path / "a.ss"
    write(path, [Frame.of(Place("a", 0, n, n), b"x" * 1000) for n in range(8_000)])
    with consuming(path, "a") as consumer:
        reader = consumer._core._sought
        eventually(lambda: reader._ahead is not None)
        time.sleep(0.05)
        assert reader.tail.offset < 2 * 2**20
        assert len(consumer.take(8_000, SOON)) == 8_000


WRITING = """
import sys
from pathlib import Path
from tests.file.consuming import FileWriter, message
with FileWriter(Path(sys.argv[1]), beacon_interval=1024) as writer:
    for first in range(0, 4000, 5):
        frames = [message(n, "ab"[n % 2]) for n in range(first, first + 5)]
        writer.write(frame.of(frame.place, frame.payload * (1 + first % 90)) for frame in frames)
    writer.end(eos=True)
"""


def test_nothing_is_lost_while_another_process_writes(tmp_path: Path):
    path = written(tmp_path, b"", "a.ss")
    balanced = {"mode": "load_balanced", "group": "g"}
    with (
        consuming(path, "*") as alone,
        consuming(path, "b", "a", mode="resumable") as resumed,
        consuming(path, "a", "b", **balanced) as first,
        consuming(path, "a", "b", **balanced) as second,
    ):
        writing = subprocess.Popen(
            [sys.executable, "-c", WRITING, str(path)], cwd=Path(__file__).parents[2]
        )
        assert numbers(list(alone)) == list(range(4000))
        assert numbers(list(resumed)) == list(range(4000))
        assert numbers(list(first)) == list(range(0, 4000, 2))
        assert numbers(list(second)) == list(range(1, 4000, 2))
        assert writing.wait(SOON) == 0


def test_a_page_has_the_columns_of_a_stream(tmp_path: Path):
    path = tmp_path / "a.ss"
    write(path, messages(1, 3))
    with consuming(path, "a") as consumer:
        page = consumer.page(2, SOON)
        assert page.column("sequence").to_pylist() == [1, 2]
        assert consumer.page(timeout=SOON).column("payload").to_pylist() == [b"a-3"]
        assert consumer.page(timeout=0.01).num_rows == 0


def test_groups_and_acks_are_refused_where_they_mean_nothing(tmp_path: Path):
    path = tmp_path / "a.ss"
    write(path, messages(1, 1))
    with consuming(path, "a") as consumer:
        with pytest.raises(AckNotAllowed):
            consumer.ack(consumer.next(SOON))
        with pytest.raises(CommitNotAllowed):
            consumer.commit()
        with pytest.raises(ConfigError, match="no group"):
            consumer.resume_group()
        consumer.commit_asap()
    consumer.end()
    consumer.abort()


def test_a_loop_of_an_awaiting_consumer_ends_too(tmp_path: Path):
    """Gap 28."""
    path = tmp_path / "a.ss"
    write(path, messages(1, 3), eos=True)

    async def run() -> list[int | None]:
        consumer = AsyncConsumer(
            await asyncio.to_thread(opened, path, "a", auto_stream_reset="earliest")
        )
        async with consumer:
            return [each.sequence async for each in consumer]

    assert asyncio.run(run()) == [1, 2, 3]


def test_a_missing_file_is_refused(tmp_path: Path):
    """Conformance 18."""
    with pytest.raises(FileError, match=r"missing\.ss"):
        opened(tmp_path / "missing.ss", "a")


@pytest.mark.parametrize("few", [2, 1000])
def test_seeks_in_a_long_file_lead_to_the_same_messages(
    few: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the beacons, or by reading all of it."""
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 4096)
    monkeypatch.setattr(survey, "FEW_BLOCKS", few)
    start = 1_700_000_000_000
    frames = [
        Frame.of(Place("ab"[n % 2], n % 3, n, start + n // 4), b"x" * 50) for n in range(3_000)
    ]
    path = written(tmp_path, encoded(frames, 4096))
    with (
        ss.connect(path) as streamer,
        streamer.consumer("a") as evens,
        streamer.consumer("b") as odds,
    ):
        for number in (0, 6, 700, 1_502, 2_990):
            for consumer, first in ((evens, number), (odds, number + 1)):
                consumer.rewind(number)
                assert consumer.next(SOON).sequence == first
                consumer.seek((start + number) * 1_000_000)
                later = 4 * (number + 1) + first - number
                if later < len(frames):
                    assert consumer.next(SOON).sequence == later


def test_a_seek_finds_a_stream_that_only_the_beginning_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SeaStreamer's beacons forget it when it opens the file again."""
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 4096)
    monkeypatch.setattr(survey, "FEW_BLOCKS", 2)
    begun = encoded([Frame.of(Place("old", 0, n, n), b"x") for n in (1, 2, 3)], 4096)
    splicer = Splicer(4096, at=len(begun))
    later = (Frame.of(Place("new", 0, n, n), b"x" * 50) for n in range(4, 1_000))
    path = written(tmp_path, begun + b"".join(splicer.add(frame) for frame in later))
    with ss.connect(path) as streamer, streamer.consumer("old", "new") as consumer:
        consumer.rewind(2)
        assert [each.sequence for each in consumer.take(3, SOON)] == [2, 3, 4]
