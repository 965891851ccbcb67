from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, strategies as st

from seastream_nb.errors import ConfigError, TimeTypeError
from seastream_nb.keys import FIRST_ID, LAST_ID, MAX_U64, EntryId
from seastream_nb.message import Message, MessageHeader, Origin
from seastream_nb.times import (
    Edge,
    Fixed,
    Instant,
    Relative,
    TimeOfDay,
    after,
    bound,
    check_tz,
    format_ns,
    parse_when,
    resolve,
)

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
MS = 1_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOW = 1_700_000_000_123_456_789  # 2023-11-14T22:13:20.123456789Z
BERLIN = ZoneInfo("Europe/Berlin")


def utc_ns(*parts: int) -> int:
    return (datetime(*parts, tzinfo=UTC) - EPOCH) // timedelta(microseconds=1) * 1000


def instant(value, *, tz="UTC", now_ns=NOW) -> int:
    position = resolve(parse_when(value, tz=tz), now_ns)
    assert isinstance(position, Instant)
    return position.ns


ABSOLUTE = [
    ("2026-11-23", utc_ns(2026, 11, 23)),
    ("2026-11-23T02:10", utc_ns(2026, 11, 23, 2, 10)),
    ("2026-11-23 02:10:03", utc_ns(2026, 11, 23, 2, 10, 3)),
    ("2026-11-23 02:10:03.123456789Z", utc_ns(2026, 11, 23, 2, 10, 3) + 123_456_789),
    ("2026-11-23T02:10:03.1", utc_ns(2026, 11, 23, 2, 10, 3) + 100_000_000),
    ("2026-11-23T02:10+02:00", utc_ns(2026, 11, 23, 0, 10)),
    ("2026-11-23T02:10+0200", utc_ns(2026, 11, 23, 0, 10)),
    ("2026-11-23T02:10-05", utc_ns(2026, 11, 23, 7, 10)),
    ("1800-01-01T00:00:00+00:53:28", utc_ns(1800, 1, 1) - (53 * 60 + 28) * SECOND),
    (" 2026-11-23T02:10Z\n", utc_ns(2026, 11, 23, 2, 10)),
    ("2024-02-29", utc_ns(2024, 2, 29)),
    ("0001-01-01", utc_ns(1, 1, 1)),
    ("0001-01-01T00:00+14:00", utc_ns(1, 1, 1) - 14 * 60 * MINUTE),
    ("9999-12-31T23:59:59.999999999Z", utc_ns(9999, 12, 31, 23, 59, 59) + 999_999_999),
    ("9999-12-31T23:59-12:00", utc_ns(9999, 12, 31, 23, 59) + 12 * 60 * MINUTE),
    (datetime(2026, 11, 23, 2, 10, 3, 123456), utc_ns(2026, 11, 23, 2, 10, 3, 123456)),
    (datetime(2026, 11, 23, 2, 10, tzinfo=BERLIN), utc_ns(2026, 11, 23, 1, 10)),
    (datetime.min.replace(tzinfo=timezone(timedelta(hours=14))), utc_ns(1, 1, 1) - 840 * MINUTE),
    (date(2026, 11, 23), utc_ns(2026, 11, 23)),
    (pd.Timestamp("2026-11-23T02:10:03.123456789"), utc_ns(2026, 11, 23, 2, 10, 3) + 123_456_789),
    (pd.Timestamp(NOW, unit="ns", tz="Europe/Berlin"), NOW),
    (pd.Timestamp("9999-12-31"), utc_ns(9999, 12, 31)),
    (np.datetime64("2026-11-23T02:10:03.123456789"), utc_ns(2026, 11, 23, 2, 10, 3) + 123_456_789),
    (np.datetime64("2026-11-23T02:10:03.123"), utc_ns(2026, 11, 23, 2, 10, 3, 123_000)),
    (np.datetime64("2026-11-23T02"), utc_ns(2026, 11, 23, 2)),
    (np.datetime64("2026-11-23"), utc_ns(2026, 11, 23)),
    (np.datetime64("2026-11"), utc_ns(2026, 11, 1)),
    (np.datetime64("2026"), utc_ns(2026, 1, 1)),
    (np.datetime64(1_999, "ps"), 1),
    (np.datetime64(-1, "ns"), -1),
    ("20261123T021003", utc_ns(2026, 11, 23, 2, 10, 3)),
    ("20261123T0210Z", utc_ns(2026, 11, 23, 2, 10)),
    ("20261123T021003.123456789+0200", utc_ns(2026, 11, 23, 0, 10, 3) + 123_456_789),
    (pa.scalar(NOW, pa.timestamp("ns")), NOW),
    (pa.scalar(NOW, pa.timestamp("ns", "Europe/Berlin")), NOW),
    (pa.scalar(-1, pa.timestamp("us", "UTC")), -1_000),
    (pa.scalar(1_700_000_000, pa.timestamp("s")), 1_700_000_000 * SECOND),
    (pa.scalar(1_700_000_000_001, pa.timestamp("ms")), 1_700_000_000_001 * MS),
]


