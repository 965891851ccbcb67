"""Several consumers and streamers in one process: groups, loopback, closing, back-pressure."""

from __future__ import annotations

import os
import select
from typing import IO, TYPE_CHECKING, Any

import pytest

import seastream_nb as ss
from seastream_nb import portal
from seastream_nb.options import ConnectOptions, ConsumerOptions
from seastream_nb.stdio.consumer import StdioConsumer
from seastream_nb.stdio.input import Input
from tests.servers import eventually
from tests.stdio.programs import PATIENCE, run

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_WAITING = 2**20

LOOPBACK = """
streamer = ss.connect("stdio://", loopback=True)
producer = streamer.producer("a")
def send(*values):
    for value in values:
        producer.send(str(value), timestamp="2022-01-01T00:00:00.5Z")
    producer.flush()
def numbers(consumer, n):
    return [int(message.text()) for message in consumer.take(n, 20)]
"""


# Groups.


def test_members_of_a_group_take_turns_and_others_get_everything() -> None:
    script = """
streamer = ss.connect("stdio://")
group = dict(mode="load_balanced", group="g")
consumers = [
    streamer.consumer("a", **group), streamer.consumer("b", "a", **group), streamer.consumer("a"),
    streamer.consumer("a", mode="load_balanced", group="h"),
]
for consumer in consumers:
    say(*(message.text() for message in consumer))
"""
    given = b"".join(b"[a] a%d\n" % n for n in range(4)) + b"[b] b0\n[b] b1\nraw0\nraw1\n"
    assert run(script, given)[1] == [
        "a0 a2 raw0",
        "a1 a3 b0 b1 raw1",
        "a0 a1 a2 a3 raw0 raw1",
        "a0 a1 a2 a3 raw0 raw1",
    ]


def test_a_sole_member_gets_all_and_shares_when_a_second_joins() -> None:
    """The reference's case `consumer-group`: the numbers go on, so the turns do not start anew."""
    script = (
        LOOPBACK
        + """
first = streamer.consumer("a", mode="load_balanced", group="g")
send(0, 1, 2, 3)
say(numbers(first, 4))
second = streamer.consumer("a", mode="load_balanced", group="g")
send(*range(10))
say(numbers(first, 5), numbers(second, 5))
second.end()
send(0, 1)
say(numbers(first, 2))
"""
    )
    assert run(script)[1] == ["[0, 1, 2, 3]", "[0, 2, 4, 6, 8] [1, 3, 5, 7, 9]", "[0, 1]"]


# Loopback.


def test_without_loopback_nothing_is_fed_back() -> None:
    """The reference's case `loopback`, switched off."""
    script = (
        LOOPBACK.replace("loopback=True", "loopback=False")
        + """
consumer = streamer.consumer("a")
send(0, 1)
say(list(consumer))
streamer.close()
for use in (consumer.next, lambda: producer.send("x")):
    try:
        use()
    except ss.errors.StreamError as error:
        say(type(error).__name__)
"""
    )
    printed, said = run(script)
    assert said == ["[]", "ConsumerClosed", "ProducerClosed"]
    assert printed.count(b"\n") == 2


def test_with_loopback_what_is_printed_comes_back_exactly() -> None:
    """The reference's case `loopback`, switched on."""
    script = (
        LOOPBACK
        + """
consumer, deaf = streamer.consumer("a"), streamer.consumer("b")
send(*range(5))
say(numbers(consumer, 5))
receipt = producer.send("  padded").result()
message = consumer.next()
say(message.header == receipt, repr(message.text()), deaf.take(1, 0))
say(message.timestamp_ns == receipt.timestamp_ns, message.sequence, message.shard)
"""
    )
    printed, said = run(script)
    assert said == ["[0, 1, 2, 3, 4]", "True '  padded' []", "True 5 0"]
    assert printed.startswith(b"[2022-01-01T00:00:00.5 | a | 0] 0\n")


def test_with_loopback_the_end_of_the_input_is_the_end_when_the_streamer_is_closed() -> None:
    script = (
        LOOPBACK
        + """
other = ss.connect("stdio://")
consumer = other.consumer("a")
say(consumer.next().text(), consumer.take(1, 0.1))
send(1)
streamer.close()
say([message.text() for message in consumer])
"""
    )
    assert run(script, b"[a] from stdin\n")[1] == ["from stdin []", "['1']"]


def test_loopback_to_consumers_that_take_nothing_fails_what_has_no_room() -> None:
    script = """
streamer = ss.connect("stdio://", loopback=True, timeout=0.2)
consumer, producer = streamer.consumer("a"), streamer.producer("a", max_queue="1MiB")
pending = []
try:
    while True:
        pending.append(producer.send("x" * 100_000))
        if pending[-1].done: pending[-1].result()
        producer.flush()
except ss.errors.NotSent as error:
    say(error)
sent = sum(not repr(each).startswith("<no") for each in pending)
say(sent < 500, len(consumer.take(1_000, 0.1)) == sent)
say(producer.send("y").result().sequence == len(pending))
os._exit(0)
"""
    printed, said = run(script)
    assert said == [
        "sending to 'a': the consumers of this process hold so much that nobody takes",
        "True True",
        "True",
    ]
    assert printed.count(b"\n") < 500


# Closing.


def test_closing_one_streamer_leaves_the_others_as_they_are() -> None:
    script = """
one, other = ss.connect("stdio://"), ss.connect("stdio://")
ended, consumer = one.consumer("a"), other.consumer("a")
gone, producer = one.producer("a"), other.producer("a")
one.close()
one.close()
for use in (ended.next, lambda: gone.send("x"), lambda: one.consumer("a"), lambda: one.producer()):
    try:
        use()
    except ss.errors.StreamError as error:
        say(type(error).__name__)
say(producer.send("x").result().sequence)
say([message.text() for message in consumer])
"""
    printed, said = run(script, b"[a] 1\n")
    assert said == [
        "ConsumerClosed",
        "ProducerClosed",
        "ConnectError",
        "ConnectError",
        "0",
        "['1']",
    ]
    assert printed.count(b"\n") == 1


