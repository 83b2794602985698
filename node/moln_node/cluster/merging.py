"""Listings: the pages of all owners side by side, confirmed entry by entry.

An entry that a majority of its owners reports alike is taken as it is; any other one is looked up as a read would, so a
listing shows what reads show. Each page costs what it holds, however much lies around it.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from moln_node.cluster.errors import PeerError, StaleEpochError, UnavailableError
from moln_node.cluster.fan import Fan
from moln_node.cluster.messages import Scan
from moln_node.store.documents import invert
from moln_node.store.registers import Register, Space
from moln_node.store.scan import Entry, Page, Place, Query, past
from moln_spec.version import Version

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from moln_node.cluster.members import Members, Obeyed
    from moln_node.cluster.registers import Registers

_PAGE_SECONDS: Final = 5.0
_LEAST: Final = 16
_SLACK: Final = 1.25


@dataclass(frozen=True, slots=True)
class Where:
    """What is listed: the registers of one space of one bucket (none for the buckets themselves).

    All of them have the owners of `alike`, if that is given.
    """

    space: Space
    bucket: str = ""
    incarnation: bytes = b""
    alike: Register | None = None

    def register(self, key: bytes) -> Register:
        """The register of a listed key."""
        return Register(self.space, key.decode(), self.bucket, self.incarnation)


class Merging:
    """Lists over all nodes, or over those in `among`."""

    def __init__(
        self, members: Members, registers: Registers, where: Where, among: frozenset[str] | None = None
    ) -> None:
        self._members = members
        self._registers = registers
        self._where = where
        self._among = among

    async def entries(self, query: Query) -> AsyncIterator[Entry]:
        """Confirmed entries in order, from `query.start` on; `limit` is how many are likely to be wanted."""
        if self._members.own.alone:
            async for own in self._own(query):
                yield own
            return
        share = query.limit * (1.0 if self._where.alike else self._members.owners.share(self._where.bucket))
        each = msgspec.structs.replace(query, limit=int(share * _SLACK) + _LEAST)
        start: Place | None = query.start
        while start is not None:
            now = self._members.now
            pages = await self._pages(now, msgspec.structs.replace(each, start=start))
            if pages is None:
                continue
            ends = [page.end for page in pages.values() if page.end is not None]
            end = min(ends, default=None)
            for reports in _aligned(pages, end, versions=query.versions):
                entry = await self._confirmed(now, reports, query)
                if entry is not None:
                    yield entry
            start = end

    async def _own(self, query: Query) -> AsyncIterator[Entry]:
        """Where there is no other node, this one's word confirms each entry."""
        start: Place | None = query.start
        while start is not None:
            page = await self._members.own.page(self._scan(msgspec.structs.replace(query, start=start)))
            for entry in page.entries:
                yield entry
            start = page.end

    def _scan(self, query: Query) -> Scan:
        return Scan(self._where.space, query, self._where.bucket, self._where.incarnation)

    async def _pages(self, now: Obeyed, query: Query) -> dict[str, Page] | None:
        """A page of each node, of so many that every partition has a quorum among them; None: a node is ahead."""
        message = self._scan(query)
        alike = self._where.alike
        asked = now.electorate(alike).readers if alike else self._among or now.owners.everyone
        fan = Fan({name: now.replica(name).scan(message) for name in asked})
        pages: dict[str, Page] = {}
        failures: list[str] = []
        deadline = asyncio.get_running_loop().time() + _PAGE_SECONDS
        try:
            async for name, page in fan.outcomes(deadline):
                if isinstance(page, Page):
                    pages[name] = page
                elif isinstance(page, StaleEpochError) and self._members.now is not now:
                    return None
                elif isinstance(page, PeerError):
                    failures.append(str(page))
                if self._enough(now, pages):
                    return pages
        finally:
            fan.cancel()
        raise UnavailableError("too few nodes can be reached to list: " + "; ".join(failures))

    def _enough(self, now: Obeyed, pages: Mapping[str, Page]) -> bool:
        if self._where.alike is not None:
            return now.electorate(self._where.alike).settled(pages.keys())
        if self._where.space == Space.BUCKETS:
            return now.owners.bucket.settled(pages.keys())
        return now.owners.are_covered_by(pages.keys(), self._where.bucket)

    async def _confirmed(self, now: Obeyed, reports: Mapping[str, Entry], query: Query) -> Entry | None:
        """The entry that these reports amount to; None if there is none."""
        first = min(reports.values(), key=lambda entry: entry.key)
        electorate = now.electorate(self._where.register(first.key))
        holders: defaultdict[tuple[bytes, bytes], set[str]] = defaultdict(set)
        for name, entry in reports.items():
            if name in electorate.readers and entry.key == first.key:
                holders[entry.row.version, entry.row.ballot].add(name)
        if holders:
            best = max(holders)
            if electorate.settled(holders[best]):
                return reports[min(holders[best])]
        if first.group:
            return await self._first_of_group(first.group, query)
        return await self._looked_up(first, query)

    async def _looked_up(self, entry: Entry, query: Query) -> Entry | None:
        """What a read finds of a key or a version."""
        register = self._where.register(entry.key)
        if query.versions:
            row = (await self._registers.look(register, entry.row.slot)).rows.get(entry.row.slot)
            if row is None or not row.live or row.version != entry.row.version:
                return None
        else:
            row = (await self._registers.look(register)).newest
            if row is None or row.document.delete_marker:
                return None
        return Entry(entry.key, row)

    async def _first_of_group(self, group: bytes, query: Query) -> Entry | None:
        """The group, if anything is in it that the listing may show."""
        inner = Query(max(query.start, (group, b"")), past(group), 1, len(group), b"", query.versions)
        async for entry in self.entries(inner):
            return Entry(entry.key, entry.row, group)
        return None


def _aligned(pages: Mapping[str, Page], end: Place | None, *, versions: bool) -> list[dict[str, Entry]]:
    """Which nodes report an entry, for each in order, as far as every page reaches."""
    reports: defaultdict[tuple[bytes, bytes, bytes], dict[str, Entry]] = defaultdict(dict)
    for name, page in pages.items():
        for entry in page.entries:
            inverse = invert(Version.from_bytes(entry.row.version)) if versions and not entry.group else b""
            place = (entry.group or entry.key, inverse)
            if end is None or place < end:
                reports[(*place, entry.group)][name] = entry
    return [reports[place] for place in sorted(reports)]
