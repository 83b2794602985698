"""Pages of keys, versions and buckets, from the confirmed entries of all nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moln_node.cluster import records
from moln_node.cluster.merging import Merging, Where
from moln_node.store import lookup
from moln_node.store.documents import invert
from moln_node.store.listing import end_of, first_key
from moln_node.store.model import Listing, VersionListing
from moln_node.store.registers import NULL_SLOT, Register, Space
from moln_node.store.scan import AFTER_ALL, Place, Query
from moln_node.store.steps.bucket_register import bucket_of
from moln_spec.version import InvalidVersionError, Version

if TYPE_CHECKING:
    from moln_node.cluster.buckets import Known
    from moln_node.cluster.members import Members
    from moln_node.cluster.registers import Registers
    from moln_node.store.model import Bucket, Record

_NO_VERSION = b"\xff" * 13
_BUCKETS_AT_ONCE = 1000


class Listings:
    """Listings of the cloud."""

    def __init__(self, members: Members, registers: Registers) -> None:
        self._members = members
        self._registers = registers

    async def buckets(self) -> tuple[Bucket, ...]:
        """Every bucket, by name."""
        merging = Merging(self._members, self._registers, Where(Space.BUCKETS))
        query = Query((b"", b""), AFTER_ALL, _BUCKETS_AT_ONCE)
        return tuple([bucket_of(entry.key.decode(), entry.row.document) async for entry in merging.entries(query)])

    async def is_empty(self, known: Known, among: frozenset[str]) -> bool:
        """Whether these nodes together say that the bucket holds no version."""
        merging = self._merging(known, among)
        async for _ in merging.entries(Query((b"", b""), AFTER_ALL, 1, versions=True)):
            return False
        return True

    def _merging(self, known: Known, among: frozenset[str] | None = None) -> Merging:
        where = Where(Space.OBJECTS, known.bucket.name, known.incarnation)
        return Merging(self._members, self._registers, where, among)

    async def objects(self, known: Known, prefix: str, delimiter: str, after: str, limit: int) -> Listing:
        """A page of newest versions; see `Objects.list_objects`."""
        wanted = prefix.encode()
        start = (first_key(wanted, delimiter.encode(), after.encode()), b"")
        query = Query(start, end_of(wanted), limit + 1, len(wanted), delimiter.encode())
        found: list[Record] = []
        prefixes: list[str] = []
        last = ""
        async for entry in self._merging(known).entries(query):
            if len(found) + len(prefixes) >= limit:
                return Listing(tuple(found), tuple(prefixes), last or None)
            last = (entry.group or entry.key).decode()
            if entry.group:
                prefixes.append(last)
            else:
                found.append(records.record(known.bucket.name, last, entry.row))
        return Listing(tuple(found), tuple(prefixes), None)

    async def versions(
        self, known: Known, prefix: str, delimiter: str, after_key: str, after_version: str | None, limit: int
    ) -> VersionListing:
        """A page of versions and delete markers; see `Objects.list_versions`."""
        wanted, grouping = prefix.encode(), delimiter.encode()
        start: Place = (first_key(wanted, grouping, after_key.encode()), b"")
        before = ""
        if after_version is not None and after_key.startswith(prefix):
            register = Register(Space.OBJECTS, after_key, known.bucket.name, known.incarnation)
            start = await self._after(register, after_version)
            newest = (await self._registers.look(register)).newest
            resumed_at_newest = newest is not None and (after_key.encode(), invert(_version(newest.version))) >= start
            before = "" if resumed_at_newest else after_key
        query = Query(start, end_of(wanted), limit + 1, len(wanted), grouping, versions=True)
        found: list[Record] = []
        prefixes: list[str] = []
        next_key, next_version = "", ""
        async for entry in self._merging(known).entries(query):
            if len(found) + len(prefixes) >= limit:
                return VersionListing(tuple(found), tuple(prefixes), next_key or None, next_version or None)
            if entry.group:
                next_key, next_version = entry.group.decode(), ""
                prefixes.append(next_key)
                continue
            key = entry.key.decode()
            found.append(records.record(known.bucket.name, key, entry.row, latest=key != before))
            next_key, next_version, before = key, _version(entry.row.version).encode(), key
        return VersionListing(tuple(found), tuple(prefixes), None, None)

    async def _after(self, register: Register, version_id: str) -> Place:
        """The place behind a version of the key; of all its versions where the id can name none."""
        key = register.key.encode()
        try:
            if version_id != lookup.NULL:
                return key, invert(Version.decode(version_id)) + b"\0"
        except InvalidVersionError:
            return key, _NO_VERSION
        row = (await self._registers.look(register, NULL_SLOT)).rows.get(NULL_SLOT)
        return key, b"" if row is None or not row.live else invert(_version(row.version)) + b"\0"


def _version(raw: bytes) -> Version:
    return Version.from_bytes(raw)
