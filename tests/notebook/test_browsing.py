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
from seastream_nb.notebook.browse import finding

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


def note(browser: ss.Browser) -> str:
    """What there is to say of the page."""
    text: str = browser._core.state.note
    return text


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
        lambda s: s.shard(1).shard(0),
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


def test_a_schema_and_a_condition_are_named_where_code_cannot_say_them(
    streamer: ss.Streamer, client: redis.Redis
) -> None:
    for n in range(6):
        client.xadd("s", {"msg": json.dumps({"n": n})}, id=f"{n + 1}-0")
    schema = pa.schema([("n", pa.int32())])
    browser = streamer["s"].json(schema).where(pc.field("n") > 2).browse(page_size=2)

    assert browser.page["n"].tolist() == [3, 4]
    *comments, line = browser.code.splitlines()
    assert comments == [
        "# the schema= that json() was given is left out",
        "# left out: .where((n > 2))",
    ]
    assert line == "streamer['s'].since('4-0').until('5-1').json().to_pandas()"
    assert eval(browser.code, {"streamer": streamer})["n"].tolist() == [3, 4]


# By time.


def test_going_to_a_time_shows_the_page_that_begins_there(
    streamer: ss.Streamer, client: redis.Redis
) -> None:
    fill(client, "s", 25)
    browser = streamer["s"].tz("Europe/Berlin").browse(page_size=5)

    assert numbers(browser.go_to("2023-11-14T22:13:30Z")) == [10, 11, 12, 13, 14]
    assert numbers(browser.go_to("2023-11-14 23:13:30.001")) == [11, 12, 13, 14, 15]
    assert numbers(browser.previous()) == [6, 7, 8, 9, 10]
    assert numbers(browser.next()) == [11, 12, 13, 14, 15]
    assert numbers(browser.go_to(f"{START + 3000}-0")) == [3, 4, 5, 6, 7]
    assert numbers(browser.go_to("earliest")) == [0, 1, 2, 3, 4]
    assert numbers(browser.go_to("latest")) == [20, 21, 22, 23, 24]
    assert numbers(browser.go_to("now")) == [20, 21, 22, 23, 24]
    assert "last page" in browser.html()
    assert numbers(browser.go_to("1999-01-01")) == [0, 1, 2, 3, 4]
    assert numbers(streamer["s"].browse(at=f"{START + 3000}-1", page_size=2).page) == [4, 5]


@pytest.mark.parametrize("when", ["soon", "2026", "", "02:99", "2023-02-30"])
def test_a_time_that_is_none_changes_nothing(
    streamer: ss.Streamer, client: redis.Redis, when: str
) -> None:
    fill(client, "s", 9)
    browser = streamer["s"].browse(page_size=3)
    browser.next()

    with pytest.raises(errors.ConfigError):
        browser.go_to(when)
    with pytest.raises(errors.ConfigError):
        browser.choose(since=when)
    assert numbers(browser.page) == [3, 4, 5]
    with pytest.raises(errors.ConfigError):
        streamer["s"].browse(at=when)


def test_a_chosen_range_is_paged_through_exported_and_left_again(
    streamer: ss.Streamer, client: redis.Redis
) -> None:
    fill(client, "s", 25)
    browser = streamer["s"].browse(page_size=5)

    page = browser.choose("2023-11-14T22:13:30Z", "2023-11-14T22:13:37Z")
    assert numbers(page) == [10, 11, 12, 13, 14]
    assert numbers(browser.next()) == [15, 16]
    assert numbers(browser.next()) == [15, 16]
    assert numbers(browser.to_pandas()) == [10, 11, 12, 13, 14, 15, 16]
    assert numbers(browser.choose()) == [0, 1, 2, 3, 4]
    with pytest.raises(errors.ConfigError, match="begins at id"):
        browser.choose("2023-11-14T22:13:37Z", "2023-11-14T22:13:30Z")
    assert numbers(browser.page) == [0, 1, 2, 3, 4]
    assert len(browser.choose("2023-11-14T22:13:30.5Z", "2023-11-14T22:13:30.6Z")) == 0
    assert "no messages in this range" in browser.html()
    assert len(eval(browser.code, {"streamer": streamer})) == 0


