"""Streams and groups that vanish, change or come back under a group consumer (F21, F22, F27).

Redis 6.2 does not wake a reader whose key is deleted: it tells with the next command.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

import seastream_nb as ss
from tests.facades import PATIENCE
from tests.redis.consuming import numbers, send
from tests.redis.groups import pending
from tests.redis.test_conformance_interop import MODES, in_group
from tests.servers import eventually

if TYPE_CHECKING:
    import redis

pytestmark = pytest.mark.usefixtures("no_complaints")


class Reader:
    """A consumer that a thread reads with, and what came of it.

    Attributes:
        got: the payloads.
        resets: how often a call raised `StreamReset`.
        refused: the texts of the `ServerError`s.
    """

    def __init__(self, consumer: ss.Consumer) -> None:
        self.got: list[int] = []
        self.resets = 0
        self.refused: list[str] = []
        self._consumer = consumer
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._enough.is_set():
            try:
                message = self._consumer.next(0.1)
                self.got += numbers([message])
                self._consumer.ack(message)
            except TimeoutError:
                pass
            except ss.StreamReset:
                self.resets += 1
            except ss.ServerError as error:
                self.refused.append(str(error))

    def has(self, *values: int) -> bool:
        return eventually(lambda: self.got == list(values))

    def stop(self) -> None:
        self._enough.set()
        self._thread.join(PATIENCE)


Begin = Callable[..., Reader]


@pytest.fixture
def begin(matrix_client: redis.Redis, matrix_streamer: ss.Streamer) -> Iterator[Begin]:
    """Begins a reader that has had 0, 1 and 2 from the first stream, and is blocked again."""
    begun: list[Reader] = []

    def begin_on(*keys: str, mode: str) -> Reader:
        how = in_group(mode, auto_commit="rolling", auto_commit_interval=0, mkstream=True)
        begun.append(Reader(matrix_streamer.consumer(*keys, **how)))
        send(matrix_client, keys[0], 0, 1, 2)
        assert begun[-1].has(0, 1, 2)
        assert eventually(lambda: matrix_client.info("clients")["blocked_clients"])
        return begun[-1]

    yield begin_on
    for reader in begun:
        reader.stop()


LOSSES: dict[str, Callable[[redis.Redis], object]] = {
    "DEL": lambda client: client.delete("s"),
    "FLUSHALL": lambda client: client.flushall(),
    "UNLINK": lambda client: client.unlink("s"),
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("mode", MODES)
def test_a_stream_that_is_deleted_is_told_once_and_reading_goes_on_with_the_new_one(
    matrix_client: redis.Redis, begin: Begin, mode: str, loss: str
) -> None:
    """F21; defect 1."""
    reader = begin("s", mode=mode)
    LOSSES[loss](matrix_client)
    send(matrix_client, "s", 3, 4)
    assert reader.has(0, 1, 2, 3, 4)
    send(matrix_client, "s", 5)
    assert reader.has(0, 1, 2, 3, 4, 5)
    reader.stop()
    assert (reader.resets, reader.refused) == (1, [])


@pytest.mark.parametrize("mode", MODES)
def test_a_group_that_is_destroyed_goes_on_at_the_last_known_id(
    matrix_client: redis.Redis, begin: Begin, mode: str
) -> None:
    """F21: not at `$`, which skips what came meanwhile."""
    reader = begin("s", mode=mode)
    with matrix_client.pipeline() as pipeline:
        pipeline.xgroup_destroy("s", "g")
        for value in (3, 4):
            pipeline.xadd("s", {b"msg": b"%d" % value})
        pipeline.execute()
    assert reader.has(0, 1, 2, 3, 4)
    send(matrix_client, "s", 5)
    assert reader.has(0, 1, 2, 3, 4, 5)
    reader.stop()
    assert (reader.resets, reader.refused) == (1, [])


@pytest.mark.parametrize("mode", MODES)
def test_a_key_that_is_set_over_is_refused_until_it_is_a_stream_again(
    matrix_client: redis.Redis, begin: Begin, mode: str
) -> None:
    """F21."""
    reader = begin("s", mode=mode)
    matrix_client.set("s", "x")
    assert eventually(lambda: reader.refused)
    assert "WRONGTYPE" in reader.refused[0]
    matrix_client.delete("s")
    send(matrix_client, "s", 3, 4)
    assert reader.has(0, 1, 2, 3, 4)
    reader.stop()


@pytest.mark.parametrize("mode", MODES)
def test_a_deleted_stream_that_nobody_may_create_is_waited_for(
    matrix_client: redis.Redis, matrix_streamer: ss.Streamer, mode: str
) -> None:
    """F21, without mkstream."""
    send(matrix_client, "s", 0)
    consumer = matrix_streamer.consumer("s", **in_group(mode))
    assert numbers([consumer.next(PATIENCE)]) == [0]
    matrix_client.delete("s")
    with pytest.raises(ss.StreamReset, match="'s'"):
        consumer.next(PATIENCE)
    with pytest.raises((TimeoutError, ss.StreamNotFound)):
        consumer.next(0.1)
    assert not matrix_client.exists("s")
    send(matrix_client, "s", 1)
    got: list[ss.Message] = []
    while not got:
        try:
            got = consumer.take(1, PATIENCE)
        except ss.StreamNotFound:
            continue
    assert numbers(got) == [1]


@pytest.mark.parametrize("mode", MODES)
def test_a_commit_to_a_stream_that_is_gone_is_no_hang(
    client: redis.Redis, streamer: ss.Streamer, mode: str
) -> None:
    send(client, "s", 0)
    consumer = streamer.consumer("s", **in_group(mode))
    consumer.ack(consumer.next(PATIENCE))
    client.delete("s")
    try:
        consumer.commit()
    except ss.StreamError as error:
        assert "'s'" in str(error)  # noqa: PT017 (the server may take the XACK for nothing)
    consumer.end()


@pytest.mark.parametrize("mode", [*MODES, "realtime"])
def test_one_key_of_another_type_leaves_the_others_alone(
    matrix_client: redis.Redis, begin: Begin, mode: str
) -> None:
    """F22: one of five."""
    keys = ["a", "b", "c", "d", "e"]
    reader = begin(*keys, mode=mode)
    matrix_client.delete("c")
    matrix_client.set("c", "x")
    for turn in range(3):
        for at, key in enumerate(("a", "b", "d", "e")):
            send(matrix_client, key, 10 * turn + at)
    expected = {0, 1, 2, 3, 10, 11, 12, 13, 20, 21, 22, 23}
    assert eventually(lambda: set(reader.got) == expected)
    assert eventually(lambda: reader.refused)
    send(matrix_client, "a", 99)
    assert eventually(lambda: 99 in reader.got)
    reader.stop()
    assert sorted(reader.got) == sorted([0, 1, 2, *expected, 99])
    assert all("WRONGTYPE" in each for each in reader.refused)
    if mode != "realtime":
        assert len(reader.refused) == 1


@pytest.mark.parametrize("mode", [*MODES, "realtime"])
def test_a_stream_that_is_made_again_with_lower_ids_is_read_from_its_beginning(
    matrix_client: redis.Redis, begin: Begin, mode: str
) -> None:
    """F27: without a look at the stream's last id, one waits for ever for the old ids."""
    reader = begin("s", mode=mode)
    with matrix_client.pipeline() as pipeline:
        pipeline.delete("s")
        pipeline.xadd("s", {b"msg": b"3"}, id="5-0")
        pipeline.xadd("s", {b"msg": b"4"}, id="5-1")
        pipeline.execute()
    assert reader.has(0, 1, 2, 3, 4)
    matrix_client.xadd("s", {b"msg": b"5"}, id="6-0")
    assert reader.has(0, 1, 2, 3, 4, 5)
    reader.stop()
    assert reader.resets == 1


