"""A replay with buttons: what it plays, what it shows, and that it ends."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import seastream_nb as ss
from seastream_nb import portal
from seastream_nb.errors import ConfigError, ConnectError, FileFormatError
from seastream_nb.notebook import box, running
from seastream_nb.notebook.replay import playing
from seastream_nb.notebook.replay.controls import Controls
from seastream_nb.notebook.view import Cell
from tests.portal_kernel import PATIENCE, Kernel, running_kernel
from tests.servers import eventually, tcp_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import redis

    from seastream_nb.notebook.replay.view import ReplayControl

WEEK = Path(__file__).parents[2] / "data" / "earthquakes.ss"
QUAKES = 1_707
FIRST_MS = 1_700_000_000_000
FIRST = f"{FIRST_MS}-0"
HOUR = 3_600_000


@pytest.fixture
def quakes() -> Iterator[ss.Stream]:
    with ss.connect(WEEK, read_only=True) as file:
        yield file["earthquakes"].json().select("timestamp", "magnitude", "place")


@pytest.fixture(autouse=True)
def _all_ends() -> Iterator[None]:
    """Whatever a test played has ended when it is over, with nothing left behind."""
    yield
    running.stop_all()
    assert running.running() == {}
    assert eventually(lambda: not tasks("Playing._run") and not tasks("seastream replay"))


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Callable[[ReplayControl], Controls]:
    """Show a control as a cell with a front end would; its widgets."""
    monkeypatch.setenv("SEASTREAM_NB_STATIC", "0")

    def show(control: ReplayControl) -> Controls:
        control._repr_mimebundle_()
        assert control._controls is not None
        return control._controls

    return show


def tasks(what: str) -> list[Any]:
    """What runs on the I/O thread of this kind."""
    found = asyncio.all_tasks(portal.loop())
    return [each for each in found if what in f"{each.get_name()} {each.get_coro()}"]


def fill(client: redis.Redis, key: str, stamps: list[int]) -> None:
    with client.pipeline(transaction=False) as pipeline:
        for at in stamps:
            pipeline.xadd(key, {"msg": str(at)}, id=f"{FIRST_MS + at}-0")
        pipeline.execute()


def texts(control: ReplayControl) -> list[int]:
    return [int(message.text()) for message in control.messages]


# Without a front end.


def test_the_static_form_says_the_range_and_plays_nothing(quakes: ss.Stream) -> None:
    control = quakes.replay(speed=100).control()

    bundle = control._repr_mimebundle_()

    assert bundle == quakes.replay(speed=100).control()._repr_mimebundle_()
    assert sorted(bundle) == ["text/html", "text/plain"]
    assert bundle["text/plain"].startswith("<ReplayControl 'earthquakes' at file://")
    assert bundle["text/plain"].endswith("100x as fast as it was>")
    for each in ("2018-01-31 01:49:59.650", "2018-02-07 01:26:13.840", "▄", "█", "per 3h"):
        assert each in bundle["text/html"]
    assert len(bundle["text/html"]) < 5_000
    assert (control.state, control.count, running.running()) == ("paused", 0, {})


def test_names_are_escaped_and_so_are_payloads(
    streamer: ss.Streamer, client: redis.Redis, shown: Callable[[ReplayControl], Controls]
) -> None:
    client.xadd("<b>x", {"msg": "<script>alert(1)</script>"}, id=FIRST)
    control = streamer["<b>x"].replay(speed=None).control()

    widgets = shown(control)
    control.wait(PATIENCE)

    assert eventually(lambda: "alert" in widgets._rows.value)
    assert "<script" not in widgets._rows.value
    assert "<b>" not in widgets._rows.value + control.html()


def test_of_an_empty_stream_there_is_nothing_to_show(
    streamer: ss.Streamer, shown: Callable[[ReplayControl], Controls]
) -> None:
    control = streamer["nothing"].replay().control()

    widgets = shown(control)
    control.wait(PATIENCE)

    assert "none" in control.html()
    assert (control.state, control.count, control.messages) == ("ended", 0, [])
    assert eventually(lambda: "0 messages" in widgets._rows.value)
    assert widgets._position.disabled


# Playing.


def test_a_script_plays_by_waiting(quakes: ss.Stream) -> None:
    control = quakes.replay(speed=None).control(rows=3)

    control.wait(PATIENCE)

    assert (control.state, control.count) == ("ended", QUAKES)
    assert control.messages == list(quakes.last(3))
    assert control.position == control.messages[-1].header


@pytest.mark.parametrize("speed", [None, 1e6])
def test_shown_it_plays_to_the_end_and_the_position_follows(
    quakes: ss.Stream, shown: Callable[[ReplayControl], Controls], speed: float | None
) -> None:
    widgets = shown(control := quakes.replay(speed=speed).control(rows=3))

    control.wait(PATIENCE)

    assert eventually(lambda: widgets._position.value == widgets._position.max)
    assert eventually(lambda: "ended" in widgets._rows.value)
    # Each message came once: what follows the time is no seek.
    assert (control.state, control.count) == ("ended", QUAKES)
    assert (widgets._play.value, widgets._play.icon) == (False, "play")
    assert "2018-02-07 01:26:13" in widgets._time.value
    rows = widgets._rows.value
    assert rows.count("<tr>") == 4
    places = [str(message.json()["place"]) for message in control.messages]
    assert rows.index(places[2]) < rows.index(places[1]) < rows.index(places[0])


def test_at_the_end_a_seek_goes_back_and_plays_again(quakes: ss.Stream) -> None:
    control = quakes.replay(speed=None).control()
    control.wait(PATIENCE)

    control.seek("2018-02-07T00:00Z")
    control.wait(PATIENCE)
    part = control.count - QUAKES
    control.play()
    control.wait(PATIENCE)

    assert part == quakes.since("2018-02-07T00:00Z").count() > 0
    assert control.count == 2 * QUAKES + part


def test_code_and_buttons_steer_the_same_replay(
    streamer: ss.Streamer, client: redis.Redis, shown: Callable[[ReplayControl], Controls]
) -> None:
    fill(client, "s", [0, 1, 10 * HOUR, 10 * HOUR + 1, 20 * HOUR])
    replay = streamer["s"].replay()
    widgets = shown(control := replay.control())
    assert eventually(lambda: texts(control) == [0, 1])

    widgets._play.value = False
    assert (control.state, replay.paused) == ("paused", True)
    replay.resume()
    assert eventually(lambda: widgets._play.value)
    assert eventually(lambda: widgets._position.max == 20 * HOUR * 1_000)

    widgets._position.value = 10 * HOUR * 1_000 - 500_000  # microseconds after the first
    assert eventually(lambda: texts(control) == [0, 1, 10 * HOUR, 10 * HOUR + 1])
    replay.speed = 3.5
    assert eventually(lambda: widgets._speed.value == 3.5)
    assert control.state == "playing"
    widgets._speed.label = "as fast as possible"
    control.wait(PATIENCE)
    assert (replay.speed, texts(control)[-1], control.count) == (None, 20 * HOUR, 5)


def test_while_paused_the_position_can_be_moved_and_stays_there(
    streamer: ss.Streamer, client: redis.Redis, shown: Callable[[ReplayControl], Controls]
) -> None:
    fill(client, "s", [0, HOUR, 2 * HOUR])
    widgets = shown(control := streamer["s"].replay().control())
    assert eventually(lambda: texts(control) == [0] and not widgets._position.disabled)

    widgets._play.value = False
    widgets._position.value = 2 * HOUR * 1_000
    assert eventually(lambda: "paused" in widgets._rows.value)
    assert (texts(control), widgets._position.value) == ([0], 2 * HOUR * 1_000)
    widgets._play.value = True
    assert eventually(lambda: texts(control) == [0, 2 * HOUR])


def test_it_draws_a_few_times_a_second_however_much_comes(
    streamer: ss.Streamer, client: redis.Redis, shown: Callable[[ReplayControl], Controls]
) -> None:
    fill(client, "s", list(range(0, 60_000, 1)))
    began = time.monotonic()
    widgets = shown(control := streamer["s"].replay(speed=20).control())
    changes: list[float] = []
    for each in (widgets._rows, widgets._position, widgets._time):
        each.observe(lambda change: changes.append(time.monotonic()), "value")

    control.wait(PATIENCE)
    assert eventually(lambda: "ended" in widgets._rows.value)

    drawn = (time.monotonic() - began) / playing.DRAWN_EVERY + 2
    assert 3 < len(changes) <= 3 * drawn
    assert control.count == 60_000


def test_builders_hold_and_rows_have_the_columns_of_the_stream(
    quakes: ss.Stream, shown: Callable[[ReplayControl], Controls]
) -> None:
    stream = quakes.last(200)
    widgets = shown(control := stream.replay(speed=None).control(rows=1))

    control.wait(PATIENCE)

    assert control.count == 200
    assert eventually(lambda: "magnitude" in widgets._rows.value)
    assert control.span is not None
    assert control.span.first_ns == next(iter(stream)).timestamp_ns
    assert sum(control.span.counts) == 200


def test_several_streams_and_shards_are_one_with_one_range(
    streamer: ss.Streamer, client: redis.Redis, shown: Callable[[ReplayControl], Controls]
) -> None:
    fill(client, "a:0", [0, 2])
    fill(client, "a:1", [3])
    fill(client, "b", [1, 4])
    with ss.connect(WEEK, read_only=True) as file:
        merged = ss.merge(streamer["a"], streamer["b"], file["earthquakes"].since("2018-02-07"))
        widgets = shown(control := merged.replay(speed=None).control(rows=5))
        control.wait(PATIENCE)

        assert control.count == 14 + 5
        assert control.span is not None
        assert control.span.last_ns == (FIRST_MS + 4) * 1_000_000
        assert texts(control) == [0, 1, 2, 3, 4]
        assert eventually(lambda: "shard" in widgets._rows.value)
        control.stop()


def test_rows_without_a_selected_column_show_their_payload(
    streamer: ss.Streamer, client: redis.Redis, shown: Callable[[ReplayControl], Controls]
) -> None:
    client.xadd("s", {"msg": '{"a": 1}'}, id=FIRST)
    stream = streamer["s"].json().select("b")

    widgets = shown(control := stream.replay(speed=None).control())
    control.wait(PATIENCE)

    assert eventually(lambda: "{&quot;a&quot;: 1}" in widgets._rows.value)


async def test_the_awaiting_facade_has_it_too(
    streamer: ss.Streamer, client: redis.Redis, url: str
) -> None:
    fill(client, "s:0", [0, 2])
    fill(client, "s:1", [1, 3])
    async with ss.connect_async(url) as connected:
        control = connected["s"].replay(speed=None).control()
        control.play()
        await asyncio.to_thread(control.wait, PATIENCE)
        assert (control.state, texts(control)) == ("ended", [0, 1, 2, 3])
        control.stop()


def test_it_holds_the_replay_that_nobody_else_holds(streamer: ss.Streamer, client: Any) -> None:
    fill(client, "s", [0, HOUR])
    control = streamer["s"].replay().control()
    control.play()
    gc.collect()

    assert eventually(lambda: texts(control) == [0])
    assert control.state == "playing"


def test_a_replay_has_one_control(quakes: ss.Stream) -> None:
    replay = quakes.replay()

    assert replay.control() is replay.control(rows=5)
    for rows in (-1, 1_001, 2.0, True):
        with pytest.raises(ConfigError, match="rows="):
            replay.control(rows=rows)  # type: ignore[arg-type]


# Messages for code.


def test_a_function_gets_every_message_and_the_io_thread_does_not_wait_for_it(
    streamer: ss.Streamer, client: redis.Redis
) -> None:
    fill(client, "s", list(range(30_000)))
    got: list[int] = []
    begun, go_on = threading.Event(), threading.Event()

    def receive(messages: list[ss.Message]) -> None:
        begun.set()
        assert go_on.wait(PATIENCE)
        got.extend(int(message.text()) for message in messages)

    control = streamer["s"].replay(speed=None).control(rows=2, on_messages=receive)
    control.play()
    assert begun.wait(PATIENCE)
    assert streamer["s"].head(1)["payload"].tolist() == [b"0"]
    go_on.set()
    control.wait(PATIENCE)

    assert got == list(range(30_000))


def test_what_the_function_raises_is_shown_and_raised_to_who_waits(quakes: ss.Stream) -> None:
    def receive(messages: list[ss.Message]) -> None:
        raise ValueError("no more, redis://ana:hunter2@host")

    control = quakes.replay(speed=None).control(on_messages=receive)

    with pytest.raises(ValueError, match="no more"):
        control.wait(PATIENCE)
    assert control.state == "failed"
    assert control.error_line == "ValueError: no more, redis://***@host"


# Ends.


def test_stopping_is_final_from_any_thread_and_the_rows_stay(
    streamer: ss.Streamer, client: redis.Redis, shown: Callable[[ReplayControl], Controls]
) -> None:
    fill(client, "s", [0, HOUR])
    widgets = shown(control := streamer["s"].replay().control())
    assert eventually(lambda: texts(control) == [0])
    assert list(running.running().values()) == [control]
    stopped: list[str] = []
    control.on_stop(lambda: stopped.append(threading.current_thread().name))

    threads = [threading.Thread(target=control.stop) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    control.wait(PATIENCE)
    control.play()

    assert (control.state, running.running()) == ("stopped", {})
    assert eventually(lambda: "stopped" in widgets._rows.value and len(stopped) == 1)
    assert "seastream-io" not in stopped[0]
    assert (texts(control), control.count) == ([0], 1)
    assert widgets._play.disabled
    assert widgets._position.disabled
    control.stop()


def test_what_was_never_played_can_be_stopped(quakes: ss.Stream) -> None:
    control = quakes.replay().control()
    control.stop()
    control.wait(PATIENCE)
    assert (control.state, control.count) == ("stopped", 0)


def test_closing_the_replay_stops_it(streamer: ss.Streamer, client: redis.Redis) -> None:
    fill(client, "s", [0, HOUR])
    with streamer["s"].replay() as replay:
        control = replay.control()
        control.play()
        assert eventually(lambda: texts(control) == [0])
    assert control.state == "stopped"
    assert eventually(lambda: running.running() == {})


def test_a_wait_can_be_too_short_and_changes_nothing(streamer: ss.Streamer, client: Any) -> None:
    fill(client, "s", [0, HOUR])
    control = streamer["s"].replay().control()

    with pytest.raises(TimeoutError):
        control.wait(0.01)
    assert eventually(lambda: texts(control) == [0])
    assert control.state == "playing"


def test_shown_nowhere_any_more_it_stops(
    quakes: ss.Stream,
    shown: Callable[[ReplayControl], Controls],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(box, "GONE_SECONDS", 0.01)
    widgets = shown(control := quakes.replay().control())

    widgets.box._view_count = 1
    widgets.box._view_count = 0

    assert eventually(lambda: control.state == "stopped")


def test_a_view_that_comes_back_soon_stops_nothing(
    quakes: ss.Stream,
    shown: Callable[[ReplayControl], Controls],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(box, "GONE_SECONDS", 0.05)
    widgets = shown(control := quakes.replay().control())

    for count in (1, 0, 1):
        widgets.box._view_count = count
    later = threading.Event()
    portal.call_soon(portal.loop().call_later, 0.1, later.set)

    assert later.wait(PATIENCE)
    assert control.state == "playing"


def test_a_cell_that_runs_again_ends_what_it_showed(
    quakes: ss.Stream,
    shown: Callable[[ReplayControl], Controls],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    controls = [quakes.replay().control() for _ in range(2)]
    for control, run in zip(controls, ("1", "2"), strict=True):
        monkeypatch.setattr(running, "this_cell", lambda run=run: Cell("a", run))
        shown(control)

    assert [each.state for each in controls] == ["stopped", "playing"]


# Errors.


def test_a_file_that_is_damaged_in_the_middle_fails_in_one_line_and_the_rows_stay(
    tmp_path: Path, shown: Callable[[ReplayControl], Controls]
) -> None:
    path = tmp_path / "damaged.ss"
    with ss.connect(path, create="exclusive") as file, file.producer("s") as producer:
        for number in range(30_000):
            producer.send(f"{number:01000}", timestamp=f"{FIRST_MS + number}")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with ss.connect(path, read_only=True) as file:
        widgets = shown(control := file["s"].replay(speed=None).control(rows=5))

        with pytest.raises(FileFormatError):
            control.wait(PATIENCE)

        assert control.state == "failed"
        assert 0 < control.count < 15_000
        assert len(control.messages) == 5
        assert eventually(lambda: "FileFormatError: " in widgets._rows.value)
        assert widgets._rows.value.count("<tr>") == 6
        control.seek(f"{FIRST_MS + 25_000}")
        control.wait(PATIENCE)
        assert (control.state, control.error) == ("ended", None)
        control.stop()


def test_a_file_that_ends_inside_a_message_is_said_to_and_nothing_is_printed(
    tmp_path: Path, shown: Callable[[ReplayControl], Controls], capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "torn.ss").write_bytes(WEEK.read_bytes()[:-5])
    with ss.connect(tmp_path / "torn.ss", read_only=True) as file:
        widgets = shown(control := file["earthquakes"].replay(speed=None).control())
        control.wait(PATIENCE)

        assert (control.state, control.count) == ("ended", QUAKES - 1)
        assert eventually(lambda: "ends inside a message" in widgets._rows.value)
        control.stop()
    assert capfd.readouterr() == ("", "")


def test_a_server_that_dies_fails_it_and_playing_tries_again(
    tmp_path: Path, shown: Callable[[ReplayControl], Controls]
) -> None:
    with (
        tcp_server(tmp_path) as server,
        ss.connect(server.url, timeout=0.3) as streamer,
    ):
        with streamer.producer("s") as producer:
            for number in range(30_000):
                producer.send(str(number), timestamp=f"{FIRST_MS + number}")
        widgets = shown(control := streamer["s"].replay(speed=1).control())
        assert eventually(lambda: control.count)
        control.pause()
        server.kill()
        control.speed = None
        control.play()

        with pytest.raises(ConnectError):
            control.wait(PATIENCE)
        assert control.state == "failed"
        assert control.messages
        assert eventually(lambda: "ConnectError: " in widgets._rows.value)
        widgets._play.value = True
        with pytest.raises(ConnectError):
            control.wait(PATIENCE)
        control.stop()
        assert eventually(lambda: not tasks("Playing._run"))


# In a kernel.

SHOW = f"""
import threading, seastream_nb as ss
from pathlib import Path
from seastream_nb.notebook import box, running
box.GONE_SECONDS = 0.1
file = ss.connect(Path({str(WEEK)!r}), read_only=True)
control = file["earthquakes"].json().replay(speed=10).control(rows=3)
control
"""


class FrontEnd:
    """What a browser would know of the widgets: their state, from what the kernel published."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.state: dict[str, dict[str, Any]] = {}
        self.printed: list[Any] = []

    def run(self, code: str) -> None:
        request = self._kernel.client.execute(code, allow_stdin=True)
        self.until(
            lambda message: (
                message["parent_header"].get("msg_id") == request
                and message["content"].get("execution_state") == "idle"
            )
        )

    def until(self, done: Callable[[dict[str, Any]], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            message = self._kernel.client.get_iopub_msg(timeout=PATIENCE)
            self._note(message)
            if done(message):
                return
        raise TimeoutError(self.state)

    def until_state(self, done: Callable[[], object]) -> None:
        if not done():
            self.until(lambda _: done())

    def _note(self, message: dict[str, Any]) -> None:
        content = message["content"]
        if message["msg_type"] in ("stream", "error"):
            self.printed.append(content)
        if message["msg_type"] in ("comm_open", "comm_msg"):
            state = content["data"].get("state", {})
            self.state.setdefault(content["comm_id"], {}).update(state)

    def model(self, name: str) -> str:
        """The id of the only widget of a kind."""
        (found,) = [model for model, state in self.state.items() if state["_model_name"] == name]
        return found

    def set(self, model: str, **state: Any) -> None:
        session = self._kernel.client.session
        data = {"method": "update", "state": state, "buffer_paths": []}
        message = session.msg("comm_msg", {"comm_id": model, "data": data})
        self._kernel.client.shell_channel.send(message)
        # What a browser set it knows without being told.
        self.state[model].update(state)


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SEASTREAM_NB_STATIC", "0")
            started = stack.enter_context(running_kernel())
        yield started


def test_a_front_end_plays_pauses_seeks_and_closes_it(kernel: Kernel) -> None:
    browser = FrontEnd(kernel)
    browser.run("import threading; before = threading.active_count()")
    browser.run(SHOW)
    toggle, slider = browser.model("ToggleButtonModel"), browser.model("IntSliderModel")
    dropdown, box = browser.model("DropdownModel"), browser.model("VBoxModel")
    browser.until_state(lambda: not browser.state[slider]["disabled"])

    browser.set(box, _view_count=1)
    browser.set(toggle, value=False)
    browser.until_state(lambda: browser.state[toggle]["icon"] == "play")
    end = browser.state[slider]["max"]
    browser.set(slider, value=end // 2)
    browser.set(toggle, value=True)
    browser.until_state(lambda: any("2018-02-03" in str(each) for each in rows(browser)))
    browser.set(dropdown, index=len(browser.state[dropdown]["_options_labels"]) - 1)
    browser.until_state(lambda: browser.state[slider]["value"] == end)
    browser.until_state(lambda: any("ended" in str(each) for each in rows(browser)))

    browser.set(box, _view_count=0)
    browser.until_state(lambda: browser.state[toggle].get("disabled"))
    browser.run("assert control.state == 'stopped' and running.running() == {}, control.state")
    browser.run("file.close(); print(sorted(t.name for t in threading.enumerate()))")
    assert browser.printed[0]["name"] == "stdout"
    assert len(browser.printed) == 1, browser.printed


def rows(browser: FrontEnd) -> list[Any]:
    return [
        state.get("value") for state in browser.state.values() if "HTML" in state["_model_name"]
    ]


def test_a_cell_that_nobody_watches_shows_the_static_form(quakes: ss.Stream) -> None:
    with running_kernel() as fresh:
        fresh.client.execute(SHOW, allow_stdin=False)
        while True:
            message = fresh.client.get_iopub_msg(timeout=PATIENCE)
            if message["msg_type"] == "execute_result":
                break
        assert sorted(message["content"]["data"]) == ["text/html", "text/plain"]
        cell, _ = fresh.run("print(control.state, control.count)")
        assert cell.lines == ["paused 0"]
