"""What an interrupted `%stream read` keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from tests.notebook.cells import error_of, run, stopped_at_page
from tests.slow_server import ENTRIES

if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.core.interactiveshell import InteractiveShell


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("%stream read ticks --json {}", pd.DataFrame),
        ("%stream read ticks --json --frame polars {}", pl.DataFrame),
        ("%%stream ticks --json --frame arrow {}\nbody_ran = True", pa.Table),
    ],
)
def test_an_interrupted_read_keeps_what_it_has_and_says_how_much(
    shell: InteractiveShell, capsys: pytest.CaptureFixture[str], code: str, kind: type
) -> None:
    with stopped_at_page(6) as url:
        capsys.readouterr()
        assert isinstance(error_of(shell, code.format(f"--from {url}")), KeyboardInterrupt)
        frame = shell.user_ns["df"]
        rows = len(frame)
        assert isinstance(frame, kind)
        assert 0 < rows < ENTRIES
        numbers = frame["n"].to_pylist() if kind is pa.Table else frame["n"].to_list()
        assert numbers == list(range(1, rows + 1))
        said = capsys.readouterr().err
        assert f"interrupted after {rows:,} rows at {rows}-0; df has them\n" in said
        assert "body_ran" not in shell.user_ns
        if kind is pd.DataFrame:
            assert frame.attrs["seastream_rows"] == rows
            assert frame.attrs["seastream_complete"] is False
        assert len(run(shell, f"%stream read ticks --from {url} --limit 5")) == 5


def test_a_read_that_is_interrupted_before_its_first_row_leaves_the_variable(
    shell: InteractiveShell, capsys: pytest.CaptureFixture[str]
) -> None:
    shell.user_ns["df"] = "before"
    with stopped_at_page(1) as url:
        capsys.readouterr()
        error = error_of(shell, f"%stream read ticks --from {url} --json")
        assert isinstance(error, KeyboardInterrupt)
    assert shell.user_ns["df"] == "before"
    assert "interrupted before the first row; df is what it was\n" in capsys.readouterr().err


@pytest.mark.parametrize("line", ["read ticks --json", "info ticks"])
def test_an_interrupt_at_any_moment_leaves_the_connection_usable(
    connected: InteractiveShell, alarm: Callable[[float], None], line: str
) -> None:
    interrupted = 0
    for turn in range(1, 31):
        try:
            alarm(0.0002 * turn)
            connected.run_line_magic("stream", line)
            alarm(0)
        except KeyboardInterrupt:
            interrupted += 1
        assert len(connected.run_line_magic("stream", "read ticks")) == 3
    assert interrupted
