"""A cloud of many nodes in one process: real stores, real sockets between them, and each call through the next node.

So that everything that is held against one node's `Objects` can be held against many: `MOLN_TEST_NODES=5 pytest
tests/node/s3`; with `MOLN_TEST_APART=1` too the bodies of all classes are apart from records, on every other node.
"""

from __future__ import annotations

import itertools
import os
import socket
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

from aiohttp import web

from moln_node.cluster.cluster import Cluster
from moln_node.cluster.local import LocalStore
from moln_spec.cloudmap import BodyPlace, CloudMap, MapNode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from moln_node.cluster.objects import Objects

_JOIN_SECONDS = 60.0


class Sprayed:
    """Looks like one `Objects`; each call goes to the next of many."""

    def __init__(self, many: list[Objects]) -> None:
        self._next = itertools.cycle(many)

    def __getattr__(self, name: str) -> Any:
        return getattr(next(self._next), name)


@asynccontextmanager
async def many(data: Path, count: int, like: CloudMap) -> AsyncIterator[Objects]:
    """The objects of a cloud of `count` nodes, each call through the next of them."""
    pools: tuple[str, ...] = ("test",)
    if "MOLN_TEST_APART" in os.environ:
        pools = ("warm", "cold")
        places = tuple(BodyPlace(name=one.name, pools=("cold",)) for one in like.storage_classes)
        like = like.model_copy(update={"places": places})
    async with running(data, count, like, pools) as clusters:
        yield cast("Objects", Sprayed([cluster.objects for cluster in clusters]))


@asynccontextmanager
async def running(
    data: Path, count: int, like: CloudMap, pools: Sequence[str] = ("test",)
) -> AsyncIterator[list[Cluster]]:
    """A cloud of `count` nodes, in these pools in turn, with the classes, rules and places of a map."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    nodes = tuple(
        MapNode(
            name=f"node-{number}",
            number=number,
            address=f"127.0.0.1:{bound.getsockname()[1]}",
            pool=pools[number % len(pools)],
        )
        for number, bound in enumerate(sockets)
    )
    cloud_map = like.model_copy(update={"nodes": nodes, "partitions": 64})
    async with AsyncExitStack() as stack, AsyncExitStack() as asking:  # whoever asks ends before whoever answers
        clusters: list[Cluster] = []
        for node, bound in zip(nodes, sockets, strict=True):
            local = await LocalStore.start(data / node.name, cloud_map, node.name)
            stack.push_async_callback(local.close)
            cluster = await Cluster.start(local, cloud_map, node.name, lambda: "a secret")
            asking.push_async_callback(cluster.close)
            clusters.append(cluster)
            app = web.Application(client_max_size=64 * 1024 * 1024)
            cluster.add_routes(app)
            runner = web.AppRunner(app, access_log=None)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.SockSite(runner, bound).start()
        for cluster in clusters:
            await cluster.joined(_JOIN_SECONDS)
        yield clusters