@pytest.mark.parametrize("mode", MODES)
def test_a_stream_that_stays_deleted_makes_no_hot_loop(
    client: redis.Redis, streamer: ss.Streamer, mode: str
) -> None:
    send(client, "s", 0)
    consumer = streamer.consumer("s", **in_group(mode))
    consumer.next(PATIENCE)
    client.delete("s")
    with pytest.raises(ss.StreamReset):
        consumer.next(PATIENCE)
    before = client.info("stats")["total_commands_processed"]
    with pytest.raises(TimeoutError):
        consumer.next(1.0)
    assert client.info("stats")["total_commands_processed"] - before < 100


@pytest.mark.parametrize("mode", MODES)
def test_what_was_trimmed_away_unread_is_no_error(
    matrix_client: redis.Redis, matrix_streamer: ss.Streamer, mode: str
) -> None:
    """F23: pending entries whose bodies are gone do not stay pending."""
    send(matrix_client, "s", *range(20))
    how = in_group(mode, batch_size=20)
    first = matrix_streamer.consumer("s", **how)
    first.take(20, PATIENCE)
    first.abort()
    matrix_client.xtrim("s", 5, approximate=False)
    again = matrix_streamer.consumer("s", **how)
    got = again.take(5, PATIENCE)
    assert numbers(got) == [15, 16, 17, 18, 19]
    for message in got:
        again.ack(message)
    again.commit()
    assert eventually(lambda: pending(matrix_client) == 0)


def test_what_a_dead_consumer_had_and_was_deleted_does_not_stay_pending(
    matrix_client: redis.Redis, matrix_streamer: ss.Streamer
) -> None:
    """F23: Redis 6.2 claims such entries without naming them; later servers drop them."""
    ids = send(matrix_client, "s", *range(20))
    dead = matrix_streamer.consumer("s", **in_group(name="dead", batch_size=20))
    dead.take(20, PATIENCE)
    dead.abort()
    matrix_client.xdel("s", *ids[:7], ids[19])
    how = in_group(batch_size=5, auto_claim_interval=0.1, auto_claim_idle=0.3)
    consumer = matrix_streamer.consumer("s", **how)
    got = consumer.take(12, PATIENCE)
    assert numbers(got) == list(range(7, 19))
    for message in got:
        consumer.ack(message)
    consumer.commit()
    assert consumer.take(1, 0.1) == []
    assert eventually(lambda: consumer.take(1, 0.05) == [] and pending(matrix_client) == 0)
