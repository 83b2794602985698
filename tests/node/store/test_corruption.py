"""One flipped bit anywhere on the disk is an error, or makes no difference: never other bytes, never a missing key."""

from __future__ import annotations

import random
import shutil
from typing import TYPE_CHECKING

import pytest
from tests.node.store.harness import (
    BUCKET,
    LARGE,
    OWNER,
    SMALL,
    Node,
    Notes,
    cloud_map,
    files,
    get,
    put,
    put_part,
    running,
    with_bucket,
)

from moln_node.cluster import maintenance
from moln_node.store.database import FORMAT, OLDEST_READER, connect
from moln_node.store.errors import CorruptError, NoSuchBucketError, StoreError, UnsupportedFormatError
from moln_node.store.model import Sealed, Versioning

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import apsw

Everything = tuple[tuple[object, ...], dict[str, bytes]]


async def fill(objects: Node) -> None:
    """Objects of every kind: inline, in files, compressed, chunked, in parts, many, with versions."""
    noise = random.Random(5).randbytes(LARGE)
    for storage_class in ("STANDARD", "ZSTD", "DEDUP"):
        await put(objects, f"small/{storage_class}", noise[:SMALL], storage_class=storage_class)
        await put(
            objects, f"large/{storage_class}", noise[: LARGE // 2] + bytes(LARGE // 2), storage_class=storage_class
        )
    upload = await objects.create_upload(BUCKET, "parts", OWNER)
    parts = [await put_part(objects, "parts", upload.id, number, noise[:SMALL]) for number in (1, 2)]
    await objects.complete_upload(BUCKET, "parts", upload.id, parts, Sealed("e-2"))
    await objects.set_bucket(BUCKET, versioning=Versioning.ENABLED)
    for number in range(150):
        await put(objects, f"many/{number % 50}", noise[number : 300 + number])


async def everything(objects: Node) -> Everything:
    """All that a client can see."""
    listed = (await objects.list_versions(BUCKET)).records
    heads = {record.key: await get(objects, record.key) for record in (await objects.list_objects(BUCKET)).records}
    return (await objects.bucket(BUCKET), *listed), heads


def flip(path: Path, position: int, bit: int) -> None:
    """Flip one bit of a file."""
    with path.open("r+b") as file:
        file.seek(position)
        (byte,) = file.read(1)
        file.seek(position)
        file.write(bytes([byte ^ 1 << bit]))


async def seen_after_flip(data: Path, whole: Everything) -> bool:
    """Whether the damage was noticed; fails if anything else than what was written was served."""
    noticed = False
    try:
        async with running(data) as objects:
            try:
                assert await everything(objects) == whole
            except CorruptError:
                noticed = True
                for key, content in whole[1].items():
                    try:
                        assert await get(objects, key) == content
                    except CorruptError:
                        continue
            notes = Notes()
            await maintenance.scrub(objects.cluster, notes)
            return noticed or notes.counts["bad"] > 0
    except (CorruptError, UnsupportedFormatError):
        return True


@pytest.fixture
async def written(tmp_path: Path) -> tuple[Path, Everything]:
    """A closed store, and what it holds."""
    data = tmp_path / "whole"
    async with with_bucket(data) as objects:
        await fill(objects)
        whole = await everything(objects)
    return data, whole


async def test_flips_in_body_files(written: tuple[Path, Everything]) -> None:
    """In the header, blocks, block index and trailer of each file: always noticed, never served."""
    data, whole = written
    chance = random.Random(11)
    for path in files(data):
        length = path.stat().st_size
        positions = {
            0,
            8,
            12,
            16,
            24,
            31,
            32,
            length - 1,
            length - 8,
            length - 16,
            length - 24,
            length - 48,
            length - 52,
        }
        positions |= {chance.randrange(length) for _ in range(5)}
        for position in sorted(positions):
            bit = chance.randrange(8)
            flip(path, position, bit)
            assert await seen_after_flip(data, whole), f"byte {position} of {length} bit {bit}"
            flip(path, position, bit)
    assert not await seen_after_flip(data, whole)


async def test_body_files_cut_short_swapped_or_missing(written: tuple[Path, Everything]) -> None:
    """A file that lost its end, is another's, is empty or is gone: noticed, never served."""
    data, whole = written
    first, second = files(data)[:2]
    original = first.read_bytes()
    for content in (original[:-1], original[: len(original) // 2], original[:40], b"", second.read_bytes(), None):
        if content is None:
            first.unlink()
        else:
            first.write_bytes(content)
        assert await seen_after_flip(data, whole)
    first.write_bytes(original)
    assert not await seen_after_flip(data, whole)


async def test_flips_in_the_index(tmp_path: Path, written: tuple[Path, Everything]) -> None:
    """In every byte of its header, and all over its pages: an error or no difference."""
    data, whole = written
    chance = random.Random(13)
    index = data / "index.db"
    length = index.stat().st_size
    positions = [*range(0, 100, 3), 20, *(chance.randrange(length) for _ in range(150))]
    noticed = 0
    for position in positions:
        bit = chance.randrange(8)
        damaged = tmp_path / "damaged"
        shutil.copytree(data, damaged)
        flip(damaged / "index.db", position, bit)
        noticed += await seen_after_flip(damaged, whole)
        shutil.rmtree(damaged)
    assert noticed > len(positions) // 2, "flips in pages that hold something must be noticed"


async def test_documents_are_checked_below_the_pages(tmp_path: Path) -> None:
    """A row changed by SQL, its page's checksum right: records, small bodies, layouts and buckets are still refused."""
    async with with_bucket(tmp_path) as objects:
        await put(objects, "k", bytes(SMALL))
        upload = await objects.create_upload(BUCKET, "parts", OWNER)
        part = await put_part(objects, "parts", upload.id, 1, bytes(SMALL))
        await objects.complete_upload(BUCKET, "parts", upload.id, [part], Sealed("e-1"))

        async def spoil(sql: str) -> None:
            await objects.store.commit(lambda tx: tx.db.execute(sql).fetchall())

        await spoil("UPDATE small SET content = CAST(substr(content, 1, length(content) - 1) || x'ff' AS BLOB)")
        for key in ("k", "parts"):
            with pytest.raises(CorruptError):
                await get(objects, key)
        await spoil("UPDATE record SET key = CAST('other' AS BLOB) WHERE key = CAST('k' AS BLOB)")
        for call in (objects.head(BUCKET, "other"), objects.list_objects(BUCKET), objects.list_versions(BUCKET)):
            with pytest.raises(CorruptError):
                await call
        await spoil(
            "UPDATE record SET document = CAST(CASE substr(document, 1, 1) WHEN x'00' THEN x'01' ELSE x'00' END"
            " || substr(document, 2) AS BLOB) WHERE bucket = 0"
        )
        with pytest.raises(CorruptError):
            await objects.buckets()
        await spoil(
            "UPDATE bucket SET document = CAST(CASE substr(document, 1, 1) WHEN x'00' THEN x'01' ELSE x'00' END"
            " || substr(document, 2) AS BLOB)"
        )
        notes = Notes()
        await maintenance.scrub(objects.cluster, notes, mode="light")
        assert notes.counts["bad"] >= 2
    with pytest.raises(CorruptError):
        await Node.start(tmp_path, cloud_map())


async def test_scrub_names_what_is_damaged(written: tuple[Path, Everything]) -> None:
    """Light notices a missing file, deep a flipped byte, verify one object; each says which object it is."""
    data, _ = written
    (first, *_) = files(data)
    length = first.stat().st_size
    flip(first, length // 2, 3)
    async with running(data) as objects:
        light, deep, sampled = Notes(), Notes(), Notes()
        await maintenance.scrub(objects.cluster, light, mode="light")
        await maintenance.scrub(objects.cluster, deep, mode="deep")
        await maintenance.scrub(objects.cluster, sampled, mode="sampled", sample_percent=100)
        assert light.counts["bad"] == 0
        assert (deep.counts["bad"], sampled.counts["bad"]) == (1, 1)
        assert any("bucket/large/STANDARD is damaged" in finding for finding in deep.findings)
        assert deep.counts["bytes"] > light.counts["bytes"] == 0
        verify = Notes()
        await maintenance.verify(objects.local, verify, BUCKET, "large/STANDARD")
        assert verify.counts["bad"] == 1
        await maintenance.verify(objects.local, verify, BUCKET, "large/ZSTD")
        assert verify.counts == {"bytes": LARGE, "bad": 0}
        first.unlink()
        await maintenance.scrub(objects.cluster, light, mode="light")
        assert light.counts["bad"] == 1
        with pytest.raises(StoreError):
            await maintenance.verify(objects.local, verify, BUCKET, "no such key")


async def test_pages_of_the_index_that_cannot_be_read_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody can say which rows were on them: the node is damaged until its disk is replaced, and says so once."""
    async with with_bucket(tmp_path) as objects:
        await put(objects, "k", b"x")
        sql = "SELECT rootpage FROM sqlite_master WHERE name = 'record'"
        page = await objects.store.look(lambda db: db.execute(sql).get)
    flip(tmp_path / "index.db", page * 8192 - 100, 3)
    async with running(tmp_path) as objects:
        assert (objects.store.index_damage, objects.cluster.damage) == (None, 0)
        for _ in range(2):
            with pytest.raises(CorruptError):
                await objects.head(BUCKET, "k")
        with pytest.raises(CorruptError):
            await put(objects, "k", b"y")
        assert "checksum" in str(objects.store.index_damage)
        assert objects.cluster.damage == 1
    assert caplog.text.count("pages of this node's index can't be read") == 1


def _everything(data: Path) -> list[Path]:
    return sorted(data.rglob("*"))


@pytest.mark.parametrize("lost", ["empty", "missing", "with all bodies"])
async def test_a_disk_without_its_index_is_refused_untouched(tmp_path: Path, lost: str) -> None:
    """No index knows any body: were a new one made, all of them would be removed as nobody's, the last copies too."""
    async with with_bucket(tmp_path) as objects:
        await put(objects, "k", bytes(LARGE))
    (tmp_path / "cloud-map.json").write_text("{}")
    index = tmp_path / "index.db"
    whole = index.read_bytes()
    if lost == "empty":
        index.write_bytes(b"")
    else:
        index.unlink()
    if lost == "with all bodies":
        shutil.rmtree(tmp_path / "bodies")
    there = _everything(tmp_path)
    with pytest.raises(CorruptError, match=f"index.db is {'empty' if lost == 'empty' else 'missing'}, but .* move all"):
        async with running(tmp_path):
            pass
    assert _everything(tmp_path) == there
    if lost != "with all bodies":
        index.write_bytes(whole)
        async with running(tmp_path) as objects:
            assert await get(objects, "k") == bytes(LARGE)


async def test_a_new_disk_whose_first_start_was_cut_short_starts_again(tmp_path: Path) -> None:
    """A crash after the index's first page and before its tables: nothing was kept yet."""
    database = connect(tmp_path / "index.db")
    database.reserve_bytes("main", 8)
    database.execute("PRAGMA page_size = 8192; PRAGMA journal_mode = WAL")
    database.close()
    bare = (tmp_path / "index.db").read_bytes()
    assert len(bare) == 8192
    async with with_bucket(tmp_path) as objects:
        await put(objects, "k", bytes(LARGE))
    (tmp_path / "index.db").write_bytes(bare)
    with pytest.raises(UnsupportedFormatError):
        async with running(tmp_path):
            pass
    assert len(files(tmp_path)) == 1


def as_written_by(tmp_path: Path, version: int, oldest_reader: int) -> bytes:
    """Make the index one of a release of this format; the file's bytes."""
    path = tmp_path / "index.db"
    database = connect(path)
    database.execute(f"PRAGMA user_version = {version}")
    database.execute("UPDATE meta SET value = ? WHERE name = 'oldest_reader'", (oldest_reader,))
    database.close()
    return path.read_bytes()


@pytest.mark.parametrize(
    ("version", "oldest_reader"), [(999, FORMAT + 1), (FORMAT + 1, FORMAT + 1), (FORMAT - 3, FORMAT - 3)]
)
async def test_an_index_of_another_format_is_refused_untouched(
    tmp_path: Path, version: int, oldest_reader: int
) -> None:
    """A newer release's index, or an older one's: a refusal that says what is needed, and not one byte changed."""
    async with with_bucket(tmp_path):
        pass
    before = as_written_by(tmp_path, version, oldest_reader)
    words = f"format {version}, for releases that read {oldest_reader} or newer; this one reads {FORMAT}"
    with pytest.raises(UnsupportedFormatError, match=words):
        async with running(tmp_path):
            pass
    assert (tmp_path / "index.db").read_bytes() == before


async def test_an_index_of_a_newer_release_that_had_this_one_in_mind_is_served(tmp_path: Path) -> None:
    """An upgrade is rolled back: what is there is read, and the format stays the newer one's."""
    async with with_bucket(tmp_path) as objects:
        await put(objects, "k", b"before")
    as_written_by(tmp_path, FORMAT + 1, FORMAT)
    async with running(tmp_path) as objects:
        assert await get(objects, "k") == b"before"
        await put(objects, "l", b"after")
    async with running(tmp_path) as objects:
        assert await get(objects, "l") == b"after"
    database = connect(tmp_path / "index.db")
    assert database.pragma("user_version") == FORMAT + 1
    database.close()


@pytest.mark.parametrize(
    "undone",
    [
        "DROP TABLE owed; PRAGMA user_version = 3; DELETE FROM meta WHERE name = 'oldest_reader'",
        "PRAGMA user_version = 4",
    ],
    ids=["3", "4"],
)
async def test_an_index_of_a_format_before_is_brought_forward(tmp_path: Path, undone: str) -> None:
    """Format 3 had no queue of owed writes, which is added; 4 knew no body apart."""
    async with with_bucket(tmp_path) as objects:
        await put(objects, "k", b"kept")
    database = connect(tmp_path / "index.db")
    database.execute(undone)
    database.close()
    async with running(tmp_path) as objects:
        assert (await objects.head(BUCKET, "k")).size == 4
        assert await objects.local.store.look(lambda db: db.execute("SELECT count(*) FROM owed").fetchone()) == (0,)
    database = connect(tmp_path / "index.db")
    oldest = database.execute("SELECT value FROM meta WHERE name = 'oldest_reader'").fetchone()
    assert (database.pragma("user_version"), oldest) == (FORMAT, (OLDEST_READER,))
    database.close()


async def test_orphans_are_found_before_they_are_removed(tmp_path: Path) -> None:
    """A dry run lists them and touches nothing; the real one removes them and no other file."""
    async with with_bucket(tmp_path) as objects:
        await put(objects, "k", bytes(LARGE))
        (kept,) = files(tmp_path)
        orphan = kept.with_name("00000fffff000001")
        shutil.copy(kept, orphan)
        notes = Notes()
        await maintenance.orphans(objects.local, notes)
        assert notes.counts == {"files": 2, "orphans": 1, "bytes": orphan.stat().st_size, "deleted": 0}
        assert str(orphan) in notes.findings[0] or orphan.name in notes.findings[0]
        assert orphan.exists()
        await maintenance.orphans(objects.local, notes, dry_run=False)
        assert files(tmp_path) == [kept]


async def test_a_small_body_or_a_layout_that_is_gone_is_found(tmp_path: Path) -> None:
    """A row that a record names and that is not there is told by a scrub, with the object's name."""
    async with with_bucket(tmp_path) as objects:
        await put(objects, "small", bytes(SMALL))
        upload = await objects.create_upload(BUCKET, "parts", OWNER)
        part = await put_part(objects, "parts", upload.id, 1, bytes(SMALL))
        await objects.complete_upload(BUCKET, "parts", upload.id, [part], Sealed("e-1"))
        await put(objects, "whole", bytes(LARGE))
        notes = Notes()
        await maintenance.scrub(objects.cluster, notes)
        assert notes.findings == []
        await objects.store.commit(lambda tx: tx.db.execute("DELETE FROM small").fetchall())
        await maintenance.scrub(objects.cluster, notes)
        assert notes.counts["bad"] == len(notes.findings) == 2
        for key in ("small", "parts"):
            assert any(f"{BUCKET}/" in found and key in found for found in notes.findings), notes.findings


async def test_what_the_collector_removes_meanwhile_is_no_orphan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A body that is collected between the look at the directory and the look at the index was never an orphan."""
    async with with_bucket(tmp_path) as objects:
        await put(objects, "k", bytes(LARGE))
        look = objects.store.look

        async def late(question: Callable[[apsw.Connection], object]) -> object:
            await objects.store.collect()
            return await look(question)

        monkeypatch.setattr(objects.store, "look", late)
        await objects.delete(BUCKET, "k")
        notes = Notes()
        await maintenance.orphans(objects.local, notes)
        assert notes.findings == []
        assert notes.counts == {"files": 1, "orphans": 0, "bytes": 0, "deleted": 0}
        assert files(tmp_path) == []


async def test_flips_in_the_log(tmp_path: Path) -> None:
    """A log not yet folded into the index: what is served after a flip are the first so many writes, each whole."""
    chance = random.Random(17)
    data, damaged = tmp_path / "whole", tmp_path / "damaged"
    contents = [chance.randbytes(SMALL) for _ in range(30)]
    async with with_bucket(data) as objects:
        for number, content in enumerate(contents):
            await put(objects, f"{number:02}", content)
        shutil.copytree(data, tmp_path / "crashed")
    length = (tmp_path / "crashed" / "index.db-wal").stat().st_size
    assert length > len(contents) * SMALL
    for _ in range(60):
        shutil.copytree(tmp_path / "crashed", damaged)
        flip(damaged / "index.db-wal", chance.randrange(length), chance.randrange(8))
        try:
            async with running(damaged) as objects:
                records = (await objects.list_objects(BUCKET)).records
                assert [r.key for r in records] == [f"{number:02}" for number in range(len(records))]
                for record, content in zip(records, contents, strict=False):
                    assert await get(objects, record.key) == content
        except (CorruptError, NoSuchBucketError):
            pass
        shutil.rmtree(damaged)
