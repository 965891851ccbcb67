"""Group consumers while their server stops, dies, starts again, refuses or changes its role.

F12-F14, F16, F17, F29-F31 of the scorecard; the oracles are those of `test_group_faults_links`.
"""

from __future__ import annotations

import os
import signal
import time
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

import seastream_nb as ss
from tests.facades import PATIENCE
from tests.redis.consuming import numbers, send
from tests.redis.crew import crew, judge
from tests.redis.groups import Peer, all_acked, pending
from tests.redis.proxy import proxied
from tests.redis.replicas import follow, in_sync
from tests.redis.test_conformance_interop import MODES, in_group
from tests.servers import LANES, TcpServer, eventually, plain_client, raw, tcp_server

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


pytestmark = pytest.mark.usefixtures("no_complaints")


@pytest.mark.parametrize("seconds", [1.0, pytest.param(6.0, marks=pytest.mark.soak)])
def test_a_server_that_stands_still_loses_nothing(matrix_tcp: TcpServer, seconds: float) -> None:
    """F12."""
    with crew(matrix_tcp.url, matrix_tcp.url) as hired:
        for name in ("one", "two"):
            hired.hire(name, timeout=0.5)
        hired.start_writing()
        assert eventually(lambda: len(hired.delivered()) > 100)
        os.kill(matrix_tcp.process.pid, signal.SIGSTOP)
        time.sleep(seconds)
        os.kill(matrix_tcp.process.pid, signal.SIGCONT)
        judge(hired)


@pytest.mark.parametrize("times", [2, pytest.param(10, marks=pytest.mark.soak)])
def test_a_server_that_is_killed_and_comes_back_with_its_data_loses_nothing(
    durable: TcpServer, times: int
) -> None:
    """F13; O7 with it: the first delivery comes soon after the server is back."""
    with crew(durable.url, durable.url) as hired:
        for name in ("one", "two", "three"):
            hired.hire(name)
        hired.start_writing()
        for _ in range(times):
            before = len(hired.delivered())
            assert eventually(lambda: len(hired.delivered()) > before + 100)  # noqa: B023
            durable.kill()
            durable.restart()
            before = len(hired.delivered())
            assert eventually(lambda: len(hired.delivered()) > before, within=3)  # noqa: B023
        judge(hired)


@pytest.mark.parametrize("matrix_tcp", LANES, indirect=True)
@pytest.mark.parametrize("mode", MODES)
def test_a_server_that_comes_back_empty_is_told_once_and_read_from_its_beginning(
    matrix_tcp: TcpServer, mode: str
) -> None:
    """F14."""
    with ss.connect(matrix_tcp.url) as streamer:
        consumer = streamer.consumer("s", **in_group(mode, mkstream=True))
        sent(matrix_tcp, *range(5))
        for message in consumer.take(5, PATIENCE):
            consumer.ack(message)
        consumer.commit()
        matrix_tcp.kill()
        matrix_tcp.restart()
        sent(matrix_tcp, *range(10, 15))
        got: list[ss.Message] = []
        resets = 0
        while len(got) < 5:
            try:
                got.append(consumer.next(PATIENCE))
            except ss.StreamReset:
                resets += 1
        assert numbers(got) == [10, 11, 12, 13, 14]
        assert resets == 1


def sent(server: TcpServer, *values: int) -> None:
    with plain_client(server.url) as client:
        send(client, "s", *values)


@pytest.mark.parametrize("mode", MODES)
def test_a_server_that_loads_its_data_is_waited_for_without_a_storm(
    tmp_path: Path, mode: str
) -> None:
    """F16."""
    slowly = ("--key-load-delay", "500", "--loading-process-events-interval-bytes", "1024")
    with (
        tcp_server(tmp_path, *slowly) as server,
        proxied(server.port) as proxy,
        ss.connect(proxy.url) as streamer,
    ):
        consumer = streamer.consumer("s", **in_group(mode, mkstream=True))
        sent(server, *range(5))
        got = consumer.take(5, PATIENCE)
        with plain_client(server.url) as client:
            client.mset({f"key{number}": "x" * 100 for number in range(2_000)})
            client.save()
        before = proxy.accepted
        server.kill()
        server.restart()  # returns when everything is loaded, after about a second
        sent(server, 5)
        got.append(consumer.next(PATIENCE))
        assert numbers(got) == [0, 1, 2, 3, 4, 5]
        for message in got:
            consumer.ack(message)
        consumer.commit()
        assert proxy.accepted - before < 25
        with plain_client(server.url) as client:
            assert pending(client) == 0


@pytest.mark.parametrize("mode", MODES)
def test_a_busy_script_and_a_pause_are_waited_out(matrix_tcp: TcpServer, mode: str) -> None:
    """F17."""
    with (
        ss.connect(matrix_tcp.url) as streamer,
        plain_client(matrix_tcp.url, socket_timeout=60) as client,
    ):
        client.config_set("lua-time-limit", 50)
        consumer = streamer.consumer("s", **in_group(mode, mkstream=True))
        send(client, "s", 0, 1)
        got = [consumer.next(PATIENCE)]
        client.execute_command("CLIENT", "PAUSE", 500, "WRITE")
        got.append(consumer.next(PATIENCE))
        client.eval(BUSY, 0, 500_000)
        send(client, "s", 2)
        got.append(consumer.next(PATIENCE))
        assert numbers(got) == [0, 1, 2]
        for message in got:
            consumer.ack(message)
        consumer.commit()
        assert pending(client) == 0
        assert consumer.take(1, 0.05) == []


