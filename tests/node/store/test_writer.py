"""Group commit: many steps share one fsync, and yet each fails alone."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.node.store.faulty_disk import NAME, FaultyDisk
from tests.node.store.harness import BUCKET, LARGE, OWNER, files, get, put, put_part, running, with_bucket

from moln_node.store import chunks, database, ingest
from moln_node.store.errors import CorruptError, DiskFailedError, IncompleteBodyError, NoSuchKeyError, StoreError
from moln_node.store.model import Usage
from moln_node.store.writer import GroupCommit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from moln_node.store.transaction import Transaction


def insert_junk(tx: Transaction) -> None:
    """A change that would be seen."""
    tx.db.execute("INSERT INTO meta VALUES ('junk', 1)")
    tx.count(1, "STANDARD", objects=1000)


def junk(tx: Transaction) -> int:
    """How often that change is there."""
    count = tx.db.execute("SELECT count(*) FROM meta WHERE name = 'junk'").fetchone()
    assert count is not None
    return int(count[0])


def changing_then(error: Exception) -> Callable[[Transaction], None]:
    """A faulty step: it changes something and then raises."""

    def step(tx: Transaction) -> None:
        insert_junk(tx)
        raise error

    return step


@pytest.mark.parametrize("error", [NoSuchKeyError(), ValueError("a defect"), MemoryError()], ids=repr)
async def test_a_faulty_step_fails_alone(tmp_path: Path, error: Exception) -> None:
    """A step that raises in the middle of a commit of twenty others: only it fails, and its change is not there."""
    async with with_bucket(tmp_path) as objects:
        good = [put(objects, str(number), b"x") for number in range(20)]
        faulty = objects.store.commit(changing_then(error))
        outcomes = await asyncio.gather(*good[:10], faulty, *good[10:], return_exceptions=True)
        assert [o for o in outcomes if isinstance(o, BaseException)] == [error]
        assert await objects.store.commit(junk) == 0
        assert await objects.bucket_usage(BUCKET) == Usage(20, 20)
        assert len((await objects.list_objects(BUCKET)).records) == 20


async def test_steps_share_commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred puts at once need far fewer commits than a hundred: that is what an fsync is shared by."""
    commits = 0
    commit = GroupCommit._commit

    def counted(self: GroupCommit) -> None:
        nonlocal commits
        commits += 1
        commit(self)

    async with with_bucket(tmp_path) as objects:
        monkeypatch.setattr(GroupCommit, "_commit", counted)
        await asyncio.gather(*(put(objects, str(number), b"x") for number in range(100)))
        assert 0 < commits < 50


async def test_after_a_failed_commit_nothing_more_is_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should the disk refuse an fsync, nobody knows what it kept: reads go on, and writes fail until a restart.

    Also where the disk takes the next fsync, as Linux does, which has forgotten by then what it could not write. The
    body of the write in doubt stays: its record may be there after the restart.
    """
    bad = False
    disk = FaultyDisk(lambda: bad)  # it is there for as long as somebody holds it
    monkeypatch.setattr(database, "_VFS", NAME)
    async with with_bucket(tmp_path) as objects:
        await put(objects, "before", b"1")
        assert objects.store.failure is None
        failing = asyncio.create_task(objects.store.fails())
        bad = True
        with pytest.raises(DiskFailedError, match="disk I/O error"):
            await put(objects, "lost", bytes(LARGE))
        bad = False
        with pytest.raises(DiskFailedError):
            await put(objects, "after", b"3")
        assert await failing is objects.store.failure
        assert await get(objects, "before") == b"1"
        assert objects.store.ledger.in_flight() == 0
    assert len(files(tmp_path)) == 1
    async with with_bucket(tmp_path / "another") as objects:
        assert objects.store.failure is None
    del disk


async def test_the_log_is_written_again_before_it_is_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a crash the log may be in memory only, where an fsync had failed: the disk has to take it this time."""
    data = tmp_path / "crashed"
    async with with_bucket(tmp_path / "whole") as objects:
        await put(objects, "k", b"x")
        shutil.copytree(tmp_path / "whole", data)
    log = data / "index.db-wal"
    content = log.read_bytes()
    assert content
    log.touch()
    os.utime(log, ns=(0, 0))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", _refusing(log))
        with pytest.raises(OSError, match="Input/output error"):
            async with running(data):
                pass
    assert log.read_bytes() == content
    assert log.stat().st_mtime_ns > 0
    async with running(data) as objects:
        assert await get(objects, "k") == b"x"


def _refusing(path: Path) -> Callable[[int], None]:
    """An fsync that fails for this file."""
    fsync = os.fsync

    def refuse(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink() == path:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(descriptor)

    return refuse


async def test_a_damaged_row_met_in_a_step_harms_no_other(tmp_path: Path) -> None:
    """Overwriting an object whose record is damaged fails with CorruptError, beside writes that succeed."""
    async with with_bucket(tmp_path) as objects:
        await put(objects, "bad", b"x")
        await objects.store.commit(
            lambda tx: tx.db.execute(
                "UPDATE record SET document = CAST(x'00' || substr(document, 2) AS BLOB)"
            ).fetchall()
        )
        outcomes = await asyncio.gather(
            put(objects, "bad", b"new"), *(put(objects, str(n), b"y") for n in range(5)), return_exceptions=True
        )
        assert isinstance(outcomes[0], CorruptError)
        assert not any(isinstance(outcome, StoreError) for outcome in outcomes[1:])


async def test_a_body_that_lost_bytes_on_its_way_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Should a defect above lose a batch, the step notices that the bodies are not the size declared."""

    async def lossy(body: AsyncIterator[bytes], _: int) -> AsyncIterator[list[bytes]]:
        async for piece in body:
            yield [piece[:-1]]

    monkeypatch.setattr(ingest, "batches", lossy)
    monkeypatch.setattr(chunks, "batches", lossy)
    async with with_bucket(tmp_path) as objects:
        for storage_class in ("STANDARD", "DEDUP"):
            with pytest.raises(IncompleteBodyError):
                await put(objects, "k", bytes(LARGE), storage_class=storage_class)
        upload = await objects.create_upload(BUCKET, "k", OWNER)
        with pytest.raises(IncompleteBodyError):
            await put_part(objects, "k", upload.id, 1, bytes(LARGE))
        assert (await objects.list_objects(BUCKET)).records == ()
        assert objects.store.ledger.in_flight() == 0
    assert files(tmp_path) == []
