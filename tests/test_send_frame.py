from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

import seastream_nb as ss
from seastream_nb.encoding import json_rows
from seastream_nb.errors import ConfigError, NotAnchored, NotSent, QueueFull
from seastream_nb.options import ConnectOptions
from seastream_nb.outgoing import FrameMessages, ordered_ticks
from tests.servers import eventually

TIMES = [datetime(2026, 1, 5, 9, minute, tzinfo=UTC) for minute in range(3)]


@pytest.fixture
def producer(streamer: ss.Streamer) -> Iterator[ss.Producer]:
    with streamer.producer("frames") as anchored:
        yield anchored


def sent(streamer: ss.Streamer, key: str = "frames") -> list[Any]:
    return [message.json() for message in streamer[key]]


ROWS = [{"n": 1, "s": "å"}, {"n": 2, "s": None}]


def pandas_frame() -> object:
    return pd.DataFrame(ROWS)


def polars_frame() -> object:
    return pytest.importorskip("polars").DataFrame(ROWS)


def arrow_table() -> object:
    return pa.Table.from_pylist(ROWS)


def one_shot_reader() -> object:
    return arrow_table().to_reader(max_chunksize=1)  # type: ignore[attr-defined]


def duckdb_relation() -> object:
    duckdb = pytest.importorskip("duckdb")
    return duckdb.sql("select 1 as n, 'å' as s union all select 2, null order by n")


FRAMES = [pandas_frame, polars_frame, arrow_table, one_shot_reader, duckdb_relation]


@pytest.mark.parametrize("make", FRAMES)
def test_every_kind_of_frame_is_sent_one_message_a_row(
    make: Any, streamer: ss.Streamer, producer: ss.Producer
) -> None:
    assert producer.send_frame(make()) == 2
    assert sent(streamer) == ROWS


@pytest.mark.parametrize("make", FRAMES)
async def test_every_kind_of_frame_is_sent_by_the_awaiting_facade(make: Any, url: str) -> None:
    async with (
        ss.connect_async(url) as streamer,
        await streamer.producer("frames") as producer,
    ):
        assert await producer.send_frame(make()) == 2
        assert [message.json() async for message in streamer["frames"]] == ROWS


def test_a_stream_is_a_frame(streamer: ss.Streamer, producer: ss.Producer) -> None:
    with streamer.producer("copy") as copy:
        producer.send_frame(arrow_table())  # type: ignore[arg-type]
        assert copy.send_frame(streamer["frames"].json().select("n", "s")) == 2
    assert sent(streamer, "copy") == ROWS


async def test_a_stream_is_a_frame_for_the_awaiting_facade(url: str) -> None:
    async with (
        ss.connect_async(url) as streamer,
        await streamer.producer("frames") as producer,
        await streamer.producer("copy") as copy,
    ):
        await producer.send_frame(arrow_table())  # type: ignore[arg-type]
        assert await copy.send_frame(streamer["frames"].json().select("n", "s")) == 2
        assert [message.json() async for message in streamer["copy"]] == ROWS


def test_the_values_of_a_frame_come_back_equal(
    streamer: ss.Streamer, producer: ss.Producer
) -> None:
    frame = pd.DataFrame(
        {
            "t": pd.to_datetime(TIMES),
            "big": pd.array([2**53 + 1, -(2**63), None], dtype="Int64"),
            "unsigned": pd.array([2**64 - 1, 0, 1], dtype="UInt64"),
            "price": [0.1, 1e-300, 1.7976931348623157e308],
            "text": ["naïve ☃ \U0001f30a", None, 'a "quoted"\n\\line\x00'],
            "flag": [True, None, False],
            "list": [[1, 2**60], [], [None]],
            "struct": [{"a": 1, "b": ["x"]}, {"a": None, "b": []}, {"a": 3, "b": None}],
            "at": pd.to_datetime(TIMES) + pd.Timedelta("1us"),
        }
    )
    assert producer.send_frame(frame, timestamp="t") == 3
    table = streamer["frames"].json().to_arrow()
    back = streamer["frames"].json().to_pandas()
    assert back["timestamp"].tolist() == frame["t"].tolist()
    for name in ("big", "unsigned", "price", "text", "flag", "list", "struct"):
        assert table[name].to_pylist() == pa.Table.from_pandas(frame)[name].to_pylist(), name
    assert back["at"].tolist() == [f"2026-01-05T09:0{n}:00.000001+00:00" for n in range(3)]
    assert "t" not in back


