"""The writing transaction: what a step may change, and what becomes true with its commit.

A *step* is a function of a Transaction. Many steps share one commit (`writer`). A step that refuses raises a StoreError
before its first change; everything in memory that depends on the commit is gathered here and applied after it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from moln_node.store import documents, lookup
from moln_node.store.database import READS_BODIES
from moln_node.store.documents import LayoutDocument, Place, RecordDocument, Segment
from moln_node.store.ledger import BODIES, ELSEWHERE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import apsw

    from moln_node.store.bodies import NewBody
    from moln_node.store.clock import Clock
    from moln_node.store.ledger import Reservation
    from moln_node.store.model import Bucket
    from moln_node.store.registers import Register
    from moln_spec.version import Version


@dataclass(frozen=True, slots=True)
class BucketRow:
    """A bucket and the number that its rows carry: a bucket made again has another.

    `incarnation` and `closing` are as `BucketDocument` has them.
    """

    id: int
    bucket: Bucket
    incarnation: bytes
    closing: bool


@dataclass(slots=True)
class Effects:
    """What a transaction changes in memory once it is committed."""

    usage: dict[tuple[int, str], list[int]] = field(default_factory=dict)
    """Objects and bytes to add, by bucket number and class."""
    reservations: list[Reservation] = field(default_factory=list)
    garbage: list[int] = field(default_factory=list)
    """Bodies whose last reference was dropped."""
    unpinned: list[int] = field(default_factory=list)
    """Chunks that were pinned until the index refers to them."""
    unnamed: list[tuple[Register, str]] = field(default_factory=list)
    """Bodies apart that a record here named before, by the register of the record and the body's name."""
    landed: list[int] = field(default_factory=list)
    """Bodies that the index has taken over from their writers."""


