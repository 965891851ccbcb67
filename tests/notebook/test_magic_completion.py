"""The Tab key on the lines of `%stream`, as IPython and kernels complete."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import pytest
from IPython.core.completer import provisionalcompleter

import seastream_nb as ss
from tests.notebook.cells import run
from tests.portal_kernel import PATIENCE, Kernel, running_kernel
from tests.servers import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import redis
    from IPython.core.interactiveshell import InteractiveShell

KEYS = ["app:orders", "app:users:eu", "my key", "trades"]


@pytest.fixture
def keys(ticks: redis.Redis, connected: InteractiveShell) -> list[str]:
    for key in KEYS:
        ticks.xadd(key, {"msg": "x"})
    found = ["app:orders", "app:users:eu", "'my key'", "ticks", "trades"]
    # They come in the background.
    assert eventually(lambda: ends(connected, "%stream info ")[:5] == found)
    return found


def complete(shell: InteractiveShell, code: str) -> list[str]:
    """The code with each completion at its end."""
    with provisionalcompleter():
        found = list(shell.Completer.completions(code, len(code)))
    return [code[: each.start] + each.text for each in found]


def ends(shell: InteractiveShell, code: str) -> list[str]:
    """What the magics offer instead of the last word, without what IPython offers."""
    with provisionalcompleter():
        found = list(shell.Completer.completions(code, len(code)))
    return [each.text for each in found if each.type == "stream"]


def test_commands_are_completed_for_both_names(connected: InteractiveShell) -> None:
    for name in ("stream", "seastream"):
        assert complete(connected, f"%{name} re") == [
            f"%{name} read",
            f"%{name} record",
            f"%{name} replay",
        ]
    assert ends(connected, "x = 1\ny = %stream gro") == ["groups"]
    assert ends(connected, "%stream nothing ") == []
    assert ends(connected, "stream re") == []
    assert ends(connected, "%streams re") == []


def test_options_are_those_of_the_command_that_are_not_there_yet(
    connected: InteractiveShell,
) -> None:
    assert ends(connected, "%stream read ticks --js") == ["--json"]
    assert ends(connected, "%stream read ticks --json --js") == []
    assert ends(connected, "%stream read ticks --shard 1 --sh") == ["--shard"]
    assert ends(connected, "%stream info ticks --s") == []
    assert ends(connected, "%stream export ticks a.parquet --p") == ["--partition-by"]
    assert ends(connected, "%%stream ticks --e") == ["--each"]
    assert ends(connected, "%stream read ticks --e") == []


def test_values_are_those_of_the_option(connected: InteractiveShell, url: str) -> None:
    run(connected, f"%stream connect {url} --as lab")
    assert ends(connected, "%%stream ticks --frame p") == ["pandas", "polars"]
    assert ends(connected, "%%stream ticks --frame=po") == ["--frame=polars"]
    assert ends(connected, "%stream export ticks a --partition-by ") == ["hour", "day"]
    assert ends(connected, "%stream ls --from ") == ["default", "lab"]
    assert ends(connected, "%stream replay ticks --to l") == ["lab"]
    assert ends(connected, "%stream read ticks --since ") == []


def test_keys_are_completed_with_colons_and_quotes(
    connected: InteractiveShell, keys: list[str]
) -> None:
    assert complete(connected, "%stream read tr") == ["%stream read trades"]
    assert complete(connected, "%stream read app:") == [
        "%stream read app:orders",
        "%stream read app:users:eu",
    ]
    assert complete(connected, "%stream tail app:users:") == ["%stream tail app:users:eu"]
    assert complete(connected, "%%stream app:o") == ["%%stream app:orders"]
    assert ends(connected, "%stream read my") == ["'my key'"]
    assert complete(connected, '%stream read "my k') == ['%stream read "my key"']
    assert ends(connected, "%stream read trades t") == ["ticks"]


def test_files_are_completed_by_ipython_where_one_may_stand(
    connected: InteractiveShell, keys: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tried.ss").touch()
    monkeypatch.chdir(tmp_path)
    assert set(complete(connected, "%stream replay tr")) == {
        "%stream replay trades",
        "%stream replay tried.ss",
    }
    assert complete(connected, "%stream read tr") == ["%stream read trades"]


def test_columns_are_completed_after_a_first_read(connected: InteractiveShell) -> None:
    assert ends(connected, "%stream read ticks --select ") == []
    run(connected, "%stream read ticks --json")
    assert ends(connected, "%stream read ticks --json --select p") == ["price"]
    assert ends(connected, "%stream read ticks --select price,s") == [
        "price,stream",
        "price,shard",
        "price,sequence",
        "price,symbol",
    ]
    assert ends(connected, "%stream read other --select p") == []


def test_the_body_of_a_cell_is_completed_by_ipython_alone(connected: InteractiveShell) -> None:
    run(connected, "prices = 1")
    assert complete(connected, "%%stream ticks --json\npric") == ["%%stream ticks --json\nprices"]


def test_what_ipython_offers_stays(connected: InteractiveShell) -> None:
    before = list(connected.Completer.matchers)
    assert complete(connected, "%strea")
    assert "import os\nos.getcwd" in complete(connected, "import os\nos.getcw")
    connected.extension_manager.unload_extension("seastream_nb")
    assert len(connected.Completer.matchers) == len(before) - 1
    assert connected.Completer.custom_matchers == []
    connected.extension_manager.load_extension("seastream_nb")
    assert ends(connected, "%stream rea") == ["read"]


def test_lines_of_a_foreign_magic_are_left_alone(connected: InteractiveShell) -> None:
    connected.register_magic_function(lambda line: "foreign", "line", "stream")
    assert ends(connected, "%stream rea") == []
    assert ends(connected, "%seastream rea") == ["read"]


def test_new_keys_are_seen_after_a_while_and_servers_are_asked_seldom(
    connected: InteractiveShell, keys: list[str], ticks: redis.Redis
) -> None:
    before = ticks.info("commandstats")["cmdstat_scan"]["calls"]
    for _ in range(20):
        ends(connected, "%stream read t")
    assert ticks.info("commandstats")["cmdstat_scan"]["calls"] <= before + 1


def test_a_server_that_does_not_answer_costs_no_more_than_a_tenth_of_a_second(
    shell: InteractiveShell,
) -> None:
    with ss.embedded() as server:
        run(shell, f"%stream connect {server.url}")
        os.kill(server.pid, signal.SIGSTOP)
        try:
            spent = [seconds(shell, f"%stream read {'t' * n}") for n in range(5)]
        finally:
            os.kill(server.pid, signal.SIGCONT)
        assert min(spent) < 0.1  # each of them, but for a busy machine
        assert ends(shell, "%stream info x --fr") == ["--from"]
        run(shell, "%stream connect embedded:")


def seconds(shell: InteractiveShell, code: str) -> float:
    matcher = shell.Completer.custom_matchers[-1]
    begun = time.monotonic()
    matcher(context(code))
    return time.monotonic() - begun


def context(code: str) -> object:
    from IPython.core.completer import CompletionContext

    return CompletionContext(
        token="", full_text=code, cursor_position=len(code), cursor_line=0, limit=None
    )


def test_a_server_that_is_gone_and_a_closed_connection_offer_no_keys(
    shell: InteractiveShell,
) -> None:
    with ss.embedded() as server:
        streamer = run(shell, f"%stream connect {server.url}")
    assert ends(shell, "%stream info x") == []
    streamer.close()
    assert ends(shell, "%stream info x") == []


# In a kernel.


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    with running_kernel() as running:
        running.run("%load_ext seastream_nb")
        yield running


def test_a_kernel_answers_complete_requests(
    kernel: Kernel, url: str, keys: list[str], connected: InteractiveShell
) -> None:
    def matches(code: str) -> list[str]:
        reply = kernel.client.complete(code, reply=True, timeout=PATIENCE)["content"]
        assert reply["status"] == "ok"
        return [code[: reply["cursor_start"]] + match for match in reply["matches"]]

    assert kernel.run(f"%stream connect {url}")[0].error is None
    assert eventually(lambda: matches("%stream read app:us") == ["%stream read app:users:eu"])
    assert matches("%%stream app:o") == ["%%stream app:orders"]
    assert matches("%stream rec") == ["%stream record"]
    assert matches("%stream read ticks --js") == ["%stream read ticks --json"]
    assert kernel.run("%stream read ticks --json")[0].error is None
    assert matches("%stream read ticks --select pri") == ["%stream read ticks --select price"]
    kernel.run("%unload_ext seastream_nb")
