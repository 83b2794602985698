"""Reassigning: objects that are kept already get the class, and the place of their bytes, that the rules say today.

Done where a person asks for it, and may be asked for again at any time: then it does what is left. A class is part of
the record, and changes as tags do. Bytes that are to live elsewhere are written there first, as those of a put, and the
same version of the object names them from then on; the record's owners let go of those that were with it. Called by
`maintenance`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from moln_node.cluster import bodykeys, records
from moln_node.cluster.errors import PeerError, UnavailableError
from moln_node.cluster.registers import Change, from_holders
from moln_node.cluster.walking import Walk
from moln_node.store.errors import NoSuchBucketError, NoSuchKeyError, NoSuchVersionError, StoreError
from moln_node.store.model import Sealed
from moln_node.store.registers import Row, Space
from moln_spec.classes import UnknownStorageClassError

if TYPE_CHECKING:
    from collections.abc import Callable

    from moln_node.cluster.cluster import Cluster
    from moln_node.cluster.local import LocalStore
    from moln_node.cluster.quorum import View
    from moln_node.cluster.walking import Kept, Scope
    from moln_node.store.documents import RecordDocument
    from moln_node.store.registers import Register
    from moln_node.store.report import Report


@dataclass(frozen=True, slots=True)
class Target:
    """What becomes of an object: its class, and the place of its bytes, empty where they stay as they are."""

    storage_class: str
    place: str
    words: str


class Reassigning:
    """Gives objects the class and place that the rules say today; see `maintenance.reassign`."""

    def __init__(self, local: LocalStore, cluster: Cluster, report: Report, scope: Scope) -> None:
        self._local = local
        self._cluster = cluster
        self._report = report
        self._walk = Walk(local, report, scope, (Space.OBJECTS,))
        self._counts = dict.fromkeys(("differing", "bytes", "reassigned", "unanswered"), 0)

    async def run(self, *, dry_run: bool) -> None:
        """Go over everything that it is this node's to tell of, once."""
        self._report.set(**self._counts)
        async for one in self._walk.versions():
            if not self._is_mine(one.register):
                continue
            target = today(self._local, one.register, one.document)
            if target is None:
                continue
            self._counts["differing"] += 1
            self._counts["bytes"] += one.document.size
            self._report.found(f"{one.register.path}: {target.words}")
            if not dry_run:
                await self._change(one, target)
                await self._walk.pace.rest()
            self._report.set(**self._counts)

    def _is_mine(self, register: Register) -> bool:
        """Of all owners the first tells of a register, and changes it."""
        members = self._cluster.members
        return members.now.electorate(register).owners[0] == members.me

    async def _change(self, one: Kept, target: Target) -> None:
        try:
            changed = await (self._move(one, target) if target.place else self._decide(one, target, _as_it_is))
        except (NoSuchBucketError, NoSuchKeyError, NoSuchVersionError):
            return  # deleted or replaced meanwhile
        except (PeerError, UnavailableError):
            self._counts["unanswered"] += 1
        except StoreError as error:
            self._report.found(f"{one.register.path}: stays as it is: {error}")
        else:
            self._counts["reassigned"] += changed

    async def _move(self, one: Kept, target: Target) -> bool:
        """Write the bytes anew in their place, and have the version name them."""
        objects = self._cluster.objects
        version = records.shown_id(Row(one.version.to_bytes(), b"", one.document))

        async def seal() -> Sealed:
            return Sealed(one.document.etag)

        async with objects.open(one.register.bucket, one.register.key, version) as reading:
            if reading.record.version != one.version:
                raise NoSuchVersionError("another object took its place")
            size = reading.record.stored_size
            writing = objects.apart.writing(
                one.register, target.place, target.storage_class, reading.read(0, size), size, seal
            )
            async with writing as written:

                def naming(ballot: bytes, row: Row) -> Row:
                    document = msgspec.structs.replace(row.document, body=written.body)
                    return written.naming(lambda at: Row(row.version, at, document))(ballot)

                if not await self._decide(one, target, naming):
                    raise NoSuchVersionError("another object took its place")
        return True

    async def _decide(self, one: Kept, target: Target, changed: Callable[[bytes, Row], Row]) -> bool:
        """A conditional write, as of tags: of this version, if it is still there and is still to become this."""

        def choose(view: View, ballot: bytes) -> Change:
            row = view.rows.get(one.slot)
            if row is None or row.version != one.version.to_bytes() or not row.document.counted:
                return Change()
            if today(self._local, one.register, row.document) != target:
                return Change()
            document = msgspec.structs.replace(row.document, storage_class=target.storage_class)
            return Change((changed(ballot, Row(row.version, ballot, document)),), from_holders(view))

        _, change = await self._cluster.registers.decide(one.register, choose, slot=one.slot)
        return bool(change.rows)


def today(local: LocalStore, register: Register, document: RecordDocument) -> Target | None:
    """What would become of an object, were it written today; None where that is what it is.

    The class that a client asked for stays. Of records of before nobody knows who chose: they are taken as chosen so. A
    body that is apart stays so: where its class has no place, it lives with the key's owners.
    """
    try:
        assigned = local.today(register.bucket, register.key, document)
    except UnknownStorageClassError:
        return None
    storage_class, place = assigned.storage_class, local.place(assigned.storage_class, assigned.pool)
    there = bodykeys.place_of(document.body)
    if not document.size:
        place = there = ""
    elif document.body:
        place = place or storage_class
    if storage_class == document.storage_class and place == there:
        return None
    words = f"{document.storage_class} -> {storage_class} ({assigned.reason})"
    if place and place != there:
        words += f", bytes {f'from {there} ' if there else ''}to {place}"
    return Target(storage_class, place, words)


def _as_it_is(_: bytes, row: Row) -> Row:
    return row