@pytest.mark.parametrize(("value", "ns"), ABSOLUTE, ids=lambda value: f"{value!r:.40}")
def test_an_absolute_time_is_exact_to_the_nanosecond_and_needs_no_now(value, ns):
    moment = parse_when(value)
    assert moment == Fixed(Instant(ns))
    assert not moment.needs_now


@pytest.mark.parametrize(
    "value",
    [
        "2026-07-01T12:00",
        datetime(2026, 7, 1, 12),
        pd.Timestamp("2026-07-01T12:00"),
        np.datetime64("2026-07-01T12:00"),
        pa.scalar(datetime(2026, 7, 1, 12)),
        "20260701T1200",
    ],
)
@pytest.mark.parametrize("tz", ["Europe/Berlin", BERLIN, "+02:00", timezone(timedelta(hours=2))])
def test_a_naive_time_of_any_type_is_read_in_tz(value, tz):
    assert instant(value, tz=tz) == utc_ns(2026, 7, 1, 10)


def test_a_date_is_its_midnight_in_tz():
    assert instant(date(2026, 7, 1), tz=BERLIN) == utc_ns(2026, 6, 30, 22)
    assert instant("2026-07-01", tz=BERLIN) == utc_ns(2026, 6, 30, 22)


@pytest.mark.parametrize(
    ("text", "offset_ns"),
    [
        ("now", 0),
        ("-10m", -10 * MINUTE),
        ("-1h30m", -90 * MINUTE),
        ("-250ms", -250 * MS),
        ("now-10m", -10 * MINUTE),
        ("now+5m", 5 * MINUTE),
        ("now - 5m", -5 * MINUTE),
        ("+5m", 5 * MINUTE),
    ],
)
def test_a_relative_time_counts_from_now(text, offset_ns):
    moment = parse_when(text)
    assert moment == Relative(offset_ns)
    assert moment.needs_now
    assert resolve(moment, NOW) == Instant(NOW + offset_ns)


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("02:10", utc_ns(2023, 11, 14, 2, 10)),
        ("02:10:05", utc_ns(2023, 11, 14, 2, 10, 5)),
        ("02:10:05.5", utc_ns(2023, 11, 14, 2, 10, 5) + 500_000_000),
        ("02:10:05.000000001", utc_ns(2023, 11, 14, 2, 10, 5) + 1),
        ("23:59", utc_ns(2023, 11, 14, 23, 59)),
    ],
)
def test_a_time_of_day_is_on_the_day_of_now(text, ns):
    assert parse_when(text).needs_now
    assert instant(text) == ns


