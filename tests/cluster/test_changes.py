"""Nodes come and go, and what they own, while clients read and write: nothing is lost, and who leaves is empty."""

from __future__ import annotations

import asyncio
import random
import re
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
from tests.cluster.client import Client
from tests.cluster.director import Director
from tests.cluster.nodes import SECRET, Cloud
from tests.node.store.test_corruption import flip

from moln_spec.cloudmap import BodyPlace, MapPolicy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.cluster.nodes import Node

pytestmark = [pytest.mark.crash, pytest.mark.timeout(240)]

Bodies = dict[str, bytes]


@asynccontextmanager
async def directed(room: Path, count: int, spares: int, **more: Any) -> AsyncIterator[tuple[Cloud, Director, Client]]:
    """A cloud that a director leads."""
    async with Cloud(room, count, spares=spares, **more) as cloud, Client() as client:
        director = Director(cloud)
        directing = asyncio.create_task(director.run())
        try:
            yield cloud, director, client
            if directing.done():
                directing.result()
        finally:
            directing.cancel()
            with suppress(asyncio.CancelledError):
                await directing


async def fill(client: Client, node: Node, count: int = 40) -> Bodies:
    """Objects of many sizes; every fourth is deleted again, and is expected to stay so."""
    chance = random.Random(count)
    assert (await client.call(node, "PUT", "/room")).status == 200
    bodies = {f"k{number}": chance.randbytes(chance.choice((0, 10, 3_000, 200_000))) for number in range(count)}
    for key, body in bodies.items():
        assert (await client.call(node, "PUT", f"/room/{key}", body)).status == 200
    for key in list(bodies)[::4]:
        assert (await client.call(node, "DELETE", f"/room/{key}")).status == 204
        bodies[key] = b"deleted"
    return bodies


async def hold(client: Client, node: Node, bodies: Bodies) -> None:
    """Assert that a node answers as was acknowledged, and lists it."""
    for key, body in bodies.items():
        answer = await client.call(node, "GET", f"/room/{key}")
        if body == b"deleted":
            assert answer.status == 404, key
        else:
            assert (answer.status, answer.body) == (200, body), (key, answer.status)
    listing = await client.call(node, "GET", "/room", query={"list-type": "2"})
    listed = listing.body.decode()
    for key, body in bodies.items():
        assert (f"<Key>{key}</Key>" in listed) == (body != b"deleted"), key


async def write_on(client: Client, cloud: Cloud, bodies: Bodies, ending: asyncio.Event) -> int:
    """Write and read anew all the time, through nodes that run; how many requests had to be sent again."""
    chance = random.Random(3)
    again = 0
    while not ending.is_set():
        key = f"w{chance.randrange(30)}"
        body = chance.randbytes(chance.choice((5, 90_000)))
        while True:
            node = chance.choice([node for node in cloud.nodes.values() if node.s3 is not None])
            answer = await client.call(node, "PUT", f"/room/{key}", body)
            if answer.status == 200:
                break
            assert answer.status in (-1, 0, 503), answer
            again += 1
            await asyncio.sleep(0.1)
        bodies[key] = body
        seen = await client.call(node, "GET", f"/room/{key}")
        assert seen.status != 200 or seen.body == body
    return again


async def test_a_cloud_becomes_another_one_while_it_is_written(tmp_path: Path) -> None:
    """3 nodes to 5, and to 3 of which one only is of the first ones; then all others are dead for good."""
    async with directed(tmp_path, 3, 2) as (cloud, director, client):
        bodies = await fill(client, cloud.nodes["n0"])
        ending = asyncio.Event()
        writing = asyncio.create_task(write_on(client, cloud, bodies, ending))
        director.want(cloud.nodes)
        await director.settled()
        director.want(["n2", "n3", "n4"])
        await director.settled()
        ending.set()
        again = await writing
        assert [name for name, node in cloud.nodes.items() if node.s3 is not None] == ["n2", "n3", "n4"]
        for name in ("n2", "n3", "n4"):
            await hold(client, cloud.nodes[name], bodies)
        assert again < 50


async def test_one_node_becomes_three_and_one_again(tmp_path: Path) -> None:
    """A cloud of one keeps no tombstones, and takes another's place; who left comes back with what it had: nothing."""
    async with directed(tmp_path, 1, 2) as (cloud, director, client):
        bodies = await fill(client, cloud.nodes["n0"])
        director.want(cloud.nodes)
        await director.settled()
        for node in cloud.nodes.values():
            await hold(client, node, bodies)
        director.want(["n1"], copies=1)
        await director.settled()
        for key in ("k1", "k2"):
            assert (await client.call(cloud.nodes["n1"], "DELETE", f"/room/{key}")).status == 204
            bodies[key] = b"deleted"
        director.want(cloud.nodes)
        await director.settled()
        for node in cloud.nodes.values():
            await hold(client, node, bodies)


