"""What nodes count of each other: copies that went bad and were replaced, calls that came to nothing."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.cluster.client import Client
    from tests.cluster.nodes import Cloud, Node

pytestmark = [
    pytest.mark.processes,
    pytest.mark.xdist_group("node metrics"),  # one cloud for all
    pytest.mark.asyncio(loop_scope="module"),
]

BODY = bytes(range(256)) * 8192


def flip(node: Node) -> None:
    """Change one byte in the middle of the node's largest file: the object's body."""
    path = max((p for p in (node.room / "data").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    content = bytearray(path.read_bytes())
    assert len(content) >= len(BODY)
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


async def counter(node: Node, name: str, **labels: str) -> float:
    """A counter of the node; 0 where it has not begun."""
    async with aiohttp.ClientSession() as http, http.get(f"http://{node.peer}/metrics") as answer:
        text = await answer.text()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())


async def damage(node: Node) -> tuple[float, float]:
    """Damaged copies that the node found, and those of them that were replaced."""
    return await counter(node, "moln_node_damage_found_total"), await counter(node, "moln_node_damage_healed_total")


async def until(what: str, holds: Callable[[], Awaitable[bool]]) -> None:
    """Poll until `holds`."""
    deadline = time.monotonic() + 30
    while not await holds():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.05)


async def write(client: Client, node: Node) -> None:
    """Write the object through that node."""
    assert (await client.call(node, "PUT", "/bucket")).status in (200, 409)
    assert (await client.call(node, "PUT", "/bucket/k", BODY)).status == 200


async def read(client: Client, node: Node) -> bytes:
    """The object, as that node gives it."""
    return (await client.call(node, "GET", "/bucket/k")).body


async def test_a_damaged_copy_is_replaced_and_counted(three: Cloud, client: Client) -> None:
    """The read that meets it answers with the right bytes, and the next one finds a good copy."""
    node = three.nodes["n1"]
    await write(client, node)
    assert await damage(node) == (0, 0)
    await asyncio.to_thread(flip, node)
    assert await read(client, node) == BODY

    async def healed() -> bool:
        return await damage(node) == (1, 1)

    await until("the copy is replaced", healed)
    assert await read(client, node) == BODY
    assert await damage(node) == (1, 1)


async def test_a_peer_that_gives_no_answer_is_counted_by_name(three: Cloud, client: Client) -> None:
    """Where only one of two ways is cut, the node at its beginning tells which."""
    node = three.nodes["n0"]

    async def unanswered(peer: str) -> float:
        return await counter(node, "moln_peer_unanswered_total", peer=peer)

    before = {peer: await unanswered(peer) for peer in ("n1", "n2")}  # while they started
    three.links["n0", "n2"].cut()
    try:
        await write(client, node)

        async def told() -> bool:
            return await unanswered("n2") > before["n2"]

        await until("n0 tells of n2", told)
        assert await unanswered("n1") == before["n1"]
    finally:
        three.heal()
