"""Relaying between places: what arrives, what is acknowledged, and how it ends."""

from __future__ import annotations

import signal
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

import seastream_nb as ss
from seastream_nb import portal
from seastream_nb.relaying import Relay, Running
from tests.servers import eventually
from tests.stdio.programs import PATIENCE, start

if TYPE_CHECKING:
    import redis

RELAY = """
from seastream_nb.relaying import Relay
relay = Relay({source!r}, {target!r}, **{options!r})
try:
    say(relay.run_blocking())
except KeyboardInterrupt:
    say("stopped", relay.messages)
except ss.StreamError as error:
    say(relay.messages, type(error).__name__, error)
"""


def relaying(source: str, target: str, **options: Any) -> subprocess.Popen[bytes]:
    """A process that relays."""
    return start(RELAY.format(source=source, target=target, options=options))


def stopped(process: subprocess.Popen[bytes]) -> str:
    """What a relay says when it is interrupted."""
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said.decode()
    return said.decode().strip()


def with_key(url: str, keys: str, db: int | None = None) -> str:
    return f"{url}{'' if db is None else f'?db={db}'}/{keys}"


def payloads(streamer: ss.Streamer, key: str) -> list[bytes]:
    return [message.payload for message in streamer[key]]


def add(client: redis.Redis, key: str, values: range) -> None:
    for value in values:
        client.xadd(key, {"msg": str(value)})


def test_standard_input_is_relayed_to_a_server_until_it_ends(
    url: str, streamer: ss.Streamer
) -> None:
    with relaying("stdio:///a", with_key(url, "copy")) as process:
        given = b"".join(b"[a] %d\n" % n for n in range(2_000)) + b"[b] no\nraw\n"
        printed, said = process.communicate(given, PATIENCE)
    assert said == b"2001\n"
    assert printed == b""
    assert payloads(streamer, "copy") == [b"%d" % n for n in range(2_000)] + [b"raw"]


def test_standard_input_is_relayed_to_standard_output() -> None:
    with relaying("stdio:///a", "stdio:///a") as process:
        given = b"[2022-01-01T00:00:00 | a | 7] x\n[a] y\n"
        printed, said = process.communicate(given, PATIENCE)
    assert said == b"2\n"
    assert [line.split(b" | ", 1)[1] for line in printed.splitlines()] == [b"a | 0] x", b"a | 1] y"]


def test_from_the_start_all_that_is_there_is_relayed_and_then_what_comes(
    url: str, client: redis.Redis
) -> None:
    add(client, "a", range(3))
    with relaying(with_key(url, "a,b"), with_key(url, "copy", db=1), offset="start") as process:
        with ss.connect(url, db=1) as other:
            assert eventually(lambda: other["copy"].count() == 3)
            add(client, "b", range(3, 5))
            assert eventually(lambda: other["copy"].count() == 5)
            assert payloads(other, "copy") == [b"%d" % n for n in range(5)]
        assert stopped(process) == "stopped 5"


def test_from_the_end_only_what_comes_is_relayed(
    url: str, client: redis.Redis, streamer: ss.Streamer
) -> None:
    add(client, "a", range(3))
    core = streamer._core
    running = portal.run(Running.start(core, ["a"], core, "copy"))
    add(client, "a", range(3, 5))
    task = portal.spawn(running.run())
    assert eventually(lambda: running.messages == 2)
    task.cancel()
    assert payloads(streamer, "copy") == [b"3", b"4"]


def test_a_group_goes_on_where_it_stopped_and_acknowledges_what_arrived(
    url: str, client: redis.Redis, streamer: ss.Streamer
) -> None:
    add(client, "a", range(100))
    how = {"offset": "start", "group": "g"}
    with relaying(with_key(url, "a"), with_key(url, "copy"), **how) as process:
        assert eventually(lambda: streamer["copy"].count() == 100)
        # Commits do not wait for more messages, nor for the end.
        assert eventually(lambda: client.xpending("a", "g")["pending"] == 0)
        assert stopped(process) == "stopped 100"
    add(client, "a", range(100, 150))
    with relaying(with_key(url, "a"), with_key(url, "copy"), **how) as process:
        assert eventually(lambda: streamer["copy"].count() == 150)
        assert stopped(process) == "stopped 50"
    assert client.xpending("a", "g")["pending"] == 0
    assert payloads(streamer, "copy") == [b"%d" % n for n in range(150)]