# Streams that change.


def test_what_comes_is_on_the_next_page_or_on_this_one_refreshed(
    streamer: ss.Streamer, client: redis.Redis
) -> None:
    fill(client, "s", 7)
    browser = streamer["s"].browse(page_size=5)
    assert numbers(browser.next()) == [5, 6]
    fill(client, "s", 5, first=7)

    assert numbers(browser.refresh()) == [5, 6, 7, 8, 9]
    assert numbers(browser.next()) == [10, 11]
    fill(client, "s", 2, first=12)
    assert numbers(browser.next()) == [12, 13]
    assert numbers(browser.previous()) == [10, 11]
    assert numbers(browser.next()) == [12, 13]
    assert numbers(browser.last()) == [9, 10, 11, 12, 13]


def test_a_page_is_full_as_soon_as_there_are_enough(
    streamer: ss.Streamer, client: redis.Redis
) -> None:
    fill(client, "s", 7)
    browser = streamer["s"].browse(page_size=5)
    fill(client, "s", 9, first=7)

    assert numbers(browser.next()) == [5, 6, 7, 8, 9]
    assert numbers(browser.next()) == [10, 11, 12, 13, 14]


def test_shards_that_appear_are_seen_by_a_refresh(
    streamer: ss.Streamer, client: redis.Redis
) -> None:
    fill(client, "s", 2)
    browser = streamer["s"].browse(page_size=5)
    fill(client, "s:1", 2, first=2)

    assert numbers(browser.refresh()) == [0, 1, 2, 3]


def test_what_was_trimmed_is_gone_and_nothing_else(
    streamer: ss.Streamer, client: redis.Redis
) -> None:
    fill(client, "s", 20)
    browser = streamer["s"].browse(page_size=5)
    browser.next()
    browser.next()
    client.xtrim("s", minid=f"{START + 7000}-0", approximate=False)

    assert numbers(browser.previous()) == [7, 8, 9]
    assert len(browser.previous()) == 0
    assert "gone: trimmed or deleted" in browser.html()
    assert numbers(browser.next()) == [7, 8, 9]
    assert numbers(browser.first()) == [7, 8, 9, 10, 11]
    client.xtrim("s", minid=f"{START + 15000}-0", approximate=False)
    assert numbers(browser.refresh()) == [15, 16, 17, 18, 19]


def test_a_deleted_stream_is_empty_until_there_is_a_new_one(
    streamer: ss.Streamer, client: redis.Redis
) -> None:
    fill(client, "s", 9)
    browser = streamer["s"].browse(page_size=5)
    client.delete("s")

    assert len(browser.refresh()) == 0
    for step in (browser.next, browser.previous, browser.first, browser.last):
        assert len(step()) == 0
    assert len(browser.go_to("2023-11-14")) == 0
    client.xadd("s", {"msg": "7"}, id="1-1")
    assert numbers(browser.next()) == [7]


def test_a_stream_that_is_not_there_yet_is_an_empty_page(streamer: ss.Streamer) -> None:
    browser = streamer["nothing"].browse()

    assert repr(browser) == "<Browser 'nothing', no messages>"
    assert browser.page.columns.tolist() == [
        *("stream", "shard", "sequence", "id", "timestamp", "payload")
    ]
    assert "no messages" in browser.html()


def test_a_snapshot_stays_what_it_was(streamer: ss.Streamer, client: redis.Redis) -> None:
    fill(client, "s", 3)
    browser = streamer["s"].snapshot().browse()
    fill(client, "s", 3, first=3)

    for step in (browser.refresh, browser.next, browser.last):
        assert numbers(step()) == [0, 1, 2]


def test_a_server_that_died_is_an_error_and_then_all_is_well_again(tmp_path: Path) -> None:
    from tests.servers import plain_client, tcp_server

    with tcp_server(tmp_path, "--appendonly", "yes", "--appendfsync", "always") as server:
        fill(plain_client(server.url), "s", 9)
        with ss.connect(server.url, timeout=0.5) as streamer:
            browser = streamer["s"].browse(page_size=5)
            server.kill()
            with pytest.raises(errors.ConnectError):
                browser.next()
            assert numbers(browser.page) == [0, 1, 2, 3, 4]
            server.restart()
            assert numbers(browser.next()) == [5, 6, 7, 8]


