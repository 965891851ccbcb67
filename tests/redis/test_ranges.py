"""Reading a shard's range by pages: nothing twice, nothing lost unnoticed, whatever happens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from seastream_nb.keys import EntryId
from seastream_nb.query import ShardRange
from seastream_nb.redis.streamer import RedisStreamer
from seastream_nb.streamer import open_streamer
from tests.servers import plain_client, tcp_server

ENTRIES = 20_000


def fill(client: Any, count: int = ENTRIES, payload: bytes = b"x") -> None:
    pipeline = client.pipeline(transaction=False)
    for number in range(1, count + 1):
        pipeline.xadd("s", {"msg": payload}, id=f"{number}-0")
    pipeline.execute()


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[RedisStreamer]:
    core = await open_streamer(url, {})
    try:
        yield core
    finally:
        await core.close()


async def whole(core: RedisStreamer) -> ShardRange:
    (extent,) = (await core.pin([b"s"])).extents
    assert extent.end is not None
    return ShardRange(extent=extent, start=EntryId(0, 0), end=extent.end)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("limit", [None, 1, 7, 999, 1000, 1001, 5000, ENTRIES])
async def test_every_entry_comes_once_in_order(
    url: str, client: Any, limit: int | None, reverse: bool
) -> None:
    fill(client)
    async with opened(url) as core:
        reader = core.read(await whole(core), limit=limit, reverse=reverse)
        pages = [page async for page in reader]
    times = [time for page in (pages[::-1] if reverse else pages) for time in page.ms.tolist()]
    assert times == list(range(1, ENTRIES + 1))
    assert reader.complete


async def test_a_trim_beyond_the_last_read_entry_is_noticed(url: str, client: Any) -> None:
    fill(client)
    async with opened(url) as core:
        reader = core.read(await whole(core))
        async with aclosing(aiter(reader)) as pages:
            seen = (await anext(pages)).ms.tolist()
            client.xtrim("s", minid="19500", approximate=False)
            async for page in pages:
                seen += page.ms.tolist()
    assert len(seen) < ENTRIES
    assert seen == sorted(set(seen))
    assert not reader.complete


async def test_a_trim_of_what_was_read_is_no_loss(url: str, client: Any) -> None:
    fill(client)
    async with opened(url) as core:
        reader = core.read(await whole(core))
        async with aclosing(aiter(reader)) as pages:
            count = len(await anext(pages))
            client.xtrim("s", minid="900", approximate=False)
            async for page in pages:
                count += len(page)
    assert count == ENTRIES
    assert reader.complete


async def test_deleting_the_entry_that_a_page_ended_with_is_no_loss(url: str, client: Any) -> None:
    fill(client)
    async with opened(url) as core:
        reader = core.read(await whole(core))
        async with aclosing(aiter(reader)) as pages:
            await anext(pages)
            edges = [page.ms[-1] async for page in pages]
        client.xdel("s", *(f"{edge}-0" for edge in edges))
        again = core.read(await whole(core))
        count = sum([len(page) async for page in again])
    assert count == ENTRIES - len(edges)
    assert again.complete


async def test_a_link_that_breaks_between_pages_loses_and_repeats_nothing(
    url: str, client: Any
) -> None:
    fill(client)
    async with opened(url) as core:
        seen: list[int] = []
        async for page in core.read(await whole(core)):
            seen += page.ms.tolist()
            client.client_kill_filter(_type="normal", skipme=True)
    assert seen == list(range(1, ENTRIES + 1))


async def test_a_reply_over_the_servers_output_limit_is_asked_for_in_smaller_pages(
    tmp_path: Any,
) -> None:
    limits = ("--client-output-buffer-limit", "normal 4mb 0 0")
    with tcp_server(tmp_path, *limits) as server:
        client = plain_client(server.url)
        fill(client, 100, b"x")
        for number in range(101, 141):
            client.xadd("s", {"msg": b"x" * 500_000}, id=f"{number}-0")
        client.close()
        async with opened(server.url) as core:
            count = sum([len(page) async for page in core.read(await whole(core))])
    assert count == 140


async def test_short_reads_ask_for_few_entries(url: str, client: Any) -> None:
    fill(client, 5000, b"x" * 1000)
    client.config_resetstat()
    async with opened(url) as core:
        pages = aiter(core.read(await whole(core), limit=5))
        assert len(await anext(pages)) == 5
        await pages.aclose()
    sent = client.info("stats")["total_net_output_bytes"]
    assert sent < 100_000


@pytest.mark.parametrize("reverse", [False, True])
async def test_nothing_is_asked_for_beyond_what_will_be_enough(
    url: str, client: Any, reverse: bool
) -> None:
    fill(client, 5000, b"x" * 1000)
    async with opened(url) as core:
        shard = await whole(core)
        client.config_resetstat()
        async with aclosing(aiter(core.read(shard, limit=100, reverse=reverse))) as pages:
            assert len(await anext(pages)) == 100
    commands = client.info("commandstats")
    assert commands[f"cmdstat_{'xrevrange' if reverse else 'xrange'}"]["calls"] == 1
    assert client.info("stats")["total_net_output_bytes"] < 130_000
