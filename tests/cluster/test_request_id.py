"""One id from the client's answer to every owner's log."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest
from tests.cluster.client import Client
from tests.cluster.nodes import Cloud

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.processes

EVERY_CALL = {"MOLN_SLOW_SECONDS": "0.000001"}


async def test_the_id_that_a_client_got_is_in_the_log_of_every_owner(tmp_path: Path) -> None:
    """Who is slow is found by the id: the node that was asked, and each that it asked in turn."""
    environments = dict.fromkeys(("n0", "n1", "n2"), EVERY_CALL)
    async with Cloud(tmp_path, 3, environments) as cloud, Client() as client:
        assert (await client.call(cloud.nodes["n0"], "PUT", "/bucket")).status == 200
        answer = await client.call(cloud.nodes["n0"], "PUT", "/bucket/k", b"x" * 100_000)
        assert answer.headers is not None
        request = f"request_id={answer.headers['x-amz-request-id']}"

        def lines(name: str) -> list[str]:
            return [line for line in cloud.nodes[name].log().splitlines() if request in line]

        deadline = time.monotonic() + 10
        while not all(map(lines, cloud.nodes)):  # an owner that was not waited for tells of it later
            assert time.monotonic() < deadline, {name: lines(name) for name in cloud.nodes}
            await asyncio.sleep(0.02)
        assert any("PUT '/bucket/k'" in line and "operation=PutObject" in line for line in lines("n0"))
        assert all(any("call replica/" in line for line in lines(name)) for name in ("n1", "n2"))
