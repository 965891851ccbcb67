"""Ranges: a stream's past as Arrow tables and pandas frames."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd

from tests.benchmarks.harness import Measure, per_second, rate
from tests.benchmarks.place import FIELD, MESSAGES, Place, bytes_payloads, json_payloads
from tests.benchmarks.wire import pack

PAGE = 1_000


@rate(at_least=0.60)
def range_to_arrow(place: Place) -> Iterator[tuple[Measure, Measure]]:
    """Payload bytes as a table, against the same replies, read and not parsed."""
    read = place.streamer[place.fill("bytes", bytes_payloads())].to_arrow
    yield per_second(MESSAGES, read), per_second(MESSAGES, raw_drain(place, read))


@rate(at_least=2.0)
def range_to_arrow_over_redis_py(place: Place) -> Iterator[tuple[Measure, Measure]]:
    """The same against redis-py with hiredis, which makes no table."""
    key = place.fill("bytes", bytes_payloads())

    def plain() -> None:
        for _ in redis_py_entries(place, key):
            pass

    yield per_second(MESSAGES, place.streamer[key].to_arrow), per_second(MESSAGES, plain)


@rate(at_least=0.35)
def range_to_json_columns(place: Place) -> Iterator[tuple[Measure, Measure]]:
    """Typed columns from JSON, against the same replies, read and not parsed."""
    read = place.streamer[place.fill("json", json_payloads())].json().to_arrow
    yield per_second(MESSAGES, read), per_second(MESSAGES, raw_drain(place, read))


@rate(at_least=4.0)
def range_to_pandas(place: Place) -> Iterator[tuple[Measure, Measure]]:
    """A pandas frame from JSON, against what one writes by hand."""
    key, name = place.fill("json", json_payloads()), FIELD.encode()

    def by_hand() -> pd.DataFrame:
        return pd.DataFrame([json.loads(entry[name]) for _, entry in redis_py_entries(place, key)])

    yield per_second(MESSAGES, place.streamer[key].json().to_pandas), per_second(MESSAGES, by_hand)


def redis_py_entries(place: Place, key: str) -> Iterator[Any]:
    after = "-"
    page: Any
    while page := place.client.xrange(key, after, count=PAGE):
        yield from page
        after = f"({page[-1][0].decode()}"


def raw_drain(place: Place, read: Callable[[], Any]) -> Callable[[], None]:
    """Reads what `read` reads, by the XRANGE commands that the server sees of it."""
    with place.client.monitor() as monitor:
        read()
        place.client.echo("done")
        seen = iter(lambda: monitor.next_command()["command"], "ECHO done")
        commands = [pack(*text.split()) for text in seen if text.startswith("XRANGE")]
    sizes = place.wire.sizes(commands)
    return lambda: place.wire.drain(commands, sizes)
