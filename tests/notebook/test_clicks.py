"""Clicks and the stop button on each ipykernel: on plain widgets, then on a live view.

What becomes of a click while a cell blocks differs: 6.31 and 7.4 take it up when the cell ends, 7.3
at once, on a thread of its own, where the front end sends it on a subshell, as JupyterLab does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.ipykernels import require_ipykernel
from tests.notebook.front_end import FrontEnd
from tests.notebook.test_live_widget import START
from tests.portal_kernel import running_kernel
from tests.redis.consuming import send

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import redis

    from tests.portal_kernel import Kernel

BUTTON = """
import ipywidgets
clicked = ipywidgets.HTML("clicked 0")
button = ipywidgets.Button(description="Click")
count = 0
def act(_):
    global count
    count += 1
    clicked.value = f"clicked {count}"
button.on_click(act)
ipywidgets.VBox([button, clicked])
"""
BLOCKS = """
import os, time
print("blocks", flush=True)
while not os.path.exists({file!r}):
    {wait}
"""
# A cell that holds the main thread: by waiting, by computing, or while others may run.
WAITS = ["time.sleep(0.01)", "sum(range(10_000))", "await asyncio.sleep(0.01)"]


@pytest.fixture
def page(matrix_kernel: Kernel, url: str) -> Iterator[FrontEnd]:
    """A front end of each kernel, and a connection `s` in it."""
    front_end = FrontEnd(matrix_kernel)
    front_end.run(START)
    front_end.run(f"s = ss.connect({url!r})")
    yield front_end
    front_end.run("running.stop_all(); s.close(); view = None")
    front_end.until(lambda: front_end.value("running.running(), tasks()") == "({}, [])")


@pytest.fixture(params=["main", "subshell"])
def shell(page: FrontEnd, request: pytest.FixtureRequest) -> str | None:
    """Where clicks are sent to; a kernel without subshells has one shell only."""
    if request.param == "main":
        return None
    found = page.subshell()
    if found is None:
        pytest.skip("this ipykernel has no subshells")
    return found


def said(page: FrontEnd, request: str, text: str) -> bool:
    """Whether a cell has printed something."""
    return any(
        text in each["content"].get("text", "")
        for each in page.messages
        if each["parent_header"].get("msg_id") == request
    )


def blocked(page: FrontEnd, file: Path, wait: str) -> str:
    """A cell that runs until there is that file; it runs when this returns."""
    request = page.start(BLOCKS.format(file=str(file), wait=wait))
    page.until(lambda: said(page, request, "blocks"))
    return request


def test_a_click_is_acted_on_while_nothing_runs(page: FrontEnd, shell: str | None) -> None:
    page.shown(BUTTON)
    page.click("Click", shell)
    page.until(lambda: "clicked 1" in page.html())


@pytest.mark.parametrize("wait", WAITS)
def test_a_click_while_a_cell_blocks_is_acted_on_once_when_it_ends_at_the_latest(
    page: FrontEnd, shell: str | None, tmp_path: Path, wait: str
) -> None:
    page.shown(BUTTON)
    request = blocked(page, tmp_path / "end", wait)
    page.click("Click", shell)
    (tmp_path / "end").touch()
    page.finish(request)
    page.until(lambda: "clicked 1" in page.html())
    assert page.value("count") == "1"


def test_the_buttons_of_a_live_view_work_on_every_kernel(
    page: FrontEnd, client: redis.Redis, shell: str | None
) -> None:
    page.shown('view = s["s"].live(); view')
    send(client, "s", 1)
    page.until(lambda: "seen 1" in page.html())
    page.click("Pause", shell)
    page.until(lambda: "paused" in page.html())
    send(client, "s", 2)
    page.click("Resume", shell)
    page.until(lambda: "seen 2" in page.html())
    page.click("Stop", shell)
    page.until(lambda: "stopped" in page.html())
    assert page.value('view.state, view.to_arrow()["payload"].to_pylist()') == (
        "('stopped', [b'1', b'2'])"
    )


@pytest.mark.parametrize("wait", WAITS)
def test_a_live_view_goes_on_while_a_cell_blocks_and_stops_by_its_button_then(
    page: FrontEnd, client: redis.Redis, shell: str | None, tmp_path: Path, wait: str
) -> None:
    page.shown('view = s["s"].live(); view')
    request = blocked(page, tmp_path / "end", wait)
    send(client, "s", 1)
    page.until(lambda: "seen 1" in page.html())
    page.click("Stop", shell)
    (tmp_path / "end").touch()
    page.finish(request)
    page.until(lambda: "stopped" in page.html())
    send(client, "s", 2)
    assert page.value("view.state, view.to_arrow().num_rows") == "('stopped', 1)"


@pytest.mark.parametrize("wait", ["view.wait()", "consumer.next()", "await waiting.next()"])
def test_the_stop_button_of_the_notebook_ends_the_cell_and_leaves_the_view(
    page: FrontEnd, client: redis.Redis, url: str, wait: str
) -> None:
    page.run(f"""
consumer = s.consumer("s")
a = await ss.connect_async({url!r})
waiting = await a.consumer("s")
""")
    page.shown('view = s["s"].live(); view')
    cell, _ = page.kernel.run(f"print('waits', flush=True)\n{wait}", interrupt_at="waits")
    assert cell.error in {"KeyboardInterrupt", "CancelledError"}
    assert page.value("view.state") == "running"
    send(client, "s", 1)
    page.until(lambda: "seen 1" in page.html())
    assert page.value("consumer.next(20).text(), (await waiting.next(20)).text()") == "('1', '1')"
    page.click("Stop")
    page.until(lambda: "stopped" in page.html())
    page.run("await a.close()")


def test_a_click_stops_a_view_at_once_where_another_thread_takes_it_up(
    client: redis.Redis, url: str, tmp_path: Path
) -> None:
    with running_kernel(require_ipykernel("7.3.0")) as kernel:
        page = FrontEnd(kernel)
        page.run(START)
        page.run(f"s = ss.connect({url!r})")
        page.shown('view = s["s"].live(); view')
        subshell = page.subshell()
        request = blocked(page, tmp_path / "end", "time.sleep(0.01)")
        page.click("Stop", subshell)
        page.until(lambda: "stopped" in page.html())
        (tmp_path / "end").touch()
        page.finish(request)
