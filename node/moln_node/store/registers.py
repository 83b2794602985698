"""Registers: what the owners of a key agree on, as one of them keeps it. Vocabulary, and queries of the index.

A register is a key of an object, a bucket's name, a multipart upload or one of its parts, or a body that is apart from
its record. It has *slots*: the null version is one, every real version id is one more. A slot holds a *row*: a record,
or the tombstone that is left of it, with the ballot at which its owners last decided on it. Ballots and versions are
the twelve bytes of a `Version`, which sort as versions do; `NEVER` is before all of them. The queries are blocking and
run on the lanes.
"""

from __future__ import annotations

import secrets
import time
from enum import IntEnum
from typing import TYPE_CHECKING, Final

import msgspec
from xxhash import xxh3_64

from moln_node.store import lookup
from moln_node.store.documents import Flag, Parts, RecordDocument
from moln_node.store.errors import CorruptError
from moln_node.store.ledger import BODIES, OWED, UPLOADS
from moln_spec.version import Version

if TYPE_CHECKING:
    from collections.abc import Sequence

    import apsw

NEVER: Final = b""
NULL_SLOT: Final = b""
_TURN_SECONDS: Final = 0.05


class Space(IntEnum):
    """What kind of thing a register is about; OWED is no register's, but where a disk keeps what it owes of objects."""

    BUCKETS = 0
    OBJECTS = 1
    UPLOADS = 2
    OWED = 3
    BODIES = 4


IN_BUCKETS: Final = (Space.OBJECTS, Space.UPLOADS, Space.BODIES)
"""Whose registers are a bucket's, and are owned, compared and moved."""


class Register(msgspec.Struct, array_like=True, frozen=True):
    """The name of a register. A bucket's own has that bucket's name as key, and neither bucket nor incarnation.

    `incarnation` is the version that made the bucket: a bucket made again shares no register with the one before.
    """

    space: int
    key: str
    bucket: str = ""
    incarnation: bytes = b""

    @property
    def path(self) -> str:
        """Bucket and key, for people."""
        key, _, body = self.key.partition("\0\0") if self.space == Space.BODIES else (self.key, "", "")
        return f"{self.bucket}/{key}" + (f" (body {body})" if body else "")


