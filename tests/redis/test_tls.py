"""TLS: verified unless somebody says otherwise, each time with a warning."""

from __future__ import annotations

import shutil
import subprocess
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import seastream_nb as ss
from tests.connecting import BOTH, Connect, soon
from tests.servers import HOST, TcpServer, require_server, tcp_server

if TYPE_CHECKING:
    from collections.abc import Iterator

_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]


class Authority:
    """A certificate authority of its own, by the `openssl` command."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.certificate = folder / "ca.pem"
        self._key = folder / "ca.key"
        self._openssl(
            *("req", "-x509", *_KEY, "-subj", "/CN=tests"),
            *("-keyout", self._key, "-out", self.certificate),
        )

    def issue(self, name: str, *subject_alternatives: str) -> tuple[Path, Path]:
        """A certificate and its key."""
        certificate, key = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        alternatives = ("-addext", f"subjectAltName={','.join(subject_alternatives)}")
        self._openssl(
            *("req", "-x509", *_KEY, "-subj", f"/CN={name}", "-keyout", key, "-out", certificate),
            *("-CA", self.certificate, "-CAkey", self._key),
            *(alternatives if subject_alternatives else ()),
        )
        return certificate, key

    def _openssl(self, *arguments: str | Path) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    if shutil.which("openssl") is None:
        pytest.skip("the openssl command is not on PATH")
    return Authority(tmp_path_factory.mktemp("ca"))


def tls_arguments(authority: Authority, pair: tuple[Path, Path], clients: str) -> tuple[str, ...]:
    certificate, key = map(str, pair)
    files = ("--tls-cert-file", certificate, "--tls-key-file", key)
    return *files, "--tls-ca-cert-file", str(authority.certificate), "--tls-auth-clients", clients


@pytest.fixture(scope="module")
def secure(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TcpServer]:
    """A server whose certificate is for this machine; it wants none of its clients."""
    pair = authority.issue("server", f"IP:{HOST}", "DNS:localhost")
    arguments = tls_arguments(authority, pair, "no")
    binary = require_server("redis-server")
    with tcp_server(tmp_path_factory.mktemp("tls"), *arguments, binary=binary, tls=True) as running:
        yield running


@pytest.fixture(params=BOTH.values(), ids=BOTH)
def connect(request: pytest.FixtureRequest) -> Connect:
    """One of the facades."""
    found: Connect = request.param
    return found


def test_a_server_of_a_known_authority_is_trusted(
    connect: Connect, secure: TcpServer, authority: Authority
) -> None:
    assert connect(secure.url, tls_ca=authority.certificate)[0] == secure.url
    named = f"rediss://localhost:{secure.port}"
    assert connect(named, tls_ca=str(authority.certificate))[0] == named


def test_messages_travel_over_tls(secure: TcpServer, authority: Authority) -> None:
    with ss.connect(secure.url, tls_ca=authority.certificate) as streamer:
        with streamer.producer("ticks") as producer:
            for n in range(5_000):
                producer.send(f"{n}" * 50)
        table = streamer["ticks"].to_arrow()

    assert table["payload"].to_pylist() == [f"{n}".encode() * 50 for n in range(5_000)]


def test_an_unknown_authority_is_refused(connect: Connect, secure: TcpServer) -> None:
    with soon(), pytest.raises(ss.ConnectError) as caught:
        connect(secure.url)

    assert str(caught.value).startswith(f"no TLS connection to {secure.url}: ")
    assert "its certificate is not trusted: " in str(caught.value)


def test_an_unknown_authority_is_refused_at_once_even_when_waiting(
    connect: Connect, secure: TcpServer
) -> None:
    with soon(), pytest.raises(ss.ConnectError, match="its certificate is not trusted: "):
        connect(secure.url, wait=True)


def test_a_certificate_for_another_host_is_refused(
    connect: Connect, authority: Authority, tmp_path: Path
) -> None:
    arguments = tls_arguments(authority, authority.issue("other", "DNS:other.example"), "no")
    binary = require_server("redis-server")

    with tcp_server(tmp_path, *arguments, binary=binary, tls=True) as server:
        with soon(), pytest.raises(ss.ConnectError, match=r"not trusted: IP address mismatch"):
            connect(server.url, tls_ca=authority.certificate)
        with soon(), pytest.raises(ss.ConnectError, match=r"not trusted: Hostname mismatch"):
            connect(f"rediss://localhost:{server.port}", tls_ca=authority.certificate)


def test_switching_the_checks_off_warns_each_time(connect: Connect, secure: TcpServer) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            connect(secure.url, tls_insecure=True)

    text = f"tls_insecure=True: the certificate of {secure.url} is not verified"
    assert [str(each.message) for each in caught] == [text] * 3


def test_a_warning_that_is_an_error_opens_nothing(secure: TcpServer) -> None:
    with pytest.raises(UserWarning, match="is not verified"):
        ss.connect(secure.url, tls_insecure=True)


def test_a_client_shows_its_certificate_where_it_must(
    connect: Connect, authority: Authority, tmp_path: Path
) -> None:
    arguments = tls_arguments(authority, authority.issue("strict", f"IP:{HOST}"), "yes")
    certificate, key = authority.issue("client")
    trusted = {"tls_ca": authority.certificate}
    binary = require_server("redis-server")

    with tcp_server(tmp_path, *arguments, binary=binary, tls=True) as server:
        assert connect(server.url, tls_cert=certificate, tls_key=key, **trusted)[0] == server.url
        # In TLS 1.3 the alert that names the reason may be overtaken by the end of the connection.
        said = f"{server.url}: .*(certificate required|may want a client certificate)"
        with soon(), pytest.raises(ss.ConnectError, match=said):
            connect(server.url, **trusted)


def test_a_key_that_is_no_key_is_an_error_that_says_so(
    connect: Connect, secure: TcpServer, authority: Authority
) -> None:
    certificate, _ = authority.issue("client")

    with soon(), pytest.raises(ss.ConnectError, match=f"no TLS connection to {secure.url}: "):
        connect(secure.url, tls_cert=certificate, tls_key=certificate)


def test_a_plain_url_for_a_tls_port_hints_at_tls(connect: Connect, secure: TcpServer) -> None:
    with soon(), pytest.raises(ss.ConnectError, match="if its port speaks TLS, write rediss://"):
        connect(f"redis://{HOST}:{secure.port}")


def test_a_tls_url_for_a_plain_port_hints_at_plain(connect: Connect, tmp_path: Path) -> None:
    with (
        tcp_server(tmp_path) as server,
        soon(),
        pytest.raises(ss.ConnectError, match="if its port does not speak TLS, write redis://"),
    ):
        connect(f"rediss://{HOST}:{server.port}")
