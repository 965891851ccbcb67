"""`%stream` and `%%stream`."""

from __future__ import annotations
