"""How objects show themselves: one stable line as text, a small escaped table as HTML.

Nothing here asks the server, so a repr never blocks, and shows the plan rather than the data.
Everything that came from a stream, a server or a URL is escaped, and cut where it is long. The
HTML has no scripts, ids or colours: it is the same at every run and looks right on a dark page.
"""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from seastream_nb.backend import RangeSource, StreamInfo
from seastream_nb.keys import key_text
from seastream_nb.payload import Decode
from seastream_nb.query import Contains, Pinned, Query
from seastream_nb.stream import StreamCore
from seastream_nb.times import Edge, Fixed, Instant, Moment, Relative, format_ns

# As long as the longest stream key that SeaStreamer allows, and no table grows wider.
MAX_TEXT = 249
MAX_KEYS = 10
MAX_ROWS = 60

_UNIT_NS = {
    "d": 86_400 * 10**9,
    "h": 3_600 * 10**9,
    "m": 60 * 10**9,
    "s": 10**9,
    "ms": 10**6,
    "us": 1_000,
    "ns": 1,
}
# Two keys with a $ each are no formula: a notebook typesets what lies between them, unless told.
# Widgets have lines as high as their buttons, which is much for a table.
_BOX = '<div class="tex2jax_ignore mathjax_ignore" style="line-height:1.4">'
_CELL = "padding:2px 8px;vertical-align:top;white-space:pre-wrap;text-align:"


class Markup(str):
    """HTML that is safe already, and is not escaped again."""

    __slots__ = ()


class Column(NamedTuple):
    """A column of a table; numbers stand on the right."""

    name: str
    right: bool = False


def visible(text: str) -> str:
    r"""The text with characters that cannot be seen, or that hide others, written out.

    >>> visible("tab\there \u200b")
    'tab\\there \\u200b'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character
        if character == " " or unicodedata.category(character)[0] not in "CZ"
        else character.encode("unicode_escape").decode()
        for character in text
    )


def brief(text: str) -> str:
    r"""The visible text on one line, without its end when it is long.

    >>> brief("a\n  b"), len(brief("x" * 1000))
    ('a\\n  b', 250)
    """
    shown = visible(text[: MAX_TEXT + 1])
    return shown if len(shown) <= MAX_TEXT else shown[:MAX_TEXT] + "…"


def quoted(data: bytes) -> str:
    r"""Bytes as text in quotes, escaped where they are no UTF-8.

    >>> print(quoted(b"caf\xc3\xa9"), quoted(b"\xff"))
    'café' '\xff'
    """
    return f"'{brief(key_text(data[: 4 * (MAX_TEXT + 1)]))}'"


def escape(value: object) -> str:
    r"""Text that is safe in HTML: no markup, no control or direction-changing characters.

    >>> escape("<b>"), escape("a\u202eb\x00")
    ('&lt;b&gt;', 'a\\u202eb\\x00')
    """
    return html.escape(visible(str(value)))


def table(columns: Sequence[Column], rows: Iterable[Sequence[object]], caption: str) -> str:
    """An HTML table; columns without any name have no head."""
    sides = [_CELL + ("right" if column.right else "left") for column in columns]
    names = [column.name for column in columns]
    head = f"<thead>{_html_row('th', sides, names)}</thead>" if any(names) else ""
    body = "".join(_html_row("td", sides, row) for row in rows)
    lines = f'<table style="border-collapse:collapse">{head}<tbody>{body}</tbody></table>'
    return (
        f'{_BOX}<div style="padding:2px 8px">{escape(caption)}</div>{lines if body else ""}</div>'
    )


def _html_row(tag: str, styles: Sequence[str], cells: Iterable[object]) -> str:
    shown = (
        f'<{tag} style="{style}">{cell if isinstance(cell, Markup) else escape(cell)}</{tag}>'
        for style, cell in zip(styles, cells, strict=True)
    )
    return f"<tr>{''.join(shown)}</tr>"


def text_table(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    *,
    head: bool = True,
    widths: Sequence[int] = (),
) -> str:
    """Aligned plain text; `widths` is how wide each column is at least.

    >>> print(text_table([Column("a"), Column("b", right=True)], [("猫", "1"), ("c", "22")]))
    a    b
    猫   1
    c   22
    """
    lines = [[column.name for column in columns], *rows] if head else rows
    found = [max(map(width, cells)) for cells in zip(*lines, strict=True)]
    widths = list(map(max, found, widths)) if widths else found
    return "\n".join("  ".join(map(_aligned, columns, line, widths)).rstrip() for line in lines)


def _aligned(column: Column, cell: str, columns: int) -> str:
    gap = " " * (columns - width(cell))
    return gap + cell if column.right else cell + gap


def width(text: str) -> int:
    """Columns of a terminal: wide characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(each) else 1 + (unicodedata.east_asian_width(each) in "WF")
        for each in text
    )


