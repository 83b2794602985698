"""Which disk is whose: how a node that comes back with an empty disk is told from one that kept its promises.

Each disk has an id of its own. A node keeps the ids by which the others are known, and on its own disk whether that one
is a full member: what it then promises it will keep. Rows of table `meta`.
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
_LENGTH: Final = 16


@dataclass(frozen=True, slots=True)
class Membership:
    """This node's own disk: its id, whether it is a full member, and the ballot that it accepts nothing below."""

    disk: bytes
    member: bool
    floor: bytes


def own(tx: Transaction) -> Membership:
    """This node's own disk, which gets its id now if it has none."""
    disk = _value(tx.db, _DISK)
    if disk is None:
        disk = secrets.token_bytes(_LENGTH)
        _keep(tx, _DISK, disk)
    floor = _value(tx.db, _MEMBER)
    return Membership(disk, floor is not None, floor or b"")


def become_member(tx: Transaction, floor: bytes) -> None:
    """From now on this disk counts."""
    _keep(tx, _MEMBER, floor)


def known(db: apsw.Connection, node: str) -> bytes:
    """The disk by which another node is known; empty if it is not."""
    return _value(db, f"{_DISK}:{node}") or b""


def remember(tx: Transaction, node: str, disk: bytes) -> None:
    """Know another node by this disk."""
    _keep(tx, f"{_DISK}:{node}", disk)


def _value(db: apsw.Connection, name: str) -> bytes | None:
    row = db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    return None if row is None else bytes(row[0])


def _keep(tx: Transaction, name: str, value: bytes) -> None:
    tx.db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))
