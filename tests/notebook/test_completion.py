"""The Tab key inside `streamer["..."]` and `catalog["..."]`, as IPython and kernels complete."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

import seastream_nb as ss
from tests.portal_kernel import PATIENCE, Kernel, running_kernel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import redis

KEYS = ["app:orders", "app:users:eu", "ticks:0", "ticks:1", "trades", 'it\'s "odd"', "流れ"]


@pytest.fixture
def keys(client: redis.Redis) -> list[str]:
    for key in KEYS:
        client.xadd(key, {"msg": "x"})
    client.set("app:no-stream", "x")
    return ["app:orders", "app:users:eu", 'it\'s "odd"', "ticks", "trades", "流れ"]


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InteractiveShell]:
    """An IPython that leaves nothing in the user's profile."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    shell = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    yield shell
    InteractiveShell.clear_instance()


def complete(shell: InteractiveShell, code: str) -> list[str]:
    """The code with each completion at its end."""
    with provisionalcompleter():
        found = list(shell.Completer.completions(code, len(code)))
    return [code[: each.start] + each.text for each in found]


def test_streamer_and_catalog_offer_the_keys_of_streams(
    streamer: ss.Streamer, keys: list[str]
) -> None:
    assert streamer._ipython_key_completions_() == keys
    assert streamer.catalog()._ipython_key_completions_() == keys


@pytest.mark.parametrize("name", ["s", "c"])
def test_ipython_completes_keys_with_colons_too(
    shell: InteractiveShell, streamer: ss.Streamer, keys: list[str], name: str
) -> None:
    shell.push({"s": streamer, "c": streamer.catalog()})
    for begun, found in [
        ("t", ["ticks", "trades"]),
        ("app:", ["app:orders", "app:users:eu"]),
        ("app:users:", ["app:users:eu"]),
        ("流", ["流れ"]),
    ]:
        assert complete(shell, f'{name}["{begun}') == [f'{name}["{key}' for key in found]


async def test_the_awaiting_facade_offers_the_same(url: str, keys: list[str]) -> None:
    async with ss.connect_async(url) as streamer:
        assert streamer._ipython_key_completions_() == keys


def test_without_shards_the_keys_of_shards_are_offered(url: str, keys: list[str]) -> None:
    with ss.connect(url, shards="off") as streamer:
        assert "ticks:0" in streamer._ipython_key_completions_()


def test_a_server_that_does_not_answer_costs_little_and_offers_nothing() -> None:
    with ss.embedded() as server, ss.connect(server.url) as streamer:
        streamer.catalog()
        os.kill(server.pid, signal.SIGSTOP)
        try:
            begun = time.monotonic()
            assert streamer._ipython_key_completions_() == []
            assert time.monotonic() - begun < 10  # a minute is the connection's own patience
        finally:
            os.kill(server.pid, signal.SIGCONT)
        assert streamer["ticks"].count() == 0


def test_a_server_that_is_gone_and_a_closed_connection_offer_nothing(
    shell: InteractiveShell,
) -> None:
    with ss.embedded() as server:
        streamer = ss.connect(server.url)
    assert streamer._ipython_key_completions_() == []
    streamer.close()
    shell.push({"s": streamer})
    assert complete(shell, 's["trad') == []


# In a kernel.


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    with running_kernel() as running:
        yield running


def matches(kernel: Kernel, code: str) -> list[str]:
    reply = kernel.client.complete(code, reply=True, timeout=PATIENCE)["content"]
    assert reply["status"] == "ok"
    return [code[: reply["cursor_start"]] + match for match in reply["matches"]]


def test_a_kernel_answers_complete_requests(url: str, keys: list[str], kernel: Kernel) -> None:
    cell, _ = kernel.run(f"import seastream_nb as ss; s = ss.connect({url!r}); c = s.catalog()")
    assert cell.error is None
    for name in ("s", "c"):
        assert matches(kernel, f'{name}["ti') == [f'{name}["ticks']
        assert matches(kernel, f'{name}["app:u') == [f'{name}["app:users:eu']
        assert len(matches(kernel, f'{name}["')) == len(keys)
    cell, _ = kernel.run("a = await ss.connect_async(s.url)")
    assert cell.error is None
    assert matches(kernel, 'a["app:u') == ['a["app:users:eu']
    kernel.run("s.close(); await a.close()")