# What is on a page.


def test_columns_are_the_union_of_the_pages_fields(
    streamer: ss.Streamer, client: redis.Redis
) -> None:
    for n, name in enumerate(["a", "b", "c", "d"]):
        client.xadd("s", {"msg": json.dumps({name: n})}, id=f"{n + 1}-0")
    browser = streamer["s"].json().browse(page_size=2)

    assert list(browser.page.columns)[-2:] == ["a", "b"]
    assert list(browser.next().columns)[-2:] == ["c", "d"]


def test_a_page_that_cannot_be_decoded_is_an_error_and_is_passed(
    streamer: ss.Streamer, client: redis.Redis
) -> None:
    for n in range(9):
        client.xadd("s", {"msg": "{" if n == 4 else json.dumps({"n": n})}, id=f"{n + 1}-0")
    browser = streamer["s"].json().browse(page_size=3)

    with pytest.raises(errors.DecodeError, match="5-0"):
        browser.next()
    assert len(browser.page) == 0
    assert "5-0" in browser.html()
    assert browser.next()["n"].tolist() == [6, 7, 8]


def test_a_column_that_no_row_has_is_refused_with_what_was_meant(
    streamer: ss.Streamer, client: redis.Redis
) -> None:
    client.xadd("s", {"msg": '{"price": 1}'})

    with pytest.raises(errors.ConfigError, match="'price'"):
        streamer["s"].json().select("prise").browse()
    with pytest.raises(errors.ConfigError, match="'price'"):
        streamer["s"].json().where(pc.field("prise") > 1).browse()


def test_a_condition_on_a_column_that_ends_early_is_no_error(
    streamer: ss.Streamer, client: redis.Redis
) -> None:
    for n in range(9):
        client.xadd("s", {"msg": json.dumps({"price" if n < 4 else "other": n})}, id=f"{n + 1}-0")
    browser = streamer["s"].json().where(pc.field("price") > 0).browse(page_size=3)

    assert browser.page["price"].tolist() == [1, 2, 3]
    browser.next()
    assert "last page" in browser.html()
    assert len(browser.go_to("6-0")) == 3


def test_entries_without_a_message_are_explained_and_no_warning(
    streamer: ss.Streamer, client: redis.Redis
) -> None:
    add(client, "s", *((f"{n}-0", {"temperature": "21"}) for n in range(1, 9)))

    assert "temperature" in streamer["s"].browse(page_size=3).html()
    assert len(streamer["s"].fields().browse(page_size=3).page) == 3


def test_huge_payloads_end_a_page_early_and_skip_nothing(
    streamer: ss.Streamer, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finding, "PAGE_BYTES", 3_000_000)
    for n in range(10):
        client.xadd("s", {"msg": b"%d" % n + b" " * 6_000_000}, id=f"{START + n}-0")
    browser = streamer["s"].browse(page_size=100)

    pages = walk(browser, "next")
    assert len(pages) > 2
    assert [int(bytes(each)) for page in pages for each in page["payload"]] == list(range(10))
    assert len(browser.html()) < 100_000


@pytest.mark.parametrize("page_size", [0, -1, 1.5, "9", None, True, 10_001])
def test_a_page_size_that_is_none_is_refused(streamer: ss.Streamer, page_size: Any) -> None:
    with pytest.raises(errors.ConfigError, match="page_size"):
        streamer["s"].browse(page_size=page_size)


def test_counted_streams_are_refused_with_what_to_say(streamer: ss.Streamer) -> None:
    for stream in (streamer["s"].first(5), streamer["s"].last(5)):
        with pytest.raises(errors.ConfigError, match=r"last\('10m'\)"):
            stream.browse()


# Filters, and what a page costs.


