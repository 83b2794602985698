"""Point reads of the index: one row, found by its key, checked and decoded.

Each takes a connection, so that the writing transaction and the reading lanes share them. Blocking.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moln_node.store import documents
from moln_node.store.documents import LayoutDocument, RecordDocument
from moln_node.store.errors import CorruptError
from moln_spec.version import Version

if TYPE_CHECKING:
    from collections.abc import Iterator

    import apsw

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


def decode_record(bucket_id: int, key: bytes, inverse: bytes, stored: bytes) -> Found:
    """A row of table `record`."""
    identity = documents.record_identity(bucket_id, key, inverse)
    return documents.revert(inverse), documents.decode(RecordDocument, stored, identity)


def unreadable(db: apsw.Connection, bucket_id: int, key: bytes) -> list[bytes]:
    """The inverse versions of the key's rows whose documents do not match their checksum."""
    found = []
    for inverse, stored in db.execute(
        "SELECT inverse, document FROM record WHERE bucket = ? AND key = ?", (bucket_id, key)
    ):
        try:
            decode_record(bucket_id, key, inverse, stored)
        except CorruptError:
            found.append(inverse)
    return found


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


def knows_body(db: apsw.Connection, body_id: int) -> bool:
    """Whether a body file is referred to, or has been given to the collector."""
    sql = "SELECT 1 FROM body WHERE id = ?1 UNION ALL SELECT 1 FROM garbage WHERE id = ?1 LIMIT 1"
    return db.execute(sql, (body_id,)).fetchone() is not None
