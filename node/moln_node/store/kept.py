"""What a node keeps of a bucket's objects, version by version, and what each takes on its disk.

Used by rewriting, which walks the disk a page at a time. Queries of the index: blocking, on the reading lanes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moln_node.store.documents import Place

if TYPE_CHECKING:
    import apsw

    from moln_node.store.documents import Segment

Kept = tuple[bytes, bytes, bytes]
"""Key, inverse and document of a row, as they are stored."""


def page(db: apsw.Connection, bucket_id: int, after: tuple[bytes, bytes], upper: bytes, limit: int) -> list[Kept]:
    """The rows behind one of them in order, and below `upper`; tombstones and delete markers too."""
    rows = db.execute(
        "SELECT key, inverse, document FROM record WHERE bucket = ? AND (key, inverse) > (?, ?) AND key < ?"
        " ORDER BY key, inverse LIMIT ?",
        (bucket_id, *after, upper, limit),
    )
    return [(key, inverse, document) for key, inverse, document in rows]


def count(db: apsw.Connection, bucket_id: int, start: bytes, upper: bytes) -> int:
    """How many rows there are from a key on, and below `upper`."""
    sql = "SELECT count(*) FROM record WHERE bucket = ? AND key >= ? AND key < ?"
    return int(db.execute(sql, (bucket_id, start, upper)).fetchone()[0])  # type: ignore[index]


def stored(db: apsw.Connection, segments: tuple[Segment, ...]) -> int:
    """The bytes that segments take on the disk; of a shared file each of those that refer to it bears its part."""
    return sum(_stored(db, segment) for segment in segments)


def _stored(db: apsw.Connection, segment: Segment) -> int:
    if segment.place == Place.INLINE:
        sql = "SELECT length(content) FROM small WHERE id = ?"
    else:
        sql = "SELECT stored / max(refs, 1) FROM body WHERE id = ?"
    row = db.execute(sql, (segment.id,)).fetchone()
    return 0 if row is None else int(row[0])
