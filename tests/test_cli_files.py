"""Commands on `.ss` files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import seastream_nb as ss
from tests.commands import failed, rows, run, started
from tests.file.files import GOLDEN_NAMES, encoded, golden, numbered, written


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


def test_replay_prints_a_recording_or_sends_it_on(url: str, tmp_path: Path) -> None:
    path = tmp_path / "made.ss"
    with ss.connect(path, create="exclusive") as streamer, streamer.producer("ticks") as producer:
        for n in range(3):
            producer.send(f"tick {n}", timestamp=f"2026-01-01T00:00:0{n}Z")
    shown = rows(run("replay", "ticks", "--from", path, "--speed", "1000", "--json"))
    assert [each["payload"] for each in shown] == ["tick 0", "tick 1", "tick 2"]
    sent = rows(run("replay", "ticks", "--from", path, "--speed", "max", "--to", url, "--json"))
    assert sent[0]["messages"] == 3
    assert len(rows(run("read", "ticks", "--from", url, "--json"))) == 3
    assert "--speed 'fast'" in failed(
        "replay", "ticks", "--from", path, "--speed", "fast", status=2
    )


def test_relay_sends_what_a_file_holds_to_standard_output(tmp_path: Path) -> None:
    path = tmp_path / "made.ss"
    with (
        ss.connect(path, create="exclusive", end_with_eos=True) as streamer,
        streamer.producer("ticks") as producer,
    ):
        producer.send("tick")
    command = ["relay", "--input", f"file://{path}/ticks", "--output", "stdio:///ticks"]
    done = subprocess.run(
        [sys.executable, "-m", "seastream_nb", *command, "--offset", "start"],
        capture_output=True,
        check=True,
    )
    assert done.stdout.endswith(b"| ticks | 0] tick\n")
    assert done.stderr == b"seastream: 1 message relayed\n"
