"""The one time grammar: everything that may say "when", and the entry id it stands for.

A `when` goes through three steps, each a pure function:

    parse_when   what the user wrote       -> a Moment, which may still wait for "now"
    resolve      a Moment and "now"        -> a Position: an instant, an entry id or an edge
    bound, after a Position and the unit   -> an EntryId, for a range or for a seek

Absolute times of every type are read through their ISO text: one reader, no nanosecond lost.
"""

from __future__ import annotations

import difflib
import re
import sys
import zoneinfo
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from enum import Enum
from numbers import Number
from typing import Any, ClassVar, Protocol

import numpy as np

from seastream_nb.errors import ConfigError, TimeTypeError
from seastream_nb.keys import FIRST_ID, LAST_ID, MAX_U64, EntryId
from seastream_nb.quantities import NS_PER_SECOND, parse_duration


class Stamped(Protocol):
    """What stands at an entry id: a message, its header, a receipt."""

    @property
    def entry_id(self) -> EntryId:
        """Where it stands."""


class ArrowTime(Protocol):
    """A timestamp of Arrow, such as a cell of a table."""

    @property
    def value(self) -> int | None:
        """How many of its unit since the epoch."""

    @property
    def type(self) -> Any:
        """Its unit, and maybe a time zone."""


When = str | bytes | date | np.datetime64 | ArrowTime | EntryId | Stamped


class Edge(Enum):
    """An end of every stream; its value is the id that nothing lies beyond."""

    EARLIEST = FIRST_ID
    LATEST = LAST_ID


@dataclass(frozen=True, slots=True)
class Instant:
    """A point in time: nanoseconds since the epoch, negative before 1970."""

    ns: int


Position = EntryId | Instant | Edge


@dataclass(frozen=True, slots=True)
class Fixed:
    """A moment that does not depend on "now"."""

    position: Position
    needs_now: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class Relative:
    """A moment so many nanoseconds after "now"; before it when negative."""

    offset_ns: int
    needs_now: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class TimeOfDay:
    """A time such as "02:10" on the day that "now" falls on in a time zone."""

    clock: str
    zone: tzinfo
    needs_now: ClassVar[bool] = True


Moment = Fixed | Relative | TimeOfDay

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_WORDS: dict[str, Moment] = {
    "now": Relative(0),
    "earliest": Fixed(Edge.EARLIEST),
    "latest": Fixed(Edge.LATEST),
}
_OFFSET = r"[+-](?:[01]\d|2[0-3])(?::?[0-5]\d|:[0-5]\d:[0-5]\d)?"
_CLOCK = r"(?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.(\d{1,9}))?)?"
_FIXED_OFFSET = re.compile(_OFFSET, re.ASCII)
_TIME_OF_DAY = re.compile(_CLOCK, re.ASCII)
_ISO_TIME = re.compile(rf"\d{{4}}-\d\d-\d\d(?:[T ]{_CLOCK}(?:Z|{_OFFSET})?)?", re.ASCII)
_BASIC_CLOCK = r"(?:[01]\d|2[0-3])[0-5]\d(?:[0-5]\d(?:\.(\d{1,9}))?)?"
_BASIC_TIME = re.compile(rf"\d{{8}}T{_BASIC_CLOCK}(?:Z|{_OFFSET})?", re.ASCII)
_YEAR = re.compile(r"\d{4}(?:-|$)", re.ASCII)
_RELATIVE = re.compile(r"(?:now ?)?([+-]) ?(.+)")
_ENTRY_ID = re.compile(r"\d{5,}|\d+-\d+", re.ASCII)
_DATE_OR_ID = re.compile(r"\d{4}(-(0[1-9]|1[0-2])|(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01]))?", re.ASCII)


