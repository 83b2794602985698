"""Steps on buckets."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from moln_node.store import documents
from moln_node.store.documents import BucketDocument
from moln_node.store.errors import BucketExistsError, BucketNotEmptyError
from moln_node.store.steps.uploads import drop_upload
from moln_node.store.transaction import BucketRow, Transaction

if TYPE_CHECKING:
    from collections.abc import Mapping

    import apsw

    from moln_node.store.model import Bucket, Versioning


def create(tx: Transaction, bucket: Bucket) -> None:
    """Make a bucket; BucketExistsError."""
    if (taken := tx.buckets.get(bucket.name)) is not None:
        raise BucketExistsError(taken.bucket.owner)
    tx.db.execute("INSERT INTO bucket (name, document) VALUES (?, ?)", (bucket.name, _encoded(bucket)))
    tx.change_bucket(BucketRow(tx.db.last_insert_rowid(), bucket))


def change(
    tx: Transaction,
    name: str,
    settings: Mapping[str, str | None] | None,
    versioning: Versioning | None,
    quota_bytes: int | None,
) -> Bucket:
    """Change what is given; a setting of None and a quota of 0 are removed."""
    row = tx.bucket(name)
    merged = {**row.bucket.settings, **(settings or {})}
    bucket = replace(
        row.bucket,
        settings={key: value for key, value in merged.items() if value is not None},
        versioning=row.bucket.versioning if versioning is None else versioning,
        quota_bytes=row.bucket.quota_bytes if quota_bytes is None else quota_bytes or None,
    )
    tx.db.execute("UPDATE bucket SET document = ? WHERE id = ?", (_encoded(bucket), row.id))
    tx.change_bucket(BucketRow(row.id, bucket))
    return bucket


def delete(tx: Transaction, name: str) -> None:
    """Remove an empty bucket, and the uploads under way in it."""
    row = tx.bucket(name)
    if tx.db.execute("SELECT 1 FROM record WHERE bucket = ? LIMIT 1", (row.id,)).fetchone() is not None:
        raise BucketNotEmptyError(f"bucket {name!r} still holds versions: delete them first")
    under_way: list[tuple[Any, ...]] = tx.db.execute(
        "SELECT key, id FROM upload WHERE bucket = ?", (row.id,)
    ).fetchall()
    for key, upload_id in under_way:
        drop_upload(tx, row.id, key, upload_id)
    tx.db.execute("DELETE FROM bucket WHERE id = ?", (row.id,))
    tx.forget_bucket(name)


def load(db: apsw.Connection) -> dict[str, BucketRow]:
    """The buckets of an index, by name."""
    found = {}
    for number, name, stored in db.execute("SELECT id, name, document FROM bucket ORDER BY name"):
        document = documents.decode(BucketDocument, stored, documents.bucket_identity(name))
        bucket = documents.bucket_model(name, document)
        found[name] = BucketRow(number, bucket, document.incarnation, document.closing)
    return found


def _encoded(bucket: Bucket) -> bytes:
    return documents.encode(documents.bucket_document(bucket), documents.bucket_identity(bucket.name))
