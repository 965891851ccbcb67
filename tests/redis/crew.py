"""Group consumers at work on threads while something is broken, and what they must answer for."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import redis

import seastream_nb as ss
from seastream_nb import portal
from tests.facades import PATIENCE
from tests.redis.groups import pending
from tests.servers import eventually, plain_client

if TYPE_CHECKING:
    from collections.abc import Iterator

# What a user's loop survives: these say that it may ask again.
TEMPORARY = (ss.ConnectError, ss.StreamReset)


class Worker:
    """One consumer on a thread of its own: takes, acknowledges, and takes again.

    Attributes:
        ids: the ids of the messages it was given, in order.
        errors: what its calls raised.
    """

    def __init__(self, url: str, options: dict[str, Any], connection: dict[str, Any]) -> None:
        self.ids: list[str] = []
        self.errors: list[BaseException] = []
        self._url = url
        self._connection = connection
        self._options = options
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            with ss.connect(self._url, **self._connection) as streamer:
                consumer = streamer.consumer("s", **self._options)
                while not self._stop.is_set():
                    self._turn(consumer)
                consumer.end()
        except BaseException as error:  # it is the test's to judge
            self.errors.append(error)

    def _turn(self, consumer: ss.Consumer) -> None:
        try:
            messages = consumer.take(50, 0.05)
        except TEMPORARY as error:
            self.errors.append(error)
            time.sleep(0.05)
            return
        self.ids += [message.id for message in messages]
        for message in messages:
            consumer.ack(message)

    def stop(self) -> None:
        self._stop.set()

    def join(self) -> None:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "this consumer hangs"


def at_work() -> set[object]:
    """The tasks of the I/O thread, and all threads; but the loop keeps those that look up names."""
    tasks = asyncio.all_tasks(portal.loop())
    return {*tasks, *(each for each in threading.enumerate() if "asyncio" not in each.name)}


class Crew:
    """Several consumers of the stream `s` in group `g`, and a writer beside them.

    Args:
        url: where the consumers connect, such as a proxy.
        server_url: where the writer and the checks connect.
    """

    def __init__(self, url: str, server_url: str) -> None:
        self._url = url
        self._server_url = server_url
        self._before = at_work()
        self._quiet = threading.Event()
        self._writer = threading.Thread(target=self._write)
        self.workers: list[Worker] = []
        self.stored: list[str] = []

    def hire(self, name: str, *, timeout: float = 5.0, **options: Any) -> Worker:
        """One more consumer; with `rolling` commits unless said otherwise."""
        own = {"mode": "load_balanced", "group": "g", "consumer_id": name, "mkstream": True}
        commit = {"auto_commit": "rolling", "auto_commit_interval": 0.1}
        how = {**own, **commit, "auto_stream_reset": "earliest", "batch_size": 50, **options}
        worker = Worker(self._url, how, {"timeout": timeout})
        self.workers.append(worker)
        return worker

    def start_writing(self) -> None:
        self._writer.start()

    def _write(self) -> None:
        """Pipelines of 20 entries straight to the server; only what it confirmed counts."""
        while not self._quiet.wait(0.01):
            try:
                with plain_client(self._server_url) as client:
                    pipeline = client.pipeline(transaction=False)
                    for n in range(20):
                        pipeline.xadd("s", {b"msg": b"%d" % n})
                    self.stored += [each.decode() for each in pipeline.execute()]
            except (OSError, redis.RedisError):
                time.sleep(0.05)

    def settle(self, within: float = PATIENCE) -> None:
        """Write no more, and wait until everything in the stream was delivered."""
        self._quiet.set()
        if self._writer.ident is not None:
            self._writer.join()
        eventually(lambda: not self.missing(), within=within)

    def stop(self) -> None:
        for worker in self.workers:
            worker.stop()
        for worker in self.workers:
            worker.join()

    def log(self) -> list[str]:
        """The ids in the stream."""
        with plain_client(self._server_url) as client:
            return [entry.decode() for entry, _ in client.xrange("s")]

    def delivered(self) -> Counter[str]:
        return Counter(entry for worker in self.workers for entry in worker.ids)

    def missing(self) -> set[str]:
        """What is in the stream, but was never delivered."""
        return set(self.log()) - self.delivered().keys()

    def repeated(self) -> int:
        """How many deliveries were one too many."""
        delivered = self.delivered()
        return delivered.total() - len(delivered)

    def clients(self) -> int:
        """How many clients the server has, whoever asks included."""
        with plain_client(self._server_url) as client:
            return int(client.info("clients")["connected_clients"])

    def left(self) -> set[object]:
        """The tasks and threads that were not there before the crew was."""
        return at_work() - self._before

    def ghosts(self) -> int:
        """What still waits for an ack, though everybody acknowledged everything and ended."""
        with plain_client(self._server_url) as client:
            return pending(client)


@contextmanager
def crew(url: str, server_url: str) -> Iterator[Crew]:
    """A crew, sent home at the end."""
    hired = Crew(url, server_url)
    try:
        yield hired
    finally:
        hired.settle(within=0)
        hired.stop()


def judge(hired: Crew, *, repeated: int = 0, least: int = 100) -> None:
    """Everything was delivered, nothing twice, nothing is left pending (O5), no link, task or
    thread is left (O8), and what was raised are our own errors (O9).

    Args:
        hired: the crew, after the fault was healed.
        repeated: how many repetitions this fault allows.
        least: how many entries make the test one.
    """
    hired.settle()
    lost = hired.missing()
    hired.stop()
    assert not lost, f"{len(lost)} of {len(hired.log())} entries were never delivered"
    assert hired.repeated() <= repeated
    assert hired.ghosts() == 0
    strange = [e for w in hired.workers for e in w.errors if not isinstance(e, TEMPORARY)]
    assert strange == []
    assert len(hired.log()) >= least
    assert eventually(lambda: hired.clients() == 1), "links are left open"
    assert eventually(lambda: not hired.left()), f"{hired.left()} go on"
