"""What a file can hold: checked before anything is written."""

from __future__ import annotations

from seastream_nb.errors import ConfigError, StreamKeyError
from seastream_nb.file.bulk import Columns
from seastream_nb.file.format import INTERNAL_KEY, LAST_MS, LEAST_INTERVAL, Frame, key_of
from seastream_nb.file.splice import Pair
from seastream_nb.keys import MAX_U64

MAX_PAYLOAD = 2**32 - 1
_MOST_INTERVAL = 2**32 - 1


def require_interval(interval: int) -> None:
    """Refuse what no header can say.

    Raises:
        ConfigError: it is below 128 bytes or over 4 GiB.
    """
    if not LEAST_INTERVAL <= interval <= _MOST_INTERVAL:
        raise ConfigError(f"beacon_interval={interval!r}: from {LEAST_INTERVAL} bytes to 4 GiB")


def require_pair(pair: Pair) -> None:
    """Refuse a stream or shard that readers would refuse, or take for the format's own.

    Raises:
        StreamKeyError: it is no key, or the one of end-of-stream marks.
        ConfigError: the shard is not from 0 to 2**64 - 1.
    """
    key, shard = pair
    if not key or key == INTERNAL_KEY or not key.isascii() or key_of(key.encode()) is None:
        raise StreamKeyError(f"{key!r} is no stream key that a file can hold")
    if not 0 <= shard <= MAX_U64:
        raise ConfigError(f"the shard of {key!r} is {shard!r}: it must be a number from 0")


def require_numbers(frame: Frame) -> None:
    """Refuse numbers that the format has no room for.

    Raises:
        ConfigError: a sequence over 64 bits, a time before 1970 or past the year 9999, a payload
            of 4 GiB.
    """
    key, _, sequence, ms = frame.place
    require_ms(key, ms)
    if not 0 <= sequence <= MAX_U64:
        raise ConfigError(f"the sequence number {sequence} of {key!r} does not fit 64 bits")
    if len(frame.payload) > MAX_PAYLOAD:
        raise ConfigError(f"a payload of {len(frame.payload):,} bytes is not under 4 GiB")


def require_ms(key: str, ms: int) -> None:
    """Refuse a time that readers would refuse.

    Raises:
        ConfigError: it is before 1970 or past the year 9999.
    """
    if not 0 <= ms <= LAST_MS:
        raise ConfigError(
            f"the time of a message of {key!r} is {ms:,} ms: a file holds times from 1970 to 9999"
        )


def require_columns(columns: Columns) -> None:
    """Refuse messages of which one cannot be written.

    Raises:
        StreamKeyError, ConfigError: as the others, or a payload is null.
    """
    for pair in columns.pairs:
        require_pair(pair)
    if len(columns):
        require_ms(columns.pairs[0][0], int(columns.times.max()))
    if columns.payloads.null_count:
        raise ConfigError("a message without a payload cannot be written")
