"""One streamer in many threads, in several event loops, and in a process that forks."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

import seastream_nb as ss

if TYPE_CHECKING:
    from seastream_nb.server import EmbeddedServer


@pytest.fixture
def ticks(client: Any) -> None:
    with client.pipeline(transaction=False) as pipeline:
        for n in range(3_000):
            pipeline.xadd("ticks", {"msg": n})
        pipeline.execute()


@pytest.mark.usefixtures("ticks")
def test_eight_threads_share_a_streamer_and_a_stream(url: str) -> None:
    with ss.connect(url) as streamer, ThreadPoolExecutor(8) as threads:
        stream = streamer["ticks"]

        def work(n: int) -> tuple[int, int, bytes]:
            with streamer.producer(f"from-{n}") as producer:
                receipt = producer.send(str(n)).result(30)
            sent = streamer[f"from-{n}"].get(receipt.id)
            return stream.count(), stream.to_arrow().num_rows, sent[0].payload

        results = list(threads.map(work, range(40)))

    assert results == [(3_000, 3_000, str(n).encode()) for n in range(40)]


@pytest.mark.usefixtures("ticks")
def test_threads_that_connect_and_close_do_not_disturb_each_other(url: str) -> None:
    def work(_: int) -> int:
        with ss.connect(url) as streamer:
            return streamer["ticks"].count()

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(work, range(40))) == {3_000}


@pytest.mark.usefixtures("ticks")
def test_one_streamer_lives_through_two_event_loops(url: str) -> None:
    async def connect() -> ss.AsyncStreamer:
        return await ss.connect_async(url)

    async def use(streamer: ss.AsyncStreamer) -> int:
        return await streamer["ticks"].count()

    async def use_and_close(streamer: ss.AsyncStreamer) -> int:
        async with streamer:
            return await use(streamer)

    streamer = asyncio.run(connect())

    assert asyncio.run(use(streamer)) == 3_000
    assert asyncio.run(use_and_close(streamer)) == 3_000


FORK = """
import os, signal, sys
import seastream_nb as ss

url, use = sys.argv[1:]
streamer = ss.connect(url)
stream = streamer["ticks"]
assert stream.count() == 3_000
child = os.fork()
if child == 0:
    signal.alarm(20)  # a hang ends as a signal, and fails the test
    exec(use)
    if "sys.exit" in use:
        sys.exit(0)
    os._exit(0)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
assert status == 0, status
signal.alarm(20)
for _ in range(20):
    assert stream.count() == 3_000
streamer.close()
"""


@pytest.mark.parametrize(
    "use",
    [
        "assert stream.count() == 3_000",
        "assert stream.count() == 3_000; streamer.close()",
        "streamer.close()",
        "streamer.close(); streamer = stream = None; sys.exit",
        "del streamer, stream; import gc; gc.collect(); sys.exit",
        "producer = streamer.producer('other'); producer.send('x').result(10); producer.end()",
        "c = streamer.consumer('ticks', auto_stream_reset='earliest'); assert c.next(10)",
        "assert 'ticks' in ss.connect(url).catalog()",
    ],
)
@pytest.mark.usefixtures("ticks")
def test_a_forked_child_uses_a_streamer_of_its_parent_and_disturbs_nothing(
    server: EmbeddedServer, use: str
) -> None:
    program = [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", FORK]

    done = subprocess.run([*program, server.url, use], capture_output=True, text=True, timeout=60)

    assert (done.returncode, done.stderr) == (0, "")


def test_a_child_closes_a_streamer_whose_producer_is_its_parents(server: EmbeddedServer) -> None:
    use = "streamer.close()"
    program = FORK.replace(
        "child = os.fork()",
        "producer = streamer.producer('other')\n"
        "consumer = streamer.consumer('ticks')\n"
        "child = os.fork()",
    ).replace("assert stream.count() == 3_000", "stream.count()")

    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program, server.url, use],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_a_child_is_told_that_a_consumer_is_its_parents(server: EmbeddedServer) -> None:
    use = "\ntry: consumer.next(10)\nexcept ss.ConsumerClosed: pass\nelse: raise AssertionError"
    program = FORK.replace(
        "child = os.fork()", "consumer = streamer.consumer('ticks')\nchild = os.fork()"
    ).replace("assert stream.count() == 3_000", "stream.count()")

    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program, server.url, use],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (done.returncode, done.stderr) == (0, "")
