"""Running the command line: within this process, or as a program of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from typer.testing import CliRunner

from seastream_nb.cli import app

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from typer.testing import Result

SEASTREAM = [sys.executable, "-W", "error", "-m", "seastream_nb"]


def run(*arguments: str | Path, status: int = 0, **environment: str) -> Result:
    """Run it within this process; the status must be the expected one."""
    result = CliRunner().invoke(app, list(map(str, arguments)), env=environment)
    assert result.exit_code == status, result.output
    return result


def failed(*arguments: str | Path, status: int = 1, **environment: str) -> str:
    """The one line of a failure."""
    result = run(*arguments, status=status, **environment)
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("seastream: ")
    return result.stderr.removeprefix("seastream: ")


def rows(result: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in result.stdout_bytes.splitlines()]


@contextmanager
def started(*arguments: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of its own, which is killed if it is still there at the end."""
    process = subprocess.Popen(
        [*SEASTREAM, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()
