"""What nodes of another release say, as `moln dev` and `moln rebalance` take it."""

from __future__ import annotations

import asyncio

from aiohttp import web
from aiohttp.test_utils import TestServer
from tests.spec.test_nodestatus import FIRST

from moln.commands.rebalance import _look
from moln.dev.push import reports
from moln.watching.snapshot import Doors
from moln_spec.cloudmap import CloudMap, MapNode
from moln_spec.membership import Report
from moln_spec.room import Volume

NODES = (MapNode(name="n-0", number=0, address="x:1", pool="n"),)
MAP = CloudMap(cloud="photos", uid="u", epoch=7, nodes=NODES)


async def get_status(request: web.Request) -> web.Response:
    """What the first release says, and what one to come may; nothing to who has no secret."""
    if request.headers["Authorization"] != "Bearer secret":
        return web.json_response({"error": "this port wants the cloud secret"}, status=401)
    return web.json_response(FIRST | {"new": {"as": "yet"}})


async def get_map(_request: web.Request) -> web.Response:
    """A map of one node."""
    return web.Response(text=MAP.model_dump_json())


async def test_nodes_of_another_release_are_heard() -> None:
    """`moln dev` takes their objects for what is used, because they share a disk; who says no is not heard."""
    app = web.Application()
    app.add_routes([web.get("/v1/status", get_status), web.get("/v1/map", get_map)])
    async with TestServer(app) as server:
        peer = f"{server.host}:{server.port}"
        dev, shut = await reports({"n-0": peer}, "secret"), await reports({"n-0": peer}, "wrong")
        rebalance = await asyncio.to_thread(_look, Doors({"n-0": f"http://{peer}"}, "secret"))
    said = Report(7, None, None, 1, Volume(100, 60, 40), {"STANDARD": 5})
    assert rebalance == (MAP, {"n-0": said})
    assert dev == {"n-0": Report(7, None, None, 1, Volume(100, 5, 40), {"STANDARD": 5})}
    assert shut == {}
