"""Deduplication: equal chunks are kept once, as long as anybody refers to them, and never on trust."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest
from tests.node.store.harness import BUCKET, OWNER, Notes, files, get, put, put_part, running, stream, with_bucket

from moln_node.cluster import maintenance
from moln_node.store.chunks import LARGEST, SMALLEST
from moln_node.store.errors import CorruptError, IncompleteBodyError
from moln_node.store.model import Sealed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.node.store.harness import Node

    from moln_node.store.transaction import Transaction

MIB = 1024 * 1024


def noise(size: int, seed: int = 1) -> bytes:
    """Bytes that repeat nowhere."""
    return random.Random(seed).randbytes(size)


async def put_shared(objects: Node, key: str, data: bytes) -> None:
    """Put into the class that deduplicates."""
    await put(objects, key, data, storage_class="DEDUP")


async def test_equal_bodies_are_kept_once_until_the_last_is_gone(tmp_path: Path) -> None:
    """Three equal objects take the files of one; they go with the last of them, and not before."""
    data = noise(6 * MIB)
    async with with_bucket(tmp_path) as objects:
        await put_shared(objects, "0", data)
        once = files(tmp_path)
        assert len(once) > 1
        for key in ("1", "2"):
            await put_shared(objects, key, data)
        assert files(tmp_path) == once
        for key in ("0", "1"):
            await objects.delete(BUCKET, key)
            await objects.store.collect()
            assert files(tmp_path) == once
            assert await get(objects, "2") == data
        await objects.delete(BUCKET, "2")
        await objects.store.collect()
        assert files(tmp_path) == []


async def test_a_shifted_body_shares_most_of_its_chunks(tmp_path: Path) -> None:
    """Bytes put in front move every offset, and yet most chunks are found again: the content cuts."""
    data = noise(16 * MIB)
    async with with_bucket(tmp_path) as objects:
        await put_shared(objects, "a", data)
        before = len(files(tmp_path))
        await put_shared(objects, "b", b"in front" + data)
        assert len(files(tmp_path)) - before <= 2
        assert await get(objects, "b") == b"in front" + data
    sizes = [path.stat().st_size for path in files(tmp_path)]
    assert max(sizes) <= LARGEST + 4096
    assert sorted(sizes)[1] >= SMALLEST


async def test_chunks_that_repeat_within_one_body(tmp_path: Path) -> None:
    """A body of equal chunks takes one file, and dropping it drops every reference."""
    data = bytes(20 * MIB)
    async with with_bucket(tmp_path) as objects:
        await put_shared(objects, "zeros", data)
        assert len(files(tmp_path)) == 1
        assert await get(objects, "zeros", 7 * MIB, 13 * MIB) == bytes(6 * MIB)
        await put_shared(objects, "zeros", data)
        await objects.store.collect()
        assert len(files(tmp_path)) == 1
        await objects.delete(BUCKET, "zeros")
        await objects.store.collect()
    assert files(tmp_path) == []


async def test_equal_bodies_written_at_once(tmp_path: Path) -> None:
    """Writers that write the same chunks at the same time: one file of each stays, every object reads back."""
    data = noise(5 * MIB)
    async with with_bucket(tmp_path) as objects:
        await asyncio.gather(*(put_shared(objects, str(n), data) for n in range(8)))
        await objects.store.collect()
        notes = Notes()
        await maintenance.scrub(objects.cluster, notes)
        assert notes.counts["bad"] == 0
        assert len(files(tmp_path)) == notes.counts["bodies"]
        once = notes.counts["bodies"]
        for number in range(8):
            assert await get(objects, str(number)) == data
    async with running(tmp_path) as objects:
        await put_shared(objects, "again", data)
        assert len(files(tmp_path)) == once


async def test_sharing_races_with_deleting_and_collecting(tmp_path: Path) -> None:
    """Objects of the same few chunks come and go and are collected all the time: no chunk vanishes under a record."""
    parts = [noise(MIB, seed) for seed in range(3)]
    async with with_bucket(tmp_path) as objects:
        done = asyncio.Event()

        async def collect() -> None:
            while not done.is_set():
                await objects.store.collect()
                await asyncio.sleep(0)

        async def come_and_go(number: int) -> None:
            chance = random.Random(number)
            for _ in range(12):
                data = b"".join(chance.sample(parts, 2))
                await put_shared(objects, str(number), data)
                assert await get(objects, str(number)) == data
                if chance.random() < 0.7:
                    await objects.delete(BUCKET, str(number))

        collecting = asyncio.ensure_future(collect())
        try:
            await asyncio.gather(*(come_and_go(number) for number in range(6)))
        finally:
            done.set()
            await collecting
        for record in (await objects.list_objects(BUCKET)).records:
            await objects.delete(BUCKET, record.key)
        await objects.store.collect()
        assert files(tmp_path) == []


async def test_garbage_that_is_used_again_and_dropped_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk that was shared again, and dropped again while the collector looked away, is collected all the same."""
    data = noise(SMALLEST)
    async with with_bucket(tmp_path) as objects:
        collector = objects.store._collector
        await put_shared(objects, "k", data)
        (path,) = files(tmp_path)
        commit = collector._commit

        async def drop_meanwhile(step: Callable[[Transaction], object]) -> object:
            outcome = await commit(step)
            monkeypatch.setattr(collector, "_commit", commit)
            await objects.delete(BUCKET, "k")
            return outcome

        monkeypatch.setattr(collector, "_commit", drop_meanwhile)
        collector._take([int(path.name, 16)])
        assert await collector.collect() == 0
        assert await collector.collect() == 1
        assert files(tmp_path) == []


