"""Streaming terminals: bounded pages with one schema, and the Arrow interface."""

from __future__ import annotations

import json
import threading
from contextlib import closing
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import seastream_nb as ss
from seastream_nb import errors


def fill(client: Any, key: str, count: int, late: int | None = None) -> None:
    pipeline = client.pipeline(transaction=False)
    for number in range(count):
        record: dict[str, Any] = {"n": number, "name": f"row {number}"}
        if late is not None and number >= late:
            record["late"] = [number]
        pipeline.xadd(key, {"msg": json.dumps(record)}, id=f"{1 + number // 7}-{number % 7}")
    pipeline.execute()


def test_pages_have_the_size_that_was_asked_for(streamer: ss.Streamer, client: Any) -> None:
    fill(client, "s", 2500)
    pages = list(streamer["s"].json().pages(700))
    assert [page.num_rows for page in pages] == [700, 700, 700, 400]
    assert pa.Table.from_batches(pages)["n"].to_pylist() == list(range(2500))
    assert sum(page.num_rows for page in streamer["s"].pages()) == 2500
    assert [page.num_rows for page in streamer["s"].first(5).pages(2)] == [2, 2, 1]
    assert list(streamer["nothing"].pages()) == []


@pytest.mark.parametrize("size", [0, -1, 1.5, True, "10"])
def test_a_page_size_that_is_none_is_refused(streamer: ss.Streamer, size: Any) -> None:
    with pytest.raises(errors.ConfigError, match="page_size"):
        list(streamer["s"].pages(size))


def test_pages_end_at_64_mib(streamer: ss.Streamer, client: Any) -> None:
    for _ in range(5):
        client.xadd("s", {"msg": b"x" * 30 * 2**20})
    sizes = [page.nbytes for page in streamer["s"].pages(100)]
    assert len(sizes) >= 3
    assert max(sizes) <= 64 * 2**20 + 1000


def test_what_appears_after_the_sample_goes_to_extra(streamer: ss.Streamer, client: Any) -> None:
    fill(client, "s", 3000, late=2000)
    stream = streamer["s"].json()
    schema = stream.schema()
    assert schema.names[-3:] == ["n", "name", "_extra"]
    table = stream.reader().read_all()
    assert table.schema.equals(schema)
    assert table["_extra"].null_count == 2000
    assert json.loads(table["_extra"][2000].as_py()) == {"late": [2000]}
    assert "late" in stream.to_arrow().schema.names
    assert "late" in stream.schema(sample=2500).names


@pytest.mark.parametrize("sample", [-1, 0, 1.5, True, "x", None])
def test_a_sample_that_is_no_number_of_messages_is_refused(
    streamer: ss.Streamer, client: Any, sample: Any
) -> None:
    fill(client, "s", 3)
    for stream in (streamer["s"], streamer["s"].json()):
        with pytest.raises(errors.ConfigError, match=f"sample={sample!r}: give a whole number"):
            stream.schema(sample)


def test_a_given_schema_is_the_schema(streamer: ss.Streamer, client: Any) -> None:
    fill(client, "s", 100)
    schema = pa.schema([("n", pa.int32())])
    stream = streamer["s"].json(schema).select("n")
    assert stream.schema().equals(schema)
    assert stream.reader().read_all()["n"].to_pylist() == list(range(100))
    assert pa.schema(streamer["nothing"].json(schema).select("n")).equals(schema)


def test_the_schema_of_an_empty_stream_has_the_base_columns(streamer: ss.Streamer) -> None:
    assert streamer["s"].schema().names == ["stream", "shard", "sequence", "timestamp", "payload"]
    assert streamer["s"].reader().read_all().num_rows == 0
    assert pl.DataFrame(streamer["s"]).shape == (0, 5)


