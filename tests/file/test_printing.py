"""What is printed of a file: the reference tool's output, and bytes of our own."""

from __future__ import annotations

import json
from io import BytesIO

import pytest
from hypothesis import given, strategies as st

from seastream_nb.errors import FileFormatError
from seastream_nb.file.canonical import canonical
from seastream_nb.file.format import (
    HEADER_SIZE,
    INTERNAL_KEY,
    Beacon,
    FileHeader,
    Frame,
    Marker,
    Place,
)
from seastream_nb.file.forward import Forward
from seastream_nb.file.printing import (
    Format,
    beacon_line,
    frame_printer,
    header_line,
)
from seastream_nb.file.walk import FrameFound, Walk
from tests.file.files import END, GOLDEN_NAMES, encoded, golden, numbered

FORMATS: tuple[Format, ...] = ("log", "ndjson")


def printed(data: bytes, form: Format, *, header_only: bool = False) -> bytes:
    """All of it; what is refused ends it, as a torn message does."""
    forward = Forward(BytesIO(data), len(data))
    line = frame_printer(form, header_only=header_only)
    lines = [header_line(forward.header, form)]
    try:
        for frame, beacon in forward:
            lines += [line(frame), *([beacon_line(beacon, form)] if beacon else [])]
    except FileFormatError:
        pass
    return b"".join(lines)


def ndjson_of(payload: bytes) -> bytes:
    """How one payload is printed in ndjson."""
    line = frame_printer("ndjson")(Frame.of(Place("a", 0, 1, 0), payload))
    return line.partition(b'"payload":')[2].removesuffix(b"}\n")


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", GOLDEN_NAMES)
def test_every_file_of_the_reference_prints_as_its_tool_does(name: str, form: Format) -> None:
    expected = golden(f"expected/{name}.{form}").read_bytes()
    assert printed(golden(f"{name}.ss").read_bytes(), form) == expected


@pytest.mark.parametrize("name", GOLDEN_NAMES)
def test_header_only_leaves_out_the_payloads_of_the_reference(name: str) -> None:
    data = golden(f"{name}.ss").read_bytes()
    expected = golden(f"expected/{name}.ndjson").read_bytes().splitlines(keepends=True)
    assert printed(data, "ndjson", header_only=True).splitlines(keepends=True) == [
        line.partition(b',"payload":')[0] + b',"payload":null}\n' if line[:1] == b"{" else line
        for line in expected
    ]


def test_a_log_line_holds_the_text_as_it_is_and_hides_bytes_that_are_none() -> None:
    line = frame_printer("log")
    place = Place("k", 7, 3, 1_691_686_154_750)
    head = b"[2023-08-10T16:49:14.75 | k | 3 | 7]"
    assert line(Frame.of(place, "a\nü\x00".encode())) == head + " a\nü\x00\n".encode()
    assert line(Frame.of(place, b"")) == head + b" \n"
    assert line(Frame.of(place, b"\xff")) == head + b" <BINARY BLOB>\n"
    assert frame_printer("log", header_only=True)(Frame.of(place, b"x")) == head + b"\n"


def test_a_file_name_is_escaped_and_not_made_ascii() -> None:
    header = FileHeader('ä".ss', 1, 128)
    expected = (
        '{"file_name":"ä\\".ss","created_at":"1970-01-01T00:00:00.001","beacon_interval":128}'
    )
    assert header_line(header, "log") == f"# {expected}\n".encode()
    assert header_line(header, "ndjson") == f"/* {expected} */\n".encode()


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ("", '""'),
        (" null\n", "null"),
        ('{"b":[1, {"d":1,"c":2}],"a":1,"b":true}', '{"a":1,"b":true}'),
        ('{"ü":1,"z":2,"\U0001f600":3,"\uffff":4}', '{"z":2,"ü":1,"\uffff":4,"\U0001f600":3}'),
        ('"\\u0001\\b\\f\\n\\r\\t\\/\\u007f"', '"\\u0001\\b\\f\\n\\r\\t/\x7f"'),
        ("-0", "-0.0"),
        ("1e5", "100000.0"),
        ("1e15", "1000000000000000.0"),
        ("1E+16", "1e16"),
        ("0.0001", "0.0001"),
        ("0.00001234", "0.00001234"),
        ("-1e-5", "-0.00001"),
        ("1.25e-6", "1.25e-6"),
        ("18446744073709551615", "18446744073709551615"),
        ("18446744073709551616", "1.8446744073709552e19"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("-9223372036854775809", "-9.223372036854776e18"),
        ("9007199254740993.0", "9007199254740994.0"),
        ("2.2250738585072011e-308", "2.2250738585072014e-308"),
        ("12345678901234567890123e285", "1.2345678901234567e307"),
        ("0e999", "0.0"),
        ("0e99999999999", "0.0"),
        ("-1e-99999999999", "-0.0"),
        ("1e-400", "0.0"),
        ("5e-324", "5e-324"),
        ("0." + "0" * 400 + "1e400", "0.1"),
        ('["1e+20",1e20]', '["1e+20",1e20]'),
        ('"\\ud83d\\ude00"', '"\U0001f600"'),
        ('"\\\\ud800"', '"\\\\ud800"'),
    ],
)
def test_json_is_written_as_the_reference_writes_it(payload: str, expected: str) -> None:
    assert ndjson_of(payload.encode()).decode() == expected


