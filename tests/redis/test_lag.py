"""The lag of a group is the number of entries that it was not given, or null; on every server."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

import seastream_nb as ss
from seastream_nb.redis import lag
from tests.servers import version_of

if TYPE_CHECKING:
    from collections.abc import Callable

GROUPS = ("early", "late", "middle")


def filled(client: Any, entries: int = 10, **groups: int) -> None:
    """A stream with ids 1-0, 2-0, ... and groups that were given so many of them."""
    for n in range(1, entries + 1):
        client.xadd("s", {"msg": n}, id=f"{n}-0")
    for name, given in groups.items():
        client.xgroup_create("s", name, "0")
        read(client, name, given)


def read(client: Any, group: str, count: int) -> None:
    if count:
        client.xreadgroup(group, "ana", {"s": ">"}, count=count)


def shown(streamer: ss.Streamer) -> dict[str, Any]:
    """The lag of each group, None for null."""
    frame = streamer["s"].groups()
    lags = [None if value is pd.NA else value for value in frame["lag"]]
    return dict(zip(frame["name"], lags, strict=True))


def truth(client: Any) -> dict[str, int]:
    """What counting by hand says."""
    groups = client.xinfo_groups("s")
    return {
        group["name"].decode(): len(client.xrange("s", b"(" + group["last-delivered-id"]))
        for group in groups
    }


def test_lag_counts_what_was_not_given(matrix_client: Any, matrix_streamer: ss.Streamer) -> None:
    filled(matrix_client, 10, none=0, some=4, all=10)

    assert shown(matrix_streamer) == {"all": 0, "none": 10, "some": 6}


@pytest.mark.parametrize("deleted", [2, 4, 5, 7, 10])
def test_lag_is_right_after_a_delete_anywhere(
    matrix_client: Any, matrix_streamer: ss.Streamer, deleted: int
) -> None:
    filled(matrix_client, 10, some=4)
    matrix_client.xdel("s", f"{deleted}-0")

    assert shown(matrix_streamer) == {"some": 6 - (deleted > 4)}


def test_lag_is_right_after_unread_entries_were_trimmed(
    matrix_client: Any, matrix_streamer: ss.Streamer
) -> None:
    filled(matrix_client, 10, some=2)
    matrix_client.xtrim("s", maxlen=5, approximate=False)
    assert shown(matrix_streamer) == {"some": 5}

    # Redis 7.0 goes on counting where the group was: it says 7 here, and 3 at the end.
    read(matrix_client, "some", 1)
    assert shown(matrix_streamer) == {"some": 4}
    read(matrix_client, "some", 4)
    assert shown(matrix_streamer) == {"some": 0}


def test_lag_is_right_after_the_position_was_set(
    matrix_client: Any, matrix_streamer: ss.Streamer
) -> None:
    filled(matrix_client, 10, some=2)
    matrix_client.xgroup_setid("s", "some", "7-0")

    assert shown(matrix_streamer) == {"some": 3}


def test_lag_is_right_after_counters_were_overwritten(
    matrix_client: Any, matrix_streamer: ss.Streamer, matrix_url: str
) -> None:
    if version_of(matrix_url) < (7, 0):
        pytest.skip("Redis 6.2 has no such counters")
    filled(matrix_client, 10, some=2, other=5)
    matrix_client.execute_command("XSETID", "s", "20-0", "ENTRIESADDED", 99, "MAXDELETEDID", "0-0")
    matrix_client.execute_command("XGROUP", "SETID", "s", "some", "7-0", "ENTRIESREAD", 1)

    assert shown(matrix_streamer) == {"other": 5, "some": 3}


def test_lag_of_an_emptied_stream_is_nothing(
    matrix_client: Any, matrix_streamer: ss.Streamer
) -> None:
    filled(matrix_client, 10, some=2)
    matrix_client.xtrim("s", maxlen=0, approximate=False)

    assert shown(matrix_streamer) == {"some": 0}


def add(client: Any, rng: random.Random) -> None:
    last = client.xinfo_stream("s")["last-generated-id"]
    top = int(last.partition(b"-")[0])
    for n in range(top + 1, top + rng.randint(2, 6)):
        client.xadd("s", {"msg": n}, id=f"{n}-0")


def give(client: Any, rng: random.Random) -> None:
    read(client, rng.choice(GROUPS), rng.randint(1, 4))


def delete(client: Any, rng: random.Random) -> None:
    entries = client.xrange("s")
    if entries:
        client.xdel("s", rng.choice(entries)[0])


def trim(client: Any, rng: random.Random) -> None:
    client.xtrim("s", maxlen=rng.randint(0, 12), approximate=False)


def set_position(client: Any, rng: random.Random) -> None:
    client.xgroup_setid("s", rng.choice(GROUPS), f"{rng.randint(0, 30)}-0")


def set_top(client: Any, rng: random.Random) -> None:
    last = client.xinfo_stream("s")["last-generated-id"]
    client.execute_command("XSETID", "s", f"{int(last.partition(b'-')[0]) + 3}-0")


STEPS: list[Callable[[Any, random.Random], None]] = [
    *(add, add, give, give, delete, trim, set_position, set_top)
]


@pytest.mark.parametrize("seed", range(8))
def test_lag_is_never_wrong_whatever_happens_to_the_stream(
    matrix_client: Any, matrix_streamer: ss.Streamer, seed: int
) -> None:
    rng = random.Random(seed)
    filled(matrix_client, 5, early=1, middle=3, late=5)
    for _ in range(40):
        rng.choice(STEPS)(matrix_client, rng)
        assert shown(matrix_streamer) == truth(matrix_client)


@pytest.mark.parametrize("seed", range(4))
def test_lag_that_cannot_be_counted_is_right_or_null(
    matrix_client: Any,
    matrix_streamer: ss.Streamer,
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
) -> None:
    monkeypatch.setattr(lag, "COUNTED_ENTRIES", 1)
    rng = random.Random(seed)
    filled(matrix_client, 5, early=1, middle=3, late=5)
    for _ in range(40):
        rng.choice(STEPS)(matrix_client, rng)
        counted = truth(matrix_client)
        assert all(value in (counted[name], None) for name, value in shown(matrix_streamer).items())


def test_beyond_what_is_counted_the_server_is_believed_if_nothing_was_removed(
    matrix_client: Any,
    matrix_streamer: ss.Streamer,
    matrix_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lag, "COUNTED_ENTRIES", 2_000)
    with matrix_client.pipeline(transaction=False) as pipe:
        for n in range(1, 8_001):
            pipe.xadd("s", {"msg": n}, id=f"{n}-0")
        pipe.execute()
    for name, given in {"far": 10, "near": 7_900}.items():
        matrix_client.xgroup_create("s", name, "0")
        read(matrix_client, name, given)
    tells = version_of(matrix_url) >= (7, 0)
    assert shown(matrix_streamer) == {"far": 7_990 if tells else None, "near": 100}

    matrix_client.xdel("s", "5-0")
    assert shown(matrix_streamer) == {"far": None, "near": 100}
    matrix_client.xtrim("s", maxlen=7_000, approximate=False)
    assert shown(matrix_streamer) == {"far": 7_000, "near": 100}


def test_groups_at_an_end_of_the_stream_cost_no_reading(
    matrix_client: Any, matrix_streamer: ss.Streamer
) -> None:
    filled(matrix_client, 10, all=10, none=0)
    matrix_client.config_resetstat()

    assert shown(matrix_streamer) == {"all": 0, "none": 10}
    assert "cmdstat_xrevrange" not in matrix_client.info("commandstats")
