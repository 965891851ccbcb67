"""`Replay.control()`: a replay with buttons."""

from __future__ import annotations
