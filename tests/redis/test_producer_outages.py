"""What a producer promises when the server stops, dies, or does not answer."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

import seastream_nb as ss
from seastream_nb.errors import ConnectError, MaybeSent, NotSent, ProducerClosed, QueueFull
from tests.redis.ledger import Ledger
from tests.servers import HOST, TcpServer, eventually, plain_client, tcp_server


@pytest.fixture
def tcp(tmp_path: Path) -> Iterator[TcpServer]:
    with tcp_server(tmp_path) as server:
        yield server


@contextmanager
def stopped(server: TcpServer) -> Iterator[None]:
    """The server, frozen: it accepts bytes and does nothing."""
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(server.process.pid, signal.SIGCONT)


def notice_that_it_is_gone(server: TcpServer) -> None:
    """Return when the I/O thread has been told that the server's links are closed."""
    with pytest.raises(ConnectError):  # it heard of the older links before it heard of this one
        ss.connect(server.url)


def stored(target: TcpServer) -> list[int]:
    with closing(plain_client(target.url)) as client:
        return [int(fields[b"msg"]) for _, fields in client.xrange("ticks")]


def outcome(pending: ss.PendingReceipt) -> str:
    try:
        pending.result(timeout=60)
    except (NotSent, MaybeSent) as error:
        return type(error).__name__
    return "sent"


# The server is down.


def test_what_is_sent_during_an_outage_arrives_after_it_in_order(tcp: TcpServer) -> None:
    with ss.connect(tcp.url) as streamer, streamer.producer("ticks") as producer:
        producer.send("-1").result()
        tcp.kill()
        notice_that_it_is_gone(tcp)
        pending = [producer.send(str(number)) for number in range(3_000)]
        assert not any(each.done for each in pending)
        tcp.restart()
        producer.flush()
        assert all(outcome(each) == "sent" for each in pending)
    assert stored(tcp) == list(range(3_000))


async def test_the_awaiting_facade_queues_during_an_outage_too(tcp: TcpServer) -> None:
    async with (
        ss.connect_async(tcp.url) as streamer,
        await streamer.producer("ticks") as producer,
    ):
        tcp.kill()
        notice_that_it_is_gone(tcp)
        pending = [producer.send(str(number)) for number in range(10)]
        await asyncio.to_thread(tcp.restart)
        assert len(await asyncio.gather(*pending)) == 10
    assert stored(tcp) == list(range(10))


def test_an_outage_longer_than_the_timeout_ends_in_not_sent(tcp: TcpServer) -> None:
    with ss.connect(tcp.url, timeout=0.3) as streamer, streamer.producer("ticks") as producer:
        tcp.kill()
        notice_that_it_is_gone(tcp)
        pending = [producer.send(str(number)) for number in range(1_500)]
        with pytest.raises(
            NotSent, match=r"'ticks'.*gave up after \d+ attempts in 0\.\d s.*1,499 more"
        ):
            producer.flush()
        assert {outcome(each) for each in pending} == {"NotSent"}
        tcp.restart()
        assert outcome(producer.send("7")) == "sent"
    assert stored(tcp) == [7]


def test_a_server_that_still_loads_its_data_is_waited_for(tmp_path: Path) -> None:
    slowly = ("--key-load-delay", "500", "--loading-process-events-interval-bytes", "1024")
    with tcp_server(tmp_path, *slowly) as server:
        with closing(plain_client(server.url)) as client:
            client.mset({f"key{number}": "x" * 100 for number in range(2_000)})
            client.save()
        with ss.connect(server.url) as streamer, streamer.producer("ticks") as producer:
            server.kill()
            notice_that_it_is_gone(server)
            pending = [producer.send(str(number)) for number in range(10)]
            server.restart()
            assert {outcome(each) for each in pending} == {"sent"}
        assert stored(server) == list(range(10))


def test_closing_during_an_outage_fails_what_was_not_written(tcp: TcpServer) -> None:
    with ss.connect(tcp.url) as streamer:
        producer = streamer.producer("ticks")
        tcp.kill()
        notice_that_it_is_gone(tcp)
        pending = [producer.send(str(number)) for number in range(2_000)]
        interrupter = when_main_thread_is_in("run", interrupt)
        with pytest.raises(KeyboardInterrupt):
            producer.end()
        interrupter.join()
        assert {outcome(each) for each in pending} == {"NotSent"}
        with pytest.raises(ProducerClosed):
            producer.send("x")


# The link breaks while answers are outstanding.


