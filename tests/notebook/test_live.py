"""A live view without a front end: what it keeps, how it is steered, and what ends it."""

from __future__ import annotations

import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

import seastream_nb as ss
from seastream_nb import portal
from seastream_nb.notebook import running
from tests.redis.consuming import calls, send
from tests.servers import eventually, tcp_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import redis

PATIENCE = 20.0


@pytest.fixture(autouse=True)
def _nothing_goes_on_afterwards() -> Iterator[None]:
    yield
    running.stop_all()
    assert eventually(lambda: not tasks() and not running.running())
    assert eventually(lambda: "seastream-page" not in {t.name for t in threading.enumerate()})


def tasks() -> list[str]:
    async def names() -> list[str]:
        import asyncio

        return [task.get_name() for task in asyncio.all_tasks()]

    return [name for name in portal.run(names()) if name.startswith("seastream live")]


def payloads(view: ss.LiveView | ss.AsyncLiveView) -> list[int]:
    return [int(value) for value in view.to_arrow()["payload"].to_pylist()]


# What comes.


def test_it_begins_where_the_stream_ends_when_it_returns(
    streamer: ss.Streamer, client: redis.Redis
) -> None:
    send(client, "s", 1, 2)
    view = streamer["s"].live()
    send(client, "s", 3, 4)
    view.wait(2, PATIENCE)

    assert payloads(view) == [3, 4]
    assert view.state == "running"
    assert view.to_arrow().schema.metadata[b"seastream_seen"] == b"2"


def test_it_shows_the_past_first_when_that_is_asked_for(
    streamer: ss.Streamer, client: redis.Redis
) -> None:
    ids = send(client, "s", 0, 1, 2)
    views = [
        streamer["s"].live(since="earliest"),
        streamer["s"].live(since=ids[1].decode()),
        streamer["s"].live(since="-1h"),
    ]
    send(client, "s", 3)

    for view, first in zip(views, (0, 1, 0), strict=True):
        view.wait(4 - first, PATIENCE)
        assert payloads(view) == list(range(first, 4))


def test_a_stream_that_says_where_it_begins_needs_no_since(
    streamer: ss.Streamer, client: redis.Redis
) -> None:
    ids = send(client, "s", *range(5))
    stream = streamer["s"]
    begun = [stream.last(2), stream.since(ids[3].decode()), stream.last("1h").shard(0)]
    views = [each.live() for each in begun]
    bounded = stream.since(ids[3].decode()).live(since="earliest")
    send(client, "s", 5)

    for view, first in zip([*views, bounded], (3, 3, 0, 3), strict=True):
        view.wait(6 - first, PATIENCE)
        assert payloads(view) == list(range(first, 6))


def test_it_ends_where_the_range_ends(streamer: ss.Streamer, client: redis.Redis) -> None:
    view = streamer["s"].first(2).live()
    send(client, "s", 1, 2, 3)
    view.wait(timeout=PATIENCE)

    assert (view.state, payloads(view)) == ("stopped", [1, 2])
    assert "the range ended" in repr(view)
    assert running.running() == {}
    view.wait(2)
    with pytest.raises(ss.StreamEnded, match="2 of 3"):
        view.wait(3)


async def test_the_awaiting_facade_has_it_too(url: str, client: redis.Redis) -> None:
    async with ss.connect_async(url) as streamer:
        view = await streamer["s"].live(columns=["payload"])
        send(client, "s", 1)
        await view.wait(1, PATIENCE)
        assert view.to_arrow().to_pydict() == {"payload": [b"1"]}
        view.stop()
        await view.wait()
        assert view.state == "stopped"
    assert isinstance(view, ss.AsyncLiveView)


def test_several_streams_and_files_are_watched_alike(
    streamer: ss.Streamer, client: redis.Redis, tmp_path: Path
) -> None:
    path = tmp_path / "s.ss"
    with (
        ss.connect(path, create="if_missing") as file,
        file.producer("f") as producer,
        ss.connect(path) as reading,
    ):
        producer.send("1")
        producer.flush()
        view = reading["f"].live(since="earliest")
        both = ss.merge(streamer["a"], streamer["b"]).live()
        view.wait(1, PATIENCE)
        producer.send("2")
        producer.flush()
        send(client, "a", 3)
        send(client, "b", 4)
        view.wait(2, PATIENCE)
        both.wait(2, PATIENCE)
        assert (payloads(view), sorted(payloads(both))) == ([1, 2], [3, 4])
    view.wait(timeout=PATIENCE)
    assert "its streamer was closed" in repr(view)


