"""Where the benchmarks run: a private server on loopback, and what is put on it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count, islice
from pathlib import Path
from tempfile import TemporaryDirectory

import redis

import seastream_nb as ss
from tests.benchmarks.wire import Wire, pack
from tests.servers import TcpServer, plain_client, tcp_server

MESSAGES = 200_000
FIELD = "msg"
FIRST_MS = 1_700_000_000_000


class Place:
    """A server, and connections to it. What one benchmark put there the next one may read."""

    def __init__(self, server: TcpServer) -> None:
        self.port = server.port
        self.url = server.url
        self.streamer = ss.connect(server.url)
        self.wire = Wire(server.port)
        self.client: redis.Redis = plain_client(server.url)

    def fill(self, key: str, payloads: Iterator[bytes], messages: int = MESSAGES) -> str:
        """The key of a stream with these messages, one field each, a millisecond apart."""
        if not self.client.exists(key):
            commands = (
                pack("XADD", key, f"{FIRST_MS + number}-0", FIELD, payload)
                for number, payload in zip(range(messages), payloads, strict=False)
            )
            while batch := list(islice(commands, 1_000)):
                self.wire.send(*batch)
                self.wire.count_replies(len(batch))
        return key

    def remove(self, pattern: str) -> None:
        """Delete the keys that match."""
        if keys := self.client.keys(pattern):
            self.client.delete(*keys)

    def close(self) -> None:
        self.streamer.close()
        self.client.close()
        self.wire.close()


@contextmanager
def private_place() -> Iterator[Place]:
    with TemporaryDirectory() as directory, tcp_server(Path(directory)) as server:
        place = Place(server)
        try:
            yield place
        finally:
            place.close()


def bytes_payloads(size: int = 256) -> Iterator[bytes]:
    """Payloads of one length, each different."""
    return (b"%0*d" % (size, number) for number in count())


def json_payloads(size: int = 223) -> Iterator[bytes]:
    """JSON objects of one length, with five fields of the usual types."""
    symbols = ["ACME", "INIT", "NODE", "WAVE"]
    for number in count():
        order = {
            "number": number,
            "price": 100 + number % 9000 / 7,
            "symbol": symbols[number % len(symbols)],
            "at": f"2026-01-05T09:{number // 60_000 % 60:02}:{number // 1000 % 60:02}",
            "note": "",
        }
        order["note"] = "n" * (size - len(json.dumps(order)))
        yield json.dumps(order).encode()
