"""Keys with more versions than one message carries: repaired, compared, shed and read like all others."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.cluster.in_process import running
from tests.cluster.test_repair import LIKE

from moln_node.cluster import comparing
from moln_node.cluster.messages import Ask
from moln_node.store.documents import Flag, RecordDocument
from moln_node.store.model import Bucket, Versioning
from moln_node.store.registers import Register, Space, number
from moln_spec.version import Version

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from moln_node.cluster.cluster import Cluster
    from moln_node.store.transaction import Transaction

_EPOCH_MS = int(time.time() * 1000) - 10_000_000
_MANY = 10_050


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
