"""Links: every reply reaches the one who asked, whoever gave up, whatever broke."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import random
from contextlib import asynccontextmanager
from signal import SIGCONT, SIGSTOP
from typing import TYPE_CHECKING, Any

import pytest

from seastream_nb.errors import AuthError, ServerError
from seastream_nb.options import ConnectOptions
from seastream_nb.redis.connection import Link, LinkLost, accepted
from seastream_nb.redis.opening import Address
from seastream_nb.redis.resp import Refusal
from seastream_nb.redis.wire import pack
from tests.redis.faults import Script, command, greet, listening
from tests.servers import HOST, eventually, raw

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from seastream_nb.server import EmbeddedServer

SECONDS = 20.0


@asynccontextmanager
async def link_to(address: Address) -> AsyncIterator[Link]:
    link = await Link.open(address, ConnectOptions(), SECONDS)
    try:
        yield link
    finally:
        link.drop()


@pytest.fixture
async def link(server: EmbeddedServer, url: str) -> AsyncIterator[Link]:
    async with link_to(Address(shown=url, path=str(server.path))) as opened:
        yield opened


@asynccontextmanager
async def link_against(script: Script) -> AsyncIterator[Link]:
    """A link to a server that greets, and then does as the script says."""

    async def greeted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer)
        await script(reader, writer)

    async with (
        listening(greeted) as port,
        link_to(Address(shown="redis://test", host=HOST, port=port)) as opened,
    ):
        yield opened


async def echo(link: Link, token: Any) -> bytes:
    reply: bytes = await link.call("ECHO", token, timeout=SECONDS, doing="echo")
    return reply


async def test_concurrent_commands_get_their_own_replies(link: Link) -> None:
    replies = await asyncio.gather(*(echo(link, n) for n in range(1_000)))

    assert replies == [b"%d" % n for n in range(1_000)]


async def test_cancelled_waiters_leave_no_reply_to_another(link: Link) -> None:
    random.seed(7)
    answered = 0
    for burst in range(100):
        tasks = {n: asyncio.create_task(echo(link, f"{burst}-{n}")) for n in range(40)}
        await asyncio.sleep(0)
        for n in random.sample(range(40), 20):
            tasks[n].cancel()
            if random.random() < 0.1:
                await asyncio.sleep(0)
        replies = await asyncio.gather(*tasks.values(), return_exceptions=True)
        for n, reply in zip(tasks, replies, strict=True):
            if not isinstance(reply, asyncio.CancelledError):
                assert reply == f"{burst}-{n}".encode()
                answered += 1

    assert answered >= 2_000
    assert link.alive
    assert await echo(link, "after") == b"after"


async def test_a_reply_of_many_megabytes_arrives_whole(link: Link) -> None:
    value = os.urandom(1 << 20) * 32

    await link.call("SET", "large", value, timeout=SECONDS, doing="setting")
    large, small = await asyncio.gather(
        link.call("GET", "large", timeout=SECONDS, doing="getting"), echo(link, "small")
    )

    assert large == value
    assert small == b"small"


async def test_a_refusal_is_a_value_among_the_replies(link: Link) -> None:
    commands = [["SET", "s", "x"], ["XLEN", "s"], ["NONSENSE"], ["GET", "s"]]

    replies = await link.answer(link.request(map(pack, commands), 4), SECONDS)

    assert [replies[0], replies[3]] == [b"OK", b"x"]
    assert [type(replies[1]), type(replies[2])] == [Refusal, Refusal]
    with pytest.raises(ServerError, match=r"^measuring 's': WRONGTYPE "):
        accepted(replies[1], "measuring 's'")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("NOPERM this user has no permissions", AuthError),
        ("NOAUTH Authentication required.", AuthError),
        ("ERR index is out of range", ServerError),
    ],
)
def test_a_refusal_becomes_the_error_of_its_kind(text: str, kind: type[Exception]) -> None:
    with pytest.raises(kind) as caught:
        accepted(Refusal(text), "reading 'ticks'")

    assert type(caught.value) is kind
    assert str(caught.value) == f"reading 'ticks': {text}"


async def test_a_server_that_stops_answering_costs_the_timeout_and_the_link(
    link: Link, server: EmbeddedServer
) -> None:
    os.kill(server.pid, SIGSTOP)
    try:
        with pytest.raises(LinkLost, match=r"no answer within 0\.1 s"):
            await link.call("PING", timeout=0.1, doing="waiting")
    finally:
        os.kill(server.pid, SIGCONT)

    assert not link.alive


@pytest.mark.parametrize(
    "junk",
    [
        b"?what\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b":nope\r\n",
        b"*99999999\r\n",
        b"$3\r\nabcde",
        b"*1\r\n" * 100_000,
        b"|1\r\n+a\r\n+b\r\n+OK\r\n",
    ],
    ids=lambda junk: repr(junk[:12]),
)
async def test_what_is_no_reply_costs_the_link(junk: bytes) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await command(reader)
        writer.write(junk)
        await reader.read()

    async with link_against(script) as link:
        with pytest.raises(LinkLost, match="the server broke the protocol"):
            await echo(link, "x")
        assert not link.alive


async def test_a_reply_that_nobody_asked_for_costs_the_link() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await command(reader)
        writer.write(b"$1\r\nx\r\n-ERR one more\r\n")
        await reader.read()

    async with link_against(script) as link:
        assert await echo(link, "x") == b"x"
        with pytest.raises(LinkLost, match="said unasked: ERR one more"):
            await echo(link, "y")


async def test_a_server_that_closes_tells_which_commands_it_answered() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(3):
            await command(reader)
        writer.write(b":1\r\n:2\r\n$10\r\nhal")

    async with link_against(script) as link:
        with pytest.raises(LinkLost) as caught:
            await link.answer(link.request([pack(["PING"])] * 3, 3), SECONDS)

    assert caught.value.replies == [1, 2]


async def test_a_broken_link_refuses_at_once_and_complains_of_nothing(
    link: Link, caplog: pytest.LogCaptureFixture
) -> None:
    waiting = link.request([pack(["BLPOP", "nothing", "0"])], 1)
    link.drop("enough")

    with pytest.raises(LinkLost, match="enough"):
        await waiting
    link.request([pack(["PING"])], 1)  # nobody asks how it ended
    await link.drained()
    with caplog.at_level(logging.DEBUG), pytest.raises(LinkLost, match="enough"):
        await echo(link, "x")
    gc.collect()
    await asyncio.sleep(0)

    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_dropped_link_is_closed_at_the_server_too(link: Link, url: str) -> None:
    number = await link.call("CLIENT", "ID", timeout=SECONDS, doing="asking")

    link.drop()

    def gone() -> bool:
        return b"id=%d " % number not in raw(url, "CLIENT", "LIST")

    assert await asyncio.to_thread(eventually, gone)
