"""What an argument may be: integers of any library, and errors that say what to give."""

from __future__ import annotations

import math
import re
from operator import methodcaller
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import seastream_nb as ss
from seastream_nb import errors
from tests.test_ranges import fill, numbers

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def ticks(streamer: ss.Streamer, client: Any) -> ss.Stream:
    """Ten messages, 0 to 9."""
    fill(client, "ticks", 10)
    return streamer["ticks"]


# Integers.


@pytest.mark.parametrize("make", [np.int64, np.uint64, np.int8, pa.scalar, np.array])
def test_an_integer_of_another_library_counts_like_an_int(
    ticks: ss.Stream, client: Any, make: Callable[[int], Any]
) -> None:
    fill(client, "ticks:3", 2)
    assert numbers(ticks.shard(make(0)).last(make(2))) == [8, 9]
    assert numbers(ticks.shard(make(0)).first(make(2))) == [0, 1]
    assert numbers(ticks.shard(make(3))) == [0, 1]
    assert len(ticks.head(make(3))) == 3
    assert len(ticks.tail(make(1))) == 1
    assert len(ticks.last(5).tail(make(2))) == 2
    assert [page.num_rows for page in ticks.pages(make(7))] == [7, 5]
    assert next(ticks.reader(make(4))).num_rows == 4
    assert next(ticks.first(3).follow(page_size=make(2))).num_rows == 2


def test_the_shards_of_a_frame_are_shards(
    streamer: ss.Streamer, ticks: ss.Stream, client: Any
) -> None:
    fill(client, "ticks:3", 2)
    shards = ticks.to_pandas().shard.unique()
    assert ticks.shard(*shards).count() == 12
    with streamer.consumer("ticks", auto_stream_reset="earliest") as consumer:
        consumer.unassign("ticks", shards[0])
        consumer.rewind("beginning")
        assert {message.shard for message in consumer.take(2)} == {3}
    with streamer.producer("new") as producer:
        producer.send_frame(pa.table({"n": [1]}), shard=shards[1])
    assert list(streamer.catalog()["new"].shards) == [3]


def test_consumers_and_repairs_take_counts_out_of_frames(
    streamer: ss.Streamer, ticks: ss.Stream
) -> None:
    two = np.int64(2)
    options: dict[str, Any] = {"auto_stream_reset": "earliest", "batch_size": two}
    with streamer.consumer("ticks", mode="resumable", group="g", **options) as consumer:
        assert len(consumer.take(two)) == 2
        assert consumer.page(two).num_rows == 2
    assert len(ticks.pending("g", limit=two)) <= 2
    assert streamer.claim("ticks", "g", consumer="me", min_idle=0, limit=two) is not None
    assert streamer.trim("ticks", max_len=two, exact=True) == 8
    assert ss.RoundRobinSharder(two).n == 2


def test_a_float_is_a_duration_and_no_count(ticks: ss.Stream) -> None:
    for window in (2.0, np.float64(2.0)):
        assert ticks.last(window).count() == 0
        for count in (ticks.first, ticks.head, ticks.shard, ticks.reader):
            with pytest.raises(errors.ConfigError):
                count(window)  # type: ignore[operator]
    with pytest.raises(errors.ConfigError, match="NoneType is never a duration"):
        ticks.last(None)  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [2**63, 2**64, 10**30])
def test_a_count_beyond_all_numbers_of_messages_means_all(ticks: ss.Stream, count: int) -> None:
    assert ticks.first(count).count() == ticks.last(count).count() == 10
    assert len(ticks.head(count)) == len(ticks.tail(count)) == 10
    assert len(ticks.first(4).head(count)) == len(ticks.first(4).tail(count)) == 4
    assert [page.num_rows for page in ticks.pages(count)] == [10]
    assert next(ticks.first(count).follow(page_size=count)).num_rows == 10


@pytest.mark.parametrize("count", [-1, np.int64(-1), True, np.True_, "3", None, [3], math.nan])
@pytest.mark.parametrize("method", ["first", "head"])
def test_a_refused_count_names_the_method(ticks: ss.Stream, method: str, count: Any) -> None:
    for stream in (ticks, ticks.last(3)) if method == "head" else (ticks,):
        with pytest.raises(errors.ConfigError) as caught:
            methodcaller(method, count)(stream)
        assert str(caught.value).startswith(f"{method}({count!r}): give a number of messages")


def test_a_refused_count_of_the_last_names_the_method(ticks: ss.Stream) -> None:
    for method, count in (("tail", -1), ("last", np.int64(-2))):
        with pytest.raises(errors.ConfigError) as caught:
            methodcaller(method, count)(ticks)
        assert str(caught.value).startswith(f"{method}({count!r}): give a number of messages")
    with pytest.raises(errors.ConfigError, match=r"tail\('x'\): give a number"):
        ticks.first(3).tail("x")  # type: ignore[arg-type]


# Builders.


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (
            methodcaller("fields", ["a", "b"]),
            r"fields\(\['a', 'b'\]\): .* as in fields\('a', 'b'\)",
        ),
        (methodcaller("fields", 5), r"fields\(5\): give names"),
        (methodcaller("fields", "a", None), r"fields\('a', None\): give names"),
        (methodcaller("text", 5), "field=5: give the name of one field"),
        (methodcaller("json", field=5), "field=5: give the name of one field"),
        (methodcaller("json", field=["a"]), r"field=\['a'\]: give the name of one field"),
        (methodcaller("contains", ["a"]), r"contains\(\['a'\]\): give text or bytes"),
        (methodcaller("contains", 5), r"contains\(5\): give text or bytes"),
        (methodcaller("contains", None), r"contains\(None\): give text or bytes"),
        (methodcaller("contains", "a", field=5), "field=5: give the name of one field"),
    ],
)
def test_a_builder_says_at_once_what_to_give(
    streamer: ss.Streamer, build: Callable[[Any], Any], said: str
) -> None:
    with pytest.raises(errors.ConfigError, match=said):
        build(streamer["ticks"])


