from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

import seastream_nb as ss
from tests.redis.consuming import numbers, send
from tests.redis.groups import at_least
from tests.servers import TcpServer, eventually, plain_client, raw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import redis

PATIENCE = 20.0


@pytest.fixture
def reader(client: redis.Redis) -> Iterator[str]:
    """A user of the session's server who may do everything, with the password `x`."""
    client.execute_command("ACL", "SETUSER", "reader", "on", ">x", "~*", "+@all")
    yield "reader"
    client.execute_command("ACL", "DELUSER", "reader")


def kill_everybody_else(client: redis.Redis) -> int:
    killed: int = client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    return killed


def blocked(client: redis.Redis) -> int:
    return int(client.info("clients")["blocked_clients"])


def sent(server: TcpServer, *values: object) -> None:
    with plain_client(server.url) as client:
        send(client, "s", *values)


def test_a_restart_of_the_server_loses_nothing_and_repeats_nothing(durable: TcpServer) -> None:
    with ss.connect(durable.url) as streamer, streamer.consumer("s") as consumer:
        sent(durable, 0, 1)
        assert numbers(consumer.take(2, PATIENCE)) == [0, 1]
        for turn in range(2):
            durable.kill()
            durable.restart()
            sent(durable, 2 + 2 * turn, 3 + 2 * turn)
            assert numbers(consumer.take(2, PATIENCE)) == [2 + 2 * turn, 3 + 2 * turn]
        with pytest.raises(TimeoutError):
            consumer.next(0.05)


def test_a_consumer_that_waits_survives_a_restart(durable: TcpServer) -> None:
    got: list[ss.Message] = []
    with ss.connect(durable.url) as streamer, streamer.consumer("s") as consumer:
        thread = threading.Thread(target=lambda: got.extend(consumer.take(3, PATIENCE)))
        thread.start()
        sent(durable, 0)
        durable.kill()
        durable.restart()
        sent(durable, 1, 2)
        thread.join(PATIENCE)
    assert numbers(got) == [0, 1, 2]


def test_connections_that_are_killed_while_they_wait_lose_nothing(
    url: str, client: redis.Redis
) -> None:
    with ss.connect(url) as streamer, streamer.consumer("s") as consumer:
        for value in range(5):
            assert eventually(lambda: blocked(client) == 1)
            assert kill_everybody_else(client) >= 1
            send(client, "s", value)
            assert numbers([consumer.next(PATIENCE)]) == [value]


def test_connections_that_are_killed_while_messages_flow_lose_nothing(
    url: str, client: redis.Redis
) -> None:
    with client.pipeline(transaction=False) as pipeline:
        for value in range(5_000):
            pipeline.xadd("s", {b"msg": str(value).encode().ljust(300)})
        pipeline.execute()
    with (
        ss.connect(url) as streamer,
        streamer.consumer("s", auto_stream_reset="earliest", batch_size=50) as consumer,
    ):
        got: list[int] = []
        for _ in range(5):
            killer = threading.Thread(target=kill_everybody_else, args=(client,))
            killer.start()
            got += numbers(consumer.take(1_000, PATIENCE))
            killer.join()
        assert got == list(range(5_000))


def test_an_outage_longer_than_the_timeout_is_told_once_and_reading_goes_on(
    durable: TcpServer,
) -> None:
    with (
        ss.connect(durable.url, timeout=0.5) as streamer,
        streamer.consumer("s", auto_stream_reset="earliest") as consumer,
    ):
        sent(durable, 0, 1)
        assert numbers(consumer.take(2, PATIENCE)) == [0, 1]
        durable.kill()
        with pytest.raises(ss.ConnectError, match="reading 's'"):
            consumer.next(PATIENCE)
        durable.restart()
        sent(durable, 2)
        assert numbers([consumer.next(PATIENCE)]) == [2]


ENDS: list[Callable[[ss.Consumer], object]] = [lambda each: each.end(), lambda each: each.abort()]


@pytest.mark.parametrize("end", ENDS, ids=["end", "abort"])
def test_the_end_is_silent_and_fast_while_the_server_is_away(
    durable: TcpServer, end: Callable[[ss.Consumer], object]
) -> None:
    with ss.connect(durable.url) as streamer:
        consumer = streamer.consumer("s")
        durable.kill()
        started = time.monotonic()
        end(consumer)
        assert time.monotonic() - started < 2


def test_a_seek_during_an_outage_takes_effect_after_it(durable: TcpServer) -> None:
    with ss.connect(durable.url) as streamer, streamer.consumer("s") as consumer:
        sent(durable, 0, 1)
        assert numbers(consumer.take(2, PATIENCE)) == [0, 1]
        durable.kill()
        consumer.rewind("beginning")
        durable.restart()
        assert numbers(consumer.take(2, PATIENCE)) == [0, 1]


def test_a_server_that_ends_the_wait_with_an_error_is_asked_again(
    url: str, client: redis.Redis
) -> None:
    # As it does when a primary becomes a replica.
    with ss.connect(url) as streamer, streamer.consumer("s") as consumer:
        assert eventually(lambda: blocked(client) == 1)
        waiting = next(each for each in client.client_list() if "b" in each["flags"])
        assert raw(url, "CLIENT", "UNBLOCK", waiting["id"], "ERROR") == 1
        send(client, "s", 1)
        assert numbers([consumer.next(PATIENCE)]) == [1]


def test_credentials_that_were_withdrawn_are_told_and_reading_goes_on_when_they_are_back(
    url: str, client: redis.Redis, reader: str
) -> None:
    with (
        ss.connect(url, username=reader, password="x") as streamer,
        streamer.consumer("s") as consumer,
    ):
        assert eventually(lambda: blocked(client) == 1)
        client.execute_command("ACL", "SETUSER", reader, "off")
        kill_everybody_else(client)
        with pytest.raises(ss.AuthError, match="refused the credentials"):
            consumer.next(PATIENCE)
        client.execute_command("ACL", "SETUSER", reader, "on")
        send(client, "s", 1)
        assert numbers([consumer.next(PATIENCE)]) == [1]


@pytest.mark.parametrize("denied", ["-xread", "-xrevrange"])
def test_a_right_that_is_missing_is_told_with_the_servers_text(
    url: str, client: redis.Redis, reader: str, denied: str
) -> None:
    client.execute_command("ACL", "SETUSER", reader, denied)
    with (
        ss.connect(url, username=reader, password="x") as streamer,
        pytest.raises(ss.AuthError, match=rf"reading 's': NOPERM .*{denied[1:]}"),
    ):
        streamer.consumer("s").next(PATIENCE)


def test_a_stream_made_anew_with_lower_and_higher_ids_is_noticed(
    matrix_client: redis.Redis, matrix_streamer: ss.Streamer
) -> None:
    """What was counted tells, where the last id does not; before 7.0 no server counts."""
    if not at_least(matrix_client, 7):
        pytest.skip("the server does not count what was added")
    for n in range(5, 8):
        matrix_client.xadd("s", {"msg": n}, id=f"{n}-0")
    consumer = matrix_streamer.consumer("s", auto_stream_reset="earliest")
    assert numbers(consumer.take(3, PATIENCE)) == [5, 6, 7]
    with matrix_client.pipeline() as anew:
        anew.delete("s")
        anew.xadd("s", {"msg": 3}, id="3-0")
        anew.xadd("s", {"msg": 10}, id="10-0")
        anew.execute()
    assert numbers([consumer.next(PATIENCE)]) == [10]
    with pytest.raises(ss.StreamReset, match="'s'"):
        consumer.next(PATIENCE)
    assert numbers(consumer.take(2, PATIENCE)) == [3, 10]
