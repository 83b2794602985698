"""What this node holds, register by register, and which of it its owners do not hold alike.

Used by the sweep, by passes, by shedding and by what collects: each walks the disk a page at a time, in the same order.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from moln_node.cluster.errors import PeerError
from moln_node.cluster.messages import FingerprintsAsk, Report, ReportAsk, Scan
from moln_node.store.registers import IN_BUCKETS, Register, Space
from moln_node.store.scan import AFTER_ALL, Query

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence

    from moln_node.cluster.members import Obeyed
    from moln_node.cluster.replica import LocalReplica
    from moln_node.store.registers import Row
    from moln_node.store.scan import Entry, Page, Place

_PAGE: Final = 256
_FEWER: Final = 4


async def held(own: LocalReplica) -> AsyncIterator[list[Register]]:
    """Every register in a bucket that this node holds anything of, and at last those of buckets."""
    for row in list(own.store.buckets.values()):
        for space in IN_BUCKETS:
            async for page in _pages(own, space, row.bucket.name, row.incarnation):
                yield page
    async for page in _pages(own, Space.BUCKETS, "", b""):
        yield page


async def versions(own: LocalReplica) -> AsyncIterator[list[tuple[Register, Row]]]:
    """Every row of everything in a bucket that this node holds, tombstones too, a page at a time.

    CorruptError where one can't be read.
    """
    for bucket in list(own.store.buckets.values()):
        name, incarnation = bucket.bucket.name, bucket.incarnation
        for space in IN_BUCKETS:
            async for page in pages(own.page, space, name, incarnation, tolerant=False):
                yield [(Register(space, entry.key.decode(), name, incarnation), entry.row) for entry in page.entries]


async def _pages(own: LocalReplica, space: Space, bucket: str, incarnation: bytes) -> AsyncIterator[list[Register]]:
    last = b""
    async for page in pages(own.page, space, bucket, incarnation):
        keys = [key for key in page.keys if key != last]
        last = keys[-1] if keys else last
        yield [Register(space, key.decode(), bucket, incarnation) for key in keys]


async def rows(
    scan: Callable[[Scan], Awaitable[Page]], space: Space, bucket: str, incarnation: bytes
) -> AsyncIterator[tuple[Entry, ...]]:
    """Everything that a node has in a space and can read, a page at a time: each row of each key, tombstones too."""
    async for page in pages(scan, space, bucket, incarnation):
        yield page.entries


async def pages(
    scan: Callable[[Scan], Awaitable[Page]], space: Space, bucket: str, incarnation: bytes, *, tolerant: bool = True
) -> AsyncIterator[Page]:
    """As `rows`, with the keys of what it can't read; CorruptError there if that is not tolerated."""
    start: Place | None = (b"", b"")
    while start is not None:
        query = Query(start, AFTER_ALL, _PAGE, versions=True, graves=True, tolerant=tolerant)
        page = await scan(Scan(space, query, bucket, incarnation))
        yield page
        start = page.end


async def fingerprints(now: Obeyed, name: str, registers: Sequence[Register]) -> dict[Register, int]:
    """What a node holds of registers of one space and bucket, in short. PeerError.

    Where they have so many versions that the answer takes too long, fewer are asked for at once.
    """
    found: dict[Register, int] = {}
    left, most = list(registers), len(registers)
    while left:
        some = left[:most]
        message = FingerprintsAsk(some[0].space, some[0].bucket, some[0].incarnation, tuple(one.key for one in some))
        try:
            answer = await now.replica(name).fingerprints(message)
        except PeerError as error:
            if len(some) == 1 or not error.sent:
                raise
            most = max(1, len(some) // _FEWER)
        else:
            found.update(zip(some, answer.of, strict=True))
            left = left[most:]
    return found


async def is_calm(now: Obeyed) -> bool:
    """Whether no change is under way, and every node of the map obeys it, counts, and holds nothing that others own."""
    return now.map.change is None and all(report is not None and report.strays == 0 for report in await _obey(now))


async def is_obeyed(now: Obeyed) -> bool:
    """Whether every node of the map obeys it, and has ended what it began under maps of before."""
    return all(report is not None for report in await _obey(now))


async def _obey(now: Obeyed) -> list[Report | None]:
    """What every node of the map says; None for one that obeys another epoch, or does not answer."""
    asked = [now.replica(name).report(ReportAsk()) for name in now.owners.everyone]
    reports = await asyncio.gather(*asked, return_exceptions=True)
    return [said if isinstance(said, Report) and said.epoch == now.map.epoch else None for said in reports]


async def owners_have(
    now: Obeyed, registers: Iterable[Register], *, without: str = ""
) -> tuple[dict[Register, set[int]], set[Register]]:
    """For registers of one space and bucket the fingerprints that their owners have, and those of which one is silent.

    `without` is an owner that is not asked.
    """
    shared: defaultdict[str, list[Register]] = defaultdict(list)
    found: dict[Register, set[int]] = {}
    for register in registers:
        found[register] = set()
        for owner in now.electorate(register).owners:
            if owner != without:
                shared[owner].append(register)
    silent: set[Register] = set()
    for owner, theirs in shared.items():
        try:
            for register, fingerprint in (await fingerprints(now, owner, theirs)).items():
                found[register].add(fingerprint)
        except PeerError:
            silent.update(theirs)
    return found, silent
