"""Repair: what one owner lacks or has too much of is put right from the others, and deleted stays deleted."""

from __future__ import annotations

import asyncio
import hashlib
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, NoReturn

import pytest
from tests.cluster.in_process import running
from tests.node.store.test_corruption import flip

from moln_node.cluster import maintenance
from moln_node.cluster.errors import PeerError
from moln_node.cluster.messages import Ask
from moln_node.cluster.silence import Silence
from moln_node.cluster.stretches import Stretches
from moln_node.peer.tasks import Progress
from moln_node.store import lookup
from moln_node.store.errors import StorageFullError, StoreError
from moln_node.store.model import Attributes, Bucket, Sealed
from moln_node.store.registers import Register, Space
from moln_spec.cloudmap import CloudMap, MapNode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from moln_node.cluster.cluster import Cluster
    from moln_node.store.model import Record
    from moln_node.store.scan import Page
    from moln_node.store.transaction import Transaction

LIKE = CloudMap(cloud="test", uid="test", epoch=1, nodes=(MapNode(name="n", number=0, address="x:1", pool="test"),))
_SECONDS = 60.0


async def put(cluster: Cluster, key: str, data: bytes) -> Record:
    """Put an object through a node."""

    async def body() -> AsyncIterator[bytes]:
        yield data

    async def seal() -> Sealed:
        return Sealed(hashlib.md5(data, usedforsecurity=False).hexdigest())

    return await cluster.objects.put("room", key, Attributes("me"), body(), size=len(data), seal=seal)


@asynccontextmanager
async def three(tmp_path: Path) -> AsyncIterator[tuple[list[Cluster], Register]]:
    """Three nodes with a bucket, and a register in it whose key is yet to be chosen."""
    async with running(tmp_path, 3, LIKE) as clusters:
        await clusters[0].objects.create_bucket(Bucket("room", "me", 1))
        known = await clusters[0].objects.known("room")
        yield clusters, Register(Space.OBJECTS, "", "room", known.incarnation)


async def agree(clusters: list[Cluster], register: Register) -> None:
    """Wait until all owners hold the same of a register."""
    deadline = time.monotonic() + _SECONDS
    while True:
        states = [await cluster.members.own.state(Ask(register, None, 100)) for cluster in clusters]
        if all(state.rows == states[0].rows for state in states):
            return
        assert time.monotonic() < deadline, states
        await asyncio.sleep(0.02)


def forget(tx: Transaction, key: bytes) -> None:
    """Lose every row of a key, as a disk that was put back to an older state would."""
    number = tx.buckets["room"].id
    for version, document in list(lookup.rows(tx.db, number, key)):
        tx.remove(number, key, version, document)


async def test_the_sweep_brings_back_what_one_owner_lost(tmp_path: Path) -> None:
    """Small and large bodies: after a sweep of another owner all hold the same, and the bytes are there."""
    async with three(tmp_path) as (clusters, where):
        for key, data in (("small", b"few"), ("large", b"many" * 50_000)):
            await put(clusters[0], key, data)
            register = Register(where.space, key, where.bucket, where.incarnation)
            await agree(clusters, register)
            store = clusters[2].members.own.store
            await store.commit(lambda tx, key=key: forget(tx, key.encode()))  # type: ignore[misc]
            assert await clusters[0].sweep.sweep() >= 1
            await agree(clusters, register)
            row = (await clusters[2].members.own.state(Ask(register))).rows[0]
            pieces = [piece async for piece in clusters[2].members.own.body(register, row, 0, len(data))]
            assert b"".join(pieces) == data
        assert await clusters[0].sweep.sweep() == 0


async def test_what_was_deleted_is_not_brought_back(tmp_path: Path) -> None:
    """An owner that still has what the others deleted is told of the delete, and does not tell them of the object."""
    async with three(tmp_path) as (clusters, where):
        await put(clusters[0], "k", b"1")
        register = Register(where.space, "k", where.bucket, where.incarnation)
        await agree(clusters, register)
        own = clusters[2].members.own
        own.voting = False  # it misses the delete
        await clusters[0].objects.delete("room", "k")
        own.voting = True
        assert (await own.state(Ask(register))).rows[0].live
        await clusters[2].sweep.sweep()
        await agree(clusters, register)
        assert not (await own.state(Ask(register))).rows[0].live


