"""What is put is what is got: sizes around every bound, every class, ranges, attributes, restarts, refusals."""

from __future__ import annotations

import asyncio
import random
import threading
from typing import TYPE_CHECKING

import pytest
from tests.node.store.harness import (
    BUCKET,
    CLASSES,
    LARGE,
    OWNER,
    SMALL,
    cloud_map,
    etag,
    files,
    get,
    put,
    running,
    stream,
    with_bucket,
)

from moln_node.store import inline
from moln_node.store.bodyfile import BLOCK
from moln_node.store.errors import (
    BucketExistsError,
    BucketNotEmptyError,
    ClosedError,
    DataInUseError,
    IncompleteBodyError,
    IsDeleteMarkerError,
    NoSuchBucketError,
    NoSuchKeyError,
    NoSuchVersionError,
    PreconditionFailedError,
)
from moln_node.store.ingest import BATCH
from moln_node.store.model import Attributes, Bucket, Checksum, Kind, Precondition, Sealed, Versioning
from moln_node.store.state import Pins
from moln_spec.classes import AssignmentRule, Match, UnknownStorageClassError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path

SIZES = sorted(
    {0, 1, 2, SMALL, LARGE}
    | {bound + step for bound in (inline.LIMIT, BLOCK, BATCH, 2 * BATCH) for step in (-1, 0, 1)}
    | {5 * BATCH + 12345}
)
ODD_KEYS = (
    "a",
    "a/b",
    "a//b",
    "/",
    "//",
    "..",
    "../x",
    "%2F",
    "a\nb",
    "a\0b",
    "\0",
    "å",
    "💾",
    "a" * 1024,
    "ä" * 512,
    " ",
    "'; --",
)


