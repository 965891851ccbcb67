"""What the stop button leaves behind: fast returns, usable connections, no lost message."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

import seastream_nb as ss
from tests.portal_kernel import Kernel
from tests.redis.consuming import calls, send
from tests.servers import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import redis

    from seastream_nb.server import EmbeddedServer

PATIENCE = 20.0
LARGE = 100_000


# While waiting


def fill(client: redis.Redis, total: int) -> None:
    with client.pipeline(transaction=False) as pipeline:
        for value in range(total):
            pipeline.xadd("s", {b"msg": json.dumps({"value": value}).encode()})
            if value % 10_000 == 9_999:
                pipeline.execute()
        pipeline.execute()


def looped(consumer: ss.Consumer) -> list[ss.Message]:
    for message in consumer:
        return [message]
    return []


def paged(consumer: ss.Consumer) -> list[pa.RecordBatch]:
    return [consumer.page(5, PATIENCE)]


def values(found: list[ss.Message] | list[pa.RecordBatch]) -> list[int]:
    payloads: list[bytes] = []
    for each in found:
        payloads += [each.payload] if isinstance(each, ss.Message) else each["payload"].to_pylist()
    return [json.loads(payload)["value"] for payload in payloads]


STEPS: dict[str, Callable[[ss.Consumer], list[Any]]] = {
    "loop": looped,
    "next": lambda consumer: [consumer.next(PATIENCE)],
    "take": lambda consumer: consumer.take(1, PATIENCE),
    "page": paged,
}


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_a_wait_that_is_interrupted_again_and_again_loses_no_message(
    url: str,
    client: redis.Redis,
    alarm: Callable[[float], None],
    step: Callable[[ss.Consumer], list[Any]],
) -> None:
    got: list[int] = []
    with ss.connect(url) as streamer, streamer.consumer("s") as consumer:
        for turn in range(20):
            with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - it may come at once
                alarm(0.01)
                step(consumer)
            client.xadd("s", {"msg": json.dumps({"value": turn})})
            got += values(step(consumer))
    assert got == list(range(20))


# In kernels


@pytest.fixture(scope="module")
def kernel(matrix_kernel: Kernel) -> Kernel:
    cell, _ = matrix_kernel.run("import seastream_nb as ss\nfrom contextlib import suppress")
    assert cell.error is None
    return matrix_kernel


@pytest.fixture
def connected(kernel: Kernel, url: str) -> Iterator[Kernel]:
    """A kernel with a `streamer` and a `consumer` of stream `s` on both facades."""
    cell, _ = kernel.run(f"""
streamer = ss.connect({url!r})
consumer = streamer.consumer("s")
async_streamer = await ss.connect_async({url!r})
async_consumer = await async_streamer.consumer("s")
""")
    assert cell.error is None
    yield kernel
    kernel.run("streamer.close(); await async_streamer.close()")


def answer(kernel: Kernel, expression: str) -> str:
    """What an expression is in the kernel, printed."""
    cell, _ = kernel.run(f"print({expression})")
    assert cell.error is None
    return "".join(cell.lines)  # a line may come in pieces


WAITING = {
    "next": "consumer.next()",
    "take": "consumer.take(10)",
    "page": "consumer.page()",
    "loop": "for message in consumer: print('got', message.text())",
    "await next": "await async_consumer.next()",
    "await take": "await async_consumer.take(10)",
    "async loop": "async for message in async_consumer: print('got', message.text())",
    "follow": "for batch in streamer['s'].follow(): pass",
    "async follow": "async for batch in async_streamer['s'].follow(): pass",
}


@pytest.mark.parametrize("code", WAITING.values(), ids=WAITING)
def test_the_stop_button_ends_a_wait_at_once_and_loses_nothing(
    connected: Kernel, client: redis.Redis, code: str
) -> None:
    for turn in range(2):
        cell, seconds = connected.run(
            f"print('waiting', flush=True)\n{code}", interrupt_at="waiting"
        )
        assert cell.error in {"KeyboardInterrupt", "CancelledError"}
        assert seconds < 2
        send(client, "s", turn)
        assert answer(connected, f"consumer.next({PATIENCE}).text()") == str(turn)
        assert answer(connected, f"(await async_consumer.next({PATIENCE})).text()") == str(turn)


@pytest.mark.parametrize("code", ["consumer.next()", "await async_consumer.next()"])
def test_a_wait_ends_within_a_fifth_of_a_second_and_scheduling(
    connected: Kernel, code: str
) -> None:
    told = f"print('waiting', flush=True)\n{code}"
    stops = (connected.run(told, interrupt_at="waiting")[1] for _ in range(20))
    # Any of them: the others may have waited for a core. A wait of another kind delays all.
    assert any(seconds < 0.2 + 0.2 for seconds in stops)


def acknowledged(client: redis.Redis) -> bool:
    """Whether all that a group of `s` has read is acknowledged, and that is something."""
    groups = client.xinfo_groups("s")
    return any(each["last-delivered-id"] != b"0-0" and not each["pending"] for each in groups)


def test_a_consumer_acknowledges_while_a_cell_computes(
    connected: Kernel, client: redis.Redis, tmp_path: Path
) -> None:
    send(client, "s", "work")
    delayed = "auto_commit='delayed', auto_commit_delay='100ms'"  # by a timer
    group = f"mode='resumable', group='g', auto_stream_reset='earliest', {delayed}"
    done = tmp_path / "done"

    def end_when_it_is_acknowledged() -> None:
        eventually(lambda: acknowledged(client), within=PATIENCE)
        done.touch()

    thread = threading.Thread(target=end_when_it_is_acknowledged)
    thread.start()
    cell, _ = connected.run(f"""
