"""What the README says is tried: its code, its ACL rules, its configuration, its commands."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import seastream_nb as ss
from seastream_nb.options import ConnectOptions
from seastream_nb.streamer import resolve_target
from tests.servers import raw

if TYPE_CHECKING:
    from seastream_nb.server import EmbeddedServer

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ANSWER = "  # -> "


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.M | re.S)


def statements(block: str) -> list[tuple[ast.stmt, str | None]]:
    """The statements of a block, each with the answer that a comment after it promises."""
    lines = block.splitlines()
    found = []
    for statement in ast.parse(block).body:
        _, _, answer = lines[(statement.end_lineno or 0) - 1].partition(ANSWER)
        found.append((statement, answer or None))
    return found


async def run(statement: ast.stmt, names: dict[str, Any]) -> str | None:
    """Run one statement, as a notebook does; the repr of its value."""
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    if isinstance(statement, ast.Expr):
        value = eval(compile(ast.Expression(statement.value), "README.md", "eval", flags), names)
    else:
        module = ast.Module([statement], type_ignores=[])
        value = eval(compile(module, "README.md", "exec", flags), names)
    return repr(await value if inspect.iscoroutine(value) else value)


async def test_the_code_of_the_readme_gives_what_it_says():
    names: dict[str, Any] = {}
    answers = 0
    try:
        for statement, answer in [each for block in blocks("python") for each in statements(block)]:
            result = await run(statement, names)
            if answer is not None:
                assert result == answer, ast.unparse(statement)
                answers += 1
    finally:
        names["streamer"].close()
    assert answers == README.count(ANSWER)
    assert list(names["frame"].columns[-2:]) == ["symbol", "price"]


def test_the_named_connection_of_the_readme_is_understood(tmp_path, monkeypatch):
    (block,) = blocks("toml")
    (tmp_path / "seastream.toml").write_text(block)
    (tmp_path / "lab-ca.pem").touch()
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    monkeypatch.setenv("LAB_PASSWORD", "s3cret")
    url, given = resolve_target("lab", {})
    options = ConnectOptions.make(given)
    assert url == "rediss://analyst@redis.example:6380/2"
    assert options.password is not None
    assert options.password.reveal() == "s3cret"
    assert (options.read_only, options.tz) == (True, "Europe/Berlin")
    assert Path(options.tls_ca or "") == tmp_path / "lab-ca.pem"


def test_the_table_of_options_names_every_option_and_its_default():
    rows = re.findall(r"^\| (`.*?`) \| (.*?) \|", README.partition("| option |")[2], re.M)
    named = {name for names, _ in rows for name in re.findall(r"`(\w+)`", names)}
    elsewhere = {"cluster", "tls_ca", "tls_cert", "tls_key"}
    assert named | elsewhere == set(ConnectOptions.__dataclass_fields__)


def acl_url(server: EmbeddedServer, name: str) -> str:
    """A URL for the user that the README's ACL rule of that name makes."""
    (rule,) = [
        each for block in blocks("text") for each in block.splitlines() if f" {name} " in each
    ]
    raw(server.path, *shlex.split(rule.replace("SETUSER " + name, f"SETUSER {name} reset")))
    return f"redis+unix://{name}:PASSWORD@{server.path}?db=1"


@pytest.fixture
def sharded(server: EmbeddedServer, url: str) -> str:
    with (
        ss.connect(url, db=1) as streamer,
        streamer.producer("s", sharder=ss.RoundRobinSharder(2)) as producer,
    ):
        for number in range(4):
            producer.send(f'{{"n":{number}}}')
    return url


def test_the_acl_rule_for_reading_suffices_for_everything_that_reads(server, sharded):
    with ss.connect(acl_url(server, "reader"), read_only=True) as streamer:
        stream = streamer["s"].json()
        assert stream.count() == len(stream.to_pandas()) == len(list(stream)) == 4
        assert stream.last(2).count() == len(stream.tail(2)) == len(stream.head(2)) == 2
        assert stream.last("1h").rate(exact=False)["messages"].sum() == 4
        assert sum(page.num_rows for page in stream.pages()) == 4
        info = streamer.catalog()["s"]
        assert info == stream.info()
        assert None not in (info.length, info.groups, info.bytes, info.last_time)
        assert stream.get(str(info.last_id))
        with streamer.consumer("s", auto_stream_reset="earliest") as consumer:
            assert len(consumer.take(4, timeout=10)) == 4
            consumer.rewind("end")
            consumer.seek("earliest")
            assert len(consumer.take(4, timeout=10)) == 4


def test_the_acl_rule_for_reading_does_not_allow_to_write(server, sharded):
    with (
        ss.connect(acl_url(server, "reader")) as streamer,
        pytest.raises(ss.errors.NotSent, match="NOPERM"),
        streamer.producer("s") as producer,
    ):
        producer.send("no")


def test_the_acl_rule_for_writing_suffices_for_producers(server, sharded):
    with ss.connect(acl_url(server, "writer")) as streamer:
        sharder = ss.RoundRobinSharder(2)
        with streamer.producer("s", sharder=sharder) as producer:
            producer.send("a").result(timeout=10)
            assert producer.send("b", timestamp="2999-01-01").result(timeout=10).shard == 1
        with pytest.raises(ss.errors.AuthError, match="NOPERM"):
            streamer["s"].count()


def test_the_acl_rule_for_sending_once_suffices_through_a_fault(server, sharded):
    with (
        ss.connect(acl_url(server, "once")) as streamer,
        streamer.producer("s", sharder=ss.RoundRobinSharder(2), idempotent=True) as producer,
    ):
        producer.send("a").result(timeout=10)
        pending = [producer.send(str(number)) for number in range(100)]
        raw(server.path, "CLIENT", "KILL", "USER", "once")
        assert all(each.result(timeout=10) for each in pending)
        assert producer.send("b").result(timeout=10)
    with ss.connect(server.url, db=1) as streamer:
        assert streamer["s"].count() == 4 + 1 + 100 + 1


@pytest.mark.parametrize(
    "attempt",
    [
        lambda streamer: streamer.consumer("s", mode="resumable", group="g"),
        lambda streamer: streamer.consumer("s", mode="load_balanced", group="g"),
        lambda streamer: streamer.producer("s", durability="replica"),
        lambda streamer: ss.connect("redis://localhost", cluster=True),
        lambda streamer: ss.connect(Path("recording.ss")),
        lambda streamer: ss.connect("file:///recording.ss"),
        lambda streamer: ss.connect("stdio://"),
    ],
    ids=[
        "resumable",
        "load_balanced",
        "replica",
        "cluster",
        "path",
        "file",
        "stdio",
    ],
)
def test_what_the_readme_calls_not_there_yet_is_refused_by_name(streamer, attempt):
    with pytest.raises(ss.errors.Unsupported, match="not available yet"):
        attempt(streamer)


def test_the_commands_of_the_readme_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    commands = re.findall(r"^make (\w+)", "".join(blocks("sh")), re.M)
    assert commands == ["demo", "test"]
    assert all(f"\n{name}:" in makefile for name in commands)


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_between_the_documents_lead_somewhere(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    targets = [each for each in re.findall(r"\]\(([^)]+)\)", text) if "://" not in each]
    assert [each for each in targets if not (ROOT / each).exists()] == []


def test_the_first_screen_has_the_commands_and_an_example():
    screen = "\n".join(README.splitlines()[:25])
    assert [what for what in ("make demo", "make test", "connect(") if what not in screen] == []
    assert screen.count("```") == 4
    assert len(README.splitlines()) <= 250
