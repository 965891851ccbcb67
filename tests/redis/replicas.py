"""A primary and a replica of it, on real servers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers import TcpServer, eventually, plain_client, raw, tcp_server

QUICK = ("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1")


@contextmanager
def replicated(folder: Path) -> Iterator[tuple[TcpServer, TcpServer]]:
    """A primary, and a replica that has caught up with it."""
    for name in ("one", "other"):
        (folder / name).mkdir()
    with (
        tcp_server(folder / "one", *QUICK) as primary,
        tcp_server(folder / "other", *QUICK) as replica,
    ):
        follow(replica, primary)
        yield primary, replica


def follow(server: TcpServer, primary: TcpServer) -> None:
    """Make a server a replica, and wait until it is in step."""
    raw(server.process.path, "REPLICAOF", "127.0.0.1", primary.port)

    def synced() -> bool:
        with plain_client(server.process.path) as client:
            return bool(client.info("replication").get("master_link_status") == "up")

    assert eventually(synced)


def in_sync(primary: TcpServer, replica: TcpServer) -> bool:
    """Wait until the replica has all that the primary has."""

    def offset(server: TcpServer, name: str) -> int:
        with plain_client(server.process.path) as client:
            return int(client.info("replication")[name])

    return eventually(
        lambda: offset(primary, "master_repl_offset") == offset(replica, "slave_repl_offset")
    )
