"""Clouds of many nodes for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest_asyncio
from tests.cluster.client import Client
from tests.cluster.nodes import Cloud

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def three(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cloud]:
    """Three nodes that serve, for all tests of a module."""
    async with Cloud(tmp_path_factory.mktemp("three"), 3) as cloud:
        yield cloud


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client() -> AsyncIterator[Client]:
    """A raw client."""
    client = Client()
    yield client
    await client.close()
