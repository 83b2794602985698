"""A copy whose bytes went bad on the disk: never served, replaced from another owner, and counted."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import aiohttp
import boto3
from botocore.config import Config
from prometheus_client.parser import text_string_to_metric_families
from tests.cluster.nodes import ACCESS_KEY, SECRET_KEY, Cloud

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cluster.nodes import Node

BODY = bytes(range(256)) * 8192


def exchange(endpoint: str, *, write: bool) -> bytes:
    """Write the object, or read it, at one node."""
    s3 = boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        region_name="us-east-1",
        config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
    )
    try:
        if write:
            s3.create_bucket(Bucket="bucket")
            s3.put_object(Bucket="bucket", Key="k", Body=BODY)
            return b""
        return bytes(s3.get_object(Bucket="bucket", Key="k")["Body"].read())
    finally:
        s3.close()


def flip(node: Node) -> None:
    """Change one byte in the middle of the node's largest file: the object's body."""
    path = max((p for p in (node.room / "data").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    content = bytearray(path.read_bytes())
    assert len(content) >= len(BODY)
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


async def counted(node: Node) -> tuple[float, float]:
    """Damaged copies that the node found, and those of them that were replaced."""
    async with aiohttp.ClientSession() as http, http.get(f"http://{node.peer}/metrics") as answer:
        text = await answer.text()
    values = {s.name: s.value for family in text_string_to_metric_families(text) for s in family.samples}
    return values["moln_node_damage_found_total"], values["moln_node_damage_healed_total"]


async def test_a_damaged_copy_is_replaced_and_counted(tmp_path: Path) -> None:
    """The read that meets it answers with the right bytes, and the next one finds a good copy."""
    async with Cloud(tmp_path, 3) as cloud:
        node = cloud.nodes["n1"]
        endpoint = f"http://{node.s3}"
        await asyncio.to_thread(exchange, endpoint, write=True)
        assert await counted(node) == (0, 0)
        await asyncio.to_thread(flip, node)
        assert await asyncio.to_thread(exchange, endpoint, write=False) == BODY
        deadline = time.monotonic() + 30
        while await counted(node) != (1, 1):
            assert time.monotonic() < deadline, await counted(node)
            await asyncio.sleep(0.05)
        assert await asyncio.to_thread(exchange, endpoint, write=False) == BODY
        assert await counted(node) == (1, 1)
