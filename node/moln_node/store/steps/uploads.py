"""Steps on multipart uploads: parts are bodies of their own, so completing one writes a record and copies no byte."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from moln_node.store import documents, lookup
from moln_node.store.clock import wall_ms
from moln_node.store.documents import PartDocument, UploadDocument
from moln_node.store.errors import InvalidPartError, NoSuchUploadError
from moln_node.store.steps import objects
from moln_node.store.steps.objects import Content, Target
from moln_spec.version import Version

if TYPE_CHECKING:
    from collections.abc import Sequence

    from moln_node.store.bodies import NewBody
    from moln_node.store.documents import Segment
    from moln_node.store.model import Part, Precondition, Record, Sealed, Upload
    from moln_node.store.transaction import BucketRow, Transaction


def create(tx: Transaction, target: Target, document: UploadDocument) -> Upload:
    """Begin an upload; its id sorts by when it began."""
    row = tx.bucket(target.bucket, target.bucket_id)
    key = target.key.encode()
    upload_id = tx.clock.next().encode()
    stored = documents.encode(document, documents.upload_identity(row.id, key, upload_id))
    tx.db.execute("INSERT INTO upload VALUES (?, ?, ?, ?)", (row.id, key, upload_id, stored))
    return documents.upload_model(target.bucket, target.key, upload_id, document)


def put_part(
    tx: Transaction, target: Target, upload_id: str, number: int, size: int, sealed: Sealed, bodies: Sequence[NewBody]
) -> Part:
    """Keep a part, in place of an earlier one of that number."""
    row = tx.bucket(target.bucket, target.bucket_id)
    upload = lookup.upload(tx.db, row.id, target.key.encode(), upload_id)
    objects.require_whole(bodies, size)
    old = lookup.part(tx.db, upload_id, number)
    segments = tx.adopt(bodies)
    if old is not None:
        tx.drop(old.segments)
    document = PartDocument(size, sealed.etag, wall_ms(), documents.checksum_tuple(sealed.checksum), segments)
    stored = documents.encode(document, documents.part_identity(upload_id, number))
    tx.db.execute("INSERT OR REPLACE INTO part VALUES (?, ?, ?)", (upload_id, number, stored))
    tx.count(row.id, upload.storage_class, parts=size - (0 if old is None else old.size))
    return documents.part_model(number, document)


def complete(
    tx: Transaction,
    target: Target,
    upload_id: str,
    wanted: Sequence[Part],
    sealed: Sealed,
    precondition: Precondition | None,
    layout_id: int,
) -> Record:
    """Make the wanted parts, in this order, the object; the others are dropped."""
    row = tx.bucket(target.bucket, target.bucket_id)
    key = target.key.encode()
    try:
        upload = lookup.upload(tx.db, row.id, key, upload_id)
    except NoSuchUploadError:
        return _completed_before(tx, row, target.key, upload_id)
    objects.require(tx, row, target.key, precondition)
    there = dict(lookup.parts(tx.db, upload_id, -1, -1))
    segments: list[Segment] = []
    chosen: list[Part] = []
    for part in wanted:
        if chosen and part.number <= chosen[-1].number:
            raise InvalidPartError(f"part {part.number} is named twice, or out of order")
        found = there.get(part.number)
        if found is None or found.etag != part.etag:
            raise InvalidPartError(f"part {part.number} is not there, or has another ETag")
        segments += found.segments
        chosen.append(documents.part_model(part.number, found))
    for number in {part.number for part in wanted}:
        del there[number]
    for unused in there.values():
        tx.drop(unused.segments)
    _forget(tx, row.id, key, upload_id)
    size = sum(part.size for part in chosen)
    tx.count(row.id, upload.storage_class, parts=-size - sum(unused.size for unused in there.values()))
    attributes = documents.attributes_model(upload)
    content = Content(
        attributes, size, sealed.etag, upload.storage_class, layout_id, sealed.checksum, tuple(chosen), upload_id
    )
    return objects.add_version(tx, row, target.key, content, tuple(segments))


def _completed_before(tx: Transaction, row: BucketRow, key: str, upload_id: str) -> Record:
    """The record that this upload became, while it is still the key's newest: completing again is no error."""
    newest = lookup.newest(tx.db, row.id, key.encode())
    if newest is None or newest[1].upload != upload_id:
        raise NoSuchUploadError(
            f"there is no upload {upload_id!r} of this key: it was completed, aborted or never made"
        )
    parts = lookup.needed_layout(tx.db, newest[1].layout).parts
    return documents.record_model(row.bucket.name, key, *newest, parts=parts)


def abort(tx: Transaction, target: Target, upload_id: str) -> None:
    """Drop an upload and its parts; NoSuchUploadError."""
    row = tx.bucket(target.bucket, target.bucket_id)
    drop_upload(tx, row.id, target.key.encode(), upload_id)


def drop_upload(tx: Transaction, bucket_id: int, key: bytes, upload_id: str) -> None:
    """Drop an upload and its parts, within a step that has checked its bucket."""
    upload = lookup.upload(tx.db, bucket_id, key, upload_id)
    size = 0
    for _, part in lookup.parts(tx.db, upload_id, -1, -1):
        tx.drop(part.segments)
        size += part.size
    _forget(tx, bucket_id, key, upload_id)
    tx.count(bucket_id, upload.storage_class, parts=-size)


def expire(tx: Transaction, before_ms: int, most: int) -> int:
    """Drop uploads that began before then, oldest first, at most so many; how many there were. Their ids tell when."""
    before = Version(before_ms << 16, 0).encode()
    rows: list[tuple[Any, ...]] = tx.db.execute(
        "SELECT bucket, key, id FROM upload INDEXED BY upload_age WHERE id < ? ORDER BY id LIMIT ?", (before, most)
    ).fetchall()
    for bucket_id, key, upload_id in rows:
        drop_upload(tx, bucket_id, key, upload_id)
    return len(rows)


def _forget(tx: Transaction, bucket_id: int, key: bytes, upload_id: str) -> None:
    """Remove the rows of an upload; its parts' bodies are the caller's."""
    tx.db.execute("DELETE FROM part WHERE upload = ?", (upload_id,))
    tx.db.execute("DELETE FROM upload WHERE bucket = ? AND key = ? AND id = ?", (bucket_id, key, upload_id))
