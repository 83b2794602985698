"""Steps of an owner of a register: promise, accept, install.

The rules that make many nodes one: a promise or an accept at a ballot that is not newer than what this owner has
promised or accepted for the register is refused, with what it knows, so that the coordinator can try above it. Only
`install` is free of them: it brings what a majority of the owners holds already (docs/guarantees.md). Called on the
writing lane, through `Store.commit`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import msgspec

from moln_node.store import lookup, registers
from moln_node.store.clock import wall_ms
from moln_node.store.documents import LayoutDocument, Parts, RecordDocument
from moln_node.store.errors import CorruptError
from moln_node.store.packing import common
from moln_node.store.registers import NEVER, KeyState, Register, Row, Space
from moln_node.store.steps import bucket_register
from moln_node.store.steps import owed as debts
from moln_spec.version import Version

if TYPE_CHECKING:
    from collections.abc import Sequence

    from moln_node.store.bodies import NewBody
    from moln_node.store.documents import Segment
    from moln_node.store.ledger import Reservation
    from moln_node.store.transaction import Transaction

SEGMENTS_IN_RECORD: Final = 4  # an object with more, or with parts, keeps them in a layout, out of the way of listings
_PAST: Final = 16
_PAST_MS: Final = 180_000  # a minute, where one clock is a minute ahead and another one a minute behind
_LENGTH: Final = 12
FORGOTTEN: Final = b"\xff"


class Outcome(StrEnum):
    """What an owner says to a promise or an accept."""

    DONE = "done"
    OLD = "old"  # it has promised or accepted a newer ballot
    NO_BUCKET = "no-bucket"  # it has not heard of the bucket, or knows an older one of that name
    GONE = "gone"  # the bucket is deleted
    CLOSING = "closing"  # the bucket is being deleted
    MISSING = "missing"  # the bytes that the record needs are not here


class Vote(msgspec.Struct, array_like=True, frozen=True):
    """An owner's answer.

    `held` is the ballot at which what was to be written is, or lately was, in its slot here; empty if it never was, and
    FORGOTTEN where that is not known any more. `owed` says that it is queued here for the other owners. `state` is that
    of the slot alone where a write of one row is refused as old.
    """

    outcome: str
    state: KeyState = KeyState()
    held: bytes = NEVER
    owed: bool = False


@dataclass(frozen=True, slots=True)
class Write:
    """One slot's new row, and where its bytes are.

    Attributes:
        row: its ballot is the accept's.
        bodies: bytes that are safe on this disk, where the row needs any that are not here yet.
        parts: what the object was uploaded as.
        upload: the register key of a multipart upload that this record completes (empty: only its parts are here), and
            the prefix of its parts'.
        taken: the parts that make it up, in order, as register key and version.
    """

    row: Row
    bodies: tuple[NewBody, ...] | None = None
    parts: Parts = ()
    layout_id: int = 0
    upload: tuple[str, str] | None = None
    taken: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Seen:
    """What a register was seen to hold: all of it down to its newest object, or only one slot."""

    slot: bytes | None
    state: KeyState


def prepare(tx: Transaction, register: Register, ballot: bytes, slot: bytes | None, depth: int, floor: bytes) -> Vote:
    """Promise to accept nothing below `ballot`, and tell what was accepted so far."""
    bucket_id = _place(tx, register)
    if isinstance(bucket_id, Outcome):
        return Vote(bucket_id)
    key = register.key.encode()
    known = registers.state(tx.db, bucket_id, key, slot, depth)
    promised = registers.promise(tx.db, bucket_id, key)
    if ballot < max(known.ballot, floor) or (ballot == known.ballot and promised != ballot):
        return Vote(Outcome.OLD, msgspec.structs.replace(known, ballot=max(known.ballot, floor)))
    _keep(tx, bucket_id, key, ballot)
    return Vote(Outcome.DONE, known)


def accept(
    tx: Transaction,
    register: Register,
    ballot: bytes,
    writes: Sequence[Write],
    floor: bytes,
    reservations: Sequence[Reservation] = (),
    *,
    seen: Seen | None = None,
    alone: bool = False,
    owed: int = 0,
) -> Vote:
    """Make these rows what the register's slots hold, unless a newer ballot was promised or accepted.

    With `seen`, only if the register still holds what was seen: for a coordinator beside its only owner. `alone` says
    that no other node ever has to hear of a deletion, so no tombstone stays. `owed` says that the write counts as soon
    as it is here, so this disk owes it to the other owners; it is an id for a second copy of a small body.
    """
    bucket_id = _place(tx, register)
    if isinstance(bucket_id, Outcome):
        return Vote(bucket_id)
    key = register.key.encode()
    newest = next(lookup.rows(tx.db, bucket_id, key), None)
    found = [_in_slot(tx, bucket_id, key, write.row, newest) for write in writes]
    if all(_is_done(there, write.row, ballot) for there, write in zip(found, writes, strict=True)):
        _owe(tx, register, bucket_id, writes, owed)
        return Vote(Outcome.DONE, owed=bool(owed))
    promised = registers.promise(tx.db, bucket_id, key)
    if ballot < max(promised, floor) or (newest is not None and ballot <= _ballot(newest)):
        known = registers.state(tx.db, bucket_id, key, writes[0].row.slot if len(writes) == 1 else None, 1)
        held = max((_held(there, write.row, ballot) for there, write in zip(found, writes, strict=True)), default=NEVER)
        return Vote(Outcome.OLD, msgspec.structs.replace(known, ballot=max(known.ballot, floor)), held)
    if seen is not None and registers.state(tx.db, bucket_id, key, seen.slot, 1) != seen.state:
        return Vote(Outcome.OLD, registers.state(tx.db, bucket_id, key, None, 1))
    if not all(_has_bytes(tx, there, write, register) for there, write in zip(found, writes, strict=True)):
        return Vote(Outcome.MISSING)
    for there, write in zip(found, writes, strict=True):
        _apply(tx, register, bucket_id, there, write, ballot, alone=alone)
        if alone:
            debts.forgive(tx, bucket_id, key, write.row)  # what it was owed to is decided here, and leaves no trace
    _settle_ballot(tx, bucket_id, key, ballot, promised, alone=alone)
    _owe(tx, register, bucket_id, writes, owed)
    tx.effects.reservations.extend(reservations)
    tx.clock.saw(Version.from_bytes(ballot))
    return Vote(Outcome.DONE, owed=bool(owed))


def _owe(tx: Transaction, register: Register, bucket_id: int, writes: Sequence[Write], copy_id: int) -> None:
    if copy_id:
        for write in writes:
            debts.owe(tx, register, bucket_id, write.row, copy_id, wall_ms())


def install(
    tx: Transaction,
    register: Register,
    writes: Sequence[Write],
    reservations: Sequence[Reservation] = (),
    *,
    buried: bytes = NEVER,
    alone: bool = False,
) -> Vote:
    """Take rows that a majority of the owners holds, each at its own ballot, where they are newer than what is here.

    `buried` is for a sender who may not have seen that tombstones were dropped here: up to that ballot what is not here
    may have been deleted.
    """
    bucket_id = _place(tx, register)
    if isinstance(bucket_id, Outcome) and bucket_id is not Outcome.CLOSING:
        return Vote(bucket_id)
    if isinstance(bucket_id, Outcome):
        bucket_id = registers.number(register.space, tx.buckets[register.bucket].id)
    key = register.key.encode()
    newest = next(lookup.rows(tx.db, bucket_id, key), None)
    slots = [(_in_slot(tx, bucket_id, key, write.row, newest), write) for write in writes]
    newer = [(there, write) for there, write in slots if there is None or write.row.ballot > _ballot(there)]
    if register.space != Space.BUCKETS and any(there is None and write.row.ballot <= buried for there, write in newer):
        return Vote(Outcome.OLD)
    if not all(_has_bytes(tx, there, write, register) for there, write in newer):
        return Vote(Outcome.MISSING)
    for there, write in newer:
        _apply(tx, register, bucket_id, there, write, write.row.ballot, alone=alone)
        promised = registers.promise(tx.db, bucket_id, key)
        _settle_ballot(tx, bucket_id, key, write.row.ballot, promised, alone=alone)
    tx.effects.reservations.extend(reservations)
    return Vote(Outcome.DONE)


def restore(
    tx: Transaction,
    register: Register,
    writes: Sequence[Write],
    reservations: Sequence[Reservation] = (),
    *,
    buried: bytes = NEVER,
    alone: bool = False,
) -> Vote:
    """Put all that a majority of the other owners holds in the place of rows here that can't be read.

    This owner has forgotten what it accepted with them. So from now on it accepts nothing below any ballot that it ever
    accepted. What the rows referred to is not known any more: it stays, as nobody's. CorruptError where it is refused.
    """
    bucket = tx.buckets.get(register.bucket)
    if register.space != Space.BUCKETS and (bucket is None or bucket.incarnation != register.incarnation):
        return Vote(Outcome.GONE)
    bucket_id = registers.number(register.space, 0 if bucket is None else bucket.id)
    key = register.key.encode()
    bad = lookup.unreadable(tx.db, bucket_id, key)
    for inverse in bad:
        tx.db.execute("DELETE FROM record WHERE bucket = ? AND key = ? AND inverse = ?", (bucket_id, key, inverse))
    if bad and tx.clock.newest is not None:
        _keep(tx, bucket_id, key, max(registers.promise(tx.db, bucket_id, key), tx.clock.newest.to_bytes()))
    vote = install(tx, register, writes, reservations, buried=buried, alone=alone)
    if vote.outcome != Outcome.DONE:
        raise CorruptError(
            f"{register.path!r} can't be read, and what the other owners hold was refused: {vote.outcome}"
        )
    return vote


def shed(tx: Transaction, register: Register, fingerprint: int) -> bool:
    """Drop all that is here of a register that others own, if it is still what they were asked about; whether it is."""
    bucket_id = 0
    if register.space != Space.BUCKETS:
        row = tx.buckets.get(register.bucket)
        if row is None or row.incarnation != register.incarnation:
            return True
        bucket_id = registers.number(register.space, row.id)
    key = register.key.encode()
    if registers.fingerprint(tx.db, bucket_id, key) != fingerprint:
        return False
    if register.space == Space.BUCKETS and not bucket_register.forget(tx, register.key):
        return False
    for found in list(lookup.rows(tx.db, bucket_id, key)):
        tx.remove(bucket_id, key, *found)
    tx.db.execute("DELETE FROM promise WHERE bucket = ? AND key = ?", (bucket_id, key))
    return True


def collect(tx: Transaction, register: Register, fingerprint: int) -> bytes:
    """Drop a register of tombstones alone that is as the fingerprint says, with no newer promise.

    The newest ballot of it, below which nothing may be accepted from now on; NEVER where nothing was dropped.
    """
    row = tx.buckets.get(register.bucket)
    if register.space == Space.BUCKETS or row is None or row.incarnation != register.incarnation:
        return NEVER
    bucket_id, key = registers.number(register.space, row.id), register.key.encode()
    if register.space == Space.OBJECTS and debts.owes(tx.db, bucket_id, key):
        return NEVER  # something older that this disk owes would come back
    if registers.fingerprint(tx.db, bucket_id, key) != fingerprint:
        return NEVER
    rows = list(lookup.rows(tx.db, bucket_id, key))
    newest = max(map(_ballot, rows), default=NEVER)
    promised = registers.promise(tx.db, bucket_id, key)
    if not all(found[1].tombstone for found in rows) or promised > newest:
        return NEVER
    for found in rows:
        tx.remove(bucket_id, key, *found)
    tx.db.execute("DELETE FROM promise WHERE bucket = ? AND key = ?", (bucket_id, key))
    return newest


def forget_promises(tx: Transaction, promises: Sequence[tuple[int, bytes, bytes]]) -> bytes:
    """Drop promises, but for those that are newer by now; the ballot below which nothing may be accepted instead."""
    tx.db.executemany("DELETE FROM promise WHERE bucket = ? AND key = ? AND ballot = ?", promises)
    return max((ballot for _, _, ballot in promises), default=NEVER)


def heal(tx: Transaction, register: Register, write: Write, reservations: Sequence[Reservation] = ()) -> Vote:
    """Put good or newly packed bytes in the place of those that a row here has, if the row is still the same one.

    Whatever it has by now, they are the same: a version never changes its content.
    """
    bucket_id = _place(tx, register)
    if isinstance(bucket_id, Outcome):
        return Vote(bucket_id)
    key = register.key.encode()
    found = _in_slot(tx, bucket_id, key, write.row, next(lookup.rows(tx.db, bucket_id, key), None))
    if found is None or found[1].tombstone or found[0].to_bytes() != write.row.version or write.bodies is None:
        return Vote(Outcome.MISSING)
    tx.remove(bucket_id, key, *found)
    segments = tx.adopt(write.bodies)
    layout = write.layout_id if write.parts or len(segments) > SEGMENTS_IN_RECORD else 0
    if layout:
        tx.add_layout(layout, LayoutDocument(segments, write.parts))
    packing = common(body.packing for body in write.bodies)
    healed = msgspec.structs.replace(found[1], segments=() if layout else segments, layout=layout, packing=packing)
    tx.insert(bucket_id, key, found[0], healed)
    tx.effects.reservations.extend(reservations)
    return Vote(Outcome.DONE)


def _place(tx: Transaction, register: Register) -> int | Outcome:
    """The bucket number of the register's rows here, or why there is none."""
    if register.space == Space.BUCKETS:
        return 0
    row = tx.buckets.get(register.bucket)
    if row is not None and row.incarnation == register.incarnation:
        return Outcome.CLOSING if row.closing else registers.number(register.space, row.id)
    if row is not None and row.incarnation > register.incarnation:
        return Outcome.GONE
    own = next(lookup.rows(tx.db, 0, register.bucket.encode()), None)
    if own is not None and own[1].tombstone and own[0].to_bytes() > register.incarnation:
        return Outcome.GONE
    return Outcome.NO_BUCKET


