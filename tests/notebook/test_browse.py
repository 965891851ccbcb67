"""The browser in a cell: its static form, its widget in this process, and in a real kernel."""

from __future__ import annotations

import base64
import json
import re
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

import seastream_nb as ss
from seastream_nb import errors
from seastream_nb.notebook.browse.controls import Controls
from tests.portal_kernel import PATIENCE, Kernel, running_kernel
from tests.servers import eventually, plain_client, tcp_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import redis

START = 1_700_000_000_000  # 2023-11-14T22:13:20Z
WIDGET = "application/vnd.jupyter.widget-view+json"


def fill(client: redis.Redis, key: str, count: int) -> None:
    """JSON messages, one a second."""
    pipeline = client.pipeline(transaction=False)
    for n in range(count):
        pipeline.xadd(key, {"msg": json.dumps({"n": n})}, id=f"{START + 1000 * n}-0")
    pipeline.execute()


# The static form.


def test_the_static_form_is_one_line_and_one_piece_of_html(
    streamer: ss.Streamer, client: redis.Redis
) -> None:
    fill(client, "s", 250)
    browser = streamer["s"].json().browse()

    bundle = browser._repr_mimebundle_()

    assert list(bundle) == ["text/plain", "text/html"]
    assert (
        bundle["text/plain"]
        == repr(browser)
        == (
            "<Browser 's', 100 messages from 1700000000000-0 to 1700000099000-0, "
            "2023-11-14 22:13:20.000 to 2023-11-14 22:14:59.000>"
        )
    )
    shown = bundle["text/html"]
    assert shown.count("<tr>") == 1 + 20
    assert "the first 20" in shown
    assert "since(&#x27;1700000000000-0&#x27;)" in shown
    image = re.search(r'src="data:image/png;base64,([^"]+)"', shown)
    assert image is not None
    assert base64.b64decode(image[1]).startswith(b"\x89PNG")
    assert shown == streamer["s"].json().browse().html() == browser.html()


def test_nothing_of_a_stream_becomes_markup_and_no_password_is_shown(
    tmp_path: Path,
) -> None:
    evil = "<script>alert(1)</script><img src=x onerror=alert(1)>"
    with tcp_server(tmp_path, "--requirepass", "s3cret") as server:
        url = server.url.replace("://", "://:s3cret@")
        with closing(plain_client(url)) as client:
            for n in range(3):
                client.xadd(evil, {evil: evil, "$a$": "$b$"}, id=f"{START + n}-0")
            client.xgroup_create(evil, evil, "0")
            client.xreadgroup(evil, evil, {evil: ">"})
        with ss.connect(url) as streamer:
            browser = streamer[evil].fields().contains(evil).browse()
            controls = controls_of(browser)
            step(controls, lambda: open_tab(controls, "Groups"))
            step(controls, lambda: enter(controls.go_to, evil))
            shown = [browser.html(), *html_of(controls)]
            plain = browser.text() + browser.code
    assert any("alert(1)" in each for each in shown)
    for each in shown:
        assert "<script" not in each
        assert "<img src=x" not in each
    assert "s3cret" not in "".join([plain, *shown])


def test_a_stream_without_times_says_why_there_is_no_picture(
    streamer: ss.Streamer, client: redis.Redis
) -> None:
    client.xadd("s", {"msg": "x"}, id="5-1")
    for stream, reason in ((streamer["s"], "ids such as 5-1"), (streamer["t"], "no messages yet")):
        browser = stream.browse()
        assert reason in browser.html()
        controls = controls_of(browser)
        assert controls.range.disabled
        assert controls.range.layout.display == "none"
        assert reason in controls.why_not.value
        controls.range.index = (0, 0)
        assert not controls._stepping.locked()
    assert "payload" in controls_of(streamer["s"].browse()).messages.value


# The widget, driven in this process.


def controls_of(browser: ss.Browser) -> Controls:
    assert browser.widget is browser.widget
    found = browser._controls
    assert isinstance(found, Controls)
    return found


def step(controls: Controls, act: Callable[[], object]) -> None:
    """Do something, and wait until what it began is done."""
    act()
    assert eventually(lambda: not controls._stepping.locked() and not controls.go_to.disabled)


