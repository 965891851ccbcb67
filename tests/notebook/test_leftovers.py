"""What is left of the magics when they are gone: nothing that runs, nothing that is connected."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest
from IPython.core.completer import provisionalcompleter

from seastream_nb import portal
from tests.notebook.cells import error_of, run
from tests.servers import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis
    from IPython.core.interactiveshell import InteractiveShell

USES = [
    "%stream ls",
    "%stream info ticks",
    "%stream read ticks --json",
    "%stream read ticks --json --limit 1",
    "%stream tail ticks -n 1",
    "%%stream ticks --json\ndf.price.sum()",
    "%%stream ticks --each --page-size 1\nlen(df)",
    "%%stream ticks --json --sql\nselect * from ticks limit 1",
    "%stream export ticks out.ss --overwrite",
    "%stream record ticks out.ss -n 1 --overwrite",
]
MISUSES = [
    "%stream raed ticks",
    "%stream read ticks --sinse 02:10",
    "%stream read ticks --since nonsense",
    "%stream read ticks --select prize",
    "%stream info missing",
    "%stream ls --from redis://127.0.0.1:1",
    "%stream read plain",
    "%%stream ticks\n1 / 0",
    "%%stream ticks --each --page-size 1\n1 / 0",
    "%%stream ticks --sql\nselec 1",
    "%%stream ticks --json --sql\nselect prize from ticks",
]


def tasks() -> int:
    """How many tasks there are on the I/O thread."""

    async def count() -> int:
        return len(asyncio.all_tasks()) - 1

    return portal.run(count())


def threads() -> set[str]:
    """The threads that are not those of this process's pool, which are kept for later."""
    return {each.name for each in threading.enumerate() if not each.name.startswith("asyncio_")}


@pytest.fixture
def settled(connected: InteractiveShell, ticks: redis.Redis) -> Callable[[], bool]:
    """Whether all that began since is over, once the magics were unloaded."""
    tasks()  # the I/O thread runs
    ticks.set("plain", "no stream")
    connected.extension_manager.unload_extension("seastream_nb")
    clients = len(ticks.client_list())
    before = threads(), tasks(), clients
    connected.extension_manager.load_extension("seastream_nb")
    return lambda: (threads(), tasks(), len(ticks.client_list())) == before


@pytest.mark.parametrize("named", [True, False], ids=["connected", "each time"])
def test_uses_and_misuses_leave_no_thread_no_task_and_no_connection(
    connected: InteractiveShell,
    settled: Callable[[], bool],
    url: str,
    tmp_path: object,
    monkeypatch: pytest.MonkeyPatch,
    named: bool,
) -> None:
    monkeypatch.chdir(str(tmp_path))
    monkeypatch.setenv("SEASTREAM_URL", url)
    assert eventually(settled)
    if named:
        run(connected, f"%stream connect {url}")
    for code in USES:
        run(connected, code)
    for code in MISUSES:
        assert error_of(connected, code)
        assert len(run(connected, "%stream read ticks")) == 3
    completed(connected, "%stream read t")
    if not named:
        assert eventually(settled)
    connected.extension_manager.unload_extension("seastream_nb")
    assert eventually(settled)


def completed(shell: InteractiveShell, code: str) -> list[str]:
    with provisionalcompleter():
        return [each.text for each in shell.Completer.completions(code, len(code))]


def test_a_connection_of_the_same_name_takes_the_place_of_the_first(
    connected: InteractiveShell, url: str, ticks: redis.Redis
) -> None:
    before = len(ticks.client_list())
    for _ in range(5):
        run(connected, f"%stream connect {url}")
        run(connected, "%stream read ticks")
    assert eventually(lambda: len(ticks.client_list()) <= before)