def parse_when(value: When, *, tz: str | tzinfo = "UTC") -> Moment:
    """What a `when` means, before "now" is known.

    A time without a zone is read in `tz`, a date is its midnight. A text of five digits or more
    is an entry id's first part; one that may as well be a year, a month or a day ("2026",
    "2026-11", "20261123") is refused, and as bytes it is an id. Up to nine fraction digits count.

    >>> parse_when("2023-11-14T22:13:20.123456789Z")
    Fixed(position=Instant(ns=1700000000123456789))
    >>> parse_when("-1h30m"), parse_when("1700000000000-3")
    (Relative(offset_ns=-5400000000000), Fixed(position=EntryId(ms=1700000000000, sub=3)))

    Raises:
        TimeTypeError: the value is of a type that is never a time, such as an int.
        ConfigError: it cannot be read, or is a local time that occurs twice or never.
    """
    zone = check_tz(tz)
    if isinstance(value, str):
        return _read_text(value.strip(), zone)
    if isinstance(value, date | np.datetime64):
        return Fixed(_read_iso(_iso_text(value), zone))
    if isinstance(value, bytes):
        return Fixed(_read_id(value.decode("ascii", "replace")))
    entry_id = value if isinstance(value, EntryId) else getattr(value, "entry_id", None)
    if isinstance(entry_id, EntryId):
        return Fixed(entry_id)
    # Who holds one has imported Arrow; reading times does not.
    if isinstance(value, getattr(sys.modules.get("pyarrow"), "TimestampScalar", ())):
        return Fixed(_read_iso(_arrow_text(value), zone))
    raise _never_a_time(value)


def _never_a_time(value: object) -> TimeTypeError:
    # numpy calls its durations numbers.
    bare = isinstance(value, Number) and not isinstance(value, np.timedelta64)
    return TimeTypeError(
        f"{type(value).__name__} is never a time{', it does not say its unit' * bare}: write a "
        "datetime, ISO text, '-10m', or an entry id as text such as '1700000000000'"
    )


def _read_text(text: str, zone: tzinfo) -> Moment:
    if text in _WORDS:
        return _WORDS[text]
    if match := _RELATIVE.fullmatch(text):
        return Relative(parse_duration(match[2]) * (-1 if match[1] == "-" else 1))
    if _TIME_OF_DAY.fullmatch(text):
        return TimeOfDay(text, zone)
    if _DATE_OR_ID.fullmatch(text):
        raise ConfigError(
            f"{text!r} may be a date or an entry id: write a whole date such as '2026-11-23', "
            f"or the id as bytes, b{text!r}"
        )
    return Fixed(_read_id(text) if _ENTRY_ID.fullmatch(text) else _read_iso(text, zone))


def _read_id(text: str) -> EntryId:
    try:
        return EntryId.parse(text if "-" in text else f"{text}-0")
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _arrow_text(value: Any) -> str:
    text = _iso_text(np.datetime64(value.value, value.type.unit))
    # With a zone, Arrow counts in UTC.
    return f"{text}Z" if value.value is not None and value.type.tz else text


def _iso_text(value: date | np.datetime64) -> str:
    if isinstance(value, date):
        return value.isoformat()
    if np.isnat(value):
        return "NaT"
    # numpy writes down to the unit, months as "2026-11": complete it, and keep nine digits.
    text = str(value)
    if not _YEAR.match(text):
        return text  # beyond the calendar, and to be quoted as it is
    return (text + "0000-01-01T00:00:00"[len(text) :])[: len("0000-01-01T00:00:00.123456789")]


def _read_iso(text: str, zone: tzinfo) -> Instant:
    match = _ISO_TIME.fullmatch(text) or _BASIC_TIME.fullmatch(text)
    if match is None:
        raise ConfigError(
            f"{text!r} is no time: write ISO text such as '2026-11-23T02:10Z', '-10m', '02:10', "
            "an entry id such as '1700000000000-3', 'now', 'earliest' or 'latest'"
        )
    try:
        local = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"{text!r} is no time: {error}") from error
    seconds = _epoch_seconds(local.replace(microsecond=0, tzinfo=local.tzinfo or zone))
    return Instant(seconds * NS_PER_SECOND + int((match[1] or "").ljust(9, "0")))


