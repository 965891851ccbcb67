"""Connecting when it does not work, on both facades: one attempt, one error, soon; or waiting."""

from __future__ import annotations

import os
import socket
import threading
from contextlib import closing, contextmanager
from pathlib import Path
from signal import SIGCONT, SIGSTOP
from typing import TYPE_CHECKING

import pytest

import seastream_nb as ss
from tests.connecting import BOTH, Connect, soon
from tests.servers import HOST, TcpServer, eventually, free_port, plain_client, raw, tcp_server

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(params=BOTH.values(), ids=BOTH)
def connect(request: pytest.FixtureRequest) -> Connect:
    """One of the facades."""
    found: Connect = request.param
    return found


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TcpServer]:
    """A server with the password `right`, and the user `ana` with the password `s3cret`."""
    user = ("--user", "ana", "on", ">s3cret", "~*", "&*", "+@all")
    with tcp_server(tmp_path_factory.mktemp("guarded"), "--requirepass", "right", *user) as running:
        yield running


def test_nothing_listens(connect: Connect) -> None:
    port = free_port()

    with soon(), pytest.raises(ss.ConnectError) as caught:
        connect(f"redis://ana:canary@{HOST}:{port}/1")

    assert str(caught.value) == (
        f"cannot connect to redis://ana:***@{HOST}:{port}/1: Connection refused"
    )


def test_no_socket_at_a_path(connect: Connect, tmp_path: Path) -> None:
    with soon(), pytest.raises(ss.ConnectError, match=r"no-such\.sock: No such file or directory"):
        connect(f"redis+unix://{tmp_path}/no-such.sock")


def test_a_name_that_nobody_knows(connect: Connect) -> None:
    with (
        soon(),
        pytest.raises(ss.ConnectError, match=r"cannot connect to redis://no-such\.invalid"),
    ):
        connect("redis://no-such.invalid")


@contextmanager
def accepting(answer: bytes) -> Iterator[int]:
    """The port of a server that answers the first thing it hears, and then waits for the end."""
    with socket.create_server((HOST, 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1024)
                if answer:
                    connection.sendall(answer)
                    connection.shutdown(socket.SHUT_WR)
                while connection.recv(1024):
                    pass

        server = threading.Thread(target=serve)
        server.start()
        yield listener.getsockname()[1]
        server.join()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "did not answer within 2 s"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak the Redis protocol"),
        (b"-LOADING Redis is loading the dataset in memory\r\n", "is not ready: Redis is loading"),
        (b"-BUSY Redis is busy running a script.\r\n", "is not ready: BUSY Redis is busy"),
        (b"-ERR max number of clients reached\r\n", "max number of clients reached"),
    ],
    ids=["silent", "http", "loading", "busy", "full"],
)
def test_a_server_that_cannot_be_used_is_one_connect_error(
    connect: Connect, answer: bytes, said: str
) -> None:
    with accepting(answer) as port, soon(), pytest.raises(ss.ConnectError) as caught:
        connect(f"redis://{HOST}:{port}")

    assert f"redis://{HOST}:{port}" in str(caught.value)
    assert said in str(caught.value)


def test_a_frozen_server(connect: Connect, tmp_path: Path) -> None:
    with tcp_server(tmp_path) as server:
        os.kill(server.process.pid, SIGSTOP)
        try:
            with soon(), pytest.raises(ss.ConnectError, match="did not answer within 2 s"):
                connect(server.url)
        finally:
            os.kill(server.process.pid, SIGCONT)


def test_a_full_server(connect: Connect, tmp_path: Path) -> None:
    with (
        tcp_server(tmp_path, "--maxclients", "1") as server,
        closing(plain_client(server.process.path)) as only,
    ):
        only.ping()
        with soon(), pytest.raises(ss.ConnectError, match="max number of clients reached"):
            connect(server.url)


