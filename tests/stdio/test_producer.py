"""Producers that print: real processes, real pipes, and what breaks them."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.servers import eventually
from tests.stdio.programs import PATIENCE, run, start

TIME = rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,3})?"


def test_what_is_sent_is_printed_with_its_key_and_number() -> None:
    script = """
with ss.connect("stdio://") as streamer, streamer.producer("ticks") as producer:
    producer.send("one")
    producer.send_to("other", b"two")
    producer.send("three")
"""
    printed, said = run(script)
    assert re.fullmatch(
        rb"\[%b \| ticks \| 0\] one\n\[%b \| other \| 0\] two\n\[%b \| ticks \| 1\] three\n"
        % (TIME, TIME, TIME),
        printed,
    )
    assert said == []


def test_a_receipt_is_the_header_that_a_reader_gets() -> None:
    send = """
with ss.connect("stdio://") as streamer:
    with streamer.producer("ticks", sharder=ss.RoundRobinSharder(2)) as producer:
        for text in ("a", "b", "c", "", "  ", "é"):
            receipt = producer.send(text).result()
            say(receipt.stream, receipt.shard, receipt.sequence, receipt.timestamp_ns)
"""
    read = """
for message in ss.connect("stdio://").consumer("ticks"):
    say(message.stream, message.shard, message.sequence, message.timestamp_ns)
    say(repr(message.text()))
"""
    printed, receipts = run(send)
    _, said = run(read, printed)
    assert said[::2] == receipts
    assert said[1::2] == ["'a'", "'b'", "'c'", "''", "'  '", "'é'"]
    assert [receipt.split()[1:3] for receipt in receipts[:3]] == [
        ["0", "0"],
        ["1", "0"],
        ["0", "1"],
    ]


@pytest.mark.parametrize(
    ("timestamp", "line"),
    [
        ("2022-01-01T00:00:00Z", b"[2022-01-01T00:00:00 | a | 0] x\n"),
        ("2022-01-01T00:00:00.0129Z", b"[2022-01-01T00:00:00.012 | a | 0] x\n"),
        ("1640995200000-7", b"[2022-01-01T00:00:00 | a | 0] x\n"),
    ],
)
def test_a_time_that_is_given_is_printed(timestamp: str, line: bytes) -> None:
    script = f"""
with ss.connect("stdio://") as streamer, streamer.producer("a") as producer:
    producer.send("x", timestamp={timestamp!r})
"""
    assert run(script)[0] == line


def test_a_frame_is_printed_row_by_row() -> None:
    script = """
import pyarrow as pa
with ss.connect("stdio://", timestamp_format="ns") as streamer:
    producer = streamer.producer("a")
    times = pa.array([1640995200000000001, 1640995200000000002], pa.timestamp("ns", "UTC"))
    frame = pa.table({"at": times, "n": [1, 2], "shard": [0, 3]})
    say(producer.send_frame(frame, timestamp="at", shard="shard"))
"""
    printed, said = run(script)
    assert said == ["2"]
    assert printed == (
        b'[2022-01-01T00:00:00.000000001 | a | 0] {"n":1}\n'
        b'[2022-01-01T00:00:00.000000002 | a | 0 | 3] {"n":2}\n'
    )


def test_what_cannot_be_a_line_is_refused_and_uses_no_number() -> None:
    script = r"""
with ss.connect("stdio://") as streamer, streamer.producer("a") as producer:
    for payload in ("two\nlines", b"\xff", 5):
        try:
            producer.send(payload)
        except (ss.ConfigError, TypeError) as error:
            say(type(error).__name__)
    say(producer.send("x", timestamp="2022-01-01").result().sequence)
"""
    printed, said = run(script)
    assert printed == b"[2022-01-01T00:00:00 | a | 0] x\n"
    assert said == ["ConfigError", "ConfigError", "TypeError", "0"]


def test_numbers_go_on_over_producers_and_streamers_of_the_process() -> None:
    script = """
for _ in range(2):
    with ss.connect("stdio://") as streamer:
        one, other = streamer.producer("a"), streamer.producer("a")
        for number in range(500):
            one.send("x")
            other.send("x")
