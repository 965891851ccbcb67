from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from jupyter_client.manager import KernelManager

from seastream_nb import process
from seastream_nb.errors import ConfigError, ConnectError
from seastream_nb.process import ServerProcess
from seastream_nb.server import embedded
from tests.servers import eventually, raw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Run = Callable[[str], "Started"]

ROOT = Path(__file__).parents[1]
START = """
import os, sys, threading
from seastream_nb.server import embedded
server = embedded()
print(server.pid, server.path, flush=True)
"""
START_IN_A_THREAD = """
import sys, threading
from seastream_nb.server import embedded
def start():
    server = embedded()
    print(server.pid, server.path, flush=True)
thread = threading.Thread(target=start)
thread.start()
thread.join()
print("joined", flush=True)
"""
WAIT = "sys.stdin.read()\n"


class Started(NamedTuple):
    """A Python process and the server that it started."""

    python: subprocess.Popen[str]
    pid: int
    path: Path

    def line(self) -> str:
        assert self.python.stdout is not None
        return self.python.stdout.readline().strip()

    def gone(self) -> bool:
        return eventually(lambda: not exists(self.pid) and not self.path.parent.exists())


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def run() -> Iterator[Run]:
    """Run a script that prints the pid and the socket of the server that it starts."""
    running: list[subprocess.Popen[str]] = []

    def start(script: str) -> Started:
        python = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", script],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(python)
        assert python.stdout is not None
        line = python.stdout.readline()
        assert line, python.communicate()[1]
        pid, path = line.split()
        return Started(python, int(pid), Path(path))

    yield start
    for python in running:
        python.kill()
        python.communicate()


def test_a_server_that_ends_at_once_raises_with_the_end_of_its_log(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(ConnectError, match=r"ended at once.*no-such-module"):
        embedded(loadmodule="/no-such-module.so")
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_never_answers_is_stopped_at_the_deadline(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    silent = tmp_path / "silent-server"
    silent.write_text('#!/bin/sh\necho "pid $$ is thinking"\nexec sleep 600\n')
    silent.chmod(0o700)
    monkeypatch.setattr(process, "STARTUP_DEADLINE", 0.5)
    with pytest.raises(ConnectError, match=r"did not answer within 0.5 s.*thinking") as caught:
        ServerProcess(silent, {})
    pid = int(str(caught.value).split("pid ")[1].split()[0])
    assert not exists(pid)


def test_a_temporary_directory_too_long_for_a_socket_is_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    long = tmp_path / ("d" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with embedded() as server:
        assert not server.path.is_relative_to(long)
        assert len(os.fsencode(server.path)) < 104


def test_no_room_for_a_socket_raises_naming_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "SOCKET_PATH_LIMIT", 10)
    with pytest.raises(ConfigError, match=r"under 10 bytes: set TMPDIR"):
        embedded()


def test_close_ends_the_server_removes_its_directory_and_may_be_repeated() -> None:
    server = embedded()
    assert server.alive
    server.close()
    assert not server.alive
    assert not exists(server.pid)
    assert not server.path.parent.exists()
    server.close()


def test_close_ends_a_server_that_is_suspended() -> None:
    server = embedded()
    os.kill(server.pid, signal.SIGSTOP)
    server.close()
    assert not exists(server.pid)


def test_a_server_that_dies_by_itself_leaves_no_directory() -> None:
    with embedded() as server:
        os.kill(server.pid, signal.SIGKILL)
        assert eventually(lambda: not server.path.parent.exists())
        assert not server.alive


def test_a_forked_child_shares_another_server_and_leaves_its_parents_alone(run: Run) -> None:
    started = run("""
import os, sys
from seastream_nb.server import shared
parents = shared()
print(parents.pid, parents.path, flush=True)
child = os.fork()
if child == 0:
    parents.close()
    mine = shared()
    print(mine.pid, mine.path, flush=True)
    sys.exit()
assert os.waitpid(child, 0)[1] == 0
print(parents.alive, shared() is parents, flush=True)
sys.stdin.read()
""")
    pid, path = started.line().split()
    assert int(pid) != started.pid
    assert started.line() == "True True"
    assert raw(started.path, "PING") == b"PONG"
    assert eventually(lambda: not exists(int(pid)) and not Path(path).parent.exists())


@pytest.mark.parametrize(
    ("script", "status"),
    [
        (START, 0),
        (START + "raise SystemExit(3)", 3),
        (START + "raise RuntimeError", 1),
        (START + "os._exit(4)", 4),
        (START + "os.execv('/bin/sh', ['sh', '-c', 'exit 5'])", 5),
    ],
    ids=["normal", "exit", "exception", "_exit", "exec"],
)
def test_the_server_ends_when_its_parent_ends(run: Run, script: str, status: int) -> None:
    started = run(script)
    assert started.python.wait() == status
    assert started.gone()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_the_server_ends_when_its_parent_is_killed(run: Run, number: signal.Signals) -> None:
    started = run(START + WAIT)
    started.python.send_signal(number)
    assert started.python.wait() == -number
    assert started.gone()


def test_the_server_outlives_the_thread_that_started_it_but_not_the_process(run: Run) -> None:
    started = run(START_IN_A_THREAD + WAIT)
    assert started.line() == "joined"
    assert raw(started.path, "PING") == b"PONG"
    started.python.kill()
    assert started.gone()


def test_a_forked_child_does_not_keep_the_server_of_a_killed_parent(run: Run) -> None:
    fork = "child = os.fork()\nif child: print(child, flush=True)\n"
    started = run(START + fork + WAIT)
    child = int(started.line())
    started.python.kill()
    try:
        assert started.gone()
        assert exists(child)
    finally:
        os.kill(child, signal.SIGKILL)


def test_another_child_process_does_not_keep_the_server_of_a_killed_parent(run: Run) -> None:
    another = "print(subprocess.Popen(['sleep', '60'], close_fds=False).pid, flush=True)\n"
    started = run(START + "import subprocess\n" + another + WAIT)
    child = int(started.line())
    started.python.kill()
    try:
        assert started.gone()
        assert exists(child)
    finally:
        os.kill(child, signal.SIGKILL)


def test_the_server_is_in_a_session_that_no_terminals_interrupt_reaches() -> None:
    with embedded() as server:
        assert os.getsid(server.pid) != os.getsid(0)


def test_the_directory_goes_even_when_every_process_is_told_to_end(run: Run) -> None:
    started = run(START + WAIT)
    os.killpg(os.getpgid(started.pid), signal.SIGTERM)
    assert started.gone()


def test_a_kernel_restart_ends_the_kernels_server(tmp_path: Path) -> None:
    manager = KernelManager(connection_file=str(tmp_path / "kernel.json"))
    manager.start_kernel(cwd=str(ROOT))
    client = manager.blocking_client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        reply = client.execute(
            "from seastream_nb.server import embedded; server = embedded()",
            user_expressions={"pid": "server.pid", "path": "str(server.path)"},
            reply=True,
            timeout=60,
        )["content"]
        assert reply["status"] == "ok", reply
        shown = {name: it["data"]["text/plain"] for name, it in reply["user_expressions"].items()}
        pid, path = int(shown["pid"]), Path(shown["path"].strip("'"))
        assert raw(path, "PING") == b"PONG"
        manager.restart_kernel(now=True)
        assert eventually(lambda: not exists(pid) and not path.parent.exists())
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()
