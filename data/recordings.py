"""Makes `earthquakes.ss` and `prices.ss` anew, from the samples: `python data/recordings.py`.

All but the time of creation, in their headers, comes out byte for byte as before.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, cast

import seastream_nb as ss
from seastream_nb.samples import earthquakes, prices

if TYPE_CHECKING:
    from datetime import datetime

HERE = Path(__file__).parent


def main() -> None:
    """Write both files."""
    for name in ("earthquakes.ss", "prices.ss"):
        (HERE / name).unlink(missing_ok=True)
    # As a SeaStreamer producer into a file writes: numbered from 1.
    with (
        ss.connect(HERE / "earthquakes.ss", create="exclusive", beacon_interval="32KiB") as file,
        file.producer("earthquakes") as producer,
    ):
        for each in earthquakes():
            time = cast("datetime", each["time"])
            record = {**each, "time": time.isoformat(timespec="milliseconds")}
            producer.send(json.dumps(record), timestamp=time)
    # As an export of a server is: with the ids and shards that it had.
    with ss.embedded() as server, ss.connect(server.url, beacon_interval="32KiB") as streamer:
        with streamer.producer("prices", sharder=ss.RoundRobinSharder(3)) as producer:
            for tick in prices(count=2_000):
                producer.send(tick.json(), timestamp=tick.time)
        streamer["prices"].to_ss(HERE / "prices.ss")


if __name__ == "__main__":
    main()
