"""Lines: the grammar of what is read, row by row, and what is written is read back."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, strategies as st

from seastream_nb.errors import ConfigError
from seastream_nb.keys import MAX_U64
from seastream_nb.stdio.line import WHITE, Line, Lines, format_line, parse_line

NEW_YEAR = 1_640_995_200_000_000_000


@pytest.mark.parametrize(
    "line",
    [
        b"a plain, raw message",
        b"  padded raw  ",
        b"",
        b'{"json": true}',
        b"[]",
        b"[] x",
        b"[a",
        b" [a] x",
        b"carriage return\r",
        "[é".encode(),
    ],
)
def test_a_line_without_brackets_at_its_start_is_all_payload(line: bytes) -> None:
    assert parse_line(line) == Line(line)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"[2022-01-01T00:00:00] {...}", Line(b"{...}", NEW_YEAR)),
        (b"[2022-01-01T00:00:00] 12345", Line(b"12345", NEW_YEAR)),
        (
            b'[2022-01-01T00:00:00.123 | my_topic] "s"',
            Line(b'"s"', NEW_YEAR + 123_000_000, "my_topic"),
        ),
        (
            b"[2022-01-01T00:00:00.123456789 | my_topic | 5 | 6]x",
            Line(b"x", NEW_YEAR + 123_456_789, "my_topic", 5, 6),
        ),
        (b"[2022-01-01T00:00:00.1234567899] x", Line(b"x", NEW_YEAR + 123_456_789)),
        (b"[my_topic]", Line(b"", None, "my_topic")),
        (b"[my_topic | 123]", Line(b"", None, "my_topic", 123)),
        (b"[my_topic|123|4]p", Line(b"p", None, "my_topic", 123, 4)),
        (b"[my_topic | +7] p", Line(b"p", None, "my_topic", 7)),
        (b"[my_topic | 007] p", Line(b"p", None, "my_topic", 7)),
        (b"[my_topic | " + b"0" * 9_000 + b"7] p", Line(b"p", None, "my_topic", 7)),
        (b"[my_topic | 18446744073709551615] p", Line(b"p", None, "my_topic", MAX_U64)),
        (b"[a\t|\t3] x", Line(b"x", None, "a", 3)),
        (b"[123] p", Line(b"p", None, "123")),
        (b"[1] [2] x", Line(b"[2] x", None, "1")),
        (b"[2022-01-01T00:00:00 | 5] p", Line(b"p", NEW_YEAR, "5")),
        (b"[a]x]y", Line(b"x]y", None, "a")),
        (b"[a] crlf meta \r", Line(b"crlf meta \r", None, "a")),
        (b"[a] trailing  ", Line(b"trailing  ", None, "a")),
        (b"[a]", Line(b"", None, "a")),
        (b"[a]   ", Line(b"   ", None, "a")),
        (b"[a]\t  x", Line(b"x", None, "a")),
        (b"[broadcast] x", Line(b"x", None, "broadcast")),
        ("[a]\u3000é".encode(), Line("é".encode(), None, "a")),
        (b"[a] \x1fx", Line(b"\x1fx", None, "a")),
    ],
)
def test_what_the_brackets_hold_is_read_in_order(line: bytes, said: Line) -> None:
    assert parse_line(line) == said


@pytest.mark.parametrize(
    "line",
    [
        b"[ ]",
        b"[my_topic |] p",
        b"[| my_topic] p",
        b"[Jan 1, 2022] x",
        b'["json", "array"]',
        b"[1,2]",
        b"[my_topic | -1] x",
        b"[my_topic | 18446744073709551616] x",
        b"[my_topic | 1 | 2 | 3] x",
        b"[2022-01-01T00:00:00 | a | 1 | 2 | 3] x",
        b"[" + b"k" * 250 + b"] x",
        b"[2022-01-01T00:00:00 | 2022-01-01T00:00:00] x",
        b"[a | 2022-01-01T00:00:00] x",
        b"[2022-13-01T00:00:00] x",
        b"[2022-02-30T00:00:00] x",
        b"[2022-01-01T24:00:00] x",
        b"[2022-01-01T00:00:60] x",
        b"[2022-01-01T00:00:00Z] x",
        b"[2022-01-01 00:00:00] x",
        b"[2022-01-01T00:00:00.] x",
        "[my_topic | ٣] x".encode(),
        "[é] x".encode(),
        b"\xff",
        b"[a] \xff",
    ],
)
def test_any_other_brackets_are_an_error(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"cannot stand there|UTF-8|no time"):
        parse_line(line)


@given(
    key=st.from_regex(r"[A-Za-z0-9._-]{1,249}", fullmatch=True),
    shard=st.integers(0, MAX_U64),
    sequence=st.integers(0, MAX_U64),
    ns=st.integers(0, 253_402_300_799_999_999_999),
    payload=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n")),
)
def test_what_is_written_is_read_back(
    key: str, shard: int, sequence: int, ns: int, payload: str
) -> None:
    line = format_line(key, shard, sequence, ns, payload.encode())
    assert line.endswith(b"\n")
    said = parse_line(line[:-1])
    assert (said.key, said.shard or 0, said.sequence, said.ns) == (key, shard, sequence, ns)
    # White space before a payload belongs to the line, unless it is all of the payload.
    assert said.payload.decode() == (payload.lstrip(WHITE) or payload)


def test_a_line_says_no_more_than_it_has_to() -> None:
    assert format_line("a", 0, 0, 0, b"x") == b"[1970-01-01T00:00:00 | a | 0] x\n"
    assert format_line("a", 1, 2, 1_000_000, b"x") == b"[1970-01-01T00:00:00.001 | a | 2 | 1] x\n"


@pytest.mark.parametrize(
    ("payload", "ns", "said"),
    [
        (b"two\nlines", 0, "'a' has a line break at byte 3"),
        (b"ends\n", 0, "line break at byte 4"),
        (b"caf\xe9", 0, "'a' is not UTF-8 at byte 3"),
        (b"x", -1, "times from 1970 to 9999"),
        (b"x", 253_402_300_800_000_000_000, "times from 1970 to 9999"),
    ],
)
def test_what_no_line_can_hold_is_refused_by_name(payload: bytes, ns: int, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        format_line("a", 0, 0, ns, payload)


@given(st.binary() | st.binary().map(lambda rest: b"[a | " + rest))
def test_whatever_bytes_come_they_are_a_line_or_a_value_error(data: bytes) -> None:
    with suppress(ValueError):
        assert data.endswith(parse_line(data).payload)


@given(
    st.lists(st.binary(max_size=9).filter(lambda line: b"\n" not in line)),
    st.lists(st.integers(0, 30)),
)
def test_lines_are_the_same_however_they_are_cut(lines: list[bytes], cuts: list[int]) -> None:
    data = b"\n".join(lines)
    splitter, found = Lines(most=5), []
    for cut in cuts:
        found += splitter.add(data[:cut])
        data = data[cut:]
    found += splitter.add(data) + splitter.end()
    whole = lines[:-1] if lines and not lines[-1] else lines
    assert found == [line if len(line) <= 5 else None for line in whole]