async def test_a_damaged_chunk_is_not_shared(tmp_path: Path) -> None:
    """A chunk is read back before a new object relies on it: found damaged, it is written anew beside it."""
    data = noise(SMALLEST)
    async with with_bucket(tmp_path) as objects:
        await put_shared(objects, "old", data)
        (path,) = files(tmp_path)
        content = bytearray(path.read_bytes())
        content[1000] ^= 1
        path.write_bytes(content)
        await put_shared(objects, "new", data)
        assert await get(objects, "new") == data
        with pytest.raises(CorruptError):
            await get(objects, "old")
        await put_shared(objects, "third", data)
        assert len(files(tmp_path)) == 2
        for key in ("old", "new", "third"):
            await objects.delete(BUCKET, key)
        await objects.store.collect()
        assert files(tmp_path) == []


async def test_parts_share_chunks_too(tmp_path: Path) -> None:
    """The same part of many chunks in two uploads is kept once; aborting one leaves the other whole."""
    data = noise(12 * MIB)
    async with with_bucket(tmp_path) as objects:
        first = await objects.create_upload(BUCKET, "a", OWNER, storage_class="DEDUP")
        second = await objects.create_upload(BUCKET, "b", OWNER, storage_class="DEDUP")
        await put_part(objects, "a", first.id, 1, data)
        once = files(tmp_path)
        part = await put_part(objects, "b", second.id, 1, data)
        await objects.abort_upload(BUCKET, "a", first.id)
        await objects.store.collect()
        assert files(tmp_path) == once
        await objects.complete_upload(BUCKET, "b", second.id, [part], Sealed("e-1"))
        assert await get(objects, "b") == data


async def test_a_failed_write_takes_back_its_pins(tmp_path: Path) -> None:
    """A body cut short after it found shared chunks: they are freed once their own object goes."""
    data = noise(12 * MIB)
    async with with_bucket(tmp_path) as objects:
        await put_shared(objects, "k", data)
        with pytest.raises(IncompleteBodyError):
            await objects.put(BUCKET, "k", OWNER, stream(data[:-1]), size=len(data), seal=_never, storage_class="DEDUP")
        await objects.delete(BUCKET, "k")
        await objects.store.collect()
    assert files(tmp_path) == []


async def _never() -> Sealed:
    raise AssertionError("the seal of an incomplete body was asked for")
