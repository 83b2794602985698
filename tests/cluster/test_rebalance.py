"""What `moln rebalance --dry-run` tells of a change is what then moves, to the key and to the byte."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from tests.cluster.client import Client
from tests.cluster.nodes import SECRET, Cloud
from tests.cluster.test_changes import directed, fill
from tests.cluster.test_rewriting import begin, over

from moln.watching.moving import Totals, moves
from moln.watching.snapshot import Doors
from moln_spec.cloudmap import MapPolicy
from moln_spec.membership import Report, Seat, Wanted, thought_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.cluster.director import Director

    from moln_spec.cloudmap import CloudMap

pytestmark = [pytest.mark.crash, pytest.mark.timeout(240)]


@dataclass(frozen=True)
class Holding:
    """What a node says that it holds."""

    registers: int
    bytes: int


async def holdings(cloud: Cloud) -> dict[str, Holding]:
    """What every node that runs holds, once none holds what others own."""
    found: dict[str, Holding] = {}
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {SECRET}"}) as http:
        for name, node in cloud.nodes.items():
            if node.s3 is not None:
                status: dict[str, Any] = {"strays": None}
                while status["strays"] != 0:
                    async with http.get(f"http://{node.peer}/v1/status") as answer:
                        status = await answer.json()
                    await asyncio.sleep(0.05)
                found[name] = Holding(status["registers"], status["bytes"])
    return found


async def told(cloud: Cloud, cloud_map: CloudMap | None) -> Totals:
    """What the command would tell."""
    totals = Totals()
    doors = Doors({name: f"http://{node.peer}" for name, node in cloud.nodes.items() if node.peer is not None}, SECRET)
    await asyncio.to_thread(lambda: list(moves(doors, cloud_map, totals)))
    assert totals.unanswered == 0
    return totals


def to(director: Director, names: Iterable[str], copies: int) -> CloudMap:
    """The map with the change to these nodes and copies."""
    seats = tuple(Seat(name=name, address="127.0.0.1:1", pool=name) for name in names)
    there = {node.name: Report(director.map.epoch) for node in director.map.nodes}
    return thought_of(director.map, Wanted(seats, (MapPolicy(name="all", copies=copies),)), there).map


@pytest.mark.parametrize(("names", "copies"), [(("n0", "n1", "n2", "n3"), 3), (("n0", "n1", "n3"), 2)])
async def test_what_is_told_is_what_moves(tmp_path: Path, names: tuple[str, ...], copies: int) -> None:
    """A node more, and another one with fewer copies: what each node gets and loses is as it was told before."""
    async with directed(tmp_path, 3, 1) as (cloud, director, client):
        await fill(client, cloud.nodes["n0"])
        assert (await client.call(cloud.nodes["n1"], "POST", "/room/upload", query={"uploads": ""})).status == 200
        director.want(("n0", "n1", "n2"))
        await director.settled()
        there = [cloud.nodes[name] for name in ("n0", "n1", "n2")]
        while (await over(await begin(there, "repair")))["differing"]:  # what an owner missed is no part of the change
            pass
        before = await holdings(cloud)
        totals = await told(cloud, to(director, names, copies))
        assert totals.gets["n3"].bytes > 0
        assert await holdings(cloud) == before, "a dry run moved something"
        director.want(names, copies=copies)
        await director.settled()
        expected = {}
        for name in names:
            was = before.get(name, Holding(0, 0))
            expected[name] = Holding(
                was.registers + totals.gets[name].keys - totals.leaves[name].keys,
                was.bytes + totals.gets[name].bytes - totals.leaves[name].bytes,
            )
        deadline = time.monotonic() + 30
        while (after := await holdings(cloud)) != expected:  # a node counts its registers anew from time to time only
            assert time.monotonic() < deadline, (after, expected)
            await asyncio.sleep(0.5)
        left = await told(cloud, None)
        assert (left.keys.keys, dict(left.leaves)) == (0, {})


async def test_of_a_change_under_way_only_the_rest_is_told(tmp_path: Path) -> None:
    """What the new owners have by now is not told again."""
    async with Cloud(tmp_path, 3, policies=(MapPolicy(name="all", copies=2),)) as cloud, Client() as client:
        await fill(client, cloud.nodes["n0"])
        wider = cloud.first_map().model_copy(update={"policies": (MapPolicy(name="all", copies=3),), "epoch": 2})
        first = cloud.first_map()
        seats = tuple(Seat(name=node.name, address=node.address, pool=node.pool) for node in first.nodes)
        change = thought_of(first, Wanted(seats, wider.policies), {}).map
        whole = await told(cloud, change)
        assert whole.keys.bytes > 0
        assert not whole.leaves
        headers = {"Authorization": f"Bearer {SECRET}"}
        async with aiohttp.ClientSession(headers=headers) as http:
            for node in cloud.nodes.values():
                document = cloud.seen_by(node, change).model_dump_json()
                async with http.put(f"http://{node.peer}/v1/map", data=document) as answer:
                    assert answer.status == 200
        async with asyncio.timeout(60):
            while (rest := await told(cloud, None)).keys.keys:
                assert rest.keys.keys <= whole.keys.keys
                assert rest.keys.bytes <= whole.keys.bytes