def _in_slot(tx: Transaction, bucket_id: int, key: bytes, row: Row, newest: lookup.Found | None) -> lookup.Found | None:
    """What is in the slot that `row` is for, of a register whose newest row is known."""
    if not row.document.null:
        return lookup.row_at(tx.db, bucket_id, key, Version.from_bytes(row.version))
    return newest if newest is None or newest[1].null else lookup.null_version(tx.db, bucket_id, key)


def _ballot(found: lookup.Found) -> bytes:
    return found[1].ballot or found[0].to_bytes()


def _is_done(found: lookup.Found | None, row: Row, ballot: bytes) -> bool:
    return found is not None and _ballot(found) == ballot and found[0].to_bytes() == row.version


def _held(found: lookup.Found | None, row: Row, ballot: bytes) -> bytes:
    """At which ballot what is to be written is, or lately was, in its slot here.

    A new version is known by itself, at whatever ballot it is. What changes or buries a version that was there before
    is known by its ballot alone: that the slot holds the version says nothing.
    """
    if found is None:
        return NEVER
    known = (_pair(*found), *found[1].past)
    sought = row.version if row.version == ballot else row.version + ballot
    there = next((pair for pair in known if pair.startswith(sought) and len(pair) > _LENGTH), None)
    if there is not None:
        return there[_LENGTH:]
    return FORGOTTEN if len(known[-1]) == _LENGTH and ballot <= known[-1] else NEVER


