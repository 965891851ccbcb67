"""`%stream export`, `record` and `replay`, and what is said of keys that are not there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest

import seastream_nb as ss
from tests.notebook.cells import DATA, START, error_of, run

if TYPE_CHECKING:
    import redis
    from IPython.core.interactiveshell import InteractiveShell


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    monkeypatch.chdir(folder)


def test_a_range_is_exported_as_a_file_of_seastreamer(connected: InteractiveShell) -> None:
    report = run(connected, "%stream export ticks --last 2 out.ss")
    assert (report.messages, report.path) == (2, Path("out.ss"))
    assert ss.verify("out.ss").streams == {("ticks", 0): 2}
    assert isinstance(error_of(connected, "%stream export ticks out.ss"), ss.errors.ExportExists)
    assert run(connected, "x = %stream export ticks out.ss --overwrite") is None
    assert connected.user_ns["x"].messages == 3
    assert run(connected, "%stream export ticks out.ss --resume").messages == 3


def test_a_range_is_exported_as_parquet(connected: InteractiveShell) -> None:
    run(connected, f"%stream export ticks out.parquet --json --since {START + 1000}-0")
    assert list(pd.read_parquet("out.parquet").price) == [2.5, 3.5]
    report = run(connected, "%stream export ticks out --json --partition-by day")
    assert report.messages == 3
    assert Path("out", "day=2023-11-14").is_dir()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("export ticks out.csv", "NAME.parquet"),
        ("export ticks out.ss --json", "--json is about .parquet"),
        ("export ticks out.ss --select price", "--select is about .parquet"),
        ("export ticks out.ss --partition-by day", "--partition-by is about .parquet"),
        ("export ticks", "FILE"),
        ("record ticks out.parquet", ".ss file"),
        ("record ticks out.ss --for soon", "soon"),
        ("record ticks out.ss -n 0", "from 1 on"),
        ("replay ticks --now", "--to"),
        ("replay ticks --to redis://localhost --speed fast", "factor"),
        ("replay a.ss --from default --to redis://localhost", "leave out --from"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(
    connected: InteractiveShell, line: str, said: str
) -> None:
    error = error_of(connected, f"%stream {line}")
    assert isinstance(error, ss.ConfigError)
    assert said in str(error)
    assert list(Path().glob("out*")) == []


def test_streams_are_recorded_for_a_while_or_for_so_many_messages(
    connected: InteractiveShell,
) -> None:
    assert run(connected, "%stream record ticks out.ss --messages 2").messages == 2
    assert run(connected, "%stream record ticks out.ss --for 200ms --overwrite").messages == 3
    assert ss.verify("out.ss").messages == 3


def test_a_stream_is_replayed_to_a_connection_of_that_name(
    connected: InteractiveShell, ticks: redis.Redis
) -> None:
    with ss.embedded() as server, ss.connect(server.url) as other:
        run(connected, f"%stream connect {server.url} --as other")
        report = run(connected, "%stream replay ticks --from default --to other --speed max")
        assert report.messages == 3
        assert [each.id for each in other["ticks"]] == [f"{START + 1000 * n}-0" for n in range(3)]
        connected.run_line_magic("stream", "connect embedded:")


def test_a_file_is_replayed_whole(
    connected: InteractiveShell, ticks: redis.Redis, url: str
) -> None:
    run(connected, "%stream export ticks a.ss")
    ticks.delete("ticks")
    report = run(connected, f"%stream replay a.ss --to {url} --speed max")
    assert report.messages == ticks.xlen("ticks") == 3
    report = run(connected, f"%stream replay ticks --to {url}/copy --speed max --last 1 --now")
    assert report.messages == 1


@pytest.mark.parametrize(
    "line",
    [
        "export ticks out.ss --last 2",
        "export ticks out.parquet --json --overwrite",
        "export ticks out --partition-by hour",
        "record ticks out.ss --messages 2",
    ],
)
def test_a_dry_run_of_saving_prints_python_that_does_the_same(
    connected: InteractiveShell, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    capsys.readouterr()
    assert run(connected, f"%stream {line} --dry-run") is None
    assert list(Path().iterdir()) == []
    code = capsys.readouterr().out
    exec(code, {})
    made = {path for path in Path().rglob("*") if path.is_file()}
    assert made
    assert run(connected, f"%stream {line}{'' if 'over' in line else ' --overwrite'}").messages > 1
    assert {path for path in Path().rglob("*") if path.is_file()} == made


def test_a_dry_run_of_a_replay_shows_no_password(
    connected: InteractiveShell, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    run(connected, "%stream replay a.ss --to redis://ana:hunter2@h/k --speed max --dry-run")
    out = capsys.readouterr().out
    assert "with ss.connect(Path('a.ss'), read_only=True) as streamer:" in out
    assert "streamer.stream(*streamer.catalog())" in out
    assert ".replay_to('redis://***@h/k', speed=None)" in out


def test_commands_that_only_look_print_python_too(
    connected: InteractiveShell, capsys: pytest.CaptureFixture[str]
) -> None:
    for line in ("ls t*", "info ticks", "groups ticks", "tail ticks -n 2 --json"):
        capsys.readouterr()
        assert run(connected, f"%stream {line} --dry-run") is None
        code = capsys.readouterr().out
        assert repr(run(connected, code.replace("    streamer", "    x = streamer") + "x")) == repr(
            run(connected, f"%stream {line}")
        )


# Keys that are not there.


@pytest.mark.parametrize(
    "code",
    [
        "%stream read tickz",
        "%stream read ticks tickz",
        "%stream tail tickz",
        "%%stream tickz\nlen(df)",
        "%%stream tickz --each\nlen(df)",
        "%%stream tickz ticks --sql\nfrom ticks",
        "%stream export tickz out.ss",
    ],
)
def test_a_read_of_a_key_that_is_not_there_says_which_was_meant(
    connected: InteractiveShell, capsys: pytest.CaptureFixture[str], code: str
) -> None:
    capsys.readouterr()
    connected.run_cell(code).raise_error()
    shown = capsys.readouterr()
    assert "there is no stream 'tickz'; did you mean 'ticks'?\n" in shown.out
    assert shown.out.count("there is no stream") == 1
    assert shown.err == ""


@pytest.mark.parametrize(
    "code",
    [
        "%stream read tickz --quiet",
        "%stream read ticks --since latest",
        "%stream read ticks",
        "%stream read ticks:0",
    ],
)
def test_nothing_is_said_of_a_key_that_is_there_or_if_quiet(
    connected: InteractiveShell, capsys: pytest.CaptureFixture[str], ticks: redis.Redis, code: str
) -> None:
    ticks.xadd("ticks:0", {"msg": json.dumps({})})
    capsys.readouterr()
    run(connected, code)
    assert "there is no stream" not in capsys.readouterr().out


def test_a_key_without_a_neighbour_is_named_alone(
    connected: InteractiveShell, capsys: pytest.CaptureFixture[str]
) -> None:
    run(connected, "%stream read 'nothing alike'")
    assert "there is no stream 'nothing alike'\n" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["info", "groups"])
def test_asking_about_a_key_that_is_not_there_says_which_was_meant(
    connected: InteractiveShell, command: str
) -> None:
    error = error_of(connected, f"%stream {command} tickz")
    assert isinstance(error, ss.StreamNotFound)
    assert str(error).endswith("; did you mean 'ticks'?")
    error = error_of(connected, f"%stream {command} earthquakez --from {DATA / 'earthquakes.ss'}")
    assert "earthquakes" in str(error)
