"""Who a group consumer is when nobody says: the same rules as SeaStreamer's.

| mode | group | consumer |
| --- | --- | --- |
| resumable | `HOST:r` | the same as the group, also when that is given |
| load_balanced | `HOST:s` | `HOST:PROCESS:THREAD:NANOSECONDS` |

`HOST` is `$HOST_ID`, else the id of a Docker container, else the first hardware address.
"""

from __future__ import annotations

import os
import platform
import re
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path

from seastream_nb.options import ConsumerOptions

_CONTAINER = re.compile(r"0::/docker/(.{12})")


def with_identity(options: ConsumerOptions) -> ConsumerOptions:
    """The options with group and consumer filled in where none were given."""
    resumable = options.mode == "resumable"
    group = options.group or f"{host_id()}:{'r' if resumable else 's'}"
    consumer = options.consumer_id or (group if resumable else _own_name())
    return replace(options, group=group, consumer_id=consumer)


def _own_name() -> str:
    return f"{host_id()}:{os.getpid()}:{threading.get_native_id()}:{time.time_ns()}"


def host_id() -> str:
    """What this host is called in the names of groups and consumers."""
    given = os.environ.get("HOST_ID")
    return _found_host_id() if given is None else given


@cache
def _found_host_id() -> str:
    cgroup = ""
    with suppress(OSError):
        cgroup = Path("/proc/self/cgroup").read_text(encoding="utf-8", errors="replace")
    return container_id(cgroup) or hardware_id(_hardware_addresses()) or platform.node()


def container_id(cgroup: str) -> str | None:
    r"""The Docker container's short id, from the last line of `/proc/self/cgroup`.

    >>> container_id("1:x:/\n0::/docker/0123456789abcdef")
    '0123456789ab'
    >>> container_id("0::/"), container_id("")
    (None, None)
    """
    found = _CONTAINER.search((cgroup.splitlines() or [""])[-1])
    return found[1] if found else None


def hardware_id(addresses: Iterable[str]) -> str | None:
    """The first address that is not all zeros, as 12 upper-case digits.

    >>> hardware_id(["00:00:00:00:00:00", "02:42:ac:11:00:02"])
    '0242AC110002'
    """
    digits = (address.replace(":", "").upper() for address in addresses)
    return next((each for each in digits if len(each) == 12 and each.strip("0")), None)


def _hardware_addresses() -> list[str]:
    """The addresses of the interfaces, in the order of their indexes."""
    found: list[tuple[int, str]] = []
    with suppress(OSError):
        for interface in Path("/sys/class/net").iterdir():
            with suppress(OSError, ValueError):
                index = int((interface / "ifindex").read_text())
                found.append((index, (interface / "address").read_text().strip()))
    return [address for _, address in sorted(found)]
