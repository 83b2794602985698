"""Point reads of the index: one row, found by its key, checked and decoded.

Each takes a connection, so that the writing transaction and the reading lanes share them. Blocking.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moln_node.store import documents
from moln_node.store.documents import LayoutDocument, PartDocument, RecordDocument, UploadDocument
from moln_node.store.errors import (
    CorruptError,
    IsDeleteMarkerError,
    NoSuchKeyError,
    NoSuchUploadError,
    NoSuchVersionError,
)
from moln_spec.version import InvalidVersionError, Version

if TYPE_CHECKING:
    from collections.abc import Iterator

    import apsw

    from moln_node.store.model import Record

NULL = "null"
"""The version id of a version written while versioning was off or suspended."""

Found = tuple[Version, RecordDocument]


def shown_id(version: Version, document: RecordDocument) -> str:
    """The version id that S3 shows."""
    return NULL if document.null else version.encode()


def newest(db: apsw.Connection, bucket_id: int, key: bytes) -> Found | None:
    """The key's newest version; tombstones are none."""
    row = db.execute(
        "SELECT inverse, document FROM record WHERE bucket = ? AND key = ? ORDER BY inverse LIMIT 1", (bucket_id, key)
    ).fetchone()
    found = None if row is None else decode_record(bucket_id, key, *row)
    if found is None or not found[1].tombstone:
        return found
    return next((row for row in rows(db, bucket_id, key) if not row[1].tombstone), None)


def rows(db: apsw.Connection, bucket_id: int, key: bytes) -> Iterator[Found]:
    """Every version of the key and every tombstone, newest first."""
    for inverse, stored in db.execute(
        "SELECT inverse, document FROM record WHERE bucket = ? AND key = ? ORDER BY inverse", (bucket_id, key)
    ):
        yield decode_record(bucket_id, key, inverse, stored)


def at(db: apsw.Connection, bucket_id: int, key: bytes, version: Version) -> Found | None:
    """One version of the key; a tombstone is none."""
    found = row_at(db, bucket_id, key, version)
    return None if found is None or found[1].tombstone else found


def row_at(db: apsw.Connection, bucket_id: int, key: bytes, version: Version) -> Found | None:
    """One version of the key, or its tombstone."""
    inverse = documents.invert(version)
    row = db.execute(
        "SELECT document FROM record WHERE bucket = ? AND key = ? AND inverse = ?", (bucket_id, key, inverse)
    ).fetchone()
    return None if row is None else decode_record(bucket_id, key, inverse, row[0])


def null_version(db: apsw.Connection, bucket_id: int, key: bytes) -> Found | None:
    """The key's version that S3 calls `null`: at most one."""
    return next((found for found in rows(db, bucket_id, key) if found[1].null), None)


def find_version(db: apsw.Connection, bucket_id: int, key: bytes, version_id: str) -> Found | None:
    """The version that S3 knows by this id; None also where the id is nonsense."""
    try:
        found = (
            null_version(db, bucket_id, key)
            if version_id == NULL
            else at(db, bucket_id, key, Version.decode(version_id))
        )
    except InvalidVersionError:
        return None
    if found is None or found[1].tombstone or found[1].null != (version_id == NULL):
        return None
    return found


def live(
    db: apsw.Connection, bucket_id: int, key: bytes, version_id: str | None
) -> tuple[Version, RecordDocument, bool]:
    """The object that a read means, and whether it is the key's newest version.

    Raises:
        NoSuchKeyError, NoSuchVersionError, IsDeleteMarkerError: there is none; as `Objects.head` says.
    """
    latest = newest(db, bucket_id, key)
    if version_id is None:
        if latest is None:
            raise NoSuchKeyError
        if latest[1].delete_marker:
            raise NoSuchKeyError(shown_id(*latest))
        return (*latest, True)
    found = None if latest is None else find_version(db, bucket_id, key, version_id)
    if found is None:
        raise NoSuchVersionError(f"the key has no version {version_id!r}")
    if found[1].delete_marker:
        raise IsDeleteMarkerError(shown_id(*found), found[1].modified_ms)
    return (*found, latest is not None and latest[0] == found[0])


def record(db: apsw.Connection, bucket: str, bucket_id: int, key: str, version_id: str | None) -> Record:
    """`Objects.head`: the object that a read means."""
    while True:
        version, document, latest = live(db, bucket_id, key.encode(), version_id)
        if not document.layout:
            return documents.record_model(bucket, key, version, document, latest=latest)
        found = layout(db, document.layout)
        if found is not None:
            return documents.record_model(bucket, key, version, document, parts=found.parts, latest=latest)
        if at(db, bucket_id, key.encode(), version) is not None:
            raise CorruptError(f"the index has lost layout {document.layout}")


def decode_record(bucket_id: int, key: bytes, inverse: bytes, stored: bytes) -> Found:
    """A row of table `record`."""
    identity = documents.record_identity(bucket_id, key, inverse)
    return documents.revert(inverse), documents.decode(RecordDocument, stored, identity)


def layout(db: apsw.Connection, layout_id: int) -> LayoutDocument | None:
    """The segments and parts of an object that has many; None if they are gone."""
    row = db.execute("SELECT content FROM small WHERE id = ?", (layout_id,)).fetchone()
    return None if row is None else documents.decode(LayoutDocument, row[0], documents.layout_identity(layout_id))


def needed_layout(db: apsw.Connection, layout_id: int) -> LayoutDocument:
    """As `layout`, within the transaction that read its record: it must be there."""
    found = layout(db, layout_id)
    if found is None:
        raise CorruptError(f"the index has lost layout {layout_id}")
    return found


def upload(db: apsw.Connection, bucket_id: int, key: bytes, upload_id: str) -> UploadDocument:
    """The upload; NoSuchUploadError."""
    row = db.execute(
        "SELECT document FROM upload WHERE bucket = ? AND key = ? AND id = ?", (bucket_id, key, upload_id)
    ).fetchone()
    if row is None:
        raise NoSuchUploadError(
            f"there is no upload {upload_id!r} of this key: it was completed, aborted or never made"
        )
    return documents.decode(UploadDocument, row[0], documents.upload_identity(bucket_id, key, upload_id))


def part(db: apsw.Connection, upload_id: str, number: int) -> PartDocument | None:
    """One part of an upload."""
    row = db.execute("SELECT document FROM part WHERE upload = ? AND number = ?", (upload_id, number)).fetchone()
    return None if row is None else documents.decode(PartDocument, row[0], documents.part_identity(upload_id, number))


def parts(db: apsw.Connection, upload_id: str, after: int, limit: int) -> list[tuple[int, PartDocument]]:
    """Parts by number, strictly after `after`."""
    rows = db.execute(
        "SELECT number, document FROM part WHERE upload = ? AND number > ? ORDER BY number LIMIT ?",
        (upload_id, after, limit),
    )
    return [
        (number, documents.decode(PartDocument, stored, documents.part_identity(upload_id, number)))
        for number, stored in rows
    ]


def knows_body(db: apsw.Connection, body_id: int) -> bool:
    """Whether a body file is referred to, or has been given to the collector."""
    sql = "SELECT 1 FROM body WHERE id = ?1 UNION ALL SELECT 1 FROM garbage WHERE id = ?1 LIMIT 1"
    return db.execute(sql, (body_id,)).fetchone() is not None
