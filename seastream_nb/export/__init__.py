"""What leaves a stream for files that appear when they are whole, and goes on after a stop."""

from __future__ import annotations
