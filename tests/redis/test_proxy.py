"""The proxy does to a link what it says: otherwise the fault tests would test nothing."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.redis.proxy import Proxy, proxied
from tests.servers import HOST, TcpServer, eventually, raw, tcp_server

PING, PONG = b"PING\r\n", b"+PONG\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TcpServer]:
    with tcp_server(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def proxy(server: TcpServer) -> Iterator[Proxy]:
    raw(server.url, "FLUSHALL")
    with proxied(server.port) as made:
        yield made


@pytest.fixture
def link(proxy: Proxy) -> Iterator[socket.socket]:
    with closing(socket.create_connection((HOST, proxy.port), timeout=10)) as connected:
        connected.sendall(PING)
        assert received(connected, len(PONG)) == PONG
        yield connected


def received(link: socket.socket, size: int) -> bytes:
    """What comes until so many bytes are there or the link is closed."""
    data = b""
    while len(data) < size and (piece := link.recv(size - len(data))):
        data += piece
    return data


def length(server: TcpServer) -> int:
    return int(raw(server.url, "LLEN", "list"))


def test_a_lost_reply_is_that_of_a_command_that_was_executed(
    link: socket.socket, proxy: Proxy, server: TcpServer
) -> None:
    proxy.lose_reply()
    link.sendall(b"RPUSH list a\r\n")
    assert received(link, 1) == b""
    assert length(server) == 1
    assert not proxy.armed


def test_a_reply_is_cut_in_the_middle(link: socket.socket, proxy: Proxy) -> None:
    proxy.cut_reply(3)
    link.sendall(PING)
    assert received(link, len(PONG)) == PONG[:3]


def test_a_request_is_cut_in_the_middle(
    link: socket.socket, proxy: Proxy, server: TcpServer
) -> None:
    proxy.cut_request(len(b"RPUSH list a\r\n") + 4)
    link.sendall(b"RPUSH list a\r\nRPUSH list b\r\n")
    received(link, 100)
    assert length(server) == 1


@pytest.mark.parametrize("silent", [False, True])
def test_a_late_request_reaches_the_server_over_its_old_link(
    silent: bool, link: socket.socket, proxy: Proxy, server: TcpServer
) -> None:
    proxy.deliver_late(0.3, silent=silent)
    link.sendall(b"RPUSH list a\r\n")
    if not silent:
        with pytest.raises(ConnectionResetError):
            link.recv(1)
    assert length(server) == 0
    assert eventually(lambda: length(server) == 1)


def test_a_late_request_of_a_killed_client_never_arrives(
    link: socket.socket, proxy: Proxy, server: TcpServer
) -> None:
    link.sendall(b"CLIENT ID\r\n")
    number = int(received(link, 3 + 1)[1:])
    proxy.deliver_late(0.2, silent=True)
    link.sendall(b"RPUSH list a\r\n")
    raw(server.url, "CLIENT", "KILL", "ID", number)
    received(link, 1)
    assert length(server) == 0


@pytest.mark.parametrize("mode", ["blackhole", "blackhole_down"])
def test_a_black_hole_says_nothing_and_ends_with_a_reset(
    mode: str, link: socket.socket, proxy: Proxy, server: TcpServer
) -> None:
    proxy.mode = mode  # type: ignore[assignment]
    link.sendall(b"RPUSH list a\r\n")
    if mode == "blackhole_down":
        assert eventually(lambda: length(server) == 1)
    link.settimeout(0.1)
    with pytest.raises(TimeoutError):
        link.recv(1)
    proxy.mode = "pass"
    link.settimeout(10)
    with pytest.raises(ConnectionResetError):
        link.recv(1)
    assert length(server) == (mode == "blackhole_down")


def test_links_are_reset_closed_and_refused(link: socket.socket, proxy: Proxy) -> None:
    proxy.rst()
    with pytest.raises(ConnectionResetError):
        link.recv(1)
    with closing(socket.create_connection((HOST, proxy.port), timeout=10)) as another:
        another.sendall(PING)
        received(another, len(PONG))
        proxy.fin()
        assert another.recv(1) == b""
    proxy.mode = "refuse"
    with (
        pytest.raises(ConnectionResetError),  # while it connects, or when it reads
        closing(socket.create_connection((HOST, proxy.port), timeout=10)) as refused,
    ):
        refused.recv(1)
    assert proxy.accepted == 3


def test_slices_arrive_whole_and_delays_delay(link: socket.socket, proxy: Proxy) -> None:
    proxy.slicing = True
    link.sendall(PING * 10)
    assert received(link, 10 * len(PONG)) == PONG * 10
    proxy.slicing, proxy.delay = False, 0.05
    before = time.monotonic()
    link.sendall(PING)
    assert received(link, len(PONG)) == PONG
    assert time.monotonic() - before >= 0.05


def test_new_links_go_to_a_new_target(proxy: Proxy, tmp_path: Path) -> None:
    with tcp_server(tmp_path) as other:
        raw(other.url, "SET", "here", "1")
        assert raw(proxy.url, "GET", "here") is None
        proxy.target = other.port
        assert raw(proxy.url, "GET", "here") == b"1"
