"""Steps on body files: shared chunks are found, and garbage is claimed for removal.

Both must be on the writing lane, where references are counted: a chunk that is pinned here before its last reference
goes is not removed, and what is claimed here can't be referred to again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from moln_node.store.state import Pins
    from moln_node.store.transaction import Transaction


def find_and_pin(tx: Transaction, digest: bytes, pins: Pins) -> int | None:
    """The chunk of that hash, pinned; None where there is none."""
    row = tx.db.execute("SELECT id FROM body WHERE hash = ?", (digest,)).fetchone()
    if row is None:
        return None
    pins.add(row)
    found: int = row[0]
    return found


def claim(tx: Transaction, body_ids: Sequence[int], pins: Pins) -> tuple[list[int], list[int]]:
    """Of those that are garbage still: what nobody has pinned, so that only removing it is left, and what is pinned."""
    garbage = [
        body_id
        for body_id in body_ids
        if tx.db.execute("SELECT 1 FROM garbage WHERE id = ?", (body_id,)).fetchone() is not None
    ]
    free = pins.free(garbage)
    return free, sorted(set(garbage).difference(free))


def forget(tx: Transaction, body_ids: Sequence[int]) -> None:
    """The files are gone: so is the garbage."""
    tx.db.executemany("DELETE FROM garbage WHERE id = ?", [(body_id,) for body_id in body_ids])
