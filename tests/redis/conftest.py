"""Fixtures of the Redis backend's tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.redis.consuming import Awaiting, Blocking
from tests.redis.proxy import Proxy, proxied
from tests.redis.replicas import replicated
from tests.servers import LANES, TcpServer, require_server, tcp_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(params=[Blocking, Awaiting])
def consume(request: pytest.FixtureRequest, url: str) -> Iterator[Callable[..., Any]]:
    """Creates a consumer on the session's server, on each of the facades."""
    made: list[Blocking | Awaiting] = []

    def create(*keys: str | bytes, **options: Any) -> Any:
        made.append(request.param())
        return made[-1].consumer(url, *keys, **options)

    yield create
    for each in made:
        each.close()


@pytest.fixture
def durable(tmp_path: Path) -> Iterator[TcpServer]:
    """A server whose streams outlive a crash."""
    with tcp_server(tmp_path, "--appendonly", "yes", "--appendfsync", "always") as server:
        yield server


# Where servers differ, a test parametrises `matrix_tcp` with all of them.
@pytest.fixture(
    params=[LANES[0], *(pytest.param(lane, marks=pytest.mark.soak) for lane in LANES[1:])]
)
def matrix_tcp(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TcpServer]:
    """A server on a TCP port for this test alone; in a soak, each of the matrix in turn."""
    with tcp_server(tmp_path, binary=require_server(request.param)) as server:
        yield server


@pytest.fixture
def proxy(matrix_tcp: TcpServer) -> Iterator[Proxy]:
    """A proxy before that server."""
    with proxied(matrix_tcp.port) as between:
        yield between


@pytest.fixture
def no_complaints(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """O8: no task fails unseen, and nothing is logged as an error."""
    yield
    assert [each for each in caplog.records if each.levelname in ("ERROR", "CRITICAL")] == []


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[TcpServer]:
    """A server of the test's own, which it may stop, fill and kill."""
    with tcp_server(tmp_path) as server:
        yield server


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[TcpServer, TcpServer]]:
    """A primary, and a replica that has caught up with it."""
    with replicated(tmp_path) as servers:
        yield servers
