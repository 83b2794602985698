"""What the operator reads of nodes, over real connections."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from moln_operator.observe import nodes
from moln_operator.observe.nodes import Door, NodeClient, NodeError
from moln_spec.cloudmap import CloudMap, MapNode

ADDRESS = "127.0.9.1"
MAP = CloudMap(
    cloud="c",
    uid="u",
    epoch=1,
    nodes=tuple(MapNode(name=f"node-{number}", number=number, address="x:1", pool="p") for number in range(200)),
)


async def _map_in_pieces(request: web.Request) -> web.StreamResponse:
    """As a network hands it over: the first segments now, the others a round trip later."""
    data = MAP.model_dump_json().encode()
    response = web.StreamResponse()
    response.content_length = len(data)
    await response.prepare(request)
    await response.write(data[:14_000])
    await asyncio.sleep(0.05)
    await response.write(data[14_000:])
    return response


async def test_an_answer_is_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many pieces it comes in; one that has no end is not."""
    app = web.Application()
    app.router.add_get("/v1/map", _map_in_pieces)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, ADDRESS, nodes.PORT).start()
        async with NodeClient() as client:
            assert await client.map(Door(ADDRESS, "secret")) == MAP
            monkeypatch.setattr(nodes, "_LONGEST_ANSWER", 20_000)
            with pytest.raises(NodeError, match="too long"):
                await client.map(Door(ADDRESS, "secret"))
    finally:
        await runner.cleanup()
