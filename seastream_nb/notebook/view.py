"""What a cell shows: a widget where somebody can use it, and a static form everywhere else.

A view is no widget. It makes its widget when a front end first shows it, so that in a script, in
CI or under nbconvert no model is ever opened. The static form is one line of text and a piece of
HTML, bounded, and saved with the notebook beside the widget.
"""

from __future__ import annotations

import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from seastream_nb.errors import ConfigError

if TYPE_CHECKING:
    from ipywidgets import DOMWidget


def is_static() -> bool:
    """Whether nobody can use a widget here: a script, a terminal, nbconvert, nbval, papermill.

    `$SEASTREAM_NB_STATIC`, 1 or 0, decides otherwise.

    Raises:
        ConfigError: it is something else.
    """
    chosen = os.environ.get("SEASTREAM_NB_STATIC")
    if chosen:
        if chosen not in ("0", "1"):
            raise ConfigError(f"$SEASTREAM_NB_STATIC is {chosen!r}: write 0 or 1")
        return chosen == "1"
    # Whoever runs a notebook as a batch has nobody to type an answer, and says so to the kernel.
    return not getattr(_kernel(), "_allow_stdin", False)


class Cell(NamedTuple):
    """A cell of a notebook, and which of its runs this is."""

    id: str
    run: str

    def runs_again(self, before: Cell | None) -> bool:
        """Whether this is a later run of the same cell."""
        return before is not None and before.id == self.id and before.run != self.run


def this_cell() -> Cell | None:
    """The cell that runs now, where the front end tells: JupyterLab and VS Code do."""
    parent: dict[str, Any] = getattr(_kernel(), "get_parent", dict)()
    found = parent.get("metadata", {}).get("cellId")
    return Cell(found, parent["header"]["msg_id"]) if isinstance(found, str) else None


def _kernel() -> Any:
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return getattr(shell, "kernel", None)


class View(ABC):
    """Something that a cell shows, and that can be used there where there is a front end."""

    @abstractmethod
    def text(self) -> str:
        """The static form as text: bounded, the same at every run on the same data."""

    @abstractmethod
    def html(self) -> str:
        """The same as HTML, with everything escaped."""

    @abstractmethod
    def _make_widget(self) -> DOMWidget:
        """The widget; called once, by the thread that shows it."""

    @cached_property
    def widget(self) -> DOMWidget:
        """The widget, for those who arrange several; made at its first use."""
        return self._make_widget()

    def __repr__(self) -> str:
        return self.text()

    def _repr_mimebundle_(
        self, include: Iterable[str] | None = None, exclude: Iterable[str] | None = None
    ) -> dict[str, Any]:
        # A widget's own text has the values of its traits: another one at every run.
        widget = {} if is_static() else self.widget._repr_mimebundle_()
        return widget | {"text/plain": self.text(), "text/html": self.html()}