def _pair(version: Version, document: RecordDocument) -> bytes:
    """A version with its ballot."""
    raw = version.to_bytes()
    return raw + (document.ballot or raw)


def _keeps_bytes(found: lookup.Found | None, row: Row) -> bool:
    """The slot holds this very version already: its bytes stay."""
    return found is not None and not found[1].tombstone and found[0].to_bytes() == row.version


def _leaves_bytes(found: RecordDocument, document: RecordDocument) -> bool:
    """The version that the slot holds with its bytes has these apart from now on."""
    return bool(document.body) and not found.body and not found.tombstone


def needs_bytes(row: Row) -> bool:
    """The row is an object that has any with it."""
    return row.document.counted and row.document.size > 0 and not row.document.body


def _has_bytes(tx: Transaction, found: lookup.Found | None, write: Write, register: Register) -> bool:
    if not needs_bytes(write.row) or _keeps_bytes(found, write.row):
        return True
    if write.upload is None:
        return write.bodies is not None and sum(body.size for body in write.bodies) == write.row.document.size
    row = tx.buckets[register.bucket]
    parts = [_part(tx, row.id, part_key, version) for part_key, version in write.taken]
    return sum(part.size for part in parts if part is not None) == write.row.document.size and None not in parts


def _part(tx: Transaction, bucket_id: int, key: str, version: bytes) -> RecordDocument | None:
    found = lookup.newest(tx.db, registers.number(Space.UPLOADS, bucket_id), key.encode())
    return None if found is None or found[0].to_bytes() != version else found[1]


