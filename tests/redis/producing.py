"""Idempotent producers for tests, servers that are not ready, and what they got."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import redis

import seastream_nb as ss
from seastream_nb.errors import MaybeSent, NotSent
from tests.servers import TcpServer, plain_client, raw


@contextmanager
def producing(url: str, *, timeout: float = 10, **options: Any) -> Iterator[ss.Producer]:
    """An idempotent producer whose failures the test looks at itself."""
    with ss.connect(url, timeout=timeout) as streamer:
        producer = streamer.producer("ticks", idempotent=True, **options)
        try:
            yield producer
        finally:
            with suppress(NotSent, MaybeSent):
                producer.end()


def entries(server: TcpServer, key: str = "ticks") -> list[tuple[bytes, dict[bytes, bytes]]]:
    with closing(plain_client(server.url)) as client:
        return list(client.xrange(key))


def texts(server: TcpServer, key: str = "ticks") -> list[bytes]:
    return [fields[b"msg"] for _, fields in entries(server, key)]


@contextmanager
def stopped(server: TcpServer) -> Iterator[None]:
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.process.pid, signal.SIGCONT)


def run_endless_script(path: Path) -> None:
    with pytest.raises(redis.ResponseError, match="killed"):
        raw(path, "EVAL", "while true do end", 0)


def is_busy(path: Path) -> bool:
    try:
        raw(path, "PING")
    except redis.ResponseError as error:
        return "BUSY" in str(error)
    return False
