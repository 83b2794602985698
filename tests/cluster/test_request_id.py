"""One id from the client's answer to every owner's log."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from tests.cluster.nodes import ACCESS_KEY, SECRET_KEY, Cloud

if TYPE_CHECKING:
    from pathlib import Path

EVERY_CALL = {"MOLN_SLOW_SECONDS": "0.000001"}


async def test_the_id_that_a_client_got_is_in_the_log_of_every_owner(tmp_path: Path) -> None:
    """Who is slow is found by the id: the node that was asked, and each that it asked in turn."""
    environments = dict.fromkeys(("n0", "n1", "n2"), EVERY_CALL)

    def put(endpoint: str) -> str:
        """Write an object; the id of that request."""
        s3 = boto3.client(
            "s3",
            endpoint_url=endpoint,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            region_name="us-east-1",
            config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
        )
        s3.create_bucket(Bucket="bucket")
        answer = s3.put_object(Bucket="bucket", Key="k", Body=b"x" * 100_000)
        s3.close()
        return str(answer["ResponseMetadata"]["RequestId"])

    async with Cloud(tmp_path, 3, environments) as cloud:
        endpoint = f"http://{cloud.nodes['n0'].s3}"
        request = f"request_id={await asyncio.to_thread(put, endpoint)}"

        def lines(name: str) -> list[str]:
            return [line for line in cloud.nodes[name].log().splitlines() if request in line]

        deadline = time.monotonic() + 10
        while not all(map(lines, cloud.nodes)):  # an owner that was not waited for tells of it later
            assert time.monotonic() < deadline, {name: lines(name) for name in cloud.nodes}
            await asyncio.sleep(0.02)
        assert any("PUT '/bucket/k'" in line and "operation=PutObject" in line for line in lines("n0"))
        assert all(any("call replica/" in line for line in lines(name)) for name in ("n1", "n2"))
