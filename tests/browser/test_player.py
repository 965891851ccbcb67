"""A replay with buttons as a person uses it: in JupyterLab, in Chromium."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.servers import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.browser.lab import Notebook

pytestmark = pytest.mark.browser

WEEK = Path(__file__).parents[2] / "data" / "earthquakes.ss"


def where(notebook: Notebook) -> float:
    """How much of the week is behind it, from 0 to 1; 0 as long as that is open."""
    now = notebook.value("(player.time_ns, player.span.first_ns, player.span.last_ns)")
    if "None" in now:
        return 0.0
    at, first, last = map(int, now.strip("()").split(","))
    return (at - first) / (last - first)


def test_it_plays_pauses_goes_where_the_position_is_set_and_stops(
    open_cells: Callable[..., Notebook],
) -> None:
    notebook = open_cells(
        f"import seastream_nb as ss\nfile = ss.connect({WEEK.as_uri()!r}, read_only=True)",
        'player = file["earthquakes"].json().select("timestamp", "magnitude", "place")'
        ".replay(speed=1000).control()\nplayer",
    )
    notebook.run_all()
    notebook.show(1)
    output = notebook.output(1)
    assert eventually(lambda: notebook.value("player.state") == "'playing'")
    assert eventually(lambda: int(notebook.value("player.count")) > 0)
    output.get_by_role("button", name="pause").click()
    assert eventually(lambda: notebook.value("player.state") == "'paused'")
    notebook.screenshot("replay-paused")

    position = output.locator(".noUi-target").bounding_box()
    assert position is not None
    middle = position["x"] + position["width"] / 2, position["y"] + position["height"] / 2
    notebook.page.mouse.click(*middle)
    output.get_by_role("button", name="play").click()
    assert eventually(lambda: notebook.value("player.state") == "'playing'")
    assert eventually(lambda: 0.4 < where(notebook) < 0.6)
    output.get_by_text("2018-02-03").first.wait_for()  # the middle of the week
    notebook.screenshot("replay-playing")
    output.get_by_role("button", name="stop").click()
    assert eventually(lambda: notebook.value("player.state") == "'stopped'")
    notebook.screenshot("replay-stopped")
    assert notebook.sees(output.locator("tbody tr").first)
