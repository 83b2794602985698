"""Keys with more versions than one message carries: repaired, compared, shed and read like all others."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from msgspec import structs
from tests.cluster.in_process import running
from tests.cluster.test_repair import LIKE, agree, forget

from moln_node.cluster import comparing, moves, peers, repair, stretches
from moln_node.cluster.messages import Ask
from moln_node.cluster.peers import RemoteReplica
from moln_node.cluster.stretches import Stretches
from moln_node.store import registers
from moln_node.store.documents import Flag, RecordDocument
from moln_node.store.model import Bucket, Versioning
from moln_node.store.registers import Register, Row, Space, number
from moln_spec.version import Version

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path

    import apsw

    from moln_node.cluster.cluster import Cluster
    from moln_node.cluster.messages import Install, Scan
    from moln_node.store.scan import Page
    from moln_node.store.steps.replica import Vote
    from moln_node.store.transaction import Transaction

_EPOCH_MS = int(time.time() * 1000) - 10_000_000
_MANY = 10_050
_SECONDS = 60.0


async def register_of(cluster: Cluster) -> Register:
    """A register of a versioned bucket, which is made."""
    await cluster.objects.create_bucket(Bucket("room", "me", 1, Versioning.ENABLED))
    return Register(Space.OBJECTS, "k", "room", (await cluster.objects.known("room")).incarnation)


async def fill(cluster: Cluster, versions: Iterable[int], flags: int = 0) -> None:
    """Have empty versions, or their tombstones, on a node's disk."""
    document = RecordDocument(Flag(flags), _EPOCH_MS, 0, "e", "STANDARD", "me", {}, {}, {}, "", None, ())

    def step(tx: Transaction) -> None:
        held = number(Space.OBJECTS, tx.buckets["room"].id)
        for at in versions:
            tx.insert(held, b"k", Version((_EPOCH_MS + at) << 16, 0), document)

    await cluster.members.own.store.commit(step)


async def rows(cluster: Cluster) -> int:
    """How many rows of objects a node has."""
    sql = "SELECT count(*) FROM record WHERE bucket > 0"
    return int(await cluster.members.own.store.look(lambda db: db.execute(sql).get))


async def test_nothing_is_shed_that_its_owners_lack_the_oldest_of(tmp_path: Path) -> None:
    """The owner lacks the oldest of very many versions: not held, until repair has brought them."""
    async with running(tmp_path, 2, LIKE) as (one, other):
        register = await register_of(one)
        await fill(one, range(_MANY))
        await fill(other, range(50, _MANY))
        now = one.members.now
        assert not await one.repair.is_held(now, register)
        mine = await comparing.fingerprints(now, now.me, [register])
        assert await one.shedding._shed_these(now, mine, bring=False) == 1
        assert await rows(one) == _MANY
        assert await one.shedding._shed_these(now, mine, bring=True) == 1  # it owns them here: they were decided anew
        mine = await comparing.fingerprints(now, now.me, [register])
        assert await one.shedding._shed_these(now, mine, bring=True) == 0
        assert (await rows(one), await rows(other)) == (0, _MANY)


async def test_what_is_below_very_many_tombstones_is_found(tmp_path: Path) -> None:
    """All newer versions were deleted by their ids: the one that is left is read."""
    async with running(tmp_path, 2, LIKE) as (one, other):
        register = await register_of(one)
        for cluster in (one, other):
            await fill(cluster, range(1))
            await fill(cluster, range(1, _MANY), Flag.TOMBSTONE)
        state = await one.members.own.state(Ask(register))
        assert (len(state.rows), state.rows[-1].live) == (_MANY, True)
        newest = (await one.registers.look(register)).newest
        assert newest is not None
        assert newest.version == Version(_EPOCH_MS << 16, 0).to_bytes()


async def bring(cluster: Cluster, register: Register) -> None:
    """Repair a register, again where a hint's repair came in between."""
    async with asyncio.timeout(_SECONDS):
        while not await cluster.repair.run(register):
            pass


