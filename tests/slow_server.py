"""A server with one long stream, seen through a relay that keeps its pages back."""

from __future__ import annotations

import socket
import socketserver
import threading
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING

from seastream_nb.server import EmbeddedServer, embedded
from tests.servers import HOST, plain_client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ENTRIES = 40_000


@contextmanager
def server_with_ticks() -> Iterator[EmbeddedServer]:
    """A private server whose stream `ticks` has an entry `{"n": ms}` at each millisecond."""
    with embedded() as server, closing(plain_client(server.path)) as client:
        with client.pipeline(transaction=False) as pipe:
            for ms in range(1, ENTRIES + 1):
                pipe.xadd("ticks", {"msg": f'{{"n": {ms}}}'}, id=f"{ms}-0")
            pipe.execute()
        yield server


@contextmanager
def relay(path: Path, before_page: Callable[[], object]) -> Iterator[str]:
    """The URL of a relay to a server, which calls `before_page` before it passes an XRANGE on."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.socket(socket.AF_UNIX) as server, suppress(ConnectionError):
                server.connect(str(path))
                back = threading.Thread(target=self.pass_back, args=(server,))
                back.start()
                try:
                    while data := self.request.recv(65536):
                        if b"RANGE" in data:
                            before_page()
                        server.sendall(data)
                finally:
                    server.shutdown(socket.SHUT_RDWR)
                    back.join()

        def pass_back(self, server: socket.socket) -> None:
            with suppress(ConnectionError):
                while data := server.recv(65536):
                    self.request.sendall(data)

    with socketserver.ThreadingTCPServer((HOST, 0), Handler) as listener:
        serving = threading.Thread(target=listener.serve_forever, args=(0.01,))
        serving.start()
        try:
            yield f"redis://{HOST}:{listener.server_address[1]}"
        finally:
            listener.shutdown()
            serving.join()
