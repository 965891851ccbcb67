"""Messages over time: bins of the clock, exact and estimated."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

import seastream_nb as ss
from seastream_nb import errors
from seastream_nb.rate import bin_edges

HOUR = 3600 * 10**9


def add_at(client: Any, *times: str) -> None:
    for time in times:
        client.xadd("s", {"msg": "x"}, id=f"{pd.Timestamp(time).value // 10**6}-*")


def test_bins_are_aligned_and_empty_ones_kept(streamer: ss.Streamer, client: Any) -> None:
    add_at(client, "2026-01-05T10:07Z", "2026-01-05T10:59:59.999Z", "2026-01-05T13:00Z")
    rate = streamer["s"].rate("1h")
    assert rate.columns.tolist() == ["timestamp", "messages", "per_second", "estimated"]
    assert rate["timestamp"].dt.strftime("%H:%M").tolist() == ["10:00", "11:00", "12:00", "13:00"]
    assert rate["messages"].tolist() == [2, 0, 0, 1]
    assert rate["per_second"].tolist() == [2 / 3600, 0, 0, 1 / 3600]
    assert not rate["estimated"].any()
    assert rate["messages"].dtype == "int64"


def test_short_bins_have_exact_widths(streamer: ss.Streamer, client: Any) -> None:
    add_at(client, "2026-01-05T10:07:00.001Z", "2026-01-05T10:07:00.003Z")
    assert streamer["s"].rate("1ms")["per_second"].tolist() == [1000.0, 0.0, 1000.0]


def test_bins_cover_the_range_that_was_asked_for(streamer: ss.Streamer, client: Any) -> None:
    add_at(client, "2026-01-05T10:07Z")
    rate = streamer["s"].since("2026-01-05T09:00Z").until("2026-01-05T12:00Z").rate("30m")
    assert rate["messages"].tolist() == [0, 0, 1, 0, 0, 0]


@pytest.mark.parametrize("exact", [True, False])
def test_a_range_without_messages_has_its_empty_bins(
    streamer: ss.Streamer, client: Any, *, exact: bool
) -> None:
    add_at(client, "2026-01-05T10:07Z")
    for key in ("s", "nothing"):
        day = streamer[key].since("2026-01-06T00:00Z").until("2026-01-07T00:00Z")
        rate = day.rate("6h", exact=exact)
        assert rate["messages"].tolist() == [0, 0, 0, 0]
        assert rate["timestamp"].iloc[0].isoformat() == "2026-01-06T00:00:00+00:00"
        assert not rate["estimated"].any()


@pytest.mark.parametrize("exact", [True, False])
def test_a_feed_that_stopped_shows_its_silence(url: str, client: Any, *, exact: bool) -> None:
    add_at(client, "2026-01-05T10:07Z", "2026-01-05T11:10Z", "2026-01-05T11:11Z")
    with ss.connect(url, now="2026-01-05T12:00Z") as streamer:
        stream = streamer["s"]
        hour = stream.last("1h").rate("15m", exact=exact)
        assert hour["messages"].tolist() == [2, 0, 0, 0]
        until = stream.until("2026-01-05T18:00Z").rate("1h", exact=exact)
        assert until["messages"].tolist() == [1, 2]  # the end is now
        later = stream.since("2026-01-05T13:00Z").rate("1h", exact=exact)
        assert len(later) == 0


def test_both_ways_cover_the_same_bins(streamer: ss.Streamer, client: Any) -> None:
    client.xadd("s", {"temp": "21"}, id="1000-0")  # an entry is there, if no message
    client.xadd("s", {"msg": "x"}, id="5000-0")
    client.xadd("s", {"temp": "21"}, id="7000-0")
    stream = streamer["s"]
    parts = [
        stream,
        stream.since("1970-01-01T00:00:03.5Z"),
        stream.until("1970-01-01T00:00:06Z"),
        stream.since("00002-0").until("06000-1"),
    ]
    for part in parts:
        exact, guessed = part.rate("1s"), part.rate("1s", exact=False)
        pd.testing.assert_frame_equal(exact, guessed)
    assert len(stream.rate("1s")) == 7
    assert len(stream.first(1).rate("1s")) == 1


@pytest.mark.parametrize("exact", [True, False])
def test_what_is_stamped_after_now_is_in_the_last_bins(
    url: str, client: Any, *, exact: bool
) -> None:
    add_at(client, "2026-01-05T10:07Z", "2026-01-05T13:07Z")
    with ss.connect(url, now="2026-01-05T11:00Z") as streamer:
        rate = streamer["s"].until("2026-01-06").rate("1h", exact=exact)
        assert rate["messages"].tolist() == [1, 0, 0, 1]


@pytest.mark.parametrize("exact", [True, False])
def test_a_range_that_begins_before_there_was_time_begins_with_it(
    streamer: ss.Streamer, client: Any, *, exact: bool
) -> None:
    client.xadd("s", {"msg": "x"}, id="1000-0")
    for stream in (streamer["s"].since("1960-01-01"), streamer["s"].tz("Europe/Berlin")):
        assert stream.rate("30d", exact=exact)["messages"].tolist() == [1]


@pytest.mark.parametrize("exact", [True, False])
def test_a_wide_range_of_short_bins_is_refused_by_name(
    streamer: ss.Streamer, client: Any, *, exact: bool
) -> None:
    add_at(client, "2026-01-05T10:07Z")
    with pytest.raises(errors.ConfigError, match=r"rate\(every=.*bins"):
        streamer["s"].since("2020-01-01").rate("1s", exact=exact)


def test_an_estimate_asks_nothing_of_bins_after_the_last_entry(
    streamer: ss.Streamer, client: Any
) -> None:
    add_at(client, "2026-01-05T10:07Z")
    day = streamer["s"].since("2026-01-05T10:00Z").until("2026-01-06T10:00Z")
    client.config_resetstat()
    assert len(day.rate("1m", exact=False)) == 24 * 60
    assert client.info("commandstats")["cmdstat_xrange"]["calls"] < 30


def test_an_empty_stream_has_an_empty_rate_of_the_same_types(
    streamer: ss.Streamer, client: Any
) -> None:
    empty = streamer["nothing"].rate("1h")
    add_at(client, "2026-01-05T10:07Z")
    assert len(empty) == 0
    assert empty.dtypes.to_dict() == streamer["s"].rate("1h").dtypes.to_dict()


def test_bins_follow_the_streams_zone(streamer: ss.Streamer, client: Any) -> None:
    add_at(client, "2026-01-05T22:30Z", "2026-01-05T23:30Z")
    assert streamer["s"].rate("1d")["messages"].tolist() == [2]
    berlin = streamer["s"].tz("Europe/Berlin").rate("1d")
    assert berlin["messages"].tolist() == [1, 1]
    assert berlin["timestamp"].iloc[1].isoformat() == "2026-01-06T00:00:00+01:00"


@pytest.mark.parametrize(
    ("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-06-01", 24)]
)
def test_days_with_a_clock_change_have_the_hours_they_have(day: str, hours: int) -> None:
    start = pd.Timestamp(day, tz="Europe/Berlin")
    stop = pd.Timestamp(day, tz="Europe/Berlin") + pd.DateOffset(days=1)
    span = (start.value, stop.value)
    assert len(bin_edges(span, HOUR, "Europe/Berlin")) == hours + 1
    days = bin_edges(span, 24 * HOUR, "Europe/Berlin")
    assert days == [start.value, stop.value]
    quarters = bin_edges(span, 6 * HOUR, "Europe/Berlin")
    clock = [pd.Timestamp(edge, tz="Europe/Berlin").hour for edge in quarters[:-1]]
    assert clock == [0, 6, 12, 18]


def test_without_a_length_there_are_about_sixty_round_bins(
    streamer: ss.Streamer, client: Any
) -> None:
    add_at(client, "2026-01-05T10:07Z", "2026-01-05T15:07Z")
    rate = streamer["s"].rate()
    assert 30 <= len(rate) <= 61
    assert rate["timestamp"].diff().dropna().unique().tolist() == [pd.Timedelta("5min")]


def test_the_estimate_is_exact_where_a_probe_reaches_the_end(
    streamer: ss.Streamer, client: Any
) -> None:
    pipeline = client.pipeline(transaction=False)
    for number in range(20_000):
        # Ten seconds at 1000 a second, then 100 at 100.
        ms = number if number < 10_000 else 10_000 + (number - 10_000) * 10
        pipeline.xadd("s", {"msg": "x"}, id=f"{1_700_000_000_000 + ms}-*")
    pipeline.execute()
    stream = streamer["s"]
    exact = stream.rate("10s")
    client.config_resetstat()
    guessed = stream.rate("10s", exact=False)
    assert client.info("commandstats")["cmdstat_xrange"]["calls"] <= 2 * len(guessed)
    assert guessed["timestamp"].tolist() == exact["timestamp"].tolist()
    assert guessed["messages"].tolist() == pytest.approx(exact["messages"].tolist(), rel=0.05)
    assert guessed["estimated"].any()
    quiet = stream.rate("500ms", exact=False)
    assert not quiet["estimated"].iloc[40:].any()


def test_an_estimate_of_fields_counts_entries_without_a_message(
    streamer: ss.Streamer, client: Any
) -> None:
    for n in range(300):
        client.xadd("s", {"temperature": "21"}, id=f"{1_700_000_000_000 + n}-0")
    assert streamer["s"].fields().rate("50ms", exact=False)["messages"].sum() == 300
    for every, which in [("50ms", "in this range"), ("1m", "of those probed")]:
        with pytest.warns(UserWarning, match=f"no entry of 's' {which} has the field 'msg'"):
            assert streamer["s"].rate(every, exact=False)["messages"].sum() == 0


def test_an_estimate_of_huge_messages_probes_few_and_says_so(
    streamer: ss.Streamer, client: Any
) -> None:
    for n in range(40):
        client.xadd("s", {"msg": b"x" * 1_000_000}, id=f"{1_700_000_000_000 + n}-0")
    client.config_resetstat()
    guessed = streamer["s"].rate("1m", exact=False)
    assert guessed["estimated"].tolist() == [True]
    assert client.info("stats")["total_net_output_bytes"] < 10_000_000


def test_an_estimate_that_cannot_see_filters_is_refused(streamer: ss.Streamer) -> None:
    for stream in (streamer["s"].contains("x"), streamer["s"].first(3)):
        with pytest.raises(errors.ConfigError, match="exact"):
            stream.rate("1s", exact=False)


@pytest.mark.parametrize("every", ["0s", "-1m", 0, "soon", None.__class__])
def test_a_bin_length_that_is_none_is_refused(streamer: ss.Streamer, every: Any) -> None:
    with pytest.raises(errors.ConfigError):
        streamer["s"].rate(every)


def test_far_too_many_bins_are_refused(streamer: ss.Streamer, client: Any) -> None:
    add_at(client, "2020-01-05T10:07Z", "2026-01-05T15:07Z")
    with pytest.raises(errors.ConfigError, match="bins"):
        streamer["s"].rate("1ms")


def test_ids_past_the_calendar_are_named_with_what_to_do(
    streamer: ss.Streamer, client: Any
) -> None:
    add_at(client, "2026-01-05T10:07Z")
    client.xadd("s", {"msg": "x"}, id=f"{2**48}-0")
    with pytest.raises(errors.ConfigError, match="until"):
        streamer["s"].rate("1d")
    assert streamer["s"].until("2027-01-01").rate("1d")["messages"].sum() == 1