# What is kept.


def test_rows_are_bounded_and_what_was_dropped_is_counted(
    streamer: ss.Streamer, client: redis.Redis
) -> None:
    send(client, "s", *range(2_500))
    view = streamer["s"].live(since="earliest", max_rows=10)
    view.wait(2_500, PATIENCE)

    assert payloads(view) == list(range(2_490, 2_500))
    frame = view.to_pandas(index="timestamp")
    assert frame.attrs["seastream_seen"] == 2_500
    assert frame.attrs["seastream_dropped"] == 2_490
    assert frame.index.name == "timestamp"


def test_bytes_are_bounded(streamer: ss.Streamer, client: redis.Redis) -> None:
    for _ in range(100):
        client.xadd("s", {b"msg": bytes(10_000)})
    view = streamer["s"].live(since="earliest", max_bytes="256KiB")
    view.wait(100, PATIENCE)

    assert 10 < len(view.to_arrow()) <= 26
    assert view.to_arrow().nbytes < 256 * 1_024


def test_a_rolling_view_keeps_so_much_time(streamer: ss.Streamer, client: redis.Redis) -> None:
    now_ms = time.time_ns() // 10**6
    for minute in range(10):
        client.xadd("s", {b"msg": str(minute)}, id=f"{now_ms + 60_000 * minute}-0")
    view = streamer["s"].live(since="earliest", rolling="3m")
    view.wait(10, PATIENCE)

    assert payloads(view) == [6, 7, 8, 9]


def test_columns_are_those_asked_for_and_else_all_with_the_id(
    streamer: ss.Streamer, client: redis.Redis
) -> None:
    send(client, "s", '{"a": 1, "b": "x"}')
    stream = streamer["s"].json()
    views = {
        "all": stream.live(since="earliest"),
        "chosen": stream.live(since="earliest", columns=["b", "stream"], chart="a"),
        "selected": stream.select("a").live(since="earliest"),
        "both": stream.select("a").live(since="earliest", columns=["b"]),
        "empty": stream.live(columns=["b", "payload"]),
    }
    for name, view in views.items():
        view.wait(0 if name == "empty" else 1, PATIENCE)

    assert {name: view.to_arrow().column_names for name, view in views.items()} == {
        "all": ["stream", "shard", "sequence", "id", "timestamp", "a", "b", "_extra"],
        "chosen": ["b", "stream"],
        "selected": ["a"],
        "both": ["b"],
        "empty": ["b", "payload"],
    }


def test_nothing_yet_is_a_table_with_the_columns_that_are_known(streamer: ss.Streamer) -> None:
    for stream in (
        streamer["s"],
        streamer["s"].json(),
        streamer["s"].fields(),
        streamer["s"].text(),
    ):
        table = stream.live().to_arrow()
        assert len(table) == 0
        assert table.column_names[:5] == ["stream", "shard", "sequence", "id", "timestamp"]
    table = streamer["s"].json().live(columns=["a", "payload"]).to_arrow()
    assert table.schema.types == [pa.null(), pa.binary()]
    assert list(streamer["s"].live().to_pandas().columns)[-1] == "payload"


# Steering.


def test_a_pause_keeps_its_place(streamer: ss.Streamer, client: redis.Redis) -> None:
    view = streamer["s"].live(max_rows=10_000)
    send(client, "s", 0)
    view.wait(1, PATIENCE)
    for _ in range(3):
        before = payloads(view)
        view.pause()
        assert view.state == "paused"
        send(client, "s", *range(len(before), len(before) + 500))
        with pytest.raises(TimeoutError, match=f"{len(before)} of {len(before) + 1}"):
            view.wait(len(before) + 1, 0.3)
        assert payloads(view) == before
        view.resume()
        view.wait(len(before) + 500, PATIENCE)
        assert payloads(view) == list(range(len(before) + 500))


