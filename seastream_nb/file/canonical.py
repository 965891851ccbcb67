r"""JSON read and written again as SeaStreamer's tools do it. Pure functions.

What they print depends on their JSON library in details that a diff of two outputs shows: keys are
sorted and the last of equal keys wins, integers beyond 64 bits are floats, floats have their own
notation and are read with two roundings. What it refuses, Python's would partly accept: NaN,
numbers that are infinite, half a surrogate pair, more than 127 levels.
"""

from __future__ import annotations

import json
import re
from math import inf
from typing import NoReturn

_MOST_LEVELS = 127
_MOST_U64 = 2**64 - 1
_LEAST_I64 = -(2**63)
_MOST_I32 = 2**31 - 1
# The largest power of ten that is a float.
_MOST_POWER = 308
# Up to here one rounding gives the same as two: 15 digits are exact, and so is their divisor.
_EXACT_LENGTH = 16

_NUMBER = re.compile(r"(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?)(\d+))?", re.ASCII)
_STRING = r'"(?:[^"\\]|\\.)*"'
_BRACKET = re.compile(rf"{_STRING}|([\[{{])|([\]}}])", re.DOTALL)
_EXPONENT = re.compile(rf"{_STRING}|(-?)(\d)(?:\.(\d+))?e([+-]\d+)", re.DOTALL)
_ESCAPE = re.compile(r"\\u[dD][89abAB]..\\u[dD][c-fC-F]..|(\\u[dD][89a-fA-F]..)|\\.", re.DOTALL)


def canonical(text: str) -> str | None:
    """One JSON value, written compactly with sorted keys; None for what is no JSON.

    >>> canonical('{"b": 1e3, "a": [1, -0, 0.00001, 1e16]}')
    '{"a":[1,-0.0,0.00001,1e16],"b":1000.0}'
    >>> canonical("NaN"), canonical("1e400"), canonical("[1,]")
    (None, None, None)
    """
    try:
        written = _encode(_decode(text))
    except (ValueError, RecursionError):
        return None
    if not _shallow(text) or _has_lone_surrogate(text):
        return None
    if "e-" in written or "e+" in written:
        return _EXPONENT.sub(_with_exponent, written)
    return written


def json_string(text: str) -> str:
    r"""The text as a JSON string, in which only what must be is escaped.

    >>> print(json_string('é "\n\x01'))
    "é \"\n\u0001"
    """
    return _encode(text)


def _shallow(text: str) -> bool:
    """Whether valid JSON has few enough levels; counting brackets settles most of it."""
    if text.count("[") + text.count("{") <= _MOST_LEVELS:
        return True
    level = 0
    for match in _BRACKET.finditer(text):
        level += bool(match[1]) - bool(match[2])
        if level > _MOST_LEVELS:
            return False
    return True


def _has_lone_surrogate(text: str) -> bool:
    return "\\u" in text and any(match[1] for match in _ESCAPE.finditer(text))


# Numbers.


def _integer(text: str) -> int | float:
    if len(text) < len("1000000000000000000") and text != "-0":
        return int(text)
    return _long_integer(text)


def _long_integer(text: str) -> int | float:
    # Python refuses to read integers of thousands of digits.
    if len(text) <= len("-18446744073709551615"):
        value = int(text)
        if value and _LEAST_I64 <= value <= _MOST_U64:
            return value
    return _twice_rounded(text)


def _real(text: str) -> float:
    if len(text) <= _EXACT_LENGTH and "e" not in text and "E" not in text:
        return float(text)
    return _twice_rounded(text)


def _twice_rounded(text: str) -> float:
    """The digits that fit 64 bits become a float, which a power of ten then multiplies or divides.

    >>> _twice_rounded("123456789012345680000"), float("123456789012345680000")
    (1.2345678901234567e+20, 1.2345678901234568e+20)
    """
    match = _NUMBER.fullmatch(text)
    assert match is not None
    sign, whole, fraction, exponent_sign, exponent_digits = match.groups()
    digits, exponent = _significant(whole, fraction or "")
    written = int((exponent_digits or "0").lstrip("0")[:11] or "0")
    negative = exponent_sign == "-"
    if written > _MOST_I32:
        if digits and not negative:
            raise ValueError("the number is infinite")
        value = 0.0
    else:
        value = _scaled(float(digits), exponent + (-written if negative else written))
    return -value if sign else value


def _significant(whole: str, fraction: str) -> tuple[int, int]:
    """The first digits as an integer, and which power of ten it counts."""
    digits = int(whole[:19])
    exponent = 0
    for place in range(19, len(whole)):
        if (longer := 10 * digits + int(whole[place])) > _MOST_U64:
            exponent = len(whole) - place
            break
        digits = longer
    for place, digit in enumerate(fraction):
        if (longer := 10 * digits + int(digit)) > _MOST_U64:
            return digits, exponent - place
        digits = longer
    if fraction and exponent == len(fraction):
        # It tells by this that a fraction has no digits, and is wrong once in 2**64.
        raise ValueError("the number is taken for one without a fraction")
    return digits, exponent - len(fraction)


def _scaled(value: float, exponent: int) -> float:
    while exponent < -_MOST_POWER and value:
        value /= 1e308
        exponent += _MOST_POWER
    if not value:
        return value
    if exponent < 0:
        return value / float(f"1e{-exponent}")
    value = value * float(f"1e{exponent}") if exponent <= _MOST_POWER else inf
    if value == inf:
        raise ValueError("the number is infinite")
    return value


def _with_exponent(match: re.Match[str]) -> str:
    """A float as Python writes it with an exponent, in the other notation."""
    sign, first, rest, exponent = match.groups()
    if first is None:  # a string
        return match[0]
    if exponent == "-05":
        return f"{sign}0.0000{first}{rest or ''}"
    return f"{sign}{first}{f'.{rest}' if rest else ''}e{int(exponent)}"


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


_decode = json.JSONDecoder(parse_int=_integer, parse_float=_real, parse_constant=_refuse).decode
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode
