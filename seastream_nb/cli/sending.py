"""Commands that send messages on."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import seastream_nb as ss
from seastream_nb.asking import Asked, pace
from seastream_nb.cli.options import (
    AsJson,
    From,
    Group,
    Input,
    Keys,
    Last,
    Now,
    Offset,
    Output,
    Since,
    Speed,
    StartOf,
    To,
    Until,
)
from seastream_nb.cli.output import note, print_bytes, print_json
from seastream_nb.cli.streams import connected, print_rows
from seastream_nb.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa


def replay(
    keys: Keys,
    to: To = None,
    speed: Speed = "1",
    now: Now = False,
    since: Since = None,
    until: Until = None,
    last: Last = None,
    target: From = None,
    as_json: AsJson = False,
) -> None:
    """Give out the messages of a range again, at the pace at which they came.

    With --to they go into another place, with their ids and into their shards; without it they are
    printed.
    """
    factor = pace(speed)
    with connected(target) as streamer:
        stream = Asked(since=since, until=until, last=last).of(streamer.stream(*keys))
        if to is None:
            if now:
                raise ConfigError("--now is about what --to writes")
            print_rows(_batches(stream, factor), as_json)
            return
        report = stream.replay_to(to, speed=factor, timestamps="now" if now else "original")
    if as_json:
        print_json(asdict(report))
    else:
        print_bytes([f"{report.messages:,} messages in {report.seconds:.1f} s\n".encode()])


def _batches(stream: ss.Stream, speed: float | None) -> Iterator[pa.RecordBatch]:
    """One message at a time, each when it is due."""
    import pyarrow as pa

    with stream.replay(speed=speed) as messages:
        for each in messages:
            columns = {
                "timestamp": pa.array([each.timestamp], pa.timestamp("us", "UTC")),
                "stream": pa.array([each.stream]),
                "shard": pa.array([each.shard], pa.uint64()),
                "id": pa.array([each.id]),
                "payload": pa.array([each.payload], pa.binary()),
            }
            yield pa.RecordBatch.from_pydict(columns)


def relay(
    source: Input,
    output: Output,
    offset: Offset = StartOf.END,
    group: Group = None,
) -> None:
    """Send the messages of one place on to another, until the input ends or Ctrl-C."""
    # Imported late: the other commands start without it.
    from seastream_nb.relaying import Relay

    running = Relay(source, output, offset=offset.value, group=group)
    try:
        running.run_blocking()
    finally:
        messages = "1 message" if running.messages == 1 else f"{running.messages:,} messages"
        note(f"{messages} relayed")
