"""A server process that ends with this one, in whatever way this one ends.

    this process ── pipe ──► sh ──► server ── unix socket in a 0700 directory ──► this process

The kernel closes our end of the pipe even after SIGKILL: `sh` then reads the end of its input,
kills the server and removes the directory. No thread has to outlive anything.
"""

from __future__ import annotations

import atexit
import errno
import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self

from seastream_nb.errors import ConfigError, ConnectError, StreamError

if TYPE_CHECKING:
    from collections.abc import Mapping

Value = str | int | bool

STARTUP_DEADLINE = 10.0
# With its closing NUL, a socket's path has 104 bytes on macOS and 108 on Linux.
SOCKET_PATH_LIMIT = 104

# Descriptor 3, since POSIX gives a background command /dev/null as its input. SIGKILL, since there
# is nothing to save and a server in a long script ignores SIGTERM. The traps (after the server
# started, which would inherit them) keep the shell alive to remove the directory when a service
# manager signals every process, or when nobody is left to read the pid.
_WATCH = """
directory=$1; shift
exec 3<&0
"$@" 3<&- >&2 &
server=$!
trap '' HUP INT TERM PIPE
exec 2>/dev/null
{ read -r line; kill -KILL "$server"; } <&3 >&2 &
reader=$!
echo "$server"
wait "$server"
kill -KILL "$reader"; wait "$reader"
rm -rf -- "$directory"
"""


class ServerProcess:
    """A server that runs until `close`, or until this process ends in whatever way.

    It always listens on the unix socket `path`, in a private directory, and answers when the
    constructor returns.

    Args:
        binary: the server program.
        config: directives of its configuration file.
        arguments: more of them in command line form, which win.

    Raises:
        ConfigError: the server refused a directive; the text is its own.
        ConnectError: it ended or did not answer within 10 s; with the end of its log.
    """

    def __init__(self, binary: Path, config: Mapping[str, Value], *arguments: str) -> None:
        directory = _private_directory()
        self.path = directory / "s.sock"
        with ExitStack() as undo:
            undo.callback(shutil.rmtree, directory, ignore_errors=True)
            place: dict[str, Value] = {"dir": str(directory), "unixsocket": str(self.path)}
            config = {**place, "unixsocketperm": 700, **config}
            # A file, not arguments: everyone on the machine can read a command line.
            file = directory / "server.conf"
            file.write_text("\n".join(map(directive, config.keys(), config.values())))
            with (directory / "server.log").open("w+b") as log:
                self._watcher = _watch(directory, log, [str(binary), str(file), *arguments])
                undo.callback(self.close)
                self.pid = _read_pid(self._watcher)
                self._wait_until_ready(binary, log)
            undo.pop_all()

    def _wait_until_ready(self, binary: Path, log: IO[bytes]) -> None:
        deadline = time.monotonic() + STARTUP_DEADLINE
        while not self._answers():
            ended = self._watcher.poll() is not None
            if ended or time.monotonic() > deadline:
                log.seek(0)
                raise _start_error(binary, log.read().decode(errors="replace"), ended=ended)
            time.sleep(0.002)

    def _answers(self) -> bool:
        with suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1.0)
            probe.connect(str(self.path))
            probe.sendall(b"PING\r\n")
            reply = probe.recv(64)
            # A refusal such as -NOAUTH is an answer as well.
            return reply != b"" and not reply.startswith(b"-LOADING")
        return False

    @property
    def ours(self) -> bool:
        """Whether this process started it (none that it was forked from) and did not close it."""
        return self._watcher in _watchers

    @property
    def alive(self) -> bool:
        """Whether the server accepts connections, however busy it is."""
        with socket.socket(socket.AF_UNIX) as probe:
            probe.setblocking(False)
            return probe.connect_ex(str(self.path)) not in (errno.ENOENT, errno.ECONNREFUSED)

    def close(self) -> None:
        """Stop the server and remove its directory; a forked child leaves it to its parent."""
        _stop(self._watcher)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def directive(name: str, value: Value) -> str:
    r"""One line of a server's configuration file, quoted.

    >>> directive("maxmemory", "64mb"), directive("appendonly", False)
    ('maxmemory "64mb"', 'appendonly "no"')
    >>> print(directive("requirepass", 'a "b"'))
    requirepass "a \x22b\x22"
    """
    text = ("no", "yes")[value] if isinstance(value, bool) else str(value)
    quoted = "".join(
        chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\x{byte:02x}"
        for byte in text.encode()
    )
    return f'{name} "{quoted}"'


def _private_directory() -> Path:
    """A new directory that only this user can enter, with room for a socket's name."""
    for base in (tempfile.gettempdir(), "/tmp"):  # noqa: S108 (mkdtemp makes it 0700)
        if len(os.fsencode(f"{base}/seastream-XXXXXXXX/s.sock")) < SOCKET_PATH_LIMIT:
            with suppress(OSError):
                return Path(tempfile.mkdtemp(prefix="seastream-", dir=base))
    raise ConfigError(
        "no place for an embedded server's socket, whose path must stay under "
        f"{SOCKET_PATH_LIMIT} bytes: set TMPDIR to a short, writable directory"
    )


def _start_error(binary: Path, log: str, *, ended: bool) -> StreamError:
    refused = re.search(r"FATAL CONFIG FILE ERROR.*^>>> (.*?)$\s*(.*?)\s*\Z", log, re.S | re.M)
    if refused:
        reason = " ".join(refused[2].split())
        return ConfigError(f"{binary.name} refused a directive: {refused[1]}: {reason}")
    what = "ended at once" if ended else f"did not answer within {STARTUP_DEADLINE:g} s"
    tail = " | ".join(log.splitlines()[-3:])
    return ConnectError(f"the server {binary} {what}; its log ends with: {tail}")


# Held while a server is started or closed, and across a fork: a child then sees every pipe of which
# it must close its copy, and inherits no half-made server.
starting = threading.RLock()
# The shell that watches each server started here.
_watchers: set[subprocess.Popen[bytes]] = set()


def _watch(directory: Path, log: IO[bytes], command: list[str]) -> subprocess.Popen[bytes]:
    with starting:
        watcher = subprocess.Popen(  # noqa: S603 (no shell parses these arguments)
            ["/bin/sh", "-c", _WATCH, "seastream-watcher", str(directory), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            bufsize=0,
            start_new_session=True,  # Ctrl-C in a terminal must not reach the server
        )
        _watchers.add(watcher)
    return watcher


def _read_pid(watcher: subprocess.Popen[bytes]) -> int:
    assert watcher.stdout is not None
    with watcher.stdout as line:
        return int(line.readline())


def _let_go(watcher: subprocess.Popen[bytes]) -> None:
    assert watcher.stdin is not None
    watcher.stdin.close()


def _stop(watcher: subprocess.Popen[bytes]) -> None:
    with starting:
        if watcher in _watchers:
            _watchers.remove(watcher)
            _let_go(watcher)
            watcher.wait()


def _stop_all() -> None:
    for watcher in list(_watchers):
        _stop(watcher)


def _leave_to_parent() -> None:
    """In a forked child: close our copies of the pipes, which would outlive the parent."""
    for watcher in _watchers:
        _let_go(watcher)
        watcher.returncode = 0  # not our child: collecting it must neither wait nor warn
    _watchers.clear()
    starting.release()


atexit.register(_stop_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=starting.acquire, after_in_parent=starting.release, after_in_child=_leave_to_parent
    )