class CuttingProxy:
    """A way to a server that a test can cut, after so many more bytes in one direction."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._left: dict[str, int] = {}
        self._listener = socket.create_server((HOST, 0))
        self._sockets = [self._listener]
        self.url = f"redis://{HOST}:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def cut_after(self, **left: int) -> None:
        """Cut the next link that carries more than so many bytes `up` or `down`."""
        self._left = left

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection((HOST, self._target))
                self._sockets += [client, server]
                for way, source, sink in (("up", client, server), ("down", server, client)):
                    pump = threading.Thread(target=self._pump, args=(way, source, sink))
                    self._threads.append(pump)
                    pump.start()

    def _pump(self, way: str, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                allowed = self._left.get(way, len(data))
                # Before they are sent: a test that got them may count from there on.
                if allowed < len(data):
                    self._left = {}
                elif way in self._left:
                    self._left[way] -= len(data)
                sink.sendall(data[:allowed])
                if allowed < len(data):
                    break
        for each in (source, sink):  # the other direction ends too
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for each in self._sockets:
            each.close()


@pytest.fixture
def proxy(tcp: TcpServer) -> Iterator[CuttingProxy]:
    made = CuttingProxy(tcp.port)
    yield made
    made.close()


def test_a_lost_answer_leaves_messages_that_may_have_been_sent_and_are_not_sent_again(
    tcp: TcpServer, proxy: CuttingProxy
) -> None:
    with ss.connect(proxy.url) as streamer, streamer.producer("ticks") as producer:
        producer.send("-1").result()
        proxy.cut_after(down=0)
        pending = [producer.send(str(number)) for number in range(100)]
        with pytest.raises(MaybeSent, match=r"'ticks': the link broke before the answer came"):
            producer.flush()
        results = [outcome(each) for each in pending]
        assert "MaybeSent" in results
        assert outcome(producer.send("100")) == "sent"
    # All were executed, as the server works even when its answers do not arrive; none twice.
    numbers = stored(tcp)
    assert numbers == sorted(set(numbers))
    lost = {number for number in range(100) if number not in numbers}
    assert all(results[number] == "MaybeSent" for number in lost)


def test_the_answers_that_came_before_the_cut_count(tcp: TcpServer, proxy: CuttingProxy) -> None:
    with ss.connect(proxy.url) as streamer, streamer.producer("ticks") as producer:
        answer = len(b"$3\r\n1-1\r\n")
        with stopped(tcp):
            proxy.cut_after(down=3 * answer + 4)
            pending = [producer.send(str(n), timestamp=f"1-{n}") for n in range(1, 9)]
        results = [outcome(each) for each in pending]
        assert results == ["sent"] * 3 + ["MaybeSent"] * 5
    assert stored(tcp)[:3] == [1, 2, 3]


def test_a_request_that_is_cut_in_the_middle_is_not_sent_again(
    tcp: TcpServer, proxy: CuttingProxy
) -> None:
    with ss.connect(proxy.url) as streamer, streamer.producer("ticks") as producer:
        producer.send("-1").result()
        proxy.cut_after(up=1_234)
        pending = [producer.send(str(number)) for number in range(200)]
        results = [outcome(each) for each in pending]
        assert "MaybeSent" in results
        assert outcome(producer.send("200")) == "sent"
    numbers = stored(tcp)
    assert numbers == sorted(set(numbers))
    known = [number for number in range(200) if results[number] == "sent"]
    assert set(known) <= set(numbers)


def test_repeated_cuts_lose_and_repeat_nothing_that_was_acknowledged(
    tcp: TcpServer, proxy: CuttingProxy
) -> None:
    pending: list[ss.PendingReceipt] = []
    with ss.connect(proxy.url) as streamer, streamer.producer("ticks") as producer:
        for round_ in range(10):
            proxy.cut_after(**{("up", "down")[round_ % 2]: 3_000 * round_})
            pending += [producer.send(str(len(pending) + n)) for n in range(500)]
            with suppress(MaybeSent):
                producer.flush()
        proxy.cut_after()
    results = [outcome(each) for each in pending]
    numbers = stored(tcp)
    assert numbers == sorted(set(numbers))
    assert {n for n, result in enumerate(results) if result == "sent"} <= set(numbers)
    assert set(results) == {"sent", "MaybeSent"}


def test_a_server_killed_with_answers_outstanding_leaves_it_unknown(tcp: TcpServer) -> None:
    with ss.connect(tcp.url) as streamer, streamer.producer("ticks") as producer:
        with stopped(tcp):
            written = producer.send("0")
            assert eventually(lambda: producer._core._outbox._taken)
            tcp.kill()
        assert outcome(written) == "MaybeSent"
        tcp.restart()
        assert outcome(producer.send("1")) == "sent"
    assert stored(tcp) == [1]


# The process forks.

FORKING = """
import os, signal, sys
import seastream_nb as ss
from seastream_nb.errors import MaybeSent, ProducerClosed

