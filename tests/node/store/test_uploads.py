"""Multipart: parts are kept like objects, completion copies nothing, and nothing of an abandoned upload stays."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.node.store.harness import (
    BUCKET,
    LARGE,
    OWNER,
    SMALL,
    Notes,
    files,
    get,
    put,
    put_part,
    running,
    with_bucket,
)

from moln_node.cluster import maintenance, replica, sweep
from moln_node.store.errors import (
    InvalidPartError,
    NoSuchKeyError,
    NoSuchUploadError,
    PreconditionFailedError,
)
from moln_node.store.model import Attributes, Checksum, Precondition, Sealed, Usage

if TYPE_CHECKING:
    from pathlib import Path

    from tests.node.store.harness import Node

    from moln_node.store.model import Part


async def begin(objects: Node, sizes: tuple[int, ...], key: str = "k") -> tuple[str, list[Part]]:
    """An upload with parts of these sizes, numbered from 1, each of its own letter."""
    upload = await objects.create_upload(BUCKET, key, Attributes("me", {"content-type": "x/y"}, {"a": "b"}))
    parts = [
        await put_part(objects, key, upload.id, number, bytes([96 + number]) * size)
        for number, size in enumerate(sizes, start=1)
    ]
    return upload.id, parts


async def test_parts_become_the_object_without_a_copy(tmp_path: Path) -> None:
    """In the order given; unused and replaced parts go; ranges across parts; all of it after a restart."""
    sealed = Sealed("etag-3", Checksum("CRC32", "AAAA-3", "COMPOSITE"))
    async with with_bucket(tmp_path) as objects:
        upload_id, parts = await begin(objects, (LARGE, SMALL, 1, LARGE))
        parts[1] = await put_part(objects, "k", upload_id, 2, b"B" * SMALL)
        kept = files(tmp_path)
        record = await objects.complete_upload(BUCKET, "k", upload_id, parts[:3], sealed)
        assert set(files(tmp_path)) <= set(kept)
        assert record == await objects.complete_upload(BUCKET, "k", upload_id, parts[:3], sealed)
        await objects.store.collect()
        assert len(files(tmp_path)) == 3
    async with running(tmp_path) as objects:
        whole = b"a" * LARGE + b"B" * SMALL + b"c"
        assert await get(objects, "k") == whole
        assert await get(objects, "k", LARGE - 2, LARGE + SMALL + 1) == whole[LARGE - 2 :]
        head = await objects.head(BUCKET, "k")
        assert [p.size for p in head.parts] == [LARGE, SMALL, 1]
        assert (head.etag, head.checksum, head.size) == (sealed.etag, sealed.checksum, len(whole))
        assert head.attributes == Attributes("me", {"content-type": "x/y"}, {"a": "b"})
        assert await objects.bucket_usage(BUCKET) == Usage(1, len(whole))
        await objects.delete(BUCKET, "k")
        await objects.store.collect()
        assert files(tmp_path) == []
        with pytest.raises(NoSuchUploadError):
            await objects.complete_upload(BUCKET, "k", upload_id, parts[:3], sealed)


async def test_completion_refuses_what_is_not_there(tmp_path: Path) -> None:
    """Missing parts, another ETag, a part twice, a failed condition: refused, and the upload is as it was."""
    async with with_bucket(tmp_path) as objects:
        upload_id, parts = await begin(objects, (SMALL, SMALL))
        stale = parts[1]
        parts[1] = await put_part(objects, "k", upload_id, 2, b"new")
        missing = type(stale)(9, 1, "e", 0)
        for wrong in ([parts[0], stale], [*parts, missing], [parts[0], parts[0]], [parts[1], parts[0]]):
            with pytest.raises(InvalidPartError):
                await objects.complete_upload(BUCKET, "k", upload_id, wrong, Sealed("e"))
        await put(objects, "k", b"there")
        with pytest.raises(PreconditionFailedError):
            await objects.complete_upload(
                BUCKET, "k", upload_id, parts, Sealed("e"), precondition=Precondition(if_none_match="*")
            )
        assert await get(objects, "k") == b"there"
        assert len(await objects.parts(BUCKET, "k", upload_id)) == 2
        await objects.complete_upload(BUCKET, "k", upload_id, parts, Sealed("e"))
        assert await get(objects, "k") == b"a" * SMALL + b"new"


async def test_parts_are_listed_by_number(tmp_path: Path) -> None:
    """Strictly after a number, at most so many."""
    async with with_bucket(tmp_path) as objects:
        upload = await objects.create_upload(BUCKET, "k", OWNER, checksum_algorithm="CRC32", checksum_type="COMPOSITE")
        for number in (10, 2, 7):
            await put_part(objects, "k", upload.id, number, b"x")
        assert await objects.upload(BUCKET, "k", upload.id) == upload
        assert [p.number for p in await objects.parts(BUCKET, "k", upload.id)] == [2, 7, 10]
        assert [p.number for p in await objects.parts(BUCKET, "k", upload.id, after=2, limit=1)] == [7]
        for key, upload_id in (("other", upload.id), ("k", "nonsense")):
            with pytest.raises(NoSuchUploadError):
                await objects.parts(BUCKET, key, upload_id)


async def test_abort_and_bucket_deletion_leave_nothing(tmp_path: Path) -> None:
    """Aborted by hand or with its bucket: records, files and accounts are empty again."""
    async with with_bucket(tmp_path) as objects:
        upload_id, _ = await begin(objects, (LARGE, SMALL))
        await objects.abort_upload(BUCKET, "k", upload_id)
        with pytest.raises(NoSuchUploadError):
            await objects.abort_upload(BUCKET, "k", upload_id)
        with pytest.raises(NoSuchUploadError):
            await put_part(objects, "k", upload_id, 1, b"late")
        await begin(objects, (LARGE, SMALL), "other")
        await objects.delete_bucket(BUCKET)
        await objects.store.collect()
        assert files(tmp_path) == []
        assert objects.local.usage_by_class() == {}


async def test_abandoned_uploads_expire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the days that the map allows, and not a moment before."""
    async with with_bucket(tmp_path) as objects:
        old, _ = await begin(objects, (LARGE,), "old")
        begun = (await objects.upload(BUCKET, "old", old)).started_ms
        monkeypatch.setattr(sweep, "wall_ms", lambda: begun + 7 * 86_400_000)
        monkeypatch.setattr(replica, "skewed_wall_ms", lambda: begun + 7 * 86_400_000)
        await objects.cluster.sweep.sweep()
        assert (await objects.upload(BUCKET, "old", old)).id == old
        monkeypatch.setattr(sweep, "wall_ms", lambda: begun + 7 * 86_400_000 + 1)
        monkeypatch.setattr(replica, "skewed_wall_ms", lambda: begun + 7 * 86_400_000 + 1)
        await objects.cluster.sweep.sweep()
        with pytest.raises(NoSuchUploadError):
            await objects.upload(BUCKET, "old", old)
        await maintenance.collect(objects.local, Notes())
        assert files(tmp_path) == []


async def test_a_cancelled_part_leaves_the_earlier_one(tmp_path: Path) -> None:
    """The client goes away in the middle of a part that replaces another: the other stays."""
    async with with_bucket(tmp_path) as objects:
        upload_id, parts = await begin(objects, (SMALL,))
        putting = asyncio.ensure_future(put_part(objects, "k", upload_id, 1, bytes(8 * 1024 * 1024)))
        await asyncio.sleep(0)
        putting.cancel()
        await asyncio.gather(putting, return_exceptions=True)
        assert list(await objects.parts(BUCKET, "k", upload_id)) == parts
        with pytest.raises(NoSuchKeyError):
            await objects.head(BUCKET, "k")
        assert objects.store.ledger.in_flight() == 0
