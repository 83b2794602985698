"""A real process that writes to a store until it is killed, and tells each step on its standard output.

Beside the writes everything is rewritten all the time, which changes no content.

    python crash_writer.py DIR SEED

A line `I <key> <state>` before each write, `A <key>` once it is acknowledged; a state is `-` (absent) or
`<seed>:<size>`, from which `content` makes the bytes. Each worker has its own keys, so a key has one write under way.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from contextlib import suppress
from pathlib import Path

from tests.node.store.harness import BUCKET, CLASSES, OWNER, Node, Notes, cloud_map, etag, put, put_part

from moln_node.cluster import maintenance
from moln_node.cluster.walking import Scope
from moln_node.store.errors import BucketExistsError
from moln_node.store.model import Bucket, Sealed
from moln_spec.classes import Compression

WORKERS = 8
KEYS_EACH = 6
SIZES = (0, 1, 700, 5_000, 65_536, 65_537, 300_000, 1_500_000)


def content(seed: int, size: int) -> bytes:
    """The bytes of a state: noise, then something that compresses."""
    noise = random.Random(seed).randbytes(size * 2 // 3)
    return noise + bytes([seed % 251]) * (size - len(noise))


def tell(line: str) -> None:
    """One line in one write: the reader gets it whole or not at all."""
    os.write(sys.stdout.fileno(), line.encode() + b"\n")


async def write_once(objects: Node, key: str, chance: random.Random) -> None:
    """One write of any kind, told before and after."""
    kind = chance.choices(("put", "delete", "multipart"), (8, 2, 1))[0]
    if kind == "delete":
        tell(f"I {key} -")
        await objects.delete(BUCKET, key)
    else:
        seed, size = chance.randrange(20), chance.choice(SIZES)
        storage_class = chance.choice(CLASSES).name
        tell(f"I {key} {seed}:{size}")
        if kind == "put":
            await put(objects, key, content(seed, size), storage_class=storage_class)
        else:
            await put_multipart(objects, key, content(seed, size), storage_class)
    tell(f"A {key}")


async def put_multipart(objects: Node, key: str, data: bytes, storage_class: str) -> None:
    """The data in two parts."""
    upload = await objects.create_upload(BUCKET, key, OWNER, storage_class=storage_class)
    half = len(data) // 2
    parts = [
        await put_part(objects, key, upload.id, number, piece)
        for number, piece in enumerate((data[:half], data[half:]), start=1)
    ]
    await objects.complete_upload(BUCKET, key, upload.id, parts, Sealed(etag(data)))


async def rewrite(objects: Node, chance: random.Random) -> None:
    """Pack everything anew, over and over, each time in another way."""
    epoch = 1
    while True:
        epoch += 1
        newer = cloud_map(epoch=epoch)
        classes = [
            one.model_copy(
                update={
                    "compression": chance.choice((Compression(), Compression(algorithm="zstd", level=1))),
                    "deduplication": chance.random() < 0.5,
                }
            )
            for one in CLASSES
        ]
        await objects.cluster.adopt(newer.model_copy(update={"storage_classes": tuple(classes)}))
        await maintenance.rewrite(objects.local, objects.cluster, Notes(), Scope(), dry_run=False)
        await asyncio.sleep(0)


async def main(directory: Path, seed: int) -> None:
    """Write with all workers, for ever."""
    objects = await Node.start(directory, cloud_map())
    with suppress(BucketExistsError):
        await objects.create_bucket(Bucket(BUCKET, "owner", 1))
    tell("READY")

    async def worker(number: int) -> None:
        chance = random.Random(f"{seed}/{number}")
        while True:
            await write_once(objects, f"{number}/{chance.randrange(KEYS_EACH)}", chance)

    await asyncio.gather(rewrite(objects, random.Random(seed)), *(worker(number) for number in range(WORKERS)))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
