"""`Stream.browse()`: a stream page by page."""

from __future__ import annotations
