"""The command line, as users run it: on real files and servers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tomllib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from typer.testing import CliRunner

import seastream_nb as ss
from seastream_nb.cli import app
from seastream_nb.cli.output import cell, json_lines
from tests.file.files import GOLDEN_NAMES, encoded, golden, numbered, written
from tests.servers import raw

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis
    from typer.testing import Result

START = 1_700_000_000_000
COMMANDS = ("demo", "ls", "info", "read", "tail", "trim", "decode", "verify", "repair")
SEASTREAM = [sys.executable, "-W", "error", "-m", "seastream_nb"]


def run(*arguments: str | Path, status: int = 0, **environment: str) -> Result:
    """Run it within this process; the status must be the expected one."""
    result = CliRunner().invoke(app, list(map(str, arguments)), env=environment)
    assert result.exit_code == status, result.output
    return result


def failed(*arguments: str | Path, status: int = 1, **environment: str) -> str:
    """The one line of a failure."""
    result = run(*arguments, status=status, **environment)
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("seastream: ")
    return result.stderr.removeprefix("seastream: ")


def rows(result: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in result.stdout_bytes.splitlines()]


@contextmanager
def started(*arguments: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of its own, which is killed if it is still there at the end."""
    process = subprocess.Popen(
        [*SEASTREAM, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A shell starts jobs in the background with SIGINT ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def ticks(client: redis.Redis) -> redis.Redis:
    """A stream of three messages, one a second."""
    for n in range(3):
        payload = json.dumps({"price": 1.5 + n, "symbol": "EUR"})
        client.xadd("ticks", {"msg": payload}, id=f"{START + 1_000 * n}-0")
    return client


# Help and usage.


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


# Files.


@pytest.mark.parametrize("name", GOLDEN_NAMES)
@pytest.mark.parametrize("form", ["log", "ndjson"])
def test_decode_prints_what_the_reference_tool_prints(name: str, form: str) -> None:
    expected = golden(f"expected/{name}.{form}").read_bytes()
    status = 1 if name == "corrupt_payload" else 0
    result = run("decode", golden(f"{name}.ss"), "--format", form, status=status)
    assert result.stdout_bytes == expected


def test_decode_prints_raw_bytes_as_a_log_by_default(tmp_path: Path) -> None:
    path = written(tmp_path, encoded(numbered(2, size=1)))
    assert run("decode", path).stdout_bytes.splitlines()[1:] == [
        b"[2023-11-14T22:13:20.001 | a | 1 | 1] payload 1",
        b"[2023-11-14T22:13:20.002 | a | 2 | 2] payload 2",
    ]
    assert run("decode", path, "--header-only").stdout_bytes.splitlines()[1:] == [
        b"[2023-11-14T22:13:20.001 | a | 1 | 1]",
        b"[2023-11-14T22:13:20.002 | a | 2 | 2]",
    ]


def test_decode_warns_of_a_torn_end_and_succeeds(tmp_path: Path) -> None:
    data = encoded(numbered(3))
    path = written(tmp_path, data[:-1])
    result = run("decode", path)
    assert len(result.stdout_bytes.splitlines()) == 3
    assert result.stderr == (
        f"seastream: warning: {path} ends inside the message at offset 234; "
        "all before it was printed\n"
    )


def test_decode_prints_what_stands_before_a_damaged_payload_and_fails(tmp_path: Path) -> None:
    path = written(tmp_path, encoded(numbered(3)).replace(b"payload 2", b"PAYLOAD 2"))
    result = run("decode", path, status=1)
    assert len(result.stdout_bytes.splitlines()) == 2
    assert result.stderr.startswith(f"seastream: FileFormatError: {path}: a payload has the CRC ")


@pytest.mark.parametrize("command", ["decode", "verify"])
def test_what_is_no_file_or_no_ss_file_fails_in_one_line(command: str, tmp_path: Path) -> None:
    assert "cannot be read: No such file" in failed(command, tmp_path / "missing.ss")
    assert "cannot be read: Is a directory" in failed(command, tmp_path)
    assert "does not begin with 'Ss'" in failed(command, written(tmp_path, b"text"))


def test_a_reader_that_has_enough_is_no_failure(tmp_path: Path) -> None:
    path = written(tmp_path, encoded(numbered(20_000)))
    with started("decode", path) as process:
        assert process.stdout.readline().startswith(b'# {"file_name":"made.ss"')
        process.stdout.close()
        assert (process.stderr.read(), process.wait(30)) == (b"", 0)


def test_verify_reports_a_whole_file_with_status_0(tmp_path: Path) -> None:
    path = written(tmp_path, encoded(numbered(40)))
    lines = run("verify", path).stdout.splitlines()
    assert lines[0] == f"{path}: 40 whole messages, 2 beacons, no faults"
    assert [line.split() for line in lines[1:]] == [
        ["stream", "shard", "messages"],
        ["a", "0", "13"],
        ["a", "1", "14"],
        ["a", "2", "13"],
    ]


def test_verify_reports_faults_with_status_1(tmp_path: Path) -> None:
    data = encoded(numbered(40)).replace(b"payload 2 ", b"PAYLOAD 2 ")[:-1]
    path = written(tmp_path, data)
    lines = run("verify", path, status=1).stdout.splitlines()
    assert lines[0] == f"{path}: 38 whole messages, 2 beacons, 2 faults"
    assert lines[-2].split(maxsplit=1)[0] == "181"
    assert lines[-1].endswith("the file ends inside this message")
    report = rows(run("verify", path, "--json", status=1))[0]
    assert report["path"] == str(path)
    assert (report["ok"], report["messages"], report["beacons"]) == (False, 38, 2)
    assert report["streams"][0] == {"key": "a", "shard": 0, "messages": 13}
    assert [fault["offset"] for fault in report["faults"]] == [181]
    assert report["torn_tail"] == ss.verify(path).torn_tail


def test_repair_keeps_what_is_whole_and_never_overwrites(tmp_path: Path) -> None:
    path = written(tmp_path, encoded(numbered(9)).replace(b"payload 2 ", b"PAYLOAD 2 "))
    new = tmp_path / "new.ss"
    assert rows(run("repair", path, new, "--json"))[0]["messages"] == 8
    assert ss.verify(new).messages == 8
    assert "exists already" in failed("repair", path, new)


# Streams.


def test_ls_is_a_table_of_streams(url: str, ticks: redis.Redis) -> None:
    ticks.xadd("other", {"msg": "x"}, id="5-0")
    lines = run("ls", "--from", url).stdout.splitlines()
    assert lines[0].split()[:3] == ["stream", "shards", "length"]
    assert [line.split()[:3] for line in lines[1:]] == [["other", "1", "1"], ["ticks", "1", "3"]]
    assert len(run("ls", "t*", "--from", url).stdout.splitlines()) == 2


def test_ls_and_info_as_json_lines(url: str, ticks: redis.Redis) -> None:
    (listed,) = rows(run("ls", "--from", url, "--json"))
    (known,) = rows(run("info", "ticks", "--from", url, "--json"))
    assert listed == known
    assert known["key"] == "ticks"
    assert (known["length"], known["shards"]) == (3, [0])
    assert known["first_time"] == "2023-11-14T22:13:20+00:00"


def test_info_is_a_line_for_each_fact(url: str, ticks: redis.Redis) -> None:
    facts = dict(
        line.split(maxsplit=1) for line in run("info", "ticks", "--from", url).stdout.splitlines()
    )
    assert (facts["key"], facts["length"], facts["last_id"]) == ("ticks", "3", f"{START + 2000}-0")


def test_the_target_is_seastream_url_when_none_is_given(url: str, ticks: redis.Redis) -> None:
    assert len(rows(run("ls", "--json", SEASTREAM_URL=url))) == 1


def test_read_prints_a_table_of_a_range(url: str, ticks: redis.Redis) -> None:
    shown = run("read", "ticks", "--from", url, "--since", "2023-11-14T22:13:21Z", "--json-payload")
    lines = [line.split() for line in shown.stdout.splitlines()]
    assert lines[0] == ["shard", "sequence", "timestamp", "price", "symbol"]
    assert [line[-3:] for line in lines[1:]] == [
        ["22:13:21", "2.5", "EUR"],
        ["22:13:22", "3.5", "EUR"],
    ]


def test_read_prints_json_lines_that_hold_every_column(url: str, ticks: redis.Redis) -> None:
    shown = rows(run("read", "ticks", "--from", url, "--json", "--until", f"{START + 1}"))
    assert shown == [
        {
            "stream": "ticks",
            "shard": 0,
            "sequence": START << 16,
            "timestamp": "2023-11-14T22:13:20+00:00",
            "payload": '{"price": 1.5, "symbol": "EUR"}',
        }
    ]


@pytest.mark.parametrize(
    ("options", "prices"),
    [
        (["--last", "2"], [2.5, 3.5]),
        (["--first", "1"], [1.5]),
        (["--limit", "2"], [1.5, 2.5]),
        (["--limit", "0"], []),
        (["--last", "2", "--limit", "1"], [2.5]),
        (["--shard", "0", "--shard", "5"], [1.5, 2.5, 3.5]),
        (["--shard", "5"], []),
        (["--since", "earliest", "--until", f"{START + 1000}-0"], [1.5]),
        (["--last", "1500ms"], [2.5, 3.5]),
    ],
)
def test_read_takes_the_messages_that_are_asked_for(
    url: str, ticks: redis.Redis, options: list[str], prices: list[float]
) -> None:
    now = "2023-11-14T22:13:22.500Z"
    command = ["read", "ticks", "--from", url, "--json", "--json-payload", *options]
    assert [row["price"] for row in rows(run(*command, SEASTREAM_NOW=now))] == prices


def test_read_decodes_text_and_fields(url: str, client: redis.Redis) -> None:
    client.xadd("app:log", {"msg": "grüße\n", "level": "info"}, id="5-0")
    command = ("read", "app:log", "--from", url, "--json")
    assert rows(run(*command, "--text"))[0]["payload"] == "grüße\n"
    fields = rows(run(*command, "--fields"))[0]
    assert (fields["msg"], fields["level"]) == ("grüße\n", "info")
    # A table has one line a row.
    assert run("read", "app:log", "--from", url).stdout.splitlines()[-1].endswith(r"grüße\n")


def test_payloads_that_are_no_text_are_arrays_of_bytes(url: str, client: redis.Redis) -> None:
    for payload in (b"text", b"\xff\x00"):
        client.xadd("bin", {"msg": payload})
    shown = rows(run("read", "bin", "--from", url, "--json"))
    assert [row["payload"] for row in shown] == ["text", [255, 0]]


def test_a_stream_that_is_not_there_reads_as_empty_and_has_no_info(url: str) -> None:
    assert run("read", "missing", "--from", url).stdout == ""
    assert "missing" in failed("info", "missing", "--from", url)


def test_a_table_of_many_pages_has_one_head(url: str, streamer: ss.Streamer) -> None:
    with streamer.producer("many") as producer:
        for n in range(2_500):
            producer.send(str(n))
    lines = run("read", "many", "--from", url).stdout.splitlines()
    assert len(lines) == 2_501
    assert [line for line in lines if line.startswith("shard")] == lines[:1]
    assert len(run("read", "many", "--from", url, "--limit", "1500").stdout.splitlines()) == 1_501


def test_tail_prints_the_last_messages(url: str, ticks: redis.Redis) -> None:
    command = ("tail", "ticks", "--from", url, "--json-payload", "--json")
    assert [row["price"] for row in rows(run(*command))] == [1.5, 2.5, 3.5]
    assert [row["price"] for row in rows(run(*command, "-n", "1"))] == [3.5]


@pytest.mark.parametrize("form", [["--json"], []])
def test_tail_follows_until_it_is_interrupted_quietly(
    url: str, ticks: redis.Redis, form: list[str]
) -> None:
    with started("tail", "ticks", "-n", "1", "--follow", "--from", url, *form) as process:
        lines = [process.stdout.readline() for _ in range(1 if form else 2)]
        ticks.xadd("ticks", {"msg": "live"})
        lines.append(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=30)
    assert b"3.5" in lines[-2]
    assert b"live" in lines[-1]
    assert (rest, errors, process.returncode) == (b"", b"", 130)


def test_trim_says_how_many_it_removed(url: str, ticks: redis.Redis) -> None:
    shown = run("trim", "ticks", "--max-len", "2", "--exact", "--from", url)
    assert shown.stdout == "1 entry removed from ticks\n"
    trimmed = run(
        "trim", "ticks", "--before", f"{START + 2000}", "--exact", "--json", "--from", url
    )
    assert rows(trimmed) == [{"key": "ticks", "removed": 1}]
    assert ticks.xlen("ticks") == 1


def test_only_trim_connects_for_writing(url: str, ticks: redis.Redis) -> None:
    before = raw(url, "XINFO", "STREAM", "ticks")
    for command in (["ls"], ["info", "ticks"], ["read", "ticks"], ["tail", "ticks"]):
        run(*command, "--from", url)
    assert raw(url, "XINFO", "STREAM", "ticks") == before


# Failures.


@pytest.mark.parametrize(
    "arguments",
    [
        ["read", "ticks", "--since", "yesterday"],
        ["read", "ticks", "--last", "soon"],
        ["read", "ticks", "--first", "1", "--last", "1"],
        ["read", "ticks", "--text", "--fields"],
        ["trim", "ticks"],
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
    assert all(line.startswith("seastream: warning: ") for line in result.stderr.splitlines())


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


def test_decode_does_not_load_what_it_does_not_need(tmp_path: Path) -> None:
    path = written(tmp_path, encoded(numbered(1)))
    code = (
        "import sys\nfrom seastream_nb.cli import app\n"
        f"app(['decode', {str(path)!r}], standalone_mode=False)\n"
        "assert not {'pyarrow', 'pandas', 'redis', 'IPython'} & sys.modules.keys()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, env=os.environ, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
