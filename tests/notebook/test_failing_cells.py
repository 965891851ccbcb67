"""A magic's one-line error fails its cell for everything that runs notebooks in CI."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import nbformat
import pytest

if TYPE_CHECKING:
    from pathlib import Path

PLAIN = ("-p", "no:cacheprovider", "-o", "addopts=", "-c", os.devnull)
NBVAL = ("-m", "pytest", *PLAIN, "--nbval-current-env", "--nbval-cell-timeout=120")
CLIENT = """
import sys, nbformat
from nbclient import NotebookClient
NotebookClient(nbformat.read(sys.argv[1], as_version=4), kernel_name="python3").execute()
"""
RUNNERS = {
    "nbval": (*NBVAL, "--nbval"),
    "nbval-lax": (*NBVAL, "--nbval-lax"),
    "nbclient": ("-c", CLIENT),
    "nbmake": ("-m", "pytest", *PLAIN, "--nbmake"),
}
PASSWORD = "hunter2-canary"
WELL = "%stream read missing --from embedded: --quiet"
# A dead server, a mistyped option, a missing stream, and SQL that is none.
FAILING = (
    f"%stream ls --from redis://ana:{PASSWORD}@127.0.0.1:1",
    "%stream read ticks --from embedded: --jsn",
    "%stream info missing --from embedded:",
    "%%stream ticks --from embedded: --sql\nselec 1",
)


def outcome(name: str, folder: Path, *cells: str) -> subprocess.CompletedProcess[str]:
    """What becomes of a notebook with these cells, which has no outputs saved."""
    notebook = nbformat.v4.new_notebook(
        metadata={"kernelspec": {"name": "python3", "display_name": "Python", "language": "python"}}
    )
    notebook.cells = [
        nbformat.v4.new_code_cell(cell) for cell in ("%load_ext seastream_nb", *cells)
    ]
    path = folder / "cells.ipynb"
    nbformat.write(notebook, path)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "NO_COLOR": "1"}
    environment.pop("PYTEST_ADDOPTS", None)
    return subprocess.run(
        [sys.executable, *RUNNERS[name], str(path)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.parametrize("name", ["nbval", "nbval-lax"])
def test_each_cell_that_fails_is_counted_and_no_other(name: str, tmp_path: Path) -> None:
    done = outcome(name, tmp_path, WELL, *FAILING)
    assert f"{len(FAILING)} failed, 2 passed" in done.stdout, done.stdout + done.stderr
    check_shown(done)


@pytest.mark.parametrize("name", ["nbclient", "nbmake"])
def test_a_cell_that_fails_fails_the_run(name: str, tmp_path: Path) -> None:
    done = outcome(name, tmp_path, WELL, FAILING[0])
    assert done.returncode == 1, done.stdout + done.stderr
    check_shown(done)


def check_shown(done: subprocess.CompletedProcess[str]) -> None:
    """What a dead server's cell is told: why, without the password."""
    shown = done.stdout + done.stderr
    assert "cannot connect to redis://ana:***@127.0.0.1:1" in shown
    # The source of the cell is repeated, and is the user's own.
    assert PASSWORD not in shown.replace(FAILING[0], "")
