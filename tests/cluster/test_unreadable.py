"""Rows of one node's index that can't be read: told, in nobody's way, and restored from the other owners."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest
from tests.cluster.in_process import running
from tests.cluster.test_repair import LIKE, agree, put, three

from moln_node.cluster import comparing, restoring
from moln_node.cluster.errors import UnavailableError
from moln_node.cluster.messages import Ask
from moln_node.cluster.registers import OPERATION_SECONDS
from moln_node.store.errors import CorruptError
from moln_node.store.model import Bucket
from moln_node.store.registers import Register, Space

if TYPE_CHECKING:
    from pathlib import Path

    from moln_node.cluster.cluster import Cluster

_SECONDS = 30.0


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """No operation takes long here, so what is met may be restored at once."""
    monkeypatch.setattr(restoring, "_OVER_SECONDS", 0.1)
    monkeypatch.setattr(restoring, "_RETRY_SECONDS", 0.1)
    monkeypatch.setattr(restoring, "_POLL_SECONDS", 0.05)


async def change(cluster: Cluster, sql: str) -> None:
    """Change the rows of `k` on a node's disk behind its back."""
    await cluster.members.own.store.commit(
        lambda tx: tx.db.execute(f"{sql} WHERE bucket > 0 AND key = CAST('k' AS BLOB)").fetchall()
    )


async def damage(cluster: Cluster) -> None:
    """Let the rows of `k` be such that their checksum is wrong."""
    await change(
        cluster, "UPDATE record SET document = CAST(substr(document, 1, length(document) - 1) || x'00' AS BLOB)"
    )


async def documents(cluster: Cluster) -> list[bytes]:
    """The rows of `k` as they are on the disk."""
    sql = "SELECT document FROM record WHERE bucket > 0 AND key = CAST('k' AS BLOB)"
    return await cluster.members.own.store.look(lambda db: [row[0] for row in db.execute(sql)])


async def whole(cluster: Cluster) -> None:
    """Wait until a node has nothing that it can't read."""
    async with asyncio.timeout(_SECONDS):
        while cluster.restoring.left:  # noqa: ASYNC110 (nobody tells)
            await asyncio.sleep(0.05)


async def keys(cluster: Cluster) -> list[str]:
    """What a pass, and shedding, walk over."""
    return [one.key async for page in comparing.held(cluster.members.own) for one in page]


async def test_a_row_that_cannot_be_read_is_told_and_in_nobodys_way(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Walks go on past it, without ever taking it for what the others hold; its node does not answer for it."""
    async with three(tmp_path) as (clusters, room):
        one, other, _ = clusters
        register = Register(Space.OBJECTS, "k", room.bucket, room.incarnation)
        for key in ("a", "k", "z"):
            await put(one, key, b"x" * 10)
        await agree(clusters, register)
        await damage(one)
        bad = await documents(one)
        with caplog.at_level(logging.ERROR):
            assert await keys(one) == ["a", "k", "z", "room"]
        assert "'room/k' can't be read in this node's index" in caplog.text
        assert (one.restoring.left, one.repair.found) == (1, 1)
        await one.sweep.sweep()
        assert await other.sweep.sweep() >= 1
        mine = await comparing.fingerprints(one.members.now, one.members.me, [register])
        assert mine != await comparing.fingerprints(one.members.now, one.members.me, [register])
        assert await one.shedding._shed_these(one.members.now, mine, bring=True) == 1
        assert not await other.repair.run(register)
        with pytest.raises(CorruptError):  # what is to be read back is not called good without it
            assert [page async for page in comparing.versions(one.members.own)] == []
        with pytest.raises(CorruptError):
            await one.members.own.ask(Ask(register), 1)
        assert (await one.objects.head("room", "k")).size == 10
        assert (one.restoring.left, one.repair.found) == (1, 1)
        assert await documents(one) == bad
    assert restoring._OVER_SECONDS == 2 * OPERATION_SECONDS


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("size", [10, 300_000])
async def test_a_row_that_cannot_be_read_is_restored_from_the_other_owners(tmp_path: Path, size: int) -> None:
    """Row and bytes, once it is met; and what is put meanwhile is there too."""
    async with three(tmp_path) as (clusters, room):
        one, other, _ = clusters
        register = Register(Space.OBJECTS, "k", room.bucket, room.incarnation)
        await put(one, "k", b"x" * size)
        await agree(clusters, register)
        await damage(one)
        await put(other, "k", b"y" * size)
        assert await keys(one) == ["k", "room"]
        await whole(one)
        await agree(clusters, register)
        assert (one.repair.found, one.repair.healed, one.damage) == (1, 1, 0)
        (row,) = (await one.members.own.state(Ask(register))).rows
        body = one.members.own.body(register, row, 0, size)
        assert b"".join([piece async for piece in body]) == b"y" * size
        await one.objects.delete("room", "k")
        await agree(clusters, register)


@pytest.mark.usefixtures("soon")
async def test_what_it_acknowledged_with_one_other_owner_is_not_forgotten(tmp_path: Path) -> None:
    """The third owner never heard of it: that one other has it is enough, and then all have it."""
    async with three(tmp_path) as (clusters, room):
        one, _, third = clusters
        register = Register(Space.OBJECTS, "k", room.bucket, room.incarnation)
        await put(one, "k", b"acknowledged")
        await agree(clusters, register)
        await change(third, "DELETE FROM record")
        await damage(one)
        assert await keys(one) == ["k", "room"]
        await whole(one)
        await agree(clusters, register)
        assert (await one.objects.head("room", "k")).size == len(b"acknowledged")
        assert all([len(await documents(cluster)) == 1 for cluster in clusters])


@pytest.mark.usefixtures("soon")
async def test_what_it_accepted_once_it_does_not_outvote(tmp_path: Path) -> None:
    """A ballot from before its row was lost is refused, though the others hold nothing newer."""
    async with three(tmp_path) as (clusters, room):
        one = clusters[0]
        register = Register(Space.OBJECTS, "k", room.bucket, room.incarnation)
        await put(one, "k", b"x")
        await agree(clusters, register)
        accepted = (await one.members.own.state(Ask(register))).accepted
        await damage(one)
        for cluster in clusters[1:]:
            await change(cluster, "DELETE FROM record")  # nobody but this owner ever had it: it was not acknowledged
        await keys(one)
        await whole(one)
        state = await one.members.own.state(Ask(register))
        assert state.rows == ()
        assert state.ballot >= accepted > b""


@pytest.mark.usefixtures("soon")
async def test_it_is_not_restored_from_less_than_a_majority_of_others(tmp_path: Path) -> None:
    """One of two owners: that the other has nothing says nothing of what was acknowledged. It stays."""
    async with running(tmp_path, 2, LIKE) as (one, other):
        await one.objects.create_bucket(Bucket("room", "me", 1))
        incarnation = (await one.objects.known("room")).incarnation
        await put(one, "k", b"x")
        await damage(one)
        await change(other, "DELETE FROM record")
        bad = await documents(one)
        await keys(one)
        await asyncio.sleep(1)
        with pytest.raises(UnavailableError):
            await one.repair.restore(Register(Space.OBJECTS, "k", "room", incarnation))
        assert one.damage == 1
        assert await documents(one) == bad
