"""What an accepted row of a bucket's register does on this node: the bucket appears, changes or goes.

Called by `replica`, within the transaction that accepts the row; translates between a bucket and its register's record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from moln_node.store import documents, lookup, registers
from moln_node.store.documents import Flag, RecordDocument
from moln_node.store.model import Bucket, Versioning
from moln_node.store.transaction import BucketRow

if TYPE_CHECKING:
    from moln_node.store.registers import Row
    from moln_node.store.transaction import Transaction

_VERSIONING: Final = "versioning"
_QUOTA: Final = "quota"
_CLOSING: Final = "closing"


def record_of(bucket: Bucket, closing: str = "") -> RecordDocument:
    """A bucket as its register holds it: settings are metadata, what writes obey are headers.

    `closing` is a name that nothing else has for the deletion that closes it; empty: it is open.
    """
    headers = {_VERSIONING: str(bucket.versioning)}
    if bucket.quota_bytes is not None:
        headers[_QUOTA] = str(bucket.quota_bytes)
    if closing:
        headers[_CLOSING] = closing
    return RecordDocument(
        Flag.NULL, bucket.created_ms, 0, "", "", bucket.owner, headers, dict(bucket.settings), {}, "", None, ()
    )


def bucket_of(name: str, document: RecordDocument) -> Bucket:
    """The bucket that a register's record describes."""
    quota = document.headers.get(_QUOTA)
    return Bucket(
        name,
        document.owner,
        document.modified_ms,
        Versioning(document.headers.get(_VERSIONING, "")),
        None if quota is None else int(quota),
        document.metadata,
    )


def closing_of(document: RecordDocument) -> str:
    """The deletion for which the bucket is closed, and takes no writes; empty if it is open."""
    return document.headers.get(_CLOSING, "")


def carry_out(tx: Transaction, name: str, row: Row) -> None:
    """Let the bucket be on this node what its register now says."""
    there = tx.buckets.get(name)
    if there is not None and (not row.live or there.incarnation != row.version):
        _drop(tx, there)
        there = None
    if not row.live:
        return
    bucket, closing = bucket_of(name, row.document), bool(closing_of(row.document))
    stored = documents.encode(
        documents.bucket_document(bucket, row.version, closing=closing), documents.bucket_identity(name)
    )
    if there is None:
        tx.db.execute("INSERT INTO bucket (name, document) VALUES (?, ?)", (name, stored))
        number = tx.db.last_insert_rowid()
    else:
        number = there.id
        tx.db.execute("UPDATE bucket SET document = ? WHERE id = ?", (stored, number))
    tx.change_bucket(BucketRow(number, bucket, row.version, closing))


def forget(tx: Transaction, name: str) -> bool:
    """Let the bucket not be on this node any more; False where this node holds anything of it."""
    there = tx.buckets.get(name)
    if there is None:
        return True
    for space in registers.IN_BUCKETS:
        number = registers.number(space, there.id)
        if tx.db.execute("SELECT 1 FROM record WHERE bucket = ? LIMIT 1", (number,)).fetchone():
            return False
    _drop(tx, there)
    return True


def _drop(tx: Transaction, row: BucketRow) -> None:
    """Forget a bucket and all that was left in it: its owners agreed that nothing live was."""
    for space in registers.IN_BUCKETS:
        number = registers.number(space, row.id)
        left: list[tuple[Any, ...]] = tx.db.execute(
            "SELECT key, inverse, document FROM record WHERE bucket = ?", (number,)
        ).fetchall()
        for key, inverse, stored in left:
            tx.remove(number, key, *lookup.decode_record(number, key, inverse, stored))
        tx.db.execute("DELETE FROM promise WHERE bucket = ?", (number,))
    tx.db.execute("DELETE FROM bucket WHERE id = ?", (row.id,))
    tx.forget_bucket(row.bucket.name)