@pytest.mark.parametrize("build", ["raw", "text", "json", "fields"])
def test_every_consumer_of_arrow_reads_the_same(
    streamer: ss.Streamer, client: Any, build: str
) -> None:
    fill(client, "s:0", 1500)
    fill(client, "s:1", 700)
    stream = streamer["s"] if build == "raw" else getattr(streamer["s"], build)()
    whole = stream.to_arrow()
    table = pa.table(stream)
    names = [name for name in whole.schema.names if name != "stream"]
    assert table.select(names).to_pydict() == whole.select(names).to_pydict()
    assert pl.DataFrame(stream).height == 2200
    assert pl.from_arrow(stream.reader()).height == 2200
    assert pd.DataFrame.from_arrow(stream).shape[0] == 2200
    assert duckdb.sql("select shard from stream").fetchall() == [
        (shard,) for shard in whole["shard"].to_pylist()
    ]
    joined = duckdb.sql("select count(*) from stream a join stream b using (shard, sequence)")
    assert joined.fetchall() == [(2200,)]


def test_an_export_is_repeatable_while_a_producer_writes(
    streamer: ss.Streamer, client: Any
) -> None:
    fill(client, "s", 500)
    stream = streamer["s"].json()
    first = pa.table(stream)
    client.xadd("s", {"msg": '{"n": -1}'})
    assert pa.table(stream).equals(first)
    assert duckdb.sql("select count(*) from stream").fetchall() == [(500,)]
    assert pa.table(streamer["s"].json()).num_rows == 501


def test_a_reader_can_be_left_half_read(streamer: ss.Streamer, client: Any) -> None:
    fill(client, "s", 30_000)
    for _ in range(20):
        reader = streamer["s"].reader()
        reader.read_next_batch()
        del reader
        with closing(streamer["s"].pages()) as pages:
            next(pages)
        for _ in streamer["s"]:
            break
    assert streamer["s"].count() == 30_000
    assert len(client.client_list()) < 15


def test_a_bad_row_in_a_reader_is_an_error_and_the_connection_lives(
    streamer: ss.Streamer, client: Any
) -> None:
    fill(client, "s", 5000)
    client.xadd("s", {"msg": "not json"})
    with pytest.raises(errors.DecodeError):
        list(streamer["s"].json().pages())
    with pytest.raises(errors.DecodeError):
        streamer["s"].json().to_arrow()
    with pytest.raises(Exception, match=r"DecodeError|is not"):
        pa.table(streamer["s"].json())
    assert streamer["s"].count() == 5001


def test_streams_may_be_read_from_many_threads(streamer: ss.Streamer, client: Any) -> None:
    fill(client, "s", 5000)
    counts: list[int] = []
    threads = [
        threading.Thread(target=lambda: counts.append(streamer["s"].json().to_arrow().num_rows))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [5000] * 8


def test_len_names_count_and_iteration_gives_messages(streamer: ss.Streamer, client: Any) -> None:
    fill(client, "s", 3)
    with pytest.raises(TypeError, match=r"count\(\)"):
        len(streamer["s"])  # type: ignore[arg-type]
    messages = list(streamer["s"])
    assert [message.json()["n"] for message in messages] == [0, 1, 2]
    assert [message.id for message in messages] == ["1-0", "1-1", "1-2"]
    assert messages[1].header.shard == 0


async def test_the_async_facade_reads_the_same(url: str, client: Any) -> None:
    fill(client, "s:0", 1500)
    fill(client, "s:1", 1500)
    with ss.connect(url) as blocking:
        expected = blocking["s"].json().to_arrow()
    async with ss.connect_async(url) as streamer:
        stream = streamer["s"].json()
        assert (await stream.to_arrow()).equals(expected)
        assert await stream.count() == 3000
        assert (await stream.head(2))["n"].tolist() == [0, 0]
        assert (await stream.schema()).names[-1] == "_extra"
        assert sum([page.num_rows async for page in stream.pages(1000)]) == 3000
        assert [message.id async for message in stream.first(2)] == ["1-0", "1-0"]
        assert (await stream.rate("1s"))["messages"].sum() == 3000
        assert (await streamer.catalog())["s"].length == 3000
        snapshot = stream.snapshot()
        client.xadd("s:0", {"msg": "{}"})
        assert await snapshot.count() == 3000
    streamer = await ss.connect_async(url)
    assert await streamer["s"].count() == 3001
    await streamer.close()
    await streamer.close()


def test_what_leaves_the_block_is_not_hidden_by_an_error_of_closing(url: str, client: Any) -> None:
    client.set("taken", "no stream")

    def leave() -> None:
        with ss.connect(url) as streamer:
            streamer.producer("taken").send("x")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        leave()
    assert "WRONGTYPE" in caught.value.__notes__[0]
