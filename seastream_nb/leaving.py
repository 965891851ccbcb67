"""Leaving a `with` block: what was opened is closed, and its error hides no other one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from seastream_nb.errors import StreamError


@contextmanager
def noted_on(error: BaseException | None) -> Iterator[None]:
    """Closing: its error becomes a note on the one that leaves the block, rather than hide it."""
    try:
        yield
    except StreamError as failure:
        if error is None:
            raise
        error.add_note(f"Closing then failed with {type(failure).__name__}: {failure}")


class Block(ABC):
    """`with` on the blocking facade."""

    @abstractmethod
    def _leave(self, error: BaseException | None) -> None:
        """Close; `error` is what leaves the block."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with noted_on(error):
            self._leave(error)


class AsyncBlock(ABC):
    """`async with` on the awaiting facade."""

    @abstractmethod
    async def _leave(self, error: BaseException | None) -> None:
        """Close; `error` is what leaves the block."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with noted_on(error):
            await self._leave(error)
