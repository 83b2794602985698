"""Body files: a range touches its blocks and no others, blocks are compressed where it pays, memory is bounded."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from moln_node.store.bodies import BodyDirectory
from moln_node.store.bodyfile import BLOCK, HEADER_LENGTH, TRAILER_LENGTH
from moln_node.store.errors import CorruptError

ROOT = Path(__file__).parents[3]


def write(bodies: BodyDirectory, data: bytes, level: int | None) -> int:
    """A body in a file."""
    writer = bodies.begin(level)
    for start in range(0, max(1, len(data)), 4 * BLOCK):
        writer.write([data[start : start + 4 * BLOCK]])
    bodies.complete(writer)
    return writer.id


@pytest.fixture
def bodies(tmp_path: Path) -> BodyDirectory:
    """An empty directory of bodies."""
    return BodyDirectory(tmp_path, 1)


@pytest.mark.parametrize("level", [None, 3])
def test_a_range_reads_only_its_blocks(
    bodies: BodyDirectory, level: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few bytes in the middle of many blocks: one block is read, of however many, compressed or not."""
    data = b"".join(random.Random(n).randbytes(BLOCK // 2) + bytes(BLOCK // 2) for n in range(40))
    file = bodies.open(write(bodies, data, level))
    pread = os.pread
    read: list[int] = []

    def counted(fd: int, length: int, offset: int) -> bytes:
        read.append(length)
        return pread(fd, length, offset)

    monkeypatch.setattr(os, "pread", counted)
    start = 17 * BLOCK + 1000
    assert b"".join(file.read(start, start + 10)) == data[start : start + 10]
    assert len(read) == 1
    assert sum(read) <= BLOCK
    assert b"".join(file.read(start, start + BLOCK)) == data[start : start + BLOCK]
    assert len(read) == 3
    file.close()


def test_blocks_are_compressed_where_it_pays(bodies: BodyDirectory) -> None:
    """Zeros shrink to next to nothing, noise is kept as it is, and a body of both is a mixture."""
    noise = random.Random(1).randbytes(4 * BLOCK)
    sizes = {}
    for name, data in (("zeros", bytes(4 * BLOCK)), ("noise", noise), ("both", noise + bytes(4 * BLOCK))):
        body_id = write(bodies, data, 3)
        file = bodies.open(body_id)
        assert b"".join(file.read(0, len(data))) == data
        sizes[name] = file.stored
        file.close()
    overhead = HEADER_LENGTH + TRAILER_LENGTH + 4 * 12
    assert sizes["zeros"] < 1000
    assert sizes["noise"] == 4 * BLOCK + overhead
    assert 4 * BLOCK < sizes["both"] < 9 * BLOCK


def test_what_a_crash_left_is_found_by_the_mark(bodies: BodyDirectory, tmp_path: Path) -> None:
    """The mark is the lowest id under way: files from there on are walked, recorded ones before it are not."""
    first = write(bodies, b"1", None)
    bodies.landed([first])
    slow = bodies.begin(None)
    later = write(bodies, b"2", None)
    bodies.landed([later])
    assert bodies.mark() == slow.id
    unfinished = write(bodies, b"3", None)
    again = BodyDirectory(tmp_path, 2)
    assert sorted(body_id for body_id, _, _ in again.walk(bodies.mark())) == [later, unfinished]
    assert again.new_id() > unfinished
    bodies.delete((slow.id, unfinished))
    assert bodies.mark() > unfinished


PROGRAM = """
import asyncio, resource, sys, tempfile
from pathlib import Path
from moln_node.store.model import Sealed
from tests.node.store.harness import BUCKET, OWNER, with_bucket

MIB = 1 << 20
size = 384 * MIB

async def body():
    piece = bytes(range(256)) * 1024
    for number in range(size // len(piece)):
        yield piece

async def seal():
    return Sealed("e")

async def main(storage_class):
    with tempfile.TemporaryDirectory() as directory:
        async with with_bucket(Path(directory)) as objects:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            await objects.put(BUCKET, "k", OWNER, body(), size=size, seal=seal, storage_class=storage_class)
            async with objects.open(BUCKET, "k") as reading:
                got = 0
                async for block in reading.read(0, size):
                    got += len(block)
            assert got == size
            print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 // MIB)

asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.parametrize(("storage_class", "most"), [("STANDARD", 24), ("ZSTD", 32), ("DEDUP", 64)])
def test_memory_does_not_grow_with_the_object(storage_class: str, most: int) -> None:
    """A body of 384 MiB in and out of a real process: it takes a few MiB, whatever the class."""
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, storage_class],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert int(run.stdout) < most


def test_bytes_are_checked_where_they_lie(bodies: BodyDirectory) -> None:
    """The place of a range holds its bytes; a compressed block has none, and a flipped bit is found there."""
    data = random.Random(1).randbytes(5 * BLOCK + 77)
    body = write(bodies, data, None)
    path = bodies.path(body)
    file = bodies.open(body)
    for start, end in ((0, len(data)), (BLOCK - 1, BLOCK + 1), (3 * BLOCK + 5, 3 * BLOCK + 6), (5 * BLOCK, len(data))):
        offset = file.place(start, end)
        assert offset is not None
        assert path.read_bytes()[offset : offset + end - start] == data[start:end]
    with path.open("r+b") as raw:
        raw.seek(HEADER_LENGTH + 2 * BLOCK)
        raw.write(bytes([data[2 * BLOCK] ^ 1]))
    assert file.place(0, 2 * BLOCK) == HEADER_LENGTH
    with pytest.raises(CorruptError):
        file.place(3 * BLOCK - 1, 3 * BLOCK)
    file.close()
    packed = bodies.open(write(bodies, bytes(3 * BLOCK), 3))
    assert packed.place(0, BLOCK) is None
    packed.close()