def _apply(
    tx: Transaction,
    register: Register,
    bucket_id: int,
    found: lookup.Found | None,
    write: Write,
    ballot: bytes,
    *,
    alone: bool,
) -> None:
    """Put a row in its slot, in place of what was found there."""
    key = register.key.encode()
    row = write.row
    version = Version.from_bytes(row.version)
    if found is not None and found[1].body not in ("", row.document.body):
        tx.effects.unnamed.append((register, found[1].body))
    own_ballot = b"" if ballot == row.version else ballot
    document = msgspec.structs.replace(row.document, ballot=own_ballot)
    past = () if found is None or alone else _past(*found, ballot)
    if found is not None and _leaves_bytes(found[1], document):
        parts = lookup.needed_layout(tx.db, found[1].layout).parts if found[1].layout else ()
        tx.remove(bucket_id, key, *found)
        if parts:
            tx.add_layout(write.layout_id, LayoutDocument((), parts))
        layout_id = write.layout_id if parts else 0
        tx.insert(bucket_id, key, version, msgspec.structs.replace(document, layout=layout_id, past=past))
    elif found is not None and _keeps_bytes(found, row) and not document.tombstone:
        old = found[1]
        kept = msgspec.structs.replace(
            document, segments=old.segments, layout=old.layout, past=past, packing=old.packing
        )
        tx.replace(bucket_id, key, found, kept)
    elif alone and document.tombstone:
        if found is not None:
            tx.remove(bucket_id, key, *found)
    else:
        segments, parts, packing = _segments(tx, register, write, ballot, alone=alone)
        if found is not None:
            tx.remove(bucket_id, key, *found)
        apart = bool(parts) or len(segments) > SEGMENTS_IN_RECORD
        if apart:
            tx.add_layout(write.layout_id, LayoutDocument(segments, parts))
        whole = msgspec.structs.replace(
            document,
            segments=() if apart else segments,
            layout=write.layout_id if apart else 0,
            past=past,
            packing=packing,
        )
        tx.insert(bucket_id, key, version, whole)
    if register.space == Space.BUCKETS:
        bucket_register.carry_out(tx, register.key, row)


