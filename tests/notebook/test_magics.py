"""`%stream` and `%%stream`, in an IPython shell and in a real kernel."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from IPython.core.magic import MAGIC_NO_VAR_EXPAND_ATTR

import seastream_nb as ss
from seastream_nb.notebook.magics.arguments import masked
from tests.notebook.cells import DATA, START, error_of, run
from tests.portal_kernel import Kernel, running_kernel

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis
    from IPython.core.interactiveshell import InteractiveShell

# Names.


def test_both_names_are_line_and_cell_magics_without_expansion(shell: InteractiveShell) -> None:
    for kind in ("line", "cell"):
        for name in ("stream", "seastream"):
            assert getattr(shell.magics_manager.magics[kind][name], MAGIC_NO_VAR_EXPAND_ATTR)


def test_a_foreign_magic_keeps_its_name_unless_forced(
    shell: InteractiveShell, capsys: pytest.CaptureFixture[str]
) -> None:
    shell.extension_manager.unload_extension("seastream_nb")
    shell.register_magic_function(lambda line: "foreign", "line", "stream")
    shell.extension_manager.load_extension("seastream_nb")
    assert "use %seastream" in capsys.readouterr().err
    assert run(shell, "%stream") == "foreign"
    assert isinstance(error_of(shell, "%seastream install"), ss.ConfigError)
    run(shell, "%seastream install --force")
    assert run(shell, "%stream connections") is None
    assert capsys.readouterr().out.endswith("no connections\n")


def test_unloading_closes_the_connections(connected: InteractiveShell) -> None:
    streamer = run(connected, "%stream connect embedded: --as other")
    connected.extension_manager.unload_extension("seastream_nb")
    assert connected.find_line_magic("seastream") is None
    with pytest.raises(ss.StreamError):
        streamer.catalog()


def test_lines_and_bodies_are_taken_as_they_are(connected: InteractiveShell) -> None:
    run(connected, "ticks = 'other'")
    assert len(run(connected, "%stream read ticks --as found")) == 3
    assert len(run(connected, "%stream read {ticks} $ticks")) == 0
    assert run(connected, "%%stream ticks\n'{ticks} $ticks' + str(len(df))") == "{ticks} $ticks3"


# Connections.


def test_connections_are_named_and_the_last_one_is_read(
    connected: InteractiveShell, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run(connected, f"%stream connect {DATA / 'earthquakes.ss'} --as quakes")
    run(connected, "%stream connections")
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[-2:]]
    assert lines == [["default", url], ["*", "quakes", f"file://{DATA / 'earthquakes.ss'}"]]
    assert list(run(connected, "%stream ls")) == ["earthquakes"]
    assert list(run(connected, "%stream ls --from default")) == ["ticks"]
    assert list(run(connected, "%stream ls x* --from default")) == []


def test_without_a_connection_the_target_is_seastream_url(
    shell: InteractiveShell, url: str, ticks: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(error_of(shell, "%stream read ticks"), ss.ConfigError)
    monkeypatch.setenv("SEASTREAM_URL", url)
    assert len(run(shell, "%stream read ticks")) == 3
    run(shell, "%stream connect")
    assert len(run(shell, "%stream read ticks")) == 3


def test_a_target_may_be_a_url_or_a_file(
    shell: InteractiveShell, url: str, ticks: redis.Redis
) -> None:
    assert len(run(shell, f"%stream read ticks --from {url}")) == 3
    quakes = run(shell, f"%stream read earthquakes --from {DATA / 'earthquakes.ss'} --json")
    with ss.connect(DATA / "earthquakes.ss") as streamer:
        pd.testing.assert_frame_equal(quakes, streamer["earthquakes"].json().to_pandas())


# Lines.


def test_info_groups_and_tail_are_the_terminals(
    connected: InteractiveShell, ticks: redis.Redis
) -> None:
    ticks.xgroup_create("ticks", "readers")
    assert run(connected, "%stream info ticks").length == 3
    assert list(run(connected, "%stream groups ticks")["name"]) == ["readers"]
    assert list(run(connected, "%stream tail ticks -n 2 --json")["price"]) == [2.5, 3.5]


@pytest.mark.parametrize(
    ("options", "prices"),
    [
        ("", [1.5, 2.5, 3.5]),
        ("--last 2", [2.5, 3.5]),
        ("--limit 1", [1.5]),
        ("--shard 0 --shard 5", [1.5, 2.5, 3.5]),
        ("--shard 5", []),
        (f"--since earliest --until {START + 1000}-0", [1.5]),
        ("--since '2023-11-14 22:13:21'", [2.5, 3.5]),
        ("--since -1500ms", [2.5, 3.5]),
        ("--last 1500ms", [2.5, 3.5]),
    ],
)
def test_read_takes_the_messages_that_are_asked_for(
    shell: InteractiveShell,
    url: str,
    ticks: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
    options: str,
    prices: list[float],
) -> None:
    monkeypatch.setenv("SEASTREAM_NOW", "2023-11-14T22:13:22.500Z")
    frame = run(shell, f"%stream read ticks --from {url} --json {options}")
    assert list(frame["price"] if prices else frame.index) == prices


def test_read_gives_the_frame_and_binds_it(connected: InteractiveShell) -> None:
    run(connected, "x = %stream read ticks --json --select price,id --as prices")
    assert connected.user_ns["x"] is connected.user_ns["prices"]
    assert list(connected.user_ns["x"].columns) == ["price", "id"]
    assert run(connected, "%stream read ticks --quiet") is None
    assert len(connected.user_ns["df"]) == 3


@pytest.mark.parametrize(
    ("name", "kind"), [("pandas", pd.DataFrame), ("polars", pl.DataFrame), ("arrow", pa.Table)]
)
def test_a_frame_is_of_the_kind_that_is_asked_for(
    connected: InteractiveShell, name: str, kind: type
) -> None:
    assert isinstance(run(connected, f"%stream read ticks --frame {name}"), kind)


@pytest.mark.parametrize(
    ("option", "column", "value"),
    [("--text", "payload", "hello"), ("--fields", "level", "info"), ("", "payload", b"hello")],
)
def test_payloads_are_decoded_as_asked(
    connected: InteractiveShell, ticks: redis.Redis, option: str, column: str, value: object
) -> None:
    ticks.xadd("log", {"msg": "hello", "level": "info"})
    assert run(connected, f"%stream read log {option}")[column][0] == value


# Bodies.


def test_a_body_runs_once_with_the_frame_and_shows_its_last_expression(
    connected: InteractiveShell,
) -> None:
    connected.user_ns["runs"] = []
    total = run(connected, "%%stream ticks --json\nruns.append(1)\ntop = df.price.max()\ntop + 1")
    assert total == 4.5
    assert (connected.user_ns["runs"], connected.user_ns["top"]) == ([1], 3.5)
    assert run(connected, "%%stream ticks\nn = len(df)") is None
    assert run(connected, "%%stream ticks --quiet\nlen(df)") is None


def test_a_body_of_several_streams_has_them_merged(
    connected: InteractiveShell, ticks: redis.Redis
) -> None:
    ticks.xadd("other", {"msg": "x"}, id=f"{START + 500}-0")
    code = "%%stream ticks other --as both --frame arrow\nboth['stream'].to_pylist()"
    assert run(connected, code) == ["ticks", "other", "ticks", "ticks"]


def test_a_body_may_hold_anything(connected: InteractiveShell) -> None:
    body = "text = '''%stream stop --as x\n%%stream'''\ndef f():\n    return len(df)\nf(), text"
    value = run(connected, f"%%stream ticks\n{body}")
    assert value == (3, "%stream stop --as x\n%%stream")


def test_a_dry_run_prints_python_that_gives_the_same(
    connected: InteractiveShell, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "ticks --json --since 2023-11-14T22:13:21Z --last 1 --select price --as found"
    run(connected, f"%stream read {line}")
    expected = connected.user_ns.pop("found")
    capsys.readouterr()
    assert run(connected, f"%%stream {line} --dry-run\nrows = len(found)") is None
    assert "found" not in connected.user_ns
    code = capsys.readouterr().out
    namespace: dict[str, Any] = {}
    exec(code, namespace)
    assert namespace["rows"] == 1
    pd.testing.assert_frame_equal(namespace["found"], expected)


def test_a_dry_run_does_not_connect_and_shows_no_password(
    shell: InteractiveShell, capsys: pytest.CaptureFixture[str]
) -> None:
    run(shell, "%stream read ticks --from redis://:hunter2@nowhere:1 --dry-run")
    out = capsys.readouterr().out
    assert "nowhere" in out
    assert "hunter2" not in out


# Errors.


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("read ticks --sinse 02:10", "did you mean '--since'?"),
        ("raed ticks", "did you mean 'read'?"),
        ("read", "KEY"),
        ("read ticks --frame dask", "pandas"),
        ("read ticks --as 1x", "no name of a variable"),
        ("read ticks --as class", "'class' is no name of a variable"),
        ("read ticks --as None", "'None' is no name of a variable"),
        ("read ticks --limit -1", "--limit: '-1' is no number from 0 on"),
        ("tail ticks -n -1", "-n: '-1' is no number from 0 on"),
        ("read ticks --limit 2 --last 3", "--limit, --last: give one of them"),
        ("read ticks --json --text", "give one of json, text, fields"),
        ("read ticks --since nonsense", "nonsense"),
        ("read 'ticks", "No closing quotation"),
        ("read ticks --shard x", "--shard"),
    ],
)
def test_a_line_that_cannot_be_meant_is_a_config_error(
    connected: InteractiveShell, line: str, said: str
) -> None:
    error = error_of(connected, f"%stream {line}")
    assert isinstance(error, ss.ConfigError)
    assert said in str(error)


def test_our_errors_are_one_line_and_last_error_has_the_traceback(
    connected: InteractiveShell, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    target = "redis://ana:hunter2@127.0.0.1:1"
    assert isinstance(error_of(connected, f"%stream ls --from {target}"), ss.ConnectError)
    shown = capsys.readouterr()
    assert len((shown.out + shown.err).strip().splitlines()) == 1
    run(connected, "%stream last-error")
    trace = capsys.readouterr().out
    assert "Traceback (most recent call last)" in trace
    assert "ConnectError" in trace
    assert "hunter2" not in shown.out + shown.err + trace


def test_what_a_body_raises_keeps_its_traceback(
    connected: InteractiveShell, capsys: pytest.CaptureFixture[str]
) -> None:
    assert isinstance(error_of(connected, "%%stream ticks\nx = 1\n1 / 0"), ZeroDivisionError)
    shown = capsys.readouterr()
    assert "----> 2 1 / 0" in shown.out + shown.err
    assert len(connected.user_ns["df"]) == 3


def test_a_body_that_is_no_python_is_not_read_for(connected: InteractiveShell) -> None:
    assert isinstance(error_of(connected, "%%stream ticks\n1 +"), SyntaxError)
    assert "df" not in connected.user_ns


def test_the_help_that_an_error_names_is_there(
    connected: InteractiveShell, capsys: pytest.CaptureFixture[str]
) -> None:
    for line in ("%stream read ticks --nonsense", "%%stream ticks --nonsense\npass"):
        said = str(error_of(connected, line))
        named = re.search(r"see (%+stream.* --help)(, with any line below it)?$", said)
        assert named, said
        capsys.readouterr()
        run(connected, named[1] + ("\npass" if named[2] else ""))
        shown = capsys.readouterr().out
        assert "--since T" in shown
        assert ("--each" in shown) == line.startswith("%%")


def test_help_is_printed(connected: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> None:
    run(connected, "%stream --help")
    run(connected, "%stream read --help")
    run(connected, "%%stream --help\npass")
    shown = capsys.readouterr().out
    assert "%stream groups" in shown
    assert "--since T" in shown


def test_urls_are_masked_up_to_the_last_at() -> None:
    assert masked("redis://a:p/@b@h, rediss://h") == "redis://***@h, rediss://h"


# In a kernel.


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    with running_kernel() as running:
        assert running.run("%load_ext seastream_nb")[0].error is None
        yield running


def test_a_kernel_runs_the_magics_and_fails_their_cells(
    kernel: Kernel, url: str, ticks: redis.Redis
) -> None:
    cell, _ = kernel.run(f"%%stream ticks --from {url} --json\nprint(df.price.sum())")
    assert (cell.lines, cell.error) == (["7.5"], None)
    cell, _ = kernel.run(f"%stream info missing --from {url}")
    assert cell.error == "StreamNotFound"
    cell, _ = kernel.run(f"%%stream ticks --from {url}\n1 / 0")
    assert cell.error == "ZeroDivisionError"


@pytest.mark.parametrize("options", ["", " --each"])
def test_a_body_of_one_line_is_python_whatever_magics_are_called(
    connected: InteractiveShell, capsys: pytest.CaptureFixture[str], options: str
) -> None:
    run(connected, f'%%stream ticks --json --as page{options}\npage["price"].max(), len(page)')

    assert "(3.5, 3)" in capsys.readouterr().out.replace("np.float64(3.5)", "3.5")
