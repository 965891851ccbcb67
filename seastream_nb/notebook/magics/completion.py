"""The Tab key on the lines of the magics, next to what IPython offers itself.

Only stream keys are asked for: in the background, seldom, and waited for hardly ever.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, TimeoutError as Slow
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from IPython.core.completer import CompletionContext, SimpleCompletion, context_matcher

from seastream_nb import portal
from seastream_nb.notebook.magics.words import Line, in_quotes, line_before

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    import seastream_nb as ss
    from seastream_nb.notebook.magics.arguments import LineParser
    from seastream_nb.notebook.magics.commands import Command
    from seastream_nb.notebook.magics.session import Session

# How long a key press waits for the keys; they are there at the next one.
WAIT_SECONDS = 0.05
# How long they are taken for those that there are.
FRESH_SECONDS = 5.0
# Options whose values are the names of connections.
PLACES = ("source", "to")


class Completion:
    """What can stand at the cursor, for one shell's magics."""

    def __init__(self, session: Session, commands: Mapping[str, Command], cell: LineParser) -> None:
        self._session = session
        self._commands = commands
        self._cell = cell
        self._keys: dict[int, _Keys] = {}
        self._matcher = _matcher(self.matches, self.takes_file)

    def install(self, shell: InteractiveShell) -> None:
        """Have the shell ask here too."""
        shell.Completer.custom_matchers.append(self._matcher)

    def remove(self, shell: InteractiveShell) -> None:
        """Have it ask here no more."""
        with suppress(ValueError):
            shell.Completer.custom_matchers.remove(self._matcher)

    def matches(self, text: str) -> tuple[str, list[str]]:
        """For a line up to the cursor: how it ends, and what could stand there instead."""
        line = line_before(text)
        if line is None or not self._is_ours(line.magic):
            return "", []
        if line.cell:
            return self._offered(line, self._cell, line.words)
        if not line.words:
            return line.fragment, _beginning(line.begun, [*self._commands, "--help"])
        command = self._commands.get(line.words[0])
        if command is None:
            return line.fragment, []
        return self._offered(line, command.reader, line.words[1:])

    def takes_file(self, text: str) -> bool:
        """Whether a file may stand at the end of a line."""
        line = line_before(text)
        return line is not None and line.words[:1] in (
            ["export"],
            ["record"],
            ["replay"],
            ["connect"],
        )

    def _is_ours(self, name: str) -> bool:
        magic: object = self._session.shell.magics_manager.magics["line"].get(name)
        return getattr(getattr(magic, "__self__", None), "session", None) is self._session

    def _offered(self, line: Line, reader: LineParser, words: list[str]) -> tuple[str, list[str]]:
        options = reader._option_string_actions
        name, equals, begun = line.begun.partition("=")
        if equals and name in options:
            found = _beginning(begun, self._values(options[name], begun, words))
            return line.fragment, [f"{name}={in_quotes(each)}" for each in found]
        last = options.get(words[-1]) if words else None
        if last is not None and last.nargs is None:
            found = _beginning(line.begun, self._values(last, line.begun, words))
            return line.fragment, [in_quotes(each, line.quote) for each in found]
        keys: list[str] = []
        if not line.begun.startswith("-"):
            given = set(words)
            keys = [each for each in self._positional(reader, words) if each not in given]
        found = [in_quotes(each, line.quote) for each in _beginning(line.begun, keys)]
        if not line.quote:
            found += _beginning(line.begun, _unused(reader, words))
        return line.fragment, found

    def _positional(self, reader: LineParser, words: list[str]) -> list[str]:
        positionals = {each.dest for each in reader._actions if not each.option_strings}
        if "target" in positionals:
            return list(self._session.connections)
        return self.keys(words) if positionals & {"key", "keys"} else []

    def _values(self, action: argparse.Action, begun: str, words: list[str]) -> list[str]:
        if action.choices is not None:
            return list(action.choices)
        if action.dest in PLACES:
            return list(self._session.connections)
        if action.dest == "select":
            before, comma, _ = begun.rpartition(",")
            chosen = before.split(",")
            known = (self._session.columns.get(word, {}) for word in words)
            names = dict.fromkeys(name for columns in known for name in columns)
            return [f"{before}{comma}{name}" for name in names if name not in chosen]
        return []

    def keys(self, words: list[str]) -> list[str]:
        """The keys of streams at the connection that the line names, as far as they are known."""
        connection = self._session.found(_source(words))
        if connection is None:
            return []
        known = {id(each.streamer) for each in self._session.connections.values()}
        self._keys = {place: keys for place, keys in self._keys.items() if place in known}
        return self._keys.setdefault(
            id(connection.streamer), _Keys(connection.streamer)
        ).some_time_ago()


class _Keys:
    """The keys at one connection, asked for in the background."""

    def __init__(self, streamer: ss.Streamer) -> None:
        self._streamer = streamer
        self._found: list[str] = []
        self._asked = float("-inf")
        self._asking: Future[list[str]] | None = None

    def some_time_ago(self) -> list[str]:
        """Those of the last seconds, or what is known when there is no answer at once."""
        if self._asking is None and time.monotonic() - self._asked > FRESH_SECONDS:
            self._asking = portal.spawn(self._streamer._core.completions())
        if self._asking is not None:
            with suppress(Slow):
                self._found = self._asking.result(WAIT_SECONDS)
                self._asked, self._asking = time.monotonic(), None
        return self._found


def _matcher(
    matches: Callable[[str], tuple[str, list[str]]], takes_file: Callable[[str], bool]
) -> Any:
    @context_matcher()  # type: ignore[untyped-decorator]
    def seastream_matcher(context: CompletionContext) -> Any:
        # The token of the context ends at a colon, which many keys have.
        first = context.cursor_line == 0
        text = context.line_with_cursor[: context.cursor_position]
        fragment, found = matches(text) if first or not text.lstrip().startswith("%%") else ("", [])
        return {
            "completions": [SimpleCompletion(each, type="stream") for each in found],
            "matched_fragment": fragment,
            "ordered": True,
            # Where there is something to say, names of Python are none; files may be.
            "suppress": bool(found),
            "do_not_suppress": {"IPCompleter.file_matcher"} if takes_file(text) else set(),
        }

    return seastream_matcher


def _beginning(begun: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(begun)]


def _unused(reader: LineParser, words: list[str]) -> Iterator[str]:
    """The options that are not there yet, by their longest names; some may be repeated."""
    given = {word.partition("=")[0] for word in words}
    for action in reader._actions:
        again = isinstance(action.default, list) and action.type is int
        if action.option_strings and (again or not given & set(action.option_strings)):
            yield action.option_strings[-1]


def _source(words: list[str]) -> str | None:
    """What `--from` names."""
    for place, word in enumerate(words):
        if word.startswith("--from="):
            return word.removeprefix("--from=")
        if word == "--from" and place + 1 < len(words):
            return words[place + 1]
    return None
