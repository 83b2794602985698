"""`Objects` on one node: every key is this store's own.

The wire calls it; it finds the bucket, the storage class and the room, takes the bytes in, and hands the store one step
that decides. Nothing is checked here that the step does not check again where it counts.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Self

from moln_node.cluster import maintenance
from moln_node.store import documents, listing, lookup
from moln_node.store.clock import wall_ms
from moln_node.store.documents import UploadDocument
from moln_node.store.errors import NoSuchBucketError
from moln_node.store.ledger import Bounds, Reservation
from moln_node.store.steps import buckets, objects, uploads
from moln_node.store.steps.objects import Content, Target
from moln_node.store.store import Store
from moln_spec.classes import Assignment, Candidate, StorageClass, assign

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    import apsw

    from moln_node.cluster.objects import Reading
    from moln_node.store.bodies import NewBody
    from moln_node.store.model import (
        Attributes,
        Bucket,
        Deleted,
        Listing,
        Part,
        Precondition,
        Record,
        Sealed,
        Upload,
        UploadListing,
        Usage,
        Versioning,
        VersionListing,
    )
    from moln_node.store.transaction import BucketRow
    from moln_spec.cloudmap import CloudMap, Limits


def _buckets(db: apsw.Connection) -> tuple[Bucket, ...]:
    """Every bucket, read from the disk: the node's health check asks for them."""
    return tuple(row.bucket for row in buckets.load(db).values())


