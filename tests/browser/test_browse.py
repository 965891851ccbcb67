"""A browser of a stream as a person uses it: in JupyterLab, in Chromium."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.browser.test_live import IMAGE, SCRIPT
from tests.servers import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis

    from tests.browser.lab import Notebook

pytestmark = pytest.mark.browser

BEGIN_MS = 1_700_000_000_000  # 2023-11-14 22:13:20
MINUTE_MS = 60_000
TOTAL = 300


@pytest.fixture
def notebook(open_cells: Callable[..., Notebook], client: redis.Redis, url: str) -> Notebook:
    """A notebook that looks through `ticks`, a message a minute, a hundred on a page."""
    with client.pipeline(transaction=False) as pipeline:
        for number in range(TOTAL):
            fields = {"n": number, "text": SCRIPT if number % 2 else IMAGE}
            entry = f"{BEGIN_MS + number * MINUTE_MS}-0"
            pipeline.xadd("ticks", {"msg": json.dumps(fields)}, id=entry)
        pipeline.execute()
    found = open_cells(
        f"import seastream_nb as ss\nstreamer = ss.connect({url!r})",
        'browser = streamer["ticks"].json().browse(page_size=100)\nbrowser',
    )
    found.run_all()
    found.show(1)
    shows(found, 0, 99)
    return found


def shows(notebook: Notebook, first: int, last: int) -> None:
    """Wait until the page is the one from one message to another."""
    ids = [f"{BEGIN_MS + number * MINUTE_MS}-0" for number in (first, last)]
    text = f"{last - first + 1} messages from {ids[0]} to {ids[1]}"
    notebook.output(1).get_by_text(text).first.wait_for()


def press(notebook: Notebook, name: str) -> None:
    notebook.output(1).get_by_role("button", name=name, exact=True).click()


def test_the_pager_turns_pages(notebook: Notebook) -> None:
    press(notebook, "next")
    shows(notebook, 100, 199)
    press(notebook, "last")
    shows(notebook, 200, 299)
    notebook.screenshot("browse-last")
    press(notebook, "previous")
    shows(notebook, 100, 199)
    press(notebook, "first")
    shows(notebook, 0, 99)
    go_to = notebook.output(1).get_by_placeholder("go to a time or an id")
    go_to.fill("2023-11-14 23:00")
    go_to.press("Enter")
    shows(notebook, 47, 146)
    assert notebook.value("len(browser.page)") == "100"


def test_the_range_slider_chooses_a_part_and_says_which(notebook: Notebook) -> None:
    output, mouse = notebook.output(1), notebook.page.mouse
    lower, upper = output.locator(".noUi-handle").all()
    begin, end = lower.bounding_box(), upper.bounding_box()
    assert begin is not None
    assert end is not None
    lower.hover()
    mouse.down()
    mouse.move((begin["x"] + end["x"]) / 2 + begin["width"] / 2, begin["y"] + 5, steps=5)
    shows(notebook, 0, 99)  # until it is let go
    mouse.up()
    eventually(lambda: notebook.value("'since' in browser.code") == "True")
    left = int(notebook.value("len(browser.to_pandas())"))
    assert 100 < left < TOTAL - 100
    shows(notebook, TOTAL - left, TOTAL - left + 99)
    press(notebook, "last")
    shows(notebook, TOTAL - 100, TOTAL - 1)
    notebook.screenshot("browse-range")
    readout = output.locator(".widget-readout")
    since = notebook.value("str(browser.to_pandas()['timestamp'].min())[:13]").strip("'")
    assert readout.inner_text().startswith(since)
    assert readout.evaluate("it => it.scrollWidth <= it.clientWidth")


def test_what_a_stream_holds_stays_text(notebook: Notebook) -> None:
    output = notebook.output(1)
    assert output.locator("td").get_by_text(SCRIPT, exact=True).count() == 50
    assert output.locator("td").get_by_text(IMAGE, exact=True).count() == 50
    assert output.locator("script, img:not([src^='blob:']):not([src^='data:'])").count() == 0
    assert notebook.dialogs == []