async def test_a_disk_that_is_lost_for_good_is_made_up_for(tmp_path: Path) -> None:
    """Of two nodes the one that is left is no majority, and can't refill the other, until the user says so."""
    async with directed(tmp_path, 2, 0) as (cloud, director, client):
        bodies = await fill(client, cloud.nodes["n0"])
        lost = cloud.nodes["n1"]
        async with lost.busy:
            await lost.kill()
            lost.lose_disk()
        assert (await client.call(cloud.nodes["n0"], "GET", "/room/k1")).status == 503
        director.want(["n0", "n1"], lost=["n1"])
        async with asyncio.timeout(60):
            while not director.map.given_up:  # noqa: ASYNC110 (other processes: there is nothing to wait on)
                await asyncio.sleep(0.05)
        await lost.recover()
        await director.settled()
        await cloud.nodes["n0"].kill()
        await cloud.nodes["n0"].start()
        for node in cloud.nodes.values():
            await hold(client, node, bodies)


async def test_a_change_is_taken_back(tmp_path: Path) -> None:
    """Who was to leave stays, who was to come goes: at any moment, and nothing is left behind."""
    async with directed(tmp_path, 3, 2) as (cloud, director, client):
        bodies = await fill(client, cloud.nodes["n0"])
        for _ in range(3):
            director.want(["n0", "n3", "n4"])
            while director.map.change is None:  # noqa: ASYNC110 (other processes: there is nothing to wait on)
                await asyncio.sleep(0.05)
            director.want(["n0", "n1", "n2"])
            await director.settled()
        for name in ("n0", "n1", "n2"):
            await hold(client, cloud.nodes[name], bodies)


async def test_copies_follow_a_policy_that_selects(tmp_path: Path) -> None:
    """Of some keys there shall be one copy, of the others three: also of what is there already, and back again."""
    async with directed(tmp_path, 3, 0) as (cloud, director, client):
        first = cloud.nodes["n0"]
        bodies = await fill(client, first)

        async def copies(key: str) -> int:
            query = {"bucket": "room", "key": key}
            headers = {"Authorization": f"Bearer {SECRET}"}
            async with client.http.get(f"http://{first.peer}/v1/where", params=query, headers=headers) as answer:
                return len((await answer.json())["copies"])

        director.want(cloud.nodes, policies=[MapPolicy(name="k1", buckets=("room",), prefixes=("k1",), copies=1)])
        await director.settled()
        assert [await copies(key) for key in ("k10", "k11", "k2")] == [1, 1, 3]
        for node in cloud.nodes.values():
            await hold(client, node, bodies)
        director.want(cloud.nodes)
        await director.settled()
        assert await copies("k10") == 3
        await cloud.nodes["n1"].kill()
        await hold(client, first, bodies)


async def test_a_good_copy_goes_only_where_a_good_one_stays(tmp_path: Path) -> None:
    """The node that is to hold the only copy has bytes that are damaged: it takes good ones before the others leave."""
    async with directed(tmp_path, 3, 0) as (cloud, director, client):
        bodies = await fill(client, cloud.nodes["n0"], 8)
        for key, size in (("damaged", 300_000), ("missing", 400_000), ("long", 5_000_000)):
            bodies[key] = random.Random(size).randbytes(size)
            assert (await client.call(cloud.nodes["n0"], "PUT", f"/room/{key}", bodies[key])).status == 200
        flip(body_of(cloud.nodes["n1"], 300_000), 150_000, 0)
        body_of(cloud.nodes["n1"], 400_000).unlink()
        flip(body_of(cloud.nodes["n1"], 5_000_000), 4_500_000, 7)
        director.want(["n1"], copies=1)
        await director.settled()
        await hold(client, cloud.nodes["n1"], bodies)


async def test_what_is_lost_does_not_hold_up_a_change_for_ever(tmp_path: Path) -> None:
    """The only copy of a body is damaged when its node leaves: the change says so, and goes on once it is deleted."""
    places = (BodyPlace(name="STANDARD", pools=("n0",)),)
    async with directed(tmp_path, 4, 0, places=places, module="tests.cluster.hurried") as (cloud, director, client):
        bodies = await fill(client, cloud.nodes["n1"], 8)
        bodies["lost"] = bytes(300_000)
        assert (await client.call(cloud.nodes["n1"], "PUT", "/room/lost", bodies["lost"])).status == 200
        flip(body_of(cloud.nodes["n0"], 300_000), 150_000, 0)
        director.want(["n1", "n2", "n3"], places=[BodyPlace(name="STANDARD", pools=("n1", "n2"))])
        await waits_for(director, r"damaged \(1 on n0\)")
        answer = await client.call(cloud.nodes["n2"], "GET", "/room/lost")
        assert answer.body != bodies["lost"]
        assert (await client.call(cloud.nodes["n2"], "DELETE", "/room/lost")).status == 204
        bodies["lost"] = b"deleted"
        await director.settled()
        for name in ("n1", "n2", "n3"):
            await hold(client, cloud.nodes[name], bodies)