def test_the_day_of_now_is_the_day_in_tz():
    just_after_midnight_in_berlin = utc_ns(2026, 7, 1, 22, 0, 1)
    assert instant("02:10", tz="UTC", now_ns=just_after_midnight_in_berlin) == utc_ns(
        2026, 7, 1, 2, 10
    )
    assert instant("02:10", tz=BERLIN, now_ns=just_after_midnight_in_berlin) == utc_ns(
        2026, 7, 2, 0, 10
    )


def test_a_time_of_day_has_no_day_when_now_is_beyond_the_calendar():
    with pytest.raises(ConfigError, match="'02:10' needs a date"):
        resolve(parse_when("02:10"), MAX_U64 * MS)


@pytest.mark.parametrize(
    ("value", "position"),
    [
        ("earliest", Edge.EARLIEST),
        ("latest", Edge.LATEST),
        ("1700000000000-3", EntryId(1700000000000, 3)),
        ("1700000000000", EntryId(1700000000000, 0)),
        ("12345", EntryId(12345, 0)),
        ("0-0", EntryId(0, 0)),
        ("5-1", EntryId(5, 1)),
        ("1000-13", EntryId(1000, 13)),
        ("2026-112", EntryId(2026, 112)),
        ("10001000", EntryId(10001000, 0)),
        (f"{MAX_U64}-{MAX_U64}", LAST_ID),
        (b"1700000000000-3", EntryId(1700000000000, 3)),
        (b"1700000000000", EntryId(1700000000000, 0)),
        (b"2026", EntryId(2026, 0)),
        (b"2026-11", EntryId(2026, 11)),
        (EntryId(7, 8), EntryId(7, 8)),
        (Message(Origin("s", 0, b"s"), b"7-8", b"payload"), EntryId(7, 8)),
        (MessageHeader(Origin("s", 0, b"s"), EntryId(7, 8)), EntryId(7, 8)),
    ],
    ids=lambda value: f"{value!r:.40}",
)
def test_an_id_or_an_edge_is_its_own_position(value, position):
    moment = parse_when(value)
    assert moment == Fixed(position)
    assert not moment.needs_now
    assert resolve(moment, NOW) is moment.position


@pytest.mark.parametrize("text", ["2026", "1000", "2026-11", "2026-01", "20261123"])
def test_a_text_that_may_be_a_date_or_an_id_is_refused_showing_how_to_write_each(text):
    with pytest.raises(ConfigError, match=f"as '2026-11-23', or the id as bytes, b'{text}'"):
        parse_when(text)


@pytest.mark.parametrize("value", [1700000000000, 1.7e9, True, np.int64(5), np.float64(5)])
def test_a_number_is_never_a_time_for_it_has_no_unit(value):
    with pytest.raises(TypeError, match="is never a time, it does not say its unit: write") as e:
        parse_when(value)
    assert isinstance(e.value, TimeTypeError)
    assert "an entry id as text such as '1700000000000'" in str(e.value)


@pytest.mark.parametrize(
    "value",
    [
        None,
        timedelta(minutes=10),
        np.timedelta64(5, "s"),
        [1],
        (7, 8),
        SimpleNamespace(entry_id="7-8"),
    ],
)
def test_other_types_are_never_a_time(value):
    with pytest.raises(TimeTypeError, match=f"^{type(value).__name__} is never a time: write"):
        parse_when(value)


@pytest.mark.parametrize(
    "value",
    [
        pd.NaT,
        np.datetime64("NaT"),
        np.datetime64("NaT", "ns"),
        pa.scalar(None, pa.timestamp("ns", "UTC")),
    ],
)
def test_a_missing_time_is_refused(value):
    with pytest.raises(ConfigError, match="'NaT' is no time: write ISO text"):
        parse_when(value)


