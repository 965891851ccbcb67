"""What SeaStreamer's `ss-decode` prints of a file, byte for byte. Pure functions.

    log      # {"file_name":...}                       ndjson   /* {"file_name":...} */
             [time | key | sequence | shard] payload            {"header":{...},"payload":...}
             # [{"header":{...},"running_checksum":1}]          /* [{"header":...}] */

A payload that is no UTF-8 is `<BINARY BLOB>`, or an array of its bytes. In `ndjson` a payload that
is JSON is written again, and any other text is a string.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal

from seastream_nb.file.canonical import canonical, json_string
from seastream_nb.file.format import Beacon, FileHeader, Frame, Place

Format = Literal["log", "ndjson"]
_BINARY = b"<BINARY BLOB>"
_FRACTIONS = [f"{ms:03}".rstrip("0") or "0" for ms in range(1000)]


def time_text(ms: int) -> str:
    """Milliseconds since 1970 as SeaStreamer writes a time: UTC, and no zeros at the end.

    >>> time_text(1_691_686_154_750), time_text(0), time_text(1_001)
    ('2023-08-10T16:49:14.75', '1970-01-01T00:00:00.0', '1970-01-01T00:00:01.001')
    """
    return f"{_second_text(ms // 1000)}.{_FRACTIONS[ms % 1000]}"


@lru_cache(maxsize=1024)
def _second_text(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()


def header_line(header: FileHeader, form: Format) -> bytes:
    r"""The first line: the file's name at creation, when that was, and its beacon interval.

    >>> header_line(FileHeader("a.ss", 0, 1024), "log")
    b'# {"file_name":"a.ss","created_at":"1970-01-01T00:00:00.0","beacon_interval":1024}\n'
    """
    text = (
        f'{{"file_name":{json_string(header.name)},"created_at":"{time_text(header.created_ms)}",'
        f'"beacon_interval":{header.interval}}}'
    )
    return _comment(text, form)


def beacon_line(beacon: Beacon, form: Format) -> bytes:
    r"""The line of a beacon: its markers.

    >>> beacon_line(Beacon(3), "ndjson")
    b'/* [] */\n'
    """
    markers = (
        f'{{"header":{_place_json(place)},"running_checksum":{checksum}}}'
        for place, checksum in beacon.markers
    )
    return _comment(f"[{','.join(markers)}]", form)


def frame_printer(form: Format, *, header_only: bool = False) -> Callable[[Frame], bytes]:
    r"""What makes the line of a message; with `header_only` without its payload.

    >>> frame = Frame.of(Place("a", 0, 1, 5), b'{"b":1, "a":"x"}')
    >>> frame_printer("log")(frame)
    b'[1970-01-01T00:00:00.005 | a | 1 | 0] {"b":1, "a":"x"}\n'
    >>> frame_printer("ndjson")(frame)[-27:]
    b'"payload":{"a":"x","b":1}}\n'
    """
    if form == "log":
        return _log_head if header_only else _log_line
    return _ndjson_head if header_only else _ndjson_line


def _comment(text: str, form: Format) -> bytes:
    return (f"# {text}\n" if form == "log" else f"/* {text} */\n").encode()


def _log_head(frame: Frame) -> bytes:
    key, shard, sequence, ms = frame.place
    return f"[{time_text(ms)} | {key} | {sequence} | {shard}]\n".encode()


def _log_line(frame: Frame) -> bytes:
    key, shard, sequence, ms = frame.place
    payload = frame.payload if _text(frame.payload) is not None else _BINARY
    return b"%b %b\n" % (f"[{time_text(ms)} | {key} | {sequence} | {shard}]".encode(), payload)


def _ndjson_head(frame: Frame) -> bytes:
    return f'{{"header":{_place_json(frame.place)},"payload":null}}\n'.encode()


def _ndjson_line(frame: Frame) -> bytes:
    return f'{{"header":{_place_json(frame.place)},"payload":{_json(frame.payload)}}}\n'.encode()


def _json(payload: bytes) -> str:
    text = _text(payload)
    if text is None:
        return f"[{','.join(map(str, payload))}]"
    written = canonical(text)
    return json_string(text) if written is None else written


def _place_json(place: Place) -> str:
    key, shard, sequence, ms = place
    return (
        f'{{"stream_key":"{key}","shard_id":{shard},"sequence":{sequence},'
        f'"timestamp":"{time_text(ms)}"}}'
    )


def _text(payload: bytes) -> str | None:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        return None