def _past(replaced: Version, document: RecordDocument, ballot: bytes) -> tuple[bytes, ...]:
    """What a slot that is decided anew lately held, newest first: each version with its ballot.

    Last comes, alone, the newest ballot of what it held before these: what is not newer may have been here. So a clock
    that is far ahead makes an owner unsure, and never wrong.
    """
    since = max(0, Version.from_bytes(ballot).milliseconds - _PAST_MS)
    before = (_pair(replaced, document), *document.past)
    kept = tuple(
        pair
        for pair in before[:_PAST]
        if len(pair) > _LENGTH and Version.from_bytes(pair[_LENGTH:]).milliseconds >= since
    )
    forgotten = max((pair[-_LENGTH:] for pair in before if pair not in kept), default=NEVER)
    return (*kept, forgotten) if forgotten else kept


def _segments(
    tx: Transaction, register: Register, write: Write, ballot: bytes, *, alone: bool
) -> tuple[tuple[Segment, ...], Parts, str]:
    """Where the bytes of a new row are, and how they are packed.

    Those of a completed upload pass to it from the parts, which end here.
    """
    if write.upload is None:
        bodies = write.bodies or ()
        return tx.adopt(bodies), write.parts, common(body.packing for body in bodies)
    row = tx.buckets[register.bucket]
    segments: list[Segment] = []
    packings: list[str] = []
    for part_key, version in write.taken:
        part = _part(tx, row.id, part_key, version)
        if part is not None:
            segments += _segments_of(tx, part)
            packings += [part.packing] if part.size else []
    for segment in segments:
        tx.share(segment)
    upload_key, prefix = write.upload
    space = registers.number(Space.UPLOADS, row.id)
    ended: list[tuple[Any, ...]] = tx.db.execute(
        "SELECT DISTINCT key FROM record WHERE bucket = ? AND key >= ? AND key < ?",
        (space, prefix.encode(), prefix.encode() + b"\xff"),
    ).fetchall()
    own = [upload_key.encode()] if upload_key else []
    for part_key_bytes in [*own, *(found[0] for found in ended)]:
        _end_register(tx, space, part_key_bytes, ballot, alone=alone)
    return tuple(segments), write.parts, common(packings)