@pytest.mark.parametrize(
    "credentials", [":wrong@", "ana:wrong@", "nobody:right@", "ana@"], ids=repr
)
@pytest.mark.parametrize("over", ["tcp", "socket"])
def test_wrong_credentials_are_tried_once(
    connect: Connect, guarded: TcpServer, over: str, credentials: str
) -> None:
    owner = guarded.url.replace("//", "//:right@")
    raw(owner, "ACL", "LOG", "RESET")
    tcp = f"redis://{credentials}{HOST}:{guarded.port}"
    target = tcp if over == "tcp" else f"redis+unix://{credentials}{guarded.process.path}"

    with soon(), pytest.raises(ss.AuthError, match="refused the credentials: ") as caught:
        connect(target)

    assert type(caught.value) is ss.AuthError
    log = raw(owner, "ACL", "LOG")
    assert sum(entry[entry.index(b"count") + 1] for entry in log) == 1


def test_missing_credentials(connect: Connect, guarded: TcpServer) -> None:
    with soon(), pytest.raises(ss.AuthError, match="Authentication required"):
        connect(guarded.url)


@pytest.mark.parametrize("over", ["tcp", "socket"])
def test_right_credentials_are_sent_once(guarded: TcpServer, over: str) -> None:
    tcp = f"redis://:right@{HOST}:{guarded.port}"
    target = tcp if over == "tcp" else f"redis+unix://:right@{guarded.process.path}"

    with closing(plain_client(tcp)) as owner:
        owner.config_resetstat()
        with ss.connect(target) as streamer:
            streamer.catalog()
        assert owner.info("commandstats")["cmdstat_auth"]["calls"] == 1


@pytest.mark.parametrize("over", ["tcp", "socket"])
def test_a_database_that_does_not_exist(connect: Connect, guarded: TcpServer, over: str) -> None:
    tcp = f"redis://:right@{HOST}:{guarded.port}/99"
    target = tcp if over == "tcp" else f"redis+unix://:right@{guarded.process.path}?db=99"

    with soon(), pytest.raises(ss.ConfigError, match=r"db=99: .* DB index is out of range"):
        connect(target)


# Waiting.


def test_wait_goes_on_until_the_server_comes_up(connect: Connect, tmp_path: Path) -> None:
    with tcp_server(tmp_path) as server:
        server.kill()
        urls: list[str] = []

        def connect_later() -> None:
            urls.append(connect(server.url, wait=True, timeout=30)[0])

        waiting = threading.Thread(target=connect_later)
        waiting.start()
        server.restart()
        waiting.join()

        assert urls == [server.url]


def test_wait_gives_up_after_the_timeout(connect: Connect) -> None:
    with soon(), pytest.raises(ss.ConnectError, match=r"refused; gave up after \d+ attempts in 0"):
        connect(f"redis://{HOST}:{free_port()}", wait=True, timeout=0.5)


def test_wait_goes_on_until_the_timeout(connect: Connect) -> None:
    with pytest.raises(ss.ConnectError) as caught:
        connect(f"redis://{HOST}:{free_port()}", wait=True, timeout=1.5)
    waited = float(str(caught.value).rpartition(" in ")[2].split()[0])
    assert waited >= 1.5


def test_wait_does_not_wait_for_wrong_credentials(connect: Connect, guarded: TcpServer) -> None:
    with soon(), pytest.raises(ss.AuthError):
        connect(f"redis://:wrong@{HOST}:{guarded.port}", wait=True)


def test_wait_goes_on_while_the_server_loads_its_data(tmp_path: Path) -> None:
    slow = ("--key-load-delay", "300", "--loading-process-events-interval-bytes", "1024")
    with tcp_server(tmp_path, *slow) as server:
        with closing(plain_client(server.process.path)) as client:
            client.mset({f"key{n}": "x" * 100 for n in range(5_000)})
            client.save()
        restarting = threading.Thread(target=server.restart)
        server.kill()
        restarting.start()
        errors: list[str] = []

        def loads() -> bool:
            try:
                ss.connect(server.url).close()
            except ss.ConnectError as error:
                errors.append(str(error))
            return errors != [] and "is loading the dataset" in errors[-1]

        assert eventually(loads)
        with ss.connect(server.url, wait=True) as streamer:
            assert streamer.catalog() is not None
        restarting.join()


@pytest.mark.parametrize("target", ["ticks.ss", "./ticks.ss", "/data/ticks.ss"])
def test_a_file_as_text_says_how_to_name_a_file(target: str) -> None:
    with pytest.raises(ss.ConfigError, match="write Path"):
        ss.connect(target)
