"""`durability="replica"`: a receipt says that a replica has the message too."""

from __future__ import annotations

import os
import signal

import pytest

import seastream_nb as ss
from tests.redis.proxy import proxied
from tests.servers import TcpServer, plain_client, raw

PATIENCE = 20
RULE = ["ACL", "SETUSER", "ana", "on", ">pw", "~*", "-@all", "+ping", "+select", "+xadd"]


def stored(server: TcpServer) -> list[bytes]:
    with plain_client(server.process.path) as client:
        return [fields[b"msg"] for _, fields in client.xrange("s")]


def test_what_is_acknowledged_is_on_the_replica(pair: tuple[TcpServer, TcpServer]) -> None:
    primary, replica = pair
    with ss.connect(primary.url) as streamer:
        producer = streamer.producer("s", durability="replica")
        for n in range(5):
            producer.send(str(n)).result(PATIENCE)
            assert stored(replica) == [b"%d" % each for each in range(n + 1)]
        pending = [producer.send(str(n)) for n in range(5, 2_000)]
        producer.flush()
        ids = [each.result(0).id for each in pending]
        assert len(set(ids)) == len(ids)
        assert stored(replica) == [b"%d" % n for n in range(2_000)]
        producer.end()


def test_without_a_replica_in_time_it_is_maybe_sent(pair: tuple[TcpServer, TcpServer]) -> None:
    primary, replica = pair
    with ss.connect(primary.url, timeout=0.5) as streamer:
        producer = streamer.producer("s", durability="replica")
        producer.send("a").result(PATIENCE)
        os.kill(replica.process.pid, signal.SIGSTOP)
        try:
            behind = [producer.send("b"), producer.send("c")]
            for each in behind:
                with pytest.raises(ss.MaybeSent, match=r"no replica acknowledged it within 0\.5 s"):
                    each.result(PATIENCE)
        finally:
            os.kill(replica.process.pid, signal.SIGCONT)
        producer.send("d").result(PATIENCE)
        producer.end()
    # It was written all the same: to send it again would have it twice.
    assert stored(primary) == [b"a", b"b", b"c", b"d"]


def test_a_refused_message_is_not_sent_and_the_others_of_its_batch_are(
    pair: tuple[TcpServer, TcpServer],
) -> None:
    primary, replica = pair
    raw(primary.process.path, "SET", "text", "x")
    with ss.connect(primary.url) as streamer:
        producer = streamer.producer("s", durability="replica")
        good, bad = producer.send("a"), producer.send_to("text", "b")
        assert good.result(PATIENCE).id
        with pytest.raises(ss.NotSent, match="WRONGTYPE"):
            bad.result(PATIENCE)
        producer.end()
    assert stored(replica) == [b"a"]


def test_a_link_that_breaks_while_it_waits_leaves_the_message_unknown(
    pair: tuple[TcpServer, TcpServer],
) -> None:
    primary, replica = pair
    with proxied(primary.port) as proxy, ss.connect(proxy.url, timeout=5) as streamer:
        producer = streamer.producer("s", durability="replica")
        producer.send("a").result(PATIENCE)
        os.kill(replica.process.pid, signal.SIGSTOP)
        try:
            waiting = producer.send("b")
            with pytest.raises(TimeoutError):
                waiting.result(0.3)
            raw(primary.process.path, "CLIENT", "KILL", "TYPE", "normal")
            with pytest.raises(ss.MaybeSent):
                waiting.result(PATIENCE)
        finally:
            os.kill(replica.process.pid, signal.SIGCONT)
        assert producer.send("c").result(PATIENCE).id
        producer.end()


def test_a_missing_right_to_wait_is_named_at_once(pair: tuple[TcpServer, TcpServer]) -> None:
    primary, _ = pair
    raw(primary.process.path, *RULE)
    url = primary.url.replace("redis://", "redis://ana:pw@")
    with (
        ss.connect(url) as streamer,
        pytest.raises(ss.AuthError, match=r"durability='replica' needs the right wait"),
    ):
        streamer.producer("s", durability="replica")


def test_it_does_not_go_with_idempotent_yet(streamer: ss.Streamer) -> None:
    with pytest.raises(ss.Unsupported, match="not available yet"):
        streamer.producer("s", durability="replica", idempotent=True)
