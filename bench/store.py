"""How fast a cloud of one node is by itself, without S3: puts, gets and listings by N writers at once.

    uv run python bench/store.py [--dir DIR] [--clients 16] [--seconds 3]

Every put is on the disk when it is counted (fsync). MD5 is not computed here: it is the wire's cost.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from moln_node.cluster.cluster import Cluster
from moln_node.cluster.local import LocalStore
from moln_node.store.model import Attributes, Bucket, Sealed
from moln_spec.cloudmap import CloudMap, MapNode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from moln_node.cluster.cloud import CloudObjects

_PIECE = 256 * 1024
_BUCKET = "bench"
_ATTRIBUTES = Attributes("bench", {"content-type": "application/octet-stream"})


async def stream(data: bytes) -> AsyncIterator[bytes]:
    """The data in pieces, as a socket gives them."""
    view = memoryview(data)
    for start in range(0, len(data), _PIECE):
        yield bytes(view[start : start + _PIECE])


async def seal() -> Sealed:
    """A constant: digests are not measured here."""
    return Sealed("0" * 32)


async def put(objects: CloudObjects, key: str, data: bytes) -> None:
    """One object."""
    await objects.put(_BUCKET, key, _ATTRIBUTES, stream(data), size=len(data), seal=seal)


async def get(objects: CloudObjects, key: str) -> None:
    """Read one object to its end."""
    async with objects.open(_BUCKET, key) as reading:
        async for _ in reading.read(0, reading.record.size):
            pass


async def measure(
    name: str, size: int, clients: int, seconds: float, work: Callable[[int], Awaitable[None]], most: int = 10**9
) -> int:
    """Run `work` with growing numbers, below `most`, from all clients for a while; print what came of it, and count."""
    times: list[float] = []
    number = iter(range(10**9))
    end = time.perf_counter() + seconds
    before = resource.getrusage(resource.RUSAGE_SELF)
    begin = time.perf_counter()

    async def client() -> None:
        while (start := time.perf_counter()) < end and (mine := next(number)) < most:
            await work(mine)
            times.append(time.perf_counter() - start)

    await asyncio.gather(*(client() for _ in range(clients)))
    took = time.perf_counter() - begin
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    times.sort()
    rate = f"{len(times) / took:9.0f}/s" if size < 1 << 20 else f"{len(times) * size / took / 2**20:7.0f} MiB/s"
    p50, p99 = (times[len(times) * share // 100] * 1000 for share in (50, 99))
    print(
        f"{name:<14} {rate}  p50 {p50:8.2f} ms  p99 {p99:8.2f} ms"
        f"  cpu {cpu / len(times) * 1e6:8.0f} us/op  peak {after.ru_maxrss // 1024} MiB",
        flush=True,
    )
    return len(times)


async def run(directory: Path, clients: int, seconds: float) -> None:
    """All cells."""
    cloud_map = CloudMap(
        cloud="bench", uid="bench", epoch=1, nodes=(MapNode(name="n", number=0, address="localhost:1", pool="p"),)
    )
    local = await LocalStore.start(directory, cloud_map, "n")
    cluster = await Cluster.start(local, cloud_map, "n", lambda: "no other node")
    objects = cluster.objects
    try:
        await objects.create_bucket(Bucket(_BUCKET, "bench", 0))
        for label, size in (("4KiB", 4096), ("128KiB", 128 * 1024), ("64MiB", 64 << 20)):
            data = os.urandom(size)
            kept = 1000 if size < 1 << 20 else 4

            async def put_one(number: int, data: bytes = data, label: str = label) -> None:
                await put(objects, f"{label}/{number:09d}", data)

            async def get_one(number: int, kept: int = kept, label: str = label) -> None:
                await get(objects, f"{label}/{number % kept:09d}")

            for number in range(kept):
                await put_one(number)
            written = await measure(f"put {label}", size, clients, seconds, put_one)
            await measure(f"get {label}", size, clients, seconds, get_one)
            if size > 1 << 20:
                continue

            async def delete_one(number: int, label: str = label) -> None:
                await objects.delete(_BUCKET, f"{label}/{number:09d}")

            await measure(f"delete {label}", size, clients, seconds, delete_one, max(written, kept))
        for number in range(0, 10_000, 200):
            await asyncio.gather(*(put(objects, f"list/{n:06d}", b"x" * 100) for n in range(number, number + 200)))
        begin = time.perf_counter()
        after = ""
        count = 0
        while True:
            page = await objects.list_objects(_BUCKET, prefix="list/", after=after)
            count += len(page.records)
            if page.next is None:
                break
            after = page.next
        print(f"list 10,000    {count / (time.perf_counter() - begin):9.0f} keys/s")
    finally:
        await cluster.close()
        await local.close()


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dir", type=Path, default=None, help="where to put the store (default: a temporary one)")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=3.0)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.dir) as directory:
        asyncio.run(run(Path(directory), chosen.clients, chosen.seconds))


if __name__ == "__main__":
    main()