def test_a_missing_number_of_pandas_is_null(streamer: ss.Streamer, producer: ss.Producer) -> None:
    producer.send_frame(pd.DataFrame({"x": [1.5, float("nan")]}))
    assert sent(streamer) == [{"x": 1.5}, {"x": None}]


def test_a_named_index_is_a_column_and_an_unnamed_one_is_left_out(
    streamer: ss.Streamer, producer: ss.Producer
) -> None:
    frame = pd.DataFrame({"n": [1, 2, 3]}, index=pd.Index(TIMES, name="t"))
    producer.send_frame(frame, timestamp="t")
    producer.send_frame(pd.DataFrame({"n": [4, 5]}, index=["x", "y"]))
    assert sent(streamer) == [{"n": n} for n in range(1, 6)]


def test_raw_sends_the_bytes_or_text_of_one_column(
    streamer: ss.Streamer, producer: ss.Producer
) -> None:
    producer.send_frame(pa.table({"payload": [b"\xff\x00", b""]}), encoding="raw")
    producer.send_frame(pa.table({"line": ["å"], "n": [1]}), encoding="raw", column="line")
    assert [each.payload for each in streamer["frames"]] == [b"\xff\x00", b"", "å".encode()]


def test_a_column_may_say_the_shard(streamer: ss.Streamer, producer: ss.Producer) -> None:
    producer.send_frame(pa.table({"n": [1, 2, 3], "to": [2, 0, 2]}), shard="to")
    assert [(each.shard, each.json()) for each in streamer["frames"].shard(2)] == [
        (2, {"n": 1}),
        (2, {"n": 3}),
    ]
    assert streamer["frames"].shard(0).count() == 1


def test_a_number_sends_all_to_one_shard_whatever_the_sharder(streamer: ss.Streamer) -> None:
    with streamer.producer("frames", sharder=ss.RoundRobinSharder(4)) as producer:
        producer.send_frame(pa.table({"n": [1, 2]}), shard=9)
        producer.send_frame(pa.table({"n": [3, 4]}))
    assert sorted(each.shard for each in streamer["frames"]) == [0, 1, 9, 9]


@pytest.mark.parametrize(
    "times",
    [
        pa.array(TIMES, pa.timestamp("us", "UTC")),
        pa.array(TIMES, pa.timestamp("s", "Europe/Berlin")),
        pa.array([each.isoformat() for each in TIMES]),
        pa.array([each.isoformat() for each in TIMES], pa.large_string()),
        pa.array([each.isoformat() for each in TIMES], pa.string_view()),
        pa.array([each.replace(tzinfo=None) for each in TIMES], pa.timestamp("ns")),
    ],
    ids=lambda array: str(array.type),
)
def test_a_column_of_times_stamps_the_entries(
    times: pa.Array, streamer: ss.Streamer, producer: ss.Producer
) -> None:
    producer.send_frame(pa.table({"t": times, "n": [1, 2, 3]}), timestamp="t")
    assert [each.timestamp for each in streamer["frames"]] == TIMES


def test_naive_times_are_read_in_the_zone_of_the_connection(url: str) -> None:
    naive = pa.table({"t": pa.array([datetime(2026, 7, 1, 12)], pa.timestamp("us"))})
    with ss.connect(url, tz="Europe/Berlin") as streamer, streamer.producer("z") as producer:
        producer.send_frame(naive, timestamp="t")
        assert next(iter(streamer["z"])).timestamp == datetime(2026, 7, 1, 10, tzinfo=UTC)
        ambiguous = pa.table({"t": pa.array([datetime(2026, 10, 25, 2, 30)], pa.timestamp("us"))})
        with pytest.raises(ConfigError, match="ambiguous"):
            producer.send_frame(ambiguous, timestamp="t")


