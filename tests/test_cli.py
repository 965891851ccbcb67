"""The command line: help, usage, failures, and how values are shown."""

from __future__ import annotations

import json
import subprocess
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

import seastream_nb as ss
from seastream_nb.cli.output import cell, json_lines
from tests.commands import SEASTREAM, failed, run

if TYPE_CHECKING:
    import redis

COMMANDS = (
    "demo",
    "ls",
    "info",
    "read",
    "tail",
    "dump",
    "record",
    "trim",
    "decode",
    "verify",
    "repair",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_examples(command: str) -> None:
    shown = run(command, "--help").stdout
    assert "Examples:" in shown
    assert f"seastream {command}" in shown.partition("Examples:")[2]


def test_help_lists_every_command_and_the_version_is_the_packages() -> None:
    shown = run("--help").stdout
    assert all(command in shown for command in COMMANDS)
    assert run("--version").stdout == f"seastream {ss.__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["decode"],
        ["decode", "a.ss", "--format", "xml"],
        ["read", "ticks", "--nonsense"],
        ["read", "ticks", "--limit", "-1"],
        ["read"],
        ["dump", "no.ss"],
        ["record", "ticks", "no.ss", "-n", "0"],
    ],
)
def test_wrong_usage_has_status_2_and_says_so_on_stderr(arguments: list[str]) -> None:
    result = run(*arguments, status=2)
    assert result.stdout == ""
    assert "Usage: seastream" in result.stderr


def test_the_console_script_is_the_function_that_the_module_runs() -> None:
    project = Path(__file__).parents[1] / "pyproject.toml"
    scripts = tomllib.loads(project.read_text())["project"]["scripts"]
    assert scripts == {"seastream": "seastream_nb.cli:main"}


def test_the_module_runs_as_a_program_of_that_name() -> None:
    done = subprocess.run([*SEASTREAM, "nonsense"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Usage: seastream ")


@pytest.mark.parametrize(
    "arguments",
    [
        ["read", "ticks", "--since", "yesterday"],
        ["read", "ticks", "--last", "soon"],
        ["read", "ticks", "--first", "1", "--last", "1"],
        ["read", "ticks", "--text", "--fields"],
        ["trim", "ticks"],
        ["dump", "ticks", "no.ss", "--reference-bounds", "--since", "-1h"],
        ["record", "ticks", "no.ss", "--for", "soon"],
        ["trim", "ticks", "--max-len", "1", "--before", "-1h"],
    ],
)
def test_what_cannot_be_meant_is_one_line_with_status_2(url: str, arguments: list[str]) -> None:
    assert failed(*arguments, "--from", url, status=2).startswith("ConfigError: ")


def test_no_target_is_a_wrong_usage() -> None:
    assert "$SEASTREAM_URL" in failed("ls", status=2, SEASTREAM_URL="")


def test_a_refused_connection_is_one_line_without_the_password() -> None:
    line = failed("ls", "--from", "redis://me:secret@127.0.0.1:1")
    assert line.startswith("ConnectError: ")
    assert "secret" not in line
    assert "redis://me:***@127.0.0.1:1" in line


def test_a_payload_that_is_not_what_was_asked_for_names_its_entry(
    url: str, client: redis.Redis
) -> None:
    client.xadd("ticks", {"msg": "no JSON"}, id="5-0")
    line = failed("read", "ticks", "--json-payload", "--from", url)
    assert line.startswith("DecodeError: ")
    assert "5-0" in line


def test_a_key_of_another_type_keeps_the_servers_text(url: str, client: redis.Redis) -> None:
    client.set("text", "x")
    assert "WRONGTYPE" in failed("read", "text", "--from", url)


def test_warnings_are_one_line_and_no_failure(url: str, client: redis.Redis) -> None:
    client.xadd("other", {"field": "x"})
    result = run("read", "other", "--from", url)
    assert result.stdout == ""
    [line] = result.stderr.splitlines()
    assert line.startswith("seastream: warning: no entry of 'other' in this range has the field")


def test_the_demo_runs() -> None:
    assert "seconds  step" in run("demo").stdout


def test_cells_show_what_cannot_be_seen_and_no_markup() -> None:
    assert [cell(value) for value in ("[red]x", "\x1b[0m", "a\u202eb", True)] == [
        "[red]x", "\\x1b[0m", "a\\u202eb", "True"
    ]  # fmt: skip


def test_json_lines_leave_out_an_extra_column_that_holds_nothing() -> None:
    empty = pa.record_batch({"a": [1], "_extra": pa.array([None], pa.string())})
    full = pa.record_batch({"a": [1], "_extra": ['{"b":2}']})
    assert json_lines(empty) == [b'{"a":1}\n']
    assert json.loads(json_lines(full)[0])["_extra"] == '{"b":2}'
