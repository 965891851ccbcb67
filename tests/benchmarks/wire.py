"""The references: the same work on a blocking socket, with nothing around it.

They are as fast as Python can make them, and do as little as is still the same work.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from typing import Any

import hiredis

RECEIVE_BYTES = 1 << 20


class Wire:
    """One blocking TCP connection to a server on this machine."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._view = memoryview(bytearray(RECEIVE_BYTES))
        self._reader = hiredis.Reader()
        # Below zero when replies came that nobody has counted yet.
        self._lines_due = 0

    def send(self, *commands: bytes) -> None:
        self._socket.sendall(b"".join(commands))

    def reply(self) -> Any:
        """The next reply, as hiredis makes it."""
        while (reply := self._reader.gets()) is False:
            self._reader.feed(self._view, 0, self._socket.recv_into(self._view))
        return reply

    def discard(self, size: int) -> None:
        """Read so many bytes, and do not look at them."""
        while size:
            size -= self._socket.recv_into(self._view, min(size, len(self._view)))

    def count_replies(self, replies: int) -> None:
        """Read the replies of so many XADDs, two lines each, and do not parse them."""
        self._lines_due += 2 * replies
        while self._lines_due > 0:
            self._lines_due -= self._socket.recv(RECEIVE_BYTES).count(b"\n")

    def close(self) -> None:
        self._socket.close()

    def sizes(self, commands: Sequence[bytes]) -> list[int]:
        """How many bytes the server answers to each of these commands."""
        sizes = []
        for command in commands:
            self.send(command)
            size, self._reader = 0, hiredis.Reader()
            while self._reader.gets() is False:
                received = self._socket.recv_into(self._view)
                self._reader.feed(self._view, 0, received)
                size += received
            sizes.append(size)
        return sizes

    def drain(self, commands: Sequence[bytes], sizes: Sequence[int]) -> None:
        """Read the replies, each asked for while the one before it is read."""
        asked = iter(commands)
        self.send(next(asked))
        for size in sizes:
            self.send(next(asked, b""))
            self.discard(size)

    def add_all(self, chunks: Sequence[bytes], each: int) -> None:
        """Send packed XADDs in chunks of so many, with two chunks in flight."""
        for index, chunk in enumerate(chunks):
            self._socket.sendall(chunk)
            self.count_replies(each if index else 0)
        self.count_replies(each)

    def entries(self, key: str, after: str | bytes, count: int) -> Iterator[Any]:
        """Entries from XREAD in a loop, without end."""
        while True:
            command = ("XREAD", "COUNT", count, "BLOCK", 1000, "STREAMS", key, after)
            self.send(pack(*command))
            for _, entries in self.reply() or ():
                yield from entries
                after = entries[-1][0]

    def group_entries(self, key: str, group: str, count: int) -> Iterator[Any]:
        """New entries of a group from XREADGROUP in a loop, without end."""
        while True:
            command = ("XREADGROUP", "GROUP", group, "plain", "COUNT", count, "BLOCK", 1000)
            self.send(pack(*command, "STREAMS", key, ">"))
            for _, entries in self.reply() or ():
                yield from entries


def pack(*command: bytes | str | int) -> bytes:
    """A command as the server reads it."""
    parts = [each if isinstance(each, bytes) else str(each).encode() for each in command]
    body = b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)
    return b"*%d\r\n%b" % (len(parts), body)
