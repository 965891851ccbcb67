"""Group consumers whose reads or commits the server refuses for a while."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

import seastream_nb as ss
from seastream_nb.redis import membership
from tests.facades import PATIENCE
from tests.redis.consuming import numbers, send
from tests.redis.groups import all_acked, pending
from tests.redis.test_conformance_interop import MODES, in_group
from tests.servers import HOST, TcpServer, eventually, plain_client

if TYPE_CHECKING:
    import redis

pytestmark = pytest.mark.usefixtures("no_complaints")


def refusals(client: redis.Redis, command: str) -> int:
    """How often the server refused a command without executing it."""
    stats = client.info("commandstats")
    return int(stats.get(f"cmdstat_{command}", {}).get("rejected_calls", 0))


@pytest.mark.parametrize("mode", MODES)
def test_a_read_waits_until_there_are_replicas_enough(matrix_tcp: TcpServer, mode: str) -> None:
    with (
        ss.connect(matrix_tcp.url) as streamer,
        plain_client(matrix_tcp.url) as client,
        ThreadPoolExecutor(1) as thread,
    ):
        send(client, "s", *range(5))
        consumer = streamer.consumer("s", **in_group(mode, batch_size=1))
        got = consumer.take(2, PATIENCE)
        client.config_set("min-replicas-to-write", 1)
        rest = thread.submit(consumer.take, 3, PATIENCE)
        refused = eventually(lambda: refusals(client, "xreadgroup") > 1)
        client.config_set("min-replicas-to-write", 0)
        assert refused
        got += rest.result()
        assert numbers(got) == [0, 1, 2, 3, 4]
        for message in got:
            consumer.ack(message)
        consumer.commit()
        assert pending(client) == 0


def test_what_could_not_be_committed_for_want_of_replicas_stays_due(matrix_tcp: TcpServer) -> None:
    with ss.connect(matrix_tcp.url) as streamer, plain_client(matrix_tcp.url) as client:
        send(client, "s", *range(3))
        consumer = streamer.consumer("s", **in_group())
        for message in consumer.take(3, PATIENCE):
            consumer.ack(message)
        client.config_set("min-replicas-to-write", 1)
        with pytest.raises(ss.ServerError, match="NOREPLICAS"):
            consumer.commit()
        client.config_set("min-replicas-to-write", 0)
        consumer.commit()
        assert pending(client) == 0


def may(client: redis.Redis, *rules: str) -> None:
    """Give the user `ana` these rights; links that are open notice it at once."""
    client.execute_command("ACL", "SETUSER", "ana", "resetpass", "on", ">s3cret", "~*", *rules)


def url_of_ana(server: TcpServer) -> str:
    return f"redis://ana:s3cret@{HOST}:{server.port}"


def one_by_one(consumer: ss.Consumer, most: int, got: list[ss.Message]) -> None:
    """Take messages with a call each, until there are so many."""
    while len(got) < most:
        got += consumer.take(1, PATIENCE)


def test_a_commit_in_the_background_that_is_denied_is_not_repeated_with_every_call(
    matrix_tcp: TcpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(membership, "RETRY_SECONDS", 600.0)
    monkeypatch.setattr(membership, "MOST_RETRY_SECONDS", 600.0)
    with plain_client(matrix_tcp.url) as client:
        send(client, "s", *range(20))
        may(client, "+@all", "-xack")
        with ss.connect(url_of_ana(matrix_tcp)) as streamer:
            delayed = {"auto_commit": "delayed", "auto_commit_delay": 0.001, "batch_size": 1}
            consumer = streamer.consumer("s", **in_group(**delayed))
            got = consumer.take(1, PATIENCE)
            assert eventually(lambda: refusals(client, "xack") > 0)
            with pytest.raises(ss.AuthError, match="xack"):
                one_by_one(consumer, 20, got)
            one_by_one(consumer, 20, got)
            assert numbers(got) == list(range(20))
            assert refusals(client, "xack") == 1
            may(client, "+@all")
            consumer.end()
        assert pending(client) == 0


def test_a_commit_in_the_background_that_was_denied_is_made_once_it_is_allowed(
    matrix_tcp: TcpServer,
) -> None:
    with plain_client(matrix_tcp.url) as client:
        send(client, "s", *range(3))
        may(client, "+@all", "-xack")
        with ss.connect(url_of_ana(matrix_tcp)) as streamer:
            delayed = {"auto_commit": "delayed", "auto_commit_delay": 0.001}
            consumer = streamer.consumer("s", **in_group(**delayed))
            consumer.take(3, PATIENCE)
            assert eventually(lambda: refusals(client, "xack") > 1)
            assert pending(client) == 3
            may(client, "+@all")
            assert all_acked(client)


@pytest.mark.parametrize("mode", MODES)
def test_a_server_without_memory_still_gives_messages_and_takes_commits(
    matrix_tcp: TcpServer, mode: str
) -> None:
    """F18."""
    with ss.connect(matrix_tcp.url) as streamer, plain_client(matrix_tcp.url) as client:
        send(client, "s", *range(5))
        consumer = streamer.consumer("s", **in_group(mode, batch_size=1))
        got = consumer.take(2, PATIENCE)
        client.config_set("maxmemory", 1)
        with streamer.producer("s") as producer, pytest.raises(ss.NotSent, match="OOM"):
            producer.send("5").result(PATIENCE)
        got += consumer.take(3, PATIENCE)
        assert numbers(got) == [0, 1, 2, 3, 4]
        for message in got:
            consumer.ack(message)
        consumer.commit()
        assert all_acked(client)