def test_dates_are_their_midnights() -> None:
    column = pa.chunked_array([pa.array([1, 2], pa.date32())])
    assert ordered_ticks("d", column, ConnectOptions()).tolist() == [86_400_000, 172_800_000]


def test_what_is_finer_than_a_millisecond_is_cut_off(
    streamer: ss.Streamer, producer: ss.Producer
) -> None:
    times = pa.array([1_999_999, 2_000_001], pa.timestamp("ns", "UTC"))
    producer.send_frame(pa.table({"t": times}), timestamp="t")
    assert [each.id for each in streamer["frames"]] == ["1-0", "2-0"]


def test_nanoseconds_are_kept_in_the_nanosecond_format(url: str) -> None:
    times = pa.array([1_700_000_000_123_456_789], pa.timestamp("ns", "UTC"))
    with ss.connect(url, timestamp_format="ns") as streamer, streamer.producer("f") as producer:
        producer.send_frame(pa.table({"t": times}), timestamp="t")
        assert next(iter(streamer["f"])).timestamp_ns == 1_700_000_000_123_456_789


@pytest.mark.parametrize(
    ("times", "fault"),
    [
        (pa.array([1, 2, 1], pa.timestamp("s", "UTC")), "out of order"),
        (pa.chunked_array([[2, 3], [1]], pa.timestamp("ms", "UTC")), "out of order"),
        (pa.array(["2026-01-05T09:00Z", "2026-01-05T09:59+01:00", "2027-01-05"]), "out of order"),
        (pa.array([1, None, 2], pa.timestamp("s", "UTC")), "without a time"),
        (pa.array([-1, 0, 1], pa.timestamp("s", "UTC")), "before 1970"),
        (pa.array([1, 2, 3]), "no times: its type is int64"),
        (pa.array(["2026-01-05", "-10m", "now"]), "'-10m' is no point in time"),
        (pa.array(["2026-01-05", "soon", "later"]), "soon"),
    ],
)
@pytest.mark.parametrize("one_shot", [False, True])
def test_times_that_cannot_be_sent_are_refused_before_the_first_send(
    times: Any, fault: str, one_shot: bool, streamer: ss.Streamer, producer: ss.Producer
) -> None:
    table = pa.table({"t": times, "n": [1, 2, 3]})
    with pytest.raises(ConfigError, match=fault):
        producer.send_frame(table.to_reader(1) if one_shot else table, timestamp="t")
    producer.flush()
    assert streamer["frames"].count() == 0


@pytest.mark.parametrize(
    ("column", "fault"),
    [
        (pa.array([b"ok", None]).slice(0, 1), "bytes has no form in JSON"),
        (pa.array([float("inf")]), "not JSON compliant"),
        (pa.array([float("nan")]), "not JSON compliant"),
        (pa.array([[{"deep": b"x"}]]), "bytes has no form in JSON"),
    ],
)
def test_what_json_cannot_hold_is_refused_naming_the_row(
    column: pa.Array, fault: str, producer: ss.Producer
) -> None:
    good = pa.nulls(1_500, column.type)
    table = pa.table({"x": pa.chunked_array([good, column])})
    with pytest.raises(ConfigError, match=rf"row 1500 cannot be written as JSON: .*{fault}"):
        producer.send_frame(table)


def test_a_raw_value_that_is_no_text_is_refused_naming_the_row(producer: ss.Producer) -> None:
    with pytest.raises(ConfigError, match="row 1: 'payload' holds NoneType"):
        producer.send_frame(pa.table({"payload": ["x", None]}), encoding="raw")


