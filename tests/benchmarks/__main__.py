"""Run benchmarks: `python -m tests.benchmarks [NAME...] [--rounds N] [--plain]`.

One JSON line a figure, then a table. A ratio compares what was measured by turns in one run.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from seastream_nb.redis import kernel
from tests.benchmarks import consuming, files, flatness, latency, producing, reading, starting
from tests.benchmarks.harness import Figure
from tests.benchmarks.place import private_place

BENCHMARKS = {
    each.name: each
    for each in (
        reading.range_to_arrow,
        reading.range_to_arrow_over_redis_py,
        reading.range_to_json_columns,
        reading.range_to_pandas,
        producing.send_and_flush,
        producing.send_to_eight_shards,
        producing.send_idempotent,
        consuming.consume_async,
        consuming.consume_blocking,
        consuming.consume_group,
        consuming.consume_with_acks,
        latency.live_latency,
        files.file_to_arrow,
        files.columns_to_file,
        starting.import_time,
        starting.import_of_connect,
        flatness.head_of_a_long_stream,
        flatness.page_of_a_long_stream,
        flatness.seek_in_a_long_stream,
    )
}


def main() -> None:
    options = arguments()
    if options.plain:
        # The extra `fast` is as good as not installed.
        sys.modules["numba"] = None  # type: ignore[assignment]
    accelerated = kernel.available()
    figures = []
    with private_place() as place:
        for name in options.names or BENCHMARKS:
            figure = BENCHMARKS[name].run(place, options.rounds)
            print(json.dumps({**figure.line(), "accelerated": accelerated}), flush=True)
            figures.append(figure)
    print(table(figures))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--rounds", type=int, default=5, help="rounds a figure (default 5)")
    parser.add_argument("--plain", action="store_true", help="as if numba were not installed")
    options = parser.parse_args()
    if unknown := set(options.names) - BENCHMARKS.keys():
        parser.error(
            f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}"
        )
    return options


def table(figures: Sequence[Figure]) -> str:
    rows = [("figure", "ours", "reference", "ratio", "lowest", "highest", "goal", "")]
    rows += [
        (
            each.name,
            f"{each.ours:,.4g} {each.unit}",
            f"{each.reference:,.4g}",
            f"{each.ratio:.2f}",
            f"{each.lowest:.2f}",
            f"{each.highest:.2f}",
            str(each.goal),
            "" if each.goal.met(each.ratio) else "missed",
        )
        for each in figures
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
