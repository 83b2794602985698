"""What a peer may answer, and what its caller makes of it: a PeerError, which everybody expects."""

from __future__ import annotations

import asyncio
import json

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from moln_node.cluster.errors import PeerError
from moln_node.cluster.fan import is_undone
from moln_node.cluster.messages import ReportAsk
from moln_node.cluster.peers import RemoteReplica, Session
from moln_node.cluster.routes import _guarded
from moln_node.store.errors import CorruptError, DiskFailedError
from moln_spec.cloudmap import CloudMap, MapNode

MAP = CloudMap(cloud="c", uid="u", epoch=1, nodes=(MapNode(name="n", number=0, address="x:1", pool="p"),))


async def _nonsense(_: web.Request) -> web.Response:
    return web.Response(body=b"\xc1 no message")


async def _newer(_: web.Request) -> web.Response:
    return web.json_response({"error": "another epoch", "epoch": 2}, status=409)


async def _map_to_come(_: web.Request) -> web.Response:
    return web.json_response({"epoch": 2, "what is this": True})


@pytest.mark.parametrize(
    ("handler", "why"),
    [(_nonsense, "does not understand"), (_newer, "obeys a map that this release does not understand")],
)
async def test_what_is_not_understood_is_the_peers_error(handler: object, why: str) -> None:
    """An answer, or a newer map, of a release that is yet to come."""
    app = web.Application()
    app.router.add_post("/v1/replica/report", handler)  # type: ignore[arg-type]
    app.router.add_get("/v1/map", _map_to_come)
    runner = web.AppRunner(app)
    await runner.setup()
    session = Session(lambda: "secret")
    session.take_map = lambda _: asyncio.sleep(0)
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        with pytest.raises(PeerError, match=why):
            await RemoteReplica(session, "n", f"{host}:{port}", MAP).report(ReportAsk())
    finally:
        await session.close()
        await runner.cleanup()


@pytest.mark.parametrize(
    ("failure", "undone"),
    [
        (PeerError("no answer"), False),
        (PeerError("not asked", sent=False), True),
        (CorruptError("a bad row"), True),
        (DiskFailedError("the commit was refused"), False),
        (TimeoutError(), False),
    ],
    ids=repr,
)
async def test_what_a_failing_disk_may_have_kept_is_not_taken_for_undone(failure: Exception, undone: object) -> None:
    """Neither by a coordinator beside it, nor by one that hears of it: it is not begun anew."""
    assert is_undone(failure) is undone
    if isinstance(failure, TimeoutError):
        return

    async def fails(_: web.Request) -> web.StreamResponse:
        raise failure

    answer = await _guarded(fails)(make_mocked_request("POST", "/"))
    assert isinstance(answer, web.Response)
    assert (answer.status, json.loads(answer.text or "")["undone"]) == (503, undone)
