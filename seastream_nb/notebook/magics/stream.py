"""`%stream` and `%%stream`: what a cell would say through the public API, and no more.

    a line ─► arguments.py ─► commands.py ─► calls on a streamer, run or printed as Python

A magic reads its line, connects, and calls builders and terminals; `--dry-run` prints these calls.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from IPython.core.magic import no_var_expand

from seastream_nb.errors import ConfigError, StreamError
from seastream_nb.notebook.magics import frames
from seastream_nb.notebook.magics.arguments import Helped, LineParser, tokens_of
from seastream_nb.notebook.magics.commands import CELL, command, overview, table
from seastream_nb.notebook.magics.completion import Completion
from seastream_nb.notebook.magics.session import Session
from seastream_nb.options import require_known

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

NAME = "stream"
ALIAS = "seastream"


class StreamMagics:
    """The magics of one shell."""

    def __init__(self, shell: InteractiveShell) -> None:
        self.session = Session(shell)
        self.commands = table()
        self.commands.update([command("install", f"Take the name %{NAME}.", self.install, _force)])

        self._completion = Completion(self.session, self.commands, CELL)

    @no_var_expand
    def stream(self, line: str, cell: str | None = None) -> object:
        """Read Redis Streams and .ss files; `%stream --help` lists the commands."""
        __tracebackhide__ = True
        try:
            if cell is not None:
                return frames.cell(self.session, CELL.read(tokens_of(line)), cell)
            return self._line(tokens_of(line))
        except Helped:
            return None
        except StreamError as error:
            self.session.last_error = error
            raise

    def _line(self, tokens: list[str]) -> object:
        __tracebackhide__ = True
        if not tokens or tokens[0] in ("-h", "--help"):
            sys.stdout.write(overview(self.commands))
            return None
        name, *rest = tokens
        require_known("%stream command", name, self.commands)
        reader, run = self.commands[name]
        return run(self.session, reader.read(rest))

    def load(self, *names: str) -> None:
        """Have the shell know the magics by these names, and complete their lines."""
        self._completion.install(self.session.shell)
        self.register(*names)

    def register(self, *names: str) -> None:
        """Have the shell know the magics by these names."""
        shell = self.session.shell
        for name in names:
            shell.magics_manager.register_function(self.stream, "line_cell", name)

    def install(self, session: Session, given: argparse.Namespace) -> None:
        """Take the name `%stream`.

        Raises:
            ConfigError: it is another extension's, and `--force` was not given.
        """
        if _foreign(session.shell) and not given.force:
            raise ConfigError(
                f"%{NAME} is another extension's: use %{ALIAS}, or %{ALIAS} install --force"
            )
        self.register(NAME)

    def close(self) -> None:
        """Close the connections, and complete no more."""
        self._completion.remove(self.session.shell)
        self.session.close()


def _force(to: LineParser) -> None:
    to.add_argument("--force", action="store_true", help="also when it is another extension's")


def load(shell: InteractiveShell) -> None:
    """Register the magics; a `%stream` of another extension stays what it is."""
    magics = StreamMagics(shell)
    taken = _foreign(shell)
    magics.load(*((ALIAS,) if taken else (ALIAS, NAME)))
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
