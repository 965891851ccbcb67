"""What an option's value may be: each check gives the value that is meant, or a `ConfigError`.

The error says what to give; who knows the option's name puts it before.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np

from seastream_nb.errors import ConfigError
from seastream_nb.keys import key_bytes
from seastream_nb.quantities import MAX_I64, parse_duration, parse_size, whole
from seastream_nb.times import Fixed, Instant, parse_when
from seastream_nb.url import Secret

Check = Callable[[Any], Any]

_ZERO = re.compile(r"0+ ?(?:w|d|h|m|min|s|ms|us|ns)")
_NUMBERS = int | float | timedelta | np.integer | np.timedelta64


def named(name: str, value: Any, check: Check) -> Any:
    """What the check makes of an argument.

    Raises:
        ConfigError: naming the argument.
    """
    try:
        return check(value)
    except ConfigError as error:
        shown = "***" if name == "password" else repr(value)
        raise type(error)(f"{name}={shown}: {error}") from None


def one_of(*allowed: str) -> Check:
    """One of a few words."""

    def check(value: Any) -> Any:
        if isinstance(value, str) and value in allowed:
            return value
        raise ConfigError(f"choose one of {', '.join(map(repr, allowed))}")

    return check


def or_none(check: Check) -> Check:
    """None, or what the check allows."""
    return lambda value: None if value is None else check(value)


def flag(value: Any) -> bool:
    """True or False, and nothing that merely counts as one of them."""
    if type(value) is bool:
        return value
    raise ConfigError("give True or False")


def number_from(least: int) -> Check:
    """A whole number, `least` or more."""

    def check(value: Any) -> int:
        number = whole(value)
        if number is not None and number >= least:
            return number
        raise ConfigError(f"give a whole number, {least} or more")

    return check


def message_count(said: str, count: Any) -> int:
    """How many messages are meant; what is more than Arrow can count means all.

    Raises:
        ConfigError: with what was said, such as "first(-1)".
    """
    number = whole(count)
    if number is None or number < 0:
        raise ConfigError(f"{said}: give a number of messages, 0 or more")
    return min(number, MAX_I64)


def shard_number(given: Any) -> int:
    """The number of a shard."""
    shard = whole(given)
    if shard is None or shard < 0:
        raise ConfigError(f"shard({given!r}): a shard is a number, 0 or more")
    return shard


def text(value: Any) -> str:
    """Text that is not empty."""
    if isinstance(value, str) and value:
        return value
    raise ConfigError("give a text that is not empty")


def name(value: Any) -> bytes:
    """A name as Redis holds it, from text or bytes that are not empty."""
    if isinstance(value, str | bytes) and value:
        return key_bytes(value)
    raise ConfigError("give a name, as text or bytes")


def secret(value: Any) -> Secret:
    """Text that must not be shown."""
    if isinstance(value, str | Secret):
        return Secret(value) if isinstance(value, str) else value
    raise ConfigError(f"give a text, not {type(value).__name__}")


def file(value: Any) -> str:
    """The path of a file that is there."""
    if isinstance(value, str | os.PathLike) and Path(value).is_file():
        return os.fspath(value)
    raise ConfigError("there is no such file")


def seconds(value: Any) -> float:
    """The seconds of a duration, which is more than nothing.

    >>> seconds("250ms")
    0.25
    """
    return parse_duration(value) / 1e9


def seconds_or_zero(value: Any) -> float:
    """The seconds of a duration, which may be zero.

    >>> seconds_or_zero("0s"), seconds_or_zero(0), seconds_or_zero("1m")
    (0.0, 0.0, 60.0)
    """
    if isinstance(value, str):
        zero = _ZERO.fullmatch(value) is not None
    else:
        zero = isinstance(value, _NUMBERS) and value is not False and not value
    return 0.0 if zero else seconds(value)


def size_or_auto(value: Any) -> int | Literal["auto"]:
    """A size in bytes, or "auto"."""
    return "auto" if isinstance(value, str) and value == "auto" else parse_size(value)


def beacon_interval(value: Any) -> int:
    """A multiple of 1 KiB that four bytes hold, as SeaStreamer asks for.

    >>> beacon_interval("1MiB")
    1048576
    """
    size = parse_size(value)
    if size % 1024 or not 0 < size < 2**32:
        raise ConfigError("give a multiple of 1 KiB below 4 GiB")
    return size


def instant_ns(value: Any, zone: str) -> int:
    """One point in time, in nanoseconds since the epoch; naive times are read in `zone`."""
    moment = parse_when(value, tz=zone)
    if isinstance(moment, Fixed) and isinstance(moment.position, Instant):
        return moment.position.ns
    raise ConfigError("give one point in time, such as '2026-11-23T02:30Z'")
