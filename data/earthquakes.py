"""Rebuild earthquakes.csv from the GeoJSON feed in the npm package vega-datasets 3.2.1.

python data/earthquakes.py node_modules/vega-datasets/data/earthquakes.json
"""

from __future__ import annotations

import csv
import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PROPERTIES = {
    "magnitude": "mag",
    "magnitude_type": "magType",
    "place": "place",
    "significance": "sig",
    "tsunami": "tsunami",
    "network": "net",
    "status": "status",
    "type": "type",
}
COLUMNS = (
    *("time", "id", "magnitude", "magnitude_type", "place", "longitude", "latitude", "depth_km"),
    *("significance", "tsunami", "network", "status", "type"),
)


def row(event: dict[str, Any]) -> dict[str, str | None]:
    """One line of the CSV; numbers are the source's own digits."""
    properties = event["properties"]
    time = EPOCH + timedelta(milliseconds=int(properties["time"]))
    longitude, latitude, depth = event["geometry"]["coordinates"]
    return {
        "time": time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "id": event["id"],
        "longitude": longitude,
        "latitude": latitude,
        "depth_km": depth,
        **{column: properties[name] for column, name in PROPERTIES.items()},
    }


def main(source: Path) -> None:
    """Write the CSV beside this script, in time order, and say how many rows it has."""
    # Numbers stay text: a detour through float could change their digits.
    feed = json.loads(source.read_text(encoding="utf-8"), parse_float=str, parse_int=str)
    rows = sorted(map(row, feed["features"]), key=lambda line: str(line["time"]))
    target = Path(__file__).with_suffix(".csv")
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(f"{len(rows)} rows")  # noqa: T201 - the answer of a script


if __name__ == "__main__":
    main(Path(sys.argv[1]))