@pytest.mark.parametrize(
    "value",
    ["", "yesterday", "0", "999", "2026-11-23T24:00", "2026-11-23T02:60", "2026-11-23T02:10:60",
     "2026-11-23T02:10:03.1234567890", "2026-W48-1", "2026-11-23T02:10+24:00", "2026-11-23x02:10",
     "25:00", "2:10", "20261123T24", "20261123T02", "20261123T2400", "20261123 021003",
     "EARLIEST", "\u0662\u0660\u0662\u0666-11-23", np.datetime64("10000-01-01"),
     np.datetime64("-0001-01-01"), np.datetime64(10**15, "Y")],
)  # fmt: skip
def test_what_is_no_time_is_refused_naming_the_accepted_forms(value):
    with pytest.raises(ConfigError, match=r"is no time: write ISO text .* or 'latest'"):
        parse_when(value)


@pytest.mark.parametrize("text", ["290000-01-01", "10000-01", "-0001-01-01T02:10", "29000000"])
def test_a_time_beyond_the_calendar_is_quoted_as_it_was_given(text):
    value = np.datetime64(text)
    with pytest.raises(ConfigError, match=f"^'{value}' is no time: write"):
        parse_when(value)


@pytest.mark.parametrize(
    "text", ["2026-02-29", "20260229T021003", "2026-13-01", "2026-04-31", "0000-01-01"]
)
def test_a_day_that_the_calendar_lacks_is_refused_with_the_reason(text):
    with pytest.raises(ConfigError, match=rf"'{text}' is no time: .*(day|month|year)"):
        parse_when(text)


@pytest.mark.parametrize("text", ["99999999999999999999", "5-18446744073709551616", "9" * 5000])
def test_an_id_that_redis_cannot_hold_is_refused(text):
    with pytest.raises(ConfigError, match="is no entry id"):
        parse_when(text)


@pytest.mark.parametrize("text", ["-10", "-10x", "now-", "now-2026-11-23", "-0s"])
def test_a_relative_time_without_a_duration_is_refused(text):
    with pytest.raises(ConfigError):
        parse_when(text)


@pytest.mark.parametrize(
    "value",
    [
        "2026-10-25T02:30",
        datetime(2026, 10, 25, 2, 30),
        pd.Timestamp("2026-10-25T02:30"),
        np.datetime64("2026-10-25T02:30"),
    ],
)
def test_a_local_time_that_occurs_twice_raises_naming_both_offsets(value):
    with pytest.raises(
        ConfigError,
        match=r"2026-10-25T02:30:00 occurs twice in Europe/Berlin: write \+02:00 or \+01:00",
    ):
        parse_when(value, tz="Europe/Berlin")


def test_a_local_time_that_never_occurs_raises_naming_both_offsets():
    with pytest.raises(
        ConfigError,
        match=r"2026-03-29T02:30:00 does not exist in Europe/Berlin: "
        r"the clock jumps from \+01:00 to \+02:00",
    ):
        parse_when("2026-03-29T02:30", tz="Europe/Berlin")


@pytest.mark.parametrize(
    ("local", "utc"),
    [
        ("2026-10-25T01:59:59.999999999", utc_ns(2026, 10, 25) - 1),
        ("2026-10-25T03:00", utc_ns(2026, 10, 25, 2)),
        ("2026-03-29T01:59:59.999999999", utc_ns(2026, 3, 29, 1) - 1),
        ("2026-03-29T03:00", utc_ns(2026, 3, 29, 1)),
    ],
)
def test_local_times_beside_a_clock_change_are_clear(local, utc):
    assert instant(local, tz="Europe/Berlin") == utc


def test_an_offset_makes_a_repeated_local_time_clear():
    assert instant("2026-10-25T02:30+02:00", tz=BERLIN) == utc_ns(2026, 10, 25, 0, 30)
    assert instant("2026-10-25T02:30+01:00", tz=BERLIN) == utc_ns(2026, 10, 25, 1, 30)
    aware = datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN)
    assert instant(aware) == utc_ns(2026, 10, 25, 0, 30)
    assert instant(aware.replace(fold=1)) == utc_ns(2026, 10, 25, 1, 30)


