"""A plain producer through every fault: sent, not sent, or maybe sent, and that is true."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

import seastream_nb as ss
from seastream_nb.errors import ConnectError, MaybeSent, NotSent
from tests.redis.ledger import Ledger
from tests.redis.producing import is_busy, run_endless_script, texts
from tests.redis.proxy import Proxy, proxied
from tests.servers import TcpServer, eventually, raw, tcp_server


@pytest.fixture
def proxy(mortal: TcpServer) -> Iterator[Proxy]:
    with proxied(mortal.port) as made:
        yield made


@contextmanager
def plain(url: str, *, timeout: float = 10) -> Iterator[ss.Producer]:
    """A producer whose failures the test looks at itself."""
    with ss.connect(url, timeout=timeout) as streamer:
        producer = streamer.producer("ticks")
        try:
            yield producer
        finally:
            with suppress(NotSent, MaybeSent):
                producer.end()


FAULTS: dict[str, Callable[[Proxy], None]] = {
    "reply lost": lambda proxy: proxy.lose_reply(),
    "request cut": lambda proxy: proxy.cut_request(3_333),
    "reply cut": lambda proxy: proxy.cut_reply(1_234),
    "late delivery": lambda proxy: proxy.deliver_late(0.2),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_leaves_some_unknown_and_the_next_are_sent(
    fault: str, mortal: TcpServer, proxy: Proxy
) -> None:
    with plain(proxy.url) as producer:
        ledger = Ledger(producer)
        ledger.send(1)
        producer.flush()
        FAULTS[fault](proxy)
        ledger.send(1_000)
        with pytest.raises(MaybeSent, match="'ticks': the link broke before the answer came"):
            producer.flush()
        assert not proxy.armed
        assert producer.send_to("after", "x").result()
        assert eventually(lambda: not proxy.holding)
    outcomes = ledger.check(mortal.url)
    assert outcomes["sent"]
    assert outcomes["MaybeSent"]


@pytest.mark.parametrize("mode", ["blackhole", "blackhole_down"])
def test_silence_is_noticed_within_the_timeout(mode: Any, mortal: TcpServer, proxy: Proxy) -> None:
    with plain(proxy.url, timeout=0.5) as producer:
        ledger = Ledger(producer)
        ledger.send(1)
        producer.flush()
        proxy.mode = mode
        ledger.send(100)
        with pytest.raises(MaybeSent, match=r"no answer within 0\.5 s"):
            producer.flush()
        proxy.mode = "pass"
    outcomes = ledger.check(mortal.url)
    assert outcomes["sent"] == 1
    assert outcomes["MaybeSent"]


def test_an_idle_link_that_was_closed_costs_nothing(mortal: TcpServer, proxy: Proxy) -> None:
    with plain(proxy.url) as producer:
        ledger = Ledger(producer)
        for close in (proxy.fin, proxy.rst) * 3:
            ledger.send(10)
            producer.flush()
            close()
            with pytest.raises(ConnectError):  # the I/O thread hears of it before this ends
                refuse_one(proxy)
        ledger.send(1)
        producer.flush()
    assert ledger.check(mortal.url) == {"sent": 61}


def refuse_one(proxy: Proxy) -> None:
    proxy.mode = "refuse"
    try:
        ss.connect(proxy.url)
    finally:
        proxy.mode = "pass"


def test_resets_lose_and_repeat_nothing_that_was_acknowledged(
    mortal: TcpServer, proxy: Proxy
) -> None:
    with plain(proxy.url) as producer:
        ledger = Ledger(producer)
        for _ in range(20):
            ledger.send(500, "ticks", "tocks")
            proxy.rst()
    assert ledger.check(mortal.url)["sent"]


def test_slow_links_are_filled(mortal: TcpServer, proxy: Proxy) -> None:
    with plain(proxy.url) as producer:
        producer.send("0").result()
        proxy.delay = 0.05
        ledger = Ledger(producer)
        ledger.send(8_000)
        producer.flush()
    proxy.delay = 0.0
    raw(mortal.url, "XTRIM", "ticks", "MAXLEN", 8_000)
    assert ledger.check(mortal.url) == {"sent": 8_000}


def test_single_bytes_make_whole_messages(mortal: TcpServer, proxy: Proxy) -> None:
    with plain(proxy.url) as producer:
        proxy.slicing = True
        ledger = Ledger(producer)
        ledger.send(200)
        producer.flush()
    assert ledger.check(mortal.url) == {"sent": 200}


def test_a_server_that_keeps_its_log_has_all_that_was_acknowledged(tmp_path: Path) -> None:
    durable = ("--appendonly", "yes", "--appendfsync", "always")
    with tcp_server(tmp_path, *durable) as server, plain(server.url) as producer:
        ledger = Ledger(producer)
        for _ in range(4):
            ledger.send(2_000)
            server.kill()
            server.restart()
        ledger.send(1)
        with suppress(MaybeSent):
            producer.flush()
        assert ledger.check(server.url)["sent"]


def test_a_busy_server_refuses_with_its_own_words(mortal: TcpServer) -> None:
    path = mortal.process.path
    raw(path, "CONFIG", "SET", "lua-time-limit", 1)
    with plain(mortal.url) as producer:
        producer.send("0").result()
        endless = threading.Thread(target=run_endless_script, args=(path,))
        endless.start()
        assert eventually(lambda: is_busy(path))
        with pytest.raises(NotSent, match="sending to 'ticks': BUSY"):
            producer.send("1").result(timeout=10)
        raw(path, "SCRIPT", "KILL")
        endless.join()


def test_paused_clients_are_waited_for(mortal: TcpServer) -> None:
    with plain(mortal.url) as producer:
        ledger = Ledger(producer)
        raw(mortal.url, "CLIENT", "PAUSE", 300, "WRITE")
        ledger.send(100)
        producer.flush()
    assert ledger.check(mortal.url) == {"sent": 100}


def test_a_replica_refuses_with_its_own_words(mortal: TcpServer) -> None:
    with plain(mortal.url) as producer:
        producer.send("0").result()
        raw(mortal.url, "REPLICAOF", "127.0.0.1", mortal.port + 1)
        with pytest.raises(NotSent, match="'ticks': READONLY You can't write"):
            producer.send("1").result()
        raw(mortal.url, "REPLICAOF", "NO", "ONE")
        assert producer.send("2").result()
    assert texts(mortal) == [b"0", b"2"]


def test_more_bytes_than_the_server_takes_at_once_cost_the_link_only(mortal: TcpServer) -> None:
    raw(mortal.url, "CONFIG", "SET", "proto-max-bulk-len", 2 * 2**20)
    with plain(mortal.url) as producer:
        too_large = producer.send("x" * (2 * 2**20 + 1))
        # The server says why, and closes.
        with pytest.raises((NotSent, MaybeSent), match=r"Protocol error|the link broke|closed"):
            too_large.result(timeout=10)
        assert producer.send("1").result()
    assert texts(mortal) == [b"1"]


def test_a_wrong_password_is_tried_once(tmp_path: Path) -> None:
    with tcp_server(tmp_path, "--requirepass", "right") as server:
        url = server.url.replace("redis://", "redis://:wrong@")
        with pytest.raises(ss.errors.AuthError):
            ss.connect(url, timeout=30)
        (entry,) = raw(server.url.replace("redis://", "redis://:right@"), "ACL", "LOG")
        assert entry[entry.index(b"count") + 1] == 1


def test_no_password_and_no_payload_is_in_any_error(tmp_path: Path) -> None:
    with (
        tcp_server(tmp_path, "--requirepass", "canary-password") as server,
        proxied(server.port) as proxy,
        ss.connect(proxy.url, password="canary-password", timeout=0.3) as streamer,
    ):
        for idempotent in (False, True):
            producer = streamer.producer("ticks", idempotent=idempotent)
            pending = [producer.send("canary-payload", timestamp="1-1") for _ in range(3)]
            told = [told_of(each) for each in pending]
            proxy.mode = "blackhole"
            told += [told_of(producer.send("canary-payload")) for _ in range(2)]
            proxy.mode = "pass"
            with suppress(NotSent, MaybeSent):
                producer.end()
            assert not [each for each in told if "canary" in each]
            assert sum("Sent" in each for each in told) >= 4


def told_of(pending: ss.PendingReceipt) -> str:
    try:
        return repr(pending.result(timeout=10))
    except (NotSent, MaybeSent) as error:
        return f"{error!r} {pending!r}"
