"""A live view in a real kernel, used as a front end uses it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from tests.notebook.front_end import FrontEnd, updates
from tests.portal_kernel import running_kernel
from tests.redis.consuming import send

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

    from tests.portal_kernel import Kernel

# What lands in the output of some cell.
SHOWN = {"stream", "display_data", "update_display_data", "execute_result", "clear_output", "error"}
START = """
import os, threading, asyncio
os.environ["SEASTREAM_NB_STATIC"] = "0"
import seastream_nb as ss
from seastream_nb import portal
from seastream_nb.notebook import running

def tasks():
    async def names():
        return [task.get_name() for task in asyncio.all_tasks()]
    return [name for name in portal.run(names()) if name.startswith("seastream live")]
"""
WRITER = """
def write():
    with ss.connect({url!r}) as writing, writing.producer("busy") as producer:
        number = 0
        while going:
            for _ in range(50):
                producer.send('{{"n": %d}}' % number)
                number += 1
            time.sleep(0.01)
import time
going = True
thread = threading.Thread(target=write)
thread.start()
"""


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    with running_kernel() as running:
        yield running


@pytest.fixture
def page(kernel: Kernel, url: str) -> Iterator[FrontEnd]:
    """A front end, and a connection `s` in its kernel."""
    front_end = FrontEnd(kernel)
    front_end.run(START)
    front_end.run(f"s = ss.connect({url!r})")
    yield front_end
    front_end.run("running.stop_all(); s.close(); view = other = None")
    front_end.until(lambda: front_end.value("running.running(), tasks()") == "({}, [])")


def test_a_cell_shows_a_widget_and_stays_free(page: FrontEnd, client: redis.Redis) -> None:
    send(client, "s", 1, 2)
    page.shown('view = s["s"].live(since="earliest"); view')
    page.until(lambda: "seen 2" in page.html())
    send(client, "s", "<b>bold</b>")

    page.until(lambda: "seen 3" in page.html())
    assert page.value("1 + 1") == "2"
    assert "&lt;b&gt;bold&lt;/b&gt;" in page.html()
    assert "<b>" not in page.html()
    newest_first = [page.html().index(f">{text}<") for text in ("&lt;b&gt;bold&lt;/b&gt;", 2, 1)]
    assert newest_first == sorted(newest_first)
    for shown in ("kept 3", "dropped 0", "/s", "lag", "last id", "running"):
        assert shown in page.html()


def test_its_buttons_pause_resume_jump_and_stop(page: FrontEnd, client: redis.Redis) -> None:
    page.shown('view = s["s"].live(); view')
    page.click("Pause")
    page.until(lambda: "paused" in page.html())
    send(client, "s", 1, 2)
    page.click("Resume")
    page.until(lambda: "seen 2" in page.html())
    page.click("Pause")
    page.until(lambda: "paused" in page.html())
    send(client, "s", 3)
    page.click("Latest")
    page.until(lambda: "seen 0" in page.html())
    page.click("Resume")
    page.until(lambda: "running" in page.html())
    send(client, "s", 4)
    page.until(lambda: "seen 1" in page.html() and ">4<" in page.html())
    page.click("Stop")
    page.until(lambda: "stopped" in page.html())

    send(client, "s", 5)
    assert page.value('view.state, view.to_arrow()["payload"].to_pylist()') == (
        "('stopped', [b'4'])"
    )
    page.until(lambda: page.value("running.running(), tasks()") == "({}, [])")


def test_buttons_work_while_nothing_else_of_the_view_can_move(page: FrontEnd) -> None:
    # The user's function has the view's own thread, for as long as it likes.
    page.run("entered, leave = threading.Event(), threading.Event()")
    page.shown('view = s["s"].live(); view')
    page.run(
        "view.on_page(lambda page: (entered.set(), leave.wait()))\n"
        'with s.producer("s") as producer: producer.send("1")\n'
        "entered.wait()"
    )
    page.click("Stop")
    page.until(lambda: "stopped" in page.html())
    page.run("leave.set()")


def pictures(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of the messages that bring a chart."""
    return [
        each
        for each in updates(messages)
        if list(each["content"]["data"]["buffer_paths"]) == [["value"]]
    ]


@pytest.mark.parametrize("chart", ['"rate"', '"n"'])
def test_a_busy_stream_changes_at_most_five_traits_a_second(
    page: FrontEnd, url: str, chart: str
) -> None:
    page.run(WRITER.format(url=url))
    page.shown(f'view = s["busy"].json().live(chart={chart}, rolling="1m"); view')
    page.until(lambda: "seen 0" not in page.html())
    start = len(page.messages)

    def enough() -> bool:
        heard = page.messages[start:]
        return len(pictures(heard)) >= 5 and len(updates(heard)) > 10

    page.until(enough, seconds=60)
    heard = page.messages[start:]
    page.run("going = False; thread.join(); view.stop()")

    changes = updates(heard)
    times = sorted(each["header"]["date"].timestamp() for each in changes)
    for began in times:
        assert sum(began <= time < began + 1 for time in times) <= 5
    assert Counter(each["msg_type"] for each in heard) == {"comm_msg": len(changes)}
    images = pictures(heard)
    assert len(images) <= times[-1] - times[0] + 1.5  # one a second, the first at once
    assert bytes(images[-1]["buffers"][0]).startswith(b"\x89PNG")
    assert page.value('view.to_arrow()["n"].is_valid().to_pylist().count(False)') == "0"


