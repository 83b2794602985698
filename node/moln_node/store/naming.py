"""Which bodies that are apart from their records a node's records name. A query of the index: blocking, on any lane."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moln_node.store import lookup, registers
from moln_node.store.registers import Space

if TYPE_CHECKING:
    from collections.abc import Iterable

    import apsw

    from moln_node.store.transaction import BucketRow

Body = tuple[str, str, str]
"""The key of the object, the name of the body, and the register key of an upload whose body would have that name."""


def named(db: apsw.Connection, row: BucketRow | None, incarnation: bytes, bodies: Iterable[Body]) -> tuple[bool, ...]:
    """Of each body whether a version of its key names it, or an upload under way; of a bucket not known here: yes."""
    if row is None or row.incarnation != incarnation:
        return tuple(True for _ in bodies)
    return tuple([_is_named(db, row.id, *body) for body in bodies])


def _is_named(db: apsw.Connection, bucket_id: int, key: str, body: str, upload_key: str) -> bool:
    if any(document.body == body for _, document in lookup.rows(db, bucket_id, key.encode())):
        return True
    return lookup.newest(db, registers.number(Space.UPLOADS, bucket_id), upload_key.encode()) is not None