# Runs for so many microseconds, and lets the server answer -BUSY meanwhile.
BUSY = """
local function now() local t = redis.call('TIME'); return t[1] * 1000000 + t[2] end
local stop = now() + ARGV[1]
while now() < stop do end
"""


def test_a_reply_over_the_servers_limit_is_asked_for_in_smaller_pieces(
    matrix_tcp: TcpServer,
) -> None:
    """F29: 40 entries of half a megabyte, and 8 MB of output at most."""
    with ss.connect(matrix_tcp.url) as streamer, plain_client(matrix_tcp.url) as client:
        for n in range(40):
            client.xadd("s", {b"msg": b"%d" % n, b"bulk": bytes(1 << 19)})
        client.config_set("client-output-buffer-limit", "normal 8388608 8388608 1")
        for mode in ("realtime", *MODES):
            how = in_group(mode, group=mode, batch_size=100)
            consumer = streamer.consumer("s", **how)
            assert numbers(consumer.take(40, PATIENCE)) == list(range(40))
            if mode != "realtime":
                assert pending(client, "s", mode) == 40


def test_too_many_clients_are_told_within_a_second_when_connecting(tmp_path: Path) -> None:
    """F30."""
    with tcp_server(tmp_path, "--maxclients", "2") as server:
        clients = [plain_client(server.url) for _ in range(4)]
        for client in clients:
            with suppress(Exception):
                client.ping()
        started = time.monotonic()
        with pytest.raises(ss.ConnectError, match="max number of clients"):
            ss.connect(server.url)
        assert time.monotonic() - started < 1
        for client in clients:
            client.close()


@pytest.mark.parametrize("mode", MODES)
def test_a_primary_that_becomes_a_replica_is_left_for_the_new_one(
    pair: tuple[TcpServer, TcpServer], mode: str
) -> None:
    """F31: what answers READONLY is asked again, behind the same address."""
    primary, replica = pair
    with proxied(primary.port) as proxy, ss.connect(proxy.url) as streamer:
        consumer = streamer.consumer("s", **in_group(mode, mkstream=True))
        sent(primary, 0, 1, 2)
        got = consumer.take(3, PATIENCE)
        assert in_sync(primary, replica)
        raw(replica.process.path, "REPLICAOF", "NO", "ONE")
        follow(primary, replica)
        proxy.target = replica.port  # the links to the old one live on
        sent(replica, 3, 4)
        got += consumer.take(2, PATIENCE)
        assert numbers(got) == [0, 1, 2, 3, 4]
        for message in got:
            consumer.ack(message)
        consumer.commit()
        with plain_client(replica.url) as client:
            assert pending(client) == 0


def test_a_claim_waits_while_the_server_is_away(durable: TcpServer) -> None:
    with plain_client(durable.url) as client:
        send(client, "s", *range(20))
        dead = Peer(client, "dead")
        dead.create_group()
        dead.read(20)
    with ss.connect(durable.url) as streamer:
        how = in_group(batch_size=5, auto_claim_interval=0.1, auto_claim_idle=0.5)
        consumer = streamer.consumer("s", **how)
        durable.kill()
        assert consumer.take(1, 0.3) == []
        durable.restart()
        got = consumer.take(20, PATIENCE)
        assert numbers(got) == list(range(20))
        for message in got:
            consumer.ack(message)
        consumer.commit()
        with plain_client(durable.url) as client:
            assert all_acked(client)


SECRETS = ("hunter2-canary", "payload-canary")


def test_no_error_shows_the_password_or_a_payload(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """O10."""
    password, payload = SECRETS
    said: list[str] = []

    def fail(call: Callable[[], object], kind: type[Exception]) -> None:
        with pytest.raises(kind) as caught:
            call()
        said.extend([repr(caught.value), *traceback.format_exception(caught.value)])

    with tcp_server(tmp_path, "--requirepass", password) as server:
        url = server.url.replace("redis://", f"redis://:{password}@")
        with ss.connect(url, timeout=0.3) as streamer, plain_client(url) as client:
            client.xadd("s", {b"msg": payload})
            client.xadd("t", {b"msg": payload})
            foreign = next(iter(streamer["t"]))
            consumer = streamer.consumer("s", **in_group("load_balanced"))
            consumer.ack(consumer.next(PATIENCE))
            said.append(repr(consumer))
            fail(lambda: consumer.ack(foreign), ss.StreamError)
            client.set("s", payload)
            fail(lambda: consumer.next(PATIENCE), ss.ServerError)
            server.kill()
            fail(lambda: consumer.next(PATIENCE), ss.ConnectError)
            consumer.abort()
            fail(consumer.next, ss.ConsumerClosed)
    said += [caplog.text, *capfd.readouterr()]
    assert not [text for text in said for secret in SECRETS if secret in text]
