"""Steps on objects: a version is added, changed or dropped."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from moln_node.store import documents, lookup
from moln_node.store.clock import wall_ms
from moln_node.store.documents import Flag, LayoutDocument, RecordDocument
from moln_node.store.errors import IncompleteBodyError, NoSuchKeyError, PreconditionFailedError
from moln_node.store.model import Attributes, Deleted, Precondition, Versioning

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from moln_node.store.bodies import NewBody
    from moln_node.store.documents import Segment
    from moln_node.store.model import Checksum, Part, Record
    from moln_node.store.transaction import BucketRow, Transaction

SEGMENTS_IN_RECORD = 4  # an object with more, or with parts, keeps them in a layout, out of the way of listings


@dataclass(frozen=True, slots=True)
class Target:
    """Where a write goes: the bucket it was admitted to, by name and number, and the key."""

    bucket: str
    bucket_id: int
    key: str


@dataclass(frozen=True, slots=True)
class Content:
    """What an object is besides where its bytes are. `layout_id` is a fresh id, used should a layout be needed."""

    attributes: Attributes
    size: int
    etag: str
    storage_class: str
    layout_id: int
    checksum: Checksum | None = None
    parts: tuple[Part, ...] = field(default=())
    upload: str = ""


def put(
    tx: Transaction, target: Target, content: Content, bodies: Sequence[NewBody], precondition: Precondition | None
) -> Record:
    """Make an object of bodies that are safe on the disk."""
    row = tx.bucket(target.bucket, target.bucket_id)
    require_whole(bodies, content.size)
    require(tx, row, target.key, precondition)
    return add_version(tx, row, target.key, content, tx.adopt(bodies))


def require_whole(bodies: Sequence[NewBody], size: int) -> None:
    """What was written must be what was declared: nothing that is not there is acknowledged, whatever went wrong."""
    written = sum(body.size for body in bodies)
    if written != size:
        raise IncompleteBodyError(f"the body was declared as {size} bytes, and {written} were written")


def add_version(tx: Transaction, row: BucketRow, key: str, content: Content, segments: tuple[Segment, ...]) -> Record:
    """Make these segments the key's newest version, in place of its null version where versioning is not on."""
    raw = key.encode()
    null = row.bucket.versioning is not Versioning.ENABLED
    if null:
        _drop_null_version(tx, row, raw)
    version = tx.clock.next()
    apart = bool(content.parts) or len(segments) > SEGMENTS_IN_RECORD
    parts = documents.parts_tuple(content.parts)
    if apart:
        tx.add_layout(content.layout_id, LayoutDocument(segments, parts))
    attributes = content.attributes
    document = RecordDocument(
        flags=Flag.NULL if null else 0,
        modified_ms=wall_ms(),
        size=content.size,
        etag=content.etag,
        storage_class=content.storage_class,
        owner=attributes.owner,
        headers=dict(attributes.headers),
        metadata=dict(attributes.metadata),
        tags=dict(attributes.tags),
        acl=attributes.acl,
        checksum=documents.checksum_tuple(content.checksum),
        segments=() if apart else segments,
        layout=content.layout_id if apart else 0,
        upload=content.upload,
    )
    tx.insert(row.id, raw, version, document)
    return documents.record_model(row.bucket.name, key, version, document, parts=parts)


def _drop_null_version(tx: Transaction, row: BucketRow, key: bytes) -> None:
    """Drop what a new null version replaces. Without versions there is nothing else to look through."""
    find = lookup.newest if row.bucket.versioning is Versioning.OFF else lookup.null_version
    old = find(tx.db, row.id, key)
    if old is not None:
        tx.remove(row.id, key, *old)


def require(tx: Transaction, row: BucketRow, key: str, precondition: Precondition | None) -> None:
    """The key must be in the state that a write demands; NoSuchKeyError where If-Match finds nothing."""
    if precondition is None:
        return
    newest = lookup.newest(tx.db, row.id, key.encode())
    found = None if newest is None or newest[1].delete_marker else newest[1]
    if found is None and precondition.if_match is not None:
        raise NoSuchKeyError
    meet(precondition, found)


def meet(precondition: Precondition, found: RecordDocument | None) -> None:
    """Raise PreconditionFailedError unless the object found (None: there is none) is as demanded."""
    etag = None if found is None else found.etag
    if precondition.if_match is not None and (etag is None or precondition.if_match not in ("*", etag)):
        raise PreconditionFailedError("the object is not the one that If-Match names")
    if precondition.if_none_match is not None and etag is not None and precondition.if_none_match in ("*", etag):
        raise PreconditionFailedError("the object exists, and If-None-Match forbids that")
    if precondition.if_size is not None and (found is None or found.size != precondition.if_size):
        raise PreconditionFailedError("the object does not have the size demanded")
    moment = precondition.if_modified_ms
    if moment is not None and (found is None or found.modified_ms // 1000 != moment // 1000):
        raise PreconditionFailedError("the object was not last modified at the time demanded")


def delete(
    tx: Transaction, target: Target, version_id: str | None, owner: str, precondition: Precondition | None
) -> Deleted:
    """Delete as the bucket's versioning has it."""
    row = tx.bucket(target.bucket, target.bucket_id)
    key = target.key.encode()
    if version_id is not None:
        return _delete_version(tx, row, key, version_id, precondition)
    newest = lookup.newest(tx.db, row.id, key)
    if precondition is not None and newest is not None:
        meet(precondition, newest[1])  # also a delete marker, which has no etag: only `*` matches it
    if row.bucket.versioning is Versioning.OFF:
        if newest is not None:
            tx.remove(row.id, key, *newest)
        return Deleted(None, delete_marker=False)
    null = row.bucket.versioning is Versioning.SUSPENDED
    if null:
        _drop_null_version(tx, row, key)
    flags = Flag.DELETE_MARKER | (Flag.NULL if null else 0)
    marker = RecordDocument(flags, wall_ms(), 0, "", "", owner, {}, {}, {}, "", None, ())
    version = tx.clock.next()
    tx.insert(row.id, key, version, marker)
    return Deleted(lookup.shown_id(version, marker), delete_marker=True)


def _delete_version(
    tx: Transaction, row: BucketRow, key: bytes, version_id: str, precondition: Precondition | None
) -> Deleted:
    """Drop one version for good."""
    found = lookup.find_version(tx.db, row.id, key, version_id)
    if found is None:
        return Deleted(None, delete_marker=False)
    if precondition is not None:
        meet(precondition, found[1])
    tx.remove(row.id, key, *found)
    return Deleted(version_id, delete_marker=found[1].delete_marker)


def set_attributes(
    tx: Transaction, target: Target, version_id: str | None, tags: Mapping[str, str] | None, acl: str | None
) -> Record:
    """Change a version's tags or ACL in place."""
    row = tx.bucket(target.bucket, target.bucket_id)
    key = target.key.encode()
    version, document, latest = lookup.live(tx.db, row.id, key, version_id)
    changed = msgspec.structs.replace(
        document,
        tags=document.tags if tags is None else dict(tags),
        acl=document.acl if acl is None else acl,
    )
    tx.replace(row.id, key, version, changed)
    return documents.record_model(target.bucket, target.key, version, changed, latest=latest)
