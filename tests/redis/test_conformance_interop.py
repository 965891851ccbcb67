"""Beside SeaStreamer's own processes, in the same groups: cases of section 10.9 of the spec.

The Rust side is played by its exact commands (`groups.Peer`), on each server of the matrix.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

import seastream_nb as ss
from tests.facades import PATIENCE
from tests.redis.consuming import numbers, payloads, send
from tests.redis.groups import Peer, all_acked, idle_ms, owners, pending, values

if TYPE_CHECKING:
    import redis

MODES = ["resumable", "load_balanced"]
# A consumer says once that it acknowledged entries which hold no message.
pytestmark = pytest.mark.filterwarnings("ignore:.*acknowledged unread:UserWarning")


def in_group(mode: str = "load_balanced", name: str = "c", **options: Any) -> dict[str, Any]:
    """Options of a consumer that acknowledges and commits by itself only."""
    own = {"mode": mode, "group": "g", "consumer_id": name}
    return {**own, "auto_stream_reset": "earliest", "auto_commit": "disabled", **options}


# One after the other, under the same name


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("batch", [1, 3, 100])
def test_what_a_rust_consumer_of_the_same_name_left_comes_first(
    matrix_client: redis.Redis, matrix_streamer: ss.Streamer, mode: str, batch: int
) -> None:
    send(matrix_client, "s", *range(10))
    rust = Peer(matrix_client, "c")
    rust.create_group()
    rust.ack(*[entry for entry, _ in rust.read(8)[:3]])
    consumer = matrix_streamer.consumer("s", **in_group(mode, batch_size=batch))
    got = consumer.take(7, PATIENCE)
    assert numbers(got) == [3, 4, 5, 6, 7, 8, 9]
    for message in got:
        consumer.ack(message)
    consumer.commit()
    assert pending(matrix_client) == 0


@pytest.mark.parametrize("mode", MODES)
def test_what_was_left_here_comes_first_to_a_rust_consumer_of_the_same_name(
    matrix_client: redis.Redis, matrix_streamer: ss.Streamer, mode: str
) -> None:
    send(matrix_client, "s", *range(8))
    consumer = matrix_streamer.consumer("s", **in_group(mode, batch_size=5))
    for message in consumer.take(5, PATIENCE)[:2]:
        consumer.ack(message)
    consumer.commit()
    consumer.abort()
    rust = Peer(matrix_client, "c")
    assert values(rust.read(100, after="0-0")) == [2, 3, 4]
    assert values(rust.read(100)) == [5, 6, 7]


def test_the_same_message_field_is_used_on_both_sides(
    matrix_url: str, matrix_client: redis.Redis
) -> None:
    matrix_client.xadd("s", {b"data": b"1", b"msg": b"another field"})
    Peer(matrix_client, "c").create_group()
    with ss.connect(matrix_url, message_field="data") as streamer:
        consumer = streamer.consumer("s", **in_group("resumable"))
        assert numbers([consumer.next(PATIENCE)]) == [1]
        streamer.producer("s").send("2").result(PATIENCE)
        assert numbers([consumer.next(PATIENCE)]) == [2]
    assert matrix_client.xrevrange("s", count=1)[0][1] == {b"data": b"2"}


# Side by side, in one group


def test_entries_of_a_dead_rust_consumer_are_claimed_under_the_own_name(
    matrix_client: redis.Redis, matrix_streamer: ss.Streamer
) -> None:
    send(matrix_client, "s", *range(20))
    rust = Peer(matrix_client, "rust")
    rust.create_group()
    rust.read(20)
    consumer = matrix_streamer.consumer(
        "s", **in_group(auto_claim_interval=0.1, auto_claim_idle=0.3)
    )
    got = consumer.take(20, PATIENCE)
    assert numbers(got) == list(range(20))
    assert set(owners(matrix_client).values()) == {"c"}
    for message in got:
        consumer.ack(message)
    consumer.commit()
    assert pending(matrix_client) == 0
    assert values(rust.read(100, after="0-0")) == []


def test_what_a_rust_rescuer_took_and_acked_is_not_delivered_again(
    matrix_client: redis.Redis, matrix_streamer: ss.Streamer
) -> None:
    # It claims under the dead consumer's name: ours, if it comes back.
    send(matrix_client, "s", *range(10))
    how = in_group(batch_size=10, auto_claim_interval=None)
    dead = matrix_streamer.consumer("s", **how)
    dead.take(10, PATIENCE)
    dead.abort()
    rust = Peer(matrix_client, "rust")
    rescued = rust.rescue("c", 0, 6)
    assert values(rescued) == [0, 1, 2, 3, 4, 5]
    assert set(owners(matrix_client).values()) == {"c"}
    rust.ack(*[entry for entry, _ in rescued])
    again = matrix_streamer.consumer("s", **how)
    assert numbers(again.take(4, PATIENCE)) == [6, 7, 8, 9]
    assert again.take(1, 0.1) == []


def test_new_entries_are_shared_with_a_rust_consumer(
    matrix_client: redis.Redis, matrix_streamer: ss.Streamer
) -> None:
    rust = Peer(matrix_client, "rust")
    rust.create_group()
    consumer = matrix_streamer.consumer("s", **in_group(batch_size=1))
    send(matrix_client, "s", *range(10))
    got: list[int] = []
    for _ in range(5):
        got += numbers([consumer.next(PATIENCE)])
        got += values(rust.read(1))
    assert sorted(got) == list(range(10))


def test_a_live_consumer_that_holds_messages_on_a_quiet_stream_never_looks_dead(
    matrix_client: redis.Redis, matrix_streamer: ss.Streamer
) -> None:
    # Before Redis 7.2, a read that brings nothing does not count as a sign of life.
    send(matrix_client, "s", *range(3))
    how = in_group(auto_claim_interval=0.1, auto_claim_idle=0.6, batch_size=3)
    consumer = matrix_streamer.consumer("s", **how)
    held = consumer.take(3, PATIENCE)
    rust = Peer(matrix_client, "rust")
    until = time.monotonic() + 1.5
    longest = 0
    while time.monotonic() < until:
        longest = max(longest, idle_ms(matrix_client, "c"))
        assert rust.rescue("c", 600, 10) == []
        time.sleep(0.02)
    assert longest < 600
    assert set(owners(matrix_client).values()) == {"c"}
    times = matrix_client.xpending_range("s", "g", "-", "+", 10)
    assert [each["times_delivered"] for each in times] == [1, 1, 1]
    for message in held:
        consumer.ack(message)
    consumer.commit()
    assert pending(matrix_client) == 0


def test_a_lease_is_renewed_for_max_hold_only(
    matrix_client: redis.Redis, matrix_streamer: ss.Streamer
) -> None:
    send(matrix_client, "s", *range(3))
    how = {"auto_claim_interval": 0.1, "auto_claim_idle": 0.3}
    stuck = matrix_streamer.consumer("s", **in_group(name="stuck", max_hold=0.5, **how))
    assert numbers(stuck.take(3, PATIENCE)) == [0, 1, 2]
    other = matrix_streamer.consumer("s", **in_group(name="other", **how))
    assert numbers(other.take(3, PATIENCE)) == [0, 1, 2]


def test_the_group_ids_of_a_rust_process_on_this_host_are_the_defaults(
    matrix_url: str, matrix_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(matrix_client, "s", 1)
    with ss.connect(matrix_url) as streamer:
        resumable = streamer.consumer("s", mode="resumable", auto_stream_reset="earliest")
        host, kind = resumable.group_id.rsplit(":", 1)
        assert kind == "r"
        assert host
        assert resumable.consumer_id == resumable.group_id
        named = streamer.consumer("s", mode="resumable", group="mine")
        assert (named.group_id, named.consumer_id) == ("mine", "mine")
        balanced = streamer.consumer("s", mode="load_balanced")
        assert balanced.group_id == f"{host}:s"
        process, thread, started = balanced.consumer_id.removeprefix(f"{host}:").split(":")
        assert process.isdigit()
        assert thread.isdigit()
        assert abs(int(started) - time.time_ns()) < 60 * 10**9
    names = {each["name"].decode() for each in matrix_client.xinfo_groups("s")}
    assert names == {f"{host}:r", f"{host}:s", "mine"}


# What stands in an entry


@pytest.mark.parametrize("mode", [*MODES, "realtime"])
def test_an_entry_with_the_field_twice_is_two_messages_and_one_ack(
    matrix_client: redis.Redis, matrix_streamer: ss.Streamer, mode: str
) -> None:
    matrix_client.execute_command("XADD", "s", "*", "msg", "1", "x", "y", "msg", "2")
    send(matrix_client, "s", 3)
    how = in_group(mode, batch_size=1)
    consumer = matrix_streamer.consumer("s", **how)
    got = consumer.take(3, PATIENCE)
    assert numbers(got) == [1, 2, 3]
    assert got[0].id == got[1].id
    if mode != "realtime":
        for message in got:
            consumer.ack(message)
        consumer.commit()
        assert pending(matrix_client) == 0


@pytest.mark.parametrize("auto_commit", ["immediate", "delayed", "rolling", "disabled"])
@pytest.mark.parametrize("mode", [*MODES, "realtime"])
def test_an_entry_without_the_field_between_two_others_is_passed_and_acked(
    matrix_client: redis.Redis, matrix_streamer: ss.Streamer, mode: str, auto_commit: str
) -> None:
    send(matrix_client, "s", 1)
    matrix_client.xadd("s", {b"other": b"x"})
    matrix_client.xadd("s", {b"\xff": b"a name that is no text"})
    send(matrix_client, "s", 2)
    consumer = matrix_streamer.consumer(
        "s", **in_group(mode, auto_commit=auto_commit, batch_size=1)
    )
    got = consumer.take(2, PATIENCE)
    assert numbers(got) == [1, 2]
    if mode != "realtime":
        if auto_commit in ("rolling", "disabled"):
            for message in got:
                consumer.ack(message)
        consumer.end()
        assert all_acked(matrix_client)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("gone", [[0, 1], [2], [4, 5], [0, 1, 2, 3, 4, 5]])
def test_deleted_entries_do_not_stop_the_replay_and_do_not_stay_pending(
    matrix_client: redis.Redis, matrix_streamer: ss.Streamer, mode: str, gone: list[int]
) -> None:
    ids = send(matrix_client, "s", *range(6))
    rust = Peer(matrix_client, "c")
    rust.create_group()
    rust.read(6)
    matrix_client.xdel("s", *[ids[at] for at in gone])
    send(matrix_client, "s", 6)
    consumer = matrix_streamer.consumer("s", **in_group(mode, batch_size=1))
    left = [at for at in range(7) if at not in gone]
    got = consumer.take(len(left), PATIENCE)
    assert numbers(got) == left
    for message in got:
        consumer.ack(message)
    consumer.commit()
    assert all_acked(matrix_client)


@pytest.mark.parametrize("auto_commit", ["delayed", "immediate"])
def test_an_end_within_the_delay_commits_what_was_taken(
    matrix_client: redis.Redis, matrix_streamer: ss.Streamer, auto_commit: str
) -> None:
    send(matrix_client, "s", *range(5))
    consumer = matrix_streamer.consumer(
        "s", **in_group("resumable", auto_commit=auto_commit, auto_commit_delay=60)
    )
    assert payloads(consumer.take(3, PATIENCE)) == [b"0", b"1", b"2"]
    consumer.end()
    rust = Peer(matrix_client, "c")
    waiting = values(rust.read(10, after="0-0")) + values(rust.read(10))
    assert waiting == [3, 4]