async def test_a_missed_write_is_made_up_for_by_its_hint(tmp_path: Path) -> None:
    """No reader and no sweep needed: the coordinator remembers who missed what."""
    async with three(tmp_path) as (clusters, where):
        own = clusters[1].members.own
        own.voting = False
        await put(clusters[0], "k", b"body" * 40_000)
        own.voting = True
        await agree(clusters, Register(where.space, "k", where.bucket, where.incarnation))


async def test_who_does_not_answer_is_not_waited_for_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other owners get what they lack meanwhile, and it is no more than a try until it has all of it too."""
    now = 0.0
    silence = Silence(lambda: now)
    asked: list[str] = []
    really = Stretches._scan

    async def scan(along: Stretches, name: str) -> Page:
        asked.append(name)
        return await really(along, name)

    async with three(tmp_path) as (clusters, where):
        await put(clusters[0], "k", b"body")
        register = Register(where.space, "k", where.bucket, where.incarnation)
        await agree(clusters, register)
        monkeypatch.setattr(Stretches, "_scan", scan)
        own, away = clusters[1].members.own, clusters[2].members.own
        away.voting = False
        assert not await clusters[0].repair.run(register, silence=silence)
        assert asked.count(clusters[2].members.me) == 1
        await own.store.commit(lambda tx: forget(tx, b"k"))
        assert not await clusters[0].repair.run(register, silence=silence)
        assert (await own.state(Ask(register))).rows
        assert asked.count(clusters[2].members.me) == 1
        away.voting = True
        now += 1.0
        assert await clusters[0].repair.run(register, silence=silence)


async def test_a_damaged_copy_is_not_served_and_heals(tmp_path: Path) -> None:
    """One copy has a flipped bit: the reader gets the right bytes, and soon that copy is right again."""
    data = bytes(range(256)) * 4000
    async with three(tmp_path) as (clusters, where):
        await put(clusters[0], "k", data)
        register = Register(where.space, "k", where.bucket, where.incarnation)
        await agree(clusters, register)
        [path] = [path for path in (tmp_path / "node-1" / "bodies").rglob("*") if path.is_file()]
        flip(path, 500_000, 0)
        async with clusters[1].objects.open("room", "k") as reading:
            assert b"".join([piece async for piece in reading.read(0, len(data))]) == data
        own = clusters[1].members.own
        row = (await own.state(Ask(register))).rows[0]
        deadline = time.monotonic() + _SECONDS
        healed = b""
        while healed != data:
            assert time.monotonic() < deadline, "the damaged copy stays"
            await asyncio.sleep(0.02)
            with suppress(PeerError):
                healed = b"".join([piece async for piece in own.body(register, row, 0, len(data))])


async def test_what_is_good_nowhere_is_told(tmp_path: Path) -> None:
    """Every copy has a flipped bit: nobody gets these bytes, and a node says that it asked all others in vain."""
    data = bytes(range(256)) * 4000
    async with three(tmp_path) as (clusters, where):
        await put(clusters[0], "k", data)
        await agree(clusters, Register(where.space, "k", where.bucket, where.incarnation))
        paths = [path for name in ("node-0", "node-1", "node-2") for path in (tmp_path / name / "bodies").rglob("*")]
        for path in [path for path in paths if path.is_file()]:
            flip(path, 500_000, 0)
        assert [cluster.repair.damage for cluster in clusters] == [0, 0, 0]
        with pytest.raises(StoreError):
            async with clusters[1].objects.open("room", "k") as reading:
                assert not [piece async for piece in reading.read(0, len(data)) if piece != data[: len(piece)]]
        async with asyncio.timeout(_SECONDS):
            while clusters[1].repair.damage == 0:  # noqa: ASYNC110 (another task)
                await asyncio.sleep(0.02)


async def test_who_has_no_room_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An owner lacks a body and is full: a repair does not end well and says who has no room, until it has."""
    async with three(tmp_path) as (clusters, where):
        register = Register(where.space, "k", where.bucket, where.incarnation)
        await put(clusters[0], "k", b"body" * 40_000)
        await agree(clusters, register)
        full = clusters[2].members.own
        await full.store.commit(lambda tx: forget(tx, b"k"))
        with monkeypatch.context() as patch:
            patch.setattr(full._local, "reserve", _no_room)
            assert not await clusters[0].repair.run(register)
            assert clusters[0].repair.no_room == ("node-2",)
        assert await clusters[0].repair.run(register)
        await agree(clusters, register)


