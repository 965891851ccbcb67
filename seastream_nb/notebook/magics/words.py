"""The beginning of a line, as words: what stands before the cursor. No I/O."""

from __future__ import annotations

import re
import shlex
from typing import NamedTuple

# `%stream` at the beginning of a line or behind `name =`, `%%stream` at that of a cell.
_MAGIC = re.compile(r"\s*(?:[\w., ]+=\s*)?(%%?)((?:sea)?stream)(?=\s)")


class Line(NamedTuple):
    """A line up to the cursor.

    Attributes:
        magic: its name.
        cell: whether it begins a cell.
        words: what is complete, without quotes.
        fragment: the last word as it was typed, of which a completion takes the place.
        begun: what is meant by it so far.
        quote: the quote that is open in it.
    """

    magic: str
    cell: bool
    words: list[str]
    fragment: str
    begun: str
    quote: str


def line_before(text: str) -> Line | None:
    """The line of a magic up to the cursor; None for any other line.

    >>> line_before("%stream read app:o").begun, line_before("x = %stream ls ").words
    ('app:o', ['ls'])
    >>> line_before("%%stream 'my k")
    Line(magic='stream', cell=True, words=[], fragment="'my k", begun='my k', quote="'")
    """
    found = _MAGIC.match(text)
    if found is None:
        return None
    rest = text[found.end() :]
    start, quote, escaped = len(rest), "", False
    for place, character in enumerate(rest):
        if start == len(rest) and not character.isspace():
            start = place
        if escaped:
            escaped = False
        elif character == "\\" and quote != "'":
            escaped = True
        elif quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character.isspace():
            start = len(rest)
    fragment = rest[start:]
    try:
        words = shlex.split(rest[:start])
        begun = "".join(shlex.split(fragment + ("\\" if escaped else "") + quote))
    except ValueError:
        return None
    return Line(found[2], found[1] == "%%", words, fragment, begun, quote)


def in_quotes(word: str, quote: str = "") -> str:
    """A word as the line takes it: quoted where that is needed, or was begun.

    >>> in_quotes("app:orders"), in_quotes("my key"), in_quotes("my key", '"')
    ('app:orders', "'my key'", '"my key"')
    """
    if quote and quote not in word and "\\" not in word:
        return f"{quote}{word}{quote}"
    return word if re.fullmatch(r"[\w@%+=:,./*?-]+", word) else shlex.quote(word)