class Row(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What a slot holds. The document has no segments, layout, past or packing: these are each node's own."""

    version: bytes
    ballot: bytes
    document: RecordDocument

    @property
    def slot(self) -> bytes:
        """Which slot of the register it is in."""
        return NULL_SLOT if self.document.null else self.version

    @property
    def live(self) -> bool:
        """It is a record, be it a delete marker."""
        return not self.document.tombstone


class KeyState(msgspec.Struct, array_like=True, frozen=True):
    """What one owner knows of a register.

    `rows` go from the newest down; `complete` says that there are no others. `ballot` is the newest ballot that the
    owner promised or accepted, `accepted` the newest that it accepted.
    """

    ballot: bytes = NEVER
    accepted: bytes = NEVER
    rows: tuple[Row, ...] = ()
    complete: bool = True


def wire_row(version: Version, document: RecordDocument) -> Row:
    """A row as other nodes see it."""
    raw = version.to_bytes()
    plain = msgspec.structs.replace(document, segments=(), layout=0, ballot=b"", past=(), packing="")
    return Row(raw, document.ballot or raw, plain)


def tombstone(version: bytes, ballot: bytes, *, null: bool, now_ms: int) -> Row:
    """What takes the place of a version that is dropped."""
    flags = Flag.TOMBSTONE | (Flag.NULL if null else 0)
    return Row(version, ballot, RecordDocument(flags, now_ms, 0, "", "", "", {}, {}, {}, "", None, ()))


def number(space: int, bucket_id: int) -> int:
    """The bucket number that a register's rows carry in the index."""
    if space == Space.BUCKETS:
        return 0
    return bucket_id + {Space.UPLOADS: UPLOADS, Space.OWED: OWED, Space.BODIES: BODIES}.get(Space(space), 0)


def state(db: apsw.Connection, bucket_id: int, key: bytes, slot: bytes | None, depth: int) -> KeyState:
    """What this node knows of a register: the rows down to the `depth`-th live one, or only those of `slot`.

    Every tombstone above it is among them, however many these are: an answer rests on each.
    """
    return look(db, bucket_id, key, slot, depth)[0]


def look(
    db: apsw.Connection, bucket_id: int, key: bytes, slot: bytes | None, depth: int
) -> tuple[KeyState, lookup.Found | None]:
    """As `state`, with the first live row of it as it is kept here."""
    promised = promise(db, bucket_id, key)
    found = lookup.rows(db, bucket_id, key)
    top = current = next(found, None)
    if top is None:
        return KeyState(promised, NEVER), None
    accepted = top[1].ballot or top[0].to_bytes()
    ballot = max(promised, accepted)
    if slot is not None:
        kept = _in_slot(db, bucket_id, key, slot)
        rows = () if kept is None else (wire_row(*kept),)
        return KeyState(ballot, accepted, rows), kept if rows and rows[0].live else None
    cut: list[Row] = []
    first: lookup.Found | None = None
    live = 0
    while current is not None and live < depth:
        cut.append(wire_row(*current))
        if cut[-1].live:
            live += 1
            first = first or current
        current = next(found, None)
    return KeyState(ballot, accepted, tuple(cut), current is None), first


def _in_slot(db: apsw.Connection, bucket_id: int, key: bytes, slot: bytes) -> lookup.Found | None:
    if slot == NULL_SLOT:
        return lookup.null_version(db, bucket_id, key)
    found = lookup.row_at(db, bucket_id, key, Version.from_bytes(slot))
    return None if found is None or found[1].null else found


def promise(db: apsw.Connection, bucket_id: int, key: bytes) -> bytes:
    """The ballot below which this node accepts nothing for the register, beyond what its newest row says."""
    row = db.execute("SELECT ballot FROM promise WHERE bucket = ? AND key = ?", (bucket_id, key)).fetchone()
    return NEVER if row is None else bytes(row[0])


def promises(db: apsw.Connection, after: tuple[int, bytes], most: int) -> list[tuple[int, bytes, bytes]]:
    """A page of what is promised: bucket number, key and ballot, in the order of these, after a number and key."""
    sql = "SELECT bucket, key, ballot FROM promise WHERE (bucket, key) > (?, ?) ORDER BY bucket, key LIMIT ?"
    return [(int(number), bytes(key), bytes(ballot)) for number, key, ballot in db.execute(sql, (*after, most))]


def fingerprint(db: apsw.Connection, bucket_id: int, key: bytes) -> int:
    """A number that two owners have in common where they hold the same rows of a register; 0 for none.

    One of which a row can't be read is like no other, nor like itself.
    """
    digest = xxh3_64()
    rows = 0
    try:
        for version, document in lookup.rows(db, bucket_id, key):
            raw = version.to_bytes()
            digest.update(raw + (document.ballot or raw))
            rows += 1
    except CorruptError:
        return 1 + secrets.randbits(63)
    return digest.intdigest() if rows else 0


def fingerprints(db: apsw.Connection, bucket_id: int, keys: Sequence[bytes]) -> list[int]:
    """Those of as many of the keys, in order, as are done in a moment; of one at the least."""
    end = time.monotonic() + _TURN_SECONDS
    found: list[int] = []
    for key in keys:
        found.append(fingerprint(db, bucket_id, key))
        if time.monotonic() > end:
            break
    return found


def count(db: apsw.Connection) -> int:
    """How many registers this node holds something of."""
    sql = "SELECT count(*) FROM (SELECT DISTINCT bucket, key FROM record)"
    return int(db.execute(sql).fetchone()[0])  # type: ignore[index]


def parts_of(db: apsw.Connection, document: RecordDocument) -> Parts:
    """The parts of an object that was uploaded in parts."""
    layout = lookup.layout(db, document.layout) if document.layout else None
    return () if layout is None else layout.parts
