"""Consumers of files for tests, through the blocking facade."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import seastream_nb as ss
from seastream_nb import portal
from seastream_nb.file.consumer import FileConsumer
from seastream_nb.file.format import INTERNAL_KEY, Frame, Place
from seastream_nb.file.writer import FileWriter
from seastream_nb.options import ConnectOptions, ConsumerOptions

SOON = 20.0


def opened(path: Path, *keys: str | bytes, **options: Any) -> FileConsumer:
    connection = options.pop("connection", ConnectOptions())
    opening = FileConsumer.open(
        path, keys, ConsumerOptions.make(options), connection, release=lambda _: None
    )
    return portal.run(opening)


@contextmanager
def consuming(path: Path, *keys: str | bytes, **options: Any) -> Iterator[ss.Consumer]:
    """A consumer; from the earliest message, unless something else is said."""
    with ss.Consumer(opened(path, *keys, **({"auto_stream_reset": "earliest"} | options))) as made:
        yield made


def message(n: int, key: str = "a", shard: int = 0, ms: int | None = None) -> Frame:
    at = 1_700_000_000_000 + n if ms is None else ms
    return Frame.of(Place(key, shard, n, at), f"{key}-{n}".encode())


def messages(first: int, last: int, key: str = "a", shard: int = 0) -> list[Frame]:
    return [message(n, key, shard) for n in range(first, last + 1)]


def write(path: Path, frames: list[Frame], *, eos: bool = False) -> None:
    """Add messages, with the end mark if that is said."""
    with FileWriter(path, create="if_missing", beacon_interval=1024) as writer:
        writer.write(frames)
        writer.end(eos=eos)


def told(message: ss.Message) -> tuple[str, int, int | None]:
    return message.stream, message.shard, message.sequence


def numbers(taken: list[ss.Message]) -> list[int | None]:
    return [each.sequence for each in taken]


MARK = (INTERNAL_KEY, 0, 0)
