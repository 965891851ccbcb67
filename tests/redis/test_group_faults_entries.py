"""Entries of every shape in group modes, and what an idle consumer asks for (F27, F28)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

import seastream_nb as ss
from tests.facades import PATIENCE
from tests.redis.consuming import calls, numbers, payloads, send
from tests.redis.groups import all_acked, pending
from tests.redis.test_conformance_interop import MODES, in_group

if TYPE_CHECKING:
    import redis

pytestmark = [
    pytest.mark.usefixtures("no_complaints"),
    # A consumer says once that it acknowledged entries which hold no message.
    pytest.mark.filterwarnings("ignore:.*acknowledged unread:UserWarning"),
]
LAST = 2**64 - 1


@pytest.mark.parametrize("batch", [1, 100])
@pytest.mark.parametrize("mode", MODES)
def test_ids_of_the_full_64_and_64_bits_are_delivered_acked_and_sought(
    matrix_client: redis.Redis, matrix_streamer: ss.Streamer, mode: str, batch: int
) -> None:
    """F27: the reference dies of the first of them, and again after each restart."""
    ids = ["5-65536", f"6-{LAST}", "4102444800000-0", "253402300800000-0", f"{LAST}-{LAST}"]
    for n, entry in enumerate(ids):
        matrix_client.xadd("s", {b"msg": b"%d" % n}, id=entry)
    consumer = matrix_streamer.consumer("s", **in_group(mode, batch_size=batch))
    got = consumer.take(5, PATIENCE)
    assert [message.id for message in got] == ids
    for message in got:
        consumer.ack(message)
    consumer.commit()
    assert pending(matrix_client) == 0
    for at in range(4):
        consumer.seek(got[at])
        assert numbers([consumer.next(PATIENCE)]) == [at + 1]
    consumer.resume_group()
    assert consumer.take(1, 0.05) == []


@pytest.mark.parametrize("mode", [*MODES, "realtime"])
def test_entries_of_every_shape_come_as_they_were_sent(
    matrix_client: redis.Redis, matrix_streamer: ss.Streamer, mode: str
) -> None:
    """F28."""
    large = bytes(range(256)) * (1 << 16)
    shapes: list[tuple[bytes, ...]] = [
        (b"msg", b"plain"),
        (b"msg", b""),
        (b"", b""),
        (b"other", b"x"),
        (b"\xff\xfe", b"\x00"),
        (b"msg", b"\xff\x00\r\n"),
        (b"msg", b"one", b"msg", b"two"),
        (b"a", b"1", b"msg", b"last", b"z", b"2"),
        (b"msg", large),
        (b"msg", b"end"),
    ]
    for shape in shapes:
        matrix_client.execute_command("XADD", "s", "*", *shape)
    consumer = matrix_streamer.consumer("s", **in_group(mode, batch_size=3))
    expected = [b"plain", b"", b"\xff\x00\r\n", b"one", b"two", b"last", large, b"end"]
    got = consumer.take(len(expected), PATIENCE)
    assert payloads(got) == expected
    if mode != "realtime":
        for message in got:
            consumer.ack(message)
        consumer.commit()
        assert all_acked(matrix_client)


@pytest.mark.parametrize("key", ["app:orders", "a:b:1", "a:7", b"\xff:1", ":", "1"])
@pytest.mark.parametrize("mode", MODES)
def test_any_redis_key_can_have_a_group(
    client: redis.Redis, streamer: ss.Streamer, mode: str, key: str | bytes
) -> None:
    """F28."""
    consumer = streamer.consumer(key, **in_group(mode, mkstream=True))
    send(client, key, 1)
    message = consumer.next(PATIENCE)
    assert message.payload == b"1"
    consumer.ack(message)
    consumer.commit()
    assert client.xpending(key, "g")["pending"] == 0


@pytest.mark.parametrize("mode", [*MODES, "realtime"])
def test_an_idle_consumer_asks_about_once_a_second(
    client: redis.Redis, streamer: ss.Streamer, mode: str
) -> None:
    """F28: the reference re-read such an entry 8,600 times a second."""
    for _ in range(3):
        client.xadd("s", {b"other": b"x"})
    consumer = streamer.consumer("s", **in_group(mode, batch_size=1))
    assert consumer.take(1, 0.1) == []
    command = "xread" if mode == "realtime" else "xreadgroup"
    before = calls(client, command)
    with pytest.raises(TimeoutError):
        consumer.next(1.5)
    assert 1 <= calls(client, command) - before <= 4


@pytest.mark.parametrize("mode", MODES)
def test_a_consumer_that_nobody_reads_with_asks_nothing_in_vain(
    client: redis.Redis, streamer: ss.Streamer, mode: str
) -> None:
    """Strictly on demand: no more than a page for an unmet `next`, and none without."""
    send(client, "s", *range(100))
    consumer = streamer.consumer("s", **in_group(mode, batch_size=1))
    time.sleep(0.2)  # to see that nothing happens
    assert pending(client) == 0
    assert numbers(consumer.take(3, PATIENCE)) == [0, 1, 2]
    time.sleep(0.2)
    assert pending(client) == 3
    with pytest.raises(TimeoutError):
        streamer.consumer("absent", **in_group(mode, mkstream=True)).next(0.01)


@pytest.mark.parametrize("auto_commit", ["delayed", "rolling"])
@pytest.mark.parametrize("mode", MODES)
def test_a_prefetching_consumer_holds_one_page_ahead_and_no_more(
    client: redis.Redis, streamer: ss.Streamer, mode: str, auto_commit: str
) -> None:
    send(client, "s", *range(200))
    how = in_group(mode, auto_commit=auto_commit, auto_commit_delay=60, batch_size=10)
    consumer = streamer.consumer("s", **how)
    assert numbers(consumer.take(5, PATIENCE)) == [0, 1, 2, 3, 4]
    time.sleep(0.2)  # to see that nothing more happens
    assert 10 <= pending(client) <= 30
    assert numbers(consumer.take(195, PATIENCE)) == list(range(5, 200))
