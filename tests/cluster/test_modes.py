"""How many owners a write or a read waits for, where a policy says other than a majority."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from tests.cluster.in_process import running
from tests.cluster.test_repair import LIKE, agree, forget, put
from tests.cluster.test_two_lists import changing, silence

from moln_node.cluster import owed
from moln_node.cluster.errors import UnavailableError
from moln_node.cluster.messages import Ask, Prepare
from moln_node.peer import letters
from moln_node.store.errors import NoSuchKeyError
from moln_node.store.model import Bucket, Precondition, Versioning
from moln_node.store.registers import Register, Space
from moln_spec.cloudmap import MapPolicy
from moln_spec.version import Version

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from moln_node.cluster.cluster import Cluster
    from moln_node.store.model import Record
    from moln_node.store.registers import Row

_SECONDS = 60.0
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


async def owing(cluster: Cluster) -> tuple[int, int]:
    """What a node owes, and its dead letters."""
    counts = await cluster.members.owed.count()
    return counts.owed, counts.dead


async def settled(clusters: list[Cluster]) -> None:
    """Wait until nobody owes anything."""
    deadline = time.monotonic() + _SECONDS
    while any([(await owing(cluster))[0] for cluster in clusters]):
        assert time.monotonic() < deadline, [await owing(cluster) for cluster in clusters]
        await asyncio.sleep(0.02)


class Spots:
    """Five nodes, three of which own the key `k` in the bucket `room`: `own` and the other two."""

    def __init__(self, clusters: list[Cluster], register: Register) -> None:
        self.clusters = clusters
        self.register = register
        self.numbers = owners(clusters, register)
        self.owners = [clusters[number] for number in self.numbers]

    def only(self, *places: int) -> None:
        """Of the owners these answer; of the other nodes all."""
        silence(self.clusters, *(number for place, number in enumerate(self.numbers) if place not in places))

    async def put(self, place: int, data: bytes) -> Record:
        """Put through an owner that takes the write, and wait until the others have refused."""
        record = await put(self.owners[place], "k", data)
        await self.quiet()
        return record

    async def quiet(self) -> None:
        """Wait until nothing is on its way to an owner any more."""
        while late := [task for cluster in self.clusters for task in cluster.registers._late]:
            await asyncio.wait(late)

    async def shown(self) -> list[tuple[Row, ...]]:
        """What each owner's disk has."""
        return await rows(self.owners, self.register)

    async def converged(self) -> list[Row]:
        """Wait until nothing is owed and all owners hold the same: what that is."""
        await settled(self.clusters)
        await agree(self.owners, self.register)
        return list((await self.shown())[0])


@asynccontextmanager
async def five(tmp_path: Path, **policy: Any) -> AsyncIterator[Spots]:
    """Five nodes that acknowledge writes by one."""
    async with cloud(tmp_path, 5, **{"write": "one", **policy}) as clusters:
        yield Spots(clusters, await make_room(clusters, "k"))


@pytest.mark.parametrize("data", [SMALL, LARGE])
async def test_write_one_is_acknowledged_by_one_disk_and_comes_to_all(tmp_path: Path, data: bytes) -> None:
    """Two of three owners are silent: the third takes the write, owes it, and the others get it when they are back."""
    async with five(tmp_path) as spots:
        spots.only(0)
        record = await spots.put(0, data)
        assert [len(there) for there in await spots.shown()] == [1, 0, 0]
        assert await owing(spots.owners[0]) == (1, 0)
        spots.only(0, 1, 2)
        assert [row.document.etag for row in await spots.converged()] == [record.etag]
        for cluster in spots.clusters:
            async with cluster.objects.open("room", "k") as reading:
                assert b"".join([piece async for piece in reading.read(0, len(data))]) == data
        spots.only(1)
        await spots.owners[0].objects.delete("room", "k")
        await spots.quiet()
        spots.only(0, 1, 2)
        assert [row.live for row in await spots.converged()] == [False]


async def test_write_one_needs_one_owner_and_a_majority_more(tmp_path: Path) -> None:
    """Without any owner there is nobody to owe it; where the policy says majority one is too few."""
    async with five(tmp_path) as spots:
        spots.only()
        with pytest.raises(UnavailableError, match="too few"):
            await put(spots.clusters[0], "k", SMALL)
    async with five(tmp_path / "other", write="majority") as spots:
        spots.only(0)
        with pytest.raises(UnavailableError):
            await put(spots.owners[0], "k", SMALL)