import os
worker = streamer.consumer("s", {group})
message = worker.next({PATIENCE})
while not os.path.exists({str(done)!r}):
    sum(range(10_000))
""")
    thread.join()
    assert cell.error is None
    assert acknowledged(client)
    assert answer(connected, "message.text()") == "work"
    connected.run("worker.end()")


@pytest.mark.parametrize("name", ["consumer", "async_consumer"])
def test_what_came_before_the_stop_button_is_kept(
    connected: Kernel, client: redis.Redis, name: str
) -> None:
    send(client, "s", 0, 1, 2)
    wait = "await " if name.startswith("async") else ""
    cell, seconds = connected.run(
        f"print('waiting', flush=True)\n{wait}{name}.take(10)", interrupt_at="waiting"
    )
    assert cell.error in {"KeyboardInterrupt", "CancelledError"}
    assert seconds < 2
    taken = f"[message.text() for message in {wait}{name}.take(3, {PATIENCE})]"
    assert answer(connected, taken) == "['0', '1', '2']"


@pytest.mark.parametrize("name", ["streamer", "async_streamer"])
def test_the_stop_button_keeps_what_a_long_read_has_and_the_connection(
    connected: Kernel, server: EmbeddedServer, client: redis.Redis, name: str
) -> None:
    fill(client, LARGE)
    wait = "await " if name.startswith("async") else ""
    # Once a process, a long read imports the compiled decoder, which nothing can interrupt.
    assert answer(connected, f"({wait}{name}['s'].json().to_arrow()).num_rows") == str(LARGE)
    kernel_pid = int(answer(connected, "__import__('os').getpid()"))
    before = calls(client, "xrange")
    interrupted: list[float] = []

    def interrupt_in_the_middle() -> None:
        assert eventually(lambda: calls(client, "xrange") >= before + 2)
        os.kill(server.pid, signal.SIGSTOP)
        interrupted.append(time.monotonic())
        os.kill(kernel_pid, signal.SIGINT)

    thread = threading.Thread(target=interrupt_in_the_middle)
    thread.start()
    try:
        cell, _ = connected.run(f"{wait}{name}['s'].json().to_arrow()")
        thread.join()
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert cell.error in {"KeyboardInterrupt", "CancelledError"}
    assert cell.ended - interrupted[0] < 2
    assert answer(connected, f"0 < {name}.partial.num_rows < {LARGE}") == "True"
    kept = f"{name}.partial['value'].to_pylist()"
    assert answer(connected, f"{kept} == list(range({name}.partial.num_rows))") == "True"
    assert answer(connected, f"{wait}{name}['s'].count()") == str(LARGE)


# Leaving early


def clients(client: redis.Redis) -> int:
    return int(client.info("clients")["connected_clients"])


LOOPS: dict[str, Callable[[ss.Stream], Iterator[object]]] = {
    "pages": lambda stream: stream.pages(10),
    "messages": lambda stream: stream.messages(),
    "iteration": iter,
    "reader": lambda stream: iter(stream.reader(10)),
}


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
def test_leaving_a_loop_early_gives_its_connection_back(
    url: str, client: redis.Redis, loop: Callable[[ss.Stream], Iterator[object]]
) -> None:
    fill(client, 5_000)
    with ss.connect(url) as streamer:
        for _ in loop(streamer["s"]):
            break
        assert streamer["s"].count() == 5_000
        once = clients(client)
        for _ in range(20):
            for _ in loop(streamer["s"]):
                break
        assert streamer["s"].count() == 5_000
        assert clients(client) <= once + 1


@pytest.mark.parametrize("method", ["pages", "messages"])
async def test_leaving_an_async_loop_early_gives_its_connection_back(
    url: str, client: redis.Redis, method: str
) -> None:
    fill(client, 5_000)
    async with ss.connect_async(url) as streamer:
        counts = []
        for _ in range(20):
            async with aclosing(getattr(streamer["s"], method)()) as items:
                async for _ in items:
                    break
            counts.append(clients(client))
        assert counts[-1] <= counts[0] + 1
        assert await streamer["s"].count() == 5_000
