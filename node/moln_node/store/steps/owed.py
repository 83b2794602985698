"""Steps of the queue of owed writes: what this disk alone has acknowledged, until the key's owners have decided it.

An owed write is kept apart from the register's own rows, with its bytes, under the bucket's number of `Space.OWED`: so
nothing that becomes of the register can take it away before it is settled. It is queued in the transaction that
acknowledges it. Of the writes of one slot the newest is owed. Called on the writing lane; the queries on any.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from moln_node.store import documents, inline, lookup, registers
from moln_node.store.documents import LayoutDocument, Place, Segment
from moln_node.store.errors import CorruptError
from moln_node.store.registers import Register, Row, Space
from moln_spec.version import Version

if TYPE_CHECKING:
    from collections.abc import Iterable

    import apsw

    from moln_node.store.transaction import Transaction

_REGISTER: Final = msgspec.msgpack.Decoder(Register)
START: Final = (0, b"", b"")
Key = tuple[int, bytes, bytes]


@dataclass(frozen=True, slots=True)
class Debt:
    """One owed write.

    Attributes:
        id: names it on this disk, in the order in which they are kept.
        register: where it belongs.
        row: what is to be there; None where it can't be read any more.
        since_ms: when it was acknowledged.
        tries: how often it could not be delivered.
        dead: why it is not tried any more; empty while it is.
    """

    id: Key
    register: Register
    row: Row | None
    since_ms: int
    tries: int
    dead: str


class Counts(NamedTuple):
    """How many writes are owed, how many of them could not be delivered at the first try, and how many are dead."""

    owed: int
    late: int
    dead: int


def owe(tx: Transaction, register: Register, bucket_id: int, row: Row, copy_id: int, now_ms: int) -> None:
    """Queue a row that the register here holds. `copy_id` names what has to be copied of it."""
    key, version = register.key.encode(), Version.from_bytes(row.version)
    place = _place(bucket_id)
    if not supersede(tx, bucket_id, key, row):
        return
    found = lookup.row_at(tx.db, bucket_id, key, version)
    if found is None:
        raise CorruptError("a row is gone within the transaction that wrote it")
    document = found[1]
    layout_id = 0
    if document.layout:
        layout = lookup.needed_layout(tx.db, document.layout)
        layout_id = copy_id
        tx.add_layout(layout_id, LayoutDocument(_again(tx, layout.segments, copy_id), layout.parts))
    segments = _again(tx, document.segments, copy_id)
    kept = msgspec.structs.replace(document, segments=segments, layout=layout_id, past=())
    tx.insert(place, key, version, kept)
    tx.db.execute(
        "INSERT INTO owed VALUES (?, ?, ?, ?, ?, 0, '')",
        (place, key, documents.invert(version), msgspec.msgpack.encode(register), now_ms),
    )


def supersede(tx: Transaction, bucket_id: int, key: bytes, row: Row) -> bool:
    """Owe nothing older any more in the slot of a row; False where that very one, or a newer one, is owed."""
    place = _place(bucket_id)
    newest = True
    for version, document in list(lookup.rows(tx.db, place, key)):
        raw = version.to_bytes()
        if (document.null and row.document.null) or raw == row.version:
            if raw < row.version:
                _remove(tx, (place, key, documents.invert(version)))
            else:
                newest = False
    return newest


def forgive(tx: Transaction, bucket_id: int, key: bytes, row: Row) -> None:
    """Owe nothing any more of what a row settles: its own slot up to its version."""
    if supersede(tx, bucket_id, key, row):
        return
    found = lookup.row_at(tx.db, _place(bucket_id), key, Version.from_bytes(row.version))
    if found is not None:
        _remove(tx, (_place(bucket_id), key, documents.invert(found[0])))


def conclude(tx: Transaction, settled: Iterable[tuple[Debt, bool]], failed: Iterable[tuple[Debt, str]]) -> None:
    """Owe what is settled no more, and count one more try of what could not be delivered.

    With what is settled goes whether every owner has it; if not, a hint is left. With the others why they are not tried
    again; empty where they are.
    """
    for debt, everywhere in settled:
        _remove(tx, debt.id)
        if not everywhere:
            tx.db.execute("INSERT OR IGNORE INTO hint VALUES (?)", (msgspec.msgpack.encode(debt.register),))
    for debt, dead in failed:
        tx.db.execute(
            "UPDATE owed SET tries = ?, dead = ? WHERE bucket = ? AND key = ? AND inverse = ?",
            (debt.tries + 1, dead, *debt.id),
        )


def replay(tx: Transaction, debt_id: Key) -> bool:
    """Try a dead letter again, from the beginning; False where it is none any more."""
    dead = _is_dead(tx, debt_id)
    if dead:
        tx.db.execute("UPDATE owed SET tries = 0, dead = '' WHERE bucket = ? AND key = ? AND inverse = ?", debt_id)
    return dead


def drop(tx: Transaction, debt_id: Key) -> bool:
    """Give up a dead letter, by a person's word; False where it is none any more: that stays."""
    dead = _is_dead(tx, debt_id)
    if dead:
        _remove(tx, debt_id)
    return dead


