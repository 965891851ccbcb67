"""How long and how much: durations in whole nanoseconds, sizes in whole bytes.

Text is read with exact arithmetic, so "0.1s" is 100,000,000 ns and nothing near it.
"""

from __future__ import annotations

import operator
import re
from datetime import timedelta
from fractions import Fraction
from typing import Any

import numpy as np

from seastream_nb.errors import ConfigError, TimeTypeError

Duration = float | timedelta | np.timedelta64 | str
Size = int | str

NS_PER_SECOND = 1_000_000_000
# A longer duration or a larger size would overflow what it is handed to: sockets, Arrow, numpy.
MAX_I64 = 2**63 - 1

_FORMS = "write seconds, a timedelta or text such as '250ms' or '1h30m'"
# From the longest to the shortest: the order in which a text names them.
_UNIT_NS = {
    "w": 604_800 * NS_PER_SECOND,
    "d": 86_400 * NS_PER_SECOND,
    "h": 3_600 * NS_PER_SECOND,
    "m": 60 * NS_PER_SECOND,
    "s": NS_PER_SECOND,
    "ms": 1_000_000,
    "us": 1_000,
    "ns": 1,
}
# Python refuses to read integers of thousands of digits; no quantity needs more than these.
_NUMBER = r"\d{1,20}(?:\.\d{1,20})?"
_DURATION = re.compile(
    "".join(
        rf"(?:({_NUMBER}) ?{'m(?:in)?' if unit == 'm' else unit} ?)?"  # pandas writes "10min"
        for unit in _UNIT_NS
    ),
    re.ASCII,
)
_SIZE = re.compile(rf"({_NUMBER}) ?(?:([kmgt])(i?))?b?", re.ASCII | re.IGNORECASE)


def whole(value: Any) -> int | None:
    """The int that an integer of any library stands for; None for what is none, as a bool.

    >>> whole(3), whole(np.uint64(2**63)), whole(True), whole(2.0)
    (3, 9223372036854775808, None, None)
    """
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def parse_duration(value: Duration) -> int:
    """The whole nanoseconds of a duration, rounded to the nearest one.

    A number counts seconds. A text gives numbers with units, `w d h m s ms us ns`, the longest
    first. `timedelta`, `pandas.Timedelta` and `numpy.timedelta64` keep their nanoseconds.

    >>> parse_duration("250ms"), parse_duration("1h30m"), parse_duration(0.1)
    (250000000, 5400000000000, 100000000)

    Raises:
        TimeTypeError: the value is of a type that is never a duration, such as None or bool.
        ConfigError: it cannot be read, is not above zero, or is longer than 292 years.
    """
    ns = _nanoseconds(value)
    if 0 < ns <= MAX_I64:
        return ns
    raise ConfigError(f"{value!r} is no duration: {_FORMS}, above zero and at most 292 years")


def _nanoseconds(value: object) -> int:
    """The nanoseconds, or 0, which no duration is, for what cannot be read."""
    if isinstance(value, str):
        return _text_ns(value.strip())
    if hasattr(value, "to_timedelta64"):
        value = value.to_timedelta64()  # pandas: a timedelta that also holds nanoseconds
    if isinstance(value, np.timedelta64):
        return _timedelta64_ns(value)
    if isinstance(value, timedelta):
        return value // timedelta(microseconds=1) * 1_000
    if isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool):
        return _seconds_ns(value)
    raise TimeTypeError(f"{type(value).__name__} is never a duration: {_FORMS}")


def _text_ns(text: str) -> int:
    match = _DURATION.fullmatch(text)
    counts = match.groups("0") if match else ()
    parts = zip(counts, _UNIT_NS.values(), strict=False)
    return round(sum(Fraction(count) * unit_ns for count, unit_ns in parts))


def _timedelta64_ns(value: np.timedelta64) -> int:
    if np.isnat(value):
        return 0
    # Months and years have no fixed length, a generic timedelta64 has no unit: not in the table.
    unit, step = np.datetime_data(value.dtype)
    unit_ns = _UNIT_NS.get({"W": "w", "D": "d"}.get(unit, unit), 0)
    return int(value.astype(np.int64)) * step * unit_ns


def _seconds_ns(seconds: float | np.integer | np.floating) -> int:
    try:
        return round(Fraction(float(seconds)) * NS_PER_SECOND)
    except (ValueError, OverflowError):  # NaN; infinity, or an int beyond every float
        return 0


def parse_size(value: Size) -> int:
    """The bytes of a size; a part of a byte is dropped.

    Upper and lower case are the same: with an `i` the unit is a power of 1024, without it a
    power of 1000, and the `B` may be left out.

    >>> parse_size("64MiB"), parse_size("1.5GB"), parse_size("512k"), parse_size(4096)
    (67108864, 1500000000, 512000, 4096)

    Raises:
        ConfigError: it cannot be read, or is not between 1 byte and 2**63 - 1.
    """
    size = whole(value) or 0
    if isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())):
        number, prefix, binary = match.groups()
        power = "kmgt".index(prefix.lower()) + 1 if prefix else 0
        size = int(Fraction(number) * (1024 if binary else 1000) ** power)
    if 0 < size <= MAX_I64:
        return size
    raise ConfigError(
        f"{value!r} is no size: write bytes as an int, or text such as '64MiB' or '1.5GB'"
    )
