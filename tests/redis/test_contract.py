"""The contract of every backend, kept by Redis: each case on each server of the matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests import contract, contract_groups
from tests.redis.groups import at_least

if TYPE_CHECKING:
    import redis


@pytest.fixture
def place(matrix_url: str, matrix_client: redis.Redis) -> contract.Place:
    """The database of each server, emptied. Ids with a time only, `<ns>-*`, came with 7.0."""
    formats = ("ms", "ns") if at_least(matrix_client, 7) else ("ms",)
    return contract.Place(matrix_url, formats)


class TestRealtime(contract.RealtimeContract):
    pass


class TestSeek(contract.SeekContract):
    pass


class TestSharding(contract.ShardingContract):
    pass


class TestGroupCreation(contract_groups.GroupCreationContract):
    pass


class TestLoadBalancing(contract_groups.LoadBalancingContract):
    pass


class TestResuming(contract_groups.ResumingContract):
    pass
