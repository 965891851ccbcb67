"""Progress bars in notebooks: somebody who watches sees one, a batch leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import nbformat
import pytest

import seastream_nb as ss
from tests.portal_kernel import PATIENCE, Kernel, running_kernel
from tests.slow_server import ENTRIES, relay, server_with_ticks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

WIDGET = "application/vnd.jupyter.widget-view+json"
COUNT = "import seastream_nb as ss\nwith ss.connect({url!r}) as s: print(s['ticks'].count())"
COUNT_AWAITING = """import seastream_nb as ss
async with ss.connect_async({url!r}) as s: print(await s['ticks'].count())"""
AT_ONCE = "import seastream_nb.progress; seastream_nb.progress.APPEARS_AFTER = 0\n"
Message = dict[str, Any]


@pytest.fixture(scope="module")
def ticks() -> Iterator[ss.EmbeddedServer]:
    with server_with_ticks() as server:
        yield server


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    with running_kernel() as running:
        yield running


@pytest.fixture
def slow(ticks: ss.EmbeddedServer) -> Iterator[str]:
    """The URL of a server that takes a tenth of a second for each page."""
    with relay(ticks.path, lambda: time.sleep(0.1)) as url:
        yield url


def run(
    kernel: Kernel,
    code: str,
    *,
    watch: Callable[[Message], object] = lambda message: None,
    allow_stdin: bool = True,
) -> list[Message]:
    """What a cell published until it was done."""
    request = kernel.client.execute(code, allow_stdin=allow_stdin)
    found: list[Message] = []
    while True:
        message = kernel.client.get_iopub_msg(timeout=PATIENCE)
        if message["parent_header"].get("msg_id") != request:
            continue
        found.append(message)
        watch(message)
        if message["content"].get("execution_state") == "idle":
            return found


def printed(messages: list[Message], stream: str) -> str:
    contents = [message["content"] for message in messages if message["msg_type"] == "stream"]
    return "".join(content["text"] for content in contents if content["name"] == stream)


def shows_widget(message: Message) -> bool:
    return message["msg_type"] == "display_data" and WIDGET in message["content"]["data"]


def states(messages: list[Message]) -> list[dict[str, Any]]:
    """What the cell's widgets were told, in order."""
    return [
        message["content"]["data"]["state"]
        for message in messages
        if message["msg_type"] in ("comm_open", "comm_msg")
    ]


@pytest.mark.parametrize("code", [COUNT, COUNT_AWAITING], ids=["blocking", "awaiting"])
def test_a_bar_appears_in_the_cell_and_closes_full(
    ticks: ss.EmbeddedServer, kernel: Kernel, code: str
) -> None:
    released = threading.Event()

    def release(message: Message) -> None:
        if shows_widget(message):
            released.set()

    with relay(ticks.path, lambda: released.wait(PATIENCE)) as url:
        messages = run(kernel, code.format(url=url), watch=release)
    assert released.is_set()
    assert printed(messages, "stdout") == f"{ENTRIES}\n"
    assert printed(messages, "stderr") == ""
    values = [state["value"] for state in states(messages) if "value" in state]
    numbers = [value for value in values if isinstance(value, float)]
    assert numbers == sorted(numbers)
    assert numbers[-1] == 1.0
    assert [state["bar_style"] for state in states(messages) if state.get("bar_style")] == [
        "success"
    ]
    texts = [value.replace("\u2007", " ") for value in values if isinstance(value, str)]
    assert f"{ENTRIES:,} entries" in texts[-1]


def test_a_cell_that_nobody_watches_shows_none(slow: str, kernel: Kernel) -> None:
    """Papermill, nbclient and nbval execute cells without a way to ask for input."""
    messages = run(kernel, AT_ONCE + COUNT.format(url=slow), allow_stdin=False)
    assert printed(messages, "stdout") == f"{ENTRIES}\n"
    assert {message["msg_type"] for message in messages} == {"status", "execute_input", "stream"}


def test_a_cell_that_nobody_watches_shows_one_when_asked(slow: str, kernel: Kernel) -> None:
    code = COUNT.format(url=slow).replace("count()", "count(progress=True)")
    assert any(map(shows_widget, run(kernel, code, allow_stdin=False)))


def test_strict_nbval_finds_nothing_but_the_result(slow: str, tmp_path: Path) -> None:
    cell = nbformat.v4.new_code_cell(AT_ONCE + COUNT.format(url=slow), execution_count=1)
    cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=f"{ENTRIES}\n")]
    notebook = tmp_path / "count.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), notebook)
    pytest_ = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*pytest_, "--nbval", "--nbval-current-env", str(notebook)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if "PYTEST" not in name},
    )
    assert done.returncode == 0, done.stdout + done.stderr
