"""What options of a command or a magic ask for, as calls on a stream. No I/O.

One list of calls is made, and either run or written out, so that what is shown is what happens.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from seastream_nb.errors import ConfigError

StreamT = TypeVar("StreamT")


class Call(NamedTuple):
    """A builder or a terminal, and what it is given.

    >>> str(Call("since", ("02:10",))), str(Call("to_ss", ("a.ss",), {"overwrite": True}))
    (".since('02:10')", ".to_ss('a.ss', overwrite=True)")
    """

    builder: str
    arguments: tuple[Any, ...] = ()
    options: Mapping[str, Any] = MappingProxyType({})

    def __str__(self) -> str:
        options = (f"{name}={each!r}" for name, each in self.options.items())
        return f".{self.builder}({', '.join([*map(repr, self.arguments), *options])})"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A part of a stream, and what its payloads become.

    Attributes:
        decoding: `json`, `text`, `fields`, or None for the bytes.
        last: a number of messages, or a window such as `10m`.
    """

    shards: Sequence[int] = ()
    since: Any = None
    until: Any = None
    decoding: str | None = None
    last: str | None = None
    first: int | None = None
    columns: Sequence[str] = ()

    def calls(self) -> list[Call]:
        """The builders in an order that is always allowed: what counts messages comes late.

        >>> written(Asked(last="5", since="02:10", decoding="json").calls())
        ".since('02:10').json().last(5)"
        """
        found = [
            self.shards and Call("shard", tuple(self.shards)),
            self.since is not None and Call("since", (self.since,)),
            self.until is not None and Call("until", (self.until,)),
            self.decoding and Call(self.decoding),
            self.last is not None and Call("last", (_number_or_window(self.last),)),
            self.first is not None and Call("first", (self.first,)),
            self.columns and Call("select", tuple(self.columns)),
        ]
        return [call for call in found if isinstance(call, Call)]

    def of(self, stream: StreamT) -> StreamT:
        """That part of a stream; nothing is read.

        Raises:
            ConfigError: what cannot be meant, such as a time that is none.
        """
        part: StreamT = built(stream, self.calls())
        return part


def built(stream: Any, calls: Iterable[Call]) -> Any:
    """What the calls give, one after the other: a stream, or what a terminal of it gives."""
    for call in calls:
        stream = getattr(stream, call.builder)(*call.arguments, **call.options)
    return stream


def written(calls: Iterable[Call]) -> str:
    """The calls as Python, after the name of what they are called on.

    >>> "stream" + written([Call("json"), Call("count")])
    'stream.json().count()'
    """
    return "".join(map(str, calls))


def only_decoding(**wanted: bool) -> str | None:
    """The one decoding that an option asks for.

    Raises:
        ConfigError: several do.
    """
    chosen = [name for name, value in wanted.items() if value]
    if len(chosen) > 1:
        raise ConfigError(f"give one of {', '.join(wanted)}: {' and '.join(chosen)} were given")
    return chosen[0] if chosen else None


def place(target: str | None) -> str | Path | None:
    """What `connect` is to be given: a file's name is no name of a connection.

    >>> place("redis://localhost"), place(None), place("ticks.ss").name
    ('redis://localhost', None, 'ticks.ss')
    """
    if target is not None and target.endswith(".ss") and "://" not in target:
        return Path(target)
    return target


def pace(speed: str) -> float | None:
    """How many times as fast as it was; None for `max`.

    Raises:
        ConfigError: it is no factor.
    """
    try:
        return None if speed == "max" else float(speed)
    except ValueError:
        raise ConfigError(f"--speed {speed!r}: give a factor such as 10, or max") from None


def _number_or_window(last: str) -> int | str:
    return int(last) if last.isdecimal() else last
