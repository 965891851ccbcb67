"""Servers that are away, not ready, or break every link: how long a pool waits, and how often."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest
import redis

from seastream_nb.errors import AuthError, ConnectError
from tests.redis.faults import command, greet, pool_against, pool_of, tcp
from tests.servers import HOST, TcpServer, eventually, raw, tcp_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter


@pytest.fixture
def restartable(tmp_path: Path) -> Iterator[TcpServer]:
    with tcp_server(tmp_path) as running:
        yield running


async def test_the_first_connect_makes_one_attempt() -> None:
    connections = 0

    async def script(reader: Reader, writer: Writer) -> None:
        nonlocal connections
        connections += 1

    async with pool_against(script) as pool:
        with pytest.raises(ConnectError, match="closed by server"):
            await pool.connect()

    assert connections == 1


async def test_an_outage_is_waited_out_with_ever_fewer_attempts(restartable: TcpServer) -> None:
    restartable.kill()

    async with pool_of(tcp(restartable.port), timeout=1.0) as pool:
        with pytest.raises(
            ConnectError, match=r"Connection refused; gave up after (\d+) attempts"
        ) as caught:
            await pool.call("PING", doing="asking")

    assert str(caught.value).startswith("asking: cannot connect to redis://127.0.0.1")
    # Pauses of 20, 40, 80, 160, 320 ms, each up to halved by the jitter.
    attempts = int(str(caught.value).split("after ")[1].split()[0])
    assert 3 <= attempts <= 9


async def test_refused_credentials_are_not_tried_again(tmp_path: Path) -> None:
    with tcp_server(tmp_path, "--requirepass", "right") as server:
        async with pool_of(tcp(server.port, "wrong"), timeout=30.0) as pool:
            for attempt in (pool.connect(), pool.take(), pool.call("PING", doing="asking")):
                with pytest.raises(AuthError):
                    await attempt

        url = f"redis://:right@{HOST}:{server.port}"
        log = raw(url, "ACL", "LOG")
        assert sum(entry[entry.index(b"count") + 1] for entry in log) == 3


async def test_reading_commands_outlive_a_restart_with_the_right_replies(
    restartable: TcpServer,
) -> None:
    async with pool_of(tcp(restartable.port)) as pool:
        stop = asyncio.Event()

        async def ask(name: str) -> int:
            count = 0
            while not stop.is_set() or count < 50:
                token = f"{name}-{count}"
                assert await pool.call("ECHO", token, doing="echo") == token.encode()
                count += 1
            return count

        asking = [asyncio.create_task(ask(f"task{n}")) for n in range(4)]
        await asyncio.to_thread(restartable.kill)
        await asyncio.to_thread(restartable.restart)
        stop.set()
        counts = await asyncio.gather(*asking)

    assert min(counts) >= 50


async def test_a_loading_server_is_waited_for() -> None:
    replies = iter(
        [b"-LOADING Redis is loading\r\n", b"-MASTERDOWN Link is down\r\n", b"$1\r\nx\r\n"]
    )

    async def script(reader: Reader, writer: Writer) -> None:
        await greet(reader, writer)
        while await command(reader) == [b"ECHO", b"x"]:
            writer.write(next(replies))

    async with pool_against(script) as pool:
        assert await pool.call("ECHO", "x", doing="echo") == b"x"


async def test_a_busy_server_is_waited_for(restartable: TcpServer) -> None:
    path = restartable.process.path
    raw(path, "CONFIG", "SET", "lua-time-limit", 1)
    async with pool_of(tcp(restartable.port)) as pool:
        await pool.connect()
        endless = threading.Thread(target=_endless_script, args=(path,))
        endless.start()

        def busy() -> bool:
            try:
                raw(path, "PING")
            except redis.ResponseError as error:
                return "BUSY" in str(error)
            return False

        assert await asyncio.to_thread(eventually, busy)
        asking = asyncio.create_task(pool.call("ECHO", "x", doing="echo"))
        await asyncio.wait([asking], timeout=0.1)
        assert not asking.done()
        await asyncio.to_thread(raw, path, "SCRIPT", "KILL")

        assert await asking == b"x"
        endless.join()


def _endless_script(path: Path) -> None:
    with pytest.raises(redis.ResponseError, match="killed"):
        raw(path, "EVAL", "while true do end", 0)


async def test_a_server_that_stays_busy_is_a_connect_error_with_its_own_words() -> None:
    async def script(reader: Reader, writer: Writer) -> None:
        await greet(reader, writer)
        while await command(reader):
            writer.write(b"-BUSY Redis is busy running a script\r\n")

    async with pool_against(script, timeout=0.3) as pool:
        with pytest.raises(
            ConnectError, match=r"^echo: BUSY Redis is busy .* gave up after 0\.3 s"
        ):
            await pool.call("ECHO", "x", doing="echo")


async def test_a_command_that_always_breaks_the_link_ends_with_the_timeout() -> None:
    connections = 0

    async def script(reader: Reader, writer: Writer) -> None:
        nonlocal connections
        connections += 1
        await greet(reader, writer)
        await command(reader)

    async with pool_against(script, timeout=1.0) as pool:
        with pytest.raises(ConnectError, match=r"^echo: the server closed .* gave up after 1 s"):
            await pool.call("ECHO", "x", doing="echo")

    assert 3 <= connections <= 9


async def test_a_silent_server_costs_the_timeout() -> None:
    async def script(reader: Reader, writer: Writer) -> None:
        await greet(reader, writer)
        await reader.read()

    async with pool_against(script, timeout=0.3) as pool:
        with pytest.raises(ConnectError, match=r"^echo: no answer within 0\.3 s; gave up"):
            await pool.call("ECHO", "x", doing="echo")