@pytest.mark.parametrize(
    ("now_ns", "fault"),
    [
        (utc_ns(2026, 10, 25, 12), r"occurs twice in Europe/Berlin: write \+02:00 or \+01:00"),
        (utc_ns(2026, 3, 29, 12), r"jumps from \+01:00 to \+02:00"),
    ],
)
def test_a_time_of_day_is_checked_on_the_day_it_falls_on(now_ns, fault):
    moment = parse_when("02:30", tz="Europe/Berlin")
    assert resolve(moment, utc_ns(2026, 7, 1)) == Instant(utc_ns(2026, 7, 1, 0, 30))
    with pytest.raises(ConfigError, match=fault):
        resolve(moment, now_ns)


def test_moments_are_hashable():
    moments = {parse_when(text, tz=BERLIN) for text in ("now", "now", "02:10", "02:10", "5-1")}
    assert moments == {Relative(0), TimeOfDay("02:10", BERLIN), Fixed(EntryId(5, 1))}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("UTC", ZoneInfo("UTC")),
        ("Europe/Berlin", BERLIN),
        ("+02:00", timezone(timedelta(hours=2))),
        ("-0530", timezone(-timedelta(hours=5, minutes=30))),
        (BERLIN, BERLIN),
        (UTC, UTC),
    ],
)
def test_a_time_zone_is_a_name_an_offset_or_itself(name, expected):
    assert check_tz(name) == expected


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("Europe/Berlim", "Europe/Berlin"),
        ("europe/berlin", "Europe/Berlin"),
        ("Berlin", "Europe/Berlin"),
        ("paris", "Europe/Paris"),
        ("America/NewYork", "America/New_York"),
    ],
)
def test_an_unknown_time_zone_is_answered_with_the_nearest_one(name, nearest):
    with pytest.raises(ConfigError, match=f"{name!r} is no time zone: did you mean {nearest!r}"):
        check_tz(name)


@pytest.mark.parametrize("name", ["local", "", "x" * 5000, "../../etc/passwd", "a\0b", "+24:00"])
def test_what_resembles_no_time_zone_is_refused(name):
    with pytest.raises(ConfigError, match="is no time zone"):
        check_tz(name)


@pytest.mark.parametrize("name", ["Europe", "/etc/passwd"])
def test_a_path_is_no_time_zone(name):
    with pytest.raises(ConfigError, match="is no time zone"):
        check_tz(name)


class OddZone(tzinfo):
    """A tzinfo of one's own, which has no name that a schema could carry."""


@pytest.mark.parametrize("value", [None, 2, b"UTC", OddZone()])
def test_a_time_zone_is_never_of_another_type(value):
    with pytest.raises(ConfigError, match="is no time zone: write a name such as 'Europe/Berlin'"):
        check_tz(value)


@pytest.mark.parametrize(
    ("position", "first", "skipped"),
    [
        (Instant(5 * MS), EntryId(5, 0), EntryId(5, MAX_U64)),
        (Instant(5 * MS + 1), EntryId(6, 0), EntryId(5, MAX_U64)),
        (Instant(0), FIRST_ID, EntryId(0, MAX_U64)),
        (Instant(-1), FIRST_ID, FIRST_ID),
        (Instant(utc_ns(1, 1, 1)), FIRST_ID, FIRST_ID),
        (Instant(MAX_U64 * MS), EntryId(MAX_U64, 0), LAST_ID),
        (Instant(MAX_U64 * MS + 1), LAST_ID, LAST_ID),
        (Instant(2**90), LAST_ID, LAST_ID),
        (EntryId(5, 1), EntryId(5, 1), EntryId(5, 1)),
        (Edge.EARLIEST, FIRST_ID, FIRST_ID),
        (Edge.LATEST, LAST_ID, LAST_ID),
    ],
)
def test_a_position_bounds_a_range_and_a_seek_at_these_ids(position, first, skipped):
    assert bound(position, unit_ns=MS) == first
    assert after(position, unit_ns=MS) == skipped