def test_a_silent_stream_changes_nothing(page: FrontEnd) -> None:
    page.shown('view = s["s"].live(chart="rate"); view')
    page.listen(1.0)

    assert updates(page.listen(2.0)) == []


def test_clearing_the_output_stops_it(page: FrontEnd) -> None:
    model = page.shown('view = s["s"].live(); view')
    page.update(model, _view_count=0)

    page.until(lambda: "stopped" in page.html(), seconds=20)
    page.until(lambda: page.value("running.running(), tasks()") == "({}, [])")


def test_moving_the_cell_does_not(page: FrontEnd, client: redis.Redis) -> None:
    from seastream_nb.notebook.box import GONE_SECONDS

    model = page.shown('view = s["s"].live(); view')
    page.update(model, _view_count=0)
    page.update(model, _view_count=1)
    page.listen(GONE_SECONDS + 0.5)
    assert page.value("view.state") == "running"

    page.update(model, _view_count=2)
    page.update(model, _view_count=1)
    page.listen(GONE_SECONDS + 0.5)
    assert page.value("view.state") == "running"


def test_a_page_that_was_loaded_again_counts_from_nothing(page: FrontEnd) -> None:
    model = page.shown('view = s["s"].live(); view')
    assert page.value("view.widget._view_count") == "1"
    page._comm(model, {"method": "request_state"})
    page.until(lambda: page.models[model]["_view_count"] == 0)
    page.update(model, _view_count=1)
    page.update(model, _view_count=0)

    page.until(lambda: "stopped" in page.html(), seconds=20)


def test_a_view_that_was_never_shown_is_not_stopped_for_that(page: FrontEnd) -> None:
    from seastream_nb.notebook.box import GONE_SECONDS

    page.run('view = s["s"].live(); view.widget')
    page.listen(GONE_SECONDS + 0.5)

    assert page.value("view.state") == "running"


def test_a_cell_that_runs_again_replaces_its_view(page: FrontEnd) -> None:
    page.shown('view = s["s"].live(); view', cell="a")
    page.run("first = view")
    page.shown('other = s["s"].live(); other', cell="b")
    page.shown('view = s["s"].live(); view', cell="a")

    assert page.value("first.state, other.state, view.state") == (
        "('stopped', 'running', 'running')"
    )
    page.run("first.wait()")
    page.until(lambda: page.value("len(running.running()), len(tasks())") == "(2, 6)")


def test_a_failure_is_one_line_in_the_widget_and_no_output(
    page: FrontEnd, client: redis.Redis
) -> None:
    send(client, "s", '{"a": 1}')
    page.shown('view = s["s"].json().live(since="earliest"); view')
    page.until(lambda: "seen 1" in page.html())
    start = len(page.messages)
    send(client, "s", "<i>no JSON</i>")

    page.until(lambda: "failed with DecodeError" in page.html())
    assert "<i>" not in page.html()
    assert "kept 1" in page.html()
    assert SHOWN & {each["msg_type"] for each in page.messages[start:]} == set()
    assert page.value("view.state, view.to_arrow().num_rows") == "('failed', 1)"
    assert page.value('s["s"].count()') == "2"


def test_entries_that_are_trimmed_meanwhile_are_told_in_the_widget_and_nowhere_else(
    page: FrontEnd, client: redis.Redis
) -> None:
    page.shown('view = s["s"].live(); view')
    send(client, "s", 1)
    page.until(lambda: "seen 1" in page.html())
    page.click("Pause")
    page.until(lambda: "paused" in page.html())
    send(client, "s", 2)  # this one may be at hand already
    with client.pipeline(transaction=True) as change:  # the page of before may still take more
        send(change, "s", *range(3, 300))
        change.xtrim("s", maxlen=10, approximate=False)
        change.execute()
    start = len(page.messages)
    page.click("Resume")

    page.until(lambda: "entries were gone" in page.html())
    assert SHOWN & {each["msg_type"] for each in page.messages[start:]} == set()
    assert page.value('view.to_pandas().attrs["seastream_complete"]') == "False"


def test_the_kernel_ends_at_once_while_views_run(url: str) -> None:
    with running_kernel() as kernel:
        page = FrontEnd(kernel)
        page.run(START)
        page.run(f"s = ss.connect({url!r})")
        page.shown(
            'view = s["s"].live(); view.on_page(lambda page: threading.Event().wait()); view'
        )
        page.run('with s.producer("s") as producer: producer.send("1")')
        page.until(lambda: "seen 1" in page.html())
        kernel.client.shutdown()
        page.until(lambda: not kernel.manager.is_alive(), seconds=15)
