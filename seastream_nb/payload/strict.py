"""One payload -> one JSON object, exactly: the judge of what is JSON.

Python's parser follows RFC 8259 except for what is refused here on top: `NaN` and `Infinity`,
repeated keys (one value would be lost), numbers that no float64 can hold, lone surrogates, and
nesting so deep that recursive readers crash on it.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

from seastream_nb.payload.faults import MisfitError

MAX_DEPTH = 100
"""How deep objects and lists may be nested. Arrow's reader overflows the stack at some 10,000."""

_TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels"


def parse_object(payload: bytes) -> dict[str, Any]:
    r"""The object that a payload is.

    >>> parse_object(b' {"a": [1, 2.5]}\n')
    {'a': [1, 2.5]}

    Raises:
        MisfitError: the payload is anything but exactly one JSON object.
    """
    value = _parse(payload)
    if not isinstance(value, dict):
        raise MisfitError(f"a JSON {_KINDS[type(value)]}, not an object")
    # Each level has a bracket of its own, so counting them settles nearly every payload.
    if payload.count(b"{") + payload.count(b"[") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise MisfitError(_TOO_DEEP)
    if b"\\u" in payload:
        _refuse_lone_surrogates(value)
    return value


def _parse(payload: bytes) -> Any:
    try:
        return _DECODER.decode(payload.decode())
    except UnicodeDecodeError as error:
        raise MisfitError(f"not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise MisfitError(f"{error.msg.rstrip(': ')} (character {error.pos})") from None
    except RecursionError:
        raise MisfitError(_TOO_DEEP) from None
    except ValueError:
        # `int` refuses to read thousands of digits.
        raise MisfitError("an integer of too many digits") from None


def _refuse_lone_surrogates(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise MisfitError("a lone surrogate, which no UTF-8 text can hold") from None


def _depth(value: Any) -> int:
    if not isinstance(value, dict | list):
        return 0
    children = value.values() if isinstance(value, dict) else value
    return 1 + max(map(_depth, children), default=0)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise MisfitError("a key occurs twice in one object")
    return found


def _finite_float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise MisfitError("a number that no float64 can hold")
    return value


def _no_constant(name: str) -> NoReturn:
    raise MisfitError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique_keys, parse_float=_finite_float, parse_constant=_no_constant
)
_KINDS = {
    list: "list",
    str: "string",
    int: "number",
    float: "number",
    bool: "boolean",
    type(None): "null",
}