streamer = ss.connect(sys.argv[1])
producer = streamer.producer("ticks")
pid = int(sys.argv[2])
os.kill(pid, signal.SIGSTOP)
pending = producer.send("0")
if os.fork() == 0:
    for use in (lambda: producer.send("1"), pending.result):
        try:
            use()
            os._exit(1)
        except (ProducerClosed, MaybeSent) as error:
            assert "parent" in str(error)
    producer.flush()
    producer.end()
    os.kill(pid, signal.SIGCONT)
    with ss.connect(sys.argv[1]).producer("others") as another:
        another.send("2").result()
    os._exit(0)
_, status = os.wait()
assert status == 0, status
pending.result()
producer.send("3")
producer.end()
"""


def test_a_forked_child_leaves_the_producer_to_its_parent(tcp: TcpServer) -> None:
    arguments = [tcp.url, str(tcp.process.pid)]
    subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKING, *arguments],
        check=True,
        timeout=60,
    )
    assert stored(tcp) == [0, 3]


def resident() -> int:
    """Bytes of memory that this process has now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.soak
def test_an_outage_of_ten_seconds_takes_bounded_memory_and_loses_nothing(tcp: TcpServer) -> None:
    """F15; once the queue is full, sending waits."""
    with ss.connect(tcp.url, timeout=30) as streamer:
        producer = streamer.producer("ticks", max_queue=2**20)
        producer.send("0").result()
        before, accepted = resident(), []
        tcp.kill()
        back = threading.Timer(10, tcp.restart)
        back.start()
        while back.is_alive():
            accepted.append(producer.send(f"{len(accepted) + 1:0100}"))
        grown = resident() - before
        producer.end()
    assert {outcome(each) for each in accepted} == {"sent"}
    assert stored(tcp) == list(range(1, len(accepted) + 1))  # what came before was not saved
    assert grown <= 64 * 2**20


def test_a_queue_that_fills_during_an_outage_refuses_after_the_timeout(tcp: TcpServer) -> None:
    """F15: what was refused was not queued, and what fails is told."""
    accepted: list[ss.PendingReceipt] = []

    def fill() -> None:
        while True:
            accepted.append(producer.send(f"{len(accepted):01000}"))

    with ss.connect(tcp.url, timeout=1) as streamer:
        producer = streamer.producer("ticks", max_queue=20_000)
        tcp.kill()
        with pytest.raises(QueueFull, match=r"no room came within 1 s"):
            fill()
        assert len(accepted) == 20_000 // (1_000 + 200)
        assert {outcome(each) for each in accepted} <= {"NotSent", "MaybeSent"}
        tcp.restart()
        assert outcome(producer.send("16")) == "sent"
    assert stored(tcp) == [16]


async def test_room_in_a_queue_that_filled_during_an_outage_comes_after_it(tcp: TcpServer) -> None:
    """F15, on the awaiting facade."""
    async with (
        ss.connect_async(tcp.url, timeout=30) as streamer,
        await streamer.producer("ticks", max_queue=20_000) as producer,
    ):
        tcp.kill()
        for number in range(16):
            producer.send(f"{number:01000}")
        with pytest.raises(QueueFull, match="19,200 bytes wait"):
            producer.send("x" * 1_000)
        waiting = asyncio.create_task(producer.room())
        with pytest.raises(TimeoutError):
            await producer.room(timeout=0.01)
        assert not waiting.done()
        await asyncio.to_thread(tcp.restart)
        await waiting
        producer.send("16")
    assert stored(tcp) == list(range(17))


# The server is frozen.


def test_sending_never_waits_for_the_network(tcp: TcpServer) -> None:
    with ss.connect(tcp.url) as streamer, streamer.producer("ticks") as producer:
        with stopped(tcp):
            pending = [producer.send(str(number)) for number in range(20_000)]
            assert not any(each.done for each in pending)
        producer.flush()
    assert stored(tcp) == list(range(20_000))


