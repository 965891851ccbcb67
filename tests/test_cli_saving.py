"""`seastream dump` and `seastream record`: streams of a real server into files."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import termios
from typing import TYPE_CHECKING

import pytest

import seastream_nb as ss
from tests.commands import SEASTREAM, failed, rows, run, started
from tests.servers import eventually
from tests.test_follow import blocked
from tests.test_replay import FIRST_MS, fill
from tests.test_to_ss import as_kept, as_sent, frames, listed

if TYPE_CHECKING:
    from pathlib import Path

    import redis


def stamps(path: Path) -> list[int]:
    return [place.ms - FIRST_MS for place, _ in as_kept(path)]


def test_dump_writes_all_shards_of_several_streams(
    url: str, client: redis.Redis, tmp_path: Path
) -> None:
    for key in ("a:0", "a:1", "b"):
        fill(client, key, list(range(100)))
    path = tmp_path / "s.ss"
    shown = run("dump", "a", "b", path, "--from", url)
    assert shown.stdout == f"300 messages, {path.stat().st_size:,} bytes in {path}\n"
    with ss.connect(url) as streamer:
        assert as_kept(path) == as_sent(streamer.stream("a", "b"))
    assert run("dump", "a", "b", path, "--from", url, "--resume").stdout == shown.stdout
    assert "exists" in failed("dump", "a", path, "--from", url)
    (report,) = rows(run("dump", "a", path, "--from", url, "--overwrite", "--json", "--shard", "1"))
    assert report == {
        "path": str(path),
        "messages": 100,
        "bytes": path.stat().st_size,
        "first_id": f"{FIRST_MS}-0",
        "last_id": f"{FIRST_MS + 99}-0",
        "complete": True,
    }
    assert listed(tmp_path) == ["s.ss"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--since", "2023-11-14T22:13:20.002Z"], [2, 3, 4, 5]),
        (["--until", "2023-11-14T22:13:20.002Z"], [0, 1]),
        (["--since", "2023-11-14T22:13:20.0021", "--until", "22:13:20.0041"], [3, 4]),
        (["--last", "2"], [4, 5]),
        (["--reference-bounds", "--since", "2023-11-14T22:13:20.002"], [3, 4, 5]),
        (["--reference-bounds", "--since", "2023-11-14T22:13:20.0029"], [3, 4, 5]),
        (["--reference-bounds", "--until", "2023-11-14T22:13:20.002"], [0, 1, 2]),
        (["--reference-bounds", "--until", "2023-11-14T22:13:20.0029"], [0, 1, 2]),
        (["--reference-bounds", "--since", "earliest", "--until", f"{FIRST_MS}"], [0]),
    ],
)
def test_dump_takes_the_messages_that_are_asked_for(
    url: str, client: redis.Redis, tmp_path: Path, options: list[str], expected: list[int]
) -> None:
    fill(client, "s", list(range(6)))
    now = "2023-11-14T22:13:21Z"
    run("dump", "s", tmp_path / "s.ss", "--from", url, *options, SEASTREAM_NOW=now)
    assert stamps(tmp_path / "s.ss") == expected


def test_dump_goes_into_a_pipe(url: str, client: redis.Redis, tmp_path: Path) -> None:
    fill(client, "s", list(range(100)))
    command = [*SEASTREAM, "dump", "s", "-", "--from", url]
    done = subprocess.run(command, capture_output=True, check=True)
    (tmp_path / "s.ss").write_bytes(done.stdout)
    assert stamps(tmp_path / "s.ss") == list(range(100))
    assert done.stderr == b""


def test_dump_shows_a_bar_in_a_terminal(url: str, client: redis.Redis, tmp_path: Path) -> None:
    fill(client, "s", list(range(100)))
    ours, its = pty.openpty()
    termios.tcsetwinsize(its, (24, 100))
    environment = {**os.environ, "SEASTREAM_PROGRESS": "1", "TERM": "dumb"}
    code = (
        "import seastream_nb.progress as p; p.APPEARS_AFTER = 0;"
        "from seastream_nb.cli import main; main()"
    )
    command = [*SEASTREAM[:3], "-c", code, "dump", "s", tmp_path / "s.ss", "--from", url]
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        subprocess.run(command, stderr=its, stdout=its, env=environment, check=True)
        os.close(its)
        shown = terminal.read(65_536).decode()
    assert "100 entries" in shown
    assert "100 messages" in shown


def test_a_failed_dump_is_one_line_and_leaves_nothing(
    url: str, client: redis.Redis, tmp_path: Path
) -> None:
    client.xadd("app:orders", {"msg": "x"})
    client.xadd("s", {"msg": "x"}, id="5-65536")
    assert "app:orders" in failed("dump", "app:orders", tmp_path / "s.ss", "--from", url)
    assert "5-65536" in failed("dump", "s", tmp_path / "s.ss", "--from", url, status=2)
    assert listed(tmp_path) == []


def test_record_ends_after_so_many_messages_or_so_long(
    url: str, client: redis.Redis, tmp_path: Path
) -> None:
    fill(client, "s", list(range(10)))
    path = tmp_path / "s.ss"
    shown = run("record", "s", path, "-n", "3", "--from", url)
    assert shown.stdout == f"3 messages, {path.stat().st_size} bytes in {path}\n"
    assert stamps(path) == [0, 1, 2]
    command = ("record", "s", path, "--for", "300ms", "--from", url, "--overwrite", "--json")
    (report,) = rows(run(*command))
    assert (report["messages"], report["complete"]) == (10, True)
    (report,) = rows(run(*command, "--since", "latest"))
    assert (report["messages"], report["first_id"]) == (0, None)
    assert "exists" in failed("record", "s", path, "--from", url)


def test_record_goes_on_until_it_is_interrupted(
    url: str, client: redis.Redis, tmp_path: Path
) -> None:
    fill(client, "s", [0])
    path = tmp_path / "s.ss"
    with started("record", "s", path, "--from", url) as process:
        assert eventually(lambda: blocked(client), within=30)  # a process has to start
        fill(client, "s", [1, 2])
        assert eventually(lambda: len(frames(path)) == 3)
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=30)
    assert (out, process.returncode) == (b"", 130)
    assert errors == f"seastream: interrupted: {path} has what came\n".encode()
    assert stamps(path) == [0, 1, 2]
