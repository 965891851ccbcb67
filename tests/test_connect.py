"""Connecting on both facades: what a target and the options mean, and what cannot be meant."""

from __future__ import annotations

import socket
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import seastream_nb as ss
from tests.connecting import BOTH, Connect, connect_awaiting, connect_blocking, soon
from tests.servers import HOST, TcpServer, plain_client, tcp_server

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(params=BOTH.values(), ids=BOTH)
def connect(request: pytest.FixtureRequest) -> Connect:
    """One of the facades."""
    found: Connect = request.param
    return found


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TcpServer]:
    """A server with the password `right`, and the user `ana` with the password `s3cret`."""
    user = ("--user", "ana", "on", ">s3cret", "~*", "&*", "+@all")
    with tcp_server(tmp_path_factory.mktemp("guarded"), "--requirepass", "right", *user) as running:
        yield running


def test_a_url_and_what_it_shows(connect: Connect, url: str) -> None:
    assert connect(url) == (url, connect(url)[1])
    assert url in connect(url)[1]
    assert connect(url + "?db=3")[0] == url + "?db=3"


def test_read_only_is_shown(connect: Connect, url: str) -> None:
    assert connect(url, read_only=True)[1].endswith(f"{url} [read-only]>")


def test_the_embedded_server_is_one_for_both_facades() -> None:
    assert connect_blocking("embedded:")[0] == connect_awaiting("embedded:")[0] == "embedded:"
    with ss.connect("embedded:") as one, ss.connect("embedded:", db=1) as other:
        assert one.url == other.url
        with one.producer("shared-by-all") as producer:
            producer.send("x")
        assert "shared-by-all" in one.catalog()
        assert "shared-by-all" not in other.catalog()
        with ss.connect("embedded:") as again:
            assert again["shared-by-all"].count() == 1


def test_credentials_and_database_of_a_url_are_honoured(
    connect: Connect, guarded: TcpServer
) -> None:
    place = f"{HOST}:{guarded.port}"

    assert connect(f"redis://:right@{place}")[0] == f"redis://:***@{place}"
    assert connect(f"redis://ana:s3cret@{place}/2")[0] == f"redis://ana:***@{place}/2"
    assert connect(f"redis://an%61:s3%63ret@{place}")[0] == f"redis://ana:***@{place}"
    path = guarded.process.path
    assert connect(f"redis+unix://ana:s3cret@{path}")[0] == f"redis+unix://ana:***@{path}"


def test_arguments_win_over_the_url(connect: Connect, guarded: TcpServer) -> None:
    place = f"{HOST}:{guarded.port}"

    url, _ = connect(f"redis://bob:wrong@{place}/7", username="ana", password="s3cret", db=2)

    assert url == f"redis://ana:***@{place}/2"


def test_the_database_is_the_one_that_is_read(client: Any, url: str) -> None:
    with closing(plain_client(url, db=5)) as other:
        other.xadd("there", {"msg": "x"})

    with ss.connect(url, db=5) as five, ss.connect(url) as zero:
        assert ("there" in five.catalog(), "there" in zero.catalog()) == (True, False)


def test_ipv6_and_names(connect: Connect, tmp_path: Path) -> None:
    with tcp_server(tmp_path, "--bind", HOST, "-::1") as server:
        assert connect(f"redis://localhost:{server.port}")[0] == f"redis://localhost:{server.port}"
        try:
            socket.create_connection(("::1", server.port)).close()
        except OSError:
            pytest.skip("this machine has no IPv6")
        assert connect(f"redis://[::1]:{server.port}")[0] == f"redis://[::1]:{server.port}"


