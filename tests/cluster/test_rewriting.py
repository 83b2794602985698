"""Three nodes rewrite what they keep while clients write, and one is killed: nothing is lost, and it goes on."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from itertools import cycle
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from tests.cluster.client import Client
from tests.cluster.director import ended
from tests.cluster.nodes import SECRET, Cloud

from moln_spec.classes import AssignmentRule, Compression, StorageClass

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.cluster.nodes import Node

pytestmark = pytest.mark.processes

KEPT = 60
SIZE = 200_000
CHOSEN = {"x-amz-storage-class": "STANDARD"}
CLASSES = (
    StorageClass(name="STANDARD", default=True),
    StorageClass(name="ARCHIVE", compression=Compression(algorithm="zstd", level=9)),
)


def text(number: int) -> bytes:
    """Bytes that compress, in a file of their own."""
    return (f"line {number} of the log, much like all others\n".encode() * 5000)[:SIZE]


async def port_9001(node: Node, method: str, path: str, document: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A call as the operator and `moln` make it."""
    headers = {"Authorization": f"Bearer {SECRET}"}
    async with (
        aiohttp.ClientSession() as http,
        http.request(method, f"http://{node.peer}{path}", json=document, headers=headers) as answer,
    ):
        found = json.loads(await answer.read())
        assert answer.status in (200, 202), found
        return dict(found)


async def begin(nodes: list[Node], kind: str, *, dry_run: bool = False) -> list[tuple[Node, str]]:
    """Let every node begin a task."""
    return [(n, (await port_9001(n, "POST", "/v1/tasks", {"kind": kind, "dryRun": dry_run}))["id"]) for n in nodes]


async def over(tasks: list[tuple[Node, str]]) -> Counter[str]:
    """Wait until each is done: what they counted together."""
    total = Counter[str]()
    for node, task in tasks:
        while (found := await port_9001(node, "GET", f"/v1/tasks/{task}"))["state"] == "running":  # noqa: ASYNC110 (asked as `moln` asks)
            await asyncio.sleep(0.05)
        assert found["state"] == "done", found
        total += Counter(found["progress"])
    return total


class Writer:
    """Puts and deletes keys of its own, each until it is acknowledged, through one node after the other."""

    def __init__(self, client: Client, nodes: list[Node], seed: int) -> None:
        self._client = client
        self._nodes = cycle(nodes)
        self._chance = random.Random(seed)
        self._seed = seed
        self.state: dict[str, bytes | None] = {}
        self.writes = 0

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            key = f"/kept/w{self._seed}/{self._chance.randrange(12)}"
            body = None if self._chance.random() < 0.3 else text(self._chance.randrange(1000))
            await asyncio.shield(self._write(key, body))
            await asyncio.sleep(0.02)

    async def _write(self, key: str, body: bytes | None) -> None:
        while True:
            method = "DELETE" if body is None else "PUT"
            answer = await self._client.call(next(self._nodes), method, key, body or b"")
            if answer.status in (200, 204):
                self.state[key] = body
                self.writes += 1
                return
            await asyncio.sleep(0.1)


async def test_what_is_kept_is_rewritten_while_clients_write_and_a_node_is_killed(tmp_path: Path) -> None:
    """Classes by rules of today, bytes by classes of today, on every node; S3 shows all as it was but the class."""
    async with Cloud(tmp_path, 3) as cloud, Client() as client:
        nodes = list(cloud.nodes.values())
        assert (await client.call(nodes[0], "PUT", "/kept")).status == 200
        for number in range(KEPT):
            chosen = CHOSEN if number % 3 == 0 else {}
            answer = await client.call(nodes[number % 3], "PUT", f"/kept/k{number}", text(number), chosen)
            assert answer.status == 200
        before = {number: await shown(client, nodes[0], number) for number in range(KEPT)}
        rule = AssignmentRule(name="all", storage_class="ARCHIVE")
        edited = {"epoch": 2, "storage_classes": CLASSES, "assignment_rules": (rule,)}
        newer = cloud.first_map().model_copy(update=edited)
        for node in nodes:
            await port_9001(node, "PUT", "/v1/map", cloud.seen_by(node, newer).model_dump(mode="json", by_alias=True))
            cloud.write_files(node, newer)

        writers = [Writer(client, nodes, seed) for seed in (1, 2, 3)]
        working = [asyncio.create_task(writer.run()) for writer in writers]
        told = await over(await begin(nodes, "reassign", dry_run=True))
        assert told["differing"] == KEPT - len(range(0, KEPT, 3))
        moved = await over(await begin(nodes, "reassign"))
        assert (moved["reassigned"], moved["unanswered"]) == (told["differing"], 0)

        tasks = await begin(nodes, "rewrite")
        victim, task = tasks[2]
        while not (await port_9001(victim, "GET", f"/v1/tasks/{task}"))["progress"].get("rewritten"):  # noqa: ASYNC110 (the same)
            await asyncio.sleep(0.01)
        await victim.kill()
        done = await over(tasks[:2])
        assert done["bad"] == 0
        await victim.start()
        while not await victim.counts():  # noqa: ASYNC110 (the same)
            await asyncio.sleep(0.05)
        left = await over(await begin(nodes, "rewrite"))
        assert left["rewritten"] > 0, "it was not killed in the midst"
        await ended(*working)
        await asyncio.sleep(0)

        assert (await over(await begin(nodes, "reassign", dry_run=True)))["differing"] == 0
        assert (await over(await begin(nodes, "rewrite", dry_run=True)))["differing"] == 0
        assert (await over(await begin(nodes, "scrub")))["bad"] == 0
        assert min(writer.writes for writer in writers) > 20
        for node in nodes:
            for number, (headers, body) in before.items():
                seen, data = await shown(client, node, number)
                assert data == body
                assert seen.pop("x-amz-storage-class", "STANDARD") == ("STANDARD" if number % 3 == 0 else "ARCHIVE")
                assert seen == {name: value for name, value in headers.items() if name != "x-amz-storage-class"}
            for writer in writers:
                for key, state in writer.state.items():
                    answer = await client.call(node, "GET", key)
                    assert (answer.status, answer.body) == ((404, answer.body) if state is None else (200, state))
        await over(await begin(nodes, "repair"))
        assert (await over(await begin(nodes, "repair", dry_run=True)))["differing"] == 0
        print(f"{dict(told)}, {dict(moved)}, {dict(done)}, {dict(left)}")  # noqa: T201 (shown with -s)


async def shown(client: Client, node: Node, number: int) -> tuple[dict[str, str], bytes]:
    """What S3 shows of an object, but for the request."""
    answer = await client.call(node, "GET", f"/kept/k{number}")
    assert answer.status == 200
    headers = {name.lower(): value for name, value in (answer.headers or {}).items()}
    for name in ("date", "x-amz-request-id", "x-amz-id-2"):
        headers.pop(name, None)
    return headers, answer.body