def test_a_paused_view_does_not_ask_the_server(streamer: ss.Streamer, client: redis.Redis) -> None:
    send(client, "s", *range(5_000))
    view = streamer["s"].live(since="earliest", max_rows=10_000)
    view.wait(5_000, PATIENCE)
    view.pause()
    send(client, "s", 5_000)  # for the page that was asked for before

    def asks() -> bool:
        before = calls(client, "xread")
        time.sleep(0.5)
        return calls(client, "xread") > before

    assert eventually(lambda: not asks())
    send(client, "s", *range(5_001, 5_100))
    assert not asks()
    view.resume()
    view.wait(5_100, PATIENCE)
    assert payloads(view) == list(range(5_100))


def test_nothing_is_missed_or_twice_while_it_is_paused_and_resumed(
    url: str, client: redis.Redis
) -> None:
    total = 20_000
    with ss.connect(url) as streamer, ss.connect(url) as writing:
        view = streamer["s"].live(max_rows=total, columns=["payload"])

        def write() -> None:
            with writing.producer("s") as producer:
                for number in range(total):
                    producer.send(str(number))

        thread = threading.Thread(target=write)
        thread.start()
        while thread.is_alive():
            view.pause()
            time.sleep(0.01)
            view.resume()
            time.sleep(0.02)
        thread.join()
        view.wait(total, PATIENCE)
        assert payloads(view) == list(range(total))
        view.stop()


def test_stopping_keeps_the_rows_and_is_final(streamer: ss.Streamer, client: redis.Redis) -> None:
    view = streamer["s"].live()
    send(client, "s", 1)
    view.wait(1, PATIENCE)
    view.stop()
    view.stop()
    assert view.state == "stopped"
    view.wait()
    send(client, "s", 2)
    view.resume()
    view.pause()

    assert (view.state, payloads(view)) == ("stopped", [1])
    with pytest.raises(ss.ConfigError, match="stopped"):
        view.seek("earliest")
    with pytest.raises(ss.StreamEnded, match="1 of 2 messages came: it was stopped"):
        view.wait(2)


def test_a_seek_begins_anew(streamer: ss.Streamer, client: redis.Redis) -> None:
    ids = send(client, "s", *range(5))
    view = streamer["s"].live()
    view.seek("earliest")
    view.wait(5, PATIENCE)
    assert payloads(view) == [0, 1, 2, 3, 4]
    view.seek(ids[3].decode())
    view.wait(2, PATIENCE)
    assert payloads(view) == [3, 4]
    view.pause()
    view.seek("latest")
    view.seek(ids[4].decode())
    send(client, "s", 5)
    assert view.state == "paused"
    view.resume()
    view.wait(2, PATIENCE)
    assert payloads(view) == [4, 5]
    with pytest.raises(ss.ConfigError, match="no time"):
        view.seek("soon")
    assert view.state == "running"


def test_a_seek_stays_within_the_range_of_the_stream(
    streamer: ss.Streamer, client: redis.Redis
) -> None:
    ids = send(client, "s", *range(5))
    view = streamer["s"].since(ids[2].decode()).last(1).live()
    view.wait(1, PATIENCE)
    view.seek("earliest")
    view.wait(3, PATIENCE)

    assert payloads(view) == [2, 3, 4]


def test_any_threads_may_steer_at_once(streamer: ss.Streamer, client: redis.Redis) -> None:
    send(client, "s", *range(100))
    view = streamer["s"].live(since="earliest")
    acts: list[Callable[[], object]] = [
        view.pause,
        view.resume,
        lambda: view.seek("earliest"),
        view.to_pandas,
        view.text,
        view.html,
    ]
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(acts[turn % len(acts)]) for turn in range(300)]:
            done.result(PATIENCE)
    view.resume()
    view.seek("earliest")
    view.wait(100, PATIENCE)

    assert payloads(view) == list(range(100))


def test_a_wait_is_interrupted_at_once(
    streamer: ss.Streamer, client: redis.Redis, alarm: Callable[[float], None]
) -> None:
    view = streamer["s"].live()
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - it may come at once
        alarm(0.1)
        view.wait(1)

    send(client, "s", 1)
    view.wait(1, PATIENCE)
    assert view.state == "running"


@pytest.mark.parametrize("wrong", [{"n": -1}, {"n": "two"}, {"timeout": -1}])
def test_what_cannot_be_waited_for_is_refused(streamer: ss.Streamer, wrong: dict[str, Any]) -> None:
    with pytest.raises(ss.ConfigError, match=next(iter(wrong))):
        streamer["s"].live().wait(**wrong)


