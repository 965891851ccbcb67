"""`idempotent=True`: a message is in its stream once, whatever breaks in between."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import seastream_nb as ss
from seastream_nb.errors import (
    AuthError,
    ConfigError,
    MaybeSent,
    NotSent,
)
from tests.redis.ledger import Ledger
from tests.redis.producing import entries, producing, texts
from tests.redis.proxy import Proxy, proxied
from tests.servers import (
    LANES,
    TcpServer,
    eventually,
    plain_client,
    raw,
    require_server,
    tcp_server,
)


@pytest.fixture(scope="module", params=LANES)
def running(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[TcpServer]:
    binary = require_server(request.param)
    with tcp_server(tmp_path_factory.mktemp("server"), binary=binary) as server:
        yield server


@pytest.fixture
def server(running: TcpServer) -> TcpServer:
    raw(running.url, "FLUSHALL")
    return running


@pytest.fixture
def proxy(server: TcpServer) -> Iterator[Proxy]:
    with proxied(server.port) as made:
        yield made


@pytest.fixture
def producer(proxy: Proxy) -> Iterator[ss.Producer]:
    with producing(proxy.url) as made:
        yield made


def test_each_entry_has_one_short_field_more_that_tells_it_from_all_others(
    server: TcpServer, producer: ss.Producer
) -> None:
    producer.send("a").result()
    producer.send("b", timestamp="32472144000000-1").result()
    producer.send_to("other", "c").result()
    with producing(server.url) as another:
        another.send("d", timestamp="32472144000000-2").result()
    tags = [fields[b"i"] for _, fields in entries(server) + entries(server, "other")]
    assert all(re.fullmatch(rb"[\w-]{8}:[012]", tag) for tag in tags)
    assert len(set(tags)) == 4
    assert [list(fields) for _, fields in entries(server)] == [[b"msg", b"i"]] * 3


# The link breaks.

FAULTS: dict[str, Callable[[Proxy], None]] = {
    "reply lost": lambda proxy: proxy.lose_reply(),
    "request cut": lambda proxy: proxy.cut_request(3_333),
    "reply cut": lambda proxy: proxy.cut_reply(1_234),
    "reset": lambda proxy: proxy.rst(),
    "closed": lambda proxy: proxy.fin(),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_link_neither_loses_nor_repeats(
    fault: str, server: TcpServer, proxy: Proxy, producer: ss.Producer
) -> None:
    ledger = Ledger(producer)
    ledger.send(1)
    producer.flush()
    for _ in range(3):
        FAULTS[fault](proxy)
        ledger.send(1_000, "ticks", "tocks", "tacks")
        producer.flush()
    assert ledger.check(server.url) == {"sent": 3_001}
    assert proxy.accepted > 1


def test_the_first_batch_of_a_stream_is_looked_up_too(
    server: TcpServer, proxy: Proxy, producer: ss.Producer
) -> None:
    raw(server.url, "XADD", "ticks", "*", "msg", "-1")
    proxy.cut_reply(600)  # of the answers to the first questions, and then to the messages
    ledger = Ledger(producer)
    ledger.send(500)
    producer.flush()
    assert not proxy.armed
    assert ledger.check(server.url) == {"sent": 500}


@pytest.mark.parametrize("cut", range(0, 9_000, 600))
def test_a_link_may_break_while_lost_answers_are_looked_up(
    cut: int, server: TcpServer, proxy: Proxy, producer: ss.Producer
) -> None:
    ledger = Ledger(producer)
    ledger.send(1)
    producer.flush()
    proxy.lose_reply()
    ledger.send(300)
    assert eventually(lambda: not proxy.armed)
    proxy.cut_reply(cut)
    producer.flush()
    proxy.disarm()
    assert ledger.check(server.url) == {"sent": 301}


def test_ten_resets_at_any_time(server: TcpServer, proxy: Proxy, producer: ss.Producer) -> None:
    ledger = Ledger(producer)
    for _ in range(10):
        ledger.send(2_000, "ticks", "tocks")
        proxy.rst()
    producer.flush()
    assert ledger.check(server.url) == {"sent": 20_000}


def test_broken_links_leave_none_behind(
    server: TcpServer, proxy: Proxy, producer: ss.Producer
) -> None:
    def links() -> int:
        return int(
            raw(server.url, "INFO", "clients").partition(b"connected_clients:")[2].split()[0]
        )

    producer.send("0").result()
    before = links()
    for _ in range(10):
        proxy.lose_reply()
        producer.send("x").result()
    assert proxy.accepted >= 11
    assert eventually(lambda: links() <= before)


@pytest.mark.parametrize("silent", [False, True], ids=["reset", "silent"])
def test_what_is_late_on_the_old_link_never_arrives(
    silent: bool, server: TcpServer, proxy: Proxy
) -> None:
    with producing(proxy.url, timeout=0.5) as producer:
        ledger = Ledger(producer)
        ledger.send(1)
        producer.flush()
        proxy.deliver_late(1.2, silent=silent)
        ledger.send(100)
        producer.flush()
        before = texts(server)
        assert eventually(lambda: not proxy.holding)
        assert texts(server) == before
    assert ledger.check(server.url) == {"sent": 101}


@pytest.mark.parametrize("mode", ["blackhole", "blackhole_down"])
def test_a_silent_link_is_given_up_and_its_answers_looked_up(
    mode: Any, server: TcpServer, proxy: Proxy
) -> None:
    with producing(proxy.url, timeout=0.6) as producer:
        ledger = Ledger(producer)
        ledger.send(1)
        producer.flush()
        proxy.mode = mode
        ledger.send(100)
        healing = threading.Timer(0.8, lambda: setattr(proxy, "mode", "pass"))
        healing.start()
        producer.flush()
        healing.join()
    assert ledger.check(server.url) == {"sent": 101}


def test_slow_links_and_single_bytes_change_nothing(
    server: TcpServer, proxy: Proxy, producer: ss.Producer
) -> None:
    ledger = Ledger(producer)
    proxy.delay = 0.02
    ledger.send(1_000)
    producer.flush()
    proxy.delay, proxy.slicing = 0.0, True
    ledger.send(200)
    producer.flush()
    assert ledger.check(server.url) == {"sent": 1_200}


# Others write to the stream, and remove from it.


def test_entries_of_others_are_told_from_ours(
    server: TcpServer, proxy: Proxy, producer: ss.Producer
) -> None:
    def write() -> None:
        with closing(plain_client(server.url)) as client:
            while not enough.is_set():
                pipe = client.pipeline(transaction=False)
                for _ in range(100):
                    pipe.xadd("ticks", {"msg": "9999999", "i": "somebody:1"})
                pipe.execute()

    enough = threading.Event()
    writing = threading.Thread(target=write)
    writing.start()
    pending = []
    try:
        for _ in range(5):
            proxy.lose_reply()
            pending += [producer.send(str(len(pending) + each)) for each in range(300)]
            producer.flush()
    finally:
        enough.set()
        writing.join()
    ours = [int(each) for each in texts(server) if each != b"9999999"]
    assert ours == list(range(1_500))
    assert [each.result().id for each in pending] == [
        entry_id.decode() for entry_id, fields in entries(server) if fields[b"msg"] != b"9999999"
    ]


def test_a_stream_that_is_trimmed_all_the_time_is_read_back(
    server: TcpServer, proxy: Proxy, producer: ss.Producer
) -> None:
    producer.send("first").result()
    for round_ in range(5):
        proxy.lose_reply()
        pending = [producer.send(f"{round_}-{each}") for each in range(100)]
        raw(server.url, "XTRIM", "ticks", "MAXLEN", 150)
        assert all(each.result() for each in pending)
        assert len(set(texts(server))) == len(texts(server))


def test_what_may_have_been_trimmed_is_not_sent_again(server: TcpServer, proxy: Proxy) -> None:
    with producing(proxy.url) as producer:
        producer.send("first").result()
        proxy.mode = "blackhole_down"
        pending = producer.send("second")
        assert eventually(lambda: len(entries(server)) == 2)
        raw(server.url, "XADD", "ticks", "*", "msg", "another")
        raw(server.url, "XTRIM", "ticks", "MAXLEN", 1)
        proxy.mode = "pass"
        with pytest.raises(MaybeSent, match=r"'ticks'.*have been removed"):
            pending.result(timeout=10)
        producer.send("third").result()
    assert texts(server) == [b"another", b"third"]


def test_a_stream_that_began_again_is_looked_up_from_its_beginning(
    server: TcpServer, proxy: Proxy, producer: ss.Producer
) -> None:
    producer.send("far", timestamp="32472144000000-1").result()
    raw(server.url, "DEL", "ticks")
    proxy.lose_reply()
    pending = [producer.send(str(each)) for each in range(100)]
    producer.flush()
    assert texts(server) == [b"%d" % each for each in range(100)]
    assert [each.result().id.encode() for each in pending] == [at for at, _ in entries(server)]


def test_an_explicit_id_is_found_again_or_refused(
    server: TcpServer, proxy: Proxy, producer: ss.Producer
) -> None:
    producer.send("0", timestamp="5-1").result()
    proxy.lose_reply()
    pending = [producer.send(at, timestamp=at) for at in ("5-2", "5-3", "5-3", "4-9", "6-1")]
    assert [pending[each].result().id for each in (0, 1, 4)] == ["5-2", "5-3", "6-1"]
    for each in (2, 3):
        with pytest.raises(NotSent, match="equal or smaller"):
            pending[each].result()
    assert texts(server) == [b"0", b"5-2", b"5-3", b"6-1"]


# What the server must allow.


@pytest.mark.parametrize("right", ["client|id", "client|kill", "xrange", "xrevrange"])
def test_a_right_that_is_missing_is_named_at_the_creation(right: str, tmp_path: Path) -> None:
    with tcp_server(tmp_path, binary=require_server("redis-server")) as server:
        raw(server.url, "ACL", "SETUSER", "writer", "on", ">pw", "~*", "+@all", f"-{right}")
        with (
            ss.connect(server.url, username="writer", password="pw") as streamer,
            pytest.raises(AuthError, match=re.escape(f"idempotent=True needs the right +{right}")),
        ):
            streamer.producer("ticks", idempotent=True)


def test_few_rights_suffice_and_a_key_that_may_not_be_read_fails_alone(tmp_path: Path) -> None:
    rights = ["+ping", "+xadd", "+xrange", "+xrevrange", "+client|id", "+client|kill"]
    with tcp_server(tmp_path) as server, proxied(server.port) as proxy:
        raw(server.url, "ACL", "SETUSER", "writer", "on", ">pw", "~ticks", *rights)
        url = proxy.url.replace("redis://", "redis://writer:pw@")
        with producing(url) as producer:
            ledger = Ledger(producer)
            ledger.send(1)
            producer.flush()
            proxy.lose_reply()
            ledger.send(100)
            producer.flush()
            with pytest.raises(NotSent, match=r"'other'.*NOPERM"):
                producer.send_to("other", "x").result()
        assert ledger.check(server.url) == {"sent": 101}


def test_a_user_deleted_while_sending_is_told_so_after_one_login(mortal: TcpServer) -> None:
    raw(mortal.url, "ACL", "SETUSER", "writer", "on", ">pw", "~*", "+@all")
    url = mortal.url.replace("redis://", "redis://writer:pw@")
    with producing(url, timeout=30) as producer:
        producer.send("0").result()
        raw(mortal.url, "ACL", "DELUSER", "writer")
        with pytest.raises((NotSent, MaybeSent), match="refused the credentials"):
            producer.send("1").result(timeout=2)
        failures = [each for each in raw(mortal.url, "ACL", "LOG") if b"auth" in each]
        assert sum(each[each.index(b"count") + 1] for each in failures) == 1


def test_the_message_field_may_not_be_the_added_one(server: TcpServer) -> None:
    with (
        ss.connect(server.url, message_field="i") as streamer,
        pytest.raises(ConfigError, match="message_field='i'"),
    ):
        streamer.producer("ticks", idempotent=True)