@asynccontextmanager
async def mixed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> AsyncIterator[tuple[list[Cluster], Register]]:
    """Three owners that hold versions and tombstones at random, the null version each at another place; short pages."""
    monkeypatch.setattr(stretches, "ROWS", 7)
    monkeypatch.setattr(repair, "_MOST_ROWS", 3)
    lot = random.Random(seed)
    async with running(tmp_path, 3, LIKE) as clusters:
        register = await register_of(clusters[0])
        for at in range(60):
            flags = lot.choice((0, 0, Flag.TOMBSTONE))
            for cluster in lot.sample(clusters, lot.choice((1, 2, 3))):
                await fill(cluster, [10 * at], flags)
        for cluster in clusters:
            await fill(cluster, [lot.choice((-100, 300, 800)) + 1 + cluster.members.now.number], Flag.NULL)
        yield clusters, register


@pytest.mark.parametrize("seed", range(4))
async def test_all_owners_get_all_of_a_register_stretch_by_stretch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """What any of them held all hold, of the null version one; no message is larger than it may be."""
    most = {"scan": 0, "install": 0}
    scan, install = RemoteReplica.scan, RemoteReplica.install

    async def scanned(self: RemoteReplica, message: Scan) -> Page:
        page = await scan(self, message)
        most["scan"] = max(most["scan"], len(page.entries))
        return page

    async def installed(self: RemoteReplica, message: Install) -> Vote:
        most["install"] = max(most["install"], len(message.writes))
        return await install(self, message)

    monkeypatch.setattr(RemoteReplica, "scan", scanned)
    monkeypatch.setattr(RemoteReplica, "install", installed)
    async with mixed(tmp_path, monkeypatch, seed) as (clusters, register):
        before = [await cluster.members.own.state(Ask(register, None, 1000)) for cluster in clusters]
        told = [found for cluster in clusters if (found := await cluster.repair.lacking(register))]
        assert len(told) == 1
        lacks = [60 - sum(not row.document.null for row in state.rows) for state in before]
        assert sum(lack.rows for lack in told[0].values()) == sum(lacks) + 2  # two have an older null version
        assert not await clusters[0].repair.is_held(clusters[0].members.now, register)
        await bring(clusters[0], register)
        await agree(clusters, register)
        after = await clusters[0].members.own.state(Ask(register, None, 1000))
        everything = [row for state in before for row in state.rows]
        real = {row.version for row in everything if not row.document.null}
        [null] = {row.version for row in after.rows} - real
        assert len(after.rows) == len(real) + 1
        assert null in {row.version for row in everything}  # of those that one owner has each any may be decided
        assert all([await cluster.repair.is_held(cluster.members.now, register) for cluster in clusters])
        assert not any([await cluster.repair.lacking(register) for cluster in clusters])
        assert most["scan"] == 7
        assert 1 <= most["install"] <= 3