def test_in_the_nanosecond_format_every_instant_is_a_tick():
    assert bound(Instant(NOW), unit_ns=1) == EntryId(NOW, 0)
    assert after(Instant(NOW), unit_ns=1) == EntryId(NOW, MAX_U64)


def test_an_instant_beyond_the_nanosecond_ids_is_the_last_id():
    assert bound(parse_when("9999-12-31").position, unit_ns=1) == LAST_ID


UNITS = st.sampled_from([1, MS])
TICKS = st.integers(0, 2**64 - 2)
SUBS = st.integers(0, MAX_U64)


@given(TICKS, SUBS, UNITS, st.integers(-3 * MS, 3 * MS))
def test_an_id_is_in_a_range_exactly_when_its_time_is_not_before_since(tick, sub, unit_ns, delta):
    ns = tick * unit_ns + delta
    assert (EntryId(tick, sub) >= bound(Instant(ns), unit_ns=unit_ns)) == (tick * unit_ns >= ns)


@given(TICKS.filter(bool), SUBS, UNITS, st.integers(-3 * MS, 3 * MS))
def test_a_seek_skips_exactly_the_ticks_that_are_not_later(tick, sub, unit_ns, delta):
    ns = tick * unit_ns + delta
    seen = EntryId(tick, sub) > after(Instant(ns), unit_ns=unit_ns)
    assert seen == (tick > ns // unit_ns)


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (-1, "1969-12-31T23:59:59.999999999Z"),
        (1_700_000_000_123_000_000, "2023-11-14T22:13:20.123Z"),
        (NOW, "2023-11-14T22:13:20.123456789Z"),
        (10 * SECOND, "1970-01-01T00:00:10Z"),
        (utc_ns(1, 1, 1), "0001-01-01T00:00:00Z"),
        (253_402_300_800 * SECOND, "10000-01-01T00:00:00Z"),
        (MAX_U64 * MS, "584556019-04-03T14:25:51.615Z"),
    ],
)
def test_a_time_is_shown_in_utc_with_the_digits_it_needs(ns, text):
    assert format_ns(ns) == text


@given(st.integers(utc_ns(1, 1, 1), utc_ns(9999, 12, 31)))
def test_what_is_shown_is_read_back(ns):
    assert parse_when(format_ns(ns)) == Fixed(Instant(ns))


@given(st.datetimes(timezones=st.timezones()))
def test_an_aware_datetime_its_text_and_its_instant_agree(moment):
    ns = (moment - EPOCH) // timedelta(microseconds=1) * 1000
    assert parse_when(moment) == parse_when(moment.isoformat()) == Fixed(Instant(ns))


@given(st.datetimes(timezones=st.timezones()))
def test_a_naive_datetime_in_tz_is_the_aware_one_or_not_clear(moment):
    naive = moment.replace(tzinfo=None)
    with suppress(ConfigError):
        assert parse_when(naive, tz=moment.tzinfo) == parse_when(moment)


@given(st.integers(0, MAX_U64), SUBS)
def test_a_message_id_is_an_id_unless_it_may_be_a_month(ms, sub):
    text = f"{ms}-{sub}"
    if not (1000 <= ms <= 9999 and 10 <= sub <= 12):
        assert parse_when(text) == Fixed(EntryId(ms, sub))
    assert parse_when(text.encode()) == Fixed(EntryId(ms, sub))


@given(st.text() | st.text("0123456789-+:.TZ nowmsh\u0660"))
def test_any_text_is_a_moment_or_a_config_error(text):
    with suppress(ConfigError):
        position = resolve(parse_when(text), NOW)
        assert FIRST_ID <= bound(position, unit_ns=MS) <= LAST_ID


@given(st.binary() | st.from_regex(rb"\A[0-9-]+\Z"))
def test_any_bytes_are_an_id_or_a_config_error(value):
    with suppress(ConfigError):
        assert isinstance(parse_when(value).position, EntryId)


def test_reading_times_does_not_import_pandas():
    code = "import sys, seastream_nb.times; sys.exit('pandas' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
