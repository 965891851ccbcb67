"""When a message of a replay is due: a rule about numbers, with no clock and no I/O.

    stream time   the stamps of the messages, nanoseconds since the epoch
    clock         what it is held against, nanoseconds of any clock that only goes forward

A pace ties one moment of the clock to one moment of the stream and computes every other from this
anchor. Waits are never added up, so what one of them is late does not delay the next.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf, isfinite
from typing import Any

from seastream_nb.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Anchor:
    """A moment of the clock, and the moment of the stream that it is."""

    clock_ns: int
    stream_ns: int


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How fast stream time runs, and from where; None is as fast as can be.

    >>> pace = Pace(speed=2.0).begun(stream_ns=1_000, clock_ns=50)
    >>> pace.due(1_000), pace.due(1_400)
    (50.0, 250.0)
    >>> faster = pace.steered(speed=4.0, paused=False, clock_ns=150, reached_ns=1_000)
    >>> faster.due(1_400)
    200.0
    """

    speed: float | None = 1.0
    paused: bool = False
    anchor: Anchor | None = None

    def begun(self, *, stream_ns: int, clock_ns: int) -> Pace:
        """The pace with its first message due now, if nothing was due before."""
        if self.anchor is not None:
            return self
        return replace(self, anchor=Anchor(clock_ns=clock_ns, stream_ns=stream_ns))

    def afresh(self) -> Pace:
        """The pace when the next message, whichever it is, is due at once."""
        return replace(self, anchor=None)

    def due(self, stream_ns: int) -> float:
        """When the clock will be at a moment of the stream: never while paused."""
        if self.paused:
            return inf
        if self.speed is None or self.anchor is None:
            return -inf
        return self.anchor.clock_ns + (stream_ns - self.anchor.stream_ns) / self.speed

    def steered(
        self, *, speed: float | None, paused: bool, clock_ns: int, reached_ns: int | None
    ) -> Pace:
        """The pace from now on; stream time goes on from where it is.

        `reached_ns` is the stamp of the last message that was due, from which it goes on where no
        time was kept.
        """
        if (speed, paused) == (self.speed, self.paused):
            return self
        stream_ns = self.now(clock_ns=clock_ns, reached_ns=reached_ns)
        anchor = None if stream_ns is None else Anchor(clock_ns=clock_ns, stream_ns=stream_ns)
        return Pace(speed=speed, paused=paused, anchor=anchor)

    def now(self, *, clock_ns: int, reached_ns: int | None) -> int | None:
        """The moment of the stream that it is; None before the first message."""
        if self.anchor is None or self.speed is None:
            return reached_ns
        if self.paused:
            return self.anchor.stream_ns
        passed = clock_ns - self.anchor.clock_ns
        return self.anchor.stream_ns + round(passed * self.speed)


def check_speed(speed: Any) -> float | None:
    """The speed that is meant.

    >>> check_speed(2), check_speed(None)
    (2.0, None)

    Raises:
        ConfigError: it is no number above 0.
    """
    if speed is None:
        return None
    if type(speed) in (int, float) and speed > 0 and isfinite(speed):
        return float(speed)
    raise ConfigError(f"speed={speed!r}: give a number above 0, or None not to wait")
