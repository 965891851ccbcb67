"""Fixtures that every test may use: one real server for the session, emptied for each test."""

from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING

import hypothesis
import pytest

import seastream_nb as ss
from seastream_nb.server import EmbeddedServer, embedded
from tests.servers import plain_client, raw

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

# No deadline: the first example pays for imports, and the machine may be busy.
hypothesis.settings.register_profile("seastream", deadline=None, max_examples=50)
hypothesis.settings.load_profile("seastream")


@pytest.fixture(scope="session", autouse=True)
def _without_the_users_settings() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("SEASTREAM_")]:
            patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def server() -> Iterator[EmbeddedServer]:
    """A private server that the whole session shares."""
    with embedded() as running:
        yield running


@pytest.fixture
def url(server: EmbeddedServer) -> str:
    """The URL of the session's server, emptied."""
    raw(server.path, "FLUSHALL")
    return server.url


@pytest.fixture
def client(url: str) -> Iterator[redis.Redis]:
    """A plain redis-py client (RESP2, bytes) of the emptied server."""
    with closing(plain_client(url)) as connected:
        yield connected


@pytest.fixture
def streamer(url: str) -> Iterator[ss.Streamer]:
    """A connection to the session's server, whose database is empty."""
    with ss.connect(url) as connected:
        yield connected
