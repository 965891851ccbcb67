"""Random faults while a producer sends: what it was told is what the log holds.

With `$SEASTREAM_SOAK_SECONDS` each of more seeds runs for so long.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import product
from pathlib import Path

import pytest

import seastream_nb as ss
from seastream_nb.errors import MaybeSent, NotSent
from tests.redis.ledger import Ledger
from tests.redis.proxy import Proxy, proxied
from tests.servers import LANES, TcpServer, require_server, tcp_server

SOAK = float(os.environ.get("SEASTREAM_SOAK_SECONDS", "0"))
SEEDS = range(1, 21)
SHORT = [(1, True, name) for name in LANES] + [(2, True, LANES[0]), (1, False, LANES[0])]
LONG = list(product(SEEDS, (True, False), LANES))
SECONDS = SOAK or 2.0


def faults(proxy: Proxy, server: TcpServer, chance: random.Random) -> list[Callable[[], object]]:
    """What can happen, each for a while."""

    def hole(mode: str) -> None:
        proxy.mode = mode  # type: ignore[assignment]
        time.sleep(chance.uniform(0.1, 0.5))
        proxy.mode = "pass"

    def freeze() -> None:
        os.kill(server.process.pid, signal.SIGSTOP)
        time.sleep(chance.uniform(0.1, 0.5))
        os.kill(server.process.pid, signal.SIGCONT)

    return [
        proxy.rst,
        proxy.fin,
        lambda: proxy.cut_reply(chance.randrange(400)),
        lambda: proxy.cut_request(chance.randrange(3_000)),
        lambda: proxy.deliver_late(chance.uniform(0.1, 0.7)),
        lambda: proxy.deliver_late(chance.uniform(0.1, 0.7), silent=True),
        lambda: hole("blackhole"),
        lambda: hole("blackhole_down"),
        freeze,
    ]


def chaos(
    seed: int, name: str, tmp_path: Path, *, idempotent: bool, seconds: float, burst: int
) -> Ledger:
    """What a producer was told in so many seconds of faults, checked against the log."""
    chance = random.Random(seed)
    with tcp_server(tmp_path, binary=require_server(name)) as server, proxied(server.port) as proxy:
        # Silence is noticed soon, and an outage here is short.
        with ss.connect(proxy.url, timeout=3) as streamer:
            producer = streamer.producer(idempotent=idempotent)
            ledger = Ledger(producer)
            done = threading.Event()

            def break_things() -> None:
                things = faults(proxy, server, chance)
                while not done.wait(chance.uniform(0.05, 0.3)):
                    chance.choice(things)()

            breaking = threading.Thread(target=break_things)
            breaking.start()
            try:
                until = time.monotonic() + seconds
                while time.monotonic() < until:
                    ledger.send(chance.randrange(burst), "ticks", "tocks")
                    time.sleep(chance.uniform(0, 0.02))
            finally:
                done.set()
                breaking.join()
                proxy.disarm()
            with suppress(MaybeSent, NotSent):
                producer.end()
        time.sleep(0.8)  # what is late would have come by now
        ledger.check(server.url)
    assert proxy.accepted > 1
    if idempotent:
        assert ledger.outcomes["MaybeSent"] == 0, ledger.errors
    return ledger


@pytest.mark.parametrize(("seed", "idempotent", "name"), LONG if SOAK else SHORT)
def test_chaos(seed: int, idempotent: bool, name: str, tmp_path: Path) -> None:
    ledger = chaos(seed, name, tmp_path, idempotent=idempotent, seconds=SECONDS, burst=400)
    assert ledger.outcomes["sent"]


@pytest.mark.soak
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_many_messages_in_chaos_arrive_once(seed: int, tmp_path: Path) -> None:
    """F40."""
    ledger = chaos(seed, LANES[0], tmp_path, idempotent=True, seconds=12.0, burst=1_500)
    assert ledger.outcomes["sent"] >= 150_000
