"""Pools of links: what is kept, what is lent again, what closing does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from seastream_nb.errors import ConnectError, ServerError
from seastream_nb.redis import pool as pool_module
from seastream_nb.redis.opening import Address
from seastream_nb.redis.pool import MAX_IDLE, LinkPool
from tests.redis.faults import command, greet, pool_against, pool_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from seastream_nb.server import EmbeddedServer

Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter


@pytest.fixture
async def pool(server: EmbeddedServer, url: str) -> AsyncIterator[LinkPool]:
    async with pool_of(Address(shown=url, path=str(server.path))) as opened:
        yield opened


async def test_a_link_is_used_again(pool: LinkPool) -> None:
    link = await pool.take()
    pool.give_back(link)

    assert await pool.take() is link


async def test_links_that_are_lent_are_not_lent_twice(pool: LinkPool) -> None:
    links = await asyncio.gather(*(pool.take() for _ in range(MAX_IDLE + 4)))

    assert len(set(links)) == MAX_IDLE + 4


async def test_only_a_few_idle_links_are_kept(pool: LinkPool) -> None:
    links = await asyncio.gather(*(pool.take() for _ in range(MAX_IDLE + 4)))

    for link in links:
        pool.give_back(link)

    assert sum(link.alive for link in links) == MAX_IDLE


async def test_a_broken_link_is_not_lent_again(pool: LinkPool) -> None:
    link = await pool.take()
    pool.give_back(link)
    link.drop()

    assert await pool.call("ECHO", "x", doing="echo") == b"x"
    assert await pool.take() is not link


async def test_closing_breaks_lent_links_and_lends_no_more(pool: LinkPool) -> None:
    blocked = asyncio.create_task(pool.call("BLPOP", "nothing", 0, doing="waiting for nothing"))
    while not pool._lent:  # noqa: ASYNC110 - nothing announces it
        await asyncio.sleep(0)

    pool.close()

    with pytest.raises(ConnectError, match=r"^the connection to .* is closed$"):
        await blocked
    with pytest.raises(ConnectError, match=r"is closed$"):
        await pool.take()


async def test_a_link_that_was_being_opened_while_the_pool_closed_is_dropped() -> None:
    asked, answer = asyncio.Event(), asyncio.Event()
    left = asyncio.Event()

    async def script(reader: Reader, writer: Writer) -> None:
        await command(reader)
        asked.set()
        await answer.wait()
        writer.write(b"+PONG\r\n")
        assert await reader.read() == b""
        left.set()

    async with pool_against(script) as pool:
        taking = asyncio.create_task(pool.take())
        await asked.wait()
        pool.close()
        answer.set()
        with pytest.raises(ConnectError, match=r"is closed$"):
            await taking
        await asyncio.wait_for(left.wait(), 10)


async def test_any_other_refusal_is_not_repeated(pool: LinkPool) -> None:
    with pytest.raises(ServerError, match=r"^guessing: ERR unknown command"):
        await pool.call("NONSENSE", doing="guessing")


async def test_a_link_that_was_idle_for_long_is_probed_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool_module, "TRUSTED", 0.0)
    monkeypatch.setattr(pool_module, "FIRST_ATTEMPT", 0.2)
    heard: list[list[bytes]] = []

    async def script(reader: Reader, writer: Writer) -> None:
        await greet(reader, writer)
        heard.append(await command(reader))
        if len(heard) == 1:
            await reader.read()  # as if a firewall had forgotten the connection
        writer.write(b"$1\r\nx\r\n")
        await reader.read()

    async with pool_against(script) as pool:
        pool.give_back(await pool.take())
        assert await pool.call("ECHO", "x", doing="echo") == b"x"

    assert heard == [[b"PING"], [b"ECHO", b"x"]]


async def test_a_cancelled_caller_gives_its_link_back(pool: LinkPool) -> None:
    link = await pool.take()
    pool.give_back(link)
    waiting = asyncio.create_task(pool.call("BLPOP", "nothing", "0.2", doing="waiting"))
    while not pool._lent:  # noqa: ASYNC110 - nothing announces it
        await asyncio.sleep(0)

    waiting.cancel()
    await asyncio.wait([waiting])

    assert await pool.take() is link
    assert await link.call("ECHO", "x", timeout=10, doing="echo") == b"x"