async def test_what_is_owed_outlives_its_node(tmp_path: Path) -> None:
    """The queue is on the disk that acknowledged: after a restart of all nodes it is delivered."""
    async with five(tmp_path) as spots:
        spots.only(2)
        record = await put(spots.clusters[0], "k", LARGE)
    async with cloud(tmp_path, 5, write="one") as clusters:
        again = Spots(clusters, spots.register)
        assert [row.document.etag for row in await again.converged()] == [record.etag]


async def test_what_is_owed_is_not_lost_to_an_older_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two owners decide anew what was there before, and the third takes that: its own newer write still wins."""
    async with five(tmp_path) as spots:
        await spots.put(0, b"old")
        await spots.converged()
        spots.only(0)
        record = await spots.put(0, b"newer")
        monkeypatch.setattr(spots.owners[0].members.owed, "_counts", lambda: False)  # it is not delivered yet
        spots.only(1, 2)
        await spots.owners[1].objects.set_attributes("room", "k", None, tags={"of": "old"})
        spots.only(0, 1, 2)
        await spots.owners[1].repair.run(spots.register)
        assert {there[0].document.size for there in await spots.shown()} == {3}  # the newer one is only owed any more
        assert await owing(spots.owners[0]) == (1, 0)
        monkeypatch.undo()
        [row] = await spots.converged()
        assert (row.document.etag, row.document.tags) == (record.etag, {})


async def test_what_is_owed_gives_way_to_a_newer_version(tmp_path: Path) -> None:
    """A conditional write of a majority that has not seen it, and a write that another disk owes: the last one wins."""
    async with five(tmp_path) as spots:
        await spots.put(0, b"old")
        await spots.converged()
        spots.only(0)
        await spots.put(0, b"owed")
        spots.only(1, 2)
        await spots.owners[1].objects.delete("room", "k", precondition=Precondition(if_match="*"))
        spots.only(0, 1, 2)
        assert [row.live for row in await spots.converged()] == [False]
        spots.only(0)
        await spots.put(0, b"first")
        spots.only(2)
        last = await spots.put(2, b"second")
        spots.only(0, 1, 2)
        assert [row.document.etag for row in await spots.converged()] == [last.etag]


async def test_a_disk_owes_the_newest_of_a_slot_only(tmp_path: Path) -> None:
    """An overwrite takes the place of what was owed; nothing of either is left when it is settled."""
    async with five(tmp_path) as spots:
        spots.only(0)
        for data in (LARGE, b"2", LARGE + b"3"):
            last = await spots.put(0, data)
        assert await owing(spots.owners[0]) == (1, 0)
        spots.only(0, 1, 2)
        assert [row.document.etag for row in await spots.converged()] == [last.etag]
        store = spots.owners[0].members.own.store
        left = await store.look(lambda db: db.execute("SELECT sum(refs), count(*) FROM body").fetchone())
        assert left == (1, 1)
        assert await store.look(lambda db: db.execute("SELECT count(*) FROM small").fetchone()) == (0,)


async def test_versions_that_two_disks_owe_both_stay(tmp_path: Path) -> None:
    """In a versioned bucket each write is a version of its own."""
    async with five(tmp_path) as spots:
        await spots.clusters[0].objects.set_bucket("room", versioning=Versioning.ENABLED)
        made = []
        for place in (0, 2):
            spots.only(place)
            made.append((await spots.put(place, b"%d" % place)).version)
        spots.only(0, 1, 2)
        assert {row.version for row in await spots.converged()} == {version.to_bytes() for version in made}


async def test_what_can_not_be_delivered_is_a_dead_letter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told, tried again when somebody asks for that, and dropped by his word only."""
    monkeypatch.setattr(owed, "MOST_TRIES", 2)
    monkeypatch.setattr(owed, "_FIRST_BACKOFF_SECONDS", 0.01)
    async with five(tmp_path) as spots:
        spots.only(0)
        record = await spots.put(0, b"letter")
        deadline = time.monotonic() + _SECONDS
        while await owing(spots.owners[0]) != (0, 1):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        queue = spots.owners[0].members.owed
        told = await letters.page(queue, letters.LettersAsk())
        (letter,) = told.letters
        assert (letter.path, letter.version, letter.bytes) == ("room/k", record.version.encode(), 6)
        assert letter.reason
        spots.only(0, 1, 2)
        await asyncio.sleep(0.3)
        assert await owing(spots.owners[0]) == (0, 1)
        wish = letters.Settle.model_validate({"action": "replay", "letters": [letter.id]})
        assert (await letters.settle(queue, wish)).settled == 1
        assert [row.document.etag for row in await spots.converged()] == [record.etag]
        assert await owing(spots.owners[0]) == (0, 0)


