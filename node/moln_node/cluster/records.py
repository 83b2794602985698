"""From what a register holds to what S3 calls it, and back. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moln_node.store import documents, lookup
from moln_node.store.documents import Flag, RecordDocument
from moln_node.store.errors import IsDeleteMarkerError, NoSuchKeyError, NoSuchVersionError, PreconditionFailedError
from moln_node.store.registers import NULL_SLOT, Row
from moln_spec.version import InvalidVersionError, Version

if TYPE_CHECKING:
    from moln_node.cluster.quorum import View
    from moln_node.store.documents import Parts
    from moln_node.store.model import Attributes, Precondition, Record, Sealed


def slot_of(version_id: str) -> bytes | None:
    """The slot that a version id names; None where it can name none."""
    if version_id == lookup.NULL:
        return NULL_SLOT
    try:
        return Version.decode(version_id).to_bytes()
    except InvalidVersionError:
        return None


def live_row(view: View, version_id: str | None) -> Row:
    """The object that a read means; see `lookup.live` for what it raises."""
    if version_id is None:
        newest = view.newest
        if newest is None:
            raise NoSuchKeyError
        if newest.document.delete_marker:
            raise NoSuchKeyError(shown_id(newest))
        return newest
    slot = slot_of(version_id)
    row = None if slot is None else view.rows.get(slot)
    if row is None or not row.live:
        raise NoSuchVersionError(f"the key has no version {version_id!r}")
    if row.document.delete_marker:
        raise IsDeleteMarkerError(shown_id(row), row.document.modified_ms)
    return row


def shown_id(row: Row) -> str:
    """The version id that S3 shows."""
    return lookup.shown_id(Version.from_bytes(row.version), row.document)


def record(bucket: str, key: str, row: Row, *, parts: Parts = (), latest: bool = True) -> Record:
    """A row as the wire knows it."""
    return documents.record_model(
        bucket, key, Version.from_bytes(row.version), row.document, parts=parts, latest=latest
    )


def object_row(
    version: bytes,
    attributes: Attributes,
    size: int,
    sealed: Sealed,
    storage_class: str,
    *,
    null: bool,
    modified_ms: int,
    upload: str = "",
    assigned: bool = False,
    body: str = "",
) -> Row:
    """The row of a new object.

    `assigned` says that its class was not asked for by the client, `body` names its body where that is apart.
    """
    document = RecordDocument(
        flags=(Flag.NULL if null else 0) | (Flag.ASSIGNED if assigned else 0),
        modified_ms=modified_ms,
        size=size,
        etag=sealed.etag,
        storage_class=storage_class,
        owner=attributes.owner,
        headers=dict(attributes.headers),
        metadata=dict(attributes.metadata),
        tags=dict(attributes.tags),
        acl=attributes.acl,
        checksum=documents.checksum_tuple(sealed.checksum),
        segments=(),
        upload=upload,
        encryption=attributes.encryption,
        plain_size=-1 if sealed.size is None else sealed.size,
        lock=documents.lock_tuple(attributes.lock),
        body=body,
    )
    return Row(version, version, document)


def body_row(version: bytes, size: int, etag: str, storage_class: str, *, modified_ms: int, upload: str = "") -> Row:
    """The row of a body that is apart from its record, in a register of its own."""
    document = RecordDocument(
        Flag.NULL, modified_ms, size, etag, storage_class, "", {}, {}, {}, "", None, (), 0, upload
    )
    return Row(version, version, document)


def marker_row(version: bytes, owner: str, *, null: bool, modified_ms: int) -> Row:
    """The row of a new delete marker."""
    flags = Flag.DELETE_MARKER | (Flag.NULL if null else 0)
    return Row(version, version, RecordDocument(flags, modified_ms, 0, "", "", owner, {}, {}, {}, "", None, ()))


def require(view: View, precondition: Precondition) -> None:
    """The key must be in the state that a write demands; NoSuchKeyError where If-Match finds nothing."""
    newest = view.newest
    found = None if newest is None or newest.document.delete_marker else newest.document
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
    if precondition.if_size is not None and (found is None or found.shown_size != precondition.if_size):
        raise PreconditionFailedError("the object does not have the size demanded")
    moment = precondition.if_modified_ms
    if moment is not None and (found is None or found.modified_ms // 1000 != moment // 1000):
        raise PreconditionFailedError("the object was not last modified at the time demanded")
