"""Faults of the links between group consumers and their server (F05-F09, F25 of the scorecard).

The oracles are on entry ids: everything in the stream is delivered, nothing twice, nothing is left
pending (O5), nothing leaks (O8), and only our own errors are raised (O9).
"""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import seastream_nb as ss
from tests.facades import PATIENCE
from tests.redis.consuming import calls, numbers, send
from tests.redis.crew import crew, judge
from tests.redis.groups import Peer, all_acked, owners, pending
from tests.redis.test_conformance_interop import in_group
from tests.servers import LANES, TcpServer, eventually, plain_client

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

    from tests.redis.proxy import Proxy

pytestmark = pytest.mark.usefixtures("no_complaints")


@pytest.fixture
def direct(matrix_tcp: TcpServer) -> Iterator[redis.Redis]:
    """A plain client beside the proxy."""
    with plain_client(matrix_tcp.url) as client:
        yield client


def blocked(client: redis.Redis) -> bool:
    return bool(client.info("clients")["blocked_clients"])


def test_links_that_are_reset_again_and_again_lose_and_repeat_nothing(
    proxy: Proxy, matrix_tcp: TcpServer
) -> None:
    """F05."""
    chance = random.Random(5)
    with crew(proxy.url, matrix_tcp.url) as hired:
        for name in ("one", "two", "three"):
            hired.hire(name)
        hired.start_writing()
        for _ in range(20):
            time.sleep(chance.uniform(0.01, 0.1))
            proxy.rst()
        judge(hired)


def test_links_that_are_closed_while_nothing_happens_are_no_news(
    proxy: Proxy, direct: redis.Redis
) -> None:
    """F06."""
    with ss.connect(proxy.url) as streamer:
        consumer = streamer.consumer("s", **in_group("resumable", mkstream=True))
        for n in range(5):
            with pytest.raises(TimeoutError):
                consumer.next(0.02)
            proxy.fin()
            send(direct, "s", n)
            message = consumer.next(PATIENCE)
            assert numbers([message]) == [n]
            consumer.ack(message)
            proxy.fin()
            consumer.commit()
        assert pending(direct) == 0


@pytest.mark.parametrize("mode", ["blackhole", "blackhole_down"])
def test_a_half_open_link_is_given_up_and_nothing_is_lost(
    proxy: Proxy, matrix_tcp: TcpServer, mode: Any
) -> None:
    """F07, F08."""
    with crew(proxy.url, matrix_tcp.url) as hired:
        for name in ("one", "two"):
            hired.hire(name, timeout=0.5)
        hired.start_writing()
        assert eventually(lambda: len(hired.delivered()) > 100)
        proxy.mode = mode
        time.sleep(2.0)
        proxy.mode = "pass"
        judge(hired)


@pytest.mark.parametrize("silent", [False, True], ids=["reset", "half open"])
@pytest.mark.parametrize("mode", ["resumable", "load_balanced"])
def test_a_read_that_is_delivered_late_over_its_old_link_strands_nothing(
    proxy: Proxy, direct: redis.Redis, mode: str, silent: bool
) -> None:
    """F09. The server must not serve a link that its client has given up."""
    send(direct, "s", *range(10))
    with ss.connect(proxy.url, timeout=0.5) as streamer:
        consumer = streamer.consumer("s", **in_group(mode, batch_size=1))
        before = calls(direct, "xreadgroup")
        proxy.deliver_late(2.0 if silent else 0.3, silent=silent)
        got = [consumer.next(PATIENCE)]
        time.sleep(0.8)  # until the old request has been delivered
        got += consumer.take(9, PATIENCE)
        assert numbers(got) == list(range(10))
        assert calls(direct, "xreadgroup") > before
        for message in got:
            consumer.ack(message)
        consumer.commit()
    assert pending(direct) == 0