def _segments_of(tx: Transaction, document: RecordDocument) -> tuple[Segment, ...]:
    return lookup.needed_layout(tx.db, document.layout).segments if document.layout else document.segments


def _end_register(tx: Transaction, bucket_id: int, key: bytes, ballot: bytes, *, alone: bool) -> None:
    """Leave a tombstone in the null slot of a register, unless something newer is there."""
    found = next(lookup.rows(tx.db, bucket_id, key), None)
    if found is not None:
        if _ballot(found) >= ballot:
            return
        tx.remove(bucket_id, key, *found)
    if alone:
        return
    version = Version.from_bytes(ballot)
    grave = registers.tombstone(ballot, ballot, null=True, now_ms=version.milliseconds).document
    past = () if found is None else _past(*found, ballot)
    tx.insert(bucket_id, key, version, msgspec.structs.replace(grave, past=past))


def _keep(tx: Transaction, bucket_id: int, key: bytes, ballot: bytes) -> None:
    tx.db.execute("INSERT OR REPLACE INTO promise VALUES (?, ?, ?)", (bucket_id, key, ballot))


def _settle_ballot(tx: Transaction, bucket_id: int, key: bytes, ballot: bytes, promised: bytes, *, alone: bool) -> None:
    """Keep the register's newest ballot: in its newest row where that has it, else as a promise."""
    newest = next(lookup.rows(tx.db, bucket_id, key), None)
    if newest is None and alone:  # whatever is written here next was begun by this node, and later
        if promised:
            tx.db.execute("DELETE FROM promise WHERE bucket = ? AND key = ?", (bucket_id, key))
        return
    top = NEVER if newest is None else _ballot(newest)
    if top >= max(ballot, promised):
        if promised:
            tx.db.execute("DELETE FROM promise WHERE bucket = ? AND key = ?", (bucket_id, key))
    elif ballot > promised:
        _keep(tx, bucket_id, key, ballot)
