"""`%stream live`, `tail --follow`, `ps` and `stop`, in an IPython shell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import seastream_nb as ss
from seastream_nb.notebook import running
from tests.notebook.cells import DATA, START, error_of, run
from tests.redis.consuming import send
from tests.servers import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis
    from IPython.core.interactiveshell import InteractiveShell

PATIENCE = 20.0


@pytest.fixture(autouse=True)
def _nothing_runs_afterwards() -> Iterator[None]:
    yield
    running.stop_all()


def test_live_shows_what_comes_as_the_method_does(
    connected: InteractiveShell, client: redis.Redis
) -> None:
    view = run(connected, "%stream live ticks --json --columns price --chart price --as view")
    assert isinstance(view, ss.LiveView)
    assert connected.user_ns["view"] is view
    send(client, "ticks", '{"price": 9.5, "symbol": "EUR"}')
    view.wait(1, PATIENCE)

    assert view.to_arrow().to_pydict() == {"price": [9.5]}
    view.stop()
    past = run(connected, "%stream live ticks --since earliest --text --max-rows 2 --rolling 1h")
    past.wait(4, PATIENCE)
    assert len(past.to_arrow()) == 1


def test_tail_goes_on_when_it_is_asked_to(connected: InteractiveShell, client: redis.Redis) -> None:
    view = run(connected, "%stream tail ticks -n 2 --json --follow")
    send(client, "ticks", '{"price": 9.5, "symbol": "EUR"}')
    view.wait(3, PATIENCE)

    assert view.to_arrow()["price"].to_pylist() == [2.5, 3.5, 9.5]


def test_ps_lists_what_runs_and_stop_ends_it(
    connected: InteractiveShell, capsys: pytest.CaptureFixture[str]
) -> None:
    run(connected, "%stream ps")
    assert capsys.readouterr().out == "nothing runs\n"
    first, second, third = (run(connected, "%stream live ticks") for _ in range(3))
    second.pause()
    numbers = list(running.running())
    capsys.readouterr()
    run(connected, "%stream ps")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["id", "state", "what"]
    assert [line.split()[:3] for line in lines[1:]] == [
        [str(number), state, "'ticks'"]
        for number, state in zip(numbers, ("running", "paused", "running"), strict=True)
    ]

    assert "--all" in str(error_of(connected, "%stream stop"))
    assert "running:" in str(error_of(connected, f"%stream stop {max(numbers) + 1}"))
    run(connected, f"%stream stop {numbers[0]}")
    assert [first.state, second.state, third.state] == ["stopped", "paused", "running"]
    run(connected, "%stream stop --all")
    assert [first.state, second.state, third.state] == ["stopped"] * 3
    run(connected, "%stream stop")
    last = run(connected, "%stream live ticks")
    run(connected, "%stream stop")
    assert last.state == "stopped"


def test_a_connection_made_for_a_view_is_closed_with_it(
    shell: InteractiveShell, url: str, ticks: redis.Redis
) -> None:
    before = len(ticks.client_list())
    view = run(shell, f"%stream live ticks --from {url} --since earliest")
    view.wait(3, PATIENCE)
    assert len(ticks.client_list()) > before
    run(shell, "%stream stop")

    assert eventually(lambda: len(ticks.client_list()) == before)
    assert "was closed" not in repr(view)
    assert isinstance(
        error_of(shell, f"%stream live ticks --from {url} --json --columns prise --since earliest"),
        ss.ConfigError,
    )
    assert eventually(lambda: len(ticks.client_list()) == before)


def test_closing_the_connection_ends_its_views(connected: InteractiveShell) -> None:
    view = run(connected, "%stream live ticks")
    run(connected, "%unload_ext seastream_nb")
    view.wait(timeout=PATIENCE)

    assert "its streamer was closed" in repr(view)


@pytest.mark.parametrize(
    ("line", "call"),
    [
        (
            "live ticks --json --columns price --since -10m --chart rate --max-rows 9 --as view",
            "view = streamer.stream('ticks').json().select('price')"
            ".live(since='-10m', chart='rate', max_rows=9)",
        ),
        ("tail ticks -n 5 --follow", "streamer.stream('ticks').last(5).live()"),
    ],
)
def test_a_dry_run_says_the_same_as_python(
    connected: InteractiveShell,
    url: str,
    capsys: pytest.CaptureFixture[str],
    line: str,
    call: str,
) -> None:
    assert run(connected, f"%stream {line} --dry-run") is None
    said = capsys.readouterr().out

    assert said == f"import seastream_nb as ss\n\nstreamer = ss.connect({url!r})\n{call}\n"
    assert running.running() == {}
    run(connected, said)
    assert len(running.running()) == 1
    run(connected, "streamer.close()")


def test_a_stream_that_is_not_there_yet_is_said(
    connected: InteractiveShell, client: redis.Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    view = run(connected, "%stream live tics")
    assert "did you mean 'ticks'" in capsys.readouterr().out
    client.xadd("tics", {"msg": "1"}, id=f"{START}-0")
    view.wait(1, PATIENCE)


def test_browse_shows_the_pages_of_a_range(connected: InteractiveShell) -> None:
    view = run(connected, "%stream browse ticks --json --page-size 2 --as pages")

    assert isinstance(view, ss.Browser)
    assert connected.user_ns["pages"] is view
    assert view.page["price"].tolist() == [1.5, 2.5]
    assert view.next()["price"].tolist() == [3.5]
    at = run(connected, f"%stream browse ticks --json --at {START + 1_000}-0 --since {START}")
    assert at.page["price"].tolist() == [2.5, 3.5]


def test_a_browser_of_another_place_works_until_the_magics_are_unloaded(
    shell: InteractiveShell, url: str, ticks: redis.Redis
) -> None:
    view = run(shell, f"%stream browse ticks --json --from {url} --page-size 1")
    assert view.next()["price"].tolist() == [2.5]
    before = len(ticks.client_list())
    shell.extension_manager.unload_extension("seastream_nb")

    assert eventually(lambda: len(ticks.client_list()) < before)
    shell.extension_manager.load_extension("seastream_nb")


def test_a_replay_without_a_place_to_go_shows_buttons(shell: InteractiveShell) -> None:
    control = run(shell, f"%stream replay {DATA / 'prices.ss'} --speed max --json --as again")

    assert shell.user_ns["again"] is control
    control.play()
    control.wait(PATIENCE)
    assert control.count == 2_000
    control.stop()
    assert "--to" in str(error_of(shell, f"%stream replay {DATA / 'prices.ss'} --now"))


@pytest.mark.parametrize(
    ("line", "call"),
    [
        ("browse ticks --at -5m --as b", "b = streamer.stream('ticks').browse(at='-5m')"),
        ("replay ticks --speed 2", "streamer.stream('ticks').replay(speed=2.0).control()"),
    ],
)
def test_views_can_be_told_as_python(
    connected: InteractiveShell, capsys: pytest.CaptureFixture[str], line: str, call: str
) -> None:
    assert run(connected, f"%stream {line} --dry-run") is None
    assert call in capsys.readouterr().out
