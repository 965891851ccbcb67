"""Groups that share a file within a process: who gets which message, whoever comes and goes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

import seastream_nb as ss
from seastream_nb.errors import (
    AckNotAllowed,
    CommitNotAllowed,
    ConfigError,
    ReadOnlyError,
    StreamEnded,
)
from seastream_nb.file import groups
from seastream_nb.options import ConnectOptions
from tests.file.consuming import SOON, consuming, message, messages, numbers, opened, write
from tests.file.files import written


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    yield written(tmp_path, b"", "a.ss")
    assert not groups._groups


def joined(path: Path, *keys: str, **options: Any) -> Any:
    return consuming(path, *keys, mode="load_balanced", group="g", **options)


def drained(consumer: ss.Consumer) -> list[int | None]:
    """All that comes, of a file that has ended."""
    return numbers(list(consumer))


def test_two_members_share_by_sequence_and_a_third_changes_it(path: Path):
    """Conformance 28."""
    with joined(path, "a") as first, joined(path, "a") as second:
        write(path, messages(0, 9))
        assert numbers(first.take(5, SOON)) == [0, 2, 4, 6, 8]
        assert numbers(second.take(5, SOON)) == [1, 3, 5, 7, 9]
        with joined(path, "a") as third:
            write(path, messages(10, 21), eos=True)
            for at, consumer in enumerate((first, second, third)):
                assert drained(consumer) == [n for n in range(10, 22) if n % 3 == at]


def test_groups_and_other_consumers_do_not_share(path: Path):
    write(path, messages(1, 10), eos=True)
    with (
        joined(path, "a") as first,
        consuming(path, "a", mode="load_balanced", group="h") as other,
        consuming(path, "a") as alone,
    ):
        for consumer in (first, other, alone):
            assert drained(consumer) == list(range(1, 11))


def test_members_of_several_keys_share_each_of_them(path: Path):
    """Gaps 12 and 19: in the reference the second one joins only its first key."""
    with (
        joined(path, "a", "b") as first,
        joined(path, "a", "b") as second,
        joined(path, "b") as third,
    ):
        write(path, [message(n, key) for n in range(12) for key in "ab"])
        got = {
            who: [(each.stream, each.sequence) for each in consumer.take(size, SOON)]
            for who, (consumer, size) in enumerate(((first, 10), (second, 10), (third, 4)))
        }
        for who in range(3):
            assert [n for key, n in got[who] if key == "a"] == [
                n for n in range(12) if n % 2 == who
            ]
            assert [n for key, n in got[who] if key == "b"] == [
                n for n in range(12) if n % 3 == who
            ]
        second.end()
        write(path, [message(n, key) for n in range(12, 20) for key in "ab"], eos=True)
        assert [each.sequence for each in first if each.stream == "a"] == list(range(12, 20))
        assert drained(third) == [13, 15, 17, 19]


def test_what_a_member_leaves_untaken_goes_to_the_others(path: Path):
    write(path, [message(n, key) for n in range(20) for key in "ab"])
    with joined(path, "a", "b") as first, joined(path, "a") as second:
        taken = [first.next(SOON) for _ in range(3)]
        first.end()
        write(path, messages(20, 24), eos=True)
        rest = drained(second)
    got = [each.sequence for each in taken if each.stream == "a"]
    assert sorted([*got, *rest]) == list(range(25))


def test_a_part_that_a_member_had_not_read_goes_to_the_others(path: Path):
    """A leaver that is far behind: its share of what others passed is read for it."""
    size = 4_000
    frames = [message(n) for n in range(size)]
    big = [frame.of(frame.place, b"x" * 2_000) for frame in frames]
    with joined(path, "a") as first, joined(path, "a") as second:
        write(path, big)
        ahead = numbers(first.take(size // 2, SOON))
        assert first._core._own.tail.offset > 2 * second._core._own.tail.offset
        got = numbers([second.next(SOON) for _ in range(5)])
        second.end()
        write(path, messages(size, size + 9), eos=True)
        rest = drained(first)
        assert sorted(ahead + got + rest) == list(range(size + 10))


def test_who_was_ahead_leaves_and_another_joins_behind(path: Path):
    """Epochs never begin before what anyone has read."""
    big = [message(n).of(message(n).place, b"x" * 2_000) for n in range(2_000)]
    with joined(path, "a") as slow:
        with joined(path, "a") as fast:
            write(path, big)
            got = numbers(fast.take(900, SOON))
        with joined(path, "a") as late:
            write(path, messages(2_000, 2_009), eos=True)
            got += drained(slow) + drained(late)
    assert sorted(got) == list(range(2_010))


def test_members_come_and_go_and_each_message_is_delivered_once(path: Path):
    total, stop = 3_000, threading.Event()
    got: list[int | None] = []
    lock = threading.Lock()

    def work(rounds: int) -> None:
        for turn in count():
            if stop.is_set():
                return
            with joined(path, "a") as consumer:
                taken = [consumer.take(1 + (turn * 7 + rounds) % 90, 0.01) for _ in range(3)]
            with lock:
                got.extend(each.sequence for part in taken for each in part)

    with joined(path, "a") as steady:
        workers = [threading.Thread(target=work, args=(n,)) for n in range(3)]
        for worker in workers:
            worker.start()
        for start in range(0, total, 100):
            write(path, messages(start, start + 99))
            got_here = numbers(steady.take(50, 0.02))
            with lock:
                got.extend(got_here)
        stop.set()
        for worker in workers:
            worker.join()
        while part := steady.take(total, 0.2):
            got.extend(numbers(part))
    assert len(got) == total
    assert sorted(got) == list(range(total))


def test_a_member_that_seeks_reads_alone_and_comes_back_for_its_share(path: Path):
    """Gap 16: seeking one of several hangs in the reference, and kills the others."""
    with joined(path, "a") as first, joined(path, "a") as second:
        write(path, messages(0, 9))
        assert numbers(first.take(2, SOON)) == [0, 2]
        first.rewind(5)
        assert numbers(first.take(5, SOON)) == [5, 6, 7, 8, 9]
        assert numbers(second.take(5, SOON)) == [1, 3, 5, 7, 9]
        write(path, messages(10, 13))
        first.resume_group()
        assert numbers(first.take(5, SOON)) == [4, 6, 8, 10, 12]
        assert numbers(second.take(2, SOON)) == [11, 13]


def test_a_group_begins_at_the_latest_unless_something_else_is_said(path: Path):
    write(path, messages(0, 4))
    with joined(path, "a", auto_stream_reset="latest") as first:
        write(path, messages(5, 6))
        assert numbers(first.take(2, SOON)) == [5, 6]
        with joined(path, "a", auto_stream_reset="earliest") as second:
            write(path, messages(7, 8), eos=True)
            assert (drained(first), drained(second)) == ([8], [7])


def test_a_group_ends_with_its_last_member(path: Path):
    write(path, messages(0, 4), eos=True)
    for _ in range(2):
        with joined(path, "a") as consumer:
            assert drained(consumer) == [0, 1, 2, 3, 4]
            with pytest.raises(StreamEnded):
                consumer.next(SOON)


def test_rules_of_acks_are_those_of_every_group(path: Path):
    write(path, messages(0, 1))
    with joined(path, "a") as consumer:
        first = consumer.next(SOON)
        with pytest.raises(AckNotAllowed, match="delayed"):
            consumer.ack(first)
        with pytest.raises(CommitNotAllowed, match="delayed"):
            consumer.commit()
    with joined(path, "a", auto_commit="disabled") as consumer:
        consumer.ack(consumer.next(SOON))
        consumer.commit()
        with pytest.raises(AckNotAllowed, match="not of these"):
            consumer.ack(ss.Message(first.origin.__class__("b", 0, b"b"), first.entry_id, b""))


@pytest.mark.parametrize("mode", ["load_balanced", "resumable"])
def test_what_a_group_cannot_be_is_refused(mode: str, path: Path):
    with pytest.raises(ConfigError, match="needs the keys"):
        opened(path, "*", mode=mode)
    with pytest.raises(ReadOnlyError, match="read-only"):
        opened(path, "a", mode=mode, connection=ConnectOptions(read_only=True))
    assert list(path.parent.iterdir()) == [path]
