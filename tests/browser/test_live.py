"""A live view as a person uses it: in JupyterLab, in Chromium."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.servers import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis

    from tests.browser.lab import Notebook

pytestmark = pytest.mark.browser

SCRIPT = "<script>alert('from a payload')</script>"
IMAGE = "<img src=x onerror=\"alert('from an image')\">"


@pytest.fixture
def notebook(open_cells: Callable[..., Notebook], url: str) -> Notebook:
    """A notebook whose second cell shows a live view of `ticks`, with long cells below."""
    found = open_cells(
        f"import seastream_nb as ss\nstreamer = ss.connect({url!r})",
        'view = streamer["ticks"].json().live(chart="rate")\nview',
        *["print('a long output\\n' * 60)"] * 12,
    )
    found.run_all()
    found.show(1)
    return found


def send(client: redis.Redis, **fields: Any) -> None:
    client.xadd("ticks", {"msg": json.dumps(fields)})


def says(notebook: Notebook, text: str) -> None:
    """Wait until the view says something."""
    notebook.output(1).get_by_text(text).first.wait_for()


def test_it_shows_what_comes_pauses_resumes_and_stops(
    notebook: Notebook, client: redis.Redis
) -> None:
    view = notebook.output(1)
    for number in range(3):
        send(client, price=100.5 + number, symbol="SEA")
    says(notebook, "seen 3")
    rows = view.locator("tbody tr")
    assert rows.count() == 3
    rows.first.get_by_text("102.5", exact=True).wait_for(state="attached")  # the newest

    view.get_by_role("button", name="Pause").click()
    says(notebook, "paused")
    send(client, price=200.0, symbol="SEA")
    assert notebook.value("view.state") == "'paused'"
    notebook.screenshot("live-paused")
    assert rows.count() == 3
    assert notebook.sees(rows.last)

    view.get_by_role("button", name="Resume").click()
    says(notebook, "seen 4")
    assert notebook.value("view.to_pandas()['price'].tolist()") == "[100.5, 101.5, 102.5, 200.0]"
    rows.first.get_by_text("200.0", exact=True).wait_for(state="attached")
    notebook.screenshot("live-running")
    assert notebook.sees(rows.last)

    view.get_by_role("button", name="Stop").click()
    says(notebook, "stopped")
    send(client, price=300.0, symbol="SEA")
    assert notebook.value("view.state, view.to_arrow().num_rows") == "('stopped', 4)"
    assert rows.count() == 4
    view.get_by_role("button").first.wait_for(state="hidden")
    notebook.screenshot("live-stopped")


def test_its_chart_shows_above_the_rows_on_light_and_on_dark_pages(
    open_cells: Callable[..., Notebook], client: redis.Redis, url: str
) -> None:
    notebook = open_cells(
        f"import seastream_nb as ss\nstreamer = ss.connect({url!r})",
        'view = streamer["ticks"].json().live(chart="price")\nview',
    )
    notebook.run_all()
    for number in range(40):
        send(client, price=100 + (number * 7) % 13, symbol="SEA")
    says(notebook, "seen 40")
    chart = notebook.output(1).locator("img")
    assert eventually(lambda: chart.evaluate("it => it.naturalWidth") > 100)
    assert notebook.sees(notebook.output(1).locator("tbody tr").first)
    notebook.screenshot("live-chart")
    notebook.command("apputils:change-theme", theme="JupyterLab Dark")
    dark = notebook.page.locator("body[data-jp-theme-light='false']")
    dark.wait_for(state="attached")
    notebook.page.locator("#jupyterlab-splash").wait_for(state="detached")
    notebook.screenshot("live-chart-dark")
    notebook.command("apputils:change-theme", theme="JupyterLab Light")
    dark.wait_for(state="detached")


def test_what_a_stream_holds_stays_text(notebook: Notebook, client: redis.Redis) -> None:
    view = notebook.output(1)
    elements = view.locator("script, img:not([src^='blob:']):not([src^='data:'])")
    send(client, **{"text": SCRIPT, IMAGE: IMAGE})
    says(notebook, "seen 1")
    assert view.locator("tbody td").get_by_text(SCRIPT, exact=True).count() == 1
    assert view.locator("tbody td").get_by_text(IMAGE, exact=True).count() == 1
    assert elements.count() == 0
    client.xadd("ticks", {"msg": f"no JSON: {SCRIPT}{IMAGE}"})
    says(notebook, "failed with DecodeError")
    notebook.screenshot("live-payloads")
    assert elements.count() == 0
    assert notebook.dialogs == []


def test_it_goes_on_out_of_sight_and_stops_when_its_output_is_cleared(
    notebook: Notebook, client: redis.Redis
) -> None:
    notebook.show(13)
    send(client, price=1.0)
    assert eventually(lambda: notebook.value("view.to_arrow().num_rows") == "1")
    notebook.show(1)
    says(notebook, "seen 1")
    notebook.command("notebook:move-cell-down")
    notebook.command("notebook:move-cell-up")
    send(client, price=2.0)
    says(notebook, "seen 2")
    assert notebook.value("view.state") == "'running'"
    notebook.command("notebook:clear-cell-output")
    assert eventually(lambda: notebook.value("view.state") == "'stopped'")


def test_it_is_still_there_when_the_page_was_loaded_again(
    notebook: Notebook, client: redis.Redis
) -> None:
    notebook.save()
    notebook.reload()
    notebook.show(1)
    send(client, price=1.0)
    says(notebook, "seen 1")
    notebook.command("notebook:clear-cell-output")
    assert eventually(lambda: notebook.value("view.state") == "'stopped'")
