"""A node that is the only one: its own word is a quorum, and it leaves nothing behind that only others would need."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.node.store.harness import BUCKET, LARGE, OWNER, get, put, put_part, with_bucket

from moln_node.store.errors import NoSuchVersionError, PreconditionFailedError
from moln_node.store.model import Precondition, Sealed, Versioning

if TYPE_CHECKING:
    from pathlib import Path

    import apsw
    from tests.node.store.harness import Node

_ROUNDS = 40


def _traces(db: apsw.Connection) -> list[int]:
    """Rows of objects and uploads (bucket registers have number 0), promises, bodies, garbage."""
    sql = """SELECT (SELECT count(*) FROM record WHERE bucket > 0), (SELECT count(*) FROM promise),
        (SELECT count(*) FROM body), (SELECT count(*) FROM small), (SELECT count(*) FROM garbage)"""
    return list(db.execute(sql).fetchone() or ())


async def _upload(node: Node, key: str, *, complete: bool) -> None:
    upload = await node.create_upload(BUCKET, key, OWNER)
    part = await put_part(node, key, upload.id, 1, b"x" * LARGE)
    if complete:
        await node.complete_upload(BUCKET, key, upload.id, [part], Sealed("e"))
    else:
        await node.abort_upload(BUCKET, key, upload.id)


@pytest.mark.parametrize("versioning", list(Versioning))
async def test_what_is_deleted_leaves_no_trace(tmp_path: Path, versioning: Versioning) -> None:
    """No tombstones or promises: keys that come and go, versions, uploads and parts leave the index as it was."""
    async with with_bucket(tmp_path, versioning) as node:
        for key in ("a", "b", "a", "never there"):
            if key != "never there":
                await put(node, key, b"x" * LARGE)
                await put(node, key, b"")
            await node.set_attributes(BUCKET, "a", None, tags={"t": "1"})
            await node.delete(BUCKET, key)
            await put(node, "a", b"x")
        await _upload(node, "c", complete=True)
        await _upload(node, "d", complete=False)
        for record in (await node.list_versions(BUCKET)).records:
            await node.delete(BUCKET, record.key, record.version_id)
        await node.store.collect()
        assert await node.store.look(_traces) == [0, 0, 0, 0, 0]
        await node.delete_bucket(BUCKET)
        assert await node.store.look(lambda db: db.execute("SELECT count(*) FROM record").fetchone()) == (0,)


async def test_a_version_that_is_dropped_stays_dropped(tmp_path: Path) -> None:
    """Tags of an older, empty version, set while it is deleted: once the delete is answered, it is not there."""
    async with with_bucket(tmp_path, Versioning.ENABLED) as node:
        for turn in range(_ROUNDS):
            old = await put(node, "k", b"")
            await put(node, "k", b"newer")
            writes = [node.set_attributes(BUCKET, "k", old.version_id, tags={"t": str(n)}) for n in range(4)]
            writes.insert(turn % 5, node.delete(BUCKET, "k", old.version_id))
            outcomes = await asyncio.gather(*writes, return_exceptions=True)
            assert all(not isinstance(o, BaseException) or isinstance(o, NoSuchVersionError) for o in outcomes)
            with pytest.raises(NoSuchVersionError):
                await node.head(BUCKET, "k", old.version_id)


async def test_no_conditional_write_is_lost(tmp_path: Path) -> None:
    """Many count up one number, each with If-Match: every one that succeeds is in the sum."""
    async with with_bucket(tmp_path) as node:
        await put(node, "k", b"0")

        async def count_up() -> None:
            while True:
                async with node.open(BUCKET, "k") as reading:
                    seen = reading.record.etag
                    number = int(b"".join([piece async for piece in reading.read(0, reading.record.size)]))
                try:
                    await put(node, "k", b"%d" % (number + 1), precondition=Precondition(if_match=seen))
                except PreconditionFailedError:
                    continue
                return

        await asyncio.gather(*(count_up() for _ in range(_ROUNDS)))
        assert await get(node, "k") == b"%d" % _ROUNDS
