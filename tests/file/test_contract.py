"""The contract of every backend, kept by files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests import contract
from tests.facades import Facade


class FilePlace(contract.Place):
    """A file that is made when it is first connected to."""

    def connect(self, facade: type[Facade], **options: Any) -> Facade:
        return super().connect(facade, create="if_missing", **options)


@pytest.fixture
def place(tmp_path: Path) -> contract.Place:
    """Times of files are milliseconds."""
    return FilePlace(f"file://{tmp_path / 'contract.ss'}", ("ms",))


class TestRealtime(contract.RealtimeContract):
    pass


class TestSharding(contract.ShardingContract):
    pass
