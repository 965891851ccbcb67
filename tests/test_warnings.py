"""What a read warns of: once, at the caller's line, and only where there is something to say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
import redis

import seastream_nb as ss

NEVER = "no entry of 's' .* has the field 'msg'; there are 'temp'"
GONE = "reading 's': entries were trimmed away, or deleted, before they were read"


def add(client: redis.Redis, *fields: str) -> None:
    for number, field in enumerate(fields, 1):
        client.xadd("s", {field: "{}"}, id=f"{number}-0")


def resend(stream: ss.Stream, path: Path) -> None:
    with ss.connect(path, create="if_missing") as target:
        stream.replay_to(target.producer("s"), speed=None)


READS: dict[str, Callable[[ss.Stream, Path], object]] = {
    "frame": lambda stream, _: stream.to_pandas(),
    "count": lambda stream, _: stream.count(),
    "count of last": lambda stream, _: stream.last(2).count(),
    "messages": lambda stream, _: list(stream.messages()),
    "iteration": lambda stream, _: list(stream),
    "messages of fields": lambda stream, _: list(stream.fields().messages()),
    "pages": lambda stream, _: list(stream.pages()),
    "pages of json": lambda stream, _: list(stream.json().pages(10)),
    "reader": lambda stream, _: stream.reader().read_all(),
    "capsule": lambda stream, _: pa.table(stream),
    "parquet": lambda stream, folder: stream.to_parquet(folder / "s.parquet"),
    "parquet folder": lambda stream, folder: stream.to_parquet(folder / "s"),
    "file": lambda stream, folder: stream.to_ss(folder / "s.ss"),
    "rate": lambda stream, _: stream.rate("1s"),
    "estimate": lambda stream, _: stream.rate("1s", exact=False),
    "replay": lambda stream, _: list(stream.replay(speed=None)),
    "resending": lambda stream, folder: resend(stream, folder / "t.ss"),
    "merge": lambda stream, _: ss.merge(stream, stream).count(),
    "follow": lambda stream, _: list(stream.until("2020-01-01").follow()),
    "follow of json": lambda stream, _: list(stream.json().until("2020-01-01").follow()),
}


@pytest.mark.parametrize("name", READS)
def test_every_read_without_a_message_warns_once_at_the_callers_line(
    streamer: ss.Streamer, client: redis.Redis, tmp_path: Path, name: str
) -> None:
    add(client, "temp", "temp", "temp")
    with pytest.warns(UserWarning, match=NEVER) as caught:
        READS[name](streamer["s"], tmp_path)
    assert [each.filename for each in caught] == [__file__]


@pytest.mark.parametrize("name", READS)
def test_no_read_warns_where_there_is_a_message_or_nothing(
    streamer: ss.Streamer, client: redis.Redis, tmp_path: Path, name: str
) -> None:
    for folder, fields in enumerate([(), ("temp", "temp", "msg")]):
        add(client, *fields)
        (tmp_path / str(folder)).mkdir()
        READS[name](streamer["s"], tmp_path / str(folder))


async def test_the_awaiting_facade_warns_at_the_callers_line(url: str, client: redis.Redis) -> None:
    add(client, "temp")
    async with ss.connect_async(url) as streamer:
        stream = streamer["s"]
        reads = [
            stream.count,
            lambda: anext(aiter(stream), None),
            lambda: anext(aiter(stream.replay(speed=None)), None),
        ]
        for read in reads:
            with pytest.warns(UserWarning, match=NEVER) as caught:
                await read()
            assert [each.filename for each in caught] == [__file__]


@pytest.mark.parametrize("decoded", [False, True])
def test_following_says_that_its_past_had_no_message_while_it_waits(
    streamer: ss.Streamer, client: redis.Redis, *, decoded: bool
) -> None:
    add(client, "temp")
    stream = streamer["s"].json() if decoded else streamer["s"]
    with pytest.raises(UserWarning, match=NEVER):  # it would wait forever
        next(stream.follow())


def test_following_what_had_and_has_no_message_warns_once(
    streamer: ss.Streamer, client: redis.Redis
) -> None:
    add(client, "temp")
    batches = streamer["s"].json().until("2199-01-01").follow(page_size=1)
    client.xadd("s", {"temp": "22"}, id="2-0")
    client.xadd("s", {"msg": '{"n": 1}'}, id="3-0")
    assert next(batches)["n"].to_pylist() == [1]
    client.xadd("s", {"temp": "22"}, id=f"{9 * 10**12}-0")
    assert list(batches) == []


def test_duckdb_reads_a_stream_without_a_message_with_one_warning(
    streamer: ss.Streamer, client: redis.Redis
) -> None:
    add(client, "temp")
    con = duckdb.connect()
    con.register("ticks", streamer["s"])
    with pytest.warns(UserWarning, match=NEVER) as caught:
        assert con.sql("select count(*) from ticks").fetchall() == [(0,)]
    assert len(caught) == 1


def test_messages_of_fields_have_their_payload(streamer: ss.Streamer, client: redis.Redis) -> None:
    add(client, "msg", "temp")
    for stream in (streamer["s"].fields(), streamer["s"].fields("temp")):
        assert [message.payload for message in stream.messages()] == [b"{}"]
        assert [message.payload for message in stream.replay(speed=None)] == [b"{}"]


def fill(client: redis.Redis, count: int) -> None:
    pipeline = client.pipeline(transaction=False)
    for number in range(count):
        pipeline.xadd("s", {"msg": str(number)}, id=f"{number + 1}-0")
    pipeline.execute()


@pytest.mark.parametrize("gone", [("DEL", "s"), ("XTRIM", "s", "MINID", "29500")])
@pytest.mark.parametrize(
    "read",
    [
        lambda stream: stream.pages(),
        lambda stream: stream.reader(),
        lambda stream: stream.messages(),
        lambda stream: stream.replay(speed=None),
    ],
    ids=["pages", "reader", "messages", "replay"],
)
def test_what_vanishes_while_it_is_streamed_is_told_at_the_end(
    streamer: ss.Streamer, client: redis.Redis, read: Any, gone: tuple[str, ...]
) -> None:
    fill(client, 30_000)
    parts = iter(read(streamer["s"]))
    next(parts)
    client.execute_command(*gone)
    with pytest.warns(UserWarning, match=GONE) as caught:
        for _ in parts:
            pass
    assert [each.filename for each in caught] == [__file__]
