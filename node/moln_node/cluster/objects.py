"""The one door between the wire and everything that keeps data.

`s3/` calls nothing else. On one node, `LocalStore` answers from the store beside it; a cloud of many answers from the
owners of each key, behind the same signatures. All times are milliseconds since 1970. Every method may raise the errors
of `moln_node.store.errors`; nothing half-written is ever visible, also when the caller is cancelled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from moln_node.store.model import (
        Attributes,
        Bucket,
        Deleted,
        Listing,
        Part,
        Precondition,
        Record,
        Retention,
        Sealed,
        Upload,
        UploadListing,
        Usage,
        Versioning,
        VersionListing,
    )
    from moln_node.store.reading import FileBytes
    from moln_spec.classes import Assignment, Candidate


class Reading(Protocol):
    """An object opened for reading: its bytes stay readable until it is closed, whatever is written meanwhile."""

    @property
    def record(self) -> Record:
        """What was opened."""
        ...

    def read(self, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from `start` up to, not including, `end`, in checked blocks; CorruptError if one is bad.

        Encrypted ones are as they were stored: there are `stored_size` of them.
        """
        ...

    def pieces(self, start: int, end: int) -> AsyncIterator[bytes | FileBytes]:
        """As `read`, but what lies in a file of this node as it is may come as that, checked where it is."""
        ...


class Objects(Protocol):
    """Buckets, objects and uploads of one cloud."""

    async def create_bucket(self, bucket: Bucket) -> None:
        """Make a bucket; BucketExistsError if the name is taken."""
        ...

    async def bucket(self, name: str) -> Bucket:
        """The bucket as it is now; NoSuchBucketError."""
        ...

    async def buckets(self) -> tuple[Bucket, ...]:
        """Every bucket, by name."""
        ...

    async def set_bucket(
        self,
        name: str,
        *,
        settings: Mapping[str, str | None] | None = None,
        versioning: Versioning | None = None,
        quota_bytes: int | None = None,
    ) -> Bucket:
        """Change what is given (a setting of None is removed; a quota of 0 is removed), leave the rest.

        BucketStateError where object lock would be without versioning.
        """
        ...

    async def delete_bucket(self, name: str) -> None:
        """Remove an empty bucket and abort its uploads; BucketNotEmptyError."""
        ...

    async def bucket_usage(self, name: str) -> Usage:
        """How much the bucket holds."""
        ...

    def assign(self, candidate: Candidate) -> Assignment:
        """The storage class an object would get, and why; UnknownStorageClassError."""
        ...

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
        """Write an object and return its record once it would survive a power cut.

        `size` is what the client declared: it is checked against quotas before the first byte is taken, and against
        the bytes that came (IncompleteBodyError). `seal` is awaited after the last byte and before anything becomes
        visible; what it raises (a bad digest) undoes the write. The bucket's versioning decides whether the key's null
        version is replaced or a version is added.
        """
        ...

    async def head(self, bucket: str, key: str, version_id: str | None = None) -> Record:
        """The newest version of a key, or the named one (`null` too).

        NoSuchKeyError, NoSuchVersionError; IsDeleteMarkerError where a delete marker was named.
        """
        ...

    def open(self, bucket: str, key: str, version_id: str | None = None) -> AbstractAsyncContextManager[Reading]:
        """`head`, and its bytes: the record and the bytes belong together."""
        ...

    async def set_attributes(
        self,
        bucket: str,
        key: str,
        version_id: str | None,
        *,
        tags: Mapping[str, str] | None = None,
        acl: str | None = None,
        retention: Retention | None = None,
        hold: str | None = None,
        bypass_governance: bool = False,
    ) -> Record:
        """Change a version's tags, ACL, retention or legal hold in place; its bytes, etag and modification time stay.

        ObjectLockedError where `retention` would cut short what the version has, unless it is one of governance and
        `bypass_governance`.
        """
        ...

    async def delete(
        self,
        bucket: str,
        key: str,
        version_id: str | None = None,
        *,
        owner: str = "",
        precondition: Precondition | None = None,
        bypass_governance: bool = False,
    ) -> Deleted:
        """Delete as the bucket's versioning has it: drop the object, add a delete marker, or drop the version.

        Deleting what is not there succeeds, as in S3, unless the precondition says otherwise. ObjectLockedError where
        a version is named that its lock keeps; `bypass_governance` passes a retention of that mode.
        """
        ...

    async def list_objects(
        self, bucket: str, *, prefix: str = "", delimiter: str = "", after: str = "", limit: int = 1000
    ) -> Listing:
        """Keys in UTF-8 byte order, strictly after `after`; keys that share prefix..delimiter count once, as a prefix.

        When `after` is itself such a prefix, the whole group is passed. `limit` bounds records plus prefixes.
        """
        ...

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
        """As `list_objects`, with every version and delete marker; `after_version` continues within `after_key`."""
        ...

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
        """Begin a multipart upload."""
        ...

    async def upload(self, bucket: str, key: str, upload_id: str) -> Upload:
        """The upload; NoSuchUploadError."""
        ...

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
        """Write a part, in place of an earlier one of that number; it is kept as safely as an object."""
        ...

    async def parts(
        self, bucket: str, key: str, upload_id: str, *, after: int = 0, limit: int = 1000
    ) -> tuple[Part, ...]:
        """The parts by number, strictly after `after`; one more than wanted tells whether there are more."""
        ...

    async def complete_upload(
        self,
        bucket: str,
        key: str,
        upload_id: str,
        parts: Sequence[Part],
        sealed: Sealed,
        *,
        precondition: Precondition | None = None,
        retention: Retention | None = None,
    ) -> Record:
        """Make the parts, in this order, the object; InvalidPartError if they are not the ones now there.

        `retention` is the object's where its upload was begun with none.
        Completing again returns the record while it is still the newest of its key; NoSuchUploadError later.
        """
        ...

    async def abort_upload(self, bucket: str, key: str, upload_id: str) -> None:
        """Drop an upload and its parts; NoSuchUploadError."""
        ...

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
        """The uploads under way, by key, then by start."""
        ...
