"""Commands on the streams of a real server."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

import seastream_nb as ss
from tests.commands import SEASTREAM, failed, rows, run, started
from tests.servers import raw

if TYPE_CHECKING:
    import redis

START = 1_700_000_000_000


@pytest.fixture
def ticks(client: redis.Redis) -> redis.Redis:
    """A stream of three messages, one a second."""
    for n in range(3):
        payload = json.dumps({"price": 1.5 + n, "symbol": "EUR"})
        client.xadd("ticks", {"msg": payload}, id=f"{START + 1_000 * n}-0")
    return client


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
        ["22:13:21.000", "2.5", "EUR"],
        ["22:13:22.000", "3.5", "EUR"],
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


def test_a_terminal_gets_a_table_that_fits_it(url: str, client: redis.Redis) -> None:
    client.xadd("long", {"msg": "[bold]" + "x" * 300}, id="5-0")
    ours, its = pty.openpty()
    environment = {**os.environ, "COLUMNS": "80", "TERM": "dumb"}
    command = [*SEASTREAM, "read", "long", "--from", url]
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        subprocess.run(command, stdout=its, env=environment, check=True)
        os.close(its)
        lines = terminal.read(65_536).decode().splitlines()
    assert len(lines) > 4
    assert max(map(len, lines)) <= 80
    assert "[bold]xxx" in lines[1]
