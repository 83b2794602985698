"""Changes of different versions of one key at once: they share a register, and none may be taken for another."""

from __future__ import annotations

import asyncio
import re
from itertools import cycle
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cluster.client import Answer, Client
    from tests.cluster.nodes import Cloud

pytestmark = [
    pytest.mark.processes,
    pytest.mark.xdist_group("rivals"),  # one cloud for all
    pytest.mark.asyncio(loop_scope="module"),
]

_ROUNDS = 4
_VERSIONS = 5
_TRIES = 3
_ENABLED = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"


def tagging(value: int) -> bytes:
    """A document with one tag."""
    return f"<Tagging><TagSet><Tag><Key>turn</Key><Value>{value}</Value></Tag></TagSet></Tagging>".encode()


async def test_what_is_acknowledged_of_one_version_is_done_to_it(three: Cloud, client: Client) -> None:
    """Tags set, then deletes, of five versions side by side through three nodes: each that is acknowledged holds."""
    nodes = cycle(three.nodes.values())

    async def call(method: str, key: str, body: bytes = b"", **query: str) -> Answer:
        """As clients of S3 do: a 503 says that it may not have come about, and is tried again."""
        for _ in range(_TRIES):
            answer = await client.call(next(nodes), method, f"/rivals{key}", body, query=query)
            if answer.status != 503:
                break
        return answer

    await call("PUT", "")
    assert (await call("PUT", "", _ENABLED, versioning="")).status == 200
    for turn in range(_ROUNDS):
        for value in range(_VERSIONS):
            await call("PUT", "/k", b"%d" % value)
        listing = (await call("GET", "", versions="")).body.decode()
        versions = re.findall("<VersionId>([^<]+)</VersionId>", listing)
        assert len(versions) == _VERSIONS
        tagged = await asyncio.gather(
            *(call("PUT", "/k", tagging(turn), tagging="", versionId=version) for version in versions)
        )
        assert [answer.status for answer in tagged] == [200] * _VERSIONS
        for version in versions:
            shown = await call("GET", "/k", tagging="", versionId=version)
            assert f"<Value>{turn}</Value>" in shown.body.decode()
        deleted = await asyncio.gather(*(call("DELETE", "/k", versionId=version) for version in versions))
        assert [answer.status for answer in deleted] == [204] * _VERSIONS
        for version in versions:
            assert (await call("GET", "/k", versionId=version)).status == 404
