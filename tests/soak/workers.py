"""The processes of a soak: what they got is in their files, whatever happens to them."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TextIO

import seastream_nb as ss

STREAM = "soak"
RATE = 500  # messages a second and producer
CLAIM_IDLE = 2.0


def produce(url: str, name: str, out: TextIO) -> None:
    """Send numbered messages until told to stop; write down each one that was acknowledged."""
    stop = _on_request()
    with ss.connect(url, timeout=20, wait=True) as streamer:
        producer = streamer.producer(STREAM, idempotent=True)
        own, number = f"{name}.{os.getpid()}", 0
        while not stop.is_set():
            batch = [producer.send(f"{own}:{number + n}") for n in range(RATE // 20)]
            number += len(batch)
            for pending in batch:
                with suppress(ss.MaybeSent, ss.NotSent):
                    out.write(f"{pending.result(60).id}\n")
            out.flush()
            stop.wait(1 / 20)
        with suppress(ss.MaybeSent, ss.NotSent):
            producer.end()


def consume(url: str, group: str, name: str, out: TextIO) -> None:
    """Take messages until told to stop; write each down, then acknowledge it."""
    stop = _on_request()
    with ss.connect(url, timeout=20, wait=True) as streamer:
        consumer = streamer.consumer(
            STREAM,
            mode="load_balanced",
            group=group,
            consumer_id=name,
            mkstream=True,
            auto_stream_reset="earliest",
            auto_commit="rolling",
            auto_commit_interval=0.1,
            auto_claim_idle=CLAIM_IDLE,
            auto_claim_interval=0.5,
            batch_size=50,
        )
        while not stop.is_set():
            try:
                messages = consumer.take(50, 0.2)
            except ss.ConnectError:
                continue
            now = time.time()
            for message in messages:
                out.write(f"{message.id} {now}\n")
            out.flush()
            for message in messages:
                consumer.ack(message)
        consumer.end()


def _on_request() -> threading.Event:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    return stop


def main() -> None:
    """Be one of them: role, URL, group, name, file."""
    role, url, group, name, file = sys.argv[1:]
    with Path(file).open("a") as out:
        produce(url, name, out) if role == "produce" else consume(url, group, name, out)


if __name__ == "__main__":
    main()
