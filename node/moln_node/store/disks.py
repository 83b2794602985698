"""Which disk is whose: how a node that comes back with an empty disk is told from one that kept its promises.

Each disk has an id of its own. A node keeps the ids by which the other members are known, by their numbers, and on its
own disk whether that one is a full member, and which: what it then promises it will keep. Rows of table `meta`.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import apsw

    from moln_node.store.transaction import Transaction

_DISK: Final = "disk"
_MEMBER: Final = "member"
_NUMBER: Final = "member-number"
_REFILLING: Final = "refilling"
_COLLECTED: Final = "collected"
_LENGTH: Final = 16


@dataclass(frozen=True, slots=True)
class Membership:
    """This node's own disk.

    Attributes:
        disk: its id.
        number: as which member it counts, or counted before it was given another number; None: it never did.
        floor: the ballot that it accepts nothing below.
        collected: the newest ballot of tombstones and promises that were dropped here: nothing below it is accepted
            either.
        refilling: it takes the place of a disk that was lost, and is not full yet.
    """

    disk: bytes
    number: int | None
    floor: bytes
    refilling: bool
    collected: bytes = b""


def own(tx: Transaction) -> Membership:
    """This node's own disk, which gets its id now if it has none."""
    disk = _value(tx.db, _DISK)
    if disk is None:
        disk = secrets.token_bytes(_LENGTH)
        _keep(tx, _DISK, disk)
    floor = _value(tx.db, _MEMBER)
    number = _value(tx.db, _NUMBER)
    counted = None if number is None else int.from_bytes(number, "big")
    refilling = _value(tx.db, _REFILLING) is not None
    return Membership(disk, counted, floor or b"", refilling, _value(tx.db, _COLLECTED) or b"")


def begin_refill(tx: Transaction) -> None:
    """From now on this disk is one that must be refilled before it counts, also after a restart."""
    _keep(tx, _REFILLING, b"")


def become_member(tx: Transaction, number: int, floor: bytes) -> None:
    """From now on this disk counts, as the member of that number."""
    _keep(tx, _MEMBER, floor)
    _keep(tx, _NUMBER, number.to_bytes(4, "big"))
    _drop(tx, _REFILLING)


def keep_collected(tx: Transaction, ballot: bytes) -> None:
    """Remember the newest ballot of the tombstones and promises that were dropped."""
    _keep(tx, _COLLECTED, ballot)


def leave(tx: Transaction) -> None:
    """This disk is empty, and no member's any more: it may become another one's."""
    for name in (_MEMBER, _NUMBER, _REFILLING):
        _drop(tx, name)
    tx.db.execute("DELETE FROM promise")


def known(db: apsw.Connection, number: int) -> bytes:
    """The disk by which another member is known; empty if it is not."""
    return _value(db, f"{_DISK}:{number}") or b""


def remember(tx: Transaction, number: int, disk: bytes) -> None:
    """Know another member by this disk."""
    _keep(tx, f"{_DISK}:{number}", disk)


def _value(db: apsw.Connection, name: str) -> bytes | None:
    row = db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    return None if row is None else bytes(row[0])


def _keep(tx: Transaction, name: str, value: bytes) -> None:
    tx.db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))


def _drop(tx: Transaction, name: str) -> None:
    tx.db.execute("DELETE FROM meta WHERE name = ?", (name,))
