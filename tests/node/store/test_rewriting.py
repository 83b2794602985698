"""Rewriting: what is kept comes to be as classes and rules are today, and S3 sees nothing of it but the class."""

from __future__ import annotations

import asyncio
import os
import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from tests.node.store.harness import (
    BUCKET,
    LARGE,
    OWNER,
    SMALL,
    Node,
    Notes,
    cloud_map,
    etag,
    files,
    get,
    put,
    put_part,
    with_bucket,
)

from moln_node.cluster import maintenance
from moln_node.cluster.walking import Scope
from moln_node.store.errors import NoSuchBucketError, StorageFullError
from moln_node.store.ledger import Space
from moln_node.store.model import Retention, Sealed, Versioning
from moln_spec.classes import AssignmentRule, Compression, Match, StorageClass
from moln_spec.cloudmap import Limits

if TYPE_CHECKING:
    from pathlib import Path

    from moln_node.store.model import Record

ALL = Scope()
EVERYTHING = AssignmentRule(name="all", match=Match(), storage_class="ZSTD")


def text(size: int, seed: int = 1) -> bytes:
    """Bytes that compress."""
    return (random.Random(seed).randbytes(50).hex().encode() * (size // 100 + 1))[:size]


async def edit(
    objects: Node,
    *,
    epoch: int = 2,
    rules: tuple[AssignmentRule, ...] = (),
    limits: Limits | None = None,
    **kept: object,
) -> None:
    """A newer map, in which the default class is kept otherwise: compression, deduplication."""
    newer = cloud_map(epoch=epoch, rules=rules, limits=limits)
    default = StorageClass.model_validate({"name": "STANDARD", "default": True, **kept})
    await objects.cluster.adopt(newer.model_copy(update={"storage_classes": (default, *newer.storage_classes[1:])}))


async def rewrite(objects: Node, scope: Scope = ALL, *, dry_run: bool = False) -> Notes:
    """Rewrite what is there, or tell of it."""
    notes = Notes()
    await maintenance.rewrite(objects.local, objects.cluster, notes, scope, dry_run=dry_run)
    return notes


async def reassign(objects: Node, scope: Scope = ALL, *, dry_run: bool = False) -> Notes:
    """Reassign what is there, or tell of it."""
    notes = Notes()
    await maintenance.reassign(objects.local, objects.cluster, notes, scope, dry_run=dry_run)
    return notes


async def seen(objects: Node) -> list[tuple[Record, bytes]]:
    """Everything that S3 shows of every version."""
    records = (await objects.list_versions(BUCKET)).records
    return [(await head(objects, one), await get(objects, one.key, version_id=one.version_id)) for one in records]


async def head(objects: Node, one: Record) -> Record:
    """A version with its parts."""
    found: Record = await objects.head(BUCKET, one.key, one.version_id)
    return found


async def sound(objects: Node) -> None:
    """A scrub finds nothing, and no file is left over."""
    notes = Notes()
    await maintenance.scrub(objects.cluster, notes)
    await maintenance.orphans(objects.local, notes)
    assert notes.findings == []


async def an_upload(objects: Node, key: str, *parts: bytes) -> None:
    """An object uploaded in parts."""
    upload = await objects.create_upload(BUCKET, key, OWNER)
    there = [await put_part(objects, key, upload.id, number, part) for number, part in enumerate(parts, start=1)]
    await objects.complete_upload(BUCKET, key, upload.id, there, Sealed("0123-2"))


def on_disk(data: Path) -> int:
    """Bytes of body files."""
    return sum(path.stat().st_size for path in files(data))


async def test_every_version_is_packed_as_its_class_says_today(tmp_path: Path) -> None:
    """Small, large, old versions, in parts and locked: smaller on the disk, and the same in all that S3 shows."""
    async with with_bucket(tmp_path, Versioning.ENABLED) as objects:
        locked = replace(OWNER, lock=replace(OWNER.lock, retention=Retention("COMPLIANCE", 1 << 45), hold="ON"))
        for seed in (1, 2):
            await put(objects, "small", text(SMALL, seed))
            await put(objects, "large", text(LARGE, seed))
        await put(objects, "locked", text(LARGE, 3), attributes=locked)
        await put(objects, "empty", b"")
        await put(objects, "asked for", text(LARGE, 4), storage_class="ZSTD")
        await an_upload(objects, "parts", text(6_000_000, 5), text(LARGE, 6))
        await objects.delete(BUCKET, "small", owner="me")
        before, bytes_before, usage = await seen_but_markers(objects), on_disk(tmp_path), objects.local.usage_by_class()

        assert (await rewrite(objects)).counts["differing"] == 0, "nothing was edited"
        await edit(objects, compression={"algorithm": "zstd", "level": 5})
        told = await rewrite(objects, dry_run=True)
        assert told.counts["differing"] == 6
        assert (on_disk(tmp_path), await seen_but_markers(objects)) == (bytes_before, before)
        done = await rewrite(objects)
        await objects.store.collect()
        assert (done.counts["rewritten"], done.counts["bytes"]) == (6, told.counts["bytes"])
        assert done.counts["before"] == told.counts["before"] > 10 * done.counts["after"]
        assert 0.5 < done.counts["after"] / told.counts["after"] < 2
        assert on_disk(tmp_path) < bytes_before / 10
        assert await seen_but_markers(objects) == before
        assert objects.local.usage_by_class() == usage
        await objects.set_attributes(BUCKET, "large", None, tags={"a": "b"})
        assert (await rewrite(objects)).counts["differing"] == 0, "what is done is not done again"
        await sound(objects)


async def seen_but_markers(objects: Node) -> list[tuple[Record, bytes]]:
    """Everything that S3 shows of every object version."""
    records = [one for one in (await objects.list_versions(BUCKET)).records if one.kind == "object"]
    return [(await head(objects, one), await get(objects, one.key, version_id=one.version_id)) for one in records]


async def test_deduplication_comes_and_goes_and_changes_its_level(tmp_path: Path) -> None:
    """Equal objects share their chunks from then on, at the new level too, and do not when it is off again."""
    data = text(500_000) + random.Random(2).randbytes(1_500_000)
    async with with_bucket(tmp_path) as objects:
        for key in "abc":
            await put(objects, key, data)
        before = await seen(objects)
        alone = on_disk(tmp_path)
        sizes = []
        for epoch, level in ((2, 1), (3, 9)):
            await edit(objects, epoch=epoch, deduplication=True, compression={"algorithm": "zstd", "level": level})
            if epoch == 3:
                await put(objects, "c", data)  # shares chunks of the level before: is rewritten with the others
            assert (await rewrite(objects)).counts["rewritten"] == 3
            await objects.store.collect()
            sizes.append(on_disk(tmp_path))
            assert (await rewrite(objects)).counts["differing"] == 0
        assert max(sizes) < alone / 2.9
        refs = await objects.store.look(lambda db: [row[0] for row in db.execute("SELECT refs FROM body")])
        assert set(refs) == {3}, "one chunk of each, for all"
        await edit(objects, epoch=4)
        assert (await rewrite(objects)).counts["rewritten"] == 3
        await objects.store.collect()
        assert on_disk(tmp_path) == alone
        assert [data for _, data in await seen(objects)] == [data for _, data in before]
        await sound(objects)


async def test_only_what_is_asked_for(tmp_path: Path) -> None:
    """A bucket and a prefix bound it, byte for byte; a bucket that is not there is named."""
    async with with_bucket(tmp_path) as objects:
        for key in ("a/1", "a/2", "A/1", "a", "b"):
            await put(objects, key, text(SMALL))
        await edit(objects, compression={"algorithm": "zstd"})
        told = await rewrite(objects, Scope(BUCKET, "a/"), dry_run=True)
        assert [line.split(":")[0] for line in told.findings] == [f"{BUCKET}/a/1", f"{BUCKET}/a/2"]
        assert (await rewrite(objects, Scope(BUCKET, "a/"))).counts["rewritten"] == 2
        assert (await rewrite(objects)).counts["rewritten"] == 3
        with pytest.raises(NoSuchBucketError, match="none"):
            await rewrite(objects, Scope("none"))


async def test_a_full_volume_stops_it_with_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was rewritten until then stays so, the rest as it was."""
    async with with_bucket(tmp_path) as objects:
        await put(objects, "k", text(LARGE))
        await edit(objects, limits=Limits(reserve_percent=10), compression={"algorithm": "zstd"})
        with monkeypatch.context() as full:
            full.setattr(objects.store.ledger, "_recent_space", lambda: Space(10 * LARGE, 2 * LARGE - 1))
            with pytest.raises(StorageFullError, match="reserve"):
                await rewrite(objects)
        assert await get(objects, "k") == text(LARGE)
        await edit(objects, epoch=3, compression={"algorithm": "zstd"})
        assert (await rewrite(objects)).counts["rewritten"] == 1
        await sound(objects)


async def test_a_damaged_copy_is_told_of_and_left(tmp_path: Path) -> None:
    """Bad bytes are not packed anew, as if they were good."""
    async with with_bucket(tmp_path) as objects:
        await put(objects, "bad", text(LARGE))
        await put(objects, "good", text(LARGE, 2))
        path = files(tmp_path)[0]
        with path.open("r+b") as file:
            file.seek(1000)
            file.write(b"\0\0\0")
        await edit(objects, compression={"algorithm": "zstd"})
        notes = await rewrite(objects)
        assert (notes.counts["rewritten"], notes.counts["bad"]) == (1, 1)
        assert len(notes.findings) == 1
        assert notes.findings[0].startswith(f"{BUCKET}/bad: ")
        assert path.exists()


async def test_who_reads_and_writes_meanwhile_feels_nothing(tmp_path: Path) -> None:
    """A reader in the middle of an object gets it whole; a put in between wins, and is not undone."""
    async with with_bucket(tmp_path) as objects:
        big = os.urandom(1000) * 6000
        for number in range(12):
            await put(objects, f"k{number:02}", big + bytes([number]))
        await edit(objects, compression={"algorithm": "zstd"})
        async with objects.open(BUCKET, "k00") as reading:
            pieces = reading.read(0, reading.record.size)
            first = await anext(pieces)
            running = asyncio.create_task(rewrite(objects))
            while not running.done():
                for number in range(0, 12, 2):
                    await put(objects, f"k{number:02}", b"newer")
                await objects.delete(BUCKET, "k01")
                await asyncio.sleep(0.01)
            await running
            await objects.store.collect()
            assert first + b"".join([piece async for piece in pieces]) == big + b"\0"
        listed = {one.key for one in (await objects.list_objects(BUCKET)).records}
        assert listed == {f"k{number:02}" for number in range(12) if number != 1}
        for key in listed:
            number = int(key[1:])
            assert await get(objects, key) == (big + bytes([number]) if number % 2 else b"newer")
        await objects.store.collect()
        await sound(objects)


async def test_rules_of_today_give_the_class_but_not_to_what_a_client_chose(tmp_path: Path) -> None:
    """Chosen by header stays; chosen by rules or the default moves: every version, parts, and the accounts with it."""
    async with with_bucket(tmp_path, Versioning.ENABLED) as objects:
        await put(objects, "k", text(LARGE, 1))
        await put(objects, "k", text(LARGE, 2))
        await put(objects, "chosen", text(LARGE, 3), storage_class="DEDUP")
        await put(objects, "chosen too", text(LARGE, 4), storage_class="STANDARD")
        await an_upload(objects, "parts", text(6_000_000, 5), text(LARGE, 6))
        await objects.delete(BUCKET, "k", owner="me")
        before = await seen_but_markers(objects)
        assert (await reassign(objects)).counts["differing"] == 0
        await edit(objects, rules=(EVERYTHING,))
        told = await reassign(objects, dry_run=True)
        assert told.findings == [
            f"{BUCKET}/k: STANDARD -> ZSTD (all matches)",
            f"{BUCKET}/k: STANDARD -> ZSTD (all matches)",
            f"{BUCKET}/parts: STANDARD -> ZSTD (all matches)",
        ]
        assert (await rewrite(objects, dry_run=True)).counts["differing"] == 3, "a dry run goes by the class to come"
        assert await seen_but_markers(objects) == before
        assert (await reassign(objects)).counts["reassigned"] == 3
        assert (await rewrite(objects)).counts["rewritten"] == 3
        after = await seen_but_markers(objects)
        moved = {"k", "parts"}
        assert after == [(replace(r, storage_class="ZSTD") if r.key in moved else r, data) for r, data in before]
        usage = objects.local.usage_by_class()
        assert {name: one.objects for name, one in usage.items()} == {"DEDUP": 1, "STANDARD": 1, "ZSTD": 3}
        assert (await reassign(objects)).counts["differing"] == 0
        await sound(objects)


async def test_an_object_put_anew_by_a_client_meanwhile_keeps_the_class_it_asked_for(tmp_path: Path) -> None:
    """What was seen to move is looked at again when it is decided."""
    async with with_bucket(tmp_path) as objects:
        for number in range(30):
            await put(objects, f"k{number}", text(SMALL))
        await edit(objects, rules=(EVERYTHING,))
        running = asyncio.create_task(reassign(objects))
        for number in reversed(range(30)):
            await put(objects, f"k{number}", text(SMALL, 2), storage_class="DEDUP")
        await running
        records = (await objects.list_objects(BUCKET)).records
        assert {(one.storage_class, one.etag) for one in records} == {("DEDUP", etag(text(SMALL, 2)))}


async def test_what_was_deleted_meanwhile_is_not_brought_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A delete between the look and the decision wins."""
    async with with_bucket(tmp_path) as objects:
        await put(objects, "k", text(SMALL))
        await edit(objects, rules=(EVERYTHING,))
        decide = objects.cluster.registers.decide

        async def late(*arguments: Any, **named: Any) -> Any:
            await objects.delete(BUCKET, "k")
            return await decide(*arguments, **named)

        monkeypatch.setattr(objects.cluster.registers, "decide", late)
        counts = (await reassign(objects)).counts
        assert (counts["differing"], counts["reassigned"], counts["unanswered"]) == (1, 0, 0)
        assert (await objects.list_objects(BUCKET)).records == ()
        await sound(objects)


async def test_all_of_it_is_there_after_a_restart(tmp_path: Path) -> None:
    """How a body is packed and who chose its class are on the disk: asked for again it goes on where it was."""
    async with with_bucket(tmp_path) as objects:
        for number in range(4):
            await put(objects, f"k{number}", text(SMALL))
        await edit(objects, rules=(EVERYTHING,))
        await reassign(objects, Scope(BUCKET, "k1"))
        await rewrite(objects, Scope(BUCKET, "k1"))
    objects = await Node.start(tmp_path, cloud_map(rules=(EVERYTHING,), epoch=3))
    try:
        assert (await reassign(objects)).counts["reassigned"] == 3
        assert (await rewrite(objects)).counts["rewritten"] == 3
        assert {one.storage_class for one in (await objects.list_objects(BUCKET)).records} == {"ZSTD"}
    finally:
        await objects.close()


def test_levels_are_told_apart() -> None:
    """The word for it names what a class asks for."""
    from moln_node.store.packing import UNKNOWN, common, packing

    level = Compression(algorithm="zstd", level=7).level
    assert packing(SMALL, None, deduplicate=True) == "plain"
    assert packing(LARGE, level, deduplicate=True) == "zstd-7, chunks"
    assert packing(SMALL, level, deduplicate=True, small=False) == "zstd-7, chunks"
    assert common(["a", "a"]) == "a"
    assert common(["a", "b"]) == common([]) == UNKNOWN
