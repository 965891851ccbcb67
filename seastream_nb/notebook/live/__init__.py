"""`Stream.live()`: a view of what comes."""

from __future__ import annotations