def _epoch_seconds(local: datetime) -> int:
    # PEP 495: only where the clock is set back or forward do the two folds differ.
    folds = [local.replace(fold=fold) for fold in (0, 1)]
    first, second = ((fold - _EPOCH) // _SECOND for fold in folds)
    if first == second:
        return first
    wall = local.replace(tzinfo=None).isoformat()
    earlier, later = (fold.isoformat().removeprefix(wall) for fold in folds)
    raise ConfigError(
        f"{wall} occurs twice in {local.tzinfo}: write {earlier} or {later} after it"
        if first < second
        else f"{wall} does not exist in {local.tzinfo}: the clock jumps from {earlier} to {later}"
    )


def resolve(moment: Moment, now_ns: int) -> Position:
    """Where a moment lies, once "now" is known, in nanoseconds since the epoch.

    >>> resolve(parse_when("-10m"), 1_700_000_000_000_000_000)
    Instant(ns=1699999400000000000)

    Raises:
        ConfigError: a time of day occurs twice or never on this day.
    """
    if isinstance(moment, Fixed):
        return moment.position
    if isinstance(moment, Relative):
        return Instant(now_ns + moment.offset_ns)
    try:
        now = (_EPOCH + now_ns // NS_PER_SECOND * _SECOND).astimezone(moment.zone)
    except OverflowError as error:
        raise ConfigError(f"{moment.clock!r} needs a date, but 'now' is past year 9999") from error
    return _read_iso(f"{now.date()}T{moment.clock}", moment.zone)


def bound(position: Position, *, unit_ns: int) -> EntryId:
    """The smallest id that is not before a position.

    `since` is `id >= bound`, `until` is `id < bound`. `unit_ns` is how long one tick of an id
    lasts; a time between two ticks is rounded up, one beyond all ids is the nearest id.

    >>> bound(Instant(1_000_001), unit_ns=1_000_000), bound(Instant(-1), unit_ns=1_000_000)
    (EntryId(ms=2, sub=0), EntryId(ms=0, sub=0))
    """
    if isinstance(position, Instant):
        return _clamped(-(-position.ns // unit_ns), 0)
    return position.value if isinstance(position, Edge) else position


def after(position: Position, *, unit_ns: int) -> EntryId:
    """The last id that a seek skips: SeaStreamer resumes strictly later than the whole tick.

    >>> after(Instant(1_000_001), unit_ns=1_000_000) == EntryId(1, 2**64 - 1)
    True
    """
    if isinstance(position, Instant):
        return _clamped(position.ns // unit_ns, MAX_U64)
    return position.value if isinstance(position, Edge) else position


def _clamped(tick: int, sub: int) -> EntryId:
    if tick < 0:
        return FIRST_ID
    return EntryId(tick, sub) if tick <= MAX_U64 else LAST_ID


def check_tz(name: str | tzinfo) -> tzinfo:
    """The time zone of an IANA name or a fixed offset; a `ZoneInfo` or `timezone` is itself.

    >>> check_tz("Europe/Berlin"), str(check_tz("+05:30"))
    (zoneinfo.ZoneInfo(key='Europe/Berlin'), 'UTC+05:30')

    Raises:
        ConfigError: there is no such zone; the nearest name is given.
    """
    if isinstance(name, zoneinfo.ZoneInfo | timezone):
        return name
    if not isinstance(name, str):
        raise ConfigError(f"{name!r} is no time zone: write a name such as 'Europe/Berlin'")
    if _FIXED_OFFSET.fullmatch(name):
        fixed = time.fromisoformat(f"00:00{name}").tzinfo
        assert fixed is not None
        return fixed
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ConfigError(f"{name!r} is no time zone: {_nearest_zone(name)}") from error


def zone_name(name: str | tzinfo) -> str:
    """The zone as Arrow and pandas write it.

    >>> zone_name("Europe/Berlin"), zone_name("+02:00"), zone_name(UTC)
    ('Europe/Berlin', '+02:00', 'UTC')
    """
    return str(check_tz(name)).removeprefix("UTC") or "UTC"


def _nearest_zone(name: str) -> str:
    # Many write "Berlin" and mean Europe/Berlin.
    known = {
        form.casefold(): zone
        for zone in sorted(zoneinfo.available_timezones())
        for form in (zone.rpartition("/")[2], zone)
    }
    close = difflib.get_close_matches(name.casefold(), known, n=1)
    if close:
        return f"did you mean {known[close[0]]!r}?"
    return "write an IANA name such as 'Europe/Berlin', or an offset such as '+02:00'"


def format_ns(ns: int) -> str:
    """ISO text in UTC with as many fraction digits as needed, which `parse_when` reads back.

    >>> format_ns(1_700_000_000_123_000_000), format_ns(-1)
    ('2023-11-14T22:13:20.123Z', '1969-12-31T23:59:59.999999999Z')
    """
    seconds, fraction = divmod(ns, NS_PER_SECOND)
    digits = f".{fraction:09}".rstrip("0").rstrip(".")
    # Entry ids go past the year 9999, where datetime ends; numpy's calendar goes with them.
    return f"{np.datetime64(seconds, 's')}{digits}Z"
