"""Options: every name is known, every value is checked, every mistake names its option."""

from __future__ import annotations

import dataclasses
import typing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from seastream_nb.errors import ConfigError, TimeTypeError
from seastream_nb.options import (
    ConnectKwargs,
    ConnectOptions,
    ConsumerKwargs,
    ConsumerOptions,
    ProducerOptions,
)
from seastream_nb.sharders import RoundRobinSharder

Options = type[ConnectOptions] | type[ProducerOptions] | type[ConsumerOptions]
ALL: list[Options] = [ConnectOptions, ProducerOptions, ConsumerOptions]


def names(options: Options) -> list[str]:
    return [field.name for field in dataclasses.fields(options)]


@pytest.mark.parametrize("options", ALL)
def test_without_arguments_every_option_has_its_default(options: Options) -> None:
    assert options.make({}) == options()


@pytest.mark.parametrize("options", ALL)
def test_every_option_can_be_given_its_default(options: Options) -> None:
    defaults = dataclasses.asdict(options())

    assert options.make(defaults) == options()


@pytest.mark.parametrize("options", ALL)
def test_a_typing_slip_in_any_name_is_an_error_that_names_the_option(options: Options) -> None:
    for name in names(options):
        slip = name.replace("_", "") if "_" in name else name + "x"
        with pytest.raises(ConfigError, match=rf"unknown \w+ option '{slip}': did you mean '\w+'"):
            options.make({slip: 1})


@pytest.mark.parametrize("options", ALL)
def test_a_value_of_a_wrong_type_names_its_option(options: Options) -> None:
    for name in names(options):
        with pytest.raises(ConfigError, match=rf"^{name}="):
            options.make({name: [object()]})


def test_the_keyword_types_name_exactly_the_options() -> None:
    assert set(typing.get_type_hints(ConnectKwargs)) == set(names(ConnectOptions))
    assert set(typing.get_type_hints(ConsumerKwargs)) == set(names(ConsumerOptions))


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("cluster", 1, "give True or False"),
        ("read_only", "yes", "give True or False"),
        ("wait", None, "give True or False"),
        ("db", -1, "whole number, 0 or more"),
        ("db", True, "whole number"),
        ("db", "1", "whole number"),
        ("username", "", "text that is not empty"),
        ("username", b"ana", "text"),
        ("timeout", 0, "no duration"),
        ("timeout", -1, "no duration"),
        ("timeout", "soon", "no duration"),
        ("timeout", None, "never a duration"),
        ("timeout", float("nan"), "no duration"),
        ("message_field", "", "text that is not empty"),
        ("message_field", b"msg", "text"),
        ("timestamp_format", "us", "choose one of 'ms', 'ns'"),
        ("shards", "on", "choose one of 'auto', 'off'"),
        ("tz", "Berlin", "did you mean 'Europe/Berlin'?"),
        ("max_frame_bytes", 0, "no size"),
        ("max_frame_bytes", "lots", "no size"),
        ("tls_ca", "/no/such/ca.pem", "there is no such file"),
        ("tls_cert", Path("/"), "there is no such file"),
        ("now", "-10m", "one point in time"),
        ("now", "now", "one point in time"),
        ("now", "latest", "one point in time"),
        ("now", 1_700_000_000, "never a time"),
        ("now", "soon", "no time"),
    ],
)
def test_a_connection_option_that_cannot_be_meant(name: str, value: Any, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ConnectOptions.make({name: value})

    assert str(caught.value).startswith(f"{name}={value!r}: ")
    assert said in str(caught.value)


def test_a_time_of_a_wrong_type_is_a_type_error_too() -> None:
    with pytest.raises(TimeTypeError):
        ConnectOptions.make({"now": 5})


def test_a_wrong_password_is_not_repeated() -> None:
    with pytest.raises(ConfigError, match=r"^password=\*\*\*: give a text, not bytes$"):
        ConnectOptions.make({"password": b"canary"})


def test_options_show_no_password() -> None:
    options = ConnectOptions.make({"password": "canary"})

    assert "canary" not in repr(options)
    assert "canary" not in repr(dataclasses.asdict(ConnectOptions()))
    assert options.password is not None
    assert options.password.reveal() == "canary"


@pytest.mark.parametrize(
    ("given", "seconds"),
    [(1, 1.0), (0.25, 0.25), ("250ms", 0.25), ("1m30s", 90.0), (timedelta(minutes=1), 60.0)],
)
def test_durations_in_every_form(given: Any, seconds: float) -> None:
    assert ConnectOptions.make({"timeout": given}).timeout == seconds


@pytest.mark.parametrize("name", ["auto_commit_delay", "auto_commit_interval"])
@pytest.mark.parametrize(
    "zero",
    [0, 0.0, "0s", "0 ms", timedelta(0), pd.Timedelta(0), np.timedelta64(0, "s"), np.int64(0)],
)
def test_a_commit_may_follow_at_once(name: str, zero: Any) -> None:
    assert getattr(ConsumerOptions.make({name: zero}), name) == 0.0


@pytest.mark.parametrize("name", ["auto_commit_delay", "auto_commit_interval"])
@pytest.mark.parametrize("wrong", [-1, "-1s", "0", False, None, float("nan")])
def test_a_commit_never_comes_before_the_message(name: str, wrong: Any) -> None:
    with pytest.raises(ConfigError, match=f"^{name}="):
        ConsumerOptions.make({name: wrong})


@pytest.mark.parametrize("name", ["auto_claim_interval", "auto_claim_idle", "max_hold"])
def test_what_happens_all_the_time_is_no_interval(name: str) -> None:
    with pytest.raises(ConfigError, match=f"^{name}=0: "):
        ConsumerOptions.make({name: 0})


def test_none_means_that_nothing_is_ever_claimed() -> None:
    assert ConsumerOptions.make({"auto_claim_interval": None}).auto_claim_interval is None


@pytest.mark.parametrize(
    ("given", "size"),
    [
        ({}, 100),
        ({"mode": "resumable"}, 100),
        ({"mode": "load_balanced"}, 10),
        ({"mode": "load_balanced", "batch_size": 7}, 7),
    ],
)
def test_a_load_balanced_consumer_asks_for_less(given: dict[str, Any], size: int) -> None:
    assert ConsumerOptions.make(given).batch_size == size


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mode", "real_time"),
        ("group", ""),
        ("consumer_id", 5),
        ("auto_stream_reset", "first"),
        ("auto_commit", "never"),
        ("batch_size", 0),
        ("batch_size", 1.5),
        ("mkstream", 1),
        ("shard_ownership", "mine"),
    ],
)
def test_a_consumer_option_that_cannot_be_meant(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"^{name}="):
        ConsumerOptions.make({name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sharder", object()),
        ("sharder", RoundRobinSharder),
        ("idempotent", 1),
        ("durability", "disk"),
        ("max_queue", 0),
        ("max_queue", "much"),
    ],
)
def test_a_producer_option_that_cannot_be_meant(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"^{name}="):
        ProducerOptions.make({name: value})


NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
NOON_NS = 1_795_435_200 * 10**9


@pytest.mark.parametrize(
    ("now", "tz"),
    [
        (NOON, "UTC"),
        (NOON.astimezone(timezone(timedelta(hours=-7))), "Asia/Tokyo"),
        ("2026-11-23T12:00Z", "Asia/Tokyo"),
        ("2026-11-23T13:00", "Europe/Berlin"),
        (datetime(2026, 11, 23, 13), "Europe/Berlin"),
        (pd.Timestamp("2026-11-23T12:00Z"), "UTC"),
        (np.datetime64("2026-11-23T12:00"), "UTC"),
    ],
)
def test_now_is_one_instant(now: Any, tz: str) -> None:
    assert ConnectOptions.make({"now": now, "tz": tz}).now == NOON_NS


def test_the_environments_now_is_read_when_none_is_given() -> None:
    assert ConnectOptions.make({}, default_now="2026-11-23T12:00Z").now == NOON_NS
    assert ConnectOptions.make({"now": None}, default_now="2026-11-23T12:00Z").now == NOON_NS
    assert ConnectOptions.make({"now": NOON}, default_now="1999-01-01").now == NOON_NS
    with pytest.raises(ConfigError, match=r"^\$SEASTREAM_NOW='-1h': give one point in time"):
        ConnectOptions.make({}, default_now="-1h")


def test_a_key_needs_its_certificate(tmp_path: Path) -> None:
    file = tmp_path / "k.pem"
    file.touch()

    with pytest.raises(ConfigError, match="tls_key needs tls_cert"):
        ConnectOptions.make({"tls_key": file})

    assert ConnectOptions.make({"tls_key": file, "tls_cert": str(file)}).tls_key == str(file)


def test_the_message_field_and_the_unit_as_redis_knows_them() -> None:
    options = ConnectOptions.make({"message_field": "größe", "timestamp_format": "ns"})

    assert (options.field, options.unit_ns) == ("größe".encode(), 1)
    assert ConnectOptions().unit_ns == 1_000_000


@pytest.mark.parametrize("value", [0, 1023, 1500, "1KB", 2**32])
def test_a_beacon_interval_is_what_the_format_can_hold(value: object) -> None:
    assert ConnectOptions.make({"beacon_interval": "4KiB"}).beacon_interval == 4096
    with pytest.raises(ConfigError, match="beacon_interval"):
        ConnectOptions.make({"beacon_interval": value})
