"""What every committed notebook promises: run in order, clean, small, and the same everywhere."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
MAX_BYTES = 200_000
WIDGETS = "application/vnd.jupyter.widget"
PASSWORD = re.compile(r"\w://[^\s/\"'@]*:(?!\*\*\*@)[^\s/\"'@]+@")
ABSOLUTE_PATH = re.compile(
    r"(?:file://|[\"'\s(=]|^)(?:/(?:home|root|Users|tmp|work|usr|var|opt)/|[A-Z]:\\)"
)


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.name)
def path(request: pytest.FixtureRequest) -> Path:
    chosen: Path = request.param
    return chosen


@pytest.fixture
def notebook(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture
def code(notebook: Any) -> list[Any]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


@pytest.fixture
def outputs(code: list[Any]) -> list[Any]:
    return [output for cell in code for output in cell["outputs"]]


def test_there_is_a_quickstart():
    assert "01_quickstart.ipynb" in [path.name for path in NOTEBOOKS]


def test_names_are_numbered(path):
    assert re.fullmatch(r"\d\d_[a-z0-9_]+\.ipynb", path.name)


def test_the_kernel_is_python3_of_any_version(notebook):
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert "version" not in notebook["metadata"]["language_info"]


def test_all_code_cells_were_run_once_in_order(code):
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))


def test_no_output_is_an_error_or_written_to_stderr(outputs):
    assert outputs
    assert not [each for each in outputs if each["output_type"] == "error"]
    assert not [each for each in outputs if each.get("name") == "stderr"]


def test_no_widget_state_is_saved(notebook, outputs):
    assert "widgets" not in notebook["metadata"]
    kinds = {kind for output in outputs for kind in output.get("data", {})}
    assert not [kind for kind in kinds if kind.startswith(WIDGETS)]


def test_it_is_small(path):
    assert path.stat().st_size <= MAX_BYTES


def test_it_shows_no_password(path):
    assert PASSWORD.findall(path.read_text(encoding="utf-8")) == []


def test_it_names_no_absolute_path(notebook):
    assert [text for text in texts(notebook) if ABSOLUTE_PATH.search(text)] == []


def test_it_begins_with_a_title_and_ends_with_code(notebook):
    first, *_, last = notebook["cells"]
    assert "".join(first["source"]).startswith("# ")
    assert last["cell_type"] == "code"


def texts(value: Any) -> list[str]:
    """All texts in a parsed notebook."""
    if isinstance(value, str):
        return [value]
    children = (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    )
    return [text for child in children for text in texts(child)]


@pytest.mark.parametrize("text", ["redis://:hunter2@db", "rediss://ana:s3cret@db.example:6380/2"])
def test_the_check_for_passwords_finds_them(text):
    assert PASSWORD.search(text)


@pytest.mark.parametrize(
    "text", ["redis://ana:***@db", "redis://localhost:6379", "see https://a/b:c"]
)
def test_the_check_for_passwords_lets_other_urls_pass(text):
    assert not PASSWORD.search(text)


@pytest.mark.parametrize(
    "text", ["/home/ana/x.ss", 'open("/tmp/x")', r"C:\Users", "file:///root/a"]
)
def test_the_check_for_paths_finds_them(text):
    assert ABSOLUTE_PATH.search(text)


@pytest.mark.parametrize("text", ["and/or", "https://example.org/home/", "notebooks/01.ipynb"])
def test_the_check_for_paths_lets_other_text_pass(text):
    assert not ABSOLUTE_PATH.search(text)