# The user's functions.


def test_functions_get_every_page_in_order_on_one_thread(
    streamer: ss.Streamer, client: redis.Redis
) -> None:
    view = streamer["s"].live(columns=["payload"])
    got: list[int] = []
    threads = set()

    @view.on_page
    def collect(page: pa.RecordBatch) -> None:
        assert page.schema.names == ["payload"]
        got.extend(map(int, page["payload"].to_pylist()))
        threads.add(threading.current_thread())

    for start in range(0, 300, 100):
        send(client, "s", *range(start, start + 100))
        view.wait(start + 100, PATIENCE)
    assert got == list(range(300))
    (thread,) = threads
    assert thread is not threading.main_thread()
    assert callable(collect)
    view.stop()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_while_a_function_works_nothing_more_is_asked_for(
    streamer: ss.Streamer, client: redis.Redis
) -> None:
    view = streamer["s"].live(max_rows=10_000)
    entered, leave = threading.Event(), threading.Event()
    view.on_page(lambda _: (entered.set(), leave.wait(PATIENCE)))
    send(client, "s", 0)
    assert entered.wait(PATIENCE)
    before = calls(client, "xread")
    send(client, "s", *range(1, 1_000))
    with pytest.raises(TimeoutError, match="0 of 1 "):
        view.wait(1, 0.3)
    assert calls(client, "xread") == before
    assert streamer["s"].count() == 1_000  # the connection goes on
    leave.set()
    view.wait(1_000, PATIENCE)
    assert payloads(view) == list(range(1_000))


def test_a_function_may_steer_the_view_but_not_wait_for_it(
    streamer: ss.Streamer, client: redis.Redis
) -> None:
    view = streamer["s"].live()
    refused: list[BaseException] = []

    def once(_: pa.RecordBatch) -> None:
        try:
            view.wait(100)
        except RuntimeError as error:
            refused.append(error)
        view.stop()

    view.on_page(once)
    send(client, "s", 1)
    view.wait(timeout=PATIENCE)

    assert "would wait for itself" in str(refused[0])
    assert (view.state, payloads(view)) == ("stopped", [1])


@pytest.mark.parametrize("error", [ZeroDivisionError("<b>"), SystemExit(3), KeyboardInterrupt()])
def test_what_a_function_raises_ends_the_view(
    streamer: ss.Streamer, client: redis.Redis, error: BaseException
) -> None:
    view, other = streamer["s"].live(), streamer["s"].live()

    def fail(_: pa.RecordBatch) -> None:
        raise error

    view.on_page(fail)
    send(client, "s", 1)
    expected = type(error) if isinstance(error, Exception) else RuntimeError
    with pytest.raises(expected):
        view.wait(1, PATIENCE)
    assert (view.state, payloads(view)) == ("failed", [1])
    assert type(error).__name__ in view.text()
    assert "<b>" not in view.html()
    send(client, "s", 2)
    other.wait(2, PATIENCE)
    assert payloads(other) == [1, 2]


def test_what_is_no_function_is_refused(streamer: ss.Streamer) -> None:
    with pytest.raises(ss.ConfigError, match="give a function"):
        streamer["s"].live().on_page(7)  # type: ignore[type-var]


