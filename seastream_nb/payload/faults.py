"""What does not fit, and which entry it stood in.

A reason never quotes a value: a payload may be a secret and does not belong in a traceback.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seastream_nb.errors import DecodeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from seastream_nb.rows import Rows


class MisfitError(Exception):
    """Why a payload, or the value at a path of keys within it, cannot be taken."""

    def __init__(self, reason: str, path: tuple[str, ...] = ()) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path = path

    def under(self, key: str) -> MisfitError:
        """The same reason, seen from one object or list further out."""
        return MisfitError(self.reason, (key, *self.path))

    def text(self) -> str:
        """The reason, with the path where that says more than the column.

        >>> MisfitError("a string", ("order", "items", "[]", "price")).text()
        'a string at order.items[].price'
        """
        where = ".".join(self.path).replace(".[]", "[]")
        return f"{self.reason} at {where}" if len(self.path) > 1 else self.reason


class Faults:
    """The rows of one chunk that could not be decoded: raised at once, or kept with a reason."""

    def __init__(self, rows: Rows, *, keep: bool, column_of: Callable[[str], str]) -> None:
        self._rows = rows
        self._keep = keep
        self._column_of = column_of
        self._reasons: dict[int, str] = {}

    def add(self, row: int, misfit: MisfitError) -> None:
        """Keep the reason.

        Raises:
            DecodeError: faults are not kept.
        """
        column = self._column_of(misfit.path[0]) if misfit.path else None
        if not self._keep:
            hint = ' (errors="keep" makes it a row of nulls)'
            raise decode_error(self._rows, row, misfit.text(), column=column, hint=hint)
        what = "not one JSON object" if column is None else f"column {column!r}"
        self._reasons[row] = f"{what}: {misfit.text()}"

    @property
    def reasons(self) -> dict[int, str]:
        """What was kept, by row."""
        return self._reasons


def decode_error(
    rows: Rows, row: int, reason: str, *, column: str | None = None, hint: str = ""
) -> DecodeError:
    """The error that names the entry of a row, its stream, and the column if it is about one."""
    entry_id = str(rows.entry_id(row))
    where = f"entry {entry_id} of {rows.origin_of(row).stream!r}"
    what = " cannot be decoded" if column is None else f", column {column!r}"
    return DecodeError(f"{where}{what}: {reason}{hint}", entry_id=entry_id, column=column)


def misfits(start: int, stop: int, fits: Callable[[int, int], bool]) -> Iterator[int]:
    """The rows that keep a range of rows from fitting, found by halving it.

    >>> list(misfits(0, 8, lambda start, stop: not {2, 5} & set(range(start, stop))))
    [2, 5]
    """
    if fits(start, stop):
        return
    if stop - start == 1:
        yield start
        return
    middle = (start + stop) // 2
    yield from misfits(start, middle, fits)
    yield from misfits(middle, stop, fits)
