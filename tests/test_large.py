"""The main job at size: everything is read, nothing twice, by every consumer alike."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

import seastream_nb as ss

MESSAGES = 300_000


def payload(number: int) -> bytes:
    return b"%08d" % number + bytes([number % 256]) * 248


def test_300_000_messages_among_other_entries_are_the_same_everywhere(
    streamer: ss.Streamer, client: Any
) -> None:
    others = 0
    for start in range(0, MESSAGES, 10_000):
        pipeline = client.pipeline(transaction=False)
        for number in range(start, start + 10_000):
            pipeline.execute_command("XADD", "s", f"{number + 1}-0", "msg", payload(number))
            if number % 10 == 0:
                pipeline.execute_command("XADD", "s", f"{number + 1}-1", "note", "no message")
                others += 1
        pipeline.execute()

    table = streamer["s"].to_arrow()
    payloads = table["payload"]
    assert table.num_rows == MESSAGES
    assert table.schema.metadata[b"seastream_skipped"] == str(others).encode()
    assert pc.all(pc.equal(pc.binary_length(payloads), 256)).as_py()
    numbers = pc.binary_slice(payloads, 0, 8).cast(pa.string()).cast(pa.int64())
    assert np.array_equal(numbers.to_numpy(), np.arange(MESSAGES))
    assert pc.all(pc.equal(pc.binary_slice(payloads, 255, 256), pc.binary_slice(payloads, 8, 9)))
    ms = pc.divide(table["timestamp"].cast(pa.int64()), 1000)
    assert np.array_equal(ms.to_numpy(), np.arange(1, MESSAGES + 1))

    frame = streamer["s"].to_pandas()
    assert len(frame) == MESSAGES
    assert frame["payload"].tolist() == payloads.to_pylist()
    assert frame["sequence"].equals(pd.Series(table["sequence"].to_numpy()))

    polars = pl.DataFrame(streamer["s"])
    assert polars.height == MESSAGES
    assert polars["payload"].to_arrow().cast(pa.binary()).equals(payloads.combine_chunks())
    assert polars["sequence"].to_numpy().tolist() == table["sequence"].to_pylist()

    relation = streamer["s"].to_duckdb()
    assert relation.aggregate("count(*), count(distinct payload)").fetchall() == [(MESSAGES,) * 2]
    assert (
        relation.select("payload")
        .to_arrow_table()["payload"]
        .combine_chunks()
        .cast(pa.binary())
        .equals(payloads.combine_chunks())
    )

    assert sum(page.num_rows for page in streamer["s"].pages(9_999)) == MESSAGES


def test_two_reads_of_a_snapshot_are_identical_while_a_producer_writes(
    streamer: ss.Streamer,
) -> None:
    stop = threading.Event()
    with streamer.producer("s", sharder=ss.RoundRobinSharder(4)) as producer:
        for number in range(20_000):
            producer.send(b"%d" % number)
        producer.flush()

        def write() -> None:
            while not stop.is_set():
                for number in range(1_000):
                    producer.send(b"%d" % number)
                producer.flush()

        writer = threading.Thread(target=write)
        writer.start()
        try:
            snapshot = streamer["s"].snapshot()
            first, second = snapshot.to_arrow(), snapshot.to_arrow()
        finally:
            stop.set()
            writer.join()
    assert first.num_rows >= 20_000
    assert first.equals(second)
    assert snapshot.to_arrow().equals(first)
    assert streamer["s"].count() > first.num_rows
