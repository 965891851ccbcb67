"""`%%stream --each`: the body runs once a page, in bounded memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import seastream_nb as ss
from tests.notebook.cells import error_of, run, stopped_at_page
from tests.slow_server import ENTRIES

if TYPE_CHECKING:
    import redis
    from IPython.core.interactiveshell import InteractiveShell


def shown(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_the_body_runs_once_a_page_and_shows_each_last_expression(
    connected: InteractiveShell, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    run(connected, "%%stream ticks --json --each --page-size 2\nn = len(df)\nn, df.price.sum()")
    assert shown(capsys) == ["(2, np.float64(4.0))", "(1, np.float64(3.5))"]
    assert list(connected.user_ns["df"].price) == [3.5]
    run(connected, "%%stream ticks --each --quiet\nlen(df)")
    run(connected, "%%stream ticks --each --since latest\nlen(df)")
    assert shown(capsys) == []


def test_without_a_size_pages_are_large(connected: InteractiveShell, ticks: redis.Redis) -> None:
    with ticks.pipeline(transaction=False) as pipe:
        for n in range(1, 10_002):
            pipe.xadd("many", {"msg": "x"}, id=f"{n}-0")
        pipe.execute()
    connected.user_ns["sizes"] = []
    run(connected, "%%stream many --each\nsizes.append(len(df))")
    assert connected.user_ns["sizes"] == [10_000, 1]


@pytest.mark.parametrize(
    ("name", "kind"), [("pandas", pd.DataFrame), ("polars", pl.DataFrame), ("arrow", pa.Table)]
)
def test_each_page_is_a_frame_of_the_kind_that_is_asked_for(
    connected: InteractiveShell, name: str, kind: type
) -> None:
    connected.user_ns["seen"] = []
    line = f"%%stream ticks --each --page-size 2 --frame {name} --as page"
    run(connected, f"{line}\nseen.append(page)")
    assert [type(each) for each in connected.user_ns["seen"]] == [kind, kind]


def test_integers_of_a_page_stay_integers(connected: InteractiveShell, ticks: redis.Redis) -> None:
    for payload in ('{"n": 1152921504606846977}', "{}"):
        ticks.xadd("numbers", {"msg": payload})
    run(connected, "%%stream numbers --json --each\nfirst = df.n[0]")
    assert connected.user_ns["first"] == 2**60 + 1


def test_a_body_that_raises_ends_the_pages_and_leaves_the_connection(
    connected: InteractiveShell, capsys: pytest.CaptureFixture[str]
) -> None:
    code = "%%stream ticks --each --page-size 1\nif 'b' in str(df.payload[0]): 1 / 0"
    capsys.readouterr()
    assert isinstance(error_of(connected, code), ZeroDivisionError)
    assert "1 / 0" in capsys.readouterr().out
    assert len(run(connected, "%stream read ticks")) == 3


def test_an_interrupt_between_pages_keeps_the_last_one_and_the_connection(
    connected: InteractiveShell, capsys: pytest.CaptureFixture[str]
) -> None:
    connected.user_ns["pages"] = []
    code = (
        "%%stream ticks --json --each --page-size 1\npages.append(df.price[0])\n"
        "if len(pages) == 2: raise KeyboardInterrupt"
    )
    capsys.readouterr()
    connected.run_cell(code)
    assert "interrupted after 1 page, 1 row" in capsys.readouterr().err
    assert connected.user_ns["pages"] == [1.5, 2.5]
    assert list(connected.user_ns["df"].price) == [2.5]
    assert len(run(connected, "%stream read ticks")) == 3


def test_an_interrupt_while_a_page_is_waited_for_stops_cleanly(
    shell: InteractiveShell, capsys: pytest.CaptureFixture[str]
) -> None:
    with stopped_at_page(7) as url:
        capsys.readouterr()
        line = f"%%stream ticks --from {url} --json --each --page-size 1000"
        code = f"{line}\npages = df.n[0] // 1000 + 1"
        assert isinstance(error_of(shell, code), KeyboardInterrupt)
        pages = shell.user_ns["pages"]
        assert f"interrupted after {pages} page" in capsys.readouterr().err
        assert 0 < pages < ENTRIES / 1000
        assert len(run(shell, f"%stream read ticks --from {url} --limit 5")) == 5


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--each --sql", "give one of them"),
        ("--page-size 10", "--each"),
        ("--each --page-size 0", "from 1 on"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    connected: InteractiveShell, options: str, said: str
) -> None:
    error = error_of(connected, f"%%stream ticks {options}\nselect 1")
    assert isinstance(error, ss.ConfigError)
    assert said in str(error)


def test_a_dry_run_prints_a_loop_that_does_the_same(
    connected: InteractiveShell, capsys: pytest.CaptureFixture[str]
) -> None:
    body = "text = '''a\nb'''\nfound.append((len(df), text))\n# the end\nlen(df), text\n"
    line = "%%stream ticks --json --each --page-size 2"
    connected.user_ns["found"] = []
    capsys.readouterr()
    run(connected, f"{line}\n{body}")
    expected = shown(capsys)
    assert run(connected, f"{line} --dry-run\n{body}") is None
    code = capsys.readouterr().out
    again = run(connected, "found = []\n" + code)
    assert (again, shown(capsys)) == (None, expected)
    assert connected.user_ns["found"] == [(2, "a\nb"), (1, "a\nb")]
