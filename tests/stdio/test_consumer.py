"""Consumers of standard input: real processes at the end of real pipes."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.stdio.programs import PATIENCE, run, start

if TYPE_CHECKING:
    from collections.abc import Callable

READ_ALL = """
with ss.connect("stdio://") as streamer, streamer.consumer(*KEYS) as consumer:
    for message in consumer:
        say(json.dumps([message.stream, message.shard, message.sequence, message.text()]))
say("end")
"""


def received(given: bytes, *keys: str) -> list[list[object]]:
    """What a consumer of these keys gets, up to the end of the input."""
    _, said = run(READ_ALL.replace("*KEYS", repr(keys)[1:-1].rstrip(",")), given)
    assert said[-1] == "end"
    return [json.loads(line) for line in said[:-1] if line.startswith("[")]


def test_a_consumer_gets_its_keys_and_what_has_none() -> None:
    given = b"[a] one\n[b] two\nraw\n[broadcast] only for who asks\n[a | 7 | 3] three\n"
    assert received(given, "a") == [
        ["a", 0, 0, "one"],
        ["broadcast", 0, 0, "raw"],
        ["a", 3, 7, "three"],
    ]


def test_lines_are_numbered_by_stream_and_shard_and_go_on_after_a_number() -> None:
    given = b"[a] x\n[a] x\n[a | 5] x\n[a] x\n[a | 2 | 1] x\n[a] x\n[b] x\nraw\n\n"
    numbers = [(row[0], row[1], row[2]) for row in received(given, "a", "b")]
    assert numbers == [
        ("a", 0, 0),
        ("a", 0, 1),
        ("a", 0, 5),
        ("a", 0, 6),
        ("a", 1, 2),
        ("a", 0, 7),
        ("b", 0, 0),
        ("broadcast", 0, 0),
        ("broadcast", 0, 1),
    ]


def test_the_last_line_needs_no_line_feed() -> None:
    assert received(b"[a] x\n[a] y", "a")[-1] == ["a", 0, 1, "y"]


def test_many_lines_come_in_order_and_whole() -> None:
    given = b"".join(b"[a] %d %s\n" % (n, b"x" * (n % 300)) for n in range(20_000))
    rows = received(given, "a")
    assert [row[2] for row in rows] == list(range(20_000))
    assert rows[-1][3] == "19999 " + "x" * (19_999 % 300)


def test_a_line_longer_than_a_read_comes_whole() -> None:
    assert received(b"[a] " + b"x" * 1_000_000 + b"\n[a] y\n", "a") == [
        ["a", 0, 0, "x" * 1_000_000],
        ["a", 0, 1, "y"],
    ]


def test_lines_that_are_no_messages_are_left_out_counted_and_warned_of_once() -> None:
    script = """
consumer = ss.connect("stdio://").consumer("a")
warnings.simplefilter("always")
with warnings.catch_warnings(record=True) as caught:
    say(consumer.next().text(), consumer.next().text())
    try:
        consumer.next()
    except ss.errors.StreamEnded as ended:
        say(ended)
say(len(caught), caught[0].filename, caught[0].message)
"""
    given = b'["json", "array"]\n[a] x\n[ ]\n\xff\xfe\n[1960-01-01T00:00:00 | a] x\n[a] y\n'
    _, said = run(script, given)
    assert said[0] == "x y"
    assert said[1] == "standard input has ended; 4 lines of it were no messages"
    assert said[2].startswith("1 <string> a line of standard input is no message and was left out")
    assert '\'"json", "array"\' cannot stand there' in said[2]


def test_after_the_end_every_call_says_so_and_what_came_is_not_lost() -> None:
    script = """
consumer = ss.connect("stdio://").consumer("a")
say(len(consumer.take(5)), consumer.take(0))
for call in (consumer.next, lambda: consumer.take(5), consumer.page, consumer.next):
    try:
        call()
    except ss.errors.StreamEnded as error:
        say("ended", error)
late = ss.connect("stdio://").consumer("a")
say(list(late))
"""
    _, said = run(script, b"[a] 1\n[a] 2\n[a] 3\n")
    assert said == ["3 []"] + ["ended standard input has ended"] * 4 + ["[]"]


def test_nothing_is_lost_to_consumers_that_were_made_before_the_first_wait() -> None:
    script = """
streamer = ss.connect("stdio://")
time.sleep(0.1)
first = streamer.consumer("a")
time.sleep(0.1)
second = streamer.consumer("a")
say(first.next().text(), second.next().text())
"""
    for number in range(3):
        assert run(script, b"[a] %d\n" % number)[1] == [f"{number} {number}"]


def test_what_comes_while_nobody_listens_waits_for_the_next_consumer() -> None:
    script = """
streamer = ss.connect("stdio://")
with streamer.consumer("a") as consumer:
    say(consumer.next().text())
say("none")
with streamer.consumer("a") as consumer:
    say(consumer.next().text())
"""
    with start(script) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(b"[a] first\n")
        process.stdin.flush()
        assert process.stderr.readline() == b"first\n"
        assert process.stderr.readline() == b"none\n"
        process.stdin.write(b"[a] second\n")
        process.stdin.flush()
        assert process.stderr.readline() == b"second\n"
        process.communicate(timeout=PATIENCE)


@pytest.mark.parametrize(
    ("form", "first", "sequences", "times"),
    [
        ("ms", 1_640_995_200_123_000_000, "[18446744073709551615]", "[1640995200123000]"),
        (
            "ns",
            1_640_995_200_123_456_789,
            "[Decimal('18446744073709551615')]",
            "[1640995200123456789]",
        ),
    ],
)
def test_a_time_is_kept_as_exactly_as_the_connection_asks(
    form: str, first: int, sequences: str, times: str
) -> None:
    script = f"""
