"""The memory guard: a frame that would not fit is refused, before reading where it can be told."""

from __future__ import annotations

import os
from contextlib import aclosing, suppress
from pathlib import Path

from seastream_nb.backend import RangeSource
from seastream_nb.errors import TooLarge
from seastream_nb.keys import EntryId
from seastream_nb.options import ConnectOptions
from seastream_nb.query import Plan, Query, ShardRange
from seastream_nb.reading import Reading

# What a row takes besides its payload: shard, sequence, timestamp, stream, offset.
ROW_BYTES = 32
PROBES = 5
PROBE_ENTRIES = 20


def limit(options: ConnectOptions) -> int | None:
    """The most bytes that one frame may take: what was set, or half of the free memory."""
    if options.max_frame_bytes != "auto":
        return options.max_frame_bytes
    free = free_memory()
    return None if free is None else free // 2


def free_memory() -> int | None:
    """Bytes that this process could still take, within a container's limit; None if unknown."""
    known = []
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        line = next(line for line in lines if line.startswith("MemAvailable:"))
        known.append(int(line.split()[1]) * 1024)
    with suppress(OSError, ValueError):
        group = Path("/sys/fs/cgroup")
        most = int((group / "memory.max").read_text())
        known.append(most - int((group / "memory.current").read_text()))
    if not known:
        with suppress(OSError, ValueError):
            known.append(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return max(0, min(known)) if known else None


async def check(source: RangeSource, plan: Plan, query: Query) -> None:
    """Refuse a range that is clearly too large for a frame.

    Raises:
        TooLarge: naming the size and what to do instead.
    """
    most = limit(source.options)
    if most is None:
        return
    # Where filters drop rows, or a count bounds them, only reading can tell.
    if query.containing or query.condition is not None:
        return
    sizes = [expected_entries(each) * (each.extent.entry_bytes + ROW_BYTES) for each in plan.ranges]
    if sum(sizes) <= most:
        return
    total = 0
    for each in plan.ranges:
        total += expected_entries(each) * (await _entry_bytes(source, each) + ROW_BYTES)
    entries = sum(map(expected_entries, plan.ranges))
    counted = query.first if query.first is not None else query.last
    if counted is not None and entries:
        total = total * min(counted, entries) // entries
    if total > most:
        raise _too_large(f"about {entries:,} entries, {_size(total)}", most)


def expected_entries(shard: ShardRange) -> int:
    """How many entries a range holds, if they are spread evenly over the shard's time.

    The one who asks for all gets the exact number.
    """
    extent = shard.extent
    if extent.first is None or extent.last is None:
        return 0
    start, end = max(shard.start, extent.first), min(shard.end, extent.last)
    if start > end:
        return 0
    if start == extent.first and end == extent.last:
        return extent.length
    whole = extent.last.ms - extent.first.ms + 1
    return max(1, extent.length * (end.ms - start.ms + 1) // whole)


async def _entry_bytes(source: RangeSource, shard: ShardRange) -> int:
    """The mean size of an entry, probed at several places of the range."""
    taken = entries = 0
    first = shard.extent.first or shard.start
    start, end = max(shard.start, first), min(shard.end, shard.extent.last or shard.end)
    for probe in range(PROBES):
        at = EntryId(start.ms + (end.ms - start.ms) * probe // PROBES, 0)
        piece = ShardRange(extent=shard.extent, start=max(at, start), end=end)
        async with aclosing(aiter(source.read(piece, limit=PROBE_ENTRIES))) as pages:
            page = await anext(pages, None)
        if page is not None:
            taken, entries = taken + page.nbytes, entries + len(page)
    return taken // max(1, entries)


def check_held(reading: Reading, most: int | None) -> None:
    """Stop a read that turned out larger than it looked.

    Raises:
        TooLarge: as soon as what was read passes the limit.
    """
    held = reading.bytes + reading.rows * ROW_BYTES
    if most is not None and not reading.query.containing and held > most:
        raise _too_large(f"{reading.rows:,} rows, {_size(held)}, and more to come", most)


def _too_large(what: str, most: int) -> TooLarge:
    return TooLarge(
        f"this frame would hold {what}; max_frame_bytes allows {_size(most)}: take less with "
        "since(), until() or last(n), go through it page by page with pages(), write it to files "
        "with to_parquet(), or raise max_frame_bytes in connect()"
    )


def _size(count: int) -> str:
    value = float(count)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"
