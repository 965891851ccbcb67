"""The numbered defects of the reference (section 11 of the spec): for each, the better behaviour.

Where other tests show it already, a part of their names stands here instead of a repetition.

     1  errors read as nothing      is_told_once_and_reading_goes_on
     2  replay after a reconnect    is_recovered_from_the_own_pending_list, is_delivered_late_over
     3  replay stops too early      here; do_not_stop_the_replay
     4  entries without the field   between_two_others_is_passed_and_acked
     5  acks that are never freed   nothing_grows_while_messages_pass; here
     6  assigning a shard           shard_is_read_from_the_next_rewind_on; here
     7  reading on after a seek     here
     8  no way back after a seek    here
     9  ack of a foreign shard      here
    10  a name that is no text      between_two_others_is_passed_and_acked
    11  a seek that is cancelled    here
    12  end within the delay        within_the_delay_commits, although_the_links_have_just_broken
    13  creation that is cut off    is_created_although_the_link_breaks
    14  a gap after creation        here
    15  claimed twice               here
    16  claims that go no further   here
    17  a claim that is cut off     a_claim_whose_link_breaks_is_made_again
    18  claims for the dead         here; are_claimed_under_the_own_name
    19  a claim during a replay     here
    20  a quiet consumer            never_looks_dead
    21  rewind to the end           sent_right_after_rewinding_to_the_end; here
    22  answers on an idle stream   here
    23  the same key twice          here
    24  which keys are shards       suffixes_that_are_no_numbers; here
    25  LOADING, READONLY           loads_its_data_is_waited_for, becomes_a_replica_is_left
    26  immediate replays           here
    27  large ids                   ids_of_the_full_64, that_a_sequence_number_cannot_hold
    28  a time before 1970          before_everything_begins_with_the_first
    29  unassign of the last shard  next_times_out_until_one_is_assigned
    30  commits that fail           here
    31  delays and intervals        here
    32  iteration after the end     consumer_says_so_and_may_be_ended_again
    33  options                     a_consumer_option_that_cannot_be_meant; here
    34  the server's text           in_the_middle_of_a_pipeline_fails, another_type_fails_alone
    35  timestamps                  a_timestamp_is_the_time_of_the_entry
    36  one round trip a message    many_messages_over_eight_shards; also `make bench`
    37  sent twice                  may_have_been_sent_and_are_not_sent_again
    38  flush that says nothing     first_failure_that_nobody_has_seen, that_the_queue_is_full
    39  trim                        trim_reads_times_in_the_unit, trim_keeps_the_newest
    40  sharders                    random_shards_are_spread_evenly, no_shards_or_half_a_shard
    41  the reserved key            a_key_that_seastreamer_forbids_is_refused
    42  nanoseconds and clocks      nanosecond_times_do_not_overtake_each_other
    43  time limits                 a_half_open_link_is_given_up, a_silent_server_costs_the_timeout
    44  parts of a URL              test_credentials, test_nodes_and_database
    45  disconnect                  closing_the_streamer_ends_its_consumers
    46  errors read as empty        test_a_key_of_another_type
    47  the host id                 here
    48  the empty key               a_key_that_seastreamer_forbids_is_refused

Left out: 49, the reference's own command line programs, which have no twin here yet; 50, clusters,
which are not supported yet; of 31 the wall clock, which no test can set: timers here are of the
monotonic one; and of 47 a host without a network interface.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import pytest

import seastream_nb as ss
from tests.facades import PATIENCE
from tests.redis.consuming import calls, numbers, send
from tests.redis.groups import Peer, all_acked, owners, pending
from tests.redis.test_conformance_interop import MODES, in_group
from tests.servers import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis

# A consumer says once that it acknowledged entries which hold no message.
pytestmark = pytest.mark.filterwarnings("ignore:.*acknowledged unread:UserWarning")
COMMITS = ["immediate", "delayed", "rolling", "disabled"]


def acknowledge(consumer: ss.Consumer, messages: list[ss.Message]) -> None:
    for message in messages:
        consumer.ack(message)


def test_the_table_above_names_tests_that_exist() -> None:
    written = "".join(file.read_text() for file in Path(__file__).parents[1].rglob("test_*.py"))
    names = set(re.findall(r"def (test_\w+)", written))
    rows = re.findall(r"^ {4}[ \d]\d {2}\S.{25} (.*)$", __doc__, re.MULTILINE)
    own = {int(number) for name in names for number in re.findall(r"^test_(\d+)_", name)}
    own |= {9 for name in names if name.startswith("test_5_and_9")}
    assert len(rows) == 48
    for number, row in enumerate(rows, start=1):
        parts = [part for part in re.findall(r"[a-z0-9_]+", row) if "_" in part]
        assert not [part for part in parts if not any(part in name for name in names)]
        assert parts or "here" in row
        assert number in own or "here" not in row


# Replay


@pytest.mark.parametrize("batch", [1, 100])
def test_3_pending_entries_without_the_field_do_not_stop_the_replay(
    matrix_client: redis.Redis, matrix_streamer: ss.Streamer, batch: int
) -> None:
    for n in range(3):
        matrix_client.xadd("s", {b"other": b"x"})
        send(matrix_client, "s", n)
    rust = Peer(matrix_client, "c")
    rust.create_group()
    rust.read(100)
    consumer = matrix_streamer.consumer("s", **in_group("resumable", batch_size=batch))
    acknowledge(consumer, got := consumer.take(3, PATIENCE))
    assert numbers(got) == [0, 1, 2]
    consumer.commit()
    assert all_acked(matrix_client)


@pytest.mark.parametrize("mode", MODES)
def test_26_immediate_delivers_and_acks_what_was_pending(
    matrix_client: redis.Redis, matrix_streamer: ss.Streamer, mode: str
) -> None:
    send(matrix_client, "s", *range(5))
    rust = Peer(matrix_client, "c")
    rust.create_group()
    rust.read(5)
    consumer = matrix_streamer.consumer("s", **in_group(mode, auto_commit="immediate"))
    assert numbers(consumer.take(5, PATIENCE)) == [0, 1, 2, 3, 4]
    consumer.end()
    assert pending(matrix_client) == 0
    again = matrix_streamer.consumer("s", **in_group(mode, auto_commit="immediate"))
    send(matrix_client, "s", 5)
    assert numbers([again.next(PATIENCE)]) == [5]


# Where reading begins


@pytest.mark.parametrize("auto_commit", COMMITS)
@pytest.mark.parametrize("mode", MODES)
def test_14_nothing_sent_after_the_creation_of_a_consumer_is_missed(
    client: redis.Redis, streamer: ss.Streamer, mode: str, auto_commit: str
) -> None:
    send(client, "s", "history")
    how = in_group(mode, auto_commit=auto_commit, auto_stream_reset="latest")
    consumer = streamer.consumer("s", **how)
    send(client, "s", 1, 2)
    assert numbers(consumer.take(2, PATIENCE)) == [1, 2]


@pytest.mark.parametrize("mode", [*MODES, "realtime"])
def test_23_a_key_that_is_given_twice_is_read_once(
    client: redis.Redis, streamer: ss.Streamer, mode: str
) -> None:
    send(client, "s", *range(250))
    consumer = streamer.consumer("s", "s", b"s", **in_group(mode))
    assert numbers(consumer.take(251, 0.2)) == list(range(250))
    assert consumer.stream_shards == [("s", 0)]


@pytest.mark.parametrize("mode", ["load_balanced", "realtime"])
def test_24_a_shard_that_comes_later_is_read_without_a_restart(
    client: redis.Redis, streamer: ss.Streamer, mode: str
) -> None:
    send(client, "s:1", 1)
    client.set("s:2", "no stream")
    send(client, "s:x", "another stream")
    consumer = streamer.consumer("s", **in_group(mode))
    assert numbers([consumer.next(PATIENCE)]) == [1]
    send(client, "s:7", 7)
    message = consumer.next(PATIENCE)
    assert (message.shard, message.payload) == (7, b"7")


# Seek, rewind, assign


@pytest.mark.parametrize("auto_commit", COMMITS)
@pytest.mark.parametrize("mode", MODES)
def test_8_after_a_seek_resume_group_goes_on_at_the_groups_own_position(
    client: redis.Redis, streamer: ss.Streamer, mode: str, auto_commit: str
) -> None:
    ids = send(client, "s", *range(30))
    how = in_group(mode, auto_commit=auto_commit, batch_size=10)
    consumer = streamer.consumer("s", **how)
    got = consumer.take(5, PATIENCE)
    if auto_commit in ("rolling", "disabled"):
        acknowledge(consumer, got)
    for _ in range(2):
        consumer.seek(ids[20])
        assert numbers(consumer.take(2, PATIENCE)) == [21, 22]
    consumer.resume_group()
    assert numbers(consumer.take(25, PATIENCE)) == list(range(5, 30))


def test_8_a_seek_before_the_first_message_leaves_the_group_where_it_was_created(
    client: redis.Redis, streamer: ss.Streamer
) -> None:
    ids = send(client, "s", *range(10))
    consumer = streamer.consumer("s", **in_group())
    consumer.seek(ids[7])
    assert numbers(consumer.take(2, PATIENCE)) == [8, 9]
    assert [each["name"] for each in client.xinfo_groups("s")] == [b"g"]
    assert pending(client) == 0
    consumer.end()
    assert numbers(streamer.consumer("s", **in_group()).take(10, PATIENCE)) == list(range(10))


@pytest.mark.parametrize("auto_commit", COMMITS)
@pytest.mark.parametrize("mode", MODES)
def test_7_after_a_seek_no_more_than_a_page_is_read_ahead(
    client: redis.Redis, streamer: ss.Streamer, mode: str, auto_commit: str
) -> None:
    send(client, "s", *range(300))
    how = in_group(mode, auto_commit=auto_commit, batch_size=10)
    consumer = streamer.consumer("s", **how)
    consumer.rewind("beginning")
    before = calls(client, "xread")
    consumer.next(PATIENCE)
    for _ in range(20):
        streamer.catalog()  # the same event loop, behind whatever the consumer would ask
    assert calls(client, "xread") - before <= 2
    assert numbers(consumer.take(299, PATIENCE)) == list(range(1, 300))


async def test_11_a_seek_that_is_cancelled_leaves_the_consumer_where_it_was(
    url: str, client: redis.Redis
) -> None:
    send(client, "s", *range(30))
    async with ss.connect_async(url) as streamer:
        consumer = await streamer.consumer("s", **in_group("resumable", batch_size=10))
        assert numbers(await consumer.take(5, PATIENCE)) == list(range(5))
        client.execute_command("CLIENT", "PAUSE", 200)
        seek = asyncio.create_task(consumer.seek("latest"))
        await asyncio.sleep(0)
        seek.cancel()
        with pytest.raises(asyncio.CancelledError):
            await seek
        assert numbers(await consumer.take(25, PATIENCE)) == list(range(5, 30))


@pytest.mark.parametrize("mode", MODES)
def test_21_a_message_sent_right_after_rewinding_to_the_end_is_received(
    client: redis.Redis, streamer: ss.Streamer, mode: str
) -> None:
    send(client, "s", "old")
    consumer = streamer.consumer("s", "absent", **in_group(mode, mkstream=True))
    for turn in range(5):
        send(client, "s", "old", "older")
        consumer.rewind("end")
        send(client, "s", turn)
        send(client, "absent", turn)
        assert numbers(consumer.take(2, PATIENCE)) == [turn, turn]


@pytest.mark.parametrize("mode", MODES)
def test_6_an_assigned_shard_that_nobody_discovered_is_read_in_its_group(
    client: redis.Redis, streamer: ss.Streamer, mode: str
) -> None:
    send(client, "s:1", 1)
    consumer = streamer.consumer("s", **in_group(mode))
    assert numbers([consumer.next(PATIENCE)]) == [1]
    send(client, "s:3", 3)
    consumer.assign("s", 3)
    consumer.rewind("beginning")
    assert sorted(numbers(consumer.take(2, PATIENCE))) == [1, 3]
    assert ("s", 3) in consumer.stream_shards


# Acks and commits


@pytest.mark.parametrize("mode", MODES)
def test_9_the_ack_of_a_foreign_stream_is_an_error_and_the_consumer_goes_on(
    client: redis.Redis, streamer: ss.Streamer, mode: str
) -> None:
    send(client, "s", 0, 1)
    send(client, "t", 9)
    foreign = next(iter(streamer["t"]))
    consumer = streamer.consumer("s", **in_group(mode))
    acknowledge(consumer, [consumer.next(PATIENCE)])
    with pytest.raises(ss.StreamError, match="'t'"):
        consumer.ack(foreign)
    consumer.commit()
    assert numbers([consumer.next(PATIENCE)]) == [1]


@pytest.mark.parametrize("auto_commit", COMMITS)
def test_5_and_9_which_acks_and_commits_a_consumer_takes(
    client: redis.Redis, streamer: ss.Streamer, auto_commit: str
) -> None:
    send(client, "s", 0)
    consumer = streamer.consumer("s", **in_group("resumable", auto_commit=auto_commit))
    message = consumer.next(PATIENCE)
    if auto_commit == "delayed":
        with pytest.raises(ss.AckNotAllowed, match="delayed"):
            consumer.ack(message)
    else:
        consumer.ack(message)
        consumer.ack(message.header)
    if auto_commit in ("delayed", "rolling"):
        with pytest.raises(ss.CommitNotAllowed, match=auto_commit):
            consumer.commit()
    else:
        consumer.commit()
    consumer.commit_asap()
    consumer.end()
    assert pending(client) == 0


def test_22_delayed_acks_are_committed_although_nobody_reads_on(
    client: redis.Redis, streamer: ss.Streamer
) -> None:
    ids = send(client, "s", *range(10))
    how = in_group("resumable", auto_commit="delayed", auto_commit_delay=0.2, batch_size=10)
    consumer = streamer.consumer("s", **how)
    consumer.take(3, PATIENCE)
    assert len(owners(client)) == 10
    rest = [each.decode() for each in ids[3:]]
    assert eventually(lambda: list(owners(client)) == rest)


def test_31_delayed_acks_do_not_wait_for_the_interval(
    client: redis.Redis, streamer: ss.Streamer
) -> None:
    send(client, "s", *range(3))
    how = {"auto_commit": "delayed", "auto_commit_delay": 0, "auto_commit_interval": 600}
    consumer = streamer.consumer("s", **in_group("resumable", **how))
    consumer.take(3, PATIENCE)
    assert all_acked(client)


def test_31_an_option_without_effect_does_not_exist(streamer: ss.Streamer) -> None:
    with pytest.raises(ss.ConfigError, match="consumer_timeout"):
        streamer.consumer("s", consumer_timeout=1)  # type: ignore[call-arg]


MOVES: dict[str, Callable[[ss.Consumer], object]] = {
    "seek": lambda consumer: consumer.seek("latest"),
    "rewind": lambda consumer: consumer.rewind("end"),
    "resume_group": lambda consumer: consumer.resume_group(),
    "commit": lambda consumer: consumer.commit(),
}


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("mode", MODES)
def test_22_an_idle_consumer_answers_at_once(
    client: redis.Redis, streamer: ss.Streamer, mode: str, move: str
) -> None:
    send(client, "s", 0)
    consumer = streamer.consumer("s", **in_group(mode))
    acknowledge(consumer, [consumer.next(PATIENCE)])
    taken = []
    for _ in range(5):
        with pytest.raises(TimeoutError):
            consumer.next(0.02)  # a read blocks at the server now
        started = time.monotonic()
        MOVES[move](consumer)
        taken.append(time.monotonic() - started)
    assert median(taken) < 0.2


@pytest.mark.parametrize("auto_commit", COMMITS)
@pytest.mark.parametrize("mode", MODES)
def test_22_an_idle_consumer_ends_at_once(
    client: redis.Redis, streamer: ss.Streamer, mode: str, auto_commit: str
) -> None:
    send(client, "s", 0)
    taken = []
    for turn in range(3):
        how = in_group(mode, f"c{turn}", auto_commit=auto_commit)
        consumer = streamer.consumer("s", **how)
        assert len(consumer.take(2, 0.05)) == (turn == 0)
        started = time.monotonic()
        consumer.end()
        taken.append(time.monotonic() - started)
    assert median(taken) < 0.2


def test_30_many_acks_are_few_commands_of_bounded_size(
    client: redis.Redis, streamer: ss.Streamer
) -> None:
    with client.pipeline(transaction=False) as pipeline:
        for n in range(20_000):
            pipeline.xadd("s", {b"msg": b"%d" % n})
        pipeline.execute()
    consumer = streamer.consumer("s", **in_group("resumable", batch_size=1000))
    acknowledge(consumer, consumer.take(20_000, PATIENCE))
    before = calls(client, "xack")
    consumer.commit()
    assert pending(client) == 0
    assert 2 <= calls(client, "xack") - before <= 200


def test_30_a_commit_that_fails_on_one_stream_is_told_and_reaches_the_others(
    client: redis.Redis, streamer: ss.Streamer
) -> None:
    keys = ["a", "b", "c"]
    for key in keys:
        send(client, key, 1)
    consumer = streamer.consumer(*keys, **in_group("resumable"))
    acknowledge(consumer, consumer.take(3, PATIENCE))
    client.set("b", "x")
    with pytest.raises(ss.StreamError, match="'b'"):
        consumer.commit()
    assert [pending(client, key) for key in ("a", "c")] == [0, 0]


# Claims


def dead_consumers(client: redis.Redis, shares: dict[str, int], key: str = "s") -> None:
    """Consumers of a group that each read so many entries and died."""
    Peer(client, "nobody", key=key).create_group()
    for name, share in shares.items():
        assert len(Peer(client, name, key=key).read(share)) == share


CLAIMING = {"auto_claim_interval": 0.1, "auto_claim_idle": 0.5}


def test_15_a_claimed_message_that_takes_long_is_not_delivered_again(
    client: redis.Redis, streamer: ss.Streamer
) -> None:
    send(client, "s", *range(3))
    dead_consumers(client, {"dead": 3})
    consumer = streamer.consumer("s", **in_group(batch_size=1, **CLAIMING))
    got = consumer.take(3, PATIENCE)
    assert numbers(got) == [0, 1, 2]
    assert consumer.take(1, 1.0) == []
    acknowledge(consumer, got)
    consumer.commit()
    assert pending(client) == 0


def test_16_idle_entries_behind_many_fresh_ones_are_claimed(
    client: redis.Redis, streamer: ss.Streamer
) -> None:
    # One XAUTOCLAIM looks at ten times its COUNT entries.
    ids = send(client, "s", *range(520))
    dead_consumers(client, {"busy": 500, "dead": 20})
    how = in_group(batch_size=10, auto_claim_interval=0.1, auto_claim_idle=1.0)
    consumer = streamer.consumer("s", **how)
    got: list[ss.Message] = []
    thread = threading.Thread(target=lambda: got.extend(consumer.take(20, PATIENCE)))
    thread.start()
    while thread.is_alive():
        client.xclaim("s", "g", "busy", 0, ids[:500], justid=True)
        thread.join(0.1)
    assert numbers(got) == list(range(500, 520))
    assert list(owners(client).values()).count("busy") == 500


def test_18_every_dead_consumer_of_every_shard_is_found(
    matrix_client: redis.Redis, matrix_streamer: ss.Streamer
) -> None:
    for shard in range(3):
        send(matrix_client, f"s:{shard}", *range(shard * 10, shard * 10 + 10))
        dead_consumers(matrix_client, {"one": 4, "other": 6}, key=f"s:{shard}")
    consumer = matrix_streamer.consumer("s", **in_group(batch_size=3, **CLAIMING))
    assert sorted(numbers(consumer.take(30, PATIENCE))) == list(range(30))
    assert {*owners(matrix_client, "s:0").values(), *owners(matrix_client, "s:2").values()} == {"c"}


def test_18_two_rescuers_never_get_the_same_message(
    client: redis.Redis, streamer: ss.Streamer
) -> None:
    send(client, "s", *range(200))
    dead_consumers(client, {"dead": 200})
    rescuers = [
        streamer.consumer("s", **in_group(name=name, batch_size=5, **CLAIMING))
        for name in ("one", "other")
    ]
    got: list[int] = []

    def rescue(consumer: ss.Consumer) -> None:
        while len(got) < 200:
            got.extend(numbers(consumer.take(5, 0.1)))

    threads = [threading.Thread(target=rescue, args=(each,)) for each in rescuers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(got) == list(range(200))
    assert [each.take(1, 0.05) for each in rescuers] == [[], []]


def test_19_a_claim_during_a_long_replay_skips_nothing(
    client: redis.Redis, streamer: ss.Streamer
) -> None:
    send(client, "s", *range(60))
    dead_consumers(client, {"c": 20, "dead": 30})
    consumer = streamer.consumer("s", **in_group(batch_size=1, **CLAIMING))
    got: list[int] = []
    while len(got) < 60:
        got += numbers(consumer.take(1, PATIENCE))
        time.sleep(0.005)  # the replay takes longer than the time to a claim
    assert sorted(got) == list(range(60))
    assert [n for n in got if n < 20] == list(range(20))


# Identity and options


def test_33_owned_shards_are_refused_at_creation(streamer: ss.Streamer) -> None:
    with pytest.raises((ss.ConfigError, ss.Unsupported), match="owned"):
        streamer.consumer("s", **in_group(shard_ownership="owned"))


def test_47_the_host_of_a_group_id_is_that_of_the_environment(
    url: str, client: redis.Redis
) -> None:
    send(client, "s", 1)
    program = f"""
import seastream_nb as ss
with ss.connect({url!r}) as streamer:
    consumer = streamer.consumer("s", mode="resumable", auto_stream_reset="earliest")
    print(consumer.group_id, consumer.next(20).text())
"""
    said = subprocess.check_output(
        [sys.executable, "-c", program], text=True, env={**os.environ, "HOST_ID": "a host"}
    )
    assert said == "a host:r 1\n"
    assert [each["name"] for each in client.xinfo_groups("s")] == [b"a host:r"]
    assert pending(client, "s", "a host:r") == 0
