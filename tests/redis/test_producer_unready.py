"""`idempotent=True` while the server dies, hangs, loads, is busy, full, read-only or away."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import seastream_nb as ss
from seastream_nb.errors import MaybeSent, NotSent, ProducerClosed, QueueFull
from seastream_nb.redis.connection import Link
from tests.redis.ledger import Ledger
from tests.redis.producing import (
    is_busy,
    producing,
    run_endless_script,
    stopped,
    texts,
)
from tests.redis.proxy import proxied
from tests.servers import TcpServer, eventually, plain_client, raw, tcp_server

# The server dies, or is not ready.


def test_a_server_that_is_killed_and_keeps_its_log_has_each_message_once(tmp_path: Path) -> None:
    durable = ("--appendonly", "yes", "--appendfsync", "always")
    with tcp_server(tmp_path, *durable) as server, producing(server.url) as producer:
        ledger = Ledger(producer)
        for _ in range(4):
            ledger.send(2_000)
            server.kill()
            server.restart()
        producer.flush()
        assert ledger.check(server.url) == {"sent": 8_000}


def test_a_server_that_comes_back_empty_has_what_it_had_not_acknowledged(
    mortal: TcpServer,
) -> None:
    with producing(mortal.url) as producer:
        producer.send("before").result()
        os.kill(mortal.process.pid, signal.SIGSTOP)
        pending = [producer.send(str(each)) for each in range(100)]
        mortal.kill()
        mortal.restart()
        producer.flush()
        assert all(each.result() for each in pending)
    assert texts(mortal) == [b"%d" % each for each in range(100)]


def test_a_restarted_server_is_not_asked_to_end_links_of_others(mortal: TcpServer) -> None:
    with producing(mortal.url) as producer:
        producer.send("x").result()
        number = producer._core._writer._identity.number
        mortal.restart()
        with closing(plain_client(mortal.url)) as other:
            while int(other.client_id()) < number:
                other.connection_pool.disconnect()
            bystander = int(other.client_id())
            assert producer.send("y").result()
            assert int(other.client_id()) == bystander


def test_a_server_that_hangs_is_waited_for(mortal: TcpServer) -> None:
    with producing(mortal.url, timeout=1) as producer:
        ledger = Ledger(producer)
        ledger.send(1)
        producer.flush()
        os.kill(mortal.process.pid, signal.SIGSTOP)
        ledger.send(500)
        waking = threading.Timer(1.3, os.kill, (mortal.process.pid, signal.SIGCONT))
        waking.start()
        producer.flush()
        waking.join()
    assert ledger.check(mortal.url) == {"sent": 501}


def test_a_loading_server_is_waited_for_without_a_storm(tmp_path: Path) -> None:
    slowly = ("--key-load-delay", "500", "--loading-process-events-interval-bytes", "1024")
    with tcp_server(tmp_path, *slowly) as server, proxied(server.port) as proxy:
        with closing(plain_client(server.url)) as client:
            client.mset({f"key{number}": "x" * 100 for number in range(3_000)})
            client.save()
        with producing(proxy.url) as producer:
            producer.send("0").result()
            server.kill()
            before = proxy.accepted
            pending = [producer.send(str(number)) for number in range(1, 10)]
            server.restart()
            assert all(each.result() for each in pending)
        assert proxy.accepted - before < 20
        assert texts(server) == [b"%d" % number for number in range(1, 10)]


def test_a_busy_server_is_waited_for(mortal: TcpServer) -> None:
    path = mortal.process.path
    raw(path, "CONFIG", "SET", "lua-time-limit", 1)
    with producing(mortal.url) as producer:
        ledger = Ledger(producer)
        ledger.send(1)
        producer.flush()
        endless = threading.Thread(target=run_endless_script, args=(path,))
        endless.start()
        assert eventually(lambda: is_busy(path))
        ledger.send(100)
        # It is refused, and tried again over another link.
        assert eventually(lambda: producer._core._writer._trouble)
        raw(path, "SCRIPT", "KILL")
        producer.flush()
        endless.join()
    assert ledger.check(mortal.url) == {"sent": 101}


def test_paused_clients_are_waited_for(mortal: TcpServer) -> None:
    with producing(mortal.url) as producer:
        ledger = Ledger(producer)
        ledger.send(1)
        producer.flush()
        raw(mortal.url, "CLIENT", "PAUSE", 500, "WRITE")
        ledger.send(200)
        producer.flush()
    assert ledger.check(mortal.url) == {"sent": 201}


def test_the_new_primary_gets_what_the_old_one_refuses(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    at_once = ("--repl-diskless-sync-delay", "0")
    with (
        tcp_server(tmp_path_factory.mktemp("old"), *at_once) as old,
        tcp_server(tmp_path_factory.mktemp("new"), *at_once) as new,
        proxied(old.port) as proxy,
        producing(proxy.url) as producer,
    ):
        raw(new.url, "REPLICAOF", "127.0.0.1", old.port)
        ledger = Ledger(producer)
        ledger.send(1_000)
        producer.flush()
        assert eventually(lambda: len(texts(new)) == 1_000)
        raw(new.url, "REPLICAOF", "NO", "ONE")
        raw(old.url, "REPLICAOF", "127.0.0.1", new.port)
        ledger.send(1_000)
        assert eventually(lambda: producer._core._writer._trouble)
        proxy.target = new.port
        producer.flush()
        assert ledger.check(new.url) == {"sent": 2_000}


def test_a_replica_that_is_behind_is_not_believed(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    at_once = ("--repl-diskless-sync-delay", "0")
    with (
        tcp_server(tmp_path_factory.mktemp("old"), *at_once) as old,
        tcp_server(tmp_path_factory.mktemp("new"), *at_once) as new,
        proxied(old.port) as replication,
        proxied(old.port) as proxy,
        producing(proxy.url) as producer,
    ):
        raw(new.url, "REPLICAOF", "127.0.0.1", replication.port)
        ledger = Ledger(producer)
        ledger.send(10)
        producer.flush()
        assert eventually(lambda: len(texts(new)) == 10)
        # What is sent next is written at once only when the careful beginning is over.
        assert eventually(lambda: not producer._core._writer._held)
        replication.mode = proxy.mode = "blackhole_down"
        ledger.send(10)
        # No more than so many batches go without an answer, and each may hold one message only.
        assert eventually(lambda: len(texts(old)) > 10)
        proxy.target = new.port
        proxy.mode = "pass"
        # It looked them up where they are not, and sent them again.
        assert eventually(lambda: "READONLY" in producer._core._writer._trouble)
        assert len(texts(new)) == 10
        replication.mode = "pass"
        assert eventually(lambda: len(texts(new)) == len(texts(old)))
        raw(new.url, "REPLICAOF", "NO", "ONE")
        producer.flush()
        assert ledger.check(new.url) == {"sent": 20}


def test_a_primary_that_stays_read_only_ends_in_not_sent_with_its_words(mortal: TcpServer) -> None:
    with producing(mortal.url, timeout=0.5) as producer:
        raw(mortal.url, "REPLICAOF", "127.0.0.1", mortal.port + 1)
        pending = producer.send("x")
        with pytest.raises(NotSent, match=r"'ticks'.*READONLY You can't write.*gave up after"):
            pending.result(timeout=10)
        raw(mortal.url, "REPLICAOF", "NO", "ONE")
        assert producer.send("y").result()
    assert texts(mortal) == [b"y"]


def test_a_full_server_refuses_what_is_not_sent(mortal: TcpServer) -> None:
    with producing(mortal.url) as producer:
        producer.send("0").result()
        raw(mortal.url, "CONFIG", "SET", "maxmemory", 1)
        refused = [producer.send("x") for _ in range(10)]
        with pytest.raises(NotSent, match=r"OOM command not allowed.*9 more"):
            producer.flush()
        raw(mortal.url, "CONFIG", "SET", "maxmemory", 0)
        assert producer.send("1").result()
        assert [each.done for each in refused] == [True] * 10
    assert texts(mortal) == [b"0", b"1"]


def test_a_key_of_another_type_fails_alone(mortal: TcpServer) -> None:
    raw(mortal.url, "SET", "plain", "x")
    with producing(mortal.url) as producer:
        good, bad, after = producer.send("1"), producer.send_to("plain", "2"), producer.send("3")
        with pytest.raises(NotSent, match="sending to 'plain': WRONGTYPE"):
            bad.result()
        assert good.result()
        assert after.result()
    assert texts(mortal) == [b"1", b"3"]


# When the time is up.


def test_what_could_not_be_looked_up_in_time_is_told_so(mortal: TcpServer) -> None:
    with producing(mortal.url, timeout=0.4) as producer:
        producer.send("0").result()
        with stopped(mortal):
            written = producer.send("1")
            assert eventually(lambda: producer._core._writer._sent.empty())
            assert eventually(lambda: producer._core._writer._trouble)
            waiting = [producer.send(str(each)) for each in range(2, 12)]
            with pytest.raises(MaybeSent, match=r"'ticks'.*could not be looked up.*gave up after"):
                written.result(timeout=10)
            for each in waiting:
                with pytest.raises(NotSent, match="gave up after"):
                    each.result(timeout=10)
        assert producer.send("12").result()
    # The one that was on its way arrived, as it was told it might.
    assert texts(mortal) == [b"0", b"1", b"12"]


@pytest.mark.parametrize("batch", ["first", "later"])
def test_a_fault_of_our_own_ends_the_message(
    batch: str, mortal: TcpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise MemoryError("no room for a batch")

    with producing(mortal.url) as producer:
        if batch == "later":
            producer.send("0").result()
        with monkeypatch.context() as patch:
            patch.setattr(Link, "request", broken)
            with pytest.raises((NotSent, MaybeSent), match="no room for a batch"):
                producer.send("x").result(timeout=10)
        with pytest.raises(ProducerClosed, match="no room for a batch"):
            producer.send("x")


def test_the_end_during_an_outage_ends_every_message(mortal: TcpServer) -> None:
    with ss.connect(mortal.url, timeout=0.5) as streamer:
        producer = streamer.producer("ticks", idempotent=True)
        producer.send("0").result()
        mortal.kill()
        pending = [producer.send(str(each)) for each in range(2_500)]
        with pytest.raises((NotSent, MaybeSent)):
            producer.end()
        assert all(each.done for each in pending)
        with pytest.raises(ProducerClosed):
            producer.send("x")


def test_closing_the_streamer_ends_every_message(mortal: TcpServer) -> None:
    streamer = ss.connect(mortal.url, timeout=0.5)
    producer = streamer.producer("ticks", idempotent=True)
    producer.send("0").result()
    with stopped(mortal):
        pending = [producer.send(str(each)) for each in range(100)]
        with pytest.raises((NotSent, MaybeSent)):
            streamer.close()
        assert all(each.done for each in pending)


def test_a_full_queue_says_so_during_an_outage(mortal: TcpServer) -> None:
    with producing(mortal.url, timeout=1, max_queue=20_000) as producer:
        producer.send("0").result()
        with stopped(mortal):
            accepted = [producer.send("x" * 1_000) for _ in range(16)]
            with pytest.raises(QueueFull, match="no room came within 1 s"):
                producer.send("x" * 1_000)
            for each in accepted:
                with pytest.raises((NotSent, MaybeSent)):
                    each.result(timeout=10)
        assert producer.send("1").result()


def test_what_is_sent_when_a_failure_is_told_does_not_share_it(mortal: TcpServer) -> None:
    with producing(mortal.url, timeout=1) as producer:
        producer.send("0").result()
        late: list[ss.PendingReceipt] = []

        def resume(_: object) -> None:
            """On the I/O thread, before anything else can happen there."""
            os.kill(mortal.process.pid, signal.SIGCONT)
            late.append(producer.send("late"))

        with stopped(mortal):
            first = producer.send("first")
            waiter = first._batch.waiter()
            assert waiter is not None
            waiter.add_done_callback(resume)
            with pytest.raises((NotSent, MaybeSent)):
                first.result(timeout=10)
        assert eventually(lambda: late)  # a waiter is told first, its function is called then
        assert late[0].result(timeout=10)
