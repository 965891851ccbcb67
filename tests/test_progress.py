"""Progress bars: who sees one, when, and what it says. Slow readings are real, through a relay."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import termios
import threading
import time
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from tqdm.std import tqdm

import seastream_nb as ss
from tests.portal_kernel import PATIENCE
from tests.servers import plain_client
from tests.slow_server import ENTRIES, relay, server_with_ticks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

COUNT = (
    'import sys, seastream_nb as ss\nwith ss.connect(sys.argv[1]) as s: print(s["ticks"].count())'
)
AT_ONCE = "import seastream_nb.progress; seastream_nb.progress.APPEARS_AFTER = 0\n"
BAR = re.compile(r"(\d+)%\|[^|]*\| ([\d,]+) entries, ([\d,]+)/s \[(\d\d:\d\d)<(\d\d:\d\d|\?)\]")


@dataclass(frozen=True)
class Bar:
    """What a bar said: percent, entries, entries a second, time left."""

    percent: int
    entries: int
    rate: int
    left: str


def bars(text: str) -> list[Bar]:
    """All states of the bars in what a terminal got."""
    return [
        Bar(int(percent), *(int(number.replace(",", "")) for number in (entries, rate)), left)
        for percent, entries, rate, _, left in BAR.findall(text)
    ]


@pytest.fixture(scope="module")
def ticks() -> Iterator[ss.EmbeddedServer]:
    """A server with a long stream."""
    with server_with_ticks() as server:
        yield server


@pytest.fixture
def held(ticks: ss.EmbeddedServer) -> Iterator[tuple[str, threading.Event]]:
    """The URL of a server whose pages come only after the event is set."""
    released = threading.Event()
    with relay(ticks.path, lambda: released.wait(PATIENCE)) as url:
        try:
            yield url, released
        finally:
            released.set()


@pytest.fixture
def slow(ticks: ss.EmbeddedServer) -> Iterator[str]:
    """The URL of a server that takes a tenth of a second for each page."""
    with relay(ticks.path, lambda: time.sleep(0.1)) as url:
        yield url


# In a terminal and elsewhere.


@contextmanager
def terminal(
    code: str, url: str, **environment: str
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A Python process whose stderr is a terminal, and the terminal's other end."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    command = [sys.executable, "-Werror", "-c", code, url]
    env = {**os.environ, **environment}
    with subprocess.Popen(command, stdout=-1, stderr=theirs, text=True, env=env) as process:
        os.close(theirs)
        try:
            yield process, ours
        finally:
            process.kill()
            os.close(ours)


def read(terminal: int, until: str = "never") -> str:
    """What comes from a terminal, up to a text or to the end."""
    found = b""
    with suppress(OSError):  # nobody has the other end any more
        while until.encode() not in found and (data := os.read(terminal, 65536)):
            found += data
    return found.decode()


def test_a_terminal_gets_a_bar_after_two_seconds(held: tuple[str, threading.Event]) -> None:
    url, released = held
    with terminal(COUNT, url) as (process, screen):
        begun = time.monotonic()
        shown = read(screen, until="<?]")
        waited = time.monotonic() - begun
        released.set()
        rest = read(screen)
        assert process.stdout is not None
        assert process.stdout.read() == f"{ENTRIES}\n"
    assert waited > 2
    assert bars(shown)[0] == Bar(0, 0, 0, "?")
    assert not re.search(r"\[00:0[01]<", shown)  # it counts from the beginning of the reading
    assert bars(rest)[-1].percent == 100
    assert bars(rest)[-1].entries == ENTRIES
    assert rest.endswith("\r\n")


def test_an_interrupt_closes_the_bar_where_it_is(held: tuple[str, threading.Event]) -> None:
    url, _ = held
    with terminal(AT_ONCE + COUNT, url) as (process, screen):
        read(screen, until="<?]")
        process.send_signal(signal.SIGINT)
        rest = read(screen)
        assert process.wait(PATIENCE) != 0
    assert "KeyboardInterrupt" in rest
    assert "100%" not in rest
    assert bars(rest.partition("Traceback")[0])[-1].percent == 0
    assert re.search(r"\]\r\n(?:\^C)?Traceback", rest)


SILENCED = AT_ONCE + COUNT.replace("count()", "count(progress=False)")


@pytest.mark.parametrize(
    ("code", "environment"),
    [(COUNT, {}), (SILENCED, {}), (AT_ONCE + COUNT, {"SEASTREAM_PROGRESS": "0"})],
    ids=["fast", "False", "0"],
)
def test_a_terminal_gets_no_bar_of_a_short_reading_or_against_ones_wish(
    slow: str, code: str, environment: dict[str, str]
) -> None:
    with terminal(code, slow, **environment) as (process, screen):
        assert read(screen) == ""
        assert process.wait(PATIENCE) == 0


def run(code: str, url: str, **environment: str) -> str:
    """What a Python process without any terminal writes to its stderr."""
    command = [sys.executable, "-Werror", "-c", code, url]
    env = {**os.environ, **environment}
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=True)
    assert done.stdout == f"{ENTRIES}\n"
    return done.stderr


def test_a_process_without_a_terminal_gets_a_bar_only_when_asked(slow: str) -> None:
    assert run(AT_ONCE + COUNT, slow, SEASTREAM_PROGRESS="") == ""
    assert bars(run(AT_ONCE + COUNT, slow, SEASTREAM_PROGRESS="1"))[-1].percent == 100


def test_a_process_without_stderr_reads_without_a_bar(slow: str) -> None:
    closed = "import os, sys\nos.close(2)\nsys.stderr = None\n"
    assert run(closed + AT_ONCE + COUNT, slow) == ""


def test_an_environment_variable_that_cannot_be_meant_is_refused(
    streamer: ss.Streamer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEASTREAM_PROGRESS", "yes")
    with pytest.raises(ss.ConfigError, match="'yes': write 0 or 1"):
        streamer["ticks"].count()
    assert streamer["ticks"].count(progress=False) == 0


# What it says.


def screen(capsys: pytest.CaptureFixture[str]) -> list[Bar]:
    text = capsys.readouterr().err
    assert not text or text.endswith("\n")
    assert not tqdm._instances
    return bars(text)


def test_figures_grow_evenly_to_the_end(slow: str, capsys: pytest.CaptureFixture[str]) -> None:
    with ss.connect(slow) as streamer:
        assert len(streamer["ticks"].to_arrow(progress=True)) == ENTRIES
    shown = screen(capsys)
    assert len(shown) > 2
    assert all(abs(bar.percent - bar.entries * 100 / ENTRIES) <= 1 for bar in shown)
    assert shown[-1] == Bar(100, ENTRIES, shown[-1].rate, "00:00")
    assert 10_000 < shown[-1].rate < 10 * ENTRIES


@pytest.mark.parametrize(
    "build",
    [
        lambda s: s.since("30000-0").until("35000-0"),
        lambda s: s.first(20_000),
        lambda s: s.last(20_000),
        lambda s: s.contains("777"),
        lambda s: s.contains("no such thing").last(5),
        lambda s: s.contains('"n": 40').last(5),
        lambda s: s.json(),
    ],
    ids=["range", "first", "last", "filter", "filtered-out", "filter-last", "json"],
)
def test_a_bar_only_grows_and_ends_full(
    slow: str, capsys: pytest.CaptureFixture[str], build: Callable[[ss.Stream], ss.Stream]
) -> None:
    with ss.connect(slow) as streamer:
        build(streamer["ticks"]).count(progress=True)
    shown = screen(capsys)
    percents, entries = [bar.percent for bar in shown], [bar.entries for bar in shown]
    assert percents == sorted(percents)
    assert entries == sorted(entries)
    assert percents[-1] == 100


def test_shards_that_are_read_together_make_one_bar(
    slow: str, ticks: ss.EmbeddedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(plain_client(ticks.path)) as client, client.pipeline(transaction=False) as pipe:
        for shard in range(3):
            for ms in range(1 + shard * 1_000, 8_000):
                pipe.xadd(f"shards:{shard}", {"msg": "x"}, id=f"{ms}-0")
        pipe.execute()
    with ss.connect(slow) as streamer:
        assert streamer["shards"].count(progress=True) == 3 * 7_999 - 3_000
    percents = [bar.percent for bar in screen(capsys)]
    assert percents == sorted(percents)
    assert percents[-1] == 100


def test_an_empty_range_is_done_at_once(slow: str, capsys: pytest.CaptureFixture[str]) -> None:
    with ss.connect(slow) as streamer:
        assert streamer["nothing"].count(progress=True) == 0
        assert len(streamer["ticks"].since("50000-0").to_pandas(progress=True)) == 0
    assert {bar.percent for bar in screen(capsys)} == {100}


def test_an_error_closes_the_bar_unfinished(slow: str, capsys: pytest.CaptureFixture[str]) -> None:
    too_small = pa.schema([("n", pa.int8())])
    with ss.connect(slow) as streamer, pytest.raises(ss.DecodeError):
        streamer["ticks"].json(too_small).to_arrow(progress=True)
    assert 0 < screen(capsys)[-1].percent < 100


async def test_the_awaiting_facade_draws_too(slow: str, capsys: pytest.CaptureFixture[str]) -> None:
    async with ss.connect_async(slow) as streamer:
        assert await streamer["ticks"].count(progress=True) == ENTRIES
    assert screen(capsys)[-1].percent == 100