class Transaction:
    """The tables, within one write transaction. `buckets` are those that this transaction sees."""

    def __init__(self, database: apsw.Connection, clock: Clock, buckets: Mapping[str, BucketRow]) -> None:
        self.db = database
        self.clock = clock
        self.buckets = buckets
        self.effects = Effects()

    def change_bucket(self, row: BucketRow) -> None:
        """Make `row` the bucket that later steps see."""
        self.buckets = {**self.buckets, row.bucket.name: row}

    def forget_bucket(self, name: str) -> None:
        """Let later steps see no such bucket."""
        self.buckets = {other: row for other, row in self.buckets.items() if other != name}

    def insert(self, bucket_id: int, key: bytes, version: Version, document: RecordDocument) -> None:
        """Add a version, and count it."""
        inverse = documents.invert(version)
        identity = documents.record_identity(bucket_id, key, inverse)
        self.db.execute(
            "INSERT INTO record VALUES (?, ?, ?, ?)", (bucket_id, key, inverse, documents.encode(document, identity))
        )
        self._count(bucket_id, document)
        if document.body or bucket_id > BODIES:
            self.db.execute("UPDATE meta SET value = ?1 WHERE name = 'oldest_reader' AND value < ?1", (READS_BODIES,))

    def replace(self, bucket_id: int, key: bytes, found: lookup.Found, document: RecordDocument) -> None:
        """Change a version that was found, in place; its size stays."""
        version, before = found
        inverse = documents.invert(version)
        identity = documents.record_identity(bucket_id, key, inverse)
        self.db.execute(
            "UPDATE record SET document = ? WHERE bucket = ? AND key = ? AND inverse = ?",
            (documents.encode(document, identity), bucket_id, key, inverse),
        )
        if document.storage_class != before.storage_class:
            self._count(bucket_id, before, -1)
            self._count(bucket_id, document)

    def remove(self, bucket_id: int, key: bytes, version: Version, document: RecordDocument) -> None:
        """Drop a version and what it alone refers to."""
        self.db.execute(
            "DELETE FROM record WHERE bucket = ? AND key = ? AND inverse = ?",
            (bucket_id, key, documents.invert(version)),
        )
        self.drop(document.segments)
        if document.layout:
            self.drop(lookup.needed_layout(self.db, document.layout).segments)
            self.db.execute("DELETE FROM small WHERE id = ?", (document.layout,))
        self._count(bucket_id, document, -1)

    def add_layout(self, layout_id: int, layout: LayoutDocument) -> None:
        """Keep the segments and parts of an object that has many."""
        stored = documents.encode(layout, documents.layout_identity(layout_id))
        self.db.execute("INSERT INTO small VALUES (?, ?)", (layout_id, stored))

    def adopt(self, bodies: Iterable[NewBody]) -> tuple[Segment, ...]:
        """Take bodies whose bytes are safe into the index, and refer to each once."""
        return tuple(self._adopt(body) for body in bodies)

    def _adopt(self, body: NewBody) -> Segment:
        self.effects.landed.append(body.id)
        if body.inline is not None:
            self.db.execute("INSERT INTO small VALUES (?, ?)", (body.id, body.inline))
            return Segment(Place.INLINE, body.id, body.size)
        if body.hash is not None:
            return self._adopt_chunk(body)
        self.db.execute("INSERT INTO body VALUES (?, 1, ?, ?, NULL)", (body.id, body.size, body.stored))
        return Segment(Place.FILE, body.id, body.size)

    def _adopt_chunk(self, body: NewBody) -> Segment:
        """Refer to the chunk of this hash, which may be this body, an older one, or one that landed meanwhile."""
        if body.pinned is not None:
            self.effects.unpinned.append(body.pinned)
        if body.replaces is not None:
            self.db.execute("UPDATE body SET hash = NULL WHERE id = ?", (body.replaces,))
        known = self.db.execute("SELECT id FROM body WHERE hash = ?", (body.hash,)).fetchone()
        if known is None:
            stored = self.db.execute("DELETE FROM garbage WHERE id = ? RETURNING stored", (body.id,)).fetchall()
            self.db.execute(
                "INSERT INTO body VALUES (?, 1, ?, ?, ?)",
                (body.id, body.size, stored[0][0] if stored else body.stored, body.hash),
            )
            return Segment(Place.FILE, body.id, body.size)
        self.db.execute("UPDATE body SET refs = refs + 1 WHERE id = ?", known)
        if body.fresh and known[0] != body.id:
            self._discard(body.id, body.stored)
        return Segment(Place.FILE, known[0], body.size)

    def share(self, segment: Segment) -> None:
        """Refer to a body file once more."""
        if segment.place == Place.FILE:
            self.db.execute("UPDATE body SET refs = refs + 1 WHERE id = ?", (segment.id,))

    def drop(self, segments: Iterable[Segment]) -> None:
        """Give up one reference to each; what nothing refers to any more becomes garbage."""
        for segment in segments:
            if segment.place == Place.INLINE:
                self.db.execute("DELETE FROM small WHERE id = ?", (segment.id,))
                continue
            rows: list[tuple[Any, ...]] = self.db.execute(
                "UPDATE body SET refs = refs - 1 WHERE id = ? RETURNING refs, stored", (segment.id,)
            ).fetchall()
            if rows and rows[0][0] <= 0:
                self.db.execute("DELETE FROM body WHERE id = ?", (segment.id,))
                self._discard(segment.id, rows[0][1])

    def _discard(self, body_id: int, stored: int) -> None:
        """Leave a body file to the collector."""
        self.db.execute("INSERT INTO garbage VALUES (?, ?)", (body_id, stored))
        self.effects.garbage.append(body_id)

    def _count(self, bucket_id: int, document: RecordDocument, times: int = 1) -> None:
        """Add an object to what a bucket and a class hold, or take it off."""
        if document.counted:
            place = bucket_id + ELSEWHERE if document.body else bucket_id
            self.count(place, document.storage_class, objects=times, size=times * document.size)

    def count(self, bucket_id: int, storage_class: str, *, objects: int = 0, size: int = 0) -> None:
        """Add to what a bucket and a class hold."""
        sums = self.effects.usage.setdefault((bucket_id, storage_class), [0, 0])
        sums[0] += objects
        sums[1] += size
