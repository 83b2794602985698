"""This node's own store as the cloud map has it: which class an object gets, how its bytes are taken in, and the room.

Made by the process, used by the owner (`replica`), the coordinator (`cloud`) and maintenance. It decides nothing about
keys: that is the registers' part.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from moln_node.store.errors import IncompleteBodyError
from moln_node.store.ledger import Bounds, Reservation
from moln_node.store.packing import packing
from moln_node.store.registers import Register, Space, number
from moln_node.store.store import Store
from moln_spec.classes import Assignment, Candidate, StorageClass, assign

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from moln_node.store.bodies import NewBody
    from moln_node.store.documents import RecordDocument
    from moln_node.store.model import Attributes, Sealed, Usage
    from moln_node.store.transaction import BucketRow
    from moln_spec.cloudmap import CloudMap


class LocalStore:
    """The store of this node. Made by `start`, ended by `close`."""

    def __init__(self, store: Store, cloud_map: CloudMap) -> None:
        self.store = store
        self._map = cloud_map
        self._classes: dict[str, StorageClass] = {}
        self.adopt(cloud_map)

    @classmethod
    async def start(cls, data_dir: Path, cloud_map: CloudMap, node_name: str) -> Self:
        """Open the store in `data_dir` as the node of that name; LookupError if the map has no such node."""
        number = next((node.number for node in cloud_map.nodes if node.name == node_name), None)
        if number is None:
            raise LookupError(f"the cloud map has no node {node_name!r}")
        return cls(await Store.open(data_dir, number), cloud_map)

    async def close(self) -> None:
        """Finish what was begun, and close the store."""
        await self.store.close()

    def adopt(self, cloud_map: CloudMap) -> None:
        """Obey a newer map from now on: classes, rules and limits hold for every write that begins after this."""
        self._map = cloud_map
        self._classes = {storage_class.name: storage_class for storage_class in cloud_map.storage_classes}

    def usage_by_class(self) -> dict[str, Usage]:
        """What each storage class holds on this node."""
        return self.store.ledger.class_usage()

    def assign(self, candidate: Candidate) -> Assignment:
        """The storage class of a candidate object, and why."""
        return assign(self._map.storage_classes, self._map.assignment_rules, candidate)

    def choose(
        self, bucket: str, key: str, attributes: Attributes, size: int | None, requested: str | None
    ) -> tuple[str, str]:
        """The storage class of a new object, and the place of its bytes: empty where they are with the record."""
        if requested is None and not self._map.assignment_rules:
            chosen = next((c.name for c in self._map.storage_classes if c.default), self._map.storage_classes[0].name)
            return chosen, self.place(chosen, None)
        candidate = Candidate(
            bucket=bucket,
            key=key,
            content_type=attributes.headers.get("content-type", ""),
            size=size,
            metadata=dict(attributes.metadata),
            requested_class=requested,
        )
        assigned = self.assign(candidate)
        return assigned.storage_class, self.place(assigned.storage_class, assigned.pool)

    def place(self, storage_class: str, pool: str | None) -> str:
        """Where bytes of a class, or pinned to a pool, live apart from their records; empty: with them."""
        wanted = storage_class if pool is None else f"@{pool}"
        return wanted if any(place.name == wanted for place in self._map.places) else ""

    def today(self, bucket: str, key: str, document: RecordDocument) -> Assignment:
        """What an object that is kept would be assigned, were it written today; the class that was asked for stays.

        UnknownStorageClassError where that is not in the map any more.
        """
        candidate = Candidate(
            bucket=bucket,
            key=key,
            content_type=document.headers.get("content-type", ""),
            size=None if document.upload else document.size,
            metadata=document.metadata,
            requested_class=None if document.assigned else document.storage_class,
        )
        return self.assign(candidate)

    def packing(self, storage_class: str, size: int) -> str:
        """How a class has bodies of that size packed today."""
        level, deduplicate = self._settings(storage_class)
        return packing(size, level, deduplicate=deduplicate)

    def level(self, storage_class: str) -> int | None:
        """The zstd level of a class, None where it does not compress."""
        return self._settings(storage_class)[0]

    def _settings(self, storage_class: str) -> tuple[int | None, bool]:
        """Level and deduplication of a class; plain, should it be gone from the map meanwhile."""
        found = self._classes.get(storage_class, StorageClass(name=storage_class))
        return found.compression.level if found.compression.algorithm == "zstd" else None, found.deduplication

    def reserve_again(self, size: int) -> Reservation:
        """Room for bytes that take the place of others; StorageFullError. Quotas count those already."""
        return self.store.ledger.reserve(0, size, Bounds(None, None, self._map.limits.reserve_percent))

    def reserve(self, size: int, bucket: BucketRow | None = None) -> Reservation:
        """Room for a write, within the quota of the bucket if it is given; QuotaExceededError or StorageFullError."""
        limits = self._map.limits
        number, quota = (0, None) if bucket is None else (bucket.id, bucket.bucket.quota_bytes)
        return self.store.ledger.reserve(number, size, Bounds(quota, limits.node_quota_bytes, limits.reserve_percent))

    async def take(
        self,
        storage_class: str,
        body: AsyncIterator[bytes],
        size: int,
        seal: Callable[[], Awaitable[Sealed]],
        *,
        small: bool = True,
        anew: bool = False,
    ) -> tuple[tuple[NewBody, ...], Sealed]:
        """Take a body in as its class has it; `small` and `anew` as in `Store.take`."""
        level, deduplicate = self._settings(storage_class)
        bodies, sealed = await self.store.take(body, size, seal, level, small=small, deduplicate=deduplicate, anew=anew)
        written = sum(body.size for body in bodies)
        if written != size:  # nothing that is not there is acknowledged, whatever went wrong
            self.store.discard(bodies)
            raise IncompleteBodyError(f"the body was declared as {size} bytes, and {written} were written")
        return bodies, sealed

    def number(self, register: Register) -> int | None:
        """The number that the register's rows carry in the index; None where its bucket is not here."""
        if register.space == Space.BUCKETS:
            return 0
        row = self.store.buckets.get(register.bucket)
        if row is None or row.incarnation != register.incarnation:
            return None
        return number(register.space, row.id)