def some(size: int, seed: int = 1) -> bytes:
    """Bytes that do not compress, but for a run in the middle that does."""
    data = bytearray(random.Random(seed).randbytes(size))
    data[size // 3 : size // 2] = bytes(size // 2 - size // 3)
    return bytes(data)


@pytest.mark.parametrize("storage_class", [c.name for c in CLASSES])
async def test_every_size_reads_back_whole_and_by_ranges(tmp_path: Path, storage_class: str) -> None:
    """Sizes around the bounds of inline bodies, blocks and batches, in each class, before and after a restart."""
    chance = random.Random(3)
    async with with_bucket(tmp_path) as objects:
        for size in SIZES:
            record = await put(objects, str(size), some(size), storage_class=storage_class)
            assert (record.size, record.storage_class, record.etag) == (size, storage_class, etag(some(size)))
    async with running(tmp_path) as objects:
        for size in SIZES:
            data = some(size)
            assert await get(objects, str(size)) == data
            for _ in range(5):
                start = chance.randint(0, size)
                end = chance.randint(start, size)
                assert await get(objects, str(size), start, end) == data[start:end]
            assert await get(objects, str(size), size - 1 if size else 0, size + 10) == data[-1:]


@pytest.mark.parametrize("key", ODD_KEYS, ids=ascii)
async def test_any_key_is_a_key(tmp_path: Path, key: str) -> None:
    """No key is a path, a pattern or SQL: each is kept, found, listed and deleted as it is."""
    async with with_bucket(tmp_path) as objects:
        await put(objects, key, b"here")
        await put(objects, "zz", b"neighbour")
        assert await get(objects, key) == b"here"
        assert [r.key for r in (await objects.list_objects(BUCKET)).records] == sorted([key, "zz"], key=str.encode)
        await objects.delete(BUCKET, key)
        assert [r.key for r in (await objects.list_objects(BUCKET)).records] == ["zz"]


async def test_attributes_and_checksum_come_back(tmp_path: Path) -> None:
    """Everything a writer said is in the record, after a restart too; tags and ACL change in place."""
    attributes = Attributes("me", {"content-type": "text/å"}, {"colour": "blå"}, {"t": "1"}, "private")

    async def seal() -> Sealed:
        return Sealed("e", Checksum("CRC32", "AAAA"))

    async with with_bucket(tmp_path) as objects:
        made = await objects.put(BUCKET, "k", attributes, stream(b"x"), size=1, seal=seal)
        changed = await objects.set_attributes(BUCKET, "k", None, tags={"t": "2"}, acl="public")
        assert changed.attributes == Attributes("me", attributes.headers, attributes.metadata, {"t": "2"}, "public")
        assert (changed.modified_ms, changed.version, changed.etag) == (made.modified_ms, made.version, made.etag)
    async with running(tmp_path) as objects:
        assert await objects.head(BUCKET, "k") == changed
        assert changed.checksum == Checksum("CRC32", "AAAA")
        assert await get(objects, "k") == b"x"


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("wrong", [-1, 1, 70_000])
async def test_a_body_of_another_size_leaves_nothing(tmp_path: Path, size: int, wrong: int) -> None:
    """Too short or too long: an error, no record, no file, no room held, and the old object stays."""
    async with with_bucket(tmp_path) as objects:
        await put(objects, "k", b"old")
        with pytest.raises(IncompleteBodyError):
            await objects.put(
                BUCKET, "k", OWNER, stream(bytes(max(0, size + wrong))), size=size, seal=lambda: _seal("e")
            )
        assert await get(objects, "k") == b"old"
        assert objects.store.ledger.in_flight() == 0
    assert files(tmp_path) == []


async def _seal(value: str) -> Sealed:
    return Sealed(value)


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_what_the_seal_raises_undoes_the_write(tmp_path: Path, size: int) -> None:
    """A bad digest, found after the last byte, leaves nothing behind."""

    async def seal() -> Sealed:
        raise ValueError("bad digest")

    async with with_bucket(tmp_path) as objects:
        with pytest.raises(ValueError, match="bad digest"):
            await objects.put(BUCKET, "k", OWNER, stream(bytes(size)), size=size, seal=seal)
        with pytest.raises(NoSuchKeyError):
            await objects.head(BUCKET, "k")
        assert objects.store.ledger.in_flight() == 0
    assert files(tmp_path) == []


@pytest.mark.parametrize("storage_class", ["STANDARD", "DEDUP"])
@pytest.mark.parametrize("after", [0, 1, 3])
async def test_a_cancelled_put_leaves_nothing(tmp_path: Path, after: int, storage_class: str) -> None:
    """A client that goes away in the middle of a body: no record, no file, no room held."""
    reached = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        for number in range(5):
            if number == after:
                reached.set()
                await asyncio.Event().wait()
            yield bytes(BATCH)

    async with with_bucket(tmp_path) as objects:
        putting = asyncio.ensure_future(
            objects.put(
                BUCKET, "k", OWNER, body(), size=5 * BATCH, seal=lambda: _seal("e"), storage_class=storage_class
            )
        )
        await reached.wait()
        putting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await putting
        assert objects.store.ledger.in_flight() == 0
        with pytest.raises(NoSuchKeyError):
            await objects.head(BUCKET, "k")
    assert files(tmp_path) == []


async def test_cancelling_at_any_moment_is_all_or_nothing(tmp_path: Path) -> None:
    """Puts cancelled after a growing number of loop turns: each is there whole or not at all, and nothing leaks."""
    data = some(LARGE)
    async with with_bucket(tmp_path) as objects:
        there = 0
        for turns in range(60):
            putting = asyncio.ensure_future(put(objects, str(turns), data))
            for _ in range(turns):
                await asyncio.sleep(0)
            await asyncio.sleep(turns / 10_000)
            putting.cancel()
            await asyncio.gather(putting, return_exceptions=True)
        await put(objects, "last", data)
        for record in (await objects.list_objects(BUCKET)).records:
            assert await get(objects, record.key) == data
            there += 1
        assert objects.store.ledger.in_flight() == 0
        assert (await objects.bucket_usage(BUCKET)).objects == there
    assert len(files(tmp_path)) == there


async def test_an_object_being_read_survives_its_overwrite_and_delete(tmp_path: Path) -> None:
    """A reader has the bytes that it opened until it closes, collection or not; then they go."""
    data = some(3 * BATCH)
    async with with_bucket(tmp_path) as objects:
        await put(objects, "k", data)
        async with objects.open(BUCKET, "k") as reading:
            await put(objects, "k", b"new")
            assert await objects.store.collect() == 0
            blocks = []
            async for block in reading.read(0, len(data)):
                blocks.append(block)
                await objects.store.collect()
            assert b"".join(blocks) == data
            assert len(files(tmp_path)) == 1
        assert await objects.store.collect() == 1
        assert files(tmp_path) == []


async def test_readers_beside_overwrites_never_see_a_mixture(tmp_path: Path) -> None:
    """Every read gives one whole written body, while the key is overwritten and collected all the time."""
    bodies = [bytes([n]) * (BATCH + n * 1000) for n in range(4)] + [bytes([n]) * SMALL for n in range(4, 8)]
    async with with_bucket(tmp_path) as objects:
        await put(objects, "k", bodies[0])
        done = asyncio.Event()

        async def read() -> int:
            reads = 0
            while not done.is_set():
                assert await get(objects, "k") in bodies
                reads += 1
            return reads

        readers = [asyncio.ensure_future(read()) for _ in range(4)]
        for number in range(60):
            await put(objects, "k", bodies[number % len(bodies)])
            await objects.store.collect()
        done.set()
        assert all(await asyncio.gather(*readers))


async def test_an_object_dropped_and_collected_while_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worst moment: found in the index, not pinned yet, and its file goes. The reader gets what took its place."""
    found, go_on = threading.Event(), threading.Event()
    add = Pins.add

    def late(self: Pins, body_ids: Iterable[int]) -> None:
        found.set()
        assert go_on.wait(10)
        add(self, body_ids)

    async with with_bucket(tmp_path) as objects:
        await put(objects, "k", some(LARGE, seed=1))
        monkeypatch.setattr(Pins, "add", late)
        reading = asyncio.ensure_future(get(objects, "k"))
        assert await asyncio.to_thread(found.wait, 10)
        await put(objects, "k", some(LARGE, seed=2))
        assert await objects.store.collect() == 1
        go_on.set()
        assert await reading == some(LARGE, seed=2)


async def test_versions_as_s3_has_them(tmp_path: Path) -> None:
    """Off, enabled, suspended: which version is replaced, which added, what a delete does, what is newest."""
    async with with_bucket(tmp_path) as objects:
        await put(objects, "k", b"0")
        await objects.set_bucket(BUCKET, versioning=Versioning.ENABLED)
        first = await put(objects, "k", b"1")
        second = await put(objects, "k", b"2")
        assert first.version_id < second.version_id
        assert [await get(objects, "k", version_id=v) for v in ("null", first.version_id, second.version_id)] == [
            b"0",
            b"1",
            b"2",
        ]
        marker = await objects.delete(BUCKET, "k", owner="me")
        assert marker.delete_marker
        with pytest.raises(NoSuchKeyError) as gone:
            await objects.head(BUCKET, "k")
        assert gone.value.delete_marker == marker.version_id
        with pytest.raises(IsDeleteMarkerError):
            await objects.head(BUCKET, "k", marker.version_id)
        assert await get(objects, "k", version_id=second.version_id) == b"2"
        undone = await objects.delete(BUCKET, "k", marker.version_id)
        assert undone.delete_marker
        assert await get(objects, "k") == b"2"
        await objects.set_bucket(BUCKET, versioning=Versioning.SUSPENDED)
        assert (await put(objects, "k", b"3")).version_id == "null"
        assert await get(objects, "k", version_id="null") == b"3"
        listed = (await objects.list_versions(BUCKET)).records
        assert [r.version_id for r in listed] == ["null", second.version_id, first.version_id]
        assert [r.latest for r in listed] == [True, False, False]
        suspended = await objects.delete(BUCKET, "k")
        assert (suspended.version_id, suspended.delete_marker) == ("null", True)
        kinds = [(r.version_id, r.kind) for r in (await objects.list_versions(BUCKET)).records]
        assert kinds[0] == ("null", Kind.DELETE_MARKER)
        assert len(kinds) == 3
        with pytest.raises(NoSuchVersionError):
            await objects.head(BUCKET, "k", "no-version")
        with pytest.raises(BucketNotEmptyError):
            await objects.delete_bucket(BUCKET)


async def test_versions_grow_over_restarts_and_with_the_clock_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wall clock that goes back an hour, over a restart that saw the newest version deleted: versions still grow."""
    async with with_bucket(tmp_path, Versioning.ENABLED) as objects:
        newest = await put(objects, "k", b"1")
        await objects.delete(BUCKET, "k", newest.version_id)
    monkeypatch.setattr("moln_node.store.clock.wall_ms", lambda: newest.version.milliseconds - 3_600_000)
    async with running(tmp_path) as objects:
        for _ in range(3):
            later = await put(objects, "k", b"2")
            assert later.version > newest.version
            newest = later


CONDITIONS = [
    (Precondition(if_match="E"), True, False),
    (Precondition(if_match="other"), False, False),
    (Precondition(if_match="*"), True, False),
    (Precondition(if_none_match="*"), False, True),
    (Precondition(if_none_match="E"), False, True),
    (Precondition(if_none_match="other"), True, True),
    (Precondition(if_size=3), True, False),
    (Precondition(if_size=4), False, False),
    (Precondition(if_modified_ms=1), False, False),
]


@pytest.mark.parametrize(("condition", "there", "absent"), CONDITIONS, ids=repr)
async def test_preconditions_on_put(tmp_path: Path, condition: Precondition, there: bool, absent: bool) -> None:
    """Each condition against an object of etag E and against none; a refused write changes nothing."""
    async with with_bucket(tmp_path) as objects:
        await objects.put(BUCKET, "k", OWNER, stream(b"abc"), size=3, seal=lambda: _seal("E"))
        for key, allowed in (("k", there), ("none", absent)):
            try:
                await put(objects, key, b"new", precondition=condition)
                assert allowed
            except (PreconditionFailedError, NoSuchKeyError):
                assert not allowed
        assert await get(objects, "k") == (b"new" if there else b"abc")


async def test_of_many_conditional_creators_one_wins(tmp_path: Path) -> None:
    """If-None-Match: * from twenty writers at once: decided in the writing transaction, so exactly one succeeds."""
    async with with_bucket(tmp_path) as objects:
        tries = [
            put(objects, "k", b"%d" % n * (1 if n % 2 else LARGE), precondition=Precondition(if_none_match="*"))
            for n in range(20)
        ]
        outcomes = await asyncio.gather(*tries, return_exceptions=True)
        losers = [o for o in outcomes if isinstance(o, PreconditionFailedError)]
        assert len(losers) == 19
        assert objects.store.ledger.in_flight() == 0


async def test_preconditions_on_delete(tmp_path: Path) -> None:
    """A delete bound to an etag, a size or a time deletes that object and no other; what is not there is no error."""
    async with with_bucket(tmp_path) as objects:
        record = await put(objects, "k", b"abc")
        for wrong in (Precondition(if_match="x"), Precondition(if_size=9), Precondition(if_modified_ms=5)):
            with pytest.raises(PreconditionFailedError):
                await objects.delete(BUCKET, "k", precondition=wrong)
        whole_second = record.modified_ms // 1000 * 1000
        right = Precondition(if_match=record.etag, if_size=3, if_modified_ms=whole_second)
        await objects.delete(BUCKET, "k", precondition=right)
        await objects.delete(BUCKET, "k", precondition=right)
        with pytest.raises(NoSuchKeyError):
            await objects.head(BUCKET, "k")


async def test_buckets(tmp_path: Path) -> None:
    """Made once, changed in part, deleted when empty, and made again without anything of the old one."""
    async with running(tmp_path) as objects:
        for name in ("b", "a"):
            await objects.create_bucket(Bucket(name, "me", 5, settings={"policy": "p"}))
        with pytest.raises(BucketExistsError) as taken:
            await objects.create_bucket(Bucket("a", "you", 6))
        assert taken.value.owner == "me"
        await objects.set_bucket("a", settings={"cors": "c"}, quota_bytes=10)
        await objects.set_bucket("a", settings={"policy": None}, versioning=Versioning.ENABLED)
        await objects.delete_bucket("b")
    async with running(tmp_path) as objects:
        assert await objects.buckets() == (Bucket("a", "me", 5, Versioning.ENABLED, 10, {"cors": "c"}),)
        assert (await objects.set_bucket("a", quota_bytes=0)).quota_bytes is None
        for call in (
            objects.bucket("b"),
            objects.delete_bucket("b"),
            objects.set_bucket("b"),
            put(objects, "k", b"", bucket="b"),
        ):
            with pytest.raises(NoSuchBucketError):
                await call


async def test_a_write_admitted_to_a_bucket_never_lands_in_its_successor(tmp_path: Path) -> None:
    """The bucket is deleted and made again while a body comes: the write fails, nothing is left."""
    data = some(LARGE)

    async def body() -> AsyncIterator[bytes]:
        yield data[:1000]
        await objects.delete_bucket(BUCKET)
        await objects.create_bucket(Bucket(BUCKET, "other", 2))
        yield data[1000:]

    async with with_bucket(tmp_path) as objects:
        with pytest.raises(NoSuchBucketError):
            await objects.put(BUCKET, "k", OWNER, body(), size=LARGE, seal=lambda: _seal("e"))
        assert (await objects.list_objects(BUCKET)).records == ()
    assert files(tmp_path) == []


async def test_one_directory_one_process_one_end(tmp_path: Path) -> None:
    """A second opening is refused while the first lasts; a closed store refuses work instead of hanging."""
    async with with_bucket(tmp_path) as objects:
        with pytest.raises(DataInUseError):
            async with running(tmp_path):
                pass
    with pytest.raises(ClosedError):
        await put(objects, "k", b"x")
    async with running(tmp_path) as objects:
        assert len(await objects.buckets()) == 1


async def test_rules_choose_the_class_and_a_header_wins(tmp_path: Path) -> None:
    """By prefix, size and metadata; an explicit class over all of them; a class that is not there is refused."""
    rules = (
        AssignmentRule(match=Match(prefix="logs/", min_size=10), storage_class="ZSTD"),
        AssignmentRule(match=Match(metadata={"keep": "once"}), storage_class="DEDUP"),
    )
    async with with_bucket(tmp_path, rules=rules) as objects:
        assert (await put(objects, "logs/big", bytes(10))).storage_class == "ZSTD"
        assert (await put(objects, "logs/small", bytes(9))).storage_class == "STANDARD"
        once = Attributes("me", metadata={"keep": "once"})
        assert (await put(objects, "x", b"x", attributes=once)).storage_class == "DEDUP"
        assert (await put(objects, "logs/big", bytes(10), storage_class="BOTH")).storage_class == "BOTH"
        with pytest.raises(UnknownStorageClassError):
            await put(objects, "x", b"x", storage_class="NONE")
        await objects.cluster.adopt(cloud_map(epoch=2))
        assert (await put(objects, "logs/big", bytes(10))).storage_class == "STANDARD"
        assert set(objects.local.usage_by_class()) == {"STANDARD", "DEDUP"}


@pytest.mark.parametrize("piece", [1009, BLOCK - 1, BLOCK, BATCH, BATCH + 1, 3 * BATCH])
@pytest.mark.parametrize("storage_class", ["STANDARD", "DEDUP"])
async def test_pieces_of_any_length_make_the_same_object(tmp_path: Path, piece: int, storage_class: str) -> None:
    """However the stream is cut, the blocks are where they belong; empty pieces do no harm."""
    data = some(2 * BATCH + 777)

    async def body() -> AsyncIterator[bytes]:
        yield b""
        async for part in stream(data, piece):
            yield part
            yield b""

    async with with_bucket(tmp_path) as objects:
        await objects.put(
            BUCKET, "k", OWNER, body(), size=len(data), seal=lambda: _seal("e"), storage_class=storage_class
        )
        assert await get(objects, "k") == data
        assert await get(objects, "k", BLOCK - 3, BLOCK + 3) == data[BLOCK - 3 : BLOCK + 3]
