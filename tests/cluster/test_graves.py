"""Tombstones are dropped once nothing can bring back what they bury; before and after that, deleted stays deleted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.cluster.test_repair import agree, forget, put, three

from moln_node.cluster import registers as coordinator
from moln_node.cluster import repair
from moln_node.cluster.errors import UnavailableError
from moln_node.cluster.messages import Accept, Ask, Install, Prepare, ReportAsk, SlotWrite
from moln_node.store import disks
from moln_node.store.errors import NoSuchKeyError
from moln_node.store.model import Precondition
from moln_node.store.registers import Register, Row
from moln_node.store.steps.replica import Outcome

if TYPE_CHECKING:
    from pathlib import Path

    from moln_node.cluster.cluster import Cluster


async def deleted(clusters: list[Cluster], where: Register, key: str) -> tuple[Register, Row]:
    """A key that was written, and deleted at all owners; its register, and the row that was there."""
    register = Register(where.space, key, where.bucket, where.incarnation)
    await put(clusters[0], key, b"of old")
    await agree(clusters, register)
    (row,) = (await clusters[0].members.own.state(Ask(register))).rows
    await clusters[0].objects.delete("room", key)
    await agree(clusters, register)
    return register, row


async def calm(clusters: list[Cluster]) -> None:
    """Wait until every node knows that it holds nothing of others."""
    async with asyncio.timeout(30):
        while any(cluster.shedding.strays != 0 for cluster in clusters):  # noqa: ASYNC110 (other tasks)
            await asyncio.sleep(0.02)


async def collect(clusters: list[Cluster], lag: float = 0.0) -> int:
    """Every node goes through what it has, twice: once to confirm, once to drop."""
    await calm(clusters)
    return sum([await cluster.graves.collect(lag) for _ in range(2) for cluster in clusters])


async def rows(cluster: Cluster, register: Register) -> tuple[Row, ...]:
    """What one node has of a register."""
    return (await cluster.members.own.state(Ask(register, None, 100))).rows


async def test_what_is_left_of_deleted_keys_goes(tmp_path: Path) -> None:
    """From all owners; what lives stays; and a key that was deleted can be written again, also under a condition."""
    async with three(tmp_path) as (clusters, where):
        graves = [(await deleted(clusters, where, f"k{number}"))[0] for number in range(20)]
        await put(clusters[1], "alive", b"here")
        assert await collect(clusters) == 20
        for register in graves:
            assert [await rows(cluster, register) for cluster in clusters] == [(), (), ()]
        for cluster in clusters:
            with pytest.raises(NoSuchKeyError):
                await cluster.objects.head("room", "k3")
            assert (await cluster.objects.head("room", "alive")).size == 4
        await put(clusters[2], "k3", b"anew")
        assert (await clusters[0].objects.head("room", "k3")).size == 4
        await clusters[1].objects.delete("room", "k3", precondition=Precondition(if_match="*"))
        with pytest.raises(NoSuchKeyError):
            await clusters[0].objects.head("room", "k3")


async def test_nothing_goes_before_its_time(tmp_path: Path) -> None:
    """All owners must have held it for a while: messages of before are over by then."""
    async with three(tmp_path) as (clusters, where):
        register, _ = await deleted(clusters, where, "k")
        assert await collect(clusters, lag=1000.0) == 0
        assert len(await rows(clusters[0], register)) == 1


async def test_a_tombstone_stays_while_an_owner_lacks_it(tmp_path: Path) -> None:
    """An owner that was away may hold what was deleted."""
    async with three(tmp_path) as (clusters, where):
        register, old = await deleted(clusters, where, "k")
        away = clusters[1]
        await away.members.own.store.commit(lambda tx: forget(tx, b"k"))
        install = Install(register, (SlotWrite(old, inline=b"of old"),), away.members.own.generation)
        assert (await away.members.now.own.install(install)).outcome == Outcome.DONE
        assert await collect(clusters) == 0
        assert [row.live for cluster in clusters for row in await rows(cluster, register)] == [False, True, False]
        await clusters[0].repair.run(register)
        assert await collect(clusters) == 1


@pytest.mark.parametrize("strays", [1, None])
async def test_a_tombstone_stays_while_a_node_may_hold_what_others_own(tmp_path: Path, strays: int | None) -> None:
    """It could bring the owners what they have forgotten to be deleted."""
    async with three(tmp_path) as (clusters, where):
        await deleted(clusters, where, "k")
        await calm(clusters)

        async def told() -> int | None:
            return strays

        clusters[2].members.own.strays = told
        assert await collect(clusters) == 0


async def test_a_late_write_brings_nothing_back(tmp_path: Path) -> None:
    """A message from before the deletion comes after all, also to a node that has been started anew meanwhile."""
    async with three(tmp_path) as (clusters, where):
        register, old = await deleted(clusters, where, "k")
        assert await collect(clusters) == 1
        own = clusters[0].members.own
        assert (await own.store.commit(disks.own)).collected == own.collected > old.ballot
        late = Accept(register, old.ballot, (SlotWrite(old, inline=b"of old"),))
        assert (await clusters[0].members.now.own.accept(late)).outcome == Outcome.OLD
        assert (await clusters[0].members.now.own.prepare(Prepare(register, old.ballot))).outcome == Outcome.OLD
        own.collected = b""
        await clusters[0].joining.begin()
        assert (await clusters[0].members.now.own.accept(late)).outcome == Outcome.OLD
        assert await rows(clusters[0], register) == ()


async def test_a_late_repair_brings_nothing_back(tmp_path: Path) -> None:
    """Who has not heard that graves were dropped here can't install what is older than these; who has heard, can."""
    async with three(tmp_path) as (clusters, where):
        generation = (await clusters[0].members.now.own.report(ReportAsk())).generation
        register, old = await deleted(clusters, where, "k")
        assert await collect(clusters) == 1
        own = clusters[0].members.now.own
        late = Install(register, (SlotWrite(old, inline=b"of old"),), generation)
        assert (await own.install(late)).outcome == Outcome.OLD
        assert await rows(clusters[0], register) == ()
        known = Install(register, late.writes, (await own.report(ReportAsk())).generation)
        assert (await own.install(known)).outcome == Outcome.DONE


