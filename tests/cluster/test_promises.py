"""What is promised for a key does not stay for ever where nothing was written, and is kept all the same."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from tests.cluster.test_graves import collect, deleted
from tests.cluster.test_repair import put, three
from tests.node.store.harness import OWNER, sealing, stream

from moln_node.cluster.messages import Accept, Prepare, SlotWrite
from moln_node.store import disks
from moln_node.store.errors import StoreError
from moln_node.store.model import Precondition
from moln_node.store.registers import Register, promises, tombstone
from moln_node.store.steps.replica import Outcome
from moln_spec.version import Version

if TYPE_CHECKING:
    from pathlib import Path

    from moln_node.cluster.cluster import Cluster

_KEYS = 2500


async def count(cluster: Cluster) -> int:
    """How many registers a node has promised something for."""
    return len(await cluster.members.own.store.look(lambda db: promises(db, (-1, b""), 1_000_000)))


async def put_if_match(cluster: Cluster, key: str) -> None:
    """Replace what is not there."""
    await cluster.objects.put(
        "room", key, OWNER, stream(b"x"), size=1, seal=sealing(b"x"), precondition=Precondition(if_match="*")
    )


async def left(clusters: list[Cluster]) -> int:
    """How many rows all nodes have of objects, tombstones too."""
    sql = "SELECT count(*) FROM record WHERE bucket > 0"
    return sum([await cluster.members.own.store.look(lambda db: db.execute(sql).get) for cluster in clusters])


async def forget(clusters: list[Cluster], age_ms: int = -1000) -> int:
    """Every node forgets what is older than that, by default also what was promised just now."""
    return sum([await cluster.sweep.forget_promises(age_ms) for cluster in clusters])


async def test_promises_for_keys_that_hold_nothing_go(tmp_path: Path) -> None:
    """A client that changes, deletes and replaces what is not there leaves nothing; recent promises stay."""
    async with three(tmp_path) as (clusters, _):
        objects = clusters[0].objects
        absent = Version.from_bytes(await clusters[0].registers.ballot()).encode()
        for number in range(5):
            with suppress(StoreError):
                await objects.set_attributes("room", f"tags{number}", None, tags={"a": "b"})
            with suppress(StoreError):
                await put_if_match(clusters[0], f"if{number}")
            with suppress(StoreError):
                await objects.delete("room", f"version{number}", absent)
        await asyncio.sleep(0.2)  # who was asked last has promised too
        promised = [await count(cluster) for cluster in clusters]
        assert sum(promised) >= 30  # majorities; who is later may not be asked any more
        assert await forget(clusters, 60_000) == 0
        assert await forget(clusters) == sum(promised)
        assert [await count(cluster) for cluster in clusters] == [0, 0, 0]
        await put(clusters[1], "tags0", b"here")
        await clusters[2].objects.set_attributes("room", "tags0", None, tags={"a": "b"})
        assert (await objects.head("room", "tags0")).attributes.tags == {"a": "b"}


async def test_a_promise_that_is_forgotten_is_kept(tmp_path: Path) -> None:
    """Nothing below it is accepted or promised, also after a start; its own write still may come."""
    async with three(tmp_path) as (clusters, where):
        register = Register(where.space, "k", where.bucket, where.incarnation)
        other = Register(where.space, "another", where.bucket, where.incarnation)
        own = clusters[0].members.now.own
        before, ballot = [Version.from_bytes(await clusters[1].registers.ballot()) for _ in range(2)]
        assert (await own.prepare(Prepare(register, ballot.to_bytes()))).outcome == Outcome.DONE
        assert await forget(clusters[:1]) == 1

        def accept(register: Register, version: Version) -> Accept:
            row = tombstone(version.to_bytes(), version.to_bytes(), null=True, now_ms=0)
            return Accept(register, row.ballot, (SlotWrite(row),))

        for again in range(2):
            assert (await own.accept(accept(register, before))).outcome == Outcome.OLD, again
            assert (await own.prepare(Prepare(register, before.to_bytes()))).outcome == Outcome.OLD
            mine = clusters[0].members.own
            assert (await mine.store.commit(disks.own)).collected == mine.collected == ballot.to_bytes()
            mine.collected = b""
            await clusters[0].joining.begin()  # as after a start
        assert (await own.accept(accept(register, ballot))).outcome == Outcome.DONE
        assert (await own.accept(accept(other, before))).outcome == Outcome.OLD  # no harm: it is tried again above


async def test_a_promise_keeps_no_tombstone(tmp_path: Path) -> None:
    """A condition that did not hold of a deleted key left a promise that is newer than what is left of the key."""
    async with three(tmp_path) as (clusters, where):
        await deleted(clusters, where, "k")
        with pytest.raises(StoreError):
            await put_if_match(clusters[0], "k")
        await collect(clusters)
        assert await left(clusters) >= 2
        assert await forget(clusters) >= 2
        await collect(clusters)
        assert await left(clusters) == 0


async def test_all_pages_are_gone_through(tmp_path: Path) -> None:
    """However many there are."""
    async with three(tmp_path) as (clusters, where):
        own = clusters[0].members.own
        ballot = await clusters[0].registers.ballot()

        number = own.store.buckets[where.bucket].id
        rows = [(number, b"%d" % key, ballot) for key in range(_KEYS)]
        await own.store.commit(lambda tx: tx.db.executemany("INSERT INTO promise VALUES (?, ?, ?)", rows))
        assert await forget(clusters[:1]) == _KEYS
        assert await count(clusters[0]) == 0
