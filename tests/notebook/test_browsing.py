"""Pages of a stream: none skipped, none twice, the same back and forth, each one as code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import seastream_nb as ss
from seastream_nb import errors
from seastream_nb.notebook import finding

if TYPE_CHECKING:
    import redis

START = 1_700_000_000_000  # 2023-11-14T22:13:20Z
DATA = Path(__file__).parents[2] / "data"


def add(client: redis.Redis, key: str, *entries: tuple[str, dict[str, Any]]) -> None:
    pipeline = client.pipeline(transaction=False)
    for at, fields in entries:
        pipeline.xadd(key, fields, id=at)
    pipeline.execute()


def fill(client: redis.Redis, key: str, count: int, *, first: int = 0) -> None:
    """Entries a second apart, with their number as the payload."""
    numbers = range(first, first + count)
    add(client, key, *((f"{START + 1000 * n}-0", {"msg": str(n)}) for n in numbers))


def numbers(page: pd.DataFrame) -> list[int]:
    return [int(payload) for payload in page["payload"]]


def rows(frame: pd.DataFrame) -> list[tuple[Any, ...]]:
    """What identifies the rows of a page, and what is in them."""
    return list(frame.drop(columns="id", errors="ignore").itertuples(index=False, name=None))


def walk(browser: ss.Browser, step: str) -> list[pd.DataFrame]:
    """This page and those after it in one direction, up to the last one."""
    pages = [browser.page]
    for _ in range(10_000):
        page = getattr(browser, step)()
        if rows(page) == rows(pages[-1]):
            return pages
        pages.append(page)
    raise AssertionError("there is no end")


def assert_turns(stream: ss.Stream, streamer: ss.Streamer, page_size: int) -> list[int]:
    """Every page forwards, backwards and as code; the sizes of the pages."""
    whole = rows(stream.to_pandas())
    browser = stream.browse(page_size=page_size)
    forwards = walk(browser, "next")
    assert [row for page in forwards for row in rows(page)] == whole
    backwards = walk(browser, "previous")
    assert list(map(rows, backwards[::-1])) == list(map(rows, forwards))
    for page in forwards:
        assert rows(browser.page) == rows(page)
        assert rows(eval(browser.code, {"streamer": streamer})) == rows(page)
        browser.next()
    anew = stream.browse(page_size=page_size)
    anew.last()
    found = walk(anew, "previous")
    assert [row for page in found[::-1] for row in rows(page)] == whole
    again = walk(anew, "next")
    assert list(map(rows, again)) == list(map(rows, found[::-1]))
    return [len(page) for page in forwards]


# Turning pages.


def test_pages_go_through_the_stream_once_in_both_directions(
    streamer: ss.Streamer, client: redis.Redis
) -> None:
    fill(client, "s", 25)

    assert assert_turns(streamer["s"], streamer, 10) == [10, 10, 5]


@pytest.mark.parametrize("page_size", [1, 2, 3, 4, 7, 50])
def test_rows_of_one_id_stay_on_one_page(
    streamer: ss.Streamer, client: redis.Redis, page_size: int
) -> None:
    for shard in range(3):
        # Ties over three shards, over two, and none; shard 2 has its own rhythm.
        step = 2 if shard == 2 else 1
        add(client, f"s:{shard}", *((f"{START + n}-0", {"msg": f"{n}"}) for n in range(0, 9, step)))

    assert_turns(streamer["s"], streamer, page_size)


@pytest.mark.parametrize("page_size", [1, 3, 4])
def test_messages_of_one_entry_stay_on_one_page(
    streamer: ss.Streamer, client: redis.Redis, page_size: int
) -> None:
    for n in range(6):
        pairs = [part for k in range(n % 4) for part in ("msg", f"{n}.{k}")]
        client.execute_command("XADD", "s", f"{START}-{n + 1}", *pairs, "other", "x")

    assert_turns(streamer["s"], streamer, page_size)


@pytest.mark.parametrize("page_size", [1, 5])
def test_one_entry_and_exactly_full_pages(
    streamer: ss.Streamer, client: redis.Redis, page_size: int
) -> None:
    fill(client, "one", 1)
    fill(client, "ten", 10)

    assert_turns(streamer["one"], streamer, page_size)
    assert assert_turns(streamer["ten"], streamer, page_size) == [page_size] * (10 // page_size)


@pytest.mark.parametrize("stamp", [1, 2026, 5 * 10**7, 2**64 - 1])
def test_ids_that_are_no_times_are_paged_by_id(
    streamer: ss.Streamer, client: redis.Redis, stamp: int
) -> None:
    add(client, "s", *((f"{stamp}-{n}", {"msg": str(n)}) for n in range(1, 13)))
    client.xadd("s", {"msg": "x"}, id=f"{2**64 - 1}-{2**64 - 1}")

    assert_turns(streamer["s"], streamer, 5)


def test_nanosecond_ids(url: str, client: redis.Redis) -> None:
    add(client, "s", *((f"{START * 10**6 + n}-0", {"msg": str(n)}) for n in range(7)))

    with ss.connect(url, timestamp_format="ns") as streamer:
        assert_turns(streamer["s"], streamer, 3)


def test_keys_fields_and_needles_that_are_no_text(
    streamer: ss.Streamer, client: redis.Redis
) -> None:
    add(client, b"\xff'\"", *((f"{n + 1}-0", {b"\xfe": b"\x00\xff%d" % n}) for n in range(5)))

    stream = streamer[b"\xff'\""].contains(b"\xff").fields()
    assert_turns(stream, streamer, 2)


@pytest.mark.parametrize(
    "build",
    [
        lambda s: s.json(errors="keep"),
        lambda s: s.json().tz("Europe/Berlin"),
        lambda s: s.text(field="other").contains("1", field="msg"),
        lambda s: s.fields("msg"),
        lambda s: s.contains('"n": 1').json(),
        lambda s: s.shard(1).json(),
        lambda s: s.json().select("n", "timestamp"),
        lambda s: s.since("2023-11-14T22:13:25Z").until("2023-11-14T22:13:31Z").json(),
        lambda s: s.last("52w").since("2023-11-14T22:13:25Z"),
        lambda s: s.snapshot(),

    ],
)
def test_code_says_every_builder(url: str, client: redis.Redis, build: Any) -> None:
    for n in range(24):
        fields = {"msg": json.dumps({"n": n, "s": "x"}), "other": "y"}
        client.xadd(f"s:{n % 2}", fields, id=f"{START + 1000 * n}-0")

    with ss.connect(url, now="2023-11-14T22:20:00Z") as streamer:
        assert_turns(build(streamer["s"]), streamer, 5)