@pytest.mark.parametrize("matrix_tcp", LANES, indirect=True)
@pytest.mark.parametrize("mode", ["resumable", "load_balanced"])
def test_a_read_whose_reply_is_lost_is_recovered_from_the_own_pending_list(
    proxy: Proxy, direct: redis.Redis, mode: str
) -> None:
    """Defect 2: at once, not when the consumer restarts."""
    with ss.connect(proxy.url) as streamer:
        consumer = streamer.consumer("s", **in_group(mode, mkstream=True))
        got: list[ss.Message] = []
        for turn in range(5):
            reader = threading.Thread(target=lambda: got.extend(consumer.take(3, PATIENCE)))
            reader.start()
            assert eventually(lambda: blocked(direct))
            proxy.lose_reply()
            for n in range(3):
                send(direct, "s", 3 * turn + n)
            reader.join(PATIENCE)
            assert numbers(got) == list(range(3 * turn + 3))
        for message in got:
            consumer.ack(message)
        proxy.disarm()
        consumer.commit()
    assert pending(direct) == 0


@pytest.mark.parametrize("auto_commit", ["immediate", "delayed", "rolling", "disabled"])
def test_a_reply_that_is_cut_anywhere_loses_and_repeats_nothing(
    proxy: Proxy, direct: redis.Redis, auto_commit: str
) -> None:
    send(direct, "s", *range(300))
    how = in_group("resumable", auto_commit=auto_commit, auto_commit_delay=0, batch_size=10)
    chance = random.Random(2)
    with ss.connect(proxy.url) as streamer:
        consumer = streamer.consumer("s", **how)
        got: list[ss.Message] = []
        while len(got) < 300:
            proxy.cut_reply(chance.randrange(600))
            taken = consumer.take(20, PATIENCE)
            got += taken
            if auto_commit in ("rolling", "disabled"):
                for message in taken:
                    consumer.ack(message)
        assert numbers(got) == list(range(300))
        proxy.disarm()
        consumer.end()
    assert pending(direct) == 0


def test_the_group_is_created_although_the_link_breaks_meanwhile(
    proxy: Proxy, direct: redis.Redis
) -> None:
    """Defect 13."""
    for turn in range(12):
        send(direct, "s", turn)
        with ss.connect(proxy.url) as streamer:
            proxy.cut_reply(turn * 3)
            how = in_group("resumable", group=f"g{turn}", consumer_id="c")
            consumer = streamer.consumer("s", **how)
            assert numbers(consumer.take(turn + 1, PATIENCE)) == list(range(turn + 1))
            proxy.disarm()


def test_a_claim_whose_link_breaks_is_made_again(proxy: Proxy, direct: redis.Redis) -> None:
    """Defect 17."""
    send(direct, "s", *range(40))
    dead = Peer(direct, "dead")
    dead.create_group()
    dead.read(40)
    how = in_group(batch_size=5, auto_claim_interval=0.1, auto_claim_idle=0.3)
    with ss.connect(proxy.url) as streamer:
        consumer = streamer.consumer("s", **how)
        got: list[ss.Message] = []
        claims = calls(direct, "xautoclaim")
        while len(got) < 40:
            proxy.lose_reply()
            got += consumer.take(5, 0.2)
        assert numbers(sorted(got, key=lambda message: message.entry_id)) == list(range(40))
        assert calls(direct, "xautoclaim") > claims
        assert set(owners(direct).values()) == {"c"}
        proxy.disarm()
        for message in got:
            consumer.ack(message)
        consumer.commit()
    assert pending(direct) == 0


def test_a_commit_whose_answer_is_lost_is_no_loss(proxy: Proxy, direct: redis.Redis) -> None:
    send(direct, "s", *range(50))
    with ss.connect(proxy.url) as streamer:
        consumer = streamer.consumer("s", **in_group("resumable"))
        for message in consumer.take(50, PATIENCE):
            consumer.ack(message)
        proxy.lose_reply()
        consumer.commit()
        assert pending(direct) == 0
        assert consumer.take(1, 0.05) == []
        proxy.disarm()


def test_an_end_commits_although_the_links_have_just_broken(
    proxy: Proxy, direct: redis.Redis
) -> None:
    """Defect 12: the reference drops every ack then, and says that all is well."""
    send(direct, "s", *range(50))
    with ss.connect(proxy.url) as streamer:
        how = in_group("resumable", auto_commit="delayed", auto_commit_delay=60, batch_size=50)
        consumer = streamer.consumer("s", **how)
        consumer.take(50, PATIENCE)
        proxy.rst()
        consumer.end()
    assert all_acked(direct)