def _is_dead(tx: Transaction, debt_id: Key) -> bool:
    sql = "SELECT 1 FROM owed WHERE bucket = ? AND key = ? AND inverse = ? AND dead != ''"
    return tx.db.execute(sql, debt_id).fetchone() is not None


def owes(db: apsw.Connection, bucket_id: int, key: bytes) -> bool:
    """Whether anything is owed of a key, dead letters too."""
    return (
        db.execute("SELECT 1 FROM owed WHERE bucket = ? AND key = ?", (_place(bucket_id), key)).fetchone() is not None
    )


def count(db: apsw.Connection) -> Counts:
    """How much is owed."""
    sql = (
        "SELECT count(*) FILTER (WHERE dead = ''), count(*) FILTER (WHERE dead = '' AND tries > 0), count(*) FROM owed"
    )
    owed, late, everything = db.execute(sql).fetchone() or (0, 0, 0)
    return Counts(int(owed), int(late), int(everything) - int(owed))


def page(db: apsw.Connection, after: Key, limit: int, *, dead: bool) -> list[Debt]:
    """The owed writes behind one of them in order: the dead letters, or those that are alive."""
    rows = db.execute(
        "SELECT bucket, key, inverse, register, since_ms, tries, dead FROM owed"
        " WHERE (bucket, key, inverse) > (?, ?, ?) AND (dead != '') = ? ORDER BY bucket, key, inverse LIMIT ?",
        (*after, dead, limit),
    )
    return [_debt(db, *row) for row in rows]


def _debt(
    db: apsw.Connection, place: int, key: bytes, inverse: bytes, register: bytes, since_ms: int, tries: int, dead: str
) -> Debt:
    try:
        found = lookup.row_at(db, place, key, documents.revert(inverse))
    except CorruptError:
        found = None
    row = None if found is None else registers.wire_row(*found)
    return Debt((place, key, inverse), _REGISTER.decode(register), row, since_ms, tries, dead)


def _place(bucket_id: int) -> int:
    return registers.number(Space.OWED, bucket_id)


def _again(tx: Transaction, segments: tuple[Segment, ...], copy_id: int) -> tuple[Segment, ...]:
    """The same bytes for a second row: files are shared, what is in the index is copied (there is one such at most)."""
    for segment in segments:
        tx.share(segment)
    return tuple(segment if segment.place == Place.FILE else _copy(tx, segment, copy_id) for segment in segments)


def _copy(tx: Transaction, segment: Segment, copy_id: int) -> Segment:
    row = tx.db.execute("SELECT content FROM small WHERE id = ?", (segment.id,)).fetchone()
    if row is None:
        raise CorruptError(f"body {segment.id:016x} is missing in the index")
    data = inline.decode(segment.id, segment.size, row[0])
    tx.db.execute("INSERT INTO small VALUES (?, ?)", (copy_id, inline.encode(copy_id, data, None)))
    return Segment(Place.INLINE, copy_id, segment.size)


def _remove(tx: Transaction, debt_id: Key) -> None:
    place, key, inverse = debt_id
    tx.db.execute("DELETE FROM owed WHERE bucket = ? AND key = ? AND inverse = ?", debt_id)
    found = lookup.row_at(tx.db, place, key, documents.revert(inverse))
    if found is not None:
        tx.remove(place, key, *found)