async def test_a_full_disk_does_not_end_a_pass(tmp_path: Path) -> None:
    """One node has no room for what others bring it, and one of these not even for the map that turns the change."""
    async with directed(tmp_path, 4, 0, disk_mebibytes=64) as (cloud, director, client):
        bodies = await fill(client, cloud.nodes["n0"])
        with cloud.nodes["n1"].full_disk(spare=600_000):  # less than its reserve
            director.want(["n0", "n1", "n2"])
            await waits_for(director, "n2.* still copying; there is no room on n1")
            with cloud.nodes["n2"].full_disk():
                director.want(["n1", "n2", "n3"])
                await waits_for(director, "of the map has not reached n2")
                await asyncio.sleep(3)  # its pass goes on by the map before, and hears of the newer one
        await director.settled()
        for name in ("n1", "n2", "n3"):
            await hold(client, cloud.nodes[name], bodies)


async def waits_for(director: Director, why: str) -> None:
    """Wait until the change that is under way waits for that."""
    async with asyncio.timeout(60):
        while director.step is None or not re.search(why, "; ".join(director.step.waits)):  # noqa: ASYNC110 (other processes)
            await asyncio.sleep(0.05)


def body_of(node: Node, size: int) -> Path:
    """The file of the only body of about that size."""
    bodies = [path for path in (node.room / "data" / "bodies").rglob("*") if path.is_file()]
    (path,) = [path for path in bodies if size <= path.stat().st_size < 1.1 * size]
    return path


async def test_a_bucket_lives_in_the_pools_that_a_policy_names(tmp_path: Path) -> None:
    """What is there already moves there while it is written, all of it; it needs no node elsewhere; and it moves on.

    (Each node of these clouds is a pool of its own.)
    """
    async with directed(tmp_path, 3, 2) as (cloud, director, client):
        first, others = cloud.nodes["n0"], [cloud.nodes[name] for name in ("n0", "n1", "n2")]
        bodies = await fill(client, first)
        ending = asyncio.Event()
        writing = asyncio.create_task(write_on(client, cloud, bodies, ending))

        async def objects(node: Node) -> int:
            """What it holds, once it has shed what others own."""
            headers = {"Authorization": f"Bearer {SECRET}"}
            async with asyncio.timeout(60):
                while True:
                    async with client.http.get(f"http://{node.peer}/v1/status", headers=headers) as answer:
                        status = await answer.json()
                    if status["strays"] == 0:
                        return int(status["objects"])
                    await asyncio.sleep(0.2)

        def bound(*pools: str) -> MapPolicy:
            return MapPolicy(name="room", buckets=("room",), pools=pools)

        director.want(cloud.nodes, policies=[bound("n2", "n3", "n4")])
        await director.settled()
        director.want(cloud.nodes, policies=[bound("n3", "n4")])
        await director.settled()
        ending.set()
        await writing
        live = sum(body != b"deleted" for body in bodies.values())
        assert [await objects(node) for node in cloud.nodes.values()] == [0, 0, 0, live, live]
        director.want(["n0", "n1", "n2", "n3"], policies=[bound("n3", "n4")])
        while director.step is None:  # noqa: ASYNC110 (other processes: there is nothing to wait on)
            await asyncio.sleep(0.1)
        assert director.step.refusal is not None
        director.want(cloud.nodes, policies=[bound("n3", "n4")])
        for node in others[1:]:
            async with node.busy:
                await node.kill()
        await hold(client, first, bodies)
        assert (await client.call(first, "PUT", "/room/k0", b"anew")).status == 200
        bodies["k0"] = b"anew"
        await hold(client, cloud.nodes["n4"], bodies)
        for node in others[1:]:
            await node.recover()
        director.want(cloud.nodes, policies=[bound("n0")])
        await director.settled()
        await cloud.nodes["n4"].kill()
        await hold(client, cloud.nodes["n3"], bodies)


async def test_a_disk_of_an_earlier_life_gives_back_nothing_old(tmp_path: Path) -> None:
    """A node that was given up comes back with its disk, after the one that stayed deleted without a trace.

    What only that disk has it keeps, and its node waits; with an empty one it is taken in.
    """
    async with directed(tmp_path, 2, 0) as (cloud, director, client):
        stayed, gone = cloud.nodes.values()
        bodies = await fill(client, stayed)
        async with gone.busy:
            await gone.kill()
        director.want(["n0"], copies=1, lost=["n1"])
        await director.settled()
        for key in ("k1", "k2", "k3"):
            assert (await client.call(stayed, "DELETE", f"/room/{key}")).status == 204
            bodies[key] = b"deleted"
        director.want(["n0", "n1"])
        async with asyncio.timeout(60):
            while gone.s3 is None or "of an earlier life" not in gone.log():  # noqa: ASYNC110 (another process)
                await asyncio.sleep(0.2)
        await hold(client, stayed, bodies)
        await hold(client, gone, bodies)
        assert not await gone.counts()
        async with gone.busy:
            await gone.kill()
            gone.lose_disk()
            await gone.start()
        await director.settled()
        for node in (stayed, gone):
            await hold(client, node, bodies)
