"""What a seek or rewind means in a file: from which edge to read, and the first message there."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from seastream_nb.errors import ConfigError
from seastream_nb.file.reader import later_than, numbered_from
from seastream_nb.file.selection import Selection
from seastream_nb.file.session import in_thread
from seastream_nb.file.survey import Begin, Survey
from seastream_nb.file.tail import Tail
from seastream_nb.keys import MAX_U64, EntryId, SeqPos, split_shard
from seastream_nb.message import NS_PER_MS
from seastream_nb.options import ConnectOptions
from seastream_nb.times import Edge, Instant, Position, When, after, parse_when, resolve

Target = tuple[Edge, Begin | None]


async def sought(when: When | int, path: Path, connection: ConnectOptions) -> Target:
    """The first message strictly later than a time, an id or a message.

    Raises:
        ConfigError: it cannot be read.
        FileError: it is relative to the last message, which cannot be looked up.
    """
    position: Position
    if isinstance(when, int | np.integer):
        position = Instant(int(when))
    else:
        moment = parse_when(when, tz=connection.tz)
        position = resolve(moment, await now_ns(path, connection) if moment.needs_now else 0)
    if isinstance(position, Edge):
        return position, None
    return Edge.EARLIEST, later_than(EntryId(*after(position, unit_ns=NS_PER_MS)))


def rewound(to: SeqPos) -> Target:
    """The beginning, the end, or the message with a sequence number, or a higher one.

    >>> rewound("end")
    (<Edge.LATEST: EntryId(ms=18446744073709551615, sub=18446744073709551615)>, None)

    Raises:
        ConfigError: it is none of these.
    """
    if to in ("beginning", "end"):
        return Edge.EARLIEST if to == "beginning" else Edge.LATEST, None
    if isinstance(to, int | np.integer) and 0 <= to <= MAX_U64:
        return Edge.EARLIEST, numbered_from(int(to))
    raise ConfigError(f"rewind({to!r}): give 'beginning', 'end' or a sequence number")


async def now_ns(path: Path, connection: ConnectOptions) -> int:
    """Just after the last message: what "now" means in a file, unless the connection says it."""
    if connection.now is not None:
        return connection.now
    _, last_ms = await at_edge(path, Edge.LATEST)
    return ((last_ms or 0) + 1) * NS_PER_MS


async def at_edge(path: Path, edge: Edge) -> tuple[Tail, int | None]:
    """The file from its first message on, or from behind the last one, with that one's time."""
    if edge is Edge.LATEST:
        return await in_thread(lambda: Tail.at_end(path))
    return await in_thread(lambda: Tail(path)), None


async def near(path: Path, begin: Begin, selection: Selection) -> Tail:
    """The file from not long before the first selected message to begin at."""
    return await in_thread(lambda: _near(path, begin, selection))


def _near(path: Path, begin: Begin, selection: Selection) -> Tail:
    tail = Tail(path)
    blocks = tail.opened()
    # Which streams "all of them" are, no beacon tells for certain.
    if blocks is not None and not selection.wildcard:
        split = [(key, split_shard(key.encode())) for key in selection.keys]
        keys = frozenset(of_shard[0] if of_shard else key for key, of_shard in split)
        tail.offset = Survey(blocks).before(
            keys, lambda pair: selection.origin(pair) is not None, begin, blocks.size()
        )
    return tail
