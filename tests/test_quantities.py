from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st

from seastream_nb.errors import ConfigError, TimeTypeError
from seastream_nb.quantities import MAX_I64, parse_duration, parse_size

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE


@pytest.mark.parametrize(
    ("value", "ns"),
    [
        ("250ms", 250_000_000),
        ("10m", 10 * MINUTE),
        ("10min", 10 * MINUTE),
        ("2h", 2 * HOUR),
        ("1d", 24 * HOUR),
        ("2w", 14 * 24 * HOUR),
        ("1h30m", 90 * MINUTE),
        ("1h 30m 5s", 90 * MINUTE + 5 * SECOND),
        (" 10 m ", 10 * MINUTE),
        ("1.5s", 1_500_000_000),
        ("0.1s", 100_000_000),
        ("3us", 3_000),
        ("7ns", 7),
        ("1w2d3h4m5s6ms7us8ns", 788_645_006_007_008),
        (5, 5 * SECOND),
        (0.1, 100_000_000),
        (0.25, 250_000_000),
        (np.int64(3), 3 * SECOND),
        (np.float32(1.5), 1_500_000_000),
        (timedelta(minutes=10), 10 * MINUTE),
        (timedelta(microseconds=1), 1_000),
        (pd.Timedelta(1_000_000_007, "ns"), 1_000_000_007),
        (pd.Timedelta("10min"), 10 * MINUTE),
        (np.timedelta64(7, "ns"), 7),
        (np.timedelta64(2, "W"), 14 * 24 * HOUR),
        (np.timedelta64(2, "D"), 48 * HOUR),
        (np.timedelta64(10, "m"), 10 * MINUTE),
        (np.timedelta64(2, "5m"), 10 * MINUTE),
        (9_000_000_001, 9_000_000_001 * SECOND),
    ],
)
def test_a_duration_has_exactly_these_nanoseconds(value, ns):
    assert parse_duration(value) == ns


def test_long_text_durations_lose_nothing_to_floating_point():
    assert parse_duration("9007199.254740993s") == 9_007_199_254_740_993


def test_the_longest_duration_is_what_64_bits_of_nanoseconds_hold():
    assert parse_duration(f"{MAX_I64}ns") == MAX_I64
    with pytest.raises(ConfigError, match="292 years"):
        parse_duration(f"{MAX_I64 + 1}ns")


@pytest.mark.parametrize(
    "value",
    [
        "",
        "10",
        "m",
        "1.5",
        "-10m",
        "0s",
        "10x",
        "30m1h",
        "1h1h",
        "10M",
        ".5s",
        "1e3s",
        "0.4ns",
        "9" * 5000 + "s",
        "\u0661s",
        0,
        -1,
        0.0,
        1e-10,
        float("nan"),
        float("inf"),
        float("-inf"),
        1e300,
        10**400,
        timedelta(0),
        timedelta(seconds=-1),
        timedelta.max,
        np.timedelta64("NaT"),
        np.timedelta64(1, "M"),
        np.timedelta64(1, "Y"),
        np.timedelta64(5),
        np.timedelta64(2**62, "W"),
    ],
    ids=lambda value: f"{value!r:.20}",
)
def test_what_is_no_duration_is_refused_naming_what_is_allowed(value):
    with pytest.raises(ConfigError, match="'250ms' or '1h30m', above zero") as caught:
        parse_duration(value)
    assert not isinstance(caught.value, TimeTypeError)


@pytest.mark.parametrize("value", [None, True, False, np.True_, b"10m", [1], 1j, pd.NaT])
def test_a_type_that_is_never_a_duration_is_a_type_error_too(value):
    with pytest.raises(TimeTypeError, match="is never a duration: write seconds"):
        parse_duration(value)


@given(st.timedeltas(timedelta(microseconds=1), timedelta(days=100_000)))
def test_a_timedelta_and_its_text_are_the_same_duration(delta):
    microseconds = delta // timedelta(microseconds=1)
    assert parse_duration(delta) == parse_duration(f"{microseconds}us") == microseconds * 1000


@given(st.text() | st.text("0123456789.wdhmsun "))
def test_any_text_is_a_duration_or_a_config_error(text):
    with suppress(ConfigError):
        assert 0 < parse_duration(text) <= MAX_I64


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (1, 1),
        (np.int64(4096), 4096),
        ("4096", 4096),
        ("4096B", 4096),
        ("64MiB", 64 * 2**20),
        ("64mib", 64 * 2**20),
        ("16 GiB", 2**34),
        ("1.5GB", 1_500_000_000),
        ("1.5KiB", 1536),
        ("512k", 512_000),
        ("512Ki", 512 * 1024),
        ("1kB", 1000),
        ("2TiB", 2**41),
    ],
)
def test_a_size_has_exactly_these_bytes(value, size):
    assert parse_size(value) == size


@pytest.mark.parametrize(
    "value",
    ["", "MiB", "-1", "0", "1.5.5k", "64MiBs", "64 miles", "1i", "0.5B", "9" * 30, "\u0661k",
     "1\u212a", 0, -1, 2**63, 1.5, True, None, b"1k", np.timedelta64(1, "s")],
)  # fmt: skip
def test_what_is_no_size_is_refused_naming_what_is_allowed(value):
    with pytest.raises(ConfigError, match="is no size: write bytes as an int, or text"):
        parse_size(value)


@given(st.text() | st.text("0123456789.kMGTiB "))
def test_any_text_is_a_size_or_a_config_error(text):
    with suppress(ConfigError):
        assert 0 < parse_size(text) <= MAX_I64