def test_a_row_without_a_shard_is_refused(producer: ss.Producer) -> None:
    with pytest.raises(ConfigError, match="row 1: no 'to'"):
        producer.send_frame(pa.table({"to": [1, None]}), shard="to")


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"encoding": "yaml"}, "encoding"),
        ({"column": "n"}, "encoding='raw'"),
        ({"encoding": "raw"}, "no column 'payload': there are n"),
        ({"timestamp": "t"}, "no column 't'"),
        ({"shard": "s"}, "no column 's'"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(
    options: dict[str, Any], fault: str, producer: ss.Producer
) -> None:
    with pytest.raises(ConfigError, match=fault):
        producer.send_frame(pa.table({"n": [1]}), **options)


def test_what_is_no_frame_is_refused(producer: ss.Producer) -> None:
    with pytest.raises(TypeError, match="exports Arrow, not list"):
        producer.send_frame([{"n": 1}])  # type: ignore[arg-type]


def test_a_producer_without_a_stream_sends_no_frame(streamer: ss.Streamer) -> None:
    with streamer.producer() as producer, pytest.raises(NotAnchored):
        producer.send_frame(pa.table({"n": [1]}))


def test_an_empty_frame_sends_nothing(producer: ss.Producer) -> None:
    assert producer.send_frame(pa.table({"n": pa.array([], pa.int64())})) == 0


def test_a_refusal_of_the_server_is_raised(streamer: ss.Streamer, producer: ss.Producer) -> None:
    producer.send("now")
    table = pa.table({"t": pa.array(TIMES, pa.timestamp("s", "UTC")), "n": [1, 2, 3]})
    with pytest.raises(NotSent, match=r"equal or smaller.*2 more"):
        producer.send_frame(table, timestamp="t")
    assert streamer["frames"].count() == 1


class Endless:
    """A frame without end, which counts the batches that were read."""

    def __init__(self) -> None:
        self.read = 0

    def batches(self) -> Iterator[pa.RecordBatch]:
        while True:
            self.read += 1
            yield pa.record_batch({"payload": ["x" * 1000] * 10})

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        schema = pa.schema([("payload", pa.string())])
        reader = pa.RecordBatchReader.from_batches(schema, self.batches())
        return reader.__arrow_c_stream__(requested_schema)


def test_a_frame_is_read_as_it_is_sent(streamer: ss.Streamer) -> None:
    class Failing(Endless):
        def batches(self) -> Iterator[pa.RecordBatch]:
            for batch in super().batches():
                if self.read == 50:
                    raise RuntimeError("the source broke")
                yield batch

    with streamer.producer("frames", max_queue=20_000) as producer:
        with pytest.raises(pa.ArrowInvalid, match="the source broke"):
            producer.send_frame(Failing(), encoding="raw")
        producer.flush()
    assert streamer["frames"].count() == 490


async def test_cancelling_stops_reading_the_frame(url: str) -> None:
    frame = Endless()
    async with (
        ss.connect_async(url) as streamer,
        await streamer.producer("frames", max_queue=20_000) as producer,
    ):
        sending = asyncio.create_task(producer.send_frame(frame, encoding="raw"))
        await asyncio.to_thread(eventually, lambda: frame.read > 10)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        read = frame.read
        await producer.flush()
        assert frame.read == read
        assert await streamer["frames"].count() <= read * 10


async def test_sending_a_frame_leaves_the_callers_loop_running(url: str) -> None:
    in_the_middle, go_on = threading.Event(), threading.Event()

    class Slow(Endless):
        def batches(self) -> Iterator[pa.RecordBatch]:
            in_the_middle.set()
            go_on.wait()
            yield pa.record_batch({"payload": ["x"]})

    async with (
        ss.connect_async(url) as streamer,
        await streamer.producer("frames") as producer,
    ):
        sending = asyncio.create_task(producer.send_frame(Slow(), encoding="raw"))
        await asyncio.to_thread(in_the_middle.wait)
        go_on.set()  # set by the loop that would hang if the frame were read on it
        assert await sending == 1


async def test_a_full_queue_makes_the_awaiting_facade_wait_too(url: str) -> None:
    async with (
        ss.connect_async(url) as streamer,
        await streamer.producer("frames", max_queue=5_000) as producer,
    ):
        with suppress(QueueFull):
            for _ in range(1_000):
                producer.send("x" * 1_000)
        await producer.flush()
        before = await streamer["frames"].count()
        table = pa.table({"payload": ["x" * 1_000] * 500})
        assert await producer.send_frame(table, encoding="raw") == 500
        assert await streamer["frames"].count() == before + 500


@pytest.mark.parametrize(
    ("column", "texts"),
    [
        (pa.array([Decimal("1.10"), None]), ['"1.10"', "null"]),
        (pa.array(TIMES[:1], pa.timestamp("us", "UTC")), ['"2026-01-05T09:00:00+00:00"']),
        (
            pa.array([1, None], pa.timestamp("ns", "UTC")),
            ['"1970-01-01T00:00:00.000000001+00:00"', "null"],
        ),
        (pa.array([1], pa.timestamp("s", "Europe/Berlin")), ['"1970-01-01T01:00:01+01:00"']),
        (pa.array([1], pa.timestamp("ns")), ['"1970-01-01T00:00:00.000000001"']),
        (pa.array([date(2026, 1, 5)]), ['"2026-01-05"']),
        (pa.array([time(9, 30)]), ['"09:30:00"']),
        (pa.array([timedelta(minutes=1)]), ["60.0"]),
        (
            pa.array([2**64 - 1, 2**53 + 1, None], pa.uint64()),
            [f"{2**64 - 1}", f"{2**53 + 1}", "null"],
        ),
        (pa.array([0.1 + 0.2, 5e-324, -0.0]), ["0.30000000000000004", "5e-324", "-0.0"]),
        (pa.array([True, None]), ["true", "null"]),
        (pa.nulls(2), ["null", "null"]),
        (pa.array(["a,b", '"', None, "☃"]), ['"a,b"', r'"\""', "null", '"☃"']),
        (pa.array(["a,b"], pa.string_view()), ['"a,b"']),
        (pa.array(["a,b", "c"]).dictionary_encode(), ['"a,b"', '"c"']),
        (pa.array([[1, 2], None]), ["[1,2]", "null"]),
        (pa.array([{"a": [1.5], "b": None}]), ['{"a":[1.5],"b":null}']),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_a_value_has_one_form_in_json(column: pa.Array, texts: list[str]) -> None:
    rows = json_rows(pa.record_batch([column], names=["x"]))
    assert rows == [f'{{"x":{text}}}'.encode() for text in texts]


def test_the_name_of_a_column_may_be_any_text() -> None:
    (row,) = json_rows(pa.record_batch({'100% "sure"': [1], "%s": [2]}))
    assert json.loads(row) == {'100% "sure"': 1, "%s": 2}


def test_a_row_without_columns_is_an_empty_object(
    streamer: ss.Streamer, producer: ss.Producer
) -> None:
    producer.send_frame(pa.table({"t": pa.array(TIMES[:1])}), timestamp="t")
    assert sent(streamer) == [{}]


def test_columns_of_one_name_are_refused(producer: ss.Producer) -> None:
    table = pa.table([pa.array([1]), pa.array([2])], names=["n", "n"])
    with pytest.raises(ConfigError, match="same name"):
        producer.send_frame(table)


def test_the_rows_of_a_frame_are_made_a_few_at_a_time() -> None:
    frame = Endless()
    rows = FrameMessages(frame, encoding="raw").rows(ConnectOptions())
    assert next(rows) == (b"x" * 1000, None, None)
    assert frame.read == 1


def test_many_columns_keep_their_order() -> None:
    table = pa.table({f"c{n}": [n] for n in range(40)})
    ((payload, _, _),) = FrameMessages(table).rows(ConnectOptions())
    assert list(json.loads(payload)) == table.column_names
