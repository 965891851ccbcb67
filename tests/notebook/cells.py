"""Cells of an IPython, run by tests."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.slow_server import relay, server_with_ticks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from IPython.core.interactiveshell import InteractiveShell

START = 1_700_000_000_000
DATA = Path(__file__).parents[2] / "data"


def run(shell: InteractiveShell, code: str) -> Any:
    """The value of a cell, which must not fail."""
    result = shell.run_cell(code)
    result.raise_error()
    return result.result


def error_of(shell: InteractiveShell, code: str) -> BaseException:
    """Why a cell fails."""
    result = shell.run_cell(code)
    assert not result.success
    error: BaseException = result.error_in_exec
    return error


@contextmanager
def stopped_at_page(n: int) -> Iterator[str]:
    """The URL of a server that presses the stop button when it is asked for a page the n-th time.

    The page that is asked for then does not come before the interrupted read has ended. Every
    connection to it must be closed first.
    """
    asked = 0
    ended = threading.Event()

    def before_page() -> None:
        nonlocal asked
        asked += 1
        if asked == n:
            os.kill(os.getpid(), signal.SIGINT)
            ended.wait(1)

    with server_with_ticks() as server, relay(server.path, before_page) as url:
        try:
            yield url
        finally:
            ended.set()