# Back-pressure: an input of its own on a pipe of the test.


@pytest.fixture
def pipe() -> Iterator[tuple[Input, IO[bytes]]]:
    """An input, and where to write what it reads."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with os.fdopen(reading, "rb", buffering=0), os.fdopen(writing, "wb", buffering=0) as file:
        yield Input(reading, MOST_WAITING), file


def consumer_of(source: Input, *keys: str, **options: Any) -> ss.Consumer:
    connection = ConnectOptions.make(options)

    async def make() -> StdioConsumer:
        return StdioConsumer(
            keys,
            ConsumerOptions(),
            connection=connection,
            source=source,
            release=lambda consumer: None,
        )

    return ss.Consumer(portal.run(make()))


def written_until_held_back(file: IO[bytes], line: bytes) -> int:
    """Write lines until nobody has read on for a while; how many."""
    at_once = select.PIPE_BUF // len(line)  # all of them are written, or none
    lines = 0
    while eventually(lambda: file.write(line * at_once), within=0.5):
        lines += at_once
    return lines


def test_reading_stops_while_a_consumer_has_too_much_and_goes_on_later(pipe) -> None:
    source, file = pipe
    consumer = consumer_of(source, "a")
    line = b"[a] " + b"x" * 35 + b"\n"
    assert consumer.take(1, 0.01) == []
    lines = written_until_held_back(file, line)
    assert MOST_WAITING // 10 < lines * len(line) < MOST_WAITING
    assert len(consumer.take(lines, PATIENCE)) == lines
    assert eventually(lambda: file.write(line))
    assert consumer.next(PATIENCE).sequence == lines


def test_a_consumer_that_another_keeps_waiting_is_told_which(pipe) -> None:
    source, file = pipe
    idle, starving = consumer_of(source, "idle"), consumer_of(source, "a", timeout=0.2)
    assert starving.take(1, 0.01) == []
    written_until_held_back(file, b"[idle] " + b"x" * 2_000 + b"\n")
    with pytest.raises(ss.errors.QueueFull, match="nobody takes; take them, or end") as caught:
        starving.next(PATIENCE)
    assert "'idle'" in str(caught.value)
    idle.end()
    assert eventually(lambda: file.write(b"[a] y\n"))
    assert starving.next(PATIENCE).text() == "y"


# What a streamer has, and has not.


TERMINALS = {
    "to_arrow": lambda stream: stream.to_arrow(),
    "to_pandas": lambda stream: stream.to_pandas(),
    "messages": lambda stream: next(stream.messages()),
    "follow": lambda stream: next(stream.follow()),
    "pages": lambda stream: next(stream.pages()),
    "count": lambda stream: stream.count(),
    "info": lambda stream: stream.info(),
    "get": lambda stream: stream.get("1-1"),
    "rate": lambda stream: stream.rate(),
    "schema": lambda stream: stream.json().schema(),
    "snapshot": lambda stream: stream.snapshot(),
    "groups": lambda stream: stream.groups(),
    "consumers": lambda stream: stream.consumers("g"),
    "pending": lambda stream: stream.pending("g"),
}
ASKED = {
    "catalog": lambda streamer: streamer.catalog(),
    "claim": lambda streamer: streamer.claim("a", "g", consumer="c"),
    "ack": lambda streamer: streamer.ack("a", "g", "1-1"),
    "trim": lambda streamer: streamer.trim("a", max_len=1),
    "delete_group": lambda streamer: streamer.delete_group("a", "g"),
    "delete_consumer": lambda streamer: streamer.delete_consumer("a", "g", "c"),
}


@pytest.mark.parametrize("terminal", TERMINALS.values(), ids=TERMINALS)
def test_a_range_of_what_is_not_kept_is_refused_and_says_what_to_do(terminal) -> None:
    with (
        ss.connect("stdio://") as streamer,
        pytest.raises(ss.errors.Unsupported, match=r"streamer\.consumer\('KEY'\)"),
    ):
        terminal(streamer["a"])


@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
def test_what_needs_a_server_is_refused_and_says_what_to_do(ask) -> None:
    with (
        ss.connect("stdio://") as streamer,
        pytest.raises(ss.errors.Unsupported, match=r"streamer\.consumer\('KEY'\)"),
    ):
        ask(streamer)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda streamer: streamer.consumer("a", mode="resumable"), ss.errors.Unsupported),
        (lambda streamer: streamer.consumer("a", mode="load_balanced"), ss.errors.ConfigError),
        (lambda streamer: streamer.consumer(), ss.errors.ConfigError),
        (lambda streamer: streamer.consumer("a", shard_ownership="owned"), ss.errors.Unsupported),
        (lambda streamer: streamer.producer("a", durability="replica"), ss.errors.Unsupported),
        (lambda streamer: streamer.producer("a:b"), ss.errors.StreamKeyError),
    ],
)
def test_options_that_cannot_be_kept_are_refused(make, error) -> None:
    with ss.connect("stdio://") as streamer, pytest.raises(error):
        make(streamer)


def test_read_only_has_neither_producers_nor_groups() -> None:
    with ss.connect("stdio://", read_only=True) as streamer:
        assert repr(streamer) == "<Streamer stdio:// [read-only]>"
        with pytest.raises(ss.errors.ReadOnlyError):
            streamer.producer("a")
        with pytest.raises(ss.errors.ReadOnlyError):
            streamer.consumer("a", mode="load_balanced", group="g")