async def test_only_letters_that_were_shown_are_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them are told, page after page; one that is named is dropped, and one that is none any more stays."""
    monkeypatch.setattr(owed, "MOST_TRIES", 1)
    monkeypatch.setattr(letters, "_PAGE", 4)
    async with five(tmp_path) as spots:
        await spots.clusters[0].objects.set_bucket("room", versioning=Versioning.ENABLED)
        spots.only(0)
        queue = spots.owners[0].members.owed
        made = {(await spots.put(0, b"letter")).version.encode() for _ in range(10)}
        deadline = time.monotonic() + _SECONDS
        while await owing(spots.owners[0]) != (0, 10):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        pages = [await letters.page(queue, letters.LettersAsk())]
        while pages[-1].next is not None:
            pages.append(await letters.page(queue, letters.LettersAsk.model_validate({"after": pages[-1].next})))
        told = [letter for page in pages for letter in page.letters]
        assert {letter.version for letter in told} == made
        assert [len(page.letters) for page in pages] == [4, 4, 2]

        async def settle(action: str, *wanted: letters.Letter) -> int:
            wish = {"action": action, "letters": [letter.id for letter in wanted]}
            return (await letters.settle(queue, letters.Settle.model_validate(wish))).settled

        monkeypatch.setattr(owed, "MOST_TRIES", 1000)
        assert await settle("replay", told[0]) == 1
        assert await settle("drop", told[0], told[1]) == 1
        assert await owing(spots.owners[0]) == (1, 8)


async def test_a_node_that_leaves_is_not_empty_while_it_owes(tmp_path: Path) -> None:
    """Its proof of empty has what it owes in it; that goes to the owners of today."""
    async with cloud(tmp_path, 4, write="one") as clusters:
        register = await make_room(clusters, "k")
        for epoch in (2, 3):
            stage = changing(clusters[0].members.map, "confirming")
            drawn = stage.model_copy(update={"epoch": epoch, "change": stage.change if epoch == 2 else None})
            if epoch == 3:
                silence(clusters, 1, 2, 3)
                record = await put(clusters[0], "k", SMALL)
            for cluster in clusters:
                await cluster.adopt(drawn)
        assert await clusters[0].strays() in (None, 2)
        silence(clusters)
        deadline = time.monotonic() + _SECONDS
        while await clusters[0].strays() != 0:
            assert time.monotonic() < deadline, await clusters[0].strays()
            await asyncio.sleep(0.02)
        for there in await rows(clusters[1:], register):
            assert [row.document.etag for row in there] == [record.etag]


async def test_what_is_owed_does_not_come_back_when_tombstones_are_collected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key was deleted later than what one owner owes: that one keeps the tombstone, and does not deliver."""
    async with five(tmp_path) as spots:
        spots.only(0)
        await spots.put(0, b"owed")
        monkeypatch.setattr(spots.owners[0].members.owed, "_counts", lambda: False)  # it is not delivered yet
        spots.only(0, 1, 2)
        await spots.owners[1].objects.delete("room", "k", precondition=Precondition(if_match="*"))
        await agree(spots.owners, spots.register)
        for cluster in spots.clusters:
            await until_calm(cluster)
        for _ in range(2):
            for cluster in spots.clusters:
                await cluster.graves.collect(lag=0.0)
        assert [len(there) for there in await spots.shown()] == [1, 0, 0]
        monkeypatch.undo()
        await settled(spots.clusters)
        with pytest.raises(NoSuchKeyError):
            await spots.owners[1].objects.head("room", "k")
        for there in await spots.shown():
            assert not any(row.live for row in there)


async def until_calm(cluster: Cluster) -> None:
    """Wait until a node knows that it holds nothing of others."""
    deadline = time.monotonic() + _SECONDS
    while await cluster.strays() != 0:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
