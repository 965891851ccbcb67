"""The lines of the magics, read by argparse; what cannot be read is a `ConfigError`. No I/O."""

from __future__ import annotations

import argparse
import difflib
import keyword
import re
import shlex
from collections.abc import Callable
from typing import Any, NoReturn

from seastream_nb.asking import Asked, only_decoding
from seastream_nb.errors import ConfigError

FRAMES = ("pandas", "polars", "arrow")
PARTITIONS = ("hour", "day")
# Rows of a page where none are named: large enough for a frame, small enough for any memory.
PAGE_ROWS = 10_000


class Helped(Exception):
    """Help was asked for and shown; there is nothing to do."""


class LineParser(argparse.ArgumentParser):
    """An `ArgumentParser` for a line of a notebook, which neither exits nor guesses."""

    def __init__(self, prog: str, description: str, help_line: str | None = None) -> None:
        super().__init__(prog=prog, description=description, allow_abbrev=False)
        self._help_line = help_line or f"{prog} --help"

    def read(self, tokens: list[str]) -> argparse.Namespace:
        """What the tokens mean.

        Raises:
            ConfigError: saying which option was probably meant.
            Helped: `--help` was among them.
        """
        known, unknown = self.parse_known_args(self._ordered(self._joined(tokens)))
        for token in unknown:
            self._refuse(token)
        return known

    def _refuse(self, token: str) -> NoReturn:
        name = token.partition("=")[0]
        close = difflib.get_close_matches(name, self._option_string_actions, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"see {self._help_line}"
        raise ConfigError(f"{self.prog}: there is no {name!r} here; {hint}")

    def _joined(self, tokens: list[str]) -> list[str]:
        """Each option with its value in one token, since argparse takes `-10m` for an option."""
        joined: list[str] = []
        rest = iter(tokens)
        for token in rest:
            action = self._option_string_actions.get(token)
            value = next(rest, None) if action is not None and action.nargs is None else None
            glue = "=" if token.startswith("--") else ""
            joined.append(token if value is None else f"{token}{glue}{value}")
        return joined

    def _ordered(self, tokens: list[str]) -> list[str]:
        """What is no option first: argparse wants it in one piece.

        Its own way to do without changes the parser meanwhile, and an interrupt leaves it broken.
        """
        if "--" in tokens:
            return tokens
        return sorted(tokens, key=lambda word: word.startswith("-") and word != "-")

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print before it exits."""
        raise ConfigError(f"{self.prog}: {message}")

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """Leave after the help was printed."""
        raise Helped


def tokens_of(line: str) -> list[str]:
    """A line as words, with quotes as in a shell.

    >>> tokens_of("read ticks --since '2026-11-22 02:10'")
    ['read', 'ticks', '--since', '2026-11-22 02:10']

    Raises:
        ConfigError: a quote is not closed.
    """
    try:
        return shlex.split(line)
    except ValueError as error:
        raise ConfigError(f"the line cannot be read: {error}") from None


def parser(
    name: str,
    description: str,
    *options: Callable[[LineParser], None],
    help_line: str | None = None,
) -> LineParser:
    """A parser with these groups of options; `help_line` says how to see its help."""
    made = LineParser(name, description, help_line)
    for add in options:
        add(made)
    return made


def key(to: LineParser) -> None:
    """The key of a stream."""
    to.add_argument("key", metavar="KEY")


def keys(to: LineParser) -> None:
    """The keys of streams."""
    to.add_argument("keys", metavar="KEY", nargs="+")


def source(to: LineParser) -> None:
    """Where to read from."""
    to.add_argument(
        "--from",
        dest="source",
        metavar="TARGET",
        help="a connection's name, a URL or an .ss file; left out: the last connection made",
    )


def ranges(to: LineParser) -> None:
    """Which messages."""
    to.add_argument("--since", metavar="T", help="from this time on: ISO text, -10m, 02:10, an id")
    to.add_argument("--until", metavar="T", help="before this time")
    to.add_argument("--last", metavar="W", help="the last N messages, or a window such as 10m")
    to.add_argument("--shard", metavar="N", type=int, action="append", default=[])


def decoding(to: LineParser) -> None:
    """What payloads become."""
    to.add_argument("--json", action="store_true", help="a column for each key of the payloads")
    to.add_argument("--text", action="store_true", help="payloads are text, which must be UTF-8")
    to.add_argument("--fields", action="store_true", help="a column for each field of the entries")
    to.add_argument("--select", metavar="A,B", type=_names, default=[], help="these columns only")


def framing(to: LineParser) -> None:
    """What is bound, and what is shown."""
    to.add_argument("--as", dest="name", metavar="VAR", type=_identifier, default="df")
    to.add_argument("--frame", choices=FRAMES, default="pandas")
    to.add_argument("--quiet", action="store_true", help="show nothing but errors")
    to.add_argument("--limit", metavar="N", type=_count, help="the first N messages of the range")


def body(to: LineParser) -> None:
    """What the body of a cell is."""
    to.add_argument(
        "--each",
        action="store_true",
        help="run the body once a page, with VAR its frame, and show its last expression each time",
    )
    to.add_argument(
        "--page-size",
        metavar="N",
        type=_positive,
        help=f"rows of a page; {PAGE_ROWS:,} if not said",
    )
    to.add_argument(
        "--sql",
        action="store_true",
        help="the body is SQL for DuckDB, every KEY a table; VAR is the result, which is shown",
    )


def saving(to: LineParser) -> None:
    """The file that an export makes."""
    to.add_argument("file", metavar="FILE", help="NAME.ss, NAME.parquet, or a folder")
    to.add_argument("--partition-by", choices=PARTITIONS, help="Parquet files in folders by time")
    to.add_argument("--overwrite", action="store_true", help="replace what is there")
    to.add_argument("--resume", action="store_true", help="go on where a stopped export left it")


def recording(to: LineParser) -> None:
    """The file that a stream is followed into, and until when."""
    to.add_argument("file", metavar="FILE", help="NAME.ss")
    to.add_argument("--for", dest="duration", metavar="W", help="how long, such as 10m")
    to.add_argument("-n", "--messages", metavar="N", type=_positive, help="how many at most")
    to.add_argument("--overwrite", action="store_true", help="begin anew in place of the file")


def replaying(to: LineParser) -> None:
    """What is sent again, where to, and how fast."""
    to.add_argument("key", metavar="SRC", help="a stream, or an .ss file: all streams in it")
    to.add_argument(
        "--to", metavar="TARGET", help="a URL, an .ss file or a connection's name; else it shows"
    )
    to.add_argument("--speed", metavar="X", default="1", help="10 is ten times as fast; or max")
    to.add_argument("--now", action="store_true", help="new ids, instead of those they have")
    to.add_argument("--as", dest="name", metavar="VAR", type=_identifier, help="without --to")


def browsing(to: LineParser) -> None:
    """Where a browser opens, and how much it shows."""
    to.add_argument("--at", metavar="T", help="open at this time, or id; left out, at the start")
    to.add_argument("--page-size", metavar="N", type=_positive, help="messages of a page")
    to.add_argument("--as", dest="name", metavar="VAR", type=_identifier)


def watching(to: LineParser) -> None:
    """What a live view shows."""
    to.add_argument(
        "--since", dest="begin", metavar="T", help="with what came since; left out, from now on"
    )
    to.add_argument(
        "--columns", dest="select", metavar="A,B", type=_names, default=[], help="as --select"
    )
    to.add_argument("--chart", metavar="C", help="rate, or the column whose numbers are drawn")
    to.add_argument("--rolling", metavar="W", help="keep this much time, such as 5m")
    to.add_argument("--max-rows", metavar="N", type=_positive, help="keep so many rows")
    to.add_argument("--as", dest="name", metavar="VAR", type=_identifier)


def following(to: LineParser) -> None:
    """How many messages, and whether it goes on."""
    to.add_argument("-n", dest="count", metavar="N", type=_count, default=10)
    to.add_argument("--follow", action="store_true", help="then what comes, as a live view")


def stopping(to: LineParser) -> None:
    """Which of those that run."""
    to.add_argument("number", metavar="ID", nargs="?", type=_positive, help="as ps lists it")
    to.add_argument("--all", action="store_true", help="all of them")


def dry(to: LineParser) -> None:
    """Whether it is only told."""
    to.add_argument("--dry-run", action="store_true", help="print the same as Python, and do not")


def asked(given: argparse.Namespace) -> Asked:
    """The part of a stream that the options name.

    Raises:
        ConfigError: two decodings, or the first and the last messages.
    """
    options: dict[str, Any] = vars(given)
    if str(options.get("last")).isdecimal() and options.get("limit") is not None:
        raise ConfigError("--limit, --last: give one of them, or a window such as --last 10m")
    decodings = {name: options.get(name, False) for name in ("json", "text", "fields")}
    return Asked(
        shards=options.get("shard", ()),
        since=options.get("since"),
        until=options.get("until"),
        decoding=only_decoding(**decodings),
        last=options.get("last"),
        first=options.get("limit"),
        columns=options.get("select", ()),
    )


def masked(text: str) -> str:
    """A text without who logs in: from `://` to the last `@` of each word.

    >>> masked("connect redis://ana:p@ss@host/2 failed")
    'connect redis://***@host/2 failed'
    """
    return re.sub(r"://[^\s'\"]*@", "://***@", text)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 on")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 on")
    return int(text)


def _identifier(text: str) -> str:
    if not text.isidentifier() or keyword.iskeyword(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no name of a variable")
    return text