@pytest.mark.parametrize("seconds", [1.0, pytest.param(6.0, marks=pytest.mark.soak)])
def test_a_server_that_stands_still_for_a_while_gets_everything_once(
    tcp: TcpServer, seconds: float
) -> None:
    """F12."""
    with ss.connect(tcp.url, timeout=0.5) as streamer:
        producer = streamer.producer(idempotent=True)
        ledger = Ledger(producer)
        ledger.send(1_000)
        producer.flush()
        with stopped(tcp):
            ledger.send(1_000)
            time.sleep(seconds)
        ledger.send(1_000)
        with suppress(NotSent, MaybeSent):
            producer.end()
    assert ledger.check(tcp.url)["sent"] >= 1_000


def test_a_server_that_does_not_answer_in_time_leaves_it_unknown(tcp: TcpServer) -> None:
    with ss.connect(tcp.url, timeout=0.5) as streamer, streamer.producer("ticks") as producer:
        with stopped(tcp):
            pending = producer.send("0")
            with pytest.raises(MaybeSent, match=r"no answer within 0\.5 s"):
                pending.result(timeout=60)
        assert outcome(producer.send("1")) == "sent"
    assert sorted(stored(tcp)) == [0, 1]


def test_the_blocking_facade_waits_for_room_up_to_the_timeout(tcp: TcpServer) -> None:
    accepted: list[ss.PendingReceipt] = []

    def fill() -> None:
        while True:
            accepted.append(producer.send(f"{len(accepted):01000}"))

    with ss.connect(tcp.url, timeout=1) as streamer:
        producer = streamer.producer("ticks", max_queue=20_000)
        with stopped(tcp), pytest.raises(QueueFull, match=r"no room came within 1 s"):
            fill()
        with pytest.raises(MaybeSent):
            producer.end()
    assert {outcome(each) for each in accepted} == {"MaybeSent"}
    assert len(accepted) == 20_000 // (1_000 + 200)


def test_waiting_for_room_ends_when_room_comes(tcp: TcpServer) -> None:
    with (
        ss.connect(tcp.url) as streamer,
        streamer.producer("ticks", max_queue=20_000) as producer,
    ):
        os.kill(tcp.process.pid, signal.SIGSTOP)
        waking = when_main_thread_is_in(
            "send_waiting", lambda: os.kill(tcp.process.pid, signal.SIGCONT)
        )
        for number in range(100):
            producer.send(f"{number:01000}")
        waking.join()
    assert stored(tcp) == list(range(100))


async def test_the_awaiting_facade_says_at_once_that_the_queue_is_full(tcp: TcpServer) -> None:
    async with (
        ss.connect_async(tcp.url) as streamer,
        await streamer.producer("ticks", max_queue=20_000) as producer,
    ):
        with stopped(tcp):
            for number in range(16):
                producer.send(f"{number:01000}")
            with pytest.raises(QueueFull, match="19,200 bytes wait"):
                producer.send("x" * 1_000)
            with pytest.raises(TimeoutError):
                await producer.room(timeout=0.01)
            waiting = asyncio.create_task(producer.room())
            await asyncio.sleep(0)
            assert not waiting.done()
        await waiting
        producer.send(f"{16:01000}")
    assert stored(tcp) == list(range(17))


def test_an_interrupt_while_waiting_for_room_loses_nothing(tcp: TcpServer) -> None:
    accepted = 0
    with (
        ss.connect(tcp.url) as streamer,
        streamer.producer("ticks", max_queue=20_000) as producer,
    ):
        with stopped(tcp):
            interrupting = when_main_thread_is_in("send_waiting", interrupt)
            with suppress(KeyboardInterrupt):
                while True:
                    producer.send(f"{accepted:01000}")
                    accepted += 1
            interrupting.join()
        assert accepted == 16
        producer.flush()
        producer.send(f"{accepted:01000}")
    assert stored(tcp) == list(range(17))


def test_an_interrupted_flush_leaves_the_producer_at_work(tcp: TcpServer) -> None:
    with ss.connect(tcp.url) as streamer, streamer.producer("ticks") as producer:
        with stopped(tcp):
            pending = [producer.send(str(number)) for number in range(10)]
            interrupting = when_main_thread_is_in("run", interrupt)
            with pytest.raises(KeyboardInterrupt):
                producer.flush()
            interrupting.join()
        assert {outcome(each) for each in pending} == {"sent"}


def interrupt() -> None:
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def when_main_thread_is_in(function: str, then: Callable[[], Any]) -> threading.Thread:
    """A thread that acts once the main thread is inside our function of this name."""

    def inside() -> bool:
        stack = traceback.extract_stack(sys._current_frames()[threading.main_thread().ident or 0])
        return any(each.name == function and "seastream_nb" in each.filename for each in stack)

    def watch() -> None:
        if eventually(inside):
            then()

    thread = threading.Thread(target=watch)
    thread.start()
    return thread
