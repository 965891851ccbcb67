"""A box of widgets that knows whether a page shows it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets

from seastream_nb import portal

# A cell that is moved takes its output away for a third of a second.
GONE_SECONDS = 2.0


class Box(ipywidgets.VBox):  # type: ignore[misc]  # it has no types
    """A box that counts where it shows, and calls `gone` on the I/O thread when nowhere any more.

    Clearing the output, deleting the cell and running it again take it away; scrolling does not.
    """

    def __init__(self, children: Sequence[Any], gone: Callable[[], object]) -> None:
        # Counted from now on; a page counts nothing where there is no number.
        super().__init__(children, _view_count=0)
        self._gone = gone
        self.observe(self._counted, "_view_count")

    def get_state(self, key: Any = None, drop_defaults: bool = False) -> Any:
        """Its state; a page that asks for the whole one shows nothing of it yet.

        What the page showed before it was loaded again told nobody of its end.
        """
        state = super().get_state(key, drop_defaults)
        return {**state, "_view_count": 0} if key is None else state

    def _counted(self, change: Any) -> None:
        if change.new == 0 and change.old:
            portal.call_soon(self._wait)

    def _wait(self) -> None:
        asyncio.get_running_loop().call_later(GONE_SECONDS, self._look_again)

    def _look_again(self) -> None:
        if self._view_count == 0:
            self._gone()
