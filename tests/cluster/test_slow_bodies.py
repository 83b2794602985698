"""Bodies that take longer to come than anybody waits for them: each is fetched once, and gets there."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from tests.cluster.test_repair import agree, forget, put, three

from moln_node.cluster import peers
from moln_node.cluster.errors import PeerError, StaleEpochError
from moln_node.cluster.messages import Ask, Install, SlotWrite
from moln_node.cluster.replica import LocalReplica
from moln_node.store.registers import Register
from moln_node.store.steps.replica import Outcome

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from pathlib import Path

    from moln_node.cluster.cluster import Cluster
    from moln_node.store.registers import Row

_DATA = b"body" * 500_000
_SECONDS = 60.0


class Tap:
    """What other owners read of bodies: nothing, until it is opened.

    Attributes:
        begun: how many times somebody began.
    """

    def __init__(self) -> None:
        self.begun = 0
        self.broken = False
        self._open = asyncio.Event()

    def open(self) -> None:
        """Let go on whoever reads."""
        self._open.set()

    async def wait(self) -> None:
        """Until it is open; a tap that is `broken` ends the reading there."""
        self.begun += 1
        await self._open.wait()
        if self.broken:
            raise PeerError("this copy broke off", sent=False)

    async def reached(self) -> None:
        """Wait until somebody reads."""
        async with asyncio.timeout(_SECONDS):
            while not self.begun:  # noqa: ASYNC110 (another task)
                await asyncio.sleep(0.01)


@asynccontextmanager
async def lacking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[list[Cluster], Register, Tap]]:
    """Three owners of a body, one of which has lost it; what it asks the others for comes through the tap."""
    async with three(tmp_path) as (clusters, where):
        register = Register(where.space, "k", where.bucket, where.incarnation)
        await put(clusters[0], "k", _DATA)
        await agree(clusters, register)
        await clusters[2].members.own.store.commit(lambda tx: forget(tx, b"k"))
        tap, body = Tap(), LocalReplica.body

        async def slow(
            self: LocalReplica, register: Register, row: Row, start: int, end: int
        ) -> AsyncGenerator[bytes, None]:
            await tap.wait()
            async for piece in body(self, register, row, start, end):
                yield piece

        with monkeypatch.context() as patch:
            patch.setattr(LocalReplica, "body", slow)
            try:
                yield clusters, register, tap
            finally:
                tap.open()


async def install_of(clusters: list[Cluster], register: Register) -> Install:
    """What brings the owner that lacks the body what another has."""
    row = (await clusters[0].members.own.state(Ask(register))).rows[0]
    return Install(register, (SlotWrite(row, source="node-0"),), clusters[2].members.own.generation)


async def test_a_body_that_nobody_waits_for_long_enough_gets_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repair ends without it, and the next one goes on with the same bytes."""
    async with lacking(tmp_path, monkeypatch) as (clusters, register, tap):
        monkeypatch.setattr(peers, "INSTALL_SECONDS", 0.2)
        for _ in range(3):
            assert not await clusters[0].repair.run(register)
        tap.open()
        async with asyncio.timeout(_SECONDS):
            while not await clusters[0].repair.run(register):
                pass
        await agree(clusters, register)
        assert tap.begun == 1


async def test_a_newer_map_does_not_wait_for_a_body(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is obeyed while bytes come, refuses what was asked by the older one, and then nothing is fetched again."""
    async with lacking(tmp_path, monkeypatch) as (clusters, register, tap):
        own = clusters[2].members.own
        message = await install_of(clusters, register)
        installing = asyncio.create_task(own.install(message, 1))
        await tap.reached()
        own.gate.epoch = 2
        assert own.gate.obeyed == 2
        tap.open()
        with pytest.raises(StaleEpochError):
            await installing
        assert not (await own.state(Ask(register))).rows
        with pytest.raises(StaleEpochError):
            await own.install(message, 1)
        assert (await own.install(message, 2)).outcome == Outcome.DONE
        own.gate.epoch = 1
        await agree(clusters, register)
        assert tap.begun == 1


async def test_several_that_bring_the_same_body_bring_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have their answer when it is there, and its room is taken once."""
    async with lacking(tmp_path, monkeypatch) as (clusters, register, tap):
        own = clusters[2].members.own
        message = await install_of(clusters, register)
        both = [asyncio.create_task(own.install(message, 1)) for _ in range(2)]
        await tap.reached()
        tap.open()
        assert [vote.outcome for vote in await asyncio.gather(*both)] == [Outcome.DONE] * 2
        assert tap.begun == 1
        assert not own._staged
        await own.store.collect()
        assert sum(path.is_file() for path in (tmp_path / "node-2" / "bodies").rglob("*")) == 1


async def test_a_body_that_breaks_off_is_fetched_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All who wait are told, its room is free again, and the next try begins another one."""
    async with lacking(tmp_path, monkeypatch) as (clusters, register, tap):
        own = clusters[2].members.own
        message = await install_of(clusters, register)
        before = own.store.ledger._total_in_flight
        tap.broken = True
        both = [asyncio.create_task(own.install(message, 1)) for _ in range(2)]
        await tap.reached()
        tap.open()
        for told in await asyncio.gather(*both, return_exceptions=True):
            assert isinstance(told, PeerError)
        assert own.store.ledger._total_in_flight == before
        tap.broken = False
        assert (await own.install(message, 1)).outcome == Outcome.DONE
        assert tap.begun == 2


async def test_a_node_that_ends_breaks_off_what_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing it does not wait for a body that nobody sends, and leaves nothing of it."""
    async with lacking(tmp_path, monkeypatch) as (clusters, register, tap):
        own = clusters[2].members.own
        installing = asyncio.create_task(own.install(await install_of(clusters, register), 1))
        await tap.reached()
        async with asyncio.timeout(_SECONDS):
            await own.close()
            with pytest.raises(asyncio.CancelledError):
                await installing
        assert not own._staged