def _no_room(_size: int) -> NoReturn:
    raise StorageFullError("the volume has no room")


async def test_a_repair_tells_what_it_would_do_and_does_it(tmp_path: Path) -> None:
    """Of all nodes one tells of a key: who lacks how many versions and bytes."""
    async with three(tmp_path) as (clusters, where):
        register = Register(where.space, "k", where.bucket, where.incarnation)
        await put(clusters[0], "k", b"body" * 40_000)
        await agree(clusters, register)
        await clusters[2].members.own.store.commit(lambda tx: forget(tx, b"k"))
        told = [Progress() for _ in clusters]
        for cluster, progress in zip(clusters, told, strict=True):
            await maintenance.repair(cluster, progress, dry_run=True)
        assert [finding for progress in told for finding in progress.findings] == [
            "room/k: node-2 lacks 1 versions, 160000 bytes"
        ]
        assert sum(progress.counts["bytes"] for progress in told) == 160_000
        for cluster in clusters:
            await maintenance.repair(cluster, Progress(), dry_run=False)
        await agree(clusters, register)
        after = Progress()
        await maintenance.repair(clusters[0], after, dry_run=True)
        assert after.counts["differing"] == 0


async def test_a_scrub_heals_what_it_finds(tmp_path: Path) -> None:
    """Large bodies and small ones, from another owner; what nobody else has is told of, and left as it is."""
    async with three(tmp_path) as (clusters, where):
        large, small = b"many" * 50_000, b"few"
        for key, data in (("large", large), ("small", small), ("well", large)):
            await put(clusters[0], key, data)
            await agree(clusters, Register(where.space, key, where.bucket, where.incarnation))
        own = clusters[2].members.own
        number = own.store.buckets["room"].id
        _, document = await own.store.look(lambda db: lookup.newest(db, number, b"large"))  # type: ignore[misc]
        path = own.store.bodies.path(document.segments[0].id)
        spoil(path)
        _, document = await own.store.look(lambda db: lookup.newest(db, number, b"small"))  # type: ignore[misc]
        wrong = (b"not what was written", document.segments[0].id)
        await own.store.commit(lambda tx: tx.db.execute("UPDATE small SET content = ? WHERE id = ?", wrong) and None)
        for expected in ({"bad": 2, "healed": 2, "unhealed": 0}, {"bad": 0, "healed": 0, "unhealed": 0}):
            report = Progress()
            await maintenance.scrub(clusters[2], report, mode="deep")
            assert {name: report.counts[name] for name in expected} == expected, report.findings
        assert clusters[2].repair.healed == 2
        for cluster in clusters[:2]:
            cluster.members.own.voting = False
            register = Register(where.space, "well", where.bucket, where.incarnation)
            await cluster.members.own.store.commit(lambda tx: forget(tx, b"well"))
        _, document = await own.store.look(lambda db: lookup.newest(db, number, b"well"))  # type: ignore[misc]
        spoil(own.store.bodies.path(document.segments[0].id))
        report = Progress()
        await maintenance.scrub(clusters[2], report, mode="deep")
        assert (report.counts["bad"], report.counts["healed"], report.counts["unhealed"]) == (1, 0, 1)
        assert (await own.state(Ask(register))).rows[0].live


def spoil(path: Path) -> None:
    """Flip a bit in the midst of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
