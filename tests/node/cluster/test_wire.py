"""What changes between two nodes is noticed: nothing of it is taken, passed on or believed."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
import msgspec
import pytest
from aiohttp import web
from tests.cluster.links import Link

from moln_node.cluster.errors import PeerError
from moln_node.cluster.messages import Ask
from moln_node.cluster.peers import RemoteReplica, Session
from moln_node.cluster.routes import add_routes
from moln_node.store.documents import RecordDocument
from moln_node.store.registers import KeyState, Register, Row, Space
from moln_spec.cloudmap import CloudMap, MapNode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

REGISTER = Register(Space.OBJECTS, "key" * 100, "bucket", b"1")
ROW = Row(b"version", b"ballot", RecordDocument(0, 0, 0, "", "", "", {}, {}, {}, "", None, ()))
SIZES = [0, 1, 256 * 1024 - 1, 256 * 1024, 256 * 1024 + 1, 3_000_000]


class Owner:
    """Answers what it is asked, and remembers it."""

    def __init__(self, body: bytes) -> None:
        self.bytes = body
        self.asked: list[object] = []

    async def ask(self, message: Ask, _epoch: int) -> KeyState:
        """A state that names what was asked."""
        self.asked.append(message)
        return KeyState(accepted=b"what the owner says" * 10)

    async def body(self, _register: Register, _row: Row, start: int, end: int) -> AsyncIterator[bytes]:
        """Blocks that are no whole number of frames."""
        for at in range(start, end, 100_000):
            yield self.bytes[at : min(at + 100_000, end)]

    def __getattr__(self, _name: str) -> object:
        return None  # what is not asked here


@asynccontextmanager
async def serving(app: web.Application) -> AsyncIterator[tuple[Link, RemoteReplica]]:
    """A node that answers so, behind a link."""
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    link = Link(lambda: f"{host}:{port}")
    await link.start()
    node = MapNode(name="n", number=0, address=link.address, pool="p")
    session = Session(lambda: "secret")
    try:
        yield link, RemoteReplica(session, "n", link.address, CloudMap(cloud="c", uid="u", epoch=3, nodes=(node,)))
    finally:
        await session.close()
        await link.close()
        await runner.cleanup()


def linked(owner: Owner) -> AbstractAsyncContextManager[tuple[Link, RemoteReplica]]:
    """An owner behind a link."""
    app = web.Application()
    add_routes(app, owner)  # type: ignore[arg-type]
    return serving(app)


def flip(link: Link, part: bytes) -> None:
    """Have a link change one bit in the last byte of that part of what it carries."""

    def change(data: bytes) -> bytes:
        return data.replace(part, part[:-1] + bytes([part[-1] ^ 1]))

    link.change = change


@pytest.mark.parametrize("size", SIZES)
async def test_a_body_arrives_as_it_was_sent(size: int) -> None:
    """Of any length, and from any byte on."""
    owner = Owner(random.Random(size).randbytes(size))
    async with linked(owner) as (_, replica):
        for start in {0, size // 3, size}:
            assert b"".join([piece async for piece in replica.body(REGISTER, ROW, start, size)]) == owner.bytes[start:]


@pytest.mark.parametrize("after", [0, 300_000, 2_900_000])
async def test_no_byte_is_passed_on_that_was_changed(after: int, caplog: pytest.LogCaptureFixture) -> None:
    """What came before it may be used; at it there is an error, and a person is told."""
    owner = Owner(random.Random(after).randbytes(3_000_000))
    passed, got = 0, bytearray()

    def change(data: bytes) -> bytes:
        nonlocal passed
        if len(data) < 10_000:
            return data  # a message
        before, passed = passed, passed + len(data)
        return data[:-1] + bytes([data[-1] ^ 8]) if before <= after < passed else data

    async with linked(owner) as (link, replica):

        async def read() -> None:
            async for piece in replica.body(REGISTER, ROW, 0, len(owner.bytes)):
                got.extend(piece)

        assert (await replica.ask(Ask(REGISTER))).accepted  # the connection is there
        link.change = change
        with pytest.raises(PeerError, match="n was changed on the way"):
            await read()
    assert len(got) < len(owner.bytes)
    assert owner.bytes.startswith(got)
    assert "look at memory and network" in caplog.text


@pytest.mark.parametrize("part", [b"keykeykey", b"Moln-Epoch: 3"])
async def test_nothing_is_done_that_was_not_asked_for(part: bytes) -> None:
    """Of a message that was changed, or whose epoch was, nobody is asked; its sender knows that it is undone."""
    owner = Owner(b"")
    async with linked(owner) as (link, replica):
        assert (await replica.ask(Ask(REGISTER))).accepted
        flip(link, part)
        owner.asked.clear()
        with pytest.raises(PeerError) as caught:
            await replica.ask(Ask(REGISTER))
    assert not caught.value.sent
    assert not owner.asked


async def test_no_answer_is_believed_that_was_changed() -> None:
    """Whether it was done nobody knows then."""
    owner = Owner(b"")
    async with linked(owner) as (link, replica):
        flip(link, b"what the owner says")
        with pytest.raises(PeerError, match="changed on the way") as caught:
            await replica.ask(Ask(REGISTER))
    assert caught.value.sent
    assert owner.asked


async def test_two_releases_run_together() -> None:
    """Of which one knows neither digests nor frames: it is answered, and its answers are read, as before."""
    owner = Owner(random.Random(1).randbytes(1_000_000))
    async with linked(owner) as (link, _), aiohttp.ClientSession() as http:
        data = msgspec.msgpack.encode((REGISTER, ROW, 5, 900_000))
        async with http.post(f"http://{link.address}/v1/replica/body", data=data) as answer:
            assert await answer.read() == owner.bytes[5:900_000]

    async def older(_: web.Request) -> web.Response:
        return web.Response(body=owner.bytes)

    app = web.Application()
    app.router.add_post("/v1/replica/body", older)
    async with serving(app) as (_, replica):
        assert b"".join([piece async for piece in replica.body(REGISTER, ROW, 0, 1_000_000)]) == owner.bytes