def test_the_environment_names_a_target(
    connect: Connect, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEASTREAM_URL", url)

    assert connect()[0] == url
    assert connect(None)[0] == url
    assert connect(url + "?db=1")[0] == url + "?db=1"


@pytest.mark.parametrize("setting", [None, ""])
def test_without_a_target_the_error_names_the_three_ways(
    connect: Connect, setting: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if setting is not None:
        monkeypatch.setenv("SEASTREAM_URL", setting)

    with pytest.raises(
        ss.ConfigError, match=r"'redis://localhost'.*seastream\.toml.*SEASTREAM_URL"
    ):
        connect()


@pytest.mark.parametrize("name", ["host", "port", "url", "uri", "target", "address", "path"])
def test_a_part_of_the_target_that_is_given_as_an_option_shows_a_url(
    connect: Connect, name: str, url: str
) -> None:
    said = rf"option '{name}': .*connect\('redis://localhost:6379'\)"
    for target in ((), (url,)):
        with pytest.raises(ss.ConfigError, match=said):
            connect(*target, **{name: "localhost"})


def test_an_unknown_option_is_named_where_no_target_is_either(connect: Connect) -> None:
    with pytest.raises(ss.ConfigError, match="option 'tiemout': did you mean 'timeout'"):
        connect(tiemout=5)


@pytest.mark.parametrize(
    ("target", "options", "error", "said"),
    [
        (5, {}, ss.ConfigError, "of type int"),
        (b"redis://h", {}, ss.ConfigError, "of type bytes"),
        ("localhost:6379", {}, ss.StreamUrlError, "write 'redis://localhost:6379'"),
        ("redi://localhost", {}, ss.StreamUrlError, "did you mean 'redis'?"),
        ("redis://a,b", {}, ss.ConfigError, "need cluster=True"),
        ("redis://a,b", {"cluster": True}, ss.Unsupported, "cluster=True is not available"),
        ("redis://a", {"cluster": True}, ss.Unsupported, "cluster=True is not available"),
        ("stdio:///ticks", {}, ss.StreamUrlError, "takes nothing after it"),
        ("redis://a", {"loopback": True}, ss.ConfigError, "loopback=True is for stdio://"),
        ("embedded:", {"loopback": True}, ss.ConfigError, "loopback=True is for stdio://"),
        ("redis://a", {"tiemout": 1}, ss.ConfigError, "did you mean 'timeout'?"),
        ("redis://a", {"timeout": "x"}, ss.ConfigError, "timeout='x': "),
        ("redis://a", {"tls_insecure": True}, ss.ConfigError, "tls_insecure is for rediss://"),
        ("redis+unix:///s", {"tls_ca": __file__}, ss.ConfigError, "tls_ca is for rediss://"),
        ("embedded:", {"tls_cert": __file__}, ss.ConfigError, "tls_cert is for rediss://"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_sent(
    connect: Connect, target: Any, options: dict[str, Any], error: type[Exception], said: str
) -> None:
    with soon(), pytest.raises(error) as caught:
        connect(target, **options)

    assert type(caught.value) is error
    assert said in str(caught.value)


# "Now".


def test_a_fixed_now_makes_relative_times_repeatable(
    url: str, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for minute in range(10):
        client.xadd("ticks", {"msg": minute}, id=f"{1_700_000_000_000 + minute * 60_000}-0")

    with ss.connect(url, now="2023-11-14T22:18:20Z") as streamer:
        assert streamer["ticks"].since("-2m").count() == 7
    monkeypatch.setenv("SEASTREAM_NOW", "2023-11-14T22:18:20Z")
    with ss.connect(url) as streamer:
        assert streamer["ticks"].since("-2m").count() == 7
    monkeypatch.setenv("SEASTREAM_NOW", "yesterday")
    with pytest.raises(ss.ConfigError, match=r"^\$SEASTREAM_NOW='yesterday': "):
        ss.connect(url)


async def test_both_ways_of_connecting_with_await(url: str) -> None:
    streamer = await ss.connect_async(url)
    assert (await streamer.catalog()).keys() == set()
    await streamer.close()
    await streamer.close()
    async with ss.connect_async(url) as other:
        assert other.url == url
    with pytest.raises(ss.ConnectError, match="is closed"):
        await other.catalog()


def test_closing_twice_is_fine_and_later_use_says_so(url: str) -> None:
    streamer = ss.connect(url)
    streamer.close()
    streamer.close()

    with pytest.raises(ss.ConnectError, match=r"the connection to .* is closed"):
        streamer.catalog()
