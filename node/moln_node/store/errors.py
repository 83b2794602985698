"""Why a store says no. The wire maps each to one S3 error code, in one place (`moln_node.s3.errors`)."""

from __future__ import annotations


class StoreError(Exception):
    """Base of all of them; the message is for people and holds no secret."""


class NoSuchBucketError(StoreError):
    """There is no bucket of this name."""


class BucketExistsError(StoreError):
    """The name is taken; `owner` says by whom."""

    def __init__(self, owner: str) -> None:
        super().__init__("the bucket exists already")
        self.owner = owner


class BucketNotEmptyError(StoreError):
    """The bucket still holds a version, a delete marker or (as S3 has it, not counted) an upload."""


class NoSuchKeyError(StoreError):
    """The key has no version, or its newest is a delete marker, whose version id is then in `delete_marker`."""

    def __init__(self, delete_marker: str | None = None) -> None:
        super().__init__("the key does not exist")
        self.delete_marker = delete_marker


class NoSuchVersionError(StoreError):
    """The key has no such version."""


class IsDeleteMarkerError(StoreError):
    """The version that was asked for is a delete marker: it has no body."""

    def __init__(self, version_id: str, modified_ms: int) -> None:
        super().__init__("the version is a delete marker")
        self.version_id = version_id
        self.modified_ms = modified_ms


class NoSuchUploadError(StoreError):
    """There is no such multipart upload: it was never made, or completed, or aborted."""


class InvalidPartError(StoreError):
    """A part named in a completion is not (or no longer) there."""


class PreconditionFailedError(StoreError):
    """The key is not in the state that the request demands."""


class ObjectLockedError(StoreError):
    """Object lock keeps the version, or its retention, as it is."""


class BucketStateError(StoreError):
    """The bucket's settings would contradict each other."""


class QuotaExceededError(StoreError):
    """The write would put the bucket or the node over its quota."""


class StorageFullError(StoreError):
    """The volume has no room besides its reserve: reads, lists and deletes go on."""


class CorruptError(StoreError):
    """Bytes on the disk do not match their checksum. They are not served."""


class IndexDamagedError(CorruptError):
    """A page of the index can't be read, and with it all rows that are on it: nobody can say which these are."""


class IncompleteBodyError(StoreError):
    """The body ended before, or went on after, the size that was declared."""


class UnsupportedFormatError(StoreError):
    """What lies on the disk was written in a format that this release does not read; nothing was touched."""


class DataInUseError(StoreError):
    """Another process has the data directory open, or it belongs to another node or cloud."""


class DiskFailedError(StoreError):
    """The disk refused a commit, and may have kept it all the same: what it has shows when the store opens again."""


class ClosedError(StoreError):
    """The store is closed, or closing."""
