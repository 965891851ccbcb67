"""The demo: a week of real earthquakes goes into a sharded stream and comes back as frames.

Run it with `make demo`. It needs no server of yours: it starts a private one, which ends with it.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pandas as pd

import seastream_nb as ss
from seastream_nb import samples

# One private server a process: everything that connects to this target shares it.
TARGET = "embedded:"
COLUMNS = ("timestamp", "magnitude", "depth_km", "place")
HOUR = pd.Timedelta(hours=1)


class Steps:
    """The steps of the demo and the seconds that each took."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, float]] = []

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Show a heading, and time what is done under it."""
        print(f"\n{title}\n{'-' * len(title)}")
        start = time.perf_counter()
        yield
        self.taken.append((title, time.perf_counter() - start))

    def show(self) -> None:
        """Print the table of times."""
        print("\nseconds  step")
        for title, seconds in [*self.taken, ("all of it", sum(each for _, each in self.taken))]:
            print(f"{seconds:7.3f}  {title}")


def main() -> None:
    """Run every step; an error of the package ends the program with status 1."""
    steps = Steps()
    try:
        with steps.step("Start a private server and connect"):
            streamer = ss.connect(TARGET)
            print(streamer)
        with streamer:
            run(streamer, steps)
    except ss.errors.StreamError as error:
        sys.exit(f"The demo failed: {error}")
    steps.show()
    print("\nHow it was done: seastream_nb/demo.py. As a story: notebooks/01_quickstart.ipynb.")


def run(streamer: ss.Streamer, steps: Steps) -> None:
    """Every step after connecting."""
    with steps.step("Send a week of earthquakes, at their own times, and a price feed"):
        send_earthquakes(streamer)
        send_prices(streamer)
    with steps.step("List the streams"):
        print(streamer.catalog())
    with steps.step("Look at the end of the price feed"):
        show_prices(streamer)
    with steps.step("Go through the week page by page, and find the strongest earthquake"):
        strongest = find_strongest(streamer)
    since = strongest.floor("30min")
    until = since + HOUR
    with steps.step(f"Read what happened between {since:%H:%M} and {until:%H:%M} that day"):
        frame = streamer["earthquakes"][since:until].json().select(*COLUMNS).to_pandas()
        print(frame.to_string(index=False))
    with steps.step("Count the earthquakes of each hour around it"):
        show_rate(streamer, since.floor("h"))
    with steps.step("Seek a consumer to the strongest one, and take what came next"):
        show_next(streamer, strongest)
    with steps.step("Read the same hour, and the week, with await"):
        awaited, pages = asyncio.run(read_async(since, until))
        compare(frame, awaited, pages)


def send_earthquakes(streamer: ss.Streamer) -> None:
    """One message a row of a frame; all events of one seismic network go to the same shard."""
    frame = pd.DataFrame(samples.earthquakes())
    sharder = ss.KeyHashSharder(3, key=lambda payload: json.loads(payload)["network"])
    with streamer.producer("earthquakes", sharder=sharder) as producer:
        sent = producer.send_frame(frame, timestamp="time")
    print(f"{sent:,} earthquakes are in the stream 'earthquakes', in 3 shards")


def send_prices(streamer: ss.Streamer) -> None:
    """Message by message: `send` only queues, and `flush` waits for the server's answers."""
    ticks = list(samples.prices())
    with streamer.producer("prices") as producer:
        for tick in ticks:
            producer.send(tick.json(), timestamp=tick.time)
        producer.flush()
    print(f"{len(ticks):,} synthetic prices are in the stream 'prices'")


def show_prices(streamer: ss.Streamer) -> None:
    """The last few messages of a stream, as columns."""
    prices = streamer["prices"].json().select("timestamp", "symbol", "price", "volume", "side")
    print(prices.tail(3).to_string(index=False))


def find_strongest(streamer: ss.Streamer) -> pd.Timestamp:
    """When the strongest earthquake was; only one page at a time is in memory."""
    found = []
    for page in streamer["earthquakes"].json().select(*COLUMNS).pages(500):
        frame = page.to_pandas()
        found.append(frame.nlargest(1, "magnitude").assign(rows=len(frame)))
    strongest_of_pages = pd.concat(found)
    print(strongest_of_pages.to_string(index=False))
    strongest: pd.Timestamp = strongest_of_pages.nlargest(1, "magnitude")["timestamp"].iloc[0]
    return strongest


def show_rate(streamer: ss.Streamer, hour: pd.Timestamp) -> None:
    """Earthquakes an hour, from three hours before until four hours after."""
    rate = streamer["earthquakes"][hour - 3 * HOUR : hour + 4 * HOUR].rate("1h")
    for start, count in zip(rate["timestamp"], rate["messages"], strict=True):
        print(f"{start:%Y-%m-%d %H:%M}  {count:3}  {'#' * count}")


def show_next(streamer: ss.Streamer, when: pd.Timestamp) -> None:
    """A consumer reads on from a moment: what is strictly later, then what is still to come."""
    with streamer.consumer("earthquakes") as consumer:
        consumer.seek(when)
        for message in consumer.take(3, timeout=10):
            quake = message.json()
            print(f"{message.timestamp:%H:%M:%S}  {quake['magnitude']:4.1f}  {quake['place']}")


async def read_async(since: pd.Timestamp, until: pd.Timestamp) -> tuple[pd.DataFrame, list[int]]:
    """The same frame, and the rows of each page of the week: same names, awaited."""
    async with ss.connect_async(TARGET) as streamer:
        earthquakes = streamer["earthquakes"].json().select(*COLUMNS)
        frame = await earthquakes[since:until].to_pandas()
        return frame, [page.num_rows async for page in earthquakes.pages(500)]


def compare(blocking: pd.DataFrame, awaited: pd.DataFrame, pages: list[int]) -> None:
    """Say that both facades gave the same, or fail."""
    if not awaited.equals(blocking):
        sys.exit(f"The demo failed: awaiting gave another frame:\n{awaited}")
    print(f"{len(awaited)} rows, equal to what the blocking call gave")
    print(f"the week again, in pages of {', '.join(map(str, pages))} rows")


if __name__ == "__main__":
    main()
