"""Three nodes on their way from plain HTTP to TLS and back, while a client writes: nobody is refused."""

from __future__ import annotations

import asyncio
from itertools import cycle
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web
from tests.certificates import Authority
from tests.cluster.client import Client
from tests.cluster.nodes import SECRET, Cloud

from moln_node.cluster.errors import PeerError
from moln_node.cluster.messages import Ask
from moln_node.cluster.peers import RemoteReplica, Session
from moln_node.peertls import PeerTls
from moln_node.store.registers import Register, Space
from moln_spec.cloudmap import CloudMap, MapNode

if TYPE_CHECKING:
    from pathlib import Path

    from moln_spec.peertls import Mode

pytestmark = pytest.mark.processes

NAMES = ("n0", "n1", "n2")
FIRST, SECOND = Authority(), Authority()
BOTH = (FIRST, SECOND)


class Peers:
    """The files of three nodes, and how the nodes are asked for what they have read."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.shown = FIRST

    def environment(self, name: str) -> dict[str, str]:
        """What tells a node where its files are."""
        return {"MOLN_PEER_TLS": str(self.folder / name)}

    def write(self, name: str, mode: Mode, trusted: tuple[Authority, ...], signed_by: Authority) -> None:
        """Give a node files."""
        signed_by.write(self.folder / name, mode, *trusted)

    async def said(self, cloud: Cloud, name: str) -> str:
        """What a node tells of its files, asked by TLS, which it answers in every mode."""
        context = self.shown.client(self.folder, self.shown.issue())
        context.load_verify_locations(cadata="".join(authority.certificate for authority in BOTH))
        headers = {"Authorization": f"Bearer {SECRET}"}
        url = f"https://{cloud.nodes[name].peer}/v1/status"
        async with aiohttp.ClientSession(headers=headers) as http, http.get(url, ssl=context) as answer:
            return str((await answer.json())["peerTls"])

    async def step(self, cloud: Cloud, mode: Mode, trusted: tuple[Authority, ...], signed_by: Authority) -> None:
        """Give one node after the other new files, and wait until each says that it has read them."""
        for name in NAMES:
            before = await self.said(cloud, name)
            self.write(name, mode, trusted, signed_by)
            async with asyncio.timeout(20):
                while await self.said(cloud, name) == before:  # noqa: ASYNC110 (asked as the operator asks)
                    await asyncio.sleep(0.1)


class Writer:
    """A client at work: it writes by one node after the other, and reads that by the next."""

    def __init__(self, cloud: Cloud, client: Client) -> None:
        self._nodes = cycle(cloud.nodes.values())
        self._client = client
        self.done = 0
        self.bad: list[tuple[int, int]] = []

    async def turn(self) -> None:
        """One object, written and read."""
        body = b"%d" % (self.done % 10) * 20_000
        put = await self._client.call(next(self._nodes), "PUT", f"/tls/k{self.done % 7}", body)
        got = await self._client.call(next(self._nodes), "GET", f"/tls/k{self.done % 7}")
        if (put.status, got.status, got.body) != (200, 200, body):
            self.bad.append((put.status, got.status))
        self.done += 1

    async def run(self) -> None:
        """Go on until cancelled."""
        while True:
            await self.turn()


async def test_nobody_is_refused_on_the_way(tmp_path: Path) -> None:
    """Node by node from HTTP to TLS, to another authority, and back; a node without files is there at the start."""
    peers = Peers(tmp_path / "peers")
    for name in NAMES:
        peers.write(name, "accept", (FIRST,), FIRST)
    async with (
        Cloud(tmp_path, 3, {name: peers.environment(name) for name in NAMES[:2]}) as cloud,
        Client() as client,
    ):
        assert (await client.call(cloud.nodes["n0"], "PUT", "/tls")).status == 200
        writer = Writer(cloud, client)
        for _ in range(6):
            await writer.turn()
        await cloud.nodes["n2"].stop()
        cloud.nodes["n2"].environment = peers.environment("n2")
        await cloud.nodes["n2"].start()
        working = asyncio.create_task(writer.run())
        try:
            await peers.step(cloud, "send", (FIRST,), FIRST)
            await peers.step(cloud, "require", (FIRST,), FIRST)
            await peers.step(cloud, "require", BOTH, FIRST)
            await peers.step(cloud, "require", BOTH, SECOND)
            peers.shown = SECOND
            await peers.step(cloud, "require", (SECOND,), SECOND)
            await peers.step(cloud, "send", (SECOND,), SECOND)
            await peers.step(cloud, "accept", (SECOND,), SECOND)
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
        assert not writer.bad
        assert writer.done > 50


async def test_a_node_with_a_foreign_certificate_reaches_nobody(tmp_path: Path) -> None:
    """It knows the secret, and the name of the authority; the others go on without it, and its log says why."""
    peers = Peers(tmp_path / "peers")
    for name in NAMES:
        peers.write(name, "send", (FIRST,), FIRST)
    async with Cloud(tmp_path, 3, {name: peers.environment(name) for name in NAMES}) as cloud, Client() as client:
        assert (await client.call(cloud.nodes["n0"], "PUT", "/tls")).status == 200
        peers.write("n2", "require", (FIRST,), SECOND)
        async with asyncio.timeout(20):
            while (await client.call(cloud.nodes["n2"], "PUT", "/tls/by-n2", b"x")).status == 200:  # noqa: ASYNC110 (files are read again in seconds)
                await asyncio.sleep(0.1)
        for name in NAMES[:2]:
            assert (await client.call(cloud.nodes[name], "PUT", f"/tls/by-{name}", b"x")).status == 200
            assert "certificate verify failed" in cloud.nodes[name].log()


@pytest.mark.parametrize(
    ("pair", "why"),
    [
        (FIRST.issue(hours=-1), "certificate has expired"),
        (SECOND.issue(), "unable to get local issuer certificate"),
        (FIRST.issue(address="10.0.0.1"), "IP address mismatch"),
    ],
    ids=["it has ended", "it is foreign", "it is of another name"],
)
async def test_a_peer_is_asked_only_if_its_certificate_is_good(tmp_path: Path, pair: tuple[str, str], why: str) -> None:
    """Nothing is sent to it, the secret least of all, and the error says what is wrong with it."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response()

    runner = web.ServerRunner(web.Server(answer))  # type: ignore[arg-type]  # it takes any request
    await runner.setup()
    FIRST.write(tmp_path / "theirs", "require", pair=pair)
    FIRST.write(tmp_path / "ours", "require")
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=PeerTls(tmp_path / "theirs").now.server).start()
    address = f"127.0.0.1:{runner.addresses[0][1]}"
    cloud_map = CloudMap(
        cloud="c", uid="u", epoch=1, nodes=(MapNode(name="n0", number=0, address=address, pool="p"),), next_number=1
    )
    session = Session(lambda: "a secret", PeerTls(tmp_path / "ours"))
    try:
        with pytest.raises(PeerError, match=why) as found:
            await RemoteReplica(session, "n0", address, cloud_map).ask(Ask(Register(Space.OBJECTS, "k", "b")))
        assert not found.value.sent
        assert not asked
    finally:
        await session.close()
        await runner.cleanup()
