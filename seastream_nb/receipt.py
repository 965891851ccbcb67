"""Receipts: what becomes of one sent message."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator, Sequence
from concurrent.futures import Future
from typing import Any

from seastream_nb import portal
from seastream_nb.checks import named, or_none, seconds_or_zero
from seastream_nb.errors import StreamError
from seastream_nb.keys import EntryId
from seastream_nb.message import Origin, Receipt
from seastream_nb.quantities import Duration

# An id as the backend has it, or why there is none.
Outcome = bytes | EntryId | StreamError

_registering = threading.Lock()


class Batch:
    """Messages that end together.

    Attributes:
        outcomes: for each message its entry id or its error; None until the end.
        unseen: the errors that nobody was shown yet, by place in the batch.
    """

    __slots__ = ("_waiter", "outcomes", "unseen")

    def __init__(self) -> None:
        self.outcomes: Sequence[Outcome] | None = None
        self.unseen: dict[int, StreamError] = {}
        self._waiter: Future[None] | None = None

    def settle(self, outcomes: Sequence[Outcome]) -> None:
        """Tell what became of the messages; called once."""
        if set(map(type, outcomes)) != {bytes}:
            ended = enumerate(outcomes)
            self.unseen = {at: each for at, each in ended if isinstance(each, StreamError)}
        # A waiter is registered before it looks at the outcomes, so one of the two sees the other.
        self.outcomes = outcomes
        if self._waiter is not None:
            self._waiter.set_result(None)

    def waiter(self) -> Future[None] | None:
        """What ends when the batch does; None when it has. Never to be cancelled."""
        if self.outcomes is None:
            with _registering:
                self._waiter = self._waiter or Future()
        return self._waiter if self.outcomes is None else None

    async def ended(self) -> None:
        """Return when the batch has ended."""
        waiter = self.waiter()
        if waiter is not None:
            # Shielded: one that gives up must not cancel what the others wait for.
            await asyncio.shield(asyncio.wrap_future(waiter))


class PendingReceipt:
    """A message on its way; it ends exactly once.

    `result()` blocks and `await` awaits: both give the `Receipt`, or raise `NotSent` (the message
    is certainly not in the stream; a refusal carries the server's text) or `MaybeSent` (a fault
    left it unknown). Dropping it changes nothing.
    """

    # One is made for each message sent, so it is small, and holds nothing that waits.
    __slots__ = ("_batch", "_index", "origin")

    def __init__(self, origin: Origin, batch: Batch, index: int) -> None:
        self.origin = origin
        self._batch = batch
        self._index = index

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self._batch.outcomes is not None

    def result(self, timeout: Duration | None = None) -> Receipt:
        """Wait for the end, and return the receipt.

        Raises:
            NotSent, MaybeSent: as the class says.
            TimeoutError: it has not ended within `timeout`; it still will.
            ConfigError: `timeout` is no duration.
        """
        seconds = named("timeout", timeout, or_none(seconds_or_zero))
        waiter = self._batch.waiter()
        if waiter is not None:
            try:
                waiter.result(seconds)
            except TimeoutError:
                doing = f"sending to {self.origin.stream!r}"
                raise TimeoutError(f"{doing}: no answer within {seconds:g} s") from None
        return self._ended()

    def __await__(self) -> Generator[Any, None, Receipt]:
        if not self.done:
            yield from portal.bridge(self._batch.ended()).__await__()
        return self._ended()

    def _ended(self) -> Receipt:
        outcome = self._outcome()
        if not isinstance(outcome, StreamError):
            return Receipt(self.origin, outcome)
        self._batch.unseen.pop(self._index, None)
        # A new one for each time it is raised, since raising adds to the traceback.
        raise type(outcome)(*outcome.args)

    def _outcome(self) -> Outcome:
        assert self._batch.outcomes is not None
        return self._batch.outcomes[self._index]

    def __repr__(self) -> str:
        if not self.done:
            return f"<pending receipt for {self.origin.stream!r}>"
        outcome = self._outcome()
        if not isinstance(outcome, StreamError):
            return repr(Receipt(self.origin, outcome))
        return f"<no receipt: {type(outcome).__name__}: {outcome}>"