@pytest.mark.parametrize(
    "payload",
    [
        "NaN",
        "-Infinity",
        "1e400",
        "1e99999999999",
        "1.7976931348623158e308",
        "18446744073709551616.5",
        "1" + "0" * 400,
        "1" * 5_000,
        '{"a":1e400,"a":1}',
        '"\\ud800"',
        '{"a":"\\ud800","a":1}',
        '"\\ude00\\ud83d"',
        "\ufeff1",
        "[" * 128 + "]" * 128,
        '{"a":' * 100_000,
        "[" * 100_000 + "]" * 100_000,
        '{"a":' + "[" * 127 + "]" * 127 + ',"a":1}',
        "01",
        "[1,]",
        '"tab\t"',
        "{} x",
        "'a'",
    ],
    ids=lambda payload: payload[:12],
)
def test_what_the_reference_does_not_take_for_json_is_a_string(payload: str) -> None:
    assert json.loads(ndjson_of(payload.encode())) == payload
    assert canonical(payload) is None


def test_127_levels_are_json_whatever_strings_hold() -> None:
    text = "[" * 127 + '"[[[{{{\\"[[["' + "]" * 127
    assert ndjson_of(text.encode()).decode() == text


def test_bytes_that_are_no_text_are_an_array_of_numbers() -> None:
    assert ndjson_of(b"\xff\x00\x01") == b"[255,0,1]"


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_float_is_read_back_within_two_roundings(value: float) -> None:
    written = canonical(repr(value))
    assert written is not None
    assert float(written) == pytest.approx(value, rel=1e-15, abs=5e-324)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON)
def test_without_floats_it_is_compact_json_with_sorted_keys(value: object) -> None:
    expected = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    assert canonical(json.dumps(value, indent=1)) == expected


def test_a_beacon_is_printed_after_the_message_in_which_it_was_met() -> None:
    # Both messages are cut several times, and only the last beacon of each is printed.
    data = encoded([*numbered(2, size=2_000)], interval=1024)
    lines = printed(data, "log").splitlines()
    assert [line[:1] for line in lines] == [b"#", b"[", b"#", b"[", b"#"]
    assert b'"sequence":1,' in lines[2]
    assert b'"sequence":2,' in lines[4]


def test_a_beacon_without_markers_prints_an_empty_list() -> None:
    lines = printed(encoded(numbered(1), interval=128), "ndjson").splitlines()
    assert lines[2:] == [b"/* [] */"]


def test_a_beacon_at_the_end_of_the_file_is_not_printed() -> None:
    # Header and frame end where the first beacon stands.
    frame = Frame.of(Place("a", 0, 1, 5), bytes(1024 - HEADER_SIZE - 33))
    data = encoded([frame])
    assert len(data) > 1024
    assert len(printed(data, "log").splitlines()) == 2
    assert len(printed(data + END.encode(), "log").splitlines()) == 4


def test_markers_say_which_stream_and_its_running_checksum() -> None:
    marker = Marker(Place("k", 1, 20, 1_000), 2887)
    assert beacon_line(Beacon(0, (marker, marker)), "log").count(b'"running_checksum":2887') == 2


@pytest.mark.parametrize("interval", [128, 1024, 2**20])
def test_reading_forward_gives_the_frames_that_a_walk_finds(interval: int) -> None:
    frames = [*numbered(60, size=90), Frame.of(Place("b", 0, 1, 9), bytes(300_000))]
    data = encoded(frames, interval)
    walked = [each for each in Walk(BytesIO(data), len(data)) if isinstance(each, FrameFound)]
    assert [frame for frame, _ in Forward(BytesIO(data), len(data))] == frames
    assert [each.frame for each in walked] == frames


@pytest.mark.parametrize("interval", [128, 1024])
def test_a_file_cut_anywhere_is_torn_where_a_walk_says(interval: int) -> None:
    data = encoded(numbered(12, size=60), interval)
    for stop in range(HEADER_SIZE, len(data)):
        forward, walk = (kind(BytesIO(data[:stop]), stop) for kind in (Forward, Walk))
        frames = [frame for frame, _ in forward]
        assert frames == [each.frame for each in walk if isinstance(each, FrameFound)]
        assert (stop, forward.torn) == (stop, walk.torn)


def test_reading_forward_stops_behind_the_end_of_stream_mark() -> None:
    data = encoded([*numbered(2), END, *numbered(1, key="late")])
    keys = [frame.place.key for frame, _ in Forward(BytesIO(data), len(data))]
    assert keys == ["a", "a", INTERNAL_KEY]


def test_a_length_beyond_the_file_is_a_torn_end() -> None:
    data = bytearray(encoded(numbered(3)))
    length = HEADER_SIZE + 1 + 1 + 24
    data[length : length + 4] = b"\xff\xff\xff\xff"
    forward = Forward(BytesIO(data), len(data))
    assert (list(forward), forward.torn) == ([], HEADER_SIZE)


@pytest.mark.parametrize(
    ("at", "value", "text"),
    [
        (HEADER_SIZE + 1, ord(" "), "a message's stream key is not legal"),
        (HEADER_SIZE + 18, 0xFF, "the time of a message is past the year 9999"),
        (HEADER_SIZE + 30, ord("P"), "is stored with"),
    ],
)
def test_what_the_reference_refuses_ends_the_reading(at: int, value: int, text: str) -> None:
    data = bytearray(encoded(numbered(3)))
    data[at] = value
    with pytest.raises(FileFormatError, match=text) as caught:
        list(Forward(BytesIO(data), len(data)))
    assert caught.value.offset == HEADER_SIZE


def test_reading_forward_needs_a_header() -> None:
    with pytest.raises(FileFormatError, match="does not begin with"):
        Forward(BytesIO(b"text"), 4)