@pytest.mark.parametrize(
    ("condition", "kind"),
    [
        (pc.field("a") + 1, "int64"),
        (pc.field("s"), "string"),
        (pc.field("absent") + 1, "int8"),
        (pc.scalar(1), "int64"),
    ],
)
def test_a_where_that_is_not_true_or_false_is_refused(
    streamer: ss.Streamer, client: Any, condition: pc.Expression, kind: str
) -> None:
    client.xadd("rows", {"msg": '{"a": 1, "s": "x"}'})
    rows = streamer["rows"].json().where(condition)
    for terminal in (rows.to_pandas, rows.count, lambda: list(rows.pages()), rows.head):
        with pytest.raises(errors.ConfigError, match=f"it is {kind}, and must be true or false"):
            terminal()


def test_a_where_whose_types_do_not_meet_is_refused(streamer: ss.Streamer, client: Any) -> None:
    client.xadd("rows", {"msg": '{"a": 1}'})
    with pytest.raises(errors.ConfigError, match="doesn't match type"):
        streamer["rows"].json().where(pc.field("a").isin(["x"])).count()


def test_a_where_on_a_flag_keeps_no_row_that_lacks_it(streamer: ss.Streamer, client: Any) -> None:
    for payload in ('{"a": 1}', '{"a": 2, "good": null}'):
        client.xadd("rows", {"msg": payload})
    rows = streamer["rows"].json().where(pc.field("good"))
    assert rows.count() == 0
    client.xadd("rows", {"msg": '{"a": 3, "good": true}'})
    assert rows.to_pandas()["a"].tolist() == [3]


# Terminals.


def test_a_relation_is_made_with_a_connection_and_not_with_a_name(
    ticks: ss.Stream, tmp_path: Path
) -> None:
    duckdb = pytest.importorskip("duckdb")
    for con in (str(tmp_path / "my.db"), 5, False):
        with pytest.raises(errors.ConfigError, match="give a DuckDB connection"):
            ticks.to_duckdb(con)
    with duckdb.connect() as con:
        assert ticks.to_duckdb(con).count("*").fetchall() == [(10,)]
    assert ticks.to_duckdb(duckdb).count("*").fetchall() == [(10,)]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("progress", ["yes", 1, 0])
@pytest.mark.parametrize("method", ["to_arrow", "to_pandas", "to_polars", "count", "rate"])
def test_whether_a_bar_is_shown_is_true_false_or_left_out(
    ticks: ss.Stream, method: str, progress: Any
) -> None:
    with pytest.raises(errors.ConfigError, match=f"progress={progress!r}: give True or False"):
        methodcaller(method, progress=progress)(ticks)
    methodcaller(method, progress=None)(ticks)


@pytest.mark.parametrize("pattern", [5, ["a"], b"a*"])
async def test_a_catalog_is_asked_for_by_a_pattern_of_text(url: str, pattern: Any) -> None:
    said = re.escape(f"catalog({pattern!r}): give a glob pattern as text, such as 'app:*'")
    with ss.connect(url) as streamer, pytest.raises(errors.ConfigError, match=said):
        streamer.catalog(pattern)
    async with ss.connect_async(url) as awaiting:
        with pytest.raises(errors.ConfigError, match=said):
            await awaiting.catalog(pattern)


# What looks like a container.


def test_a_blocking_streamer_says_that_its_catalog_knows_the_keys(streamer: ss.Streamer) -> None:
    with pytest.raises(TypeError, match=r"catalog\(\)"):
        "ticks" in streamer  # noqa: B015
    with pytest.raises(TypeError, match=r"catalog\(\)"):
        list(streamer)


async def test_an_awaiting_streamer_says_that_its_catalog_knows_the_keys(url: str) -> None:
    async with ss.connect_async(url) as streamer:
        with pytest.raises(TypeError, match=r"await streamer\.catalog\(\)"):
            "ticks" in streamer  # noqa: B015
        with pytest.raises(TypeError, match=r"await streamer\.catalog\(\)"):
            list(streamer)


async def test_a_plain_loop_over_an_awaiting_stream_says_async_for(url: str) -> None:
    async with ss.connect_async(url) as streamer:
        with pytest.raises(TypeError, match="async for"):
            list(streamer["ticks"])
        with pytest.raises(TypeError, match="async for"):
            for _ in streamer["ticks"].first(1):
                pass


async def test_a_connection_that_is_not_awaited_yet_says_so(url: str) -> None:
    connecting = ss.connect_async(url)
    said = r"await it first, as in streamer = await connect_async\(\.\.\.\), or use async with"
    with pytest.raises(TypeError, match=said):
        connecting["a"]
    for name in ("stream", "catalog", "close"):
        with pytest.raises(AttributeError, match=said):
            getattr(connecting, name)
        assert not hasattr(connecting, name)
    assert not hasattr(connecting, "_repr_html_")
    async with connecting as streamer:
        assert await streamer["a"].count() == 0
