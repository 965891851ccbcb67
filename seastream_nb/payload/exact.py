"""The exact way from payloads to columns: each one parsed alone, misfits set aside.

Arrow still makes the columns, from the lines that were found good, so that a value becomes the same
in both ways.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from seastream_nb.payload import ndjson
from seastream_nb.payload.faults import Faults, MisfitError, misfits
from seastream_nb.payload.strict import parse_object

Accept = Callable[[int, bytes, dict[str, Any]], bytes]
"""Takes row, payload and its object; gives the line to read for it, or raises `MisfitError`."""

_NOTHING = b"{}"


def accepted_lines(payloads: pa.BinaryArray, accept: Accept, faults: Faults) -> list[bytes]:
    """One line of JSON a payload; `{}` for a misfit."""
    lines = []
    for row, payload in enumerate(payloads.to_pylist()):
        try:
            lines.append(accept(row, payload, parse_object(payload)))
        except MisfitError as misfit:
            faults.add(row, misfit)
            lines.append(_NOTHING)
    return lines


def read_lines(lines: list[bytes], types: ndjson.Types, faults: Faults) -> ndjson.Columns:
    """Exactly the columns of `types`; a line with a value that does not fit is a misfit too."""

    def fits(start: int, stop: int) -> bool:
        return _reads(lines[start:stop], types)

    for row in misfits(0, len(lines), fits):
        faults.add(row, _blame(lines[row], types))
        lines[row] = _NOTHING
    return ndjson.read_lines(pa.array(lines, pa.binary()), types)


def _blame(line: bytes, types: ndjson.Types) -> MisfitError:
    if not _reads([line], {}):
        # It is JSON, but Arrow's reader refuses 0e400.
        return MisfitError("a number with an exponent too large for a float64")
    column = next(key for key, kind in types.items() if not _reads([line], {key: kind}))
    return MisfitError(f"a value that does not fit {types[column]}", (column,))


def _reads(lines: list[bytes], types: ndjson.Types) -> bool:
    try:
        ndjson.read_lines(pa.array(lines, pa.binary()), types)
    except pa.ArrowInvalid:
        return False
    return True
