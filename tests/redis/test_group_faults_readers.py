"""Readers that are interrupted, cancelled, killed, forked, or in the wrong loop.

F24-F26, F37, F39 and F41 of the scorecard; the oracles are those of `test_group_faults_links`.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from statistics import median
from typing import TYPE_CHECKING, Any

import pytest

import seastream_nb as ss
from tests.facades import PATIENCE
from tests.redis.consuming import numbers, send
from tests.redis.crew import crew, judge
from tests.redis.groups import owners, pending
from tests.redis.test_conformance_interop import MODES, in_group
from tests.servers import TcpServer, eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis

    from tests.redis.proxy import Proxy

pytestmark = pytest.mark.usefixtures("no_complaints")


# Death


HOLDER = """
import sys
import seastream_nb as ss
with ss.connect(sys.argv[1]) as streamer:
    consumer = streamer.consumer(
        "s", mode="load_balanced", group="g", consumer_id="victim", auto_commit="disabled",
        auto_stream_reset="earliest", batch_size=500, auto_claim_idle=1, auto_claim_interval=1,
    )
    print(len(consumer.take(500, 20)), flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_process_held_is_delivered_to_another_soon(
    url: str, client: redis.Redis, streamer: ss.Streamer
) -> None:
    """F24: 500 pending entries, SIGKILL; reclaimed within the idle time and a second."""
    send(client, "s", *range(500))
    how = in_group(auto_claim_idle=1, auto_claim_interval=0.2, batch_size=100)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as victim:
        assert victim.stdout is not None
        assert victim.stdout.readline() == "500\n"
        assert set(owners(client).values()) == {"victim"}
        consumer = streamer.consumer("s", **how)
        assert consumer.take(1, 1.3) == []  # it is alive and renews its lease
        victim.kill()
    killed = time.monotonic()
    got = consumer.take(500, PATIENCE)
    taken = time.monotonic() - killed
    assert numbers(got) == list(range(500))
    assert taken < 1 + 1 + 1  # the idle time, the promise, and one for a busy machine
    for message in got:
        consumer.ack(message)
    consumer.commit()
    assert pending(client) == 0


# Interrupts


@pytest.mark.parametrize("auto_commit", ["delayed", "disabled"])
def test_reads_that_are_interrupted_again_and_again_strand_nothing(
    client: redis.Redis,
    streamer: ss.Streamer,
    alarm: Callable[[float], None],
    auto_commit: str,
) -> None:
    """F25: each interrupt races with a message; none is lost, none waits in the pending list."""
    how = in_group("resumable", auto_commit=auto_commit, mkstream=True, batch_size=3)
    consumer = streamer.consumer("s", **how)
    chance = random.Random(25)
    got: list[ss.Message] = []
    returned: list[float] = []
    for turn in range(70):
        after = chance.uniform(0.001, 0.01)
        sender = threading.Timer(after, send, (client, "s", turn))
        sender.start()
        started = time.monotonic()
        try:
            alarm(after)
            got.append(consumer.next(PATIENCE))
            alarm(0)
        except KeyboardInterrupt:
            returned.append(time.monotonic() - started - after)
        sender.join()
    got += consumer.take(70 - len(got), PATIENCE)
    assert numbers(got) == list(range(70))
    assert returned
    assert max(returned) < 0.2
    if auto_commit == "disabled":
        for message in got:
            consumer.ack(message)
    consumer.end()
    assert pending(client) == 0


async def test_reads_that_are_cancelled_again_and_again_strand_nothing(
    url: str, client: redis.Redis
) -> None:
    """F25."""
    async with ss.connect_async(url) as streamer:
        how = in_group("load_balanced", mkstream=True, batch_size=3)
        consumer = await streamer.consumer("s", **how)
        chance = random.Random(26)
        got: list[ss.Message] = []
        returned: list[float] = []
        for turn in range(70):
            waiting = asyncio.create_task(consumer.next())
            await asyncio.sleep(chance.uniform(0, 0.004))
            send(client, "s", turn)
            started = time.monotonic()
            waiting.cancel()
            try:
                got.append(await waiting)
            except asyncio.CancelledError:
                returned.append(time.monotonic() - started)
        got += await consumer.take(70 - len(got), PATIENCE)
        assert numbers(got) == list(range(70))
        assert returned
        assert max(returned) < 0.2
        for message in got:
            consumer.ack(message)
        await consumer.commit()
    assert pending(client) == 0


@pytest.mark.parametrize("auto_commit", ["delayed", "disabled"])
def test_seeks_in_the_middle_of_reads_strand_nothing(
    client: redis.Redis, streamer: ss.Streamer, auto_commit: str
) -> None:
    """F25: whatever a seek cut off comes when the group is resumed."""
    ids = send(client, "s", *range(60))
    how = in_group("load_balanced", auto_commit=auto_commit, auto_commit_delay=0, batch_size=4)
    consumer = streamer.consumer("s", **how)
    own: list[ss.Message] = []
    taken: list[float] = []
    while len(own) < 60:
        fresh = consumer.take(min(3, 60 - len(own)), PATIENCE)
        own += fresh
        if auto_commit == "disabled":
            for message in fresh:
                consumer.ack(message)
        started = time.monotonic()
        consumer.seek(ids[30])
        taken.append(time.monotonic() - started)
        assert numbers([consumer.next(PATIENCE)]) == [31]
        consumer.resume_group()
    assert sorted(numbers(own)) == list(range(60))
    assert median(taken) < 0.2
    consumer.end()
    assert pending(client) == 0


@pytest.mark.parametrize("operations", [300, pytest.param(2_000, marks=pytest.mark.soak)])
async def test_calls_that_are_cancelled_at_random_never_get_anothers_answer(
    url: str, client: redis.Redis, operations: int
) -> None:
    """F26: two consumers, a producer and queries; every answer belongs to its question."""
    chance = random.Random(operations)
    async with ss.connect_async(url) as streamer:
        producer = await streamer.producer("s")
        how = in_group("resumable", mkstream=True, auto_commit="delayed", auto_commit_delay=0)
        grouped = await streamer.consumer("s", **how)
        live = await streamer.consumer("s", auto_stream_reset="earliest")
        seen: dict[str, list[int]] = {"grouped": [], "live": []}
        for n in range(5):
            send(client, f"key{n}", *[n] * (n + 1))

        async def send_one(n: int) -> None:
            assert (await producer.send(str(n))).stream == "s"

        async def take(name: str, consumer: ss.AsyncConsumer) -> None:
            seen[name] += numbers(await consumer.take(3, 0.003))

        async def ask(n: int) -> None:
            assert await streamer[f"key{n}"].count() == n + 1
            assert [int(m.payload) async for m in streamer[f"key{n}"].messages()] == [n] * (n + 1)

        for group in range(operations // 4):
            calls: list[Any] = [
                send_one(group),
                take("grouped", grouped),
                take("live", live),
                ask(chance.randrange(5)),
            ]
            tasks = [asyncio.create_task(each) for each in calls]
            await asyncio.sleep(chance.uniform(0, 0.004))
            for task in chance.sample(tasks, 2):
                task.cancel()
            for task in tasks:
                with suppress(asyncio.CancelledError):
                    await task
        await producer.flush()
        total = client.xlen("s")
        for name, consumer in (("grouped", grouped), ("live", live)):
            while len(seen[name]) < total:
                more = await consumer.take(total - len(seen[name]), 2.0)
                assert more, f"{name}: {total - len(seen[name])} messages are missing"
                seen[name] += numbers(more)
            assert seen[name] == [int(fields[b"msg"]) for _, fields in client.xrange("s")]
        await grouped.end()
    assert eventually(lambda: pending(client) == 0)


# Processes, loops, threads


def test_a_forked_child_is_told_and_leaves_the_consumer_to_its_parent(
    url: str, client: redis.Redis
) -> None:
    """F37."""
    program = f"""
import os, sys, warnings
import seastream_nb as ss
streamer = ss.connect({url!r})
consumer = streamer.consumer("s", mode="resumable", group="g", mkstream=True)
warnings.simplefilter("ignore", DeprecationWarning)
child = os.fork()
if child == 0:
    try:
        consumer.next(5)
    except ss.ConsumerClosed:
        with ss.connect({url!r}) as other:
            other.producer("s").send("from the child").result(10)
        os._exit(0)
    os._exit(1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
print(consumer.next(10).text())
streamer.close()
"""
    said = subprocess.check_output([sys.executable, "-c", program], text=True, timeout=60)
    assert said == "from the child\n"
    assert client.xpending("s", "g")["pending"] == 0


def test_one_consumer_may_be_used_from_one_loop_after_another(
    url: str, client: redis.Redis
) -> None:
    """F37: a consumer belongs to no event loop of the user's."""
    send(client, "s", 0, 1)
    how = in_group("resumable")

    async def create() -> tuple[ss.AsyncStreamer, ss.AsyncConsumer]:
        streamer = await ss.connect_async(url)
        return streamer, await streamer.consumer("s", **how)

    async def one(consumer: ss.AsyncConsumer) -> int:
        message = await consumer.next(PATIENCE)
        consumer.ack(message)
        await consumer.commit()
        return int(message.payload)

    streamer, consumer = asyncio.run(create())
    assert [asyncio.run(one(consumer)), asyncio.run(one(consumer))] == [0, 1]
    asyncio.run(streamer.close())
    assert pending(client) == 0


def test_eight_threads_with_a_consumer_each_share_one_streamer(
    url: str, client: redis.Redis, streamer: ss.Streamer
) -> None:
    """F37."""
    send(client, "s", *range(400))
    got: list[int] = []

    def read(name: str) -> None:
        with streamer.consumer("s", **in_group(name=name, auto_commit="delayed")) as consumer:
            while messages := consumer.take(10, 0.3):
                got.extend(numbers(messages))

    threads = [threading.Thread(target=read, args=(f"c{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(got) == list(range(400))
    assert pending(client) == 0


# Chaos


def faults(proxy: Proxy, server: TcpServer, chance: random.Random) -> list[Callable[[], None]]:
    """What may go wrong between and at a server; each heals itself."""

    def blackhole(mode: Any) -> None:
        proxy.mode = mode
        time.sleep(chance.uniform(0.1, 1.3))
        proxy.mode = "pass"

    def freeze() -> None:
        os.kill(server.process.pid, signal.SIGSTOP)
        time.sleep(chance.uniform(0.1, 1.0))
        os.kill(server.process.pid, signal.SIGCONT)

    return [
        proxy.rst,
        proxy.fin,
        proxy.lose_reply,
        freeze,
        lambda: blackhole("blackhole"),
        lambda: blackhole("blackhole_down"),
        lambda: proxy.cut_reply(chance.randrange(1, 400)),
        lambda: proxy.cut_request(chance.randrange(1, 3_000)),
        lambda: proxy.deliver_late(chance.uniform(0.2, 2.0)),
    ]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("seed", "seconds"),
    [(1, 2.0), *[pytest.param(seed, 8.0, marks=pytest.mark.soak) for seed in (2, 3, 4)]],
)
def test_chaos_loses_nothing_and_leaves_nothing_pending(
    proxy: Proxy, matrix_tcp: TcpServer, mode: str, seed: int, seconds: float
) -> None:
    """F41."""
    chance = random.Random(seed)
    with crew(proxy.url, matrix_tcp.url) as hired:
        for name in ("one", "two", "three"):
            hired.hire(name, mode=mode, timeout=1.0)
        hired.start_writing()
        possible = faults(proxy, matrix_tcp, chance)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            chance.choice(possible)()
            time.sleep(chance.uniform(0.05, 0.3))
        proxy.disarm()
        proxy.rst()
        judge(hired)
