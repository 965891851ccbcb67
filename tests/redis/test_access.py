"""What the ACL of the server, or `read_only=True`, does not allow."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

import seastream_nb as ss
from tests.servers import HOST, TcpServer, plain_client, raw, tcp_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[TcpServer]:
    """A server with a stream of ten messages."""
    with tcp_server(tmp_path) as running:
        with closing(plain_client(running.url)) as client:
            for n in range(10):
                client.xadd("ticks", {"msg": n})
        yield running


def url_of(server: TcpServer, *rules: str) -> str:
    """The URL of a user with these rules, and all keys."""
    raw(server.url, "ACL", "SETUSER", "ana", "reset", "on", ">s3cret", "~*", *rules)
    return f"redis://ana:s3cret@{HOST}:{server.port}"


def test_a_denied_command_is_an_auth_error_and_the_connection_goes_on(guarded: TcpServer) -> None:
    with ss.connect(url_of(guarded, "+@all", "-xrange")) as streamer:
        for _ in range(3):
            with pytest.raises(ss.AuthError, match=r"^reading 'ticks': NOPERM .*xrange") as caught:
                streamer["ticks"].to_arrow()
            assert type(caught.value) is ss.AuthError
            assert streamer["ticks"].info().length == 10
        url_of(guarded, "+@all")
        assert streamer["ticks"].count() == 10


def test_a_user_may_be_denied_ping_and_the_ids_of_clients(guarded: TcpServer) -> None:
    rules = ("+@all", "-ping", "-client", "-info", "-hello", "-select")
    with ss.connect(url_of(guarded, *rules)) as streamer:
        with streamer.producer("ticks") as producer:
            producer.send("x")
        with streamer.consumer("ticks", auto_stream_reset="earliest") as consumer:
            assert len(consumer.take(11, 10)) == 11
            consumer.seek("latest")
            with pytest.raises(TimeoutError):
                consumer.next(0)


def test_a_denied_database_is_an_auth_error(guarded: TcpServer) -> None:
    with pytest.raises(ss.AuthError, match="no permissions to run the 'select' command"):
        ss.connect(url_of(guarded, "+@all", "-select") + "/1")


def test_a_disabled_user_is_an_auth_error(guarded: TcpServer) -> None:
    with pytest.raises(ss.AuthError, match="disabled"):
        ss.connect(url_of(guarded, "+@all", "off"))


def test_a_user_deleted_while_connected_is_an_auth_error_at_once(guarded: TcpServer) -> None:
    with ss.connect(url_of(guarded, "+@all")) as streamer:
        assert streamer["ticks"].count() == 10
        raw(guarded.url, "ACL", "DELUSER", "ana")
        with pytest.raises(ss.AuthError, match="refused the credentials"):
            streamer["ticks"].count()


@pytest.mark.parametrize(
    ("denied", "unknown"),
    [
        ("-memory", {"bytes"}),
        ("-xinfo", {"length", "first_id", "last_id", "first_time", "last_time", "groups"}),
    ],
)
def test_a_catalog_has_nulls_for_what_the_acl_denies(
    guarded: TcpServer, denied: str, unknown: set[str]
) -> None:
    with ss.connect(url_of(guarded, "+@all", denied)) as streamer:
        catalog = streamer.catalog()
        info = catalog["ticks"]
        frame = catalog.to_pandas()

    fields = {"length", "first_id", "last_id", "first_time", "last_time", "groups", "bytes"}
    assert {name for name in fields if getattr(info, name) is None} == unknown
    assert (info.key, info.keys, info.shards) == ("ticks", ("ticks",), (0,))
    assert set(frame.columns[frame.isna().any()]) == unknown


def test_keys_that_the_acl_hides_from_reading_are_listed(guarded: TcpServer) -> None:
    raw(guarded.url, "XADD", "mine", "*", "msg", "x")
    url_of(guarded, "+@all")
    raw(guarded.url, "ACL", "SETUSER", "ana", "resetkeys", "~mine")

    with ss.connect(f"redis://ana:s3cret@{HOST}:{guarded.port}") as streamer:
        catalog = streamer.catalog()
        assert catalog["mine"].length == 1
        assert catalog["ticks"].length is None
        with pytest.raises(ss.AuthError, match="NOPERM"):
            streamer["ticks"].count()
        with streamer.producer("ticks") as producer:
            pending = producer.send("x")
            with pytest.raises(ss.NotSent, match=r"sending to 'ticks': NOPERM"):
                pending.result(10)


@pytest.fixture
def read_only(client: Any, url: str) -> Iterator[ss.Streamer]:
    client.xadd("ticks", {"msg": "x"})
    with ss.connect(url, read_only=True) as streamer:
        yield streamer


def test_a_read_only_connection_reads(read_only: ss.Streamer) -> None:
    assert read_only["ticks"].count() == 1
    assert list(read_only.catalog()) == ["ticks"]
    with read_only.consumer("ticks", auto_stream_reset="earliest") as consumer:
        assert consumer.next(10).payload == b"x"


@pytest.mark.parametrize("key", [None, "ticks"])
def test_a_read_only_connection_has_no_producers(read_only: ss.Streamer, key: str | None) -> None:
    with pytest.raises(ss.ReadOnlyError, match="read-only: it has no producers"):
        read_only.producer(key)


@pytest.mark.parametrize("mode", ["resumable", "load_balanced"])
def test_a_read_only_connection_has_no_group_consumers(
    read_only: ss.Streamer, url: str, mode: Any
) -> None:
    with pytest.raises(ss.ReadOnlyError, match="read-only: it has no group consumers"):
        read_only.consumer("ticks", mode=mode, mkstream=True)

    assert raw(url, "XINFO", "GROUPS", "ticks") == []


@pytest.mark.parametrize(
    "attempt",
    [
        lambda streamer: streamer.producer("ticks"),
        lambda streamer: streamer.consumer("ticks", mode="resumable"),
        lambda streamer: streamer.consumer("ticks", mode="load_balanced", mkstream=True),
    ],
    ids=["producer", "resumable", "load_balanced"],
)
def test_what_a_read_only_connection_refuses_is_not_sent(
    read_only: ss.Streamer, client: Any, attempt: Any
) -> None:
    client.config_resetstat()
    with pytest.raises(ss.ReadOnlyError):
        attempt(read_only)

    assert client.info("commandstats").keys() <= {"cmdstat_config|resetstat", "cmdstat_info"}


async def test_the_awaiting_facade_is_read_only_as_well(url: str) -> None:
    async with ss.connect_async(url, read_only=True) as streamer:
        assert repr(streamer) == f"<AsyncStreamer {url} [read-only]>"
        with pytest.raises(ss.ReadOnlyError):
            await streamer.producer("ticks")
        with pytest.raises(ss.ReadOnlyError):
            await streamer.consumer("ticks", mode="resumable")