def test_a_relay_that_was_killed_loses_nothing(
    url: str, client: redis.Redis, streamer: ss.Streamer
) -> None:
    add(client, "a", range(5_000))
    how = {"offset": "start", "group": "g", "mode": "resumable"}
    with relaying(with_key(url, "a"), with_key(url, "copy"), **how) as process:
        assert eventually(lambda: client.xlen("copy") > 0)
        process.kill()
    with relaying(with_key(url, "a"), with_key(url, "copy"), **how) as process:
        assert eventually(lambda: client.xinfo_groups("a")[0]["last-delivered-id"] == last(client))
        assert eventually(lambda: client.xpending("a", "g")["pending"] == 0)
        assert stopped(process).startswith("stopped ")
    # Some may have come twice; without those they stand in their order.
    found = [int(payload) for payload in payloads(streamer, "copy")]
    assert list(dict.fromkeys(found)) == list(range(5_000))


def last(client: redis.Redis) -> bytes:
    """The id of the newest message to relay."""
    return client.xrevrange("a", count=1)[0][0]


def test_what_the_output_refuses_is_not_acknowledged(url: str, client: redis.Redis) -> None:
    client.set("copy", "no stream")
    add(client, "a", range(3))
    how = {"offset": "start", "group": "g"}
    with relaying(with_key(url, "a"), with_key(url, "copy"), **how) as process:
        said = process.communicate(timeout=PATIENCE)[1].decode()
    assert said.startswith("0 NotSent sending to 'copy': ")
    assert "WRONGTYPE" in said
    assert client.xpending("a", "g")["pending"] == 3


def test_a_message_that_the_output_cannot_hold_is_named_and_stays_with_the_group(
    url: str, client: redis.Redis
) -> None:
    add(client, "a", range(1))
    at = client.xadd("a", {"msg": "two\nlines"})
    how = {"offset": "start", "group": "g"}
    with relaying(with_key(url, "a"), "stdio:///out", **how) as process:
        printed, said = process.communicate(timeout=PATIENCE)
    assert printed.endswith(b"| out | 0] 0\n")
    assert said.decode().startswith(
        f"1 ConfigError entry {at.decode()} of 'a': a payload for 'out'"
    )
    assert [entry["message_id"] for entry in client.xpending_range("a", "g", "-", "+", 9)] == [at]


def test_a_reader_that_goes_away_ends_the_relay(url: str, client: redis.Redis) -> None:
    add(client, "a", range(1))
    with relaying(with_key(url, "a"), "stdio:///out", offset="start") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().endswith(b"] 0\n")
        process.stdout.close()
        add(client, "a", range(1, 2))
        said = process.stderr.read().decode()
        assert process.wait(PATIENCE) == 0
    assert said.startswith("1 NotSent sending to 'out': ")
    assert "Broken pipe" in said


def test_without_an_output_no_group_is_made(url: str, client: redis.Redis) -> None:
    add(client, "a", range(1))
    with pytest.raises(ss.errors.ConnectError):
        Relay(with_key(url, "a"), "redis+unix:///nowhere.sock/copy", group="g").run_blocking()
    assert client.xinfo_groups("a") == []


@pytest.mark.parametrize(
    ("source", "target", "error", "said"),
    [
        ("redis://h/a", "redis://h/a", ss.ConfigError, "would come back without end"),
        ("redis://h/b,a", "redis://u:p@h:6379/0/a", ss.ConfigError, "come back without end"),
        ("file:///x/y.ss/a", "file:///x/../x/y.ss/a", ss.ConfigError, "come back without end"),
        ("redis://h/", "redis://h/a", ss.ConfigError, "name the streams"),
        ("redis://h/a", "redis://h/", ss.StreamUrlError, "names no streams"),
        ("redis://h/a", "redis://h/b,c", ss.StreamUrlError, "names 2 streams"),
        ("redis://h", "redis://h/a", ss.StreamUrlError, "ends in a slash and their keys"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_opened(
    source: str, target: str, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        Relay(source, target)


def test_an_offset_and_a_mode_are_one_of_two() -> None:
    with pytest.raises(ss.ConfigError, match="offset='middle': choose one of 'start', 'end'"):
        Relay("redis://h/a", "redis://h/b", offset="middle")
    with pytest.raises(ss.ConfigError, match="mode='realtime': choose one of 'load_balanced'"):
        Relay("redis://h/a", "redis://h/b", mode="realtime")
