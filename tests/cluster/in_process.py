"""A cloud of many nodes in one process: real stores, real sockets between them, and each call through the next node.

So that everything that is held against one node's `Objects` can be held against many: `MOLN_TEST_NODES=5 pytest
tests/node/s3`.
"""

from __future__ import annotations

import itertools
import socket
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

from aiohttp import web

from moln_node.cluster.cluster import Cluster
from moln_node.cluster.local import LocalStore
from moln_spec.cloudmap import CloudMap, MapNode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
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
    async with running(data, count, like) as clusters:
        yield cast("Objects", Sprayed([cluster.objects for cluster in clusters]))


@asynccontextmanager
async def running(data: Path, count: int, like: CloudMap) -> AsyncIterator[list[Cluster]]:
    """A cloud of `count` nodes with the classes and rules of a map."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    nodes = tuple(
        MapNode(name=f"node-{number}", number=number, address=f"127.0.0.1:{bound.getsockname()[1]}", pool="test")
        for number, bound in enumerate(sockets)
    )
    cloud_map = like.model_copy(update={"nodes": nodes, "partitions": 64})
    async with AsyncExitStack() as stack:
        clusters: list[Cluster] = []
        for node, bound in zip(nodes, sockets, strict=True):
            local = await LocalStore.start(data / node.name, cloud_map, node.name)
            stack.push_async_callback(local.close)
            cluster = await Cluster.start(local, cloud_map, node.name, lambda: "a secret")
            stack.push_async_callback(cluster.close)
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
