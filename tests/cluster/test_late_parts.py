"""A part that arrives when its upload has ended: it is refused, and its bytes don't stay."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from tests.cluster.in_process import running
from tests.cluster.test_repair import LIKE
from tests.node.store.harness import OWNER, etag, files, sealing, stream

from moln_node.cluster import sweep as sweep_of
from moln_node.cluster import uploadkeys
from moln_node.cluster.uploads import Uploads
from moln_node.store import lookup, registers
from moln_node.store.errors import NoSuchUploadError
from moln_node.store.model import Bucket, Sealed
from moln_node.store.registers import Register, Space
from moln_spec.classes import StorageClass
from moln_spec.cloudmap import BodyPlace

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from moln_node.cluster.cluster import Cluster
    from moln_node.store.model import Part
    from moln_node.store.transaction import Transaction

DATA = b"part" * 100_000
APART = LIKE.model_copy(
    update={
        "storage_classes": (StorageClass(name="STANDARD", default=True, pools=("cold",)),),
        "places": (BodyPlace(name="STANDARD", pools=("cold",)),),
    }
)
CLOUDS = pytest.mark.parametrize("many", [1, 3, "apart"])


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """No rests between pages: there are no clients to spare."""
    monkeypatch.setattr(sweep_of, "_PAUSE_SECONDS", 0.0)


@asynccontextmanager
async def cloud(data: Path, many: int | str) -> AsyncIterator[list[Cluster]]:
    """Nodes with a bucket; `apart`: five, the bytes on every other one."""
    nodes = running(data, many, LIKE) if isinstance(many, int) else running(data, 5, APART, ("warm", "cold"))
    async with nodes as clusters:
        await clusters[0].objects.create_bucket(Bucket("room", "me", 1))
        yield clusters


async def upload(cluster: Cluster) -> str:
    """Begin an upload; its id."""
    return (await cluster.objects.create_upload("room", "k", OWNER)).id


async def put_part(cluster: Cluster, upload_id: str, number: int) -> Part:
    """Put a part at once."""
    return await cluster.objects.put_part(
        "room", "k", upload_id, number, stream(DATA), size=len(DATA), seal=sealing(DATA)
    )


class Slow:
    """A part whose first half has come."""

    def __init__(self, cluster: Cluster, upload_id: str, number: int) -> None:
        self._begun, self._go = asyncio.Event(), asyncio.Event()
        self._task = asyncio.create_task(
            cluster.objects.put_part("room", "k", upload_id, number, self._halves(), size=len(DATA), seal=sealing(DATA))
        )

    async def _halves(self) -> AsyncIterator[bytes]:
        yield DATA[: len(DATA) // 2]
        self._begun.set()
        await self._go.wait()
        yield DATA[len(DATA) // 2 :]

    async def begun(self) -> None:
        """Wait until it is under way."""
        await self._begun.wait()

    async def end(self) -> Part:
        """Let the rest come; the part."""
        self._go.set()
        return await self._task


async def is_empty(clusters: list[Cluster], data: Path, tries: int = 200) -> bool:
    """Whether no node keeps any bytes, nor counts them; waits a little for owners that hear of it last."""
    for _ in range(tries):
        for cluster in clusters:
            await cluster.members.own.store.collect()
        usage = await clusters[0].objects.bucket_usage("room")
        if not any(files(data / cluster.members.me) for cluster in clusters) and usage.bytes == 0:
            return True
        await asyncio.sleep(0.02)
    return False


async def sweep(clusters: list[Cluster], lag: float = 0.0) -> None:
    """Two sweeps of every node."""
    for _ in range(2):
        for cluster in clusters:
            await cluster.sweep.sweep(lag)


@CLOUDS
async def test_a_part_that_comes_after_the_upload_was_aborted_is_refused(tmp_path: Path, many: int | str) -> None:
    """Its upload was there when it began to come."""
    async with cloud(tmp_path, many) as clusters:
        upload_id = await upload(clusters[0])
        late = Slow(clusters[0], upload_id, 1)
        await late.begun()
        await clusters[-1].objects.abort_upload("room", "k", upload_id)
        with pytest.raises(NoSuchUploadError):
            await late.end()
        assert await is_empty(clusters, tmp_path)


@CLOUDS
async def test_a_part_that_comes_after_the_upload_was_completed_is_refused(tmp_path: Path, many: int | str) -> None:
    """The object has its own parts, and nothing is left of this one."""
    async with cloud(tmp_path, many) as clusters:
        objects = clusters[0].objects
        upload_id = await upload(clusters[0])
        part = await put_part(clusters[0], upload_id, 1)
        late, again = Slow(clusters[0], upload_id, 2), Slow(clusters[0], upload_id, 1)
        await late.begun()
        await again.begun()
        await clusters[-1].objects.complete_upload("room", "k", upload_id, [part], Sealed("whole"))
        for one in (late, again):
            with pytest.raises(NoSuchUploadError):
                await one.end()
        async with objects.open("room", "k") as reading:
            assert etag(b"".join([block async for block in reading.read(0, len(DATA))])) == part.etag
        await objects.delete("room", "k")
        for cluster in clusters:
            await cluster.unnamed.collect(0.0)
            await cluster.unnamed.collect(0.0)
        assert await is_empty(clusters, tmp_path)


@CLOUDS
async def test_the_sweep_finds_a_part_whose_coordinator_died(
    tmp_path: Path, many: int | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It did not live to see that the upload had ended: a sweep sees it, and one that comes later drops the part."""
    async with cloud(tmp_path, many) as clusters:
        upload_id = await upload(clusters[0])
        late = Slow(clusters[0], upload_id, 1)
        await late.begun()
        with monkeypatch.context() as dead:
            there = await clusters[0].objects.upload("room", "k", upload_id)

            async def get(*_: object) -> object:
                return there

            await clusters[-1].objects.abort_upload("room", "k", upload_id)
            dead.setattr(Uploads, "_get", get)
            await late.end()
        await sweep(clusters, lag=1000.0)
        assert not await is_empty(clusters, tmp_path, tries=5)
        await sweep(clusters)
        assert await is_empty(clusters, tmp_path)


def forget(tx: Transaction, key: str) -> None:
    """Lose what is known of an upload."""
    number = registers.number(Space.UPLOADS, tx.buckets["room"].id)
    for version, document in list(lookup.rows(tx.db, number, key.encode())):
        tx.remove(number, key.encode(), version, document)


@pytest.mark.parametrize("many", [3, "apart"])
async def test_the_sweep_leaves_parts_of_uploads_under_way(tmp_path: Path, many: int | str) -> None:
    """Also where a node that would drop them does not know of the upload, which a majority does."""
    async with cloud(tmp_path, many) as clusters:
        upload_id = await upload(clusters[0])
        part = await put_part(clusters[0], upload_id, 1)
        known = await clusters[0].objects.known("room")
        name = uploadkeys.part("k", upload_id, 1)
        register = Register(Space.UPLOADS, name, "room", known.incarnation)
        first = clusters[0].members.now.electorate(register).owners[0]
        for cluster in clusters:
            if cluster.members.me == first:
                await cluster.members.own.store.commit(lambda tx: forget(tx, uploadkeys.upload("k", upload_id)))
        await sweep(clusters)
        record = await clusters[-1].objects.complete_upload("room", "k", upload_id, [part], Sealed("whole"))
        assert record.size == len(DATA)
