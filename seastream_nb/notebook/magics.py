"""`%stream` and `%%stream`: what a cell would say through the public API, and no more.

A magic reads its line, connects, and calls builders and terminals; `--dry-run` prints these calls.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from IPython.core.magic import no_var_expand

import seastream_nb as ss
from seastream_nb.asking import place
from seastream_nb.errors import ConfigError, StreamError
from seastream_nb.notebook import arguments
from seastream_nb.notebook.arguments import Helped, LineParser, asked, masked, parser, tokens_of
from seastream_nb.notebook.body import compiled
from seastream_nb.notebook.display import Column, brief, text_table
from seastream_nb.options import require_known

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

NAME = "stream"
ALIAS = "seastream"
TERMINALS = {"pandas": "to_pandas", "polars": "to_polars", "arrow": "to_arrow"}


class StreamMagics:
    """The magics of one shell, and the connections that they made."""

    def __init__(self, shell: InteractiveShell) -> None:
        self.shell = shell
        self.connections: dict[str, ss.Streamer] = {}
        self._current: str | None = None
        self._last_error: StreamError | None = None
        self._commands = _commands()

    @no_var_expand
    def stream(self, line: str, cell: str | None = None) -> object:
        """Read Redis Streams and .ss files; `%stream --help` lists the commands."""
        __tracebackhide__ = True
        try:
            if cell is not None:
                return self._cell(CELL.read(tokens_of(line)), cell)
            return self._line(tokens_of(line))
        except Helped:
            return None
        except StreamError as error:
            self._last_error = error
            raise

    def _line(self, tokens: list[str]) -> object:
        if not tokens or tokens[0] in ("-h", "--help"):
            sys.stdout.write(_overview(self._commands))
            return None
        name, *rest = tokens
        require_known("%stream command", name, self._commands)
        reader, run = self._commands[name]
        return run(self, reader.read(rest))

    # Connections.

    def connect(self, given: argparse.Namespace) -> ss.Streamer:
        """Connect, and read from there from now on."""
        streamer = ss.connect(place(given.target))
        before = self.connections.pop(given.name, None)
        self.connections[given.name] = streamer
        self._current = given.name
        if before is not None:
            before.close()
        return streamer

    def list_connections(self, given: argparse.Namespace) -> None:
        """Print the connections; the one that is read from has a star."""
        rows = [
            ("*" if name == self._current else "", brief(name), brief(each.url))
            for name, each in self.connections.items()
        ]
        columns = (Column(""), Column("name"), Column("where"))
        sys.stdout.write(f"{text_table(columns, rows)}\n" if rows else "no connections\n")

    @contextmanager
    def streamer(self, source: str | None) -> Iterator[ss.Streamer]:
        """The connection that `--from` names, the current one, or one for this time only."""
        name = self._current if source is None else source
        if name in self.connections:
            yield self.connections[name]
        else:
            with ss.connect(place(source), read_only=True) as streamer:
                yield streamer

    def close(self) -> None:
        """Close every connection."""
        while self.connections:
            self.connections.popitem()[1].close()
        self._current = None

    # What there is.

    def ls(self, given: argparse.Namespace) -> object:
        """The catalog."""
        with self.streamer(given.source) as streamer:
            return streamer.catalog(given.pattern)

    def info(self, given: argparse.Namespace) -> object:
        """What the server knows of a stream."""
        with self.streamer(given.source) as streamer:
            return streamer[given.key].info()

    def groups(self, given: argparse.Namespace) -> object:
        """The consumer groups of a stream, as a frame."""
        with self.streamer(given.source) as streamer:
            return streamer[given.key].groups()

    def tail(self, given: argparse.Namespace) -> object:
        """The last messages, as a frame."""
        with self.streamer(given.source) as streamer:
            return asked(given).of(streamer[given.key]).tail(given.count)

    # Frames.

    def read(self, given: argparse.Namespace) -> object:
        """Bind a frame of a range, and give it."""
        if given.dry_run:
            sys.stdout.write(self._python(given))
            return None
        frame = self._bound(given)
        return None if given.quiet else frame

    def _cell(self, given: argparse.Namespace, body: str) -> object:
        __tracebackhide__ = True
        if given.dry_run:
            sys.stdout.write(f"{self._python(given)}\n{body}")
            return None
        run = compiled(self.shell, body)
        self._bound(given)
        value = run()
        return None if given.quiet else value

    def _bound(self, given: argparse.Namespace) -> object:
        """Read the range, and bind it to the variable."""
        with self.streamer(given.source) as streamer:
            stream = asked(given).of(streamer.stream(*given.keys))
            frame: object = getattr(stream, TERMINALS[given.frame])()
        self.shell.user_ns[given.name] = frame
        return frame

    def _python(self, given: argparse.Namespace) -> str:
        """The same, as a cell would say it without magics."""
        calls = "".join(map(str, asked(given).calls()))
        keys = ", ".join(map(repr, given.keys))
        terminal = TERMINALS[given.frame]
        return (
            f"{self._imports(given.source)}\n"
            f"with ss.connect({self._target(given.source)}) as streamer:\n"
            f"    {given.name} = streamer.stream({keys}){calls}.{terminal}()\n"
        )

    def _imports(self, source: str | None) -> str:
        path = isinstance(place(source), Path)
        return ("from pathlib import Path\n\n" if path else "") + "import seastream_nb as ss\n"

    def _target(self, source: str | None) -> str:
        name = self._current if source is None else source
        if name in self.connections:
            return repr(self.connections[name].url)
        target = place(source)
        if isinstance(target, Path):
            return f"Path({str(target)!r})"
        return "" if target is None else repr(masked(target))

    # Errors, and the names of the magics.

    def print_last_error(self, given: argparse.Namespace) -> None:
        """Print the traceback of the last error that showed as one line."""
        last = getattr(sys, "last_value", None)
        error = last if isinstance(last, StreamError) else self._last_error
        lines = traceback.format_exception(error) if error else ["no error so far\n"]
        sys.stdout.write(masked("".join(lines)))

    def install(self, given: argparse.Namespace) -> None:
        """Take the name `%stream`.

        Raises:
            ConfigError: it is another extension's, and `--force` was not given.
        """
        if _foreign(self.shell) and not given.force:
            raise ConfigError(
                f"%{NAME} is another extension's: use %{ALIAS}, or %{ALIAS} install --force"
            )
        self.shell.magics_manager.register_function(self.stream, "line_cell", NAME)


Command = tuple[LineParser, Callable[[StreamMagics, argparse.Namespace], object]]
_READ = (arguments.source, arguments.ranges, arguments.decoding, arguments.framing)
CELL = parser("%%stream", "Run the body once, with a frame of streams.", arguments.keys, *_READ)


def _target(to: LineParser) -> None:
    to.add_argument("target", metavar="TARGET", nargs="?", help="left out: $SEASTREAM_URL")
    to.add_argument("--as", dest="name", metavar="NAME", default="default")


def _pattern(to: LineParser) -> None:
    to.add_argument("pattern", metavar="PATTERN", nargs="?")


def _count(to: LineParser) -> None:
    to.add_argument("-n", dest="count", metavar="N", type=int, default=10)


def _force(to: LineParser) -> None:
    to.add_argument("--force", action="store_true", help="also when it is another extension's")


def _commands() -> dict[str, Command]:
    one = (arguments.key, arguments.source)
    table: list[tuple[str, str, Any, tuple[Callable[[LineParser], None], ...]]] = [
        ("connect", "Connect, and read from there from now on.", StreamMagics.connect, (_target,)),
        ("connections", "List the connections.", StreamMagics.list_connections, ()),
        ("ls", "List the streams there are.", StreamMagics.ls, (_pattern, arguments.source)),
        ("info", "Say what the server knows of a stream.", StreamMagics.info, one),
        ("groups", "List the consumer groups of a stream.", StreamMagics.groups, one),
        ("read", "Bind and show a range.", StreamMagics.read, (arguments.keys, *_READ)),
        (
            "tail",
            "Show the last messages.",
            StreamMagics.tail,
            (*one, _count, arguments.decoding),
        ),
        ("last-error", "Print its traceback.", StreamMagics.print_last_error, ()),
        ("install", f"Take the name %{NAME}.", StreamMagics.install, (_force,)),
    ]
    return {
        name: (parser(f"%stream {name}", text, *options), run) for name, text, run, options in table
    }


def _overview(commands: dict[str, Command]) -> str:
    rows = [(f"%stream {name}", reader.description or "") for name, (reader, _) in commands.items()]
    rows.append(("%%stream KEY...", CELL.description or ""))
    lines = text_table((Column(""), Column("")), rows, head=False)
    return f"{lines}\n--help after each says more.\n"


def load(shell: InteractiveShell) -> None:
    """Register the magics; a `%stream` of another extension stays what it is."""
    magics = StreamMagics(shell)
    taken = _foreign(shell)
    for name in (ALIAS,) if taken else (ALIAS, NAME):
        shell.magics_manager.register_function(magics.stream, "line_cell", name)
    if taken:
        sys.stderr.write(f"%{NAME} is another extension's and stays so: use %{ALIAS}\n")


def unload(shell: InteractiveShell) -> None:
    """Take the magics away, and close their connections."""
    for kind in shell.magics_manager.magics.values():
        for name in (ALIAS, NAME):
            owner = getattr(kind.get(name), "__self__", None)
            if isinstance(owner, StreamMagics):
                owner.close()
                del kind[name]


def _foreign(shell: InteractiveShell) -> bool:
    found = [kind.get(NAME) for kind in shell.magics_manager.magics.values()]
    return any(
        each is not None and not isinstance(getattr(each, "__self__", None), StreamMagics)
        for each in found
    )
