"""Group consumers whose reads or commits the server refuses for a while."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

import seastream_nb as ss
from tests.facades import PATIENCE
from tests.redis.consuming import numbers, send
from tests.redis.groups import pending
from tests.redis.test_conformance_interop import MODES, in_group
from tests.servers import TcpServer, eventually, plain_client

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