consumer = ss.connect("stdio://", timestamp_format={form!r}).consumer("a")
message = consumer.next()
say(message.timestamp_ns, message.sequence, message.shard)
page = consumer.page()
say(page["sequence"].to_pylist(), page["timestamp"].cast("int64").to_pylist())
"""
    line = b"[2022-01-01T00:00:00.123456789 | a | 18446744073709551615 | 6] x\n"
    assert run(script, line * 2)[1] == [
        f"{first} 18446744073709551615 6",
        f"{sequences} {times}",
    ]


def test_an_interrupt_ends_the_wait_and_loses_nothing() -> None:
    script = """
with ss.connect("stdio://") as streamer, streamer.consumer("a") as consumer:
    try:
        say("waiting")
        consumer.next()
    except KeyboardInterrupt:
        say("stopped")
    say(consumer.next().text())
"""
    with start(script) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        assert process.stderr.readline() == b"waiting\n"
        process.send_signal(signal.SIGINT)
        assert process.stderr.readline() == b"stopped\n"
        assert process.communicate(b"[a] x\n", PATIENCE)[1] == b"x\n"
    assert process.returncode == 0


def test_a_process_that_reads_exits_at_once() -> None:
    script = """
consumer = ss.connect("stdio://").consumer("a")
try:
    consumer.next(0.01)
except TimeoutError as error:
    say(error)
"""
    with start(script) as process:
        assert process.wait(PATIENCE) == 0
        assert process.stderr is not None
        assert b"reading 'a' from standard input: too few messages came" in process.stderr.read()


@pytest.mark.parametrize(
    "before",
    [lambda: os.close(0), lambda: os.dup2(os.open(os.devnull, os.O_WRONLY), 0)],
    ids=["closed", "write-only"],
)
def test_standard_input_that_cannot_be_read_says_why(before: Callable[[], None]) -> None:
    script = """
consumer = ss.connect("stdio://").consumer("a")
for _ in range(2):
    try:
        consumer.next()
    except ss.errors.ConnectError as error:
        say(error)
"""
    _, said = run(script, preexec_fn=before)
    assert said == ["standard input cannot be read: [Errno 9] Bad file descriptor"] * 2


def test_a_pipe_that_somebody_made_non_blocking_is_read_all_the_same() -> None:
    script = """
os.set_blocking(0, False)
say("reading")
say([message.text() for message in ss.connect("stdio://").consumer("a")])
"""
    with start(script) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == b"reading\n"
        assert process.communicate(b"[a] x\n", PATIENCE)[1] == b"['x']\n"


def test_the_awaiting_facade_reads_the_same() -> None:
    script = """
async def main():
    async with ss.connect_async("stdio://") as streamer:
        consumer = await streamer.consumer("a")
        say((await consumer.next()).text())
        async for message in consumer:
            say(message.text())
        say("end")
asyncio.run(main())
"""
    assert run(script, b"[a] 1\n[a] 2\nraw\n")[1] == ["1", "2", "raw", "end"]


def test_a_forked_child_has_consumers_of_its_own() -> None:
    script = """
warnings.simplefilter("ignore")
streamer = ss.connect("stdio://")
consumer = streamer.consumer("a")
say(consumer.next().text())
if os.fork() == 0:
    for use in (consumer.next, lambda: streamer.consumer("a"), streamer.close):
        try:
            use()
        except ss.errors.StreamError as error:
            say(type(error).__name__)
    say([message.text() for message in ss.connect("stdio://").consumer("a")])
    os._exit(0)
os.wait()
"""
    with start(script) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(b"[a] parent\n")
        process.stdin.flush()
        assert process.stderr.readline() == b"parent\n"
        rest = process.communicate(timeout=PATIENCE)[1].decode().splitlines()
    assert rest == ["ConsumerClosed", "ConnectError", "[]"]


@pytest.mark.parametrize("mode", ["realtime", "load_balanced"])
def test_a_consumer_says_which_calls_mean_nothing_here(mode: str) -> None:
    script = f"""
consumer = ss.connect("stdio://").consumer("a", mode={mode!r}, group="g", auto_commit="rolling")
message = consumer.next()
consumer.ack(message)
consumer.commit_asap()
consumer.assign("a", 5)
say(consumer.stream_shards, consumer)
for use in (
    lambda: consumer.seek("-1m"), lambda: consumer.rewind("beginning"), consumer.resume_group,
    lambda: consumer.assign("b", 0), lambda: consumer.unassign("a", 0), consumer.commit,
    lambda: consumer.ack("x"), lambda: consumer.ack(ss.Message(ORIGIN, b"1-1", b"")),
):
    try:
        use()
    except Exception as error:
        say(type(error).__name__)
""".replace("ORIGIN", 'type(message.origin)("b", 0, b"b")')
    _, said = run(script, b"[a] 1\n")
    group = "" if mode == "realtime" else " in group 'g'"
    assert said[0] == f"[('a', 0)] <Consumer {mode} a:0{group}>"
    assert said[1:] == [
        *["Unsupported"] * 3,
        "ConfigError",
        "Unsupported",
        "CommitNotAllowed",
        "TypeError",
        "AckNotAllowed",
    ]
