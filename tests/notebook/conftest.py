"""An IPython with the magics, connected to a server with a stream."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from tests.notebook.cells import START

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import redis


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InteractiveShell]:
    """An IPython with the extension, which leaves nothing in the user's profile."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    shell = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    shell.run_line_magic("colors", "nocolor")
    shell.extension_manager.load_extension("seastream_nb")
    yield shell
    shell.extension_manager.unload_extension("seastream_nb")
    InteractiveShell.clear_instance()


@pytest.fixture
def ticks(client: redis.Redis) -> redis.Redis:
    """A stream of three messages, one a second."""
    for n in range(3):
        payload = json.dumps({"price": 1.5 + n, "symbol": "EUR"})
        client.xadd("ticks", {"msg": payload}, id=f"{START + 1_000 * n}-0")
    return client


@pytest.fixture
def connected(shell: InteractiveShell, url: str, ticks: redis.Redis) -> InteractiveShell:
    """The same, connected to a server with the stream `ticks`."""
    shell.run_line_magic("stream", f"connect {url}")
    return shell
