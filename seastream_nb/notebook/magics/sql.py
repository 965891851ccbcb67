"""`%%stream --sql`: streams as tables of a private DuckDB, which reads them page by page.

    main thread ──waits for──► a thread with the query ──asks──► the I/O thread for pages

DuckDB asks for pages on threads of its own, and cannot be interrupted while it waits for one. So
the query has a thread; an interrupt of the caller's ends the query, and what it waits for.
"""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import AsyncGenerator, Coroutine, Iterator, Mapping
from concurrent.futures import CancelledError, Future, wait
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa

from seastream_nb import guard, portal
from seastream_nb.errors import ConfigError, StreamError, TooLarge
from seastream_nb.interchange import distinctly_named, narrowed

if TYPE_CHECKING:
    import duckdb

    import seastream_nb as ss
    from seastream_nb.stream import StreamCore

T = TypeVar("T")
TICK_SECONDS = 0.1
# How long an interrupted query has to end.
CLEANUP_SECONDS = 5.0


def run(query: str, tables: Mapping[str, ss.Stream]) -> pa.Table:
    """What a query gives, over tables that each are a snapshot of a stream.

    Columns that have one name are numbered: `n`, `n_1`.

    Raises:
        ConfigError: there is no DuckDB, or it refuses the query; with its text.
        TooLarge: the result would not fit.
        StreamError: a stream could not be read.
    """
    try:
        import duckdb
    except ImportError:
        raise ConfigError("--sql needs DuckDB: pip install 'seastream-nb[sql]'") from None
    cores = {key: stream._core for key, stream in tables.items()}
    scans = {key: _Scan(core) for key, core in cores.items()}
    zone, options = next((core.query.zone, core.source.options) for core in cores.values())
    # Only the streams are tables: a name means no variable of this module.
    con = duckdb.connect(config={"python_enable_replacements": False})
    try:
        # It would print its bar into a saved notebook, differently at each run.
        con.execute("set enable_progress_bar = false")
        con.execute(in_zone(zone))
        for key, scan in scans.items():
            con.register(key, scan)
        running = _Query(con, query, guard.limit(options))
        try:
            running.wait()
        except KeyboardInterrupt:
            for scan in scans.values():
                scan.stop()
            running.stop()
            raise
    finally:
        for scan in scans.values():
            scan.close()
        with suppress(duckdb.Error):  # a query that does not end dies with the process
            con.close()
    failure = next((scan.failure for scan in scans.values() if scan.failure), running.failure)
    if failure is not None:
        raise _understood(failure) from failure
    for text in dict.fromkeys(chain.from_iterable(scan.warnings for scan in scans.values())):
        warnings.warn(text, stacklevel=2)
    return narrowed(distinctly_named(running.table))


def in_zone(zone: str) -> str:
    """The statement that makes DuckDB read and show times in a zone."""
    return f"set TimeZone = '{zone}'"


class _Query:
    """A query on a thread of its own."""

    def __init__(self, con: duckdb.DuckDBPyConnection, query: str, limit: int | None) -> None:
        self.table: pa.Table | None = None
        self.failure: Exception | None = None
        self._con = con
        self._query = query
        self._limit = limit
        # A bare lock, released once: an interrupted `join` takes a running thread for ended.
        self._running = threading.Lock()
        self._running.acquire()
        threading.Thread(target=self._run, name="seastream-sql", daemon=True).start()

    def wait(self, seconds: float = -1) -> bool:
        """Wait until it is over; whether it is."""
        return self._running.acquire(timeout=seconds)

    def stop(self) -> None:
        """Interrupt it, and wait until it is over."""
        for _ in range(int(CLEANUP_SECONDS / TICK_SECONDS)):
            self._con.interrupt()  # again: one that comes between two steps of DuckDB's is lost
            if self.wait(TICK_SECONDS):
                return

    def _run(self) -> None:
        try:
            relation = self._con.sql(self._query)
            if relation is None:
                raise ConfigError("--sql: the last statement gives no rows: end with a SELECT")
            # The second name is that of DuckDB 1.
            read = getattr(relation, "to_arrow_reader", None) or relation.fetch_arrow_reader
            self.table = self._collected(read())
        except Exception as error:
            self.failure = error
        finally:
            self._running.release()

    def _collected(self, reader: pa.RecordBatchReader) -> pa.Table:
        batches, size = [], 0
        for batch in reader:
            batches.append(batch)
            size += batch.nbytes
            if self._limit is not None and size > self._limit:
                raise TooLarge(
                    f"--sql: the result is larger than {self._limit:,} bytes (max_frame_bytes): "
                    "aggregate, or add a LIMIT"
                )
        return pa.Table.from_batches(batches, reader.schema)


class _Scan:
    """A snapshot of a stream as DuckDB reads it, any number of times, until it is stopped.

    Attributes:
        failure: why it could not be read; DuckDB makes a text of it.
        warnings: what reading it would have warned of.
    """

    def __init__(self, core: StreamCore) -> None:
        self.failure: StreamError | None = None
        self._core = core
        self.warnings: list[str] = []
        self._schema = portal.run(core.schema())
        self._stopped = False
        self._running: set[Future[Any]] = set()
        self._closing: list[Future[Any]] = []

    def __arrow_c_schema__(self) -> object:
        return self._schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        schema, batches = self._waited(_opened(self._core, self.warnings))
        reader = pa.RecordBatchReader.from_batches(schema, self._pages(batches))
        return reader.__arrow_c_stream__(requested_schema)

    def stop(self) -> None:
        """End what is waited for, and refuse what is asked for from now on."""
        self._stopped = True
        self._end_if_stopped()

    def close(self) -> None:
        """Wait until the links are given back."""
        wait(self._closing, CLEANUP_SECONDS)

    def _end_if_stopped(self) -> None:
        if self._stopped:
            for each in list(self._running):
                each.cancel()

    def _pages(self, batches: AsyncGenerator[pa.RecordBatch, None]) -> Iterator[pa.RecordBatch]:
        try:
            while (batch := self._waited(_next(batches, self.warnings))) is not None:
                yield batch
        finally:
            with suppress(RuntimeError):  # Python is exiting
                self._closing.append(portal.spawn(batches.aclose()))

    def _waited(self, coroutine: Coroutine[Any, Any, T]) -> T:
        if self._stopped:
            coroutine.close()
            raise CancelledError
        future = portal.spawn(coroutine)
        self._running.add(future)
        self._end_if_stopped()  # meanwhile
        try:
            return future.result()
        except StreamError as error:
            self.failure = self.failure or error
            raise
        finally:
            self._running.discard(future)


async def _opened(
    core: StreamCore, notes: list[str]
) -> tuple[pa.Schema, AsyncGenerator[pa.RecordBatch, None]]:
    portal.noted_warnings(notes)
    return await core.open_batches()


async def _next(
    batches: AsyncGenerator[pa.RecordBatch, None], notes: list[str]
) -> pa.RecordBatch | None:
    portal.noted_warnings(notes)
    return await anext(batches, None)


def _understood(failure: Exception) -> StreamError:
    """What DuckDB says, as one of our errors."""
    if isinstance(failure, StreamError):
        return failure
    # The caret under a column means nothing in one line.
    text = " ".join(re.sub(r"^\s*\^+\s*$", "", str(failure), flags=re.MULTILINE).split())
    return ConfigError(f"--sql: {text}")