# What goes wrong.


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"columns": ["prise"]}, "did you mean 'price'"),
        ({"columns": ["zzz"]}, "there are .*timestamp.*price, name"),
        ({"columns": "price"}, "columns.*give a list"),
        ({"columns": []}, "columns"),
        ({"columns": ["price", "price"]}, "twice"),
        ({"chart": "prise"}, "did you mean 'price'"),
        ({"chart": "name"}, "no number; there are .*price"),
        ({"chart": 7}, "chart"),
        ({"rolling": "soon"}, "rolling"),
        ({"max_rows": 0}, "max_rows"),
        ({"max_bytes": "many"}, "max_bytes"),
        ({"since": "soon"}, "'soon' is no time"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_once(
    streamer: ss.Streamer, client: redis.Redis, wrong: dict[str, Any], message: str
) -> None:
    send(client, "s", '{"price": 1.5, "name": "x"}')
    with pytest.raises(ss.ConfigError, match=message):
        streamer["s"].json().live(**wrong)
    assert tasks() == []


def test_a_snapshot_is_not_watched(streamer: ss.Streamer) -> None:
    with pytest.raises(ss.ConfigError, match="a snapshot has an end"):
        streamer["s"].snapshot().live()


@pytest.mark.parametrize("wrong", [{"columns": ["prise"]}, {"chart": "name"}])
def test_columns_of_a_stream_without_a_past_are_checked_when_they_come(
    streamer: ss.Streamer, client: redis.Redis, wrong: dict[str, Any]
) -> None:
    view = streamer["s"].json().live(**wrong)
    send(client, "s", '{"price": 1.5, "name": "x"}')
    with pytest.raises(ss.ConfigError, match="price"):
        view.wait(1, PATIENCE)
    assert view.state == "failed"
    assert isinstance(view.error, ss.ConfigError)
    assert len(view.to_arrow()) == 0


def failed(view: ss.LiveView, kind: type[ss.StreamError]) -> None:
    """It failed, says so in one line, raises at each wait, and keeps its rows."""
    for _ in range(2):
        with pytest.raises(kind):
            view.wait(1_000, PATIENCE)
    assert view.state == "failed"
    assert isinstance(view.error, kind)
    assert f"failed with {kind.__name__}" in repr(view)
    assert "\n" not in repr(view)
    assert kind.__name__ in view.html()
    assert len(view.to_pandas()) == 1
    assert view not in running.running().values()


def test_a_stream_that_is_deleted_is_told(streamer: ss.Streamer, client: redis.Redis) -> None:
    view = streamer["s"].live()
    send(client, "s", 1)
    view.wait(1, PATIENCE)
    client.delete("s")

    failed(view, ss.StreamReset)
    assert streamer["s"].count() == 0


def test_a_payload_that_does_not_fit_is_told(streamer: ss.Streamer, client: redis.Redis) -> None:
    send(client, "s", '{"a": 1}')
    view = streamer["s"].json().live(since="earliest")
    view.wait(1, PATIENCE)
    send(client, "s", "<img src=x>\nno JSON")

    failed(view, ss.DecodeError)
    assert "<img" not in view.html()


def test_a_dead_server_is_told_also_while_it_is_paused(tmp_path: Path) -> None:
    with tcp_server(tmp_path) as server, ss.connect(server.url, timeout=0.5) as streamer:
        with streamer.producer("s") as producer:
            producer.send("1")
        view, paused = (streamer["s"].live(since="earliest") for _ in range(2))
        view.wait(1, PATIENCE)
        paused.wait(1, PATIENCE)
        paused.pause()
        server.kill()
        failed(view, ss.ConnectError)
        failed(paused, ss.ConnectError)
        server.restart()
        assert streamer["s"].count() == 0


def test_an_outage_that_ends_in_time_is_ridden_out(tmp_path: Path) -> None:
    keep = ("--appendonly", "yes", "--appendfsync", "always")
    with tcp_server(tmp_path, *keep) as server, ss.connect(server.url) as streamer:
        view = streamer["s"].live()
        with streamer.producer("s") as producer:
            producer.send("1")
            view.wait(1, PATIENCE)
            server.kill()
            server.restart()
            producer.send("2")
        view.wait(2, PATIENCE)
        assert payloads(view) == [1, 2]
        view.stop()


@pytest.mark.parametrize("paused", [False, True])
def test_closing_the_streamer_ends_its_views_with_the_reason(
    url: str, client: redis.Redis, paused: bool
) -> None:
    with ss.connect(url) as streamer:
        view = streamer["s"].live()
        send(client, "s", 1)
        view.wait(1, PATIENCE)
        if paused:
            view.pause()
    view.wait(timeout=PATIENCE)

    assert (view.state, view.error, payloads(view)) == ("stopped", None, [1])
    assert "stopped, its streamer was closed" in repr(view)
    with pytest.raises(ss.StreamEnded, match="its streamer was closed"):
        view.wait(2)


def test_no_password_is_shown(tmp_path: Path) -> None:
    with tcp_server(tmp_path, "--requirepass", "hunter2") as server:
        url = server.url.replace("://", "://:hunter2@")
        with ss.connect(url, timeout=0.5) as streamer:
            view = streamer["s"].live(chart="rate")
            server.kill()
            with pytest.raises(ss.ConnectError) as raised:
                view.wait(1, PATIENCE)
            shown = f"{view!r} {view.html()} {view.title} {view.to_arrow().schema} {raised.value}"
            assert "hunter2" not in shown
            assert "***" in view.title


# The static form.


def test_it_shows_as_one_line_and_an_escaped_table(
    streamer: ss.Streamer, client: redis.Redis
) -> None:
    for number in range(3):
        client.xadd("<s>", {"msg": f"<script>{number}"}, id=f"{1_700_000_000_000 + number}-0")
    view = streamer["<s>"].live(since="earliest", columns=["timestamp", "payload"])
    assert repr(view).endswith("since earliest, select timestamp, payload: running>")
    view.wait(3, PATIENCE)
    view.stop()
    view.wait()

    first = view._repr_mimebundle_()
    assert view._repr_mimebundle_() == first
    assert set(first) == {"text/plain", "text/html"}
    assert first["text/plain"].endswith(": stopped, kept 3 of 3 rows>")
    shown = first["text/html"]
    assert "<script" not in shown
    assert "<s>" not in shown
    positions = [shown.index(f"&lt;script&gt;{number}") for number in (2, 1, 0)]
    assert positions == sorted(positions)
    assert "2023-11-14 22:13:20.002" in shown
    for changing in ("lag", " · ", "last id"):
        assert changing not in shown


def test_the_static_form_is_bounded(streamer: ss.Streamer, client: redis.Redis) -> None:
    for _ in range(50):
        client.xadd("s", {f"field{n}": "x" * 20_000 for n in range(10)})
    view = streamer["s"].fields().live(since="earliest")
    view.wait(50, PATIENCE)

    assert len(view.html()) < 250_000
    assert len(view.text()) < 1_000


@pytest.mark.parametrize("chart", ["rate", "n"])
def test_a_chart_is_an_image_of_the_static_form_too(
    streamer: ss.Streamer, client: redis.Redis, chart: str
) -> None:
    stream = streamer["s"].json().tz("Europe/Berlin")
    empty = stream.live(chart="rate")
    assert "<img" not in empty.html()
    for second in range(5):
        number = "null" if second == 2 else second
        client.xadd(
            "s", {"msg": f'{{"n": {number}}}'}, id=f"{1_700_000_000_000 + second * 1_000}-0"
        )
    view = stream.live(since="earliest", chart=chart)
    view.wait(5, PATIENCE)
    view.stop()
    view.wait()

    assert view.html().count("data:image/png;base64,") == 1
    assert view.html() == view.html()


def test_a_column_that_is_nearly_always_empty_is_left_out_while_it_is(
    streamer: ss.Streamer, client: redis.Redis
) -> None:
    send(client, "s", '{"a": 1}')
    view = streamer["s"].json().live(since="earliest")
    view.wait(1, PATIENCE)
    assert "_extra" not in view.html()
    send(client, "s", '{"a": 1, "b": 2}')
    view.wait(2, PATIENCE)
    assert "_extra" in view.html()
    assert "_extra" in view.to_arrow().column_names


# What is left behind.


@contextmanager
def nothing_left(client: redis.Redis) -> Iterator[None]:
    """As many threads, tasks and links as before, but for the pools that stay."""
    gc.collect()
    threads = threading.active_count()
    yield
    assert eventually(lambda: not tasks())
    pooled = [each for each in threading.enumerate() if each.name.startswith("asyncio_")]
    assert threading.active_count() <= threads + len(pooled)
    assert len(client.client_list()) < 10


def test_many_views_leave_nothing(streamer: ss.Streamer, client: redis.Redis) -> None:
    send(client, "s", 0)
    with nothing_left(client):
        for _ in range(10):
            views = [streamer["s"].live(since="earliest") for _ in range(5)]
            for view in views:
                view.on_page(lambda _: None)
                view.wait(1, PATIENCE)
            assert len(running.running()) == 5
            assert running.stop_all() == 5
            for view in views:
                view.wait(timeout=PATIENCE)
    assert streamer["s"].count() == 1


def test_a_filter_counts_what_it_keeps(streamer: ss.Streamer, client: redis.Redis) -> None:
    send(client, "s", *(f'{{"n": {n}}}' for n in range(100)))
    view = streamer["s"].json().where(pc.field("n") >= 90).live(since="earliest")
    view.wait(10, PATIENCE)

    assert view.to_arrow()["n"].to_pylist() == list(range(90, 100))
