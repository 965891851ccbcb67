"""Replies that are no replies, to a group consumer (F39; `test_resp` has each shape by itself)."""

from __future__ import annotations

import asyncio
import random
import tracemalloc
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

import seastream_nb as ss
from seastream_nb.redis.resp import ProtocolError, ReplyKind
from tests.facades import PATIENCE
from tests.redis.consuming import numbers, send
from tests.redis.faults import command, listening
from tests.redis.groups import pending
from tests.redis.test_conformance_interop import MODES, in_group
from tests.redis.test_resp import MALFORMED, read, wire
from tests.servers import HOST

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter

    import redis

    from seastream_nb.server import EmbeddedServer

pytestmark = pytest.mark.usefixtures("no_complaints")


class Garbler:
    """Passes commands on to a server; so many reads are executed, but answered with junk.

    Attributes:
        junk: what is answered instead, each piece once, and then the link is closed.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self.junk: list[bytes] = []

    async def __call__(self, reader: StreamReader, writer: StreamWriter) -> None:
        behind, onward = await asyncio.open_unix_connection(self._path)
        back = asyncio.create_task(self._answer(behind, writer))
        try:
            while True:
                words = await command(reader)
                if self.junk and words[0] == b"XREADGROUP":
                    back.cancel()
                    await asyncio.wait([back])
                    onward.write(wire(words))
                    await behind.read(1 << 16)
                    writer.write(self.junk.pop())
                    await writer.drain()
                    return
                onward.write(wire(words))
        except ValueError:
            return  # the client has gone
        finally:
            back.cancel()
            onward.close()

    async def _answer(self, behind: StreamReader, writer: StreamWriter) -> None:
        while data := await behind.read(1 << 16):
            writer.write(data)


@pytest.mark.parametrize("mode", MODES)
async def test_junk_instead_of_messages_costs_the_link_and_no_message(
    server: EmbeddedServer, client: redis.Redis, mode: str
) -> None:
    count = len(MALFORMED)
    send(client, "s", *range(count))
    garbler = Garbler(str(server.path))
    async with listening(garbler) as port, ss.connect_async(f"redis://{HOST}:{port}") as streamer:
        consumer = await streamer.consumer("s", **in_group(mode, batch_size=1))
        got: list[ss.Message] = []
        for junk in MALFORMED.values():
            garbler.junk = [junk]
            got.append(await consumer.next(PATIENCE))
            assert garbler.junk == []
        assert numbers(got) == list(range(count))
        for message in got:
            consumer.ack(message)
        await consumer.commit()
        assert pending(client) == 0


async def test_a_server_that_only_talks_junk_is_one_error_of_ours(
    server: EmbeddedServer, client: redis.Redis
) -> None:
    send(client, "s", 0)
    garbler = Garbler(str(server.path))
    async with (
        listening(garbler) as port,
        ss.connect_async(f"redis://{HOST}:{port}", timeout=0.5) as streamer,
    ):
        consumer = await streamer.consumer("s", **in_group("resumable"))
        garbler.junk = [b"HTTP/1.1 200 OK\r\n"] * 10_000
        with pytest.raises(ss.ConnectError, match="'s'"):
            await consumer.next(PATIENCE)
        garbler.junk = []
        assert numbers([await consumer.next(PATIENCE)]) == [0]


ENTRIES = [[b"1700000000000-%d" % n, [b"msg", b"x" * n, b"other", b""]] for n in range(8)]
REPLIES = {
    ReplyKind.STREAMS: wire([[b"s", ENTRIES], [b"s:1", ENTRIES[:2]]]),
    ReplyKind.PLAIN: wire([b"0-0", [*ENTRIES, None, [b"5-0", None]], [b"7-0"]]),
}


@pytest.mark.parametrize("count", [2_000, pytest.param(20_000, marks=pytest.mark.soak)])
@pytest.mark.parametrize("kind", REPLIES)
def test_a_mutated_reply_is_a_value_or_one_error_in_little_memory(
    kind: ReplyKind, count: int
) -> None:
    chance = random.Random(count)
    tracemalloc.start()
    try:
        for _ in range(count):
            data = bytearray(REPLIES[kind])
            for _ in range(chance.randrange(1, 4)):
                at = chance.randrange(len(data))
                match chance.randrange(3):
                    case 0:
                        data[at] = chance.randrange(256)
                    case 1:
                        del data[at : at + chance.randrange(1, 20)]
                    case _:
                        data[at:at] = chance.choice([b"9", b"-", b"\r\n", b"*3\r\n", b"$-1\r\n"])
            with suppress(ProtocolError):
                read([bytes(data)], [kind])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 * 2**20
