"""A node that comes back with an empty disk: refilled before it counts, and never a reason to answer wrongly."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING

import pytest
from tests.cluster.client import Client
from tests.cluster.nodes import Cloud

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.crash, pytest.mark.timeout(240)]

_REFILL_SECONDS = 120.0


async def test_an_empty_disk_is_refilled_before_it_counts(tmp_path: Path) -> None:
    """What was put is there and what was deleted stays deleted, also when the refilled node and one other are left.

    One node missed the deletes, so the only copies of the tombstones were on the lost disk and one other.
    """
    chance = random.Random(7)
    async with Cloud(tmp_path, 3) as cloud, Client() as client:
        first, second, third = cloud.nodes.values()
        assert (await client.call(first, "PUT", "/room")).status == 200
        bodies = {f"k{number}": chance.randbytes(chance.choice((10, 2_000, 150_000))) for number in range(40)}
        for key, body in bodies.items():
            assert (await client.call(first, "PUT", f"/room/{key}", body)).status == 200
        await third.kill()
        gone = [key for number, key in enumerate(bodies) if number % 4 == 0]
        for key in gone:
            assert (await client.call(first, "DELETE", f"/room/{key}")).status == 204
        await first.kill()
        first.lose_disk()
        await third.start()
        await first.start()
        deadline = time.monotonic() + _REFILL_SECONDS
        while not await first.counts():
            assert time.monotonic() < deadline, first.log()[-3000:]
            await asyncio.sleep(0.2)
        await second.kill()
        for key, body in bodies.items():
            answer = await client.call(first, "GET", f"/room/{key}")
            if key in gone:
                assert answer.status == 404, key
            else:
                assert (answer.status, answer.body) == (200, body), key


async def test_an_empty_disk_does_not_count_while_it_can_not_be_refilled(tmp_path: Path) -> None:
    """With a disk lost and another node down, one good copy is no majority: refused, not answered from emptiness."""
    async with Cloud(tmp_path, 3) as cloud, Client() as client:
        first, second, third = cloud.nodes.values()
        await client.call(first, "PUT", "/room")
        assert (await client.call(first, "PUT", "/room/k", b"1")).status == 200
        await second.kill()
        await first.kill()
        first.lose_disk()
        await first.start()
        assert not await first.counts()
        for node in (first, third):
            assert (await client.call(node, "GET", "/room/k")).status == 503
            assert (await client.call(node, "PUT", "/room/k", b"2")).status == 503
