"""How a node begins to count: at once with the disk that it had, after a refill with an empty one.

A node that lost its disk has lost what it promised and accepted. Were it counted, two majorities could miss each other;
so it does not vote until it holds again what the others hold, and refuses every ballot from before. The others remember
by which disk each node is known (`Enroll`), and a majority of them is asked, so an empty disk is noticed.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from moln_node.cluster.errors import PeerError, UnavailableError
from moln_node.cluster.messages import Enroll, Enrolled, Scan
from moln_node.cluster.owners import majority
from moln_node.cluster.registers import OPERATION_SECONDS
from moln_node.store import disks
from moln_node.store.errors import ClosedError, StoreError
from moln_node.store.registers import Register, Space
from moln_node.store.scan import AFTER_ALL, Query
from moln_node.store.steps.bucket_register import bucket_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from moln_node.cluster.ballots import BallotClock
    from moln_node.cluster.members import Members
    from moln_node.cluster.repair import Repair
    from moln_node.store.disks import Membership
    from moln_node.store.registers import Row
    from moln_node.store.store import Store

_RETRY_SECONDS: Final = 0.5
_PAGE: Final = 256
_AT_ONCE: Final = 4
_log = logging.getLogger(__name__)


class Joining:
    """Brings this node to the point where it counts."""

    def __init__(self, members: Members, repair: Repair, clock: BallotClock, store: Store) -> None:
        self._members = members
        self._repair = repair
        self._clock = clock
        self._store = store
        self._others = tuple(name for name in members.owners.everyone if name != members.me)

    async def begin(self) -> Membership:
        """Count at once if this disk was a member before, or if there is nobody else who could know another one."""
        own = await self._store.commit(disks.own)
        if not own.member and not self._others:
            await self._store.commit(lambda tx: disks.become_member(tx, b""))
            own = await self._store.commit(disks.own)
        self._members.own.voting = own.member
        self._members.own.floor = own.floor
        return own

    async def run(self, own: Membership) -> None:
        """Try until this node counts."""
        begun = asyncio.get_running_loop().time()
        while not self._members.own.voting:
            try:
                await self._join(own.disk, begun)
            except ClosedError:
                return
            except (PeerError, StoreError) as error:
                _log.info("does not count as an owner yet: %s", error)
                await asyncio.sleep(_RETRY_SECONDS)

    async def _join(self, disk: bytes, begun: float) -> None:
        answers = await self._enroll(disk, replace=False)
        floor = b""
        if any(answer.disk != disk for answer in answers):
            _log.warning("this disk is empty, and the others know another one: it is refilled before it counts")
            await self.refill()
            # whatever was promised by the disk before is over by then, and the floor is above it
            await asyncio.sleep(max(0.0, begun + 2 * OPERATION_SECONDS - asyncio.get_running_loop().time()))
            for answer in await self._enroll(disk, replace=True):
                self._clock.saw(answer.ballot)
            floor = await self._clock.next()
            _log.warning("the disk is refilled")
        await self._store.commit(lambda tx: disks.become_member(tx, floor))
        self._members.own.floor = floor
        self._members.own.voting = True

    async def _enroll(self, disk: bytes, *, replace: bool) -> list[Enrolled]:
        """Tell the others of this disk; the answers of at least a majority of them."""
        message = Enroll(self._members.me, disk, replace)
        asked = [self._members.replica(name).enroll(message) for name in self._others]
        answers = [a for a in await asyncio.gather(*asked, return_exceptions=True) if isinstance(a, Enrolled)]
        if len(answers) < majority(len(self._others)):
            raise UnavailableError(f"{len(answers)} of {len(self._others)} other nodes answer")
        return answers

    async def refill(self) -> None:
        """Take over every register that this node owns, as the other owners have it."""
        scanned = set()
        reasons = []
        for name in self._others:
            try:
                await self._refill_from(name)
                scanned.add(name)
            except PeerError as error:
                reasons.append(str(error))
        if not self._members.owners.are_covered_by(scanned):
            raise UnavailableError("too few others can be read to refill this disk: " + "; ".join(reasons))

    async def _refill_from(self, name: str) -> None:
        buckets: list[tuple[str, bytes]] = []
        async for key, row in self._registers(name, Space.BUCKETS, "", b""):
            await self._take(Register(Space.BUCKETS, key))
            if row.live:
                buckets.append((bucket_of(key, row.document).name, row.version))
        for bucket, incarnation in buckets:
            for space in (Space.OBJECTS, Space.UPLOADS):
                batch: set[str] = set()
                async for key, _ in self._registers(name, space, bucket, incarnation):
                    batch.add(key)
                    if len(batch) >= _AT_ONCE:
                        await self._take_all(space, bucket, incarnation, batch)
                        batch = set()
                await self._take_all(space, bucket, incarnation, batch)

    async def _take_all(self, space: Space, bucket: str, incarnation: bytes, keys: set[str]) -> None:
        await asyncio.gather(*(self._take(Register(space, key, bucket, incarnation)) for key in keys))

    async def _take(self, register: Register) -> None:
        if self._members.me in self._members.owners_of(register):
            await self._repair.refill(register, self._members.me)

    async def _registers(
        self, name: str, space: Space, bucket: str, incarnation: bytes
    ) -> AsyncIterator[tuple[str, Row]]:
        """Everything that another node has in a space: keys with each of their rows, tombstones too."""
        query = Query((b"", b""), AFTER_ALL, _PAGE, versions=True, graves=True)
        while True:
            page = await self._members.replica(name).scan(Scan(space, query, bucket, incarnation))
            for entry in page.entries:
                yield entry.key.decode(), entry.row
            if page.end is None:
                return
            query = Query(page.end, AFTER_ALL, _PAGE, versions=True, graves=True)
