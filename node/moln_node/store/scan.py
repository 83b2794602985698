"""One owner's part of a listing: its rows in key order, for a coordinator that merges those of all owners.

Like `listing`, groups are passed by one seek; unlike it, rows carry their ballots, and a page says how far it reaches,
so that pages of several nodes can be laid side by side. A place is a key's bytes and an inverted version. Blocking;
runs on the reading lanes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from moln_node.store import lookup
from moln_node.store.errors import CorruptError
from moln_node.store.registers import Row, wire_row

if TYPE_CHECKING:
    from collections.abc import Iterator

    import apsw

Place = tuple[bytes, bytes]

_MOST_ROWS: Final = 20_000
_OLDER_BEFORE_SEEK: Final = 16
_ROWS_UNTIL_SIGN: Final = 1000
AFTER_ALL: Final = b"\xff"


class Query(msgspec.Struct, array_like=True, frozen=True):
    """What to list: keys from `start` on (inclusive) and below `upper`, at most `limit` entries.

    `versions` asks for every version, not only each key's newest object; `graves` for tombstones too. Keys that share
    what is before and including the first `delimiter` behind `prefix` bytes are one group. `tolerant` says that
    a page is wanted also where rows can't be read.
    """

    start: Place
    upper: bytes
    limit: int
    prefix: int = 0
    delimiter: bytes = b""
    versions: bool = False
    graves: bool = False
    tolerant: bool = False


class Entry(msgspec.Struct, array_like=True, frozen=True):
    """A row, or where `group` is not empty the first row of a group."""

    key: bytes
    row: Row
    group: bytes = b""


class Page(msgspec.Struct, array_like=True, frozen=True):
    """Entries in order. Nothing is left out before `end`, where the next page starts; None: there is nothing more.

    But for rows that can't be read: `unreadable` are their keys.
    """

    entries: tuple[Entry, ...]
    end: Place | None
    unreadable: tuple[bytes, ...] = ()

    @property
    def keys(self) -> tuple[bytes, ...]:
        """All keys that the page tells of, in order."""
        return tuple(sorted({entry.key for entry in self.entries}.union(self.unreadable)))


def past(prefix: bytes) -> bytes:
    """The first key behind all those that begin with `prefix`: UTF-8 has no byte 0xff, so the last one can grow."""
    return prefix[:-1] + bytes((prefix[-1] + 1,)) if prefix else AFTER_ALL


def scan(db: apsw.Connection, bucket_id: int, query: Query) -> Page:
    """A page of this node's rows."""
    entries: list[Entry] = []
    unreadable: dict[bytes, None] = {}
    place: Place | None = query.start
    budget = _MOST_ROWS
    while place is not None:
        if len(entries) >= query.limit or budget <= 0:
            return Page(tuple(entries), place, tuple(unreadable))
        resume: Place | None = None
        for key, inverse, row, passed in _rows(db, bucket_id, place, query, unreadable):
            budget -= passed
            cut = key.find(query.delimiter, query.prefix) if query.delimiter else -1
            group = b"" if cut < 0 else key[: cut + len(query.delimiter)]
            if row is not None:
                entries.append(Entry(key, row, group))
            if group and row is not None:
                resume = (past(group), b"")
            elif len(entries) >= query.limit or budget <= 0:
                resume = (key, inverse + b"\0") if query.versions or row is None else (key + b"\0", b"")
            if resume is not None:
                break
        place = resume
    return Page(tuple(entries), None, tuple(unreadable))


def _rows(
    db: apsw.Connection, bucket_id: int, place: Place, query: Query, unreadable: dict[bytes, None]
) -> Iterator[tuple[bytes, bytes, Row | None, int]]:
    """What the page is made of, from `place` on, and how many rows were passed; a row of None only tells the place.

    Keys of rows that can't be read are added to `unreadable`.
    """
    current = b""
    found_one = False
    passed = 0
    position: Place | None = place
    while position is not None:
        start, position = position, None
        older = 0
        for key, inverse, stored in db.execute(
            "SELECT key, inverse, document FROM record WHERE bucket = ? AND (key, inverse) >= (?, ?) AND key < ?"
            " ORDER BY key, inverse",
            (bucket_id, *start, query.upper),
        ):
            passed += 1
            if key != current:
                current, found_one, older = key, False, 0
            elif found_one and not query.versions:
                older += 1
                if older > _OLDER_BEFORE_SEEK:
                    position = (key + b"\0", b"")
                    break
                continue
            found = _decoded(bucket_id, key, inverse, stored, unreadable)
            if found is None or (found[1].tombstone and not query.graves):
                if passed >= _ROWS_UNTIL_SIGN:
                    yield key, inverse, None, passed
                    passed = 0
                continue
            found_one = True
            if query.versions or not found[1].delete_marker:
                yield key, inverse, wire_row(*found), passed
                passed = 0


def _decoded(
    bucket_id: int, key: bytes, inverse: bytes, stored: bytes, unreadable: dict[bytes, None]
) -> lookup.Found | None:
    """A row; None where it can't be read."""
    try:
        return lookup.decode_record(bucket_id, key, inverse, stored)
    except CorruptError:
        unreadable[key] = None
        return None
