"""Connections by name, from `seastream.toml` or `pyproject.toml` of the nearest folder."""

from __future__ import annotations

from pathlib import Path

import pytest

import seastream_nb as ss
from tests.connecting import BOTH, Connect
from tests.servers import HOST, tcp_server


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of the test, which is new."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(params=BOTH.values(), ids=BOTH)
def connect(request: pytest.FixtureRequest) -> Connect:
    """One of the facades."""
    found: Connect = request.param
    return found


def write(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("file", "table"),
    [("seastream.toml", "connections"), ("pyproject.toml", "tool.seastream.connections")],
)
def test_a_name_stands_for_a_url_and_options(
    connect: Connect, folder: Path, url: str, file: str, table: str
) -> None:
    write(folder / file, f"[{table}.prod]\nurl = '{url}'\nread_only = true\ndb = 2\n")

    shown = connect("prod")

    assert shown[0] == f"{url}?db=2"
    assert shown[1].endswith("[read-only]>")


def test_an_argument_wins_over_the_file(connect: Connect, folder: Path, url: str) -> None:
    write(folder / "seastream.toml", f"[connections.prod]\nurl = '{url}?db=1'\ndb = 2\n")

    assert connect("prod", db=3)[0] == f"{url}?db=3"


def test_both_files_of_a_folder_count_and_seastream_toml_wins(
    connect: Connect, folder: Path, url: str
) -> None:
    of_project = "[tool.seastream.connections.{0}]\nurl = '{1}?db={2}'\n"
    write(
        folder / "pyproject.toml",
        of_project.format("only", url, 1) + of_project.format("both", url, 2),
    )
    write(folder / "seastream.toml", f"[connections.both]\nurl = '{url}?db=3'\n")

    assert connect("only")[0] == f"{url}?db=1"
    assert connect("both")[0] == f"{url}?db=3"


def test_the_nearest_folder_with_connections_counts(
    connect: Connect, folder: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder / "seastream.toml", f"[connections.prod]\nurl = '{url}?db=1'\n")
    write(folder / "a/b/pyproject.toml", "[project]\nname = 'x'\n")
    monkeypatch.chdir(folder / "a/b")
    assert connect("prod")[0] == f"{url}?db=1"

    write(folder / "a/seastream.toml", f"[connections.prod]\nurl = '{url}?db=2'\n")
    assert connect("prod")[0] == f"{url}?db=2"


def test_the_environment_may_hold_a_name(
    connect: Connect, folder: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder / "seastream.toml", f"[connections.prod]\nurl = '{url}'\n")
    monkeypatch.setenv("SEASTREAM_URL", "prod")

    assert connect()[0] == url


def test_the_password_comes_from_the_environment(
    connect: Connect, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tcp_server(tmp_path, "--requirepass", "s3cret") as server:
        text = f"[connections.prod]\nurl = '{server.url}'\npassword_env = 'PROD_PASSWORD'\n"
        write(folder / "seastream.toml", text)

        with pytest.raises(ss.ConfigError, match=r"'prod': \$PROD_PASSWORD is not set"):
            connect("prod")
        assert connect("prod", password="s3cret")[0] == f"redis://:***@{HOST}:{server.port}"
        monkeypatch.setenv("PROD_PASSWORD", "s3cret")
        assert connect("prod")[0] == f"redis://:***@{HOST}:{server.port}"


def test_a_file_of_certificates_is_relative_to_where_it_is_named(
    connect: Connect, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder / "ca.pem", "")
    write(folder / "seastream.toml", "[connections.prod]\nurl = 'redis://h'\ntls_ca = 'ca.pem'\n")
    (folder / "deep").mkdir()
    monkeypatch.chdir(folder / "deep")

    with pytest.raises(ss.ConfigError, match="tls_ca is for rediss://"):
        connect("prod")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("prd", "[connections.prod]\nurl = 'redis://h'", "'prd': did you mean 'prod'?"),
        ("x", "[connections.prod]\nurl = 'redis://h'", "'x': known: prod"),
        ("prod", "", r"write 'redis://prod'"),
        ("prod", "[connections.prod]\ndb = 1", "'prod' in {folder} needs url = "),
        ("prod", "[connections.prod]\nurl = 'prod'", "'prod' in {folder} needs url = "),
        ("prod", "[connections]\nprod = 'redis://h'", "'prod' in {folder} must be a table"),
        ("prod", "[connections.prod]\nurl = 'redis://h'\ndbb = 1", "'dbb': did you mean 'db'?"),
        ("prod", "[connections.prod]\nurl = 'redis://h'\ndb = 'one'", "db='one': "),
        ("prod", "[connections.prod\nurl = 'redis://h'", "seastream.toml cannot be read: "),
        ("prod", "connections = 5", r"write 'redis://prod'"),
    ],
)
def test_what_a_file_gets_wrong_is_named(
    connect: Connect, folder: Path, name: str, text: str, said: str
) -> None:
    write(folder / "seastream.toml", text)

    with pytest.raises(ss.ConfigError) as caught:
        connect(name)

    assert said.format(folder=folder) in str(caught.value)


def test_a_project_without_connections_is_passed_over(connect: Connect, folder: Path) -> None:
    write(folder / "pyproject.toml", "tool = 5\n")

    with pytest.raises(ss.ConfigError, match=r"no seastream\.toml with \[connections\.prod\]"):
        connect("prod")
