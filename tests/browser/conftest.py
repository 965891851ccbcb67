"""Fixtures of the browser tests: Debian's Chromium, JupyterLab, and notebooks open in it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import nbformat
import pytest

from tests.browser.lab import PATIENCE, JupyterLab, Notebook, opened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser

SIZE = {"width": 1280, "height": 900}


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium without a window; skips where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the extra `browser` is missing")
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("there is no Chromium here: apt-get install chromium")
    with playwright.sync_playwright() as running:
        # Root has no sandbox; the pages are our own.
        started = running.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterLab]:
    """A JupyterLab for the session, whose folder is empty at first."""
    pytest.importorskip("jupyterlab", reason="the extra `browser` is missing")
    running = JupyterLab(tmp_path_factory.mktemp("notebooks"), tmp_path_factory.mktemp("lab"))
    yield running
    running.close()


@pytest.fixture
def open_notebook(browser: Browser, lab: JupyterLab) -> Iterator[Callable[[Path], Notebook]]:
    """Opens a copy of a notebook in a page of its own; its kernel ends with the test."""
    found: list[Notebook] = []

    def open_copy(path: Path) -> Notebook:
        shutil.copy(path, lab.folder / path.name)
        page = browser.new_page(viewport=SIZE)
        page.set_default_timeout(PATIENCE * 1000)
        found.append(opened(page, lab, path.name))
        return found[-1]

    yield open_copy
    for notebook in found:
        notebook.close()


@pytest.fixture
def open_cells(
    open_notebook: Callable[[Path], Notebook], tmp_path: Path, request: pytest.FixtureRequest
) -> Callable[..., Notebook]:
    """Opens a new notebook of these code cells."""

    def open_new(*cells: str) -> Notebook:
        notebook = nbformat.v4.new_notebook(cells=list(map(nbformat.v4.new_code_cell, cells)))
        notebook.metadata["kernelspec"] = {
            "name": "python3",
            "display_name": "Python 3 (ipykernel)",
        }
        path = tmp_path / f"{request.node.name}.ipynb"
        nbformat.write(notebook, path)
        return open_notebook(path)

    return open_new
