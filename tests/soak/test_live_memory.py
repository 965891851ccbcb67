"""Minutes of a live view at 5,000 messages a second; `-s` shows the figures.

The kernel's memory stays flat, and it answers a cell at once. `$LIVE_MINUTES` says how long.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from statistics import median

import pytest

import seastream_nb as ss
from tests.notebook.front_end import FrontEnd, updates
from tests.portal_kernel import running_kernel
from tests.servers import plain_client

MINUTES = float(os.environ.get("LIVE_MINUTES", "1"))
RATE = 5_000
STEP = 0.02
KEPT = 100_000  # entries in the stream, so that the server's memory stays flat too
WARM_UP = 20.0
GROWTH = 40 * 2**20
ANSWER = 0.5
CELL = """
import os
os.environ["SEASTREAM_NB_STATIC"] = "0"
import seastream_nb as ss
s = ss.connect({url!r})
view = s["s"].json().live(chart="n", max_rows=10_000)
view
"""


def resident(pid: int) -> int:
    """The bytes of memory that a process has."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def write(url: str, stop: threading.Event) -> None:
    """Send at a steady rate, as long as the event is not set."""
    with (
        ss.connect(url) as streamer,
        streamer.producer("s") as producer,
        plain_client(url) as trimming,
    ):
        began, sent = time.monotonic(), 0
        while not stop.wait(STEP):
            due = int((time.monotonic() - began) * RATE)
            for number in range(sent, due):
                producer.send(f'{{"n": {number % 1_000}, "text": "{"x" * 100}"}}')
            if due // RATE > sent // RATE:
                trimming.xtrim("s", maxlen=KEPT)
            sent = due


@pytest.mark.soak
def test_a_busy_view_keeps_its_memory_flat_and_the_kernel_free(url: str) -> None:
    stop = threading.Event()
    writer = threading.Thread(target=write, args=(url, stop))
    with running_kernel() as kernel:
        page = FrontEnd(kernel)
        page.shown(CELL.format(url=url))
        writer.start()
        pid = int(page.value("os.getpid()"))
        sizes: list[int] = []
        answers: list[float] = []
        changes = 0
        began = time.monotonic()
        try:
            while (passed := time.monotonic() - began) < WARM_UP + 60 * MINUTES:
                changes += len(updates(page.listen(1.0)))
                page.messages.clear()
                asked = time.monotonic()
                assert page.value("1 + 1") == "2"
                if passed > WARM_UP:
                    answers.append(time.monotonic() - asked)
                    sizes.append(resident(pid))
        finally:
            stop.set()
            writer.join()
        seconds = time.monotonic() - began
        seen = int(page.value("view.to_pandas().attrs['seastream_seen']"))
        state = page.value("view.state")
    quarter = max(1, len(sizes) // 4)
    peaks = [max(sizes[start : start + quarter]) for start in range(0, 4 * quarter, quarter)]
    growth = peaks[-1] - peaks[0]
    print(
        f"\nlive for {seconds:.0f} s: {seen:,} messages, {seen / seconds:,.0f}/s, "
        f"{changes / seconds:.1f} changes/s; memory by quarters "
        f"{', '.join(f'{peak / 2**20:.1f}' for peak in peaks)} MiB; "
        f"answers {1_000 * median(answers):.0f} ms (median), {1_000 * max(answers):.0f} ms (most)"
    )
    assert state == "running"
    assert seen > RATE * seconds * 0.5
    assert growth < GROWTH
    assert max(answers) < ANSWER
