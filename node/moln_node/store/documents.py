"""How records, layouts, parts and buckets are written in the index: MessagePack arrays, sealed with a checksum.

Called by the rooms that touch the index's tables; pure. Fields are only ever added at the end, with a default, so that
an older document still reads. docs/on-disk-format.md describes every field.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Final, TypeVar

import msgspec

from moln_node.store import checksum
from moln_node.store.errors import CorruptError
from moln_node.store.model import (
    UNLOCKED,
    Attributes,
    Bucket,
    Checksum,
    Kind,
    Lock,
    Part,
    Record,
    Retention,
    Versioning,
)
from moln_spec.version import Version

T = TypeVar("T")

Parts = tuple[tuple[int, int, str, int, tuple[str, str, str] | None], ...]


class Place(IntEnum):
    """Where a segment's bytes are."""

    INLINE = 0  # a row of table `small`
    FILE = 1  # a body file, a row of table `body`


class Segment(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A run of an object's bytes: the whole of one inline body or body file."""

    place: int
    id: int
    size: int


class Flag(IntFlag):
    """What a record is besides an object."""

    NULL = 1
    DELETE_MARKER = 2
    TOMBSTONE = 4  # nothing is there any more: what is left of a version that the owners agreed to drop
    ASSIGNED = 8  # its class was chosen by a rule or the default, not asked for by the client


# as plain numbers: an enum's operators cost a microsecond each, and these are asked for every row of a listing
_NULL: Final = int(Flag.NULL)
_DELETE_MARKER: Final = int(Flag.DELETE_MARKER)
_TOMBSTONE: Final = int(Flag.TOMBSTONE)
_ASSIGNED: Final = int(Flag.ASSIGNED)
_UNCOUNTED: Final = _DELETE_MARKER | _TOMBSTONE


class RecordDocument(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A record without its key. `layout` is the row of `small` with segments and parts where these are many.

    `ballot` is when the owners of the key last decided on it, as a version's twelve bytes; empty: when it was made.
    `past` is what this slot lately held on this node: versions with their ballots, newest first, and last, alone,
    the newest ballot of those that are left out; it never leaves the node. `size` is that of the bytes; where they are
    encrypted, `encryption` says how, and `plain_size` is what the client wrote. `lock` is mode, end and legal hold.
    `packing` is how this node has packed the bytes (`packing.packing`); it never leaves the node either. `body` names
    the body where that is apart from the record, which then has no bytes with it.
    """

    flags: int
    modified_ms: int
    size: int
    etag: str
    storage_class: str
    owner: str
    headers: dict[str, str]
    metadata: dict[str, str]
    tags: dict[str, str]
    acl: str
    checksum: tuple[str, str, str] | None
    segments: tuple[Segment, ...]
    layout: int = 0
    upload: str = ""
    ballot: bytes = b""
    past: tuple[bytes, ...] = ()
    encryption: str = ""
    plain_size: int = -1
    lock: tuple[str, int, str] | None = None
    packing: str = ""
    body: str = ""

    @property
    def shown_size(self) -> int:
        """The size that S3 shows."""
        return self.size if self.plain_size < 0 else self.plain_size

    @property
    def null(self) -> bool:
        """S3 shows it as version `null`."""
        return bool(self.flags & _NULL)

    @property
    def delete_marker(self) -> bool:
        """It says that the key is gone."""
        return bool(self.flags & _DELETE_MARKER)

    @property
    def tombstone(self) -> bool:
        """Nothing is there: readers pass it over; only owners that compare notes see it."""
        return bool(self.flags & _TOMBSTONE)

    @property
    def assigned(self) -> bool:
        """Its class was chosen by a rule or the default; of older records nobody knows."""
        return bool(self.flags & _ASSIGNED)

    @property
    def counted(self) -> bool:
        """It is an object, which usage counts."""
        return not self.flags & _UNCOUNTED


class LayoutDocument(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The segments and parts of an object that was uploaded in parts or cut into chunks."""

    segments: tuple[Segment, ...]
    parts: Parts = ()


class BucketDocument(msgspec.Struct, array_like=True, frozen=True):
    """A bucket without its name. `incarnation` is the version that made it.

    While `closing`, the bucket is on its way out and takes no writes.
    """

    owner: str
    created_ms: int
    versioning: str
    quota_bytes: int | None
    settings: dict[str, str]
    incarnation: bytes
    closing: bool


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODERS: Final = {kind: msgspec.msgpack.Decoder(kind) for kind in (RecordDocument, LayoutDocument, BucketDocument)}


def encode(document: msgspec.Struct, identity: bytes) -> bytes:
    """The document as it is stored, for the row that `identity` names."""
    return checksum.seal(_ENCODER.encode(document), identity)


def decode(kind: type[T], stored: bytes, identity: bytes) -> T:
    """The document of the row that `identity` names; CorruptError if it is not what was stored there."""
    payload = checksum.unseal(stored, identity)
    if payload is None:
        raise CorruptError(f"a {kind.__name__} does not match its checksum: its row is damaged, and is not served")
    document: T = _DECODERS[kind].decode(payload)  # type: ignore[index, assignment]
    return document


_INVERT: Final = int.from_bytes(b"\xff" * 12)


def invert(version: Version) -> bytes:
    """Twelve bytes that sort in reverse: the newest version comes first."""
    return (int.from_bytes(version.to_bytes()) ^ _INVERT).to_bytes(12)


def revert(inverse: bytes) -> Version:
    """The version that `invert` was given."""
    return Version.from_bytes((int.from_bytes(inverse) ^ _INVERT).to_bytes(12))


def record_identity(bucket_id: int, key: bytes, inverse: bytes) -> bytes:
    """What a record's checksum covers besides the record."""
    return b"record\0%d\0%s" % (bucket_id, inverse) + key


def layout_identity(layout_id: int) -> bytes:
    """What a layout's checksum covers besides the layout."""
    return b"layout\0%d" % layout_id


def bucket_identity(name: str) -> bytes:
    """What a bucket's checksum covers besides its document."""
    return b"bucket\0" + name.encode()


def attributes_model(document: RecordDocument) -> Attributes:
    """A writer's attributes as rooms above know them."""
    return Attributes(
        document.owner,
        document.headers,
        document.metadata,
        document.tags,
        document.acl,
        document.encryption,
        lock_model(document.lock),
    )


def lock_tuple(value: Lock) -> tuple[str, int, str] | None:
    """A lock as it is stored."""
    return None if value == UNLOCKED else (value.retention.mode, value.retention.until_ms, value.hold)


def lock_model(stored: tuple[str, int, str] | None) -> Lock:
    """A lock as rooms above know it."""
    return UNLOCKED if stored is None else Lock(Retention(stored[0], stored[1]), stored[2])


def checksum_tuple(value: Checksum | None) -> tuple[str, str, str] | None:
    """A checksum as it is stored."""
    return None if value is None else (value.algorithm, value.value, value.type)


def checksum_model(stored: tuple[str, str, str] | None) -> Checksum | None:
    """A checksum as rooms above know it."""
    return None if stored is None else Checksum(*stored)


def parts_tuple(parts: tuple[Part, ...]) -> Parts:
    """Parts as a layout keeps them."""
    return tuple((p.number, p.size, p.etag, p.modified_ms, checksum_tuple(p.checksum)) for p in parts)


def parts_model(parts: Parts) -> tuple[Part, ...]:
    """Parts as rooms above know them."""
    return tuple(Part(n, size, etag, ms, checksum_model(check)) for n, size, etag, ms, check in parts)


def record_model(
    bucket: str, key: str, version: Version, document: RecordDocument, *, parts: Parts = (), latest: bool = True
) -> Record:
    """A record as rooms above know it."""
    return Record(
        bucket=bucket,
        key=key,
        version=version,
        null=document.null,
        kind=Kind.DELETE_MARKER if document.delete_marker else Kind.OBJECT,
        modified_ms=document.modified_ms,
        attributes=attributes_model(document),
        size=document.shown_size,
        etag=document.etag,
        storage_class=document.storage_class,
        checksum=checksum_model(document.checksum),
        parts=parts_model(parts),
        latest=latest,
        stored_size=document.size,
    )


def bucket_document(bucket: Bucket, incarnation: bytes, *, closing: bool) -> BucketDocument:
    """A bucket as it is stored."""
    return BucketDocument(
        bucket.owner,
        bucket.created_ms,
        str(bucket.versioning),
        bucket.quota_bytes,
        dict(bucket.settings),
        incarnation,
        closing,
    )


def bucket_model(name: str, document: BucketDocument) -> Bucket:
    """A bucket as rooms above know it."""
    return Bucket(
        name,
        document.owner,
        document.created_ms,
        Versioning(document.versioning),
        document.quota_bytes,
        document.settings,
    )
