"""Quotas and the free-space reserve: decided before a byte is taken, never overshot, and reads go on when full."""

from __future__ import annotations

import asyncio
import errno
from typing import TYPE_CHECKING

import pytest
from tests.node.store.harness import (
    BUCKET,
    LARGE,
    OWNER,
    cloud_map,
    files,
    get,
    put,
    put_part,
    running,
    sealing,
    stream,
    with_bucket,
)

from moln_node.cluster import replica
from moln_node.store.errors import NoSuchKeyError, QuotaExceededError, StorageFullError
from moln_node.store.ledger import Ledger, Space
from moln_node.store.model import Sealed, Usage
from moln_spec.cloudmap import Limits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from moln_node.cluster.replica import LocalReplica


async def untouchable() -> AsyncIterator[bytes]:
    """A body that must not be read."""
    raise AssertionError("a byte was taken although there is no room")
    yield b""


async def test_a_bucket_quota_holds_to_the_byte(tmp_path: Path) -> None:
    """Exactly full is allowed, one more byte is refused before the body is touched; deleting makes room."""
    async with with_bucket(tmp_path) as objects:
        await objects.set_bucket(BUCKET, quota_bytes=LARGE + 10)
        await put(objects, "a", bytes(LARGE))
        await put(objects, "b", bytes(10))
        with pytest.raises(QuotaExceededError):
            await objects.put(BUCKET, "c", OWNER, untouchable(), size=1, seal=sealing(b""))
        await put(objects, "empty", b"")
        await objects.delete(BUCKET, "b")
        await put(objects, "c", bytes(10))
    async with running(tmp_path) as objects:
        assert await objects.bucket_usage(BUCKET) == Usage(3, LARGE + 10)
        with pytest.raises(QuotaExceededError):
            await put(objects, "d", b"x")


async def test_parts_count_against_the_quota_before_they_are_an_object(tmp_path: Path) -> None:
    """An upload can't get around the quota, and completing it needs no further room."""
    async with with_bucket(tmp_path) as objects:
        await objects.set_bucket(BUCKET, quota_bytes=100)
        upload = await objects.create_upload(BUCKET, "k", OWNER)
        part = await put_part(objects, "k", upload.id, 1, bytes(90))
        with pytest.raises(QuotaExceededError):
            await put_part(objects, "k", upload.id, 2, bytes(11))
        assert await objects.bucket_usage(BUCKET) == Usage(0, 0)
        await objects.complete_upload(BUCKET, "k", upload.id, [part], Sealed("e"))
        assert await objects.bucket_usage(BUCKET) == Usage(1, 90)
        await put(objects, "l", bytes(10))


async def test_writers_at_once_do_not_overshoot(tmp_path: Path) -> None:
    """Room for three among twenty that begin together: exactly three are admitted, while none has landed yet."""
    async with with_bucket(tmp_path, limits=Limits(reserve_percent=0, node_quota_bytes=3 * LARGE)) as objects:
        outcomes = await asyncio.gather(
            *(put(objects, str(n), bytes(LARGE)) for n in range(20)), return_exceptions=True
        )
        assert sum(isinstance(o, QuotaExceededError) for o in outcomes) == 17
        assert await objects.bucket_usage(BUCKET) == Usage(3, 3 * LARGE)
        assert objects.store.ledger.in_flight() == 0


async def test_a_newer_map_changes_the_bounds_at_once(tmp_path: Path) -> None:
    """A node quota lowered and raised by the map holds for the next write, without a restart."""
    async with with_bucket(tmp_path) as objects:
        await put(objects, "a", bytes(100))
        await objects.cluster.adopt(cloud_map(epoch=2, limits=Limits(reserve_percent=0, node_quota_bytes=100)))
        with pytest.raises(QuotaExceededError):
            await put(objects, "b", b"x")
        await objects.cluster.adopt(cloud_map(epoch=3, limits=Limits(reserve_percent=0, node_quota_bytes=101)))
        await put(objects, "b", b"x")


async def test_the_reserve_refuses_writes_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A volume that is full but for its reserve: 'full' for writes; reads, lists and deletes go on."""
    async with with_bucket(tmp_path, limits=Limits(reserve_percent=10)) as objects:
        await put(objects, "a", b"here")
        monkeypatch.setattr("moln_node.store.ledger._SPACE_AGE", 0.0)  # look at the volume for every write
        monkeypatch.setattr(Ledger, "space", lambda _: Space(total=1000, available=150))
        await put(objects, "fits", bytes(50))
        with pytest.raises(StorageFullError):
            await objects.put(BUCKET, "b", OWNER, untouchable(), size=51, seal=sealing(b""))
        assert await get(objects, "a") == b"here"
        assert len((await objects.list_objects(BUCKET)).records) == 2
        await objects.delete(BUCKET, "a")


async def test_a_disk_that_is_suddenly_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ENOSPC in the middle of a body file is 'full', and leaves nothing half-written."""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    async with with_bucket(tmp_path) as objects:
        with monkeypatch.context() as patch:
            patch.setattr("os.fdatasync", full)
            for storage_class in ("STANDARD", "DEDUP"):
                with pytest.raises(StorageFullError):
                    await put(objects, "k", bytes(LARGE), storage_class=storage_class)
        with pytest.raises(NoSuchKeyError):
            await objects.head(BUCKET, "k")
        assert objects.store.ledger.in_flight() == 0
        await put(objects, "k", bytes(LARGE))
    assert len(files(tmp_path)) == 1


async def test_staged_bytes_of_a_coordinator_that_died_make_room_in_time(tmp_path: Path) -> None:
    """They fill the node: once their time is over the next write finds room, and need not succeed first."""
    async with with_bucket(tmp_path, limits=Limits(reserve_percent=0, node_quota_bytes=3 * LARGE)) as objects:
        own = objects.cluster.members.own
        await own.stage("STANDARD", 2 * LARGE, stream(bytes(2 * LARGE)))
        with pytest.raises(QuotaExceededError):
            await own.stage("STANDARD", 2 * LARGE, stream(bytes(2 * LARGE)))
        _let_time_go_by(own)
        await own.stage("STANDARD", 2 * LARGE, stream(bytes(2 * LARGE)))
        _let_time_go_by(own)
        await put(objects, "k", bytes(2 * LARGE))


async def test_staged_bytes_go_in_time_with_nobody_asking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Room is also wanted by what stages nothing: small objects, repair."""
    monkeypatch.setattr(replica, "_TIDY_SECONDS", 0.01)
    async with with_bucket(tmp_path) as objects:
        own = objects.cluster.members.own
        await own.stage("STANDARD", LARGE, stream(bytes(LARGE)))
        await asyncio.sleep(0.1)
        assert objects.store.ledger.in_flight() == LARGE
        _let_time_go_by(own)
        for _ in range(1000):
            await asyncio.sleep(0.01)
            if not objects.store.ledger.in_flight() and not files(tmp_path):
                return
        pytest.fail("the staged bytes stay")


def _let_time_go_by(own: LocalReplica) -> None:
    for waiting in own._staged.values():
        waiting.expires -= replica.STAGED_SECONDS + 1
