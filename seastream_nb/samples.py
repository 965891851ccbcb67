"""Sample data for the demo, the notebooks and the tests.

`earthquakes` are real: a week of the U.S. Geological Survey's feed (see data/README.md).
`prices` are synthetic: a seeded generator makes them up, and no market ever showed them.
"""

from __future__ import annotations

import csv
import json
import math
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Literal

from seastream_nb.message import EPOCH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

MEAN_GAP_MS = 50
MAX_STEP = 0.001


def sample_file(name: str, package: Path) -> Path:
    """Where a sample lies: inside an installed package, or beside it in a checkout."""
    installed = package / "data" / name
    return installed if installed.exists() else package.parent / "data" / name


EARTHQUAKES = sample_file("earthquakes.csv", Path(__file__).parent)

_TYPES: dict[str, Callable[[str], object]] = {
    "time": datetime.fromisoformat,
    "magnitude": float,
    "longitude": float,
    "latitude": float,
    "depth_km": float,
    "significance": int,
    "tsunami": lambda text: text == "1",
}


def earthquakes() -> Iterator[dict[str, object]]:
    """A week of earthquakes in time order, 1,707 rows as typed values.

    `time` is an aware UTC datetime with milliseconds; `magnitude`, `longitude` and `latitude`
    (degrees) and `depth_km` are floats, `significance` is an int, `tsunami` a bool, the rest
    text; an empty cell is None. Source: U.S. Geological Survey, 2018-01-31 to 2018-02-07.

    >>> quake = next(earthquakes())
    >>> quake["time"].isoformat(), quake["magnitude"], quake["place"]
    ('2018-01-31T01:49:59.650000+00:00', 0.31, '37km NNE of Amboy, Washington')

    Raises:
        FileNotFoundError: neither the package nor a checkout around it has the file.
    """
    with EARTHQUAKES.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield {
                name: _TYPES.get(name, str)(text) if text else None for name, text in row.items()
            }


@dataclass(frozen=True, slots=True)
class Tick:
    """One synthetic trade: Unix time in milliseconds, price to the cent, volume in units."""

    time_ms: int
    symbol: str
    price: float
    volume: int
    side: Literal["buy", "sell"]

    @property
    def time(self) -> datetime:
        """When it was traded, an aware UTC time.

        >>> Tick(time_ms=1, symbol="SEA", price=2.5, volume=3, side="buy").time.isoformat()
        '1970-01-01T00:00:00.001000+00:00'
        """
        return EPOCH + timedelta(milliseconds=self.time_ms)

    def json(self) -> str:
        """The tick as compact JSON, its keys in the order of the fields.

        >>> Tick(time_ms=1, symbol="SEA", price=2.5, volume=3, side="buy").json()
        '{"time_ms":1,"symbol":"SEA","price":2.5,"volume":3,"side":"buy"}'
        """
        return json.dumps(asdict(self), separators=(",", ":"))


def prices(
    symbols: Sequence[str] = ("SEA", "ORC", "EEL"),
    *,
    start: datetime = datetime(2026, 1, 5, 9, 30, tzinfo=UTC),
    count: int = 1000,
    seed: int = 7,
) -> Iterator[Tick]:
    """A synthetic price feed: `count` invented ticks, the same for the same arguments.

    Each price is a geometric random walk with steps of up to 0.1 %. The gaps are exponential
    with a mean of 50 ms, cut to whole milliseconds: some ticks share one. Times never decrease.

    >>> next(prices()).json()
    '{"time_ms":1767605400003,"symbol":"ORC","price":47.14,"volume":29,"side":"sell"}'

    Raises:
        TypeError: `start` is naive.
    """
    # Of all its methods only `random()` promises the same numbers in every Python version.
    uniform = Random(seed).random  # noqa: S311 - invented data, not a secret
    time_ms = (start - EPOCH) // timedelta(milliseconds=1)
    last = {symbol: 20 + 180 * uniform() for symbol in symbols}
    for _ in range(count):
        time_ms += int(-MEAN_GAP_MS * math.log(1 - uniform()))
        symbol = symbols[int(uniform() * len(symbols))]
        last[symbol] *= 1 + MAX_STEP * (2 * uniform() - 1)
        yield Tick(
            time_ms=time_ms,
            symbol=symbol,
            price=round(last[symbol], 2),
            volume=1 + int(500 * uniform()),
            side="buy" if uniform() < 0.5 else "sell",
        )
