"""Every notebook runs to its end, and the two lanes that check this see what they have to."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from tests.notebook.test_notebooks import FOLDER, NOTEBOOKS
from tests.portal_kernel import ThisPython

if TYPE_CHECKING:
    from nbformat import NotebookNode

CELL_TIMEOUT = 120
SANITIZE = FOLDER / "sanitize.cfg"
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"  # what every PNG image begins with


async def execute(notebook: NotebookNode, folder: Path) -> list[str]:
    """What the kernel said of each code cell, run as nbclient runs a notebook.

    Raises:
        CellExecutionError: it said "error", tagged `raises-exception` or not.
    """
    statuses: list[str] = []

    def executed(execute_reply: dict[str, Any], **_: Any) -> None:
        statuses.append(execute_reply["content"]["status"])

    client = NotebookClient(
        notebook,
        km=AsyncKernelManager(kernel_name="python3", kernel_spec_manager=ThisPython()),
        resources={"metadata": {"path": str(folder)}},
        timeout=CELL_TIMEOUT,
        force_raise_errors=True,
        on_cell_executed=executed,
    )
    await client.async_execute(cleanup_kc=True)
    return statuses


def notebook_of(*cells: str | NotebookNode) -> NotebookNode:
    """A notebook of these code cells."""
    new = nbformat.v4.new_code_cell
    return nbformat.v4.new_notebook(
        cells=[new(cell) if isinstance(cell, str) else cell for cell in cells]
    )


# By nbclient


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
async def test_every_cell_of_a_notebook_succeeds(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert await execute(notebook, FOLDER) == ["ok"] * len(code)


@pytest.mark.parametrize(
    "failing",
    [
        "1 / 0",
        # Only said to whoever asked, not published as an error: strict nbval cannot see it.
        "%no_such_magic",
        "from IPython.core.error import UsageError\nraise UsageError('a magic was misused')",
        "import sys; sys.exit(3)",
    ],
    ids=["exception", "magic", "UsageError", "exit"],
)
async def test_a_cell_that_fails_in_any_way_fails_its_notebook(
    tmp_path: Path, failing: str
) -> None:
    with pytest.raises(CellExecutionError):
        await execute(notebook_of("1 + 1", failing), tmp_path)


async def test_a_tag_does_not_excuse_a_cell_that_fails(tmp_path: Path) -> None:
    notebook = notebook_of("1 / 0")
    notebook.cells[0].metadata["tags"] = ["raises-exception"]
    with pytest.raises(CellExecutionError):
        await execute(notebook, tmp_path)


async def test_notebooks_run_in_the_python_of_the_tests(tmp_path: Path) -> None:
    notebook = notebook_of("import sys\nprint(sys.executable)")
    assert await execute(notebook, tmp_path) == ["ok"]
    assert notebook.cells[0].outputs[0].text == f"{sys.executable}\n"


# By nbval


def saved_cell(source: str, data: dict[str, str]) -> NotebookNode:
    """A cell that was run, with the result that it had then."""
    cell = nbformat.v4.new_code_cell(source, execution_count=1)
    cell.outputs = [nbformat.v4.new_output("execute_result", data, execution_count=1)]
    return cell


def nbval(notebook: NotebookNode, folder: Path) -> dict[int, str]:
    """What strict nbval says of each cell: PASSED or FAILED."""
    path = folder / "tried.ipynb"
    nbformat.write(notebook, path)
    pytest_ = [sys.executable, "-m", "pytest", "-rA", "--color=no"]
    lane = [
        "-p",
        "no:cacheprovider",
        "-o",
        "addopts=",
        "--nbval",
        "--nbval-current-env",
        "--nbval-sanitize-with",
        str(SANITIZE),
    ]
    done = subprocess.run(
        [*pytest_, *lane, str(path)],
        capture_output=True,
        text=True,
        cwd=folder,
        env={name: value for name, value in os.environ.items() if "PYTEST" not in name},
    )
    lines = re.findall(r"^(PASSED|FAILED) \S+::Cell (\d+)", done.stdout, re.MULTILINE)
    assert len(lines) == len(notebook.cells), done.stdout + done.stderr
    return {int(number): verdict for verdict, number in lines}


def image(content: bytes, kind: str = "png", text: str = "as it was") -> str:
    return f'<img alt="{text}" src="data:image/{kind};base64,{base64.b64encode(content).decode()}">'


def shows(html: str) -> str:
    return f"from IPython.display import HTML\nHTML({html!r})"


def html_cell(now: str, saved: str) -> NotebookNode:
    text = "<IPython.core.display.HTML object>"
    return saved_cell(shows(now), {"text/plain": text, "text/html": saved})


def test_strict_nbval_overlooks_the_bytes_of_png_images_and_nothing_else(tmp_path: Path) -> None:
    """Two versions of a drawing library draw one chart by different bytes."""
    old, new = PNG + b"by one version", PNG + b"by the next, longer \xff\xfe\xfd"
    drawn = f"from IPython.display import Image\nImage({new!r})"
    text = "<IPython.core.display.Image object>"
    notebook = notebook_of(
        html_cell(image(new), image(old)),
        html_cell(image(new) + image(old), image(old) + image(new)),
        saved_cell(drawn, {"text/plain": text, "image/png": base64.b64encode(old).decode()}),
        html_cell(image(new, text="now another"), image(old)),
        html_cell(image(new, kind="jpeg"), image(old, kind="jpeg")),
        html_cell(image(b"no PNG at all"), image(old)),
        html_cell(image(new) + image(new), image(old)),
        saved_cell(drawn, {"text/plain": "another object", "image/png": ""}),
    )
    overlooked, noticed = dict.fromkeys(range(3), "PASSED"), dict.fromkeys(range(3, 8), "FAILED")
    assert nbval(notebook, tmp_path) == overlooked | noticed