class LocalObjects:
    """A cloud of one node. Made by `start`, ended by `close`."""

    def __init__(self, store: Store, cloud_map: CloudMap) -> None:
        self.store = store
        self._map = cloud_map
        self._classes: dict[str, StorageClass] = {}
        self._obey(cloud_map)
        self._housekeeping = asyncio.get_running_loop().create_task(maintenance.keep_house(self), name="moln-house")

    @classmethod
    async def start(cls, data_dir: Path, cloud_map: CloudMap, node_name: str) -> Self:
        """Open the store in `data_dir` as the node of that name; LookupError if the map has no such node."""
        number = next((node.number for node in cloud_map.nodes if node.name == node_name), None)
        if number is None:
            raise LookupError(f"the cloud map has no node {node_name!r}")
        return cls(await Store.open(data_dir, number), cloud_map)

    async def close(self) -> None:
        """Finish what was begun, and close the store."""
        self._housekeeping.cancel()
        await asyncio.gather(self._housekeeping, return_exceptions=True)
        await self.store.close()

    async def adopt(self, cloud_map: CloudMap) -> None:
        """Obey a newer map from now on: classes, rules and limits hold for every write that begins after this."""
        self._obey(cloud_map)

    def _obey(self, cloud_map: CloudMap) -> None:
        self._map = cloud_map
        self._classes = {storage_class.name: storage_class for storage_class in cloud_map.storage_classes}

    @property
    def limits(self) -> Limits:
        """The bounds that the map sets."""
        return self._map.limits

    async def usage_by_class(self) -> dict[str, Usage]:
        """What each storage class holds on this node."""
        return self.store.ledger.class_usage()

    async def create_bucket(self, bucket: Bucket) -> None:
        """See `Objects.create_bucket`."""
        await self.store.commit(lambda tx: buckets.create(tx, bucket))

    async def bucket(self, name: str) -> Bucket:
        """See `Objects.bucket`."""
        return self._row(name).bucket

    async def buckets(self) -> tuple[Bucket, ...]:
        """See `Objects.buckets`."""
        return await self.store.look(_buckets)

    async def set_bucket(
        self,
        name: str,
        *,
        settings: Mapping[str, str | None] | None = None,
        versioning: Versioning | None = None,
        quota_bytes: int | None = None,
    ) -> Bucket:
        """See `Objects.set_bucket`."""
        return await self.store.commit(lambda tx: buckets.change(tx, name, settings, versioning, quota_bytes))

    async def delete_bucket(self, name: str) -> None:
        """See `Objects.delete_bucket`."""
        await self.store.commit(lambda tx: buckets.delete(tx, name))

    async def bucket_usage(self, name: str) -> Usage:
        """See `Objects.bucket_usage`."""
        return self.store.ledger.bucket_usage(self._row(name).id)

    def assign(self, candidate: Candidate) -> Assignment:
        """See `Objects.assign`."""
        return assign(self._map.storage_classes, self._map.assignment_rules, candidate)

    async def put(
        self,
        bucket: str,
        key: str,
        attributes: Attributes,
        body: AsyncIterator[bytes],
        *,
        size: int,
        seal: Callable[[], Awaitable[Sealed]],
        storage_class: str | None = None,
        precondition: Precondition | None = None,
    ) -> Record:
        """See `Objects.put`."""
        row = self._row(bucket)
        target = Target(bucket, row.id, key)
        chosen = self.choose(bucket, key, attributes, size, storage_class)
        reservation = self._reserve(row, size)
        try:
            bodies, sealed = await self.take(chosen, body, size, seal)
        except BaseException:
            reservation.release()
            raise
        layout_id = self.store.bodies.new_id()
        content = Content(attributes, size, sealed.etag, chosen, layout_id, sealed.checksum)
        return await self.store.commit(
            lambda tx: objects.put(tx, target, content, bodies, precondition), bodies, reservation
        )

    async def head(self, bucket: str, key: str, version_id: str | None = None) -> Record:
        """See `Objects.head`."""
        row = self._row(bucket)
        return await self.store.look(lambda db: lookup.record(db, bucket, row.id, key, version_id))

    def open(self, bucket: str, key: str, version_id: str | None = None) -> AbstractAsyncContextManager[Reading]:
        """See `Objects.open`."""
        return self.store.open_object(self._target(bucket, key), version_id)

    async def set_attributes(
        self,
        bucket: str,
        key: str,
        version_id: str | None,
        *,
        tags: Mapping[str, str] | None = None,
        acl: str | None = None,
    ) -> Record:
        """See `Objects.set_attributes`."""
        target = self._target(bucket, key)
        return await self.store.commit(lambda tx: objects.set_attributes(tx, target, version_id, tags, acl))

    async def delete(
        self,
        bucket: str,
        key: str,
        version_id: str | None = None,
        *,
        owner: str = "",
        precondition: Precondition | None = None,
    ) -> Deleted:
        """See `Objects.delete`."""
        target = self._target(bucket, key)
        return await self.store.commit(lambda tx: objects.delete(tx, target, version_id, owner, precondition))

    async def list_objects(
        self, bucket: str, *, prefix: str = "", delimiter: str = "", after: str = "", limit: int = 1000
    ) -> Listing:
        """See `Objects.list_objects`."""
        row = self._row(bucket)
        return await self.store.look(
            lambda db: listing.list_objects(db, bucket, row.id, prefix, delimiter, after, limit)
        )

    async def list_versions(
        self,
        bucket: str,
        *,
        prefix: str = "",
        delimiter: str = "",
        after_key: str = "",
        after_version: str | None = None,
        limit: int = 1000,
    ) -> VersionListing:
        """See `Objects.list_versions`."""
        row = self._row(bucket)
        return await self.store.look(
            lambda db: listing.list_versions(db, bucket, row.id, prefix, delimiter, after_key, after_version, limit)
        )

    async def create_upload(
        self,
        bucket: str,
        key: str,
        attributes: Attributes,
        *,
        storage_class: str | None = None,
        checksum_algorithm: str = "",
        checksum_type: str = "",
    ) -> Upload:
        """See `Objects.create_upload`."""
        chosen = self.choose(bucket, key, attributes, None, storage_class)
        document = UploadDocument(
            started_ms=wall_ms(),
            owner=attributes.owner,
            headers=dict(attributes.headers),
            metadata=dict(attributes.metadata),
            tags=dict(attributes.tags),
            acl=attributes.acl,
            storage_class=chosen,
            checksum_algorithm=checksum_algorithm,
            checksum_type=checksum_type,
        )
        target = self._target(bucket, key)
        return await self.store.commit(lambda tx: uploads.create(tx, target, document))

    async def upload(self, bucket: str, key: str, upload_id: str) -> Upload:
        """See `Objects.upload`."""
        row = self._row(bucket)
        document = await self.store.look(lambda db: lookup.upload(db, row.id, key.encode(), upload_id))
        return documents.upload_model(bucket, key, upload_id, document)

    async def put_part(
        self,
        bucket: str,
        key: str,
        upload_id: str,
        number: int,
        body: AsyncIterator[bytes],
        *,
        size: int,
        seal: Callable[[], Awaitable[Sealed]],
    ) -> Part:
        """See `Objects.put_part`."""
        row = self._row(bucket)
        target = Target(bucket, row.id, key)
        upload = await self.upload(bucket, key, upload_id)
        reservation = self._reserve(row, size)
        try:
            bodies, sealed = await self.take(upload.storage_class, body, size, seal, small=False)
        except BaseException:
            reservation.release()
            raise
        step = partial(
            uploads.put_part,
            target=target,
            upload_id=upload_id,
            number=number,
            size=size,
            sealed=sealed,
            bodies=bodies,
        )
        return await self.store.commit(step, bodies, reservation)

    async def parts(
        self, bucket: str, key: str, upload_id: str, *, after: int = 0, limit: int = 1000
    ) -> tuple[Part, ...]:
        """See `Objects.parts`."""
        row = self._row(bucket)

        def query(db: apsw.Connection) -> tuple[Part, ...]:
            lookup.upload(db, row.id, key.encode(), upload_id)
            found = lookup.parts(db, upload_id, after, limit)
            return tuple(documents.part_model(number, document) for number, document in found)

        return await self.store.look(query)

    async def complete_upload(
        self,
        bucket: str,
        key: str,
        upload_id: str,
        parts: Sequence[Part],
        sealed: Sealed,
        *,
        precondition: Precondition | None = None,
    ) -> Record:
        """See `Objects.complete_upload`."""
        target = self._target(bucket, key)
        layout_id = self.store.bodies.new_id()
        return await self.store.commit(
            lambda tx: uploads.complete(tx, target, upload_id, parts, sealed, precondition, layout_id)
        )

    async def abort_upload(self, bucket: str, key: str, upload_id: str) -> None:
        """See `Objects.abort_upload`."""
        target = self._target(bucket, key)
        await self.store.commit(lambda tx: uploads.abort(tx, target, upload_id))

    async def uploads(
        self,
        bucket: str,
        *,
        prefix: str = "",
        delimiter: str = "",
        after_key: str = "",
        after_upload: str = "",
        limit: int = 1000,
    ) -> UploadListing:
        """See `Objects.uploads`."""
        row = self._row(bucket)
        return await self.store.look(
            lambda db: listing.list_uploads(db, bucket, row.id, prefix, delimiter, after_key, after_upload, limit)
        )

    def _row(self, bucket: str) -> BucketRow:
        """The bucket as last committed."""
        row = self.store.buckets.get(bucket)
        if row is None:
            raise NoSuchBucketError(f"there is no bucket {bucket!r}")
        return row

    def _target(self, bucket: str, key: str) -> Target:
        return Target(bucket, self._row(bucket).id, key)

    def choose(self, bucket: str, key: str, attributes: Attributes, size: int | None, requested: str | None) -> str:
        """The storage class of a new object."""
        if requested is None and not self._map.assignment_rules:
            return next((c.name for c in self._map.storage_classes if c.default), self._map.storage_classes[0].name)
        candidate = Candidate(
            bucket=bucket,
            key=key,
            content_type=attributes.headers.get("content-type", ""),
            size=size,
            metadata=dict(attributes.metadata),
            requested_class=requested,
        )
        return self.assign(candidate).storage_class

    async def take(
        self,
        storage_class: str,
        body: AsyncIterator[bytes],
        size: int,
        seal: Callable[[], Awaitable[Sealed]],
        *,
        small: bool = True,
    ) -> tuple[tuple[NewBody, ...], Sealed]:
        """Take a body in as its class has it; plainly, should the class be gone from the map meanwhile."""
        found = self._classes.get(storage_class, StorageClass(name=storage_class))
        level = found.compression.level if found.compression.algorithm == "zstd" else None
        return await self.store.take(body, size, seal, level, small=small, deduplicate=found.deduplication)

    def _reserve(self, row: BucketRow, size: int) -> Reservation:
        """Room for a write, or QuotaExceededError or StorageFullError."""
        limits = self._map.limits
        bounds = Bounds(row.bucket.quota_bytes, limits.node_quota_bytes, limits.reserve_percent)
        return self.store.ledger.reserve(row.id, size, bounds)