def enter(widget: Any, value: object) -> None:
    widget.value = value


def open_tab(controls: Controls, title: str) -> None:
    controls.tabs.selected_index = controls.tabs.titles.index(title)


def html_of(controls: Controls) -> list[str]:
    parts = (controls.title, controls.status, controls.why_not, controls.messages)
    groups = (controls.groups.groups, controls.groups.pending, controls.export.report)
    return [each.value for each in (*parts, *groups)]


@pytest.fixture
def ticks(streamer: ss.Streamer, client: redis.Redis) -> ss.Browser:
    """A browser of 25 messages, one a second, 10 a page."""
    fill(client, "ticks", 25)
    return streamer["ticks"].json().browse(page_size=10)


def shown(controls: Controls) -> str:
    """The page that is shown, as `from..to`."""
    match = re.search(
        r"(\d+) messages from 17000000(\d\d)000-0 to 17000000(\d\d)000-0", (controls.messages.value)
    )
    assert match is not None
    assert int(match[1]) == int(match[3]) - int(match[2]) + 1
    return f"{int(match[2])}..{int(match[3])}"


def test_buttons_turn_pages_and_the_page_size_cuts_them_anew(ticks: ss.Browser) -> None:
    controls = controls_of(ticks)
    assert shown(controls) == "0..9"
    for name, expected in [
        ("next", "10..19"),
        ("next", "20..24"),
        ("next", "20..24"),
        ("previous", "10..19"),
        ("last", "15..24"),
        ("first", "0..9"),
        ("previous", "0..9"),
        ("refresh", "0..9"),
    ]:
        step(controls, controls.buttons[name].click)
        assert shown(controls) == expected
    step(controls, controls.buttons["next"].click)
    step(controls, lambda: enter(controls.page_size, 4))
    assert shown(controls) == "10..13"
    step(controls, controls.buttons["next"].click)
    assert shown(controls) == "14..17"


def test_the_slider_chooses_a_range_and_the_picture_shows_it(ticks: ss.Browser) -> None:
    controls = controls_of(ticks)
    assert controls.range.options[3] == ("2023-11-14 22:13:21.500", 3)
    picture = controls.chart.value
    whole = controls.range.index

    step(controls, lambda: setattr(controls.range, "index", (10, 20)))
    assert shown(controls) == "5..9"
    assert controls.chart.value != picture
    assert ".since('2023-11-14T22:13:25Z').until('2023-11-14T22:13:30Z')" in controls.code.value
    step(controls, lambda: setattr(controls.range, "index", (10, 10)))
    assert shown(controls) == "5..5"
    assert controls.range.index == (10, 11)
    step(controls, lambda: setattr(controls.range, "index", whole))
    assert shown(controls) == "0..9"
    assert controls.chart.value == picture
    assert "until" not in controls.code.value.partition("# the chosen range")[2]


def test_a_refresh_takes_in_what_came(
    ticks: ss.Browser, streamer: ss.Streamer, client: redis.Redis
) -> None:
    controls = controls_of(ticks)
    before = controls.range.options
    fill(client, "ticks:1", 50)

    step(controls, controls.buttons["refresh"].click)

    assert len(controls.range.options) != len(before) or controls.range.options != before
    step(controls, controls.buttons["last"].click)
    assert "170000004" in controls.messages.value


def test_what_cannot_be_meant_is_one_line_and_the_page_stays(ticks: ss.Browser) -> None:
    controls = controls_of(ticks)
    for when in ("soon", "2026", "<b>"):
        step(controls, lambda when=when: enter(controls.go_to, when))
        assert ticks.page["n"].tolist() == list(range(10))
        assert len(controls.status.value.splitlines()) == 1
        assert "is no time" in controls.status.value or "may be a date" in controls.status.value
    step(controls, lambda: enter(controls.go_to, "2023-11-14T22:13:27Z"))
    assert shown(controls) == "7..16"
    assert (controls.status.value, controls.go_to.value) == ("", "")


def test_steps_from_python_are_shown_too(ticks: ss.Browser) -> None:
    controls = controls_of(ticks)

    ticks.next()
    assert eventually(lambda: shown(controls) == "10..19")
    ticks.choose("2023-11-14T22:13:25Z", "2023-11-14T22:13:30Z")
    assert eventually(lambda: controls.range.index == (10, 20))


