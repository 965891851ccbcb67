"""Fixtures of the Redis backend's tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.redis.consuming import Awaiting, Blocking
from tests.servers import TcpServer, tcp_server

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
def mortal(tmp_path: Path) -> Iterator[TcpServer]:
    """A server of the test's own, which it may stop, fill and kill."""
    with tcp_server(tmp_path) as server:
        yield server