async def test_an_empty_disk_takes_nothing_from_who_knew_the_one_before(tmp_path: Path) -> None:
    """It does not know what the disk before it had dropped."""
    async with three(tmp_path) as (clusters, where):
        register, old = await deleted(clusters, where, "k")
        assert await collect(clusters) == 1
        own = clusters[0].members.own
        late = Install(register, (SlotWrite(old, inline=b"of old"),), own.generation)
        own.collected, own.voting = b"", False
        own.generation += 1
        assert (await clusters[0].members.now.own.install(late)).outcome == Outcome.OLD


async def test_who_slept_while_it_asked_decides_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one owner said before, and another one after its graves were dropped, don't belong together."""
    async with three(tmp_path) as (clusters, where):
        register, _ = await deleted(clusters, where, "k")
        moments = iter(range(0, 100_000, 61))
        monkeypatch.setattr(repair, "elapsed_clock", lambda: next(moments))
        assert not await clusters[0].repair.run(register)
        monkeypatch.undo()
        assert await clusters[0].repair.run(register)
        monkeypatch.setattr(coordinator, "elapsed_clock", lambda: next(moments))
        with pytest.raises(UnavailableError):
            await clusters[0].objects.delete("room", "k", precondition=Precondition(if_match="*"))


async def test_repair_goes_on_after_graves_were_dropped(tmp_path: Path) -> None:
    """What an owner lost that is older than the newest grave is brought to it all the same."""
    async with three(tmp_path) as (clusters, where):
        await put(clusters[0], "kept", b"kept")
        kept = Register(where.space, "kept", where.bucket, where.incarnation)
        await agree(clusters, kept)
        assert await clusters[0].repair.run(kept)
        await deleted(clusters, where, "k")
        assert await collect(clusters) == 1
        await clusters[1].members.own.store.commit(lambda tx: forget(tx, b"kept"))
        outcomes = [await clusters[0].repair.run(kept) for _ in range(2)]
        assert outcomes == [False, True]
        assert len(await rows(clusters[1], kept)) == 1
