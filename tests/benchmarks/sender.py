"""A process of its own that sends a message every millisecond, with the time as its payload.

python -m tests.benchmarks.sender PORT KEY FIELD MESSAGES
"""

from __future__ import annotations

import sys
import time

from tests.benchmarks.wire import Wire, pack


def send(port: str, key: str, field: str, messages: str) -> None:
    wire = Wire(int(port))
    for _ in range(int(messages)):
        wire.send(pack("XADD", key, "*", field, time.monotonic_ns()))
        wire.count_replies(1)
        time.sleep(0.001)


if __name__ == "__main__":
    send(*sys.argv[1:])
