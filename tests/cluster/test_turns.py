"""What one node does for all goes on while that node is down or refills its disk: the next one's turn comes."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from typing import TYPE_CHECKING, NoReturn

import pytest
from tests.cluster.client import Client
from tests.cluster.nodes import Cloud
from tests.cluster.test_node_metrics import counter, until
from tests.cluster.test_repair import put, three
from tests.cluster.test_two_lists import silence

from moln_node.cluster import expiry, lifecycle, turns
from moln_node.cluster.errors import PeerError, StaleEpochError, UnavailableError
from moln_node.cluster.lifecycle import DAY_MS, Lifecycle, Rule
from moln_node.store.model import Kind, Versioning

if TYPE_CHECKING:
    from pathlib import Path

    from moln_node.cluster.cluster import Cluster

RULE = b"""<LifecycleConfiguration><Rule><ID>r</ID><Filter><Prefix></Prefix></Filter><Status>Enabled</Status>
<Expiration><Date>2020-01-01T00:00:00Z</Date></Expiration></Rule></LifecycleConfiguration>"""


async def whose(clusters: list[Cluster]) -> list[bool | None]:
    """Whose turn each thinks it is; None where it does not count, and nobody before it is there."""
    found: list[bool | None] = []
    for cluster in clusters:
        try:
            found.append(await turns.is_ours(cluster.members))
        except UnavailableError:
            found.append(None)
    return found


def failing(monkeypatch: pytest.MonkeyPatch, clusters: list[Cluster], name: str, error: PeerError) -> None:
    """Let a node answer nothing to the others but this."""

    async def ask(_: object) -> NoReturn:
        raise error

    for cluster in clusters:
        if cluster.members.me != name:
            monkeypatch.setattr(cluster.members.now.replica(name), "ask", ask)


async def test_the_turn_is_that_of_the_first_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not of one that refills its disk, nor of one that does not answer; one with a newer map is there."""
    async with three(tmp_path) as (clusters, _):
        assert await whose(clusters) == [True, False, False]
        silence(clusters, 0)
        assert await whose(clusters) == [None, True, False]
        silence(clusters, 0, 1)
        assert await whose(clusters) == [None, None, True]
        silence(clusters)
        failing(monkeypatch, clusters, "node-0", StaleEpochError(9))
        assert await whose(clusters) == [True, False, False]
        failing(monkeypatch, clusters, "node-0", PeerError("it does not answer"))
        assert await whose(clusters) == [True, True, False]


@pytest.mark.parametrize("versioning", [Versioning.OFF, Versioning.ENABLED])
async def test_nodes_that_sweep_at_once_remove_what_is_due_alone(tmp_path: Path, versioning: Versioning) -> None:
    """As nodes that can't see each other may: what one removed the others leave alone.

    A sweep may not know whether it was the first to remove something: it counts that as failed, and it is removed.
    """
    async with three(tmp_path) as (clusters, _):
        rules = (Rule(id="r", enabled=True, expire_days=1), Rule(id="old", enabled=True, noncurrent_days=1))
        document = Lifecycle(rules=rules).model_dump_json(exclude_none=True)
        await clusters[0].objects.set_bucket("room", versioning=versioning, settings={lifecycle.SETTING: document})
        for number in range(20):
            last = await put(clusters[0], f"{number % 10}", b"%d" % number)
        newest = {record.version_id for record in (await clusters[0].objects.list_objects("room")).records}
        when = last.modified_ms + 9 * DAY_MS
        await asyncio.gather(*(expiry.sweep(cluster.objects, when) for cluster in clusters))
        left = (await clusters[1].objects.list_versions("room")).records
        kept = {record.version_id for record in left if record.kind is Kind.OBJECT}
        assert kept == (newest if versioning is Versioning.ENABLED else set())
        assert (await clusters[2].objects.list_objects("room")).records == ()


@pytest.mark.processes
async def test_objects_expire_while_the_first_node_is_dead(tmp_path: Path) -> None:
    """Its turn is the next one's; when it is back it is its own again."""
    metric = "moln_node_lifecycle_ended_timestamp_seconds"
    async with Cloud(tmp_path, 3, module="tests.cluster.expiring") as cloud, Client() as client:
        first, second, third = cloud.nodes.values()
        await first.kill()
        digest = base64.b64encode(hashlib.md5(RULE, usedforsecurity=False).digest()).decode()
        assert (await client.call(second, "PUT", "/bucket")).status == 200
        put_rule = await client.call(
            second, "PUT", "/bucket", RULE, headers={"Content-MD5": digest}, query={"lifecycle": ""}
        )
        assert put_rule.status == 200, put_rule
        assert (await client.call(second, "PUT", "/bucket/k", b"due")).status == 200

        async def gone() -> bool:
            return (await client.call(third, "GET", "/bucket/k")).status == 404

        await until("the object to expire", gone)
        assert await counter(second, metric) > 0
        await first.start()

        async def its_own() -> bool:
            return await counter(first, metric) > 0

        await until("the first node's turn", its_own)
