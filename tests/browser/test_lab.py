"""What everything here stands on: notebooks run in JupyterLab, tables show, widgets answer."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.lab import PATIENCE, ROOT
from tests.notebook.test_notebooks import FOLDER
from tests.servers import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.browser.lab import Notebook

pytestmark = pytest.mark.browser

BUTTON = """import ipywidgets
said = ipywidgets.HTML("<b>not yet</b>")
button = ipywidgets.Button(description="Say it")
def say(button):
    said.value = "<b>clicked</b>"
button.on_click(say)
ipywidgets.VBox([button, said])"""

WEEK = 5  # the cell of the quickstart that shows a week of earthquakes
BROWSER, LIVE = 3, 15  # the cells of the notebook of views that show them
START = """
import sys
from pathlib import Path
from tests.browser.lab import JupyterLab
print(JupyterLab(Path(sys.argv[1]), Path(sys.argv[1])).process.pid, flush=True)
sys.stdin.read()
"""


def test_the_quickstart_runs_and_shows_its_frames(
    open_notebook: Callable[[Path], Notebook],
) -> None:
    notebook = open_notebook(FOLDER / "01_quickstart.ipynb")
    notebook.run_all()
    notebook.show(WEEK)
    table = notebook.output(WEEK).locator("table")
    notebook.screenshot("quickstart")
    names = ["", "time", "magnitude", "depth_km", "place", "network"]
    assert table.locator("thead th").all_inner_texts() == names
    assert table.locator("tbody tr").count() == 3


def test_a_button_changes_what_the_page_shows(open_cells: Callable[..., Notebook]) -> None:
    notebook = open_cells(BUTTON)
    notebook.run_all()
    notebook.output(0).get_by_text("not yet").wait_for()
    notebook.output(0).get_by_role("button", name="Say it").click()
    notebook.output(0).get_by_text("clicked").wait_for()
    notebook.screenshot("button")


def test_a_lab_ends_with_tests_that_are_killed(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", START, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    ) as tests:
        assert tests.stdout is not None
        process = Path("/proc", tests.stdout.readline().decode().strip())
        assert process.exists()
        tests.send_signal(signal.SIGKILL)
    assert eventually(lambda: not process.exists(), within=PATIENCE)


def test_the_notebook_of_views_runs_and_shows_them(
    open_notebook: Callable[[Path], Notebook],
) -> None:
    notebook = open_notebook(FOLDER / "05_live_and_browse.ipynb")
    notebook.run_all()
    notebook.show(BROWSER)
    browser = notebook.output(BROWSER)
    browser.get_by_role("button", name="next", exact=True).wait_for()
    browser.get_by_text("messages from").first.wait_for()
    notebook.screenshot("notebook-browse")
    notebook.show(LIVE)
    live = notebook.output(LIVE)
    live.get_by_text("stopped").first.wait_for()
    notebook.screenshot("notebook-live")
    assert live.locator("tbody tr").count() == 4  # the newest of six
    assert live.locator("img").evaluate("it => it.naturalWidth") > 100
