"""The demo, as a newcomer runs it: a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


def run_demo(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "seastream_nb.demo"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope="module")
def output() -> str:
    demo = run_demo()
    assert demo.stderr == ""
    assert demo.returncode == 0
    return demo.stdout


def section(output: str, title: str) -> str:
    """What stands under a heading that starts with `title`."""
    blocks = [block for block in output.split("\n\n") if block.strip().startswith(title)]
    assert len(blocks) == 1
    return blocks[0]


def test_the_demo_loads_both_streams_and_lists_them(output):
    listing = section(output, "List the streams").splitlines()
    rows = [line.split()[:3] for line in listing]
    assert ["earthquakes", "3", "1,707"] in rows
    assert ["prices", "1", "1,000"] in rows


def test_the_demo_finds_the_strongest_earthquake_page_by_page(output):
    found = section(output, "Go through the week page by page")
    assert [int(line.split()[-1]) for line in found.splitlines()[3:]] == [500, 500, 500, 207]
    assert "6.4" in found


def test_the_demo_shows_the_hour_around_it_as_a_frame(output):
    window = section(output, "Read what happened between 15:30 and 16:30").splitlines()[2:]
    assert window[0].split() == ["timestamp", "magnitude", "depth_km", "place"]
    assert len(window) == 7
    assert "22km NNE of Hualian, Taiwan" in window[3]


def test_the_demo_shows_a_rate_by_the_hour(output):
    bars = section(output, "Count the earthquakes").splitlines()[2:]
    assert len(bars) == 7
    assert all(line.count("#") == int(line.split()[2]) for line in bars)


def test_the_demo_seeks_to_what_came_strictly_later(output):
    taken = section(output, "Seek a consumer").splitlines()[2:]
    assert [line.split()[0] for line in taken] == ["15:52:30", "16:15:24", "16:17:57"]


def test_the_demo_says_that_awaiting_gave_the_same(output):
    awaited = section(output, "Read the same hour, and the week, with await")
    assert "6 rows, equal to what the blocking call gave" in awaited
    assert "500, 500, 500, 207" in awaited


def test_the_demo_ends_with_the_seconds_of_every_step(output):
    table = section(output, "seconds  step").splitlines()[1:]
    headings = output.splitlines().count
    seconds = [float(line.split()[0]) for line in table]
    steps = [line[9:] for line in table[:-1]]
    assert all(headings(step) == 1 for step in steps)
    assert len(steps) == 9
    assert table[-1].endswith("all of it")
    assert seconds[-1] == pytest.approx(sum(seconds[:-1]), abs=0.01)


def test_the_demo_fits_a_terminal_of_100_columns(output):
    assert max(map(len, output.splitlines())) <= 100


def test_a_failing_demo_says_why_in_one_line_and_exits_with_1():
    demo = run_demo(SEASTREAM_NOW="yesterday")
    assert demo.returncode == 1
    assert demo.stderr.startswith("The demo failed: ")
    assert "'yesterday' is no time" in demo.stderr
    assert len(demo.stderr.splitlines()) == 1