def test_a_filter_that_keeps_little_stops_looking_and_goes_on(
    streamer: ss.Streamer, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finding, "MOST_ENTRIES", 1_000)
    for shard in range(2):
        fill(client, f"s:{shard}", 8_000, first=shard * 20)
    for build in (
        lambda s: s.contains("7001").text(),
        lambda s: s.text().where(pc.equal(pc.field("payload"), "7001")),
    ):
        browser = build(streamer["s"]).browse(page_size=5)
        assert len(browser.page) == 0
        assert "nothing was found so far" in note(browser)
        found: list[str] = []
        for _ in range(20):
            page = browser.next()
            if "last page" in note(browser):
                break
            found += page["payload"].tolist()
        assert found == ["7001", "7001"]
        browser.last()
        back: list[str] = browser.page["payload"].tolist()
        for _ in range(20):
            page = browser.previous()
            if "first page" in note(browser):
                break
            back += page["payload"].tolist()
        assert back == ["7001", "7001"]


def entries_sent(client: redis.Redis, act: Any) -> tuple[int, int]:
    """How many commands a step takes, and how many bytes of answers."""
    client.config_resetstat()
    act()
    commands = sum(each["calls"] for each in client.info("commandstats").values())
    return commands, client.info("stats")["total_net_output_bytes"]


def test_no_step_costs_more_on_a_long_stream(streamer: ss.Streamer, client: redis.Redis) -> None:
    costs = {}
    for length in (2_000, 60_000):
        key = f"length{length}"
        fill(client, key, length)
        browser = streamer[key].browse(page_size=50)
        middle = f"{START + 1000 * length // 2}-0"
        costs[length] = {
            "open": entries_sent(client, lambda key=key: streamer[key].browse(page_size=50)),
            "next": entries_sent(client, browser.next),
            "previous": entries_sent(client, browser.previous),
            "last": entries_sent(client, browser.last),
            "before": entries_sent(client, browser.previous),
            "go_to": entries_sent(client, lambda b=browser, at=middle: b.go_to(at)),
            "refresh": entries_sent(client, browser.refresh),
            "html": entries_sent(client, browser.html),
        }
    for step, (commands, size) in costs[60_000].items():
        fewer, smaller = costs[2_000][step]
        assert commands <= fewer + 2, step
        assert size <= 1.1 * smaller + 5_000 + (200_000 if step == "html" else 0), step
    assert costs[60_000]["next"][1] < 20_000


# Other places.


def test_a_file_is_browsed_without_a_server() -> None:
    with ss.connect(DATA / "prices.ss") as streamer:
        (key,) = streamer.catalog()
        whole = streamer[key].json().to_pandas()
        browser = streamer[key].json().browse(page_size=max(2, len(whole) // 7))
        pages = walk(browser, "next")
        assert [row for page in pages for row in rows(page)] == rows(whole)
        assert rows(eval(browser.code, {"streamer": streamer})) == rows(pages[-1])
        back = walk(browser, "previous")
        assert list(map(rows, back[::-1])) == list(map(rows, pages))


def test_merged_streams_are_browsed_as_one(streamer: ss.Streamer, client: redis.Redis) -> None:
    fill(client, "a", 6)
    fill(client, "b", 6, first=3)
    stream = ss.merge(streamer["a"].since(f"{START + 2000}-0"), streamer["b"])
    browser = stream.browse(page_size=3)

    pages = walk(browser, "next")
    assert [row for page in pages for row in rows(page)] == rows(stream.to_pandas())
    assert browser.code.splitlines()[0] == "# stream: what ss.merge() made of a, b"
    assert rows(eval(browser.code, {"stream": stream})) == rows(pages[-1])


def test_several_streams_are_browsed_as_one(streamer: ss.Streamer, client: redis.Redis) -> None:
    fill(client, "a", 6)
    fill(client, "b", 6, first=3)

    assert_turns(streamer.stream("a", "b"), streamer, 3)


async def test_the_awaiting_browser_does_the_same(url: str, client: redis.Redis) -> None:
    fill(client, "s", 12)

    async with ss.connect_async(url) as streamer:
        browser = await streamer["s"].browse(page_size=5)
        assert numbers(await browser.next()) == [5, 6, 7, 8, 9]
        assert numbers(browser.page) == [5, 6, 7, 8, 9]
        assert numbers(await browser.go_to(f"{START}-1")) == [1, 2, 3, 4, 5]
        assert browser.text().startswith("<AsyncBrowser 's', 5 messages from")
        assert "<img " in browser.html()
