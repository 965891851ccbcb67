r"""Lines: what one of standard input means, and how one of standard output is written. No I/O.

    line = meta payload | raw
    meta = "[" time "|" key "|" sequence "|" shard "]"

Each part of the meta may be left out, but a sequence needs a key, and a shard a sequence. A line
that does not begin with a meta is all payload, of no stream: every consumer gets it. Times are
those of UTC, with a fraction or without. The payload begins after the white space that follows the
meta, unless there is nothing else; what stands at its end belongs to it.

SeaStreamer's stdio backend is the source of every rule here, and reads what is written here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from seastream_nb.errors import ConfigError
from seastream_nb.keys import MAX_KEY_LENGTH, MAX_U64
from seastream_nb.message import EPOCH
from seastream_nb.quantities import NS_PER_SECOND

# What Unicode calls white space; Python's own strip takes four control characters more.
WHITE = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
)
WHITE += "\u2028\u2029\u202f\u205f\u3000"

_META = re.compile(r"\[([^\]]+)\]")
# Newer Pythons read an hour of 24 as the next midnight.
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):\d\d:\d\d)(?:\.(\d+))?", re.ASCII)
_KEY = re.compile(rf"[A-Za-z0-9._-]{{1,{MAX_KEY_LENGTH}}}")
_NUMBER = re.compile(r"\+?0*([0-9]{1,20})")
_SECOND = timedelta(seconds=1)
_LAST_SECOND = (datetime.max.replace(microsecond=0, tzinfo=UTC) - EPOCH) // _SECOND


@dataclass(frozen=True, slots=True)
class Line:
    """What one line says; None is what it leaves to the reader. `ns` is nanoseconds since 1970."""

    payload: bytes
    ns: int | None = None
    key: str | None = None
    sequence: int | None = None
    shard: int | None = None


class Lines:
    r"""Lines out of bytes that come in pieces; None stands for one that is longer than `most`.

    >>> lines = Lines(most=5)
    >>> lines.add(b"a\nb"), lines.add(b"c\n\nlonger"), lines.add(b" still\nd"), lines.end()
    ([b'a'], [b'bc', b''], [None], [b'd'])
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, data: bytes) -> list[bytes | None]:
        """The lines that are whole now."""
        *ends, rest = data.split(b"\n")
        found: list[bytes | None] = []
        for end in ends:
            self._put(end)
            found.append(self._line())
        self._put(rest)
        return found

    def end(self) -> list[bytes | None]:
        """What no line feed followed."""
        return [self._line()] if self._size else []

    def _put(self, data: bytes) -> None:
        self._size += len(data)
        if self._size <= self._most:
            self._parts.append(data)
        else:
            self._parts = []

    def _line(self) -> bytes | None:
        line = b"".join(self._parts) if self._size <= self._most else None
        self._parts, self._size = [], 0
        return line


def parse_line(data: bytes) -> Line:
    """Read a line, which is given without the line feed at its end.

    >>> parse_line(b"[2022-01-01T00:00:00.5 | clock | 7] tick ")
    Line(payload=b'tick ', ns=1640995200500000000, key='clock', sequence=7, shard=None)
    >>> parse_line(b" [clock] tick").payload, parse_line(b"[clock]").payload
    (b' [clock] tick', b'')

    Raises:
        ValueError: it is no line; the text says why.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8") from None
    meta = _META.match(text)
    if meta is None:
        return Line(data)
    rest = text[meta.end() :]
    return Line((rest.lstrip(WHITE) or rest).encode(), **_parts(meta[1]))


def _parts(meta: str) -> dict[str, Any]:
    """The parts of a meta, each as the first thing that it can be."""
    found: dict[str, Any] = {}
    for part in (each.strip(WHITE) for each in meta.split("|")):
        time = None if found else _TIME.fullmatch(part)
        number = _number(part) if "key" in found else None
        if time is not None:
            found["ns"] = _read_time(time)
        elif "key" not in found and _KEY.fullmatch(part):
            found["key"] = part
        elif number is not None and "sequence" not in found:
            found["sequence"] = number
        elif number is not None and "shard" not in found:
            found["shard"] = number
        else:
            raise ValueError(
                f"{part[:80]!r} cannot stand there: the brackets hold time | key | sequence | shard"
            )
    return found


def _number(text: str) -> int | None:
    match = _NUMBER.fullmatch(text)
    return int(match[1]) if match and int(match[1]) <= MAX_U64 else None


def _read_time(match: re.Match[str]) -> int:
    try:
        seconds = (datetime.fromisoformat(f"{match[1]}+00:00") - EPOCH) // _SECOND
    except ValueError:
        raise ValueError(f"there is no time {match[1]!r}") from None
    return seconds * NS_PER_SECOND + int((match[2] or "")[:9].ljust(9, "0"))


def format_line(key: str, shard: int, sequence: int, ns: int, payload: bytes) -> bytes:
    r"""The line of a message, with the line feed at its end.

    The fraction of a second and the shard stand there where they are not zero.

    >>> format_line("clock", 0, 7, 1_640_995_200_500_000_000, b"tick")
    b'[2022-01-01T00:00:00.5 | clock | 7] tick\n'
    >>> format_line("clock", 2, 7, 1_640_995_200_000_000_000, b"")
    b'[2022-01-01T00:00:00 | clock | 7 | 2]\n'

    Raises:
        ConfigError: a payload or a time that no line can hold.
    """
    text = _text_of(key, payload)
    place = f"{_time_text(ns)} | {key} | {sequence}{f' | {shard}' if shard else ''}"
    # White space alone is read as it stands, so it must not get more of it.
    gap = " " if text.strip(WHITE) else ""
    return f"[{place}]{gap}{text}\n".encode()


def _text_of(key: str, payload: bytes) -> str:
    """The payload as text; one that a reader of lines would not get as it is is refused."""
    if b"\n" in payload:
        raise ConfigError(
            f"a payload for {key!r} has a line break at byte {payload.index(10)}, which would end "
            "its line on stdout: encode it first, as with json.dumps"
        )
    try:
        return payload.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"a payload for {key!r} is not UTF-8 at byte {error.start}, which readers of stdout "
            "refuse: encode it first, as with base64"
        ) from None


def _time_text(ns: int) -> str:
    """The time as it stands in a line; the year has four digits there."""
    seconds, fraction = divmod(ns, NS_PER_SECOND)
    if not 0 <= seconds <= _LAST_SECOND:
        raise ConfigError("a line on stdout holds times from 1970 to 9999")
    return _second_text(seconds) + f".{fraction:09}".rstrip("0").rstrip(".")


@lru_cache(maxsize=16)
def _second_text(seconds: int) -> str:
    return (EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")
