"""A password is shown nowhere: not by errors and their variables, objects, frames or logs."""

from __future__ import annotations

import asyncio
import logging
import pickle
import socket
import threading
import traceback
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import seastream_nb as ss
from seastream_nb import portal
from tests.connecting import BOTH, Connect
from tests.servers import HOST, TcpServer, free_port, raw, tcp_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

CANARY = "h7nt3r-canary"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TcpServer]:
    """A server whose password is the canary."""
    with tcp_server(tmp_path_factory.mktemp("guarded"), "--requirepass", CANARY) as running:
        yield running


@pytest.fixture(params=BOTH.values(), ids=BOTH)
def connect(request: pytest.FixtureRequest) -> Connect:
    """One of the facades."""
    found: Connect = request.param
    return found


@contextmanager
def parrot() -> Iterator[int]:
    """The port of a server that knows no AUTH, and repeats what it does not know."""
    with socket.create_server((HOST, 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                heard = connection.recv(1024).split(b"\r\n")[2::2]
                connection.sendall(b"-ERR unknown command: %s\r\n" % b" ".join(heard))
                connection.recv(1024)

        server = threading.Thread(target=serve)
        server.start()
        yield listener.getsockname()[1]
        server.join()


def chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        if error.__context__ is not error.__cause__:
            yield from chain(error.__context__)
        error = error.__cause__


def ours(frame: FrameType) -> bool:
    return Path(frame.f_code.co_filename).parent != Path(__file__).parent


def everything(error: BaseException) -> str:
    """All that a tool could print of an error and the variables of the package's frames."""
    shown: list[Any] = []
    for each in chain(error):
        shown += [str(each), repr(each), each.args, vars(each)]
        for frame, _ in traceback.walk_tb(each.__traceback__):
            if ours(frame):
                shown += [f"{name}={value!r}" for name, value in frame.f_locals.items()]
                shown += [
                    vars(value) for value in frame.f_locals.values() if hasattr(value, "__dict__")
                ]
    return "\n".join(map(str, shown))


def failing(guarded: TcpServer, folder: Path) -> dict[str, tuple[tuple[Any, ...], dict[str, Any]]]:
    place = f"{HOST}:{guarded.port}"
    nowhere = f"{HOST}:{free_port()}"
    return {
        "nothing listens": ((f"redis://:{CANARY}@{nowhere}",), {}),
        "as an argument": ((f"redis://{nowhere}",), {"password": CANARY}),
        "waiting": ((f"redis://:{CANARY}@{nowhere}",), {"wait": True, "timeout": 0.1}),
        "no socket": ((f"redis+unix://:{CANARY}@{folder}/no.sock",), {}),
        "wrong password": ((f"redis://:{CANARY}-not@{place}",), {}),
        "wrong password, socket": (
            (f"redis+unix://:{CANARY}-not@{guarded.process.path}",),
            {},
        ),
        "wrong user": ((f"redis://nobody:{CANARY}@{place}",), {}),
        "wrong database": ((f"redis://:{CANARY}@{place}/99",), {}),
        "no TLS there": ((f"rediss://:{CANARY}@{place}",), {}),
        "several nodes": ((f"redis://:{CANARY}@{place},b",), {}),
        "cluster": ((f"redis://:{CANARY}@{place}",), {"cluster": True}),
        "unknown option": ((f"redis://:{CANARY}@{place}",), {"tiemout": 5}),
        "a URL as an option": ((), {"url": f"redis://:{CANARY}@{place}"}),
        "slip in password": ((f"redis://{place}",), {"pasword": CANARY}),
        "wrong value": ((f"redis://{place}",), {"password": CANARY, "db": -1}),
        "wrong type": ((f"redis://{place}",), {"password": CANARY.encode()}),
        "a URL as bytes": ((f"redis://:{CANARY}@{place}".encode(),), {}),
        "unreadable host": ((f"redis://:{CANARY}{place}",), {}),
        "unknown scheme": ((f"redi://:{CANARY}@{place}",), {}),
        "no scheme": ((f"ana:{CANARY}@{place}",), {}),
        "password in the query": ((f"redis://{place}?password={CANARY}",), {}),
        "unknown name": (("prd",), {"password": CANARY}),
        "in a named connection": (("prod",), {"cluster": True}),
        "broken file": (("prod",), {"db": "x", "password": CANARY}),
        "tls_insecure": ((f"rediss://:{CANARY}@{nowhere}",), {"tls_insecure": True}),
    }


def test_no_failing_connect_shows_the_password(
    connect: Connect,
    guarded: TcpServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("seastream.toml").write_text(
        f"[connections.prod]\nurl = 'redis://{HOST}'\npassword = '{CANARY}'\n"
    )
    for name, (target, options) in failing(guarded, tmp_path).items():
        caplog.clear()
        with caplog.at_level(logging.DEBUG), pytest.raises((ss.StreamError, UserWarning)) as caught:
            connect(*target, **options)

        assert CANARY not in everything(caught.value), name
        assert CANARY not in caplog.text, name
        if isinstance(caught.value, ss.StreamError):
            again = pickle.loads(pickle.dumps(caught.value))
            assert str(again) == str(caught.value), name
            assert CANARY not in "".join(caught.value._render_traceback_()), name


def test_a_server_that_repeats_the_password_is_not_quoted(connect: Connect) -> None:
    with parrot() as port, pytest.raises(ss.ConnectError) as caught:
        connect(f"redis://:{CANARY}@{HOST}:{port}")

    assert "unknown command: AUTH ***" in str(caught.value)
    assert CANARY not in everything(caught.value)


def test_nothing_of_a_working_connection_shows_the_password(
    guarded: TcpServer, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"redis://:{CANARY}@{HOST}:{guarded.port}"
    shown: list[Any] = []
    with caplog.at_level(logging.DEBUG), ss.connect(url) as streamer:
        with streamer.producer("ticks") as producer:
            producer.send("x").result()
        with streamer.consumer("ticks", auto_stream_reset="earliest") as consumer:
            shown += [consumer.next(5), repr(consumer), repr(producer)]
        stream = streamer["ticks"]
        frame, table, catalog = stream.to_pandas(), stream.to_arrow(), streamer.catalog()
        shown += [streamer, stream, stream._repr_html_(), frame.attrs, table.schema.metadata]
        shown += [catalog, catalog._repr_html_(), portal.run(tasks())]
        shown += [each for core in (streamer, stream, producer) for each in inside(core)]
        shown += [raw(url, "CLIENT", "LIST")]

    assert "***" in "".join(map(repr, shown))
    assert CANARY not in "".join(map(repr, shown))
    assert CANARY not in caplog.text
    assert [each for each in caplog.records if each.levelno > logging.DEBUG] == []


async def tasks() -> list[str]:
    return list(map(repr, asyncio.all_tasks()))


def inside(thing: Any, depth: int = 4) -> Iterator[str]:
    """What a debugger shows of an object's attributes, and of theirs."""
    yield repr(thing)
    if depth and hasattr(thing, "__dict__"):
        for value in vars(thing).values():
            yield from inside(value, depth - 1)


def test_what_holds_the_password_cannot_be_pickled(guarded: TcpServer) -> None:
    with ss.connect(guarded.url, password=CANARY) as streamer:
        for thing in (streamer, streamer["ticks"], streamer._core.options):
            with pytest.raises((TypeError, pickle.PicklingError, AttributeError)):
                pickle.dumps(thing)


def test_a_connection_to_be_made_shows_no_password() -> None:
    connecting = ss.connect_async(f"redis://:{CANARY}@{HOST}", password=CANARY)

    assert CANARY not in "".join(inside(connecting))
