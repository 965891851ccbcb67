"""`%%stream --sql`: every KEY is a table of a private DuckDB."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import seastream_nb as ss
from tests.notebook.cells import DATA, START, error_of, run, stopped_at_page
from tests.servers import eventually

if TYPE_CHECKING:
    import redis
    from IPython.core.interactiveshell import InteractiveShell


def test_a_key_is_a_table_and_the_result_is_bound_and_shown(connected: InteractiveShell) -> None:
    code = "%%stream ticks --json --sql\nselect symbol, sum(price) as total\nfrom ticks group by 1"
    frame = run(connected, code)
    assert frame.to_dict("records") == [{"symbol": "EUR", "total": 7.5}]
    assert connected.user_ns["df"] is frame
    assert (
        run(connected, "%%stream ticks --sql --quiet --as n\nselect count(*) c from ticks") is None
    )
    assert list(connected.user_ns["n"].c) == [3]


def test_several_keys_are_several_tables_whatever_their_names(
    connected: InteractiveShell, ticks: redis.Redis
) -> None:
    ticks.xadd("app:orders", {"msg": '{"symbol": "EUR", "n": 7}'})
    body = 'select t.price, o.n from ticks t join "app:orders" o using (symbol) order by 1'
    frame = run(connected, f"%%stream ticks app:orders --json --sql\n{body}")
    assert frame.to_numpy().tolist() == [[1.5, 7], [2.5, 7], [3.5, 7]]


def test_a_table_of_a_stream_without_a_message_is_warned_of_once(
    connected: InteractiveShell, ticks: redis.Redis
) -> None:
    ticks.xadd("temps", {"temp": "21"})
    code = "%%stream temps --sql\nselect count(*) as n from temps a, temps b"
    with pytest.warns(UserWarning, match="no entry of 'temps' in this range") as caught:
        frame = run(connected, code)
    assert len(caught) == 1
    assert frame["n"].tolist() == [0]


def test_the_options_of_the_line_say_what_is_in_the_tables(connected: InteractiveShell) -> None:
    line = f"ticks --json --since {START + 1000}-0 --select price"
    assert list(run(connected, f"%%stream {line} --sql\nfrom ticks").columns) == ["price"]
    assert list(connected.user_ns["df"].price) == [2.5, 3.5]


def test_several_scans_of_a_query_agree_while_messages_come(
    connected: InteractiveShell, ticks: redis.Redis
) -> None:
    stop = threading.Event()

    def produce() -> None:
        while not stop.is_set():
            ticks.xadd("busy", {"msg": "x"})

    thread = threading.Thread(target=produce)
    thread.start()
    try:
        body = "select (select count(*) from busy) - (select count(*) from busy) as d"
        found = [run(connected, f"%%stream busy --sql\n{body}").d[0] for _ in range(20)]
    finally:
        stop.set()
        thread.join()
    assert found == [0] * 20


@pytest.mark.parametrize(
    ("name", "kind"), [("pandas", pd.DataFrame), ("polars", pl.DataFrame), ("arrow", pa.Table)]
)
def test_the_result_is_of_the_kind_that_is_asked_for(
    connected: InteractiveShell, name: str, kind: type
) -> None:
    assert isinstance(run(connected, f"%%stream ticks --sql --frame {name}\nfrom ticks"), kind)


def test_integers_of_a_result_stay_integers(connected: InteractiveShell) -> None:
    body = "select lag(sequence) over (order by sequence) p, sum(sequence) over () s from ticks"
    frame = run(connected, f"%%stream ticks --sql\n{body}")
    assert frame.p.tolist()[1:] == [START << 16, (START + 1000) << 16]
    assert frame.s[0] == ((START * 3 + 3000) << 16)


REPEATED = [
    "select * from ticks join orders using (symbol) order by ticks.sequence",
    "select price, price from ticks",
    "select price as n, price as n, price as n_1 from ticks",
    "select price as n_1, price as n_1, price as n, price as n, price as n from ticks",
    'select price as n, price as "N", price as n_1, price as n_1 from ticks',
]


@pytest.mark.parametrize("query", REPEATED)
def test_columns_of_one_name_are_numbered_as_duckdb_numbers_them(
    connected: InteractiveShell,
    ticks: redis.Redis,
    capsys: pytest.CaptureFixture[str],
    query: str,
) -> None:
    ticks.xadd("orders", {"msg": '{"symbol": "EUR", "price": 7}'})
    line = "%%stream ticks orders --json --sql --frame"
    frame = run(connected, f"{line} pandas\n{query}")
    with duckdb.connect() as con:
        for key in ("ticks", "orders"):
            con.register(
                key, run(connected, f"%%stream {key} --json --sql --frame arrow\nfrom {key}")
            )
        names = list(con.sql(query).df().columns)
    assert list(frame.columns) == names
    assert len(set(names)) == len(names)
    assert run(connected, f"{line} polars\n{query}").columns == names
    assert run(connected, f"{line} arrow\n{query}").column_names == names
    capsys.readouterr()
    run(connected, f"{line} pandas --dry-run\n{query}")
    pd.testing.assert_frame_equal(run(connected, capsys.readouterr().out), frame)


def test_times_are_those_of_the_connection(connected: InteractiveShell) -> None:
    body = "select strftime(timestamp, '%H:%M') t from ticks limit 1"
    assert run(connected, f"%%stream ticks --sql\n{body}").t[0] == "22:13"


def test_a_file_is_a_place_for_tables_too(connected: InteractiveShell) -> None:
    body = "select count(*) n from earthquakes where magnitude >= 6"
    line = f"%%stream earthquakes --from {DATA / 'earthquakes.ss'} --json --sql"
    assert run(connected, f"{line}\n{body}").n[0] == 5


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("selec 1", 'syntax error at or near "selec"'),
        ("select * from nothing", "Table with name nothing does not exist"),
        ("select prize from ticks", '"prize" not found'),
        ("select 'a'::int", "Could not convert string 'a' to INT32"),
        ("from tables", "Table with name tables does not exist"),
    ],
)
def test_what_duckdb_refuses_is_one_line_and_fails_the_cell(
    connected: InteractiveShell, capsys: pytest.CaptureFixture[str], body: str, said: str
) -> None:
    capsys.readouterr()
    error = error_of(connected, f"%%stream ticks --json --sql\n{body}")
    assert isinstance(error, ss.ConfigError)
    assert said in str(error)
    shown = capsys.readouterr()
    assert len((shown.out + shown.err).strip().splitlines()) == 1
    assert "df" not in connected.user_ns
    assert len(run(connected, "%%stream ticks --sql\nfrom ticks")) == 3


def test_what_a_stream_refuses_is_our_own_error(
    connected: InteractiveShell, ticks: redis.Redis
) -> None:
    ticks.xadd("ticks", {"msg": "no json"})
    error = error_of(connected, "%%stream ticks --json --sql\nfrom ticks")
    assert isinstance(error, ss.errors.DecodeError)


def test_a_result_that_would_not_fit_is_refused(
    connected: InteractiveShell, url: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "seastream.toml").write_text(
        f"[connections.small]\nurl = '{url}'\nmax_frame_bytes = 1000000\n"
    )
    monkeypatch.chdir(tmp_path)
    body = "select * from ticks, range(1000000)"
    error = error_of(connected, f"%%stream ticks --from small --sql\n{body}")
    assert isinstance(error, ss.errors.TooLarge)


def test_without_duckdb_the_error_names_the_extra(
    connected: InteractiveShell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    error = error_of(connected, "%%stream ticks --sql\nfrom ticks")
    assert isinstance(error, ss.ConfigError)
    assert "pip install 'seastream-nb[sql]'" in str(error)


def queries() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "seastream-sql"]


def test_an_interrupt_while_pages_are_waited_for_ends_the_query(
    shell: InteractiveShell,
) -> None:
    with stopped_at_page(5) as url:
        line = f"%%stream ticks --from {url} --json --sql"
        error = error_of(shell, f"{line}\nselect sum(n) from ticks")
        assert isinstance(error, KeyboardInterrupt)
        assert eventually(lambda: not queries())
        assert run(shell, f"{line}\nselect count(*) c from ticks").c[0] == 40_000


def test_an_interrupt_while_duckdb_computes_ends_the_query(connected: InteractiveShell) -> None:
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    body = "select count(*) from range(1000000000000) t(a) where hash(a) % 7 = 1"
    error = error_of(connected, f"%%stream ticks --sql\n{body}")
    timer.join()
    assert isinstance(error, KeyboardInterrupt)
    assert eventually(lambda: not queries())
    assert len(run(connected, "%%stream ticks --sql\nfrom ticks")) == 3


def test_a_dry_run_prints_python_that_does_the_same(
    connected: InteractiveShell, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "%%stream ticks --json --last 2 --sql"
    body = "select price,\n  'a''b' as text\nfrom ticks"
    expected = run(connected, f"{line}\n{body}")
    capsys.readouterr()
    assert run(connected, f"{line} --dry-run\n{body}") is None
    again = run(connected, capsys.readouterr().out)
    pd.testing.assert_frame_equal(again, expected)
