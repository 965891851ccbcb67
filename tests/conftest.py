"""Fixtures that every test may use: real servers for the session, emptied for each test.

`url`, `client`, `streamer` are of the embedded server; a test that takes `matrix_url`,
`matrix_client` or `matrix_streamer` instead runs once on each server of the matrix; one that takes
`matrix_kernel`, in a kernel of each ipykernel that behaves differently.
"""

from __future__ import annotations

import os
import signal
import warnings
from contextlib import closing
from typing import TYPE_CHECKING

import hypothesis
import pytest

import seastream_nb as ss
from seastream_nb.process import ServerProcess
from seastream_nb.server import PRIVATE, EmbeddedServer, embedded
from tests.ipykernels import VERSIONS, require_ipykernel
from tests.portal_kernel import Kernel, running_kernel
from tests.servers import LANES, plain_client, raw, require_server, socket_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    import redis

# They assert and are no test modules, so their asserts would not explain themselves.
pytest.register_assert_rewrite("tests.contract", "tests.contract_groups", "tests.redis.crew")

# No deadline: the first example pays for imports, and the machine may be busy.
hypothesis.settings.register_profile("seastream", deadline=None, max_examples=50)
hypothesis.settings.load_profile("seastream")


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    # A shell starts a job in the background with SIGINT ignored, and Python leaves it so.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _without_the_users_settings() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("SEASTREAM_")]:
            patch.delenv(name)
        yield


@pytest.fixture
def alarm() -> Iterator[Callable[[float], None]]:
    """Sets a timer that interrupts this thread, wherever it is then."""
    # That may be between the making of a coroutine and the call that is given it.
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        yield lambda seconds: signal.setitimer(signal.ITIMER_REAL, seconds)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


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


@pytest.fixture(scope="session", params=LANES)
def matrix_server(request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    """Each server of the matrix in turn; a lane without a program is skipped by name."""
    with ServerProcess(require_server(request.param), PRIVATE) as running:
        yield running


@pytest.fixture
def matrix_url(matrix_server: ServerProcess) -> str:
    """The URL of each server of the matrix, emptied."""
    raw(matrix_server.path, "FLUSHALL")
    return socket_url(matrix_server)


@pytest.fixture
def matrix_client(matrix_url: str) -> Iterator[redis.Redis]:
    """A plain redis-py client (RESP2, bytes) of each emptied server."""
    with closing(plain_client(matrix_url)) as connected:
        yield connected


@pytest.fixture
def matrix_streamer(matrix_url: str) -> Iterator[ss.Streamer]:
    """A connection to each server of the matrix, whose database is empty."""
    with ss.connect(matrix_url) as connected:
        yield connected


@pytest.fixture(scope="module", params=VERSIONS)
def matrix_kernel(request: pytest.FixtureRequest) -> Iterator[Kernel]:
    """A kernel of each ipykernel in turn; a version that is not installed is skipped by name."""
    with running_kernel(require_ipykernel(request.param)) as running:
        told, _ = running.run("import ipykernel\nprint(ipykernel.__version__)")
        assert told.lines == [request.param]
        yield running