def test_groups_are_there_when_there_are_some(
    ticks: ss.Browser, streamer: ss.Streamer, client: redis.Redis
) -> None:
    controls = controls_of(ticks)
    assert controls.tabs.titles == ("Messages", "Code")
    for name in ("one", "two"):
        client.xgroup_create("ticks", name, "0")
    client.xreadgroup("two", "ana", {"ticks": ">"}, count=3)

    step(controls, controls.buttons["refresh"].click)
    assert controls.tabs.titles == ("Messages", "Groups", "Code")
    step(controls, lambda: open_tab(controls, "Groups"))
    assert "last_delivered" in controls.groups.groups.value
    assert controls.groups.group.options == ("one", "two")
    assert "0 pending entries" in controls.groups.pending.value
    step(controls, lambda: enter(controls.groups.group, "two"))
    assert "3 pending entries" in controls.groups.pending.value
    assert "ana" in controls.groups.pending.value
    client.delete("ticks")
    step(controls, lambda: enter(controls.groups.group, "one"))
    assert "ticks" in controls.status.value
    step(controls, controls.buttons["refresh"].click)
    assert "no messages in this range" in controls.status.value


@pytest.mark.parametrize("name", ["part.ss", "part.parquet"])
def test_the_chosen_range_is_exported_to_a_new_file(
    ticks: ss.Browser, tmp_path: Path, name: str
) -> None:
    controls = controls_of(ticks)
    step(controls, lambda: setattr(controls.range, "index", (10, 20)))
    path = tmp_path / name

    assert export(controls, path).startswith("5 messages, ")
    assert path.is_file()
    before = path.read_bytes()
    assert str(path) in export(controls, path)
    assert path.read_bytes() == before
    if name.endswith(".ss"):
        with ss.connect(path) as there:
            assert there["ticks"].count() == 5


def test_an_export_that_cannot_be_is_one_line(ticks: ss.Browser, tmp_path: Path) -> None:
    controls = controls_of(ticks)

    assert ".ss or .parquet" in export(controls, tmp_path / "part.csv")
    assert ".ss or .parquet" in export(controls, "")
    assert "absent" in export(controls, tmp_path / "absent" / "part.ss")
    assert list(tmp_path.iterdir()) == []


def export(controls: Controls, path: object) -> str:
    controls.export.report.value = ""
    controls.export.path.value = str(path)
    controls.export.button.click()
    assert eventually(lambda: controls.export.report.value and controls.export._running.done())
    report: str = controls.export.report.value
    return report


def test_a_closed_connection_is_one_line(url: str, client: redis.Redis) -> None:
    fill(client, "s", 9)
    streamer = ss.connect(url)
    browser = streamer["s"].browse(page_size=5)
    controls = controls_of(browser)
    streamer.close()

    step(controls, controls.buttons["next"].click)

    assert controls.status.value
    with pytest.raises(errors.StreamError):
        browser.next()


# The widget, in a real kernel and as a front end drives it.


