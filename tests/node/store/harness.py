"""What the store's tests share: a cloud map of one node, streams, and short forms of put and get."""

from __future__ import annotations

import hashlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self

from moln_node.cluster.cluster import Cluster
from moln_node.cluster.local import LocalStore
from moln_node.store.model import Attributes, Bucket, Sealed, Versioning
from moln_spec.classes import AssignmentRule, Compression, StorageClass
from moln_spec.cloudmap import CloudMap, Limits, MapNode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from moln_node.store.model import Part, Precondition, Record

BUCKET = "bucket"
OWNER = Attributes("owner")
SMALL = 1000
"""Lives in the index."""
LARGE = 300_000
"""Lives in a file of more than one block."""
CLASSES = (
    StorageClass(name="STANDARD", default=True),
    StorageClass(name="ZSTD", compression=Compression(algorithm="zstd", level=3)),
    StorageClass(name="DEDUP", deduplication=True),
    StorageClass(name="BOTH", compression=Compression(algorithm="zstd", level=1), deduplication=True),
)


def cloud_map(*, limits: Limits | None = None, rules: tuple[AssignmentRule, ...] = (), epoch: int = 1) -> CloudMap:
    """A map of one node, `n`, with every kind of storage class."""
    return CloudMap(
        cloud="test",
        uid="uid",
        epoch=epoch,
        nodes=(MapNode(name="n", number=7, address="localhost:1", pool="p"),),
        storage_classes=CLASSES,
        assignment_rules=rules,
        limits=limits or Limits(reserve_percent=0),
    )


class Node:
    """A cloud of one node without its ports: `Objects`, and what is behind them."""

    def __init__(self, local: LocalStore, cluster: Cluster) -> None:
        self.local = local
        self.store = local.store
        self.cluster = cluster

    def __getattr__(self, name: str) -> Any:
        return getattr(self.cluster.objects, name)

    @classmethod
    async def start(cls, data: Path, like: CloudMap) -> Self:
        """Open a data directory."""
        local = await LocalStore.start(data, like, "n")
        return cls(local, await Cluster.start(local, like, "n", lambda: "a secret"))

    async def close(self) -> None:
        """Finish, and close the directory."""
        await self.cluster.close()
        await self.local.close()


@asynccontextmanager
async def running(data: Path, **settings: object) -> AsyncIterator[Node]:
    """A node, open for the time of the context."""
    node = await Node.start(data, cloud_map(**settings))  # type: ignore[arg-type]
    try:
        yield node
    finally:
        await node.close()


@asynccontextmanager
async def with_bucket(data: Path, versioning: Versioning = Versioning.OFF, **settings: object) -> AsyncIterator[Node]:
    """As `running`, with the bucket `BUCKET` made."""
    async with running(data, **settings) as objects:
        await objects.create_bucket(Bucket(BUCKET, "owner", 1, versioning))
        yield objects


async def stream(data: bytes, piece: int = 64 * 1024) -> AsyncIterator[bytes]:
    """The data in pieces, as a socket gives them."""
    for start in range(0, len(data), piece):
        yield data[start : start + piece]


def sealing(data: bytes) -> Callable[[], Awaitable[Sealed]]:
    """A seal that gives the data's MD5 as etag."""

    async def seal() -> Sealed:
        return Sealed(etag(data))

    return seal


def etag(data: bytes) -> str:
    """What `put` below gives as etag."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


async def put(
    objects: Node,
    key: str,
    data: bytes,
    *,
    bucket: str = BUCKET,
    attributes: Attributes = OWNER,
    storage_class: str | None = None,
    precondition: Precondition | None = None,
) -> Record:
    """Put an object."""
    record: Record = await objects.put(
        bucket,
        key,
        attributes,
        stream(data),
        size=len(data),
        seal=sealing(data),
        storage_class=storage_class,
        precondition=precondition,
    )
    return record


async def get(
    objects: Node,
    key: str,
    start: int = 0,
    end: int | None = None,
    *,
    version_id: str | None = None,
    bucket: str = BUCKET,
) -> bytes:
    """Read an object, or a range of it."""
    async with objects.open(bucket, key, version_id) as reading:
        end = reading.record.size if end is None else end
        return b"".join([block async for block in reading.read(start, end)])


async def put_part(objects: Node, key: str, upload_id: str, number: int, data: bytes) -> Part:
    """Put a part."""
    part: Part = await objects.put_part(
        BUCKET, key, upload_id, number, stream(data), size=len(data), seal=sealing(data)
    )
    return part


def files(data: Path) -> list[Path]:
    """The body files on the disk."""
    return sorted(path for path in (data / "bodies").rglob("*") if path.is_file())


class Notes:
    """A report that remembers."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.findings: list[str] = []

    def set(self, **counts: int) -> None:
        """Set counters."""
        self.counts.update(counts)

    def found(self, finding: str) -> None:
        """Note a finding."""
        self.findings.append(finding)
