"""Options, checked once: frozen keyword-only dataclasses whose field names are the arguments.

Every mistake is a `ConfigError` that names the option and, for a typing slip, the nearest name.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypedDict

from seastream_nb import checks
from seastream_nb.checks import Check, named, one_of, or_none
from seastream_nb.errors import ConfigError
from seastream_nb.quantities import Duration, Size, parse_size
from seastream_nb.times import zone_name
from seastream_nb.url import Secret


class ConnectKwargs(TypedDict, total=False):
    """The keyword arguments of `connect` and `connect_async`."""

    cluster: bool
    db: int | None
    username: str | None
    password: str | None
    timeout: Duration
    wait: bool
    tls_ca: str | Path | None
    tls_cert: str | Path | None
    tls_key: str | Path | None
    tls_insecure: bool
    message_field: str
    timestamp_format: Literal["ms", "ns"]
    shards: Literal["auto", "off"]
    tz: str
    now: Any
    read_only: bool
    max_frame_bytes: Size
    torn_tail: Literal["warn", "raise"]
    create: Literal["never", "if_missing", "exclusive"]
    beacon_interval: Size
    file_size_limit: Size
    end_with_eos: bool
    loopback: bool


@dataclass(frozen=True, kw_only=True)
class ConnectOptions:
    """How to connect and how to read what is there.

    `timeout` is in seconds: the longest wait for one answer, and for an outage to end.
    `now` replaces the server's clock, so that a scheduled run can be repeated.

    Five are for files, from `torn_tail` on: whether a finite read of one that ends inside a message
    warns or raises; whether to make it; how many bytes its beacons are apart, which counts for a
    new file; its largest size in bytes; whether a producer that ends says that nothing follows.
    `loopback` is for stdio: whether what is printed also comes to the consumers of this process.
    """

    cluster: bool = False
    db: int | None = None
    username: str | None = None
    password: Secret | None = None
    timeout: float = 60.0
    wait: bool = False
    tls_ca: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    tls_insecure: bool = False
    message_field: str = "msg"
    timestamp_format: Literal["ms", "ns"] = "ms"
    shards: Literal["auto", "off"] = "auto"
    tz: str = "UTC"
    now: int | None = None
    read_only: bool = False
    max_frame_bytes: int | Literal["auto"] = "auto"
    torn_tail: Literal["warn", "raise"] = "warn"
    create: Literal["never", "if_missing", "exclusive"] = "never"
    beacon_interval: int = 2**20
    file_size_limit: int = 16 * 2**30
    end_with_eos: bool = False
    loopback: bool = False

    @classmethod
    def make(cls, given: Mapping[str, Any], *, default_now: str | None = None) -> ConnectOptions:
        """Check what the user gave; `default_now` is what `$SEASTREAM_NOW` holds.

        Raises:
            ConfigError: an unknown name, or a value that cannot be meant.
        """
        require_options(given)
        values = _checked("connection option", given, _CONNECT)
        if values.get("tls_key") is not None and values.get("tls_cert") is None:
            raise ConfigError("tls_key needs tls_cert, the certificate that it is the key of")
        name, now = "now", values.get("now")
        if now is None:
            name, now = "$SEASTREAM_NOW", default_now
        if now is not None:
            zone = values.get("tz", cls.tz)
            values["now"] = named(name, now, lambda moment: checks.instant_ns(moment, zone))
        return cls(**values)

    @property
    def unit_ns(self) -> int:
        """Nanoseconds that one tick of an entry id lasts."""
        return 1 if self.timestamp_format == "ns" else 1_000_000

    @property
    def field(self) -> bytes:
        """The message field as Redis holds it."""
        return self.message_field.encode()


class Sharder(Protocol):
    """Chooses the shard of each message of a producer."""

    def shard(self, stream_key: str, payload: bytes) -> int:
        """The shard, 0 or more, for this payload."""


@dataclass(frozen=True, kw_only=True)
class ProducerOptions:
    """How a producer spreads, confirms and bounds what it sends; `max_queue` in bytes."""

    sharder: Sharder | None = None
    idempotent: bool = False
    durability: Literal["primary", "replica"] = "primary"
    max_queue: int = 256 * 2**20

    @classmethod
    def make(cls, given: Mapping[str, Any]) -> ProducerOptions:
        """Check what the user gave.

        Raises:
            ConfigError: an unknown name, or a value that cannot be meant.
        """
        return cls(**_checked("producer option", given, _PRODUCER))


class ConsumerKwargs(TypedDict, total=False):
    """The keyword arguments of `Streamer.consumer`."""

    mode: Literal["realtime", "resumable", "load_balanced"]
    group: str | None
    consumer_id: str | None
    auto_stream_reset: Literal["earliest", "latest"]
    auto_commit: Literal["delayed", "immediate", "rolling", "disabled"]
    auto_commit_delay: Duration
    auto_commit_interval: Duration
    auto_claim_interval: Duration | None
    auto_claim_idle: Duration
    max_hold: Duration
    batch_size: int
    mkstream: bool
    shard_ownership: Literal["shared", "owned"]


@dataclass(frozen=True, kw_only=True)
class ConsumerOptions:
    """How a consumer reads. Durations are in seconds; the rules are SeaStreamer's.

    In realtime mode the options of groups, commits and claims are checked and unused.

    Attributes:
        mode: alone, as the one consumer of a group, or as one of several.
        group, consumer_id: names; left out, those that SeaStreamer gives on this host.
        auto_stream_reset: where reading begins, or a group that is created.
        auto_commit: when messages are acknowledged and committed; `committing.py` has the table.
        auto_commit_delay: how old an ack is when "delayed" commits it.
        auto_commit_interval: how often "rolling" commits at most.
        auto_claim_interval: how often a load-balanced consumer looks for what others left; None:
            never.
        auto_claim_idle: how long a message has to be left for that.
        max_hold: how long the lease on one message is renewed.
        batch_size: entries a request and shard: 100, or 10 when load-balanced; more while a
            consumer that reads ahead and alone catches up.
        mkstream: create a stream that is missing, with the group.
    """

    mode: Literal["realtime", "resumable", "load_balanced"] = "realtime"
    group: str | None = None
    consumer_id: str | None = None
    auto_stream_reset: Literal["earliest", "latest"] = "latest"
    auto_commit: Literal["delayed", "immediate", "rolling", "disabled"] = "delayed"
    auto_commit_delay: float = 5.0
    auto_commit_interval: float = 1.0
    auto_claim_interval: float | None = 30.0
    auto_claim_idle: float = 60.0
    max_hold: float = 600.0
    batch_size: int = 100
    mkstream: bool = False
    shard_ownership: Literal["shared", "owned"] = "shared"

    @classmethod
    def make(cls, given: Mapping[str, Any]) -> ConsumerOptions:
        """Check what the user gave.

        Raises:
            ConfigError: an unknown name, or a value that cannot be meant.
        """
        values = _checked("consumer option", given, _CONSUMER)
        values.setdefault("batch_size", 10 if values.get("mode") == "load_balanced" else 100)
        return cls(**values)


def require_known(what: str, name: str, known: Iterable[str]) -> None:
    """Refuse a name that is not known, and say which was probably meant.

    Raises:
        ConfigError: naming the nearest known name, or all of them.
    """
    names = list(known)
    if name in names:
        return
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names) or 'none'}"
    raise ConfigError(f"unknown {what} {name!r}: {hint}")


def require_options(given: Iterable[str]) -> None:
    """Refuse what is no option of a connection.

    Raises:
        ConfigError: naming the nearest option, or where a part of the target belongs.
    """
    for name in given:
        if name in _TARGET:
            raise ConfigError(
                f"unknown connection option {name!r}: it is said in the target, as in "
                "connect('redis://localhost:6379')"
            )
        require_known("connection option", name, _CONNECT)


def _checked(what: str, given: Mapping[str, Any], checks: Mapping[str, Check]) -> dict[str, Any]:
    for name in given:
        require_known(what, name, checks)
    return {name: named(name, value, checks[name]) for name, value in given.items()}


def _sharder(value: Any) -> Any:
    if isinstance(value, type):
        raise ConfigError("that is a class: give an object of it")
    if callable(getattr(value, "shard", None)):
        return value
    raise ConfigError("it has no method shard(stream_key, payload)")


_CONNECT: Mapping[str, Check] = {
    "cluster": checks.flag,
    "db": or_none(checks.number_from(0)),
    "username": or_none(checks.text),
    "password": or_none(checks.secret),
    "timeout": checks.seconds,
    "wait": checks.flag,
    "tls_ca": or_none(checks.file),
    "tls_cert": or_none(checks.file),
    "tls_key": or_none(checks.file),
    "tls_insecure": checks.flag,
    "message_field": checks.text,
    "timestamp_format": one_of("ms", "ns"),
    "shards": one_of("auto", "off"),
    "tz": zone_name,
    "now": lambda value: value,  # read last: a naive time needs the zone
    "read_only": checks.flag,
    "max_frame_bytes": checks.size_or_auto,
    "torn_tail": one_of("warn", "raise"),
    "create": one_of("never", "if_missing", "exclusive"),
    "beacon_interval": checks.beacon_interval,
    "file_size_limit": parse_size,
    "end_with_eos": checks.flag,
    "loopback": checks.flag,
}
# What other libraries take apart.
_TARGET = frozenset({"target", "url", "uri", "address", "host", "port", "path"})
_PRODUCER: Mapping[str, Check] = {
    "sharder": or_none(_sharder),
    "idempotent": checks.flag,
    "durability": one_of("primary", "replica"),
    "max_queue": parse_size,
}
_CONSUMER: Mapping[str, Check] = {
    "mode": one_of("realtime", "resumable", "load_balanced"),
    "group": or_none(checks.text),
    "consumer_id": or_none(checks.text),
    "auto_stream_reset": one_of("earliest", "latest"),
    "auto_commit": one_of("delayed", "immediate", "rolling", "disabled"),
    "auto_commit_delay": checks.seconds_or_zero,
    "auto_commit_interval": checks.seconds_or_zero,
    "auto_claim_interval": or_none(checks.seconds),
    "auto_claim_idle": checks.seconds,
    "max_hold": checks.seconds,
    "batch_size": checks.number_from(1),
    "mkstream": checks.flag,
    "shard_ownership": one_of("shared", "owned"),
}