def duration_text(ns: int) -> str:
    """A duration as one would write it, exactly.

    >>> duration_text(5_400 * 10**9), duration_text(1_500_000_000)
    ('1h30m', '1s500ms')
    """
    parts = []
    for unit, size in _UNIT_NS.items():
        count, ns = divmod(ns, size)
        parts += [f"{count}{unit}"] if count else []
    return "".join(parts)


def moment_text(moment: Moment) -> str:
    """A bound as one would write it.

    >>> moment_text(Relative(-600 * 10**9)), moment_text(Relative(0))
    ('-10m', 'now')
    """
    if isinstance(moment, Relative):
        sign = "-" if moment.offset_ns < 0 else "+"
        return sign + duration_text(abs(moment.offset_ns)) if moment.offset_ns else "now"
    if isinstance(moment, Fixed):
        position = moment.position
        if isinstance(position, Instant):
            return format_ns(position.ns)
        return position.name.lower() if isinstance(position, Edge) else str(position)
    return f"{moment.clock} today"


def steps(query: Query) -> list[tuple[str, str]]:
    """What a query asks for, in words: (what, value)."""
    shards = None if query.shards is None else ", ".join(map(str, sorted(query.shards)))
    found = [
        *(("since", moment_text(moment)) for moment in query.lower),
        *(("until", moment_text(moment)) for moment in query.upper),
        *(("last", duration_text(window)) for window in query.window_ns),
        ("shards", "none" if shards == "" else shards),
        *(("contains", _needle(each)) for each in query.containing),
        ("decoded as", _decoding(query.decode)),
        # Arrow breaks the lines of a long expression.
        ("where", query.condition is not None and " ".join(str(query.condition).split())),
        ("first", query.first is not None and f"{query.first:,} messages"),
        ("last", query.last is not None and f"{query.last:,} messages"),
        ("select", ", ".join(query.columns or ())),
        ("times in", query.zone != "UTC" and query.zone),
        ("snapshot of", query.pinned is not None and _entries(query.pinned)),
    ]
    return [(what, brief(value)) for what, value in found if value]


def _needle(wanted: Contains) -> str:
    return quoted(wanted.needle) + (f" in {quoted(wanted.field)}" if wanted.field else "")


def _decoding(decode: Decode) -> str:
    names = [*decode.names, *([decode.field] if decode.field else [])]
    what = ", ".join(quoted(name.encode() if isinstance(name, str) else name) for name in names)
    parts = [
        "" if decode.kind == "raw" else f"{decode.kind} {f'of {what}' if what else ''}".strip(),
        "with a schema" if decode.schema is not None else "",
        "errors kept" if decode.errors == "keep" else "",
    ]
    return ", ".join(filter(None, parts))


def _entries(pinned: Pinned) -> str:
    # Not its time, which is another one at every run.
    return f"{sum(extent.length for extent in pinned.extents):,} entries"


def streamer_text(kind: str, core: RangeSource) -> str:
    """One line: where, and whether it may write."""
    return f"<{kind} {brief(core.url)}{' [read-only]' if core.options.read_only else ''}>"


def stream_text(kind: str, core: StreamCore) -> str:
    """One line: the keys, where, and the query."""
    return f"<{kind} {stream_line(core)}>"


def stream_line(core: StreamCore) -> str:
    """The same without what it is."""
    asked = "".join(f", {what} {value}" for what, value in steps(core.query))
    return f"{keys_text(core.query)} at {brief(core.source.url)}{asked}"


def stream_html(kind: str, core: StreamCore) -> str:
    """The query as a small table; the data is not read."""
    rows = steps(core.query) or [("range", "all messages")]
    caption = f"{kind} {keys_text(core.query)} at {brief(core.source.url)}"
    return table((Column(""), Column("")), rows, caption)


def keys_text(query: Query) -> str:
    """The keys of a query, the first ten of them."""
    more = len(query.keys) - MAX_KEYS
    shown = ", ".join(map(quoted, query.keys[:MAX_KEYS]))
    return f"{shown} and {more:,} more" if more > 0 else shown


INFO_COLUMNS = (
    Column("stream"),
    Column("shards", right=True),
    Column("length", right=True),
    Column("first (UTC)"),
    Column("last (UTC)"),
    Column("groups", right=True),
    Column("bytes", right=True),
)


def info_row(info: StreamInfo) -> tuple[str, ...]:
    """One stream as cells of text for `INFO_COLUMNS`; what is not known is a dash."""
    shown = (
        brief(info.key),
        len(set(info.shards)),
        info.length,
        info.first_time and f"{info.first_time:%Y-%m-%d %H:%M:%S}",
        info.last_time and f"{info.last_time:%Y-%m-%d %H:%M:%S}",
        info.groups,
        info.bytes,
    )
    return tuple("-" if cell is None else _cell(cell) for cell in shown)


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