class FrontEnd:
    """What a notebook's page does: it keeps the state of models, and sends clicks."""

    def __init__(self, kernel: Kernel) -> None:
        self.client = kernel.client
        self.models: dict[str, dict[str, Any]] = {}
        self.outputs: list[dict[str, Any]] = []

    def run(self, code: str) -> list[dict[str, Any]]:
        """What a cell shows; it must not fail."""
        self.outputs.clear()
        request = self.client.execute(code)
        self.wait(lambda message: self._ends(message, request))
        assert [each for each in self.outputs if "ename" in each] == []
        return list(self.outputs)

    @staticmethod
    def _ends(message: dict[str, Any], request: str) -> bool:
        idle = message["content"].get("execution_state") == "idle"
        return idle and message["parent_header"].get("msg_id") == request

    def wait(self, done: Callable[[dict[str, Any]], object]) -> None:
        """Take what the kernel says until something is so."""
        deadline = time.monotonic() + PATIENCE
        while True:
            message = self.client.get_iopub_msg(timeout=max(0.1, deadline - time.monotonic()))
            self._take(message)
            if done(message):
                return

    def _take(self, message: dict[str, Any]) -> None:
        kind, content = message["msg_type"], message["content"]
        if kind in ("comm_open", "comm_msg"):
            data = content["data"]
            state = self.models.setdefault(content["comm_id"], {})
            state.update(data.get("state", {}))
            for (name,), value in zip(
                data.get("buffer_paths", []), message.get("buffers", []), strict=True
            ):
                state[name] = bytes(value)
        elif kind in ("stream", "error", "display_data", "execute_result", "update_display_data"):
            self.outputs.append(content)

    def find(self, **traits: object) -> str:
        """The model with these traits."""
        found = [key for key, state in self.models.items() if traits.items() <= state.items()]
        assert len(found) == 1, traits
        return found[0]

    def send(self, model: str, data: dict[str, Any]) -> None:
        content = {"comm_id": model, "data": data}
        self.client.shell_channel.send(self.client.session.msg("comm_msg", content))

    def click(self, name: str) -> None:
        model = self.find(description=name)
        self.send(model, {"method": "custom", "content": {"event": "click"}})

    def set(self, model: str, **state: object) -> None:
        self.send(model, {"method": "update", "state": state, "buffer_paths": []})

    def page(self) -> str:
        """The messages that are shown."""
        return next(
            state["value"]
            for state in self.models.values()
            if state.get("_model_name") == "HTMLModel" and "max-height" in state.get("value", "")
        )

    def status(self) -> str:
        """All that is shown besides."""
        return "\n".join(
            state["value"]
            for state in self.models.values()
            if state.get("_model_name") == "HTMLModel"
        )

    def enabled(self) -> bool:
        return not self.models[self.find(description="next")]["disabled"]

    def step(self, act: Callable[[], object]) -> None:
        """Do something, and wait for the controls to go off and on again."""
        act()
        self.wait(lambda _: not self.enabled())
        self.wait(lambda _: self.enabled())


@pytest.fixture
def front_end(monkeypatch: pytest.MonkeyPatch) -> Iterator[FrontEnd]:
    monkeypatch.setenv("SEASTREAM_NB_STATIC", "0")
    with running_kernel() as kernel:
        yield FrontEnd(kernel)


def test_in_a_notebook_it_is_driven_without_a_word_and_survives_the_server(
    front_end: FrontEnd, tmp_path: Path
) -> None:
    durable = ("--appendonly", "yes", "--appendfsync", "always", "--requirepass", "s3cret")
    with tcp_server(tmp_path, *durable) as server:
        url = server.url.replace("://", "://:s3cret@")
        with closing(plain_client(url)) as client:
            fill(client, "ticks", 25)
        front_end.run(
            "import seastream_nb as ss\n"
            f"streamer = ss.connect({url!r}, timeout=0.5)\n"
            "browser = streamer['ticks'].json().browse(page_size=10)"
        )
        (output,) = front_end.run("browser")
        assert set(output["data"]) == {WIDGET, "text/plain", "text/html"}
        front_end.outputs.clear()

        front_end.step(lambda: front_end.click("next"))
        assert "messages from 1700000010000-0 to 1700000019000-0" in front_end.page()
        slider = front_end.find(_model_name="SelectionRangeSliderModel")
        chart = front_end.find(_model_name="ImageModel")
        picture = front_end.models[chart]["value"]
        front_end.step(lambda: front_end.set(slider, index=[10, 20]))
        assert "5 messages from 1700000005000-0 to 1700000009000-0" in front_end.page()
        assert front_end.models[chart]["value"] != picture
        text = front_end.find(placeholder="go to a time or an id")
        front_end.step(lambda: front_end.set(text, value="soon"))
        assert "is no time" in front_end.status()

        server.kill()
        front_end.step(lambda: front_end.click("refresh"))
        assert "5 messages from" in front_end.page()
        assert str(server.port) in front_end.status()
        assert "s3cret" not in json.dumps(front_end.models, default=repr)
        server.restart()
        front_end.step(lambda: front_end.click("refresh"))
        front_end.step(lambda: front_end.click("first"))
        assert "5 messages from 1700000005000-0" in front_end.page()

        assert front_end.outputs == []
        (after,) = front_end.run("print(browser.page['n'].tolist())")
        assert after["text"] == "[5, 6, 7, 8, 9]\n"
