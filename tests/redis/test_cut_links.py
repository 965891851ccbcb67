"""Every call over a link that is cut, after any number of bytes: right, or a `StreamError`.

`LinkLost` is between the modules of the core; a user never sees it.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

import seastream_nb as ss
from tests.redis.faults import CuttingProxy, listening
from tests.servers import HOST

if TYPE_CHECKING:
    from seastream_nb.server import EmbeddedServer

Call = Callable[[ss.AsyncStreamer], Awaitable[Any]]
POINTS = 25


async def catalog(streamer: ss.AsyncStreamer) -> Any:
    infos = await streamer.catalog()
    return [(info.key, info.length, info.shards) for info in infos.values()]


async def table(streamer: ss.AsyncStreamer) -> Any:
    return (await streamer["ticks"].json().to_arrow()).replace_schema_metadata()


async def backwards(streamer: ss.AsyncStreamer) -> Any:
    return (await streamer["ticks"].last(3).to_arrow()).replace_schema_metadata()


async def batches(streamer: ss.AsyncStreamer) -> Any:
    pages = [page async for page in streamer["ticks"].json().pages(3)]
    return pa.Table.from_batches(pages).replace_schema_metadata()


async def messages(streamer: ss.AsyncStreamer) -> Any:
    return [message.id async for message in streamer["ticks"]]


async def rate(streamer: ss.AsyncStreamer) -> Any:
    frame = await streamer["ticks"].rate("1s", exact=False)
    return frame.to_dict()


async def consumer(streamer: ss.AsyncStreamer) -> Any:
    async with await streamer.consumer("ticks", auto_stream_reset="earliest") as reading:
        ids = [message.id for message in await reading.take(10, 30)]
        await reading.rewind("beginning")
        again = [message.id for message in await reading.take(10, 30)]
        await reading.seek("latest")
        return ids, again


async def groups(streamer: ss.AsyncStreamer) -> Any:
    return (await streamer["ticks"].groups())[["shard", "name", "pending", "lag"]].to_dict()


async def pending(streamer: ss.AsyncStreamer) -> Any:
    return (await streamer["ticks"].pending("g"))[["shard", "id", "payload"]].to_dict()


READING: dict[str, Call] = {
    "groups": groups,
    "pending": pending,
    "catalog": catalog,
    "to_arrow": table,
    "last": backwards,
    "pages": batches,
    "messages": messages,
    "count": lambda streamer: streamer["ticks"].count(),
    "info": lambda streamer: streamer["ticks"].info(),
    "schema": lambda streamer: streamer["ticks"].json().schema(),
    "get": lambda streamer: streamer["ticks"].get("1700000000003-0"),
    "rate": rate,
    "consumer": consumer,
}


REPAIRS: dict[str, Call] = {
    "xautoclaim": lambda streamer: streamer.claim("ticks", "g", consumer="b", min_idle=0),
    "xack": lambda streamer: streamer.ack("ticks", "g", "1700000000001-0"),
    "xtrim": lambda streamer: streamer.trim("ticks", max_len=1),
    "xgroup|destroy": lambda streamer: streamer.delete_group("ticks", "g", pending="drop"),
    "xgroup|delconsumer": lambda streamer: streamer.delete_consumer(
        "ticks", "g", "a", pending="drop"
    ),
}


@pytest.fixture
def ticks(client: Any) -> None:
    refill(client)


def refill(client: Any) -> None:
    """Ten entries in two shards, and a group that was given four and has four to get."""
    client.flushall()
    for n in range(10):
        client.xadd(
            f"ticks:{n % 2}", {"msg": json.dumps({"n": n})}, id=f"{1_700_000_000_000 + n}-0"
        )
    for shard in ("ticks:0", "ticks:1"):
        client.xgroup_create(shard, "g", "0")
        client.xreadgroup("g", "a", {shard: ">"}, count=2)


@pytest.mark.parametrize("name", READING)
@pytest.mark.usefixtures("ticks")
async def test_reading_gives_the_right_answer_wherever_the_link_is_cut(
    name: str, server: EmbeddedServer
) -> None:
    call = READING[name]
    proxy = CuttingProxy(str(server.path))
    async with listening(proxy) as port:
        async with ss.connect_async(f"redis://{HOST}:{port}") as streamer:
            expected = await call(streamer)
        whole = proxy.replied

        for cut in range(0, whole, max(1, whole // POINTS)):
            async with ss.connect_async(f"redis://{HOST}:{port}") as streamer:
                proxy.cut_after = cut
                assert await call(streamer) == expected, f"cut after {cut} of {whole} bytes"


@pytest.mark.parametrize("name", REPAIRS)
async def test_a_repair_is_sent_once_wherever_the_link_is_cut(
    name: str, server: EmbeddedServer, client: Any
) -> None:
    proxy = CuttingProxy(str(server.path))
    refill(client)
    async with listening(proxy) as port:
        async with ss.connect_async(f"redis://{HOST}:{port}") as streamer:
            expected = await REPAIRS[name](streamer)
        whole, endings = proxy.replied, []
        for cut in [*range(0, whole, max(1, whole // POINTS)), *range(whole - 40, whole)]:
            refill(client)
            client.config_resetstat()
            proxy.cut_after = None
            async with ss.connect_async(f"redis://{HOST}:{port}") as streamer:
                proxy.cut_after = cut
                try:
                    assert await REPAIRS[name](streamer) == expected
                    endings.append("done")
                except ss.ConnectError as error:
                    endings.append(str(error).rpartition("; ")[2])
            # Once for each of the two shards; nothing had to be trimmed a second time.
            assert client.info("commandstats")[f"cmdstat_{name}"]["calls"] <= 2
    assert set(endings) == {"done", "it may have been done, and was not tried again"}


async def test_sending_ends_each_message_once_wherever_the_link_is_cut(
    server: EmbeddedServer, client: Any
) -> None:
    proxy = CuttingProxy(str(server.path))
    endings: set[str] = set()
    async with listening(proxy) as port:
        # The answers of creating a producer are about 6,000 bytes, that to a message about 25.
        for cut in [*range(0, 6_000, 500), *range(6_000, 8_000, 50)]:
            client.flushall()
            async with ss.connect_async(f"redis://{HOST}:{port}") as streamer:
                proxy.cut_after = cut
                producer = await streamer.producer("sent")
                pending = [producer.send(str(n)) for n in range(50)]
                kept = set()
                for n, receipt in enumerate(pending):
                    try:
                        await receipt
                        kept.add(b"%d" % n)
                    except (ss.MaybeSent, ss.NotSent) as error:
                        endings.add(type(error).__name__)
                await producer.end()
            stored = [body[b"msg"] for _, body in client.xrange("sent")]
            assert kept <= set(stored)
            assert len(set(stored)) == len(stored)

    assert "MaybeSent" in endings


@pytest.mark.usefixtures("ticks")
async def test_connections_killed_by_the_server_at_any_time(url: str, client: Any) -> None:
    async with ss.connect_async(url) as streamer:
        for _ in range(30):
            client.client_kill_filter(_type="normal", skipme=True)
            assert await streamer["ticks"].count() == 10
            client.client_kill_filter(_type="normal", skipme=True)
            assert len(await streamer.catalog()) == 1


@pytest.mark.usefixtures("ticks")
async def test_reading_from_a_server_that_went_away_is_a_connect_error(
    server: EmbeddedServer,
) -> None:
    proxy = CuttingProxy(str(server.path))
    for call in READING.values():
        async with listening(proxy) as port:
            streamer = await ss.connect_async(f"redis://{HOST}:{port}", timeout=0.2)
        with pytest.raises(ss.ConnectError) as caught:
            await call(streamer)
        assert f"redis://{HOST}:{port}" in str(caught.value)
        await streamer.close()


async def test_following_gives_each_message_once_wherever_the_link_is_cut(
    server: EmbeddedServer, client: Any
) -> None:
    proxy = CuttingProxy(str(server.path))
    async with listening(proxy) as port:
        # To look at the streams, then to read them, takes about 2,000 bytes.
        for cut in range(0, 2_000, 80):
            async with ss.connect_async(f"redis://{HOST}:{port}") as streamer:
                stream = streamer[f"s{cut}"].select("id").first(8)
                client.xadd(f"s{cut}:0", {"msg": "past"}, id="1-0")
                async with aclosing(stream.follow(max_wait=0)) as batches:
                    ids = (await anext(batches))["id"].to_pylist()
                    proxy.cut_after = cut
                    for n in range(2, 9):
                        client.xadd(f"s{cut}:{n % 2}", {"msg": "x" * 10}, id=f"{n}-0")
                    async for batch in batches:
                        ids += batch["id"].to_pylist()
            assert sorted(ids) == [f"{n}-0" for n in range(1, 9)], f"cut after {cut} bytes"