async def test_an_empty_disk_takes_over_all_of_a_register(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stretch by stretch, and what it has by now is not sent again."""
    async with mixed(tmp_path, monkeypatch, 5) as (clusters, register):
        await bring(clusters[0], register)
        own = clusters[2].members.own
        before = await own.state(Ask(register, None, 1000))
        await own.store.commit(lambda tx: forget(tx, b"k"))
        own.voting = False
        await clusters[2].repair.refill(register, "node-2")
        assert await own.state(Ask(register, None, 1000)) == before
        installed: list[Install] = []

        async def install(message: Install, _epoch: int) -> Vote:
            installed.append(message)
            raise AssertionError

        monkeypatch.setattr(own, "install", install)
        await clusters[2].repair.refill(register, "node-2")
        assert not installed


async def test_what_moves_of_a_register_is_told_stretch_by_stretch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many rows as there are, and to each owner as many as it lacks."""
    async with mixed(tmp_path, monkeypatch, 6) as (clusters, register):
        now = clusters[0].members.now
        electorate = now.electorate(register)
        held = {name: (await comparing.fingerprints(now, name, [register]))[register] for name in electorate.owners}
        moved = await moves._moved(now, register, electorate, held)
        assert moved.rows == 61
        [told] = [found for cluster in clusters if (found := await cluster.repair.lacking(register))]
        lacks = {name: sum(share.rows for share in moved.shares if share.target == name) for name in told}
        assert lacks == {name: lack.rows for name, lack in told.items()}


async def test_a_stretch_is_where_every_page_reaches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One node has few versions, another many: all stretches together tell of each what it has, and nothing twice."""
    monkeypatch.setattr(stretches, "ROWS", 5)
    async with running(tmp_path, 2, LIKE) as (one, other):
        register = await register_of(one)
        await fill(one, range(40))
        await fill(other, range(0, 40, 8))
        await fill(other, [100], Flag.NULL)
        along = Stretches(one.members.now, register, ("node-0", "node-1"))
        told: dict[str, list[bytes]] = {"node-0": [], "node-1": []}
        turns = 0
        while not along.over:
            for name, state in (await along.read()).items():
                told[name] += [row.version for row in state.rows]
            along.go_on()
            turns += 1
        assert turns >= 8
        for cluster in (one, other):
            state = await cluster.members.own.state(Ask(register, None, 1000))
            assert sorted(told[cluster.members.me]) == sorted(row.version for row in state.rows)


def test_a_message_brings_so_many_bytes_and_no_more() -> None:
    """But for a body that is larger by itself; what has no bytes counts as a row alone."""
    mib = 1 << 20
    sizes = [9 * mib, 7 * mib, mib, 100 * mib, mib, *(0 for _ in range(150))]
    rows = [
        Row(at.to_bytes(12), b"", RecordDocument(Flag(0), 0, size, "e", "STANDARD", "me", {}, {}, {}, "", None, ()))
        for at, size in enumerate(sizes)
    ]
    batches = list(repair._batches(rows))
    assert [row for batch in batches for row in batch] == rows
    assert [[row.document.size // mib for row in batch][:3] for batch in batches] == [
        [9, 7],
        [1],
        [100],
        [1, 0, 0],
        [0, 0, 0],
    ]
    assert [len(batch) for batch in batches] == [2, 1, 1, 100, 51]


@asynccontextmanager
async def many_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[list[Cluster], list[Register], list[bytes]]]:
    """Two nodes and a hundred keys, each of which takes a while to compare; those compared so far."""
    compared: list[bytes] = []
    fingerprint = registers.fingerprint

    def slow(db: apsw.Connection, bucket_id: int, key: bytes) -> int:
        compared.append(key)
        time.sleep(0.01)
        return fingerprint(db, bucket_id, key)

    async with running(tmp_path, 2, LIKE) as clusters:
        register = await register_of(clusters[0])
        keys = [structs.replace(register, key=f"{at:03}") for at in range(100)]
        with monkeypatch.context() as patch:
            patch.setattr(registers, "fingerprint", slow)
            yield clusters, keys, compared


async def test_keys_that_take_too_long_to_compare_are_asked_for_fewer_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No owner counts as silent because all of them together take it longer than one call may."""
    monkeypatch.setattr(peers, "CALL_SECONDS", 0.4)
    async with many_keys(tmp_path, monkeypatch) as (clusters, keys, _):
        found, silent = await comparing.owners_have(clusters[0].members.now, keys)
        assert not silent
        assert found == {key: {0} for key in keys}


async def test_what_nobody_waits_for_is_not_compared_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asked gives up: the rest is left."""
    async with many_keys(tmp_path, monkeypatch) as (clusters, keys, compared):
        asking = asyncio.create_task(comparing.fingerprints(clusters[0].members.now, "node-0", keys))
        async with asyncio.timeout(_SECONDS):
            while not compared:  # noqa: ASYNC110 (a thread)
                await asyncio.sleep(0.001)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await asyncio.sleep(1.5)  # longer than all of them take
        assert len(compared) < len(keys) // 2


async def test_a_key_that_fills_many_pages_is_swept_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owners are not asked about all of it for each page of it."""
    async with running(tmp_path, 2, LIKE) as clusters:
        register = await register_of(clusters[0])
        for cluster in clusters:
            await fill(cluster, range(600))
        compared: list[bytes] = []
        fingerprint = registers.fingerprint

        def counted(db: apsw.Connection, bucket_id: int, key: bytes) -> int:
            compared.append(key)
            return fingerprint(db, bucket_id, key)

        monkeypatch.setattr(registers, "fingerprint", counted)
        assert await clusters[0].sweep.sweep() == 0
        assert compared.count(register.key.encode()) == 2