"""
    numbers = re.findall(rb"\| a \| (\d+)\] x\n", run(script)[0])
    assert list(map(int, numbers)) == list(range(2_000))


def test_threads_print_whole_lines_in_the_order_of_their_numbers() -> None:
    script = """
import threading
with ss.connect("stdio://") as streamer, streamer.producer("a") as producer:
    def work(who):
        for number in range(1_000):
            producer.send(f"{who} {number} " + "x" * 200)
    threads = [threading.Thread(target=work, args=(who,)) for who in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
"""
    lines = run(script)[0].splitlines()
    found = [re.fullmatch(rb"\[.* \| a \| (\d+)\] (\d) (\d+) x{200}", line) for line in lines]
    assert [int(match[1]) for match in found if match] == list(range(4_000))
    for who in range(4):
        own = [int(match[3]) for match in found if match and int(match[2]) == who]
        assert own == list(range(1_000))


def test_a_broken_pipe_fails_the_sends_and_nothing_else() -> None:
    script = """
with ss.connect("stdio://") as streamer:
    producer = streamer.producer("a")
    say(producer.send("x").result().sequence)
    sys.stdin.read()
    for _ in range(2):
        try:
            producer.send("x").result()
        except ss.errors.NotSent as error:
            say(error)
    producer.send("x")
    producer.send("x")
    try:
        producer.flush()
    except ss.errors.NotSent as error:
        say("flush", error)
say("closed")
"""
    with start(script) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stderr.readline() == b"0\n"
        process.stdout.close()
        process.stdin.close()
        said = process.stderr.read().decode().splitlines()
        assert process.wait(PATIENCE) == 0
    why = "sending to 'a': standard output cannot be written: Broken pipe"
    assert said == [why, why, f"flush {why} (and 1 more sends failed)", "closed"]


@pytest.mark.parametrize(
    "before",
    [lambda: os.close(1), lambda: os.dup2(os.open(os.devnull, os.O_RDONLY), 1)],
    ids=["closed", "read-only"],
)
def test_standard_output_that_cannot_be_written_says_why(before) -> None:
    script = """
producer = ss.connect("stdio://").producer("a")
try:
    producer.send("x").result()
except ss.errors.NotSent as error:
    say(error)
"""
    _, said = run(script, preexec_fn=before)
    assert said == ["sending to 'a': standard output cannot be written: Bad file descriptor"]


def test_a_full_disk_fails_what_was_not_written_whole(tmp_path: Path) -> None:
    script = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, 1_000))
producer = ss.connect("stdio://").producer("a")
pending = [producer.send("x" * 200) for _ in range(8)]
done = []
for each in pending:
    try:
        done.append(each.result().sequence)
    except ss.errors.NotSent as error:
        done.append("not sent")
say(done)
"""
    target = tmp_path / "out"
    with target.open("wb") as file:
        _, said = run(script, stdout=file)
    whole = target.read_bytes().count(b"\n")
    assert 0 < whole < 8
    assert said == [str([*range(whole), *["not sent"] * (8 - whole)])]


def test_a_pipe_that_nobody_reads_holds_the_sender_back() -> None:
    script = """
with ss.connect("stdio://", timeout=0.2) as streamer:
    producer = streamer.producer("a", max_queue="1MiB")
    sent = 0
    try:
        while True:
            producer.send("x" * 1_000)
            sent += 1
    except ss.errors.QueueFull:
        say(sent)
"""
    with start(script) as process:
        assert process.stderr is not None
        sent = int(process.stderr.readline())
        assert sent < 2_000
        printed, _ = process.communicate(timeout=PATIENCE)
    assert printed.count(b"\n") == sent
    assert process.returncode == 0


def test_a_pipe_that_somebody_made_non_blocking_is_written_all_the_same() -> None:
    script = """
os.set_blocking(1, False)
with ss.connect("stdio://") as streamer, streamer.producer("a") as producer:
    for number in range(2_000):
        producer.send("x" * 1_000)
"""
    assert run(script)[0].count(b"\n") == 2_000


def test_an_interrupted_flush_stops_at_once() -> None:
    script = """
streamer = ss.connect("stdio://")
producer = streamer.producer("a")
for number in range(1_000):
    producer.send("x" * 1_000)
try:
    say("flushing")
    producer.flush()
except KeyboardInterrupt:
    say("stopped")
os._exit(0)
"""
    with start(script) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == b"flushing\n"
        process.send_signal(2)
        assert process.stderr.readline() == b"stopped\n"


def test_interrupts_between_sends_leave_whole_lines_and_settled_receipts() -> None:
    script = """
import signal
sending = False
def interrupt(*_):
    if sending: raise KeyboardInterrupt
signal.signal(signal.SIGALRM, interrupt)
streamer = ss.connect("stdio://")
producer = streamer.producer("a", max_queue="64KiB")
pending = []
for _ in range(200):
    try:
        sending = True
        signal.setitimer(signal.ITIMER_REAL, 0.001)
        for _ in range(1_000):  # where Python cleans up, it swallows an interrupt
            pending.append(producer.send("x" * 20))
        sending = False
    except KeyboardInterrupt:
        sending = False
producer.flush()
say(len(pending) > 200, all(each.result(10).stream == "a" for each in pending))
say(len(pending))
streamer.close()
"""
    printed, (*_, settled, count) = run(script)
    assert settled == "True True"
    found = [re.fullmatch(rb"\[.* \| a \| (\d+)\] x{20}", line) for line in printed.splitlines()]
    numbers = [int(match[1]) for match in found if match]
    assert len(numbers) == len(found)
    assert numbers == sorted(set(numbers))
    assert int(count) <= len(numbers) <= int(count) + 200


def test_a_forked_child_has_producers_of_its_own() -> None:
    script = """
warnings.simplefilter("ignore")
streamer = ss.connect("stdio://")
producer = streamer.producer("a")
producer.send("parent", timestamp="2022-01-01").result()
if os.fork() == 0:
    for use in (lambda: producer.send("x"), producer.flush):
        try:
            use()
        except ss.errors.ProducerClosed as error:
            say(error)
    producer.end()
    with ss.connect("stdio://") as own, own.producer("b") as printing:
        printing.send("child", timestamp="2022-01-01")
    os._exit(0)
os.wait()
producer.send("parent", timestamp="2022-01-01").result()
"""
    printed, said = run(script)
    assert said == ["the producer belongs to the parent process: make another one"] * 2
    assert printed.splitlines() == [
        b"[2022-01-01T00:00:00 | a | 0] parent",
        b"[2022-01-01T00:00:00 | b | 0] child",
        b"[2022-01-01T00:00:00 | a | 1] parent",
    ]


def test_the_awaiting_facade_prints_the_same() -> None:
    script = """
async def main():
    async with ss.connect_async("stdio://") as streamer:
        async with await streamer.producer("a") as producer:
            receipt = await producer.send("x", timestamp="2022-01-01")
            say(receipt.sequence)
            producer.send("y", timestamp="2022-01-01")
            await producer.room()
asyncio.run(main())
"""
    printed, said = run(script)
    assert said == ["0"]
    assert printed == b"[2022-01-01T00:00:00 | a | 0] x\n[2022-01-01T00:00:00 | a | 1] y\n"


def test_a_reader_in_a_pipeline_gets_lines_while_they_are_sent(tmp_path: Path) -> None:
    first = """
producer = ss.connect("stdio://").producer("a")
for number in range(3):
    producer.send(str(number)).result()
    sys.stdin.readline()
"""
    second = """
for message in ss.connect("stdio://").consumer("a"):
    say(message.text())
"""
    with start(first) as sender, start(second, stdin=sender.stdout) as reader:
        assert sender.stdin is not None
        assert reader.stderr is not None
        for number in range(3):
            assert reader.stderr.readline() == b"%d\n" % number
            sender.stdin.write(b"\n")
            sender.stdin.flush()
        assert eventually(lambda: sender.poll() == 0)
        assert sender.stdout is not None
        sender.stdout.close()
        assert reader.stderr.readline() == b""
