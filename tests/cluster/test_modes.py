"""How many owners a write or a read waits for, where a policy says other than a majority."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.cluster.in_process import running
from tests.cluster.test_repair import LIKE, agree, forget, put
from tests.cluster.test_two_lists import changing, silence

from moln_node.cluster.errors import UnavailableError
from moln_node.cluster.messages import Ask, Prepare
from moln_node.store.errors import NoSuchKeyError
from moln_node.store.model import Bucket, Precondition
from moln_node.store.registers import Register, Space
from moln_spec.cloudmap import MapPolicy
from moln_spec.version import Version

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from moln_node.cluster.cluster import Cluster
    from moln_node.store.registers import Row

SMALL, LARGE = b"few", b"many" * 50_000


def cloud(tmp_path: Path, nodes: int, **policy: Any) -> AbstractAsyncContextManager[list[Cluster]]:
    """A cloud with one policy for everything."""
    return running(tmp_path, nodes, LIKE.model_copy(update={"policies": (MapPolicy(name="p", **policy),)}))


async def make_room(clusters: list[Cluster], key: str) -> Register:
    """Make the bucket; the register of a key in it."""
    await clusters[0].objects.create_bucket(Bucket("room", "me", 1))
    known = await clusters[0].objects.known("room")
    return Register(Space.OBJECTS, key, "room", known.incarnation)


async def rows(clusters: list[Cluster], register: Register) -> list[tuple[Row, ...]]:
    """What each node's disk has of a register at this moment."""
    return [(await cluster.members.own.state(Ask(register, None, 100))).rows for cluster in clusters]


def owners(clusters: list[Cluster], register: Register) -> list[int]:
    """The numbers of a register's owners, best first."""
    return [int(name.removeprefix("node-")) for name in clusters[0].members.now.electorate(register).owners]


@pytest.mark.parametrize("data", [SMALL, LARGE])
async def test_write_all_is_on_every_disk_when_it_is_acknowledged(tmp_path: Path, data: bytes) -> None:
    """Also on the disk of an owner that first refused, because it had promised somebody else."""
    async with cloud(tmp_path, 3, write="all") as clusters:
        register = await make_room(clusters, "k")
        ahead = Version.from_bytes(await clusters[1].registers.ballot()).stamp + (5_000 << 16)
        await clusters[2].members.now.own.prepare(Prepare(register, Version(ahead, 1).to_bytes()))
        record = await put(clusters[0], "k", data)
        for there in await rows(clusters, register):
            assert [row.document.etag for row in there] == [record.etag]
        await clusters[0].objects.delete("room", "k")
        assert [[row.live for row in there] for there in await rows(clusters, register)] == [[False]] * 3


@pytest.mark.parametrize(("data", "there"), [(SMALL, 2), (LARGE, 0)])
async def test_write_all_is_refused_where_an_owner_is_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, there: int
) -> None:
    """What came about is told: small bodies are with the others, of large ones nothing stays."""
    async with cloud(tmp_path, 3, write="all") as clusters:
        register = await make_room(clusters, "k")
        silence(clusters, 2)
        if not there:
            monkeypatch.setattr(clusters[2].members.own, "stage", no_room)
        with pytest.raises(UnavailableError, match="wants all of them" if there else "too few"):
            await put(clusters[0], "k", data)
        assert [len(found) for found in await rows(clusters, register)] == [there // 2, there // 2, 0]
        if there:
            with pytest.raises(UnavailableError, match="wants all of them"):
                await clusters[1].objects.delete("room", "k", precondition=Precondition(if_match="*"))
            with pytest.raises(NoSuchKeyError):
                await clusters[0].objects.head("room", "k")


async def no_room(*_: object) -> None:
    """An owner that takes no body."""
    raise UnavailableError("silent")


async def test_write_all_means_both_lists(tmp_path: Path) -> None:
    """While owners change those that come have to have it too: else the promise would end with the list before."""
    async with cloud(tmp_path, 4, write="all") as clusters:
        register = await make_room(clusters, "k")
        for cluster in clusters:
            await cluster.adopt(changing(cluster.members.map, "copying"))
        await put(clusters[0], "k", SMALL)
        assert [len(there) for there in await rows(clusters, register)] == [1] * 4
        silence(clusters, 3)
        with pytest.raises(UnavailableError, match="wants all of them"):
            await put(clusters[0], "k", b"2")


@pytest.mark.parametrize("read", ["one", "majority"])
async def test_read_one_needs_one_owner(tmp_path: Path, read: str) -> None:
    """With two of three owners silent every node still answers; by a majority none can."""
    async with cloud(tmp_path, 5, read=read) as clusters:
        register = await make_room(clusters, "k")
        await put(clusters[0], "k", SMALL)
        await agree([clusters[number] for number in owners(clusters, register)], register)
        silence(clusters, *owners(clusters, register)[:2])
        for cluster in clusters:
            if read == "majority":
                with pytest.raises(UnavailableError):
                    await cluster.objects.head("room", "k")
                continue
            async with cluster.objects.open("room", "k") as reading:
                assert b"".join([piece async for piece in reading.read(0, 9)]) == SMALL
        silence(clusters, *owners(clusters, register))
        with pytest.raises(UnavailableError):
            await clusters[0].objects.head("room", "k")


async def test_read_one_may_be_old_and_looks_elsewhere_for_what_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An owner that missed a write shows what was before; one that has nothing asks the next; none: there is none."""
    async with cloud(tmp_path, 3, read="one") as clusters:
        register = await make_room(clusters, "k")
        await put(clusters[0], "k", b"1")
        await agree(clusters, register)
        monkeypatch.setattr(clusters[0].members.hints, "add", lambda _: None)
        silence(clusters, 2)
        await put(clusters[0], "k", b"22")
        silence(clusters)
        assert (await clusters[0].objects.head("room", "k")).size == 2
        assert (await clusters[2].objects.head("room", "k")).size == 1
        await clusters[2].members.own.store.commit(lambda tx: forget(tx, b"k"))
        assert (await clusters[2].objects.head("room", "k")).size == 2
        with pytest.raises(NoSuchKeyError):
            await clusters[2].objects.head("room", "other")


async def test_read_one_passes_damage_over(tmp_path: Path) -> None:
    """The copy beside the reader has a flipped bit: the bytes come from another owner."""
    async with cloud(tmp_path, 3, read="one") as clusters:
        register = await make_room(clusters, "k")
        await put(clusters[0], "k", LARGE)
        await agree(clusters, register)
        [path] = [path for path in (tmp_path / "node-1" / "bodies").rglob("*") if path.is_file()]
        stored = bytearray(path.read_bytes())
        stored[len(stored) // 2] ^= 1
        path.write_bytes(stored)
        async with clusters[1].objects.open("room", "k") as reading:
            assert b"".join([piece async for piece in reading.read(0, len(LARGE))]) == LARGE
