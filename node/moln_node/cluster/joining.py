"""How a node begins to count: at once with the disk that it had, after a refill with an empty one.

A node that lost its disk has lost what it promised and accepted. Were it counted, two majorities could miss each other;
so it does not vote until it holds again what the others hold, and refuses every ballot from before. The others remember
by which disk each member is known (`Enroll`), and a majority of them is asked, so an empty disk is noticed. A disk that
counted under another number is of an earlier life, and is emptied first.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from moln_node.cluster import comparing
from moln_node.cluster.errors import PeerError, UnavailableError
from moln_node.cluster.messages import Enroll, Enrolled
from moln_node.cluster.registers import OPERATION_SECONDS
from moln_node.store import disks
from moln_node.store.errors import ClosedError, StoreError
from moln_node.store.registers import IN_BUCKETS, Register, Space, count
from moln_node.store.steps.bucket_register import bucket_of
from moln_spec.placement import majority

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from moln_node.cluster.ballots import BallotClock
    from moln_node.cluster.members import Members, Obeyed
    from moln_node.cluster.messages import Scan
    from moln_node.cluster.repair import Repair
    from moln_node.cluster.shedding import Shedding
    from moln_node.store.disks import Membership
    from moln_node.store.scan import Page
    from moln_node.store.store import Store

_RETRY_SECONDS: Final = 0.5
_AT_ONCE: Final = 4
_log = logging.getLogger(__name__)


class Joining:
    """Brings this node to the point where it counts.

    Attributes:
        number: the member number that this node's disk counts under; None before it counts.
        left: registers of an earlier life that nobody else holds, and for which the node waits; 0 mostly.
        counting: set while it counts.
    """

    def __init__(self, members: Members, repair: Repair, shedding: Shedding, clock: BallotClock, store: Store) -> None:
        self._members = members
        self._repair = repair
        self._shedding = shedding
        self._clock = clock
        self._store = store
        self.number: int | None = None
        self.left = 0
        self.counting = asyncio.Event()

    async def begin(self) -> None:
        """Count at once if this disk did before, or if there is nobody else who could know another one."""
        self.counting.clear()
        self._members.own.voting = False
        own = await self._store.commit(disks.own)
        self._members.own.collected = own.collected
        now = self._members.now
        if own.number == now.number or not _others(now):
            await self._count(now.number, own.floor)

    async def _count(self, number: int, floor: bytes) -> None:
        await self._store.commit(lambda tx: disks.become_member(tx, number, floor))
        self._members.own.floor = floor
        self._members.own.voting = True
        self.number = number
        self.counting.set()

    def adopted(self) -> None:
        """A newer map is obeyed: with another number for this node it has to begin anew."""
        if self.number != self._members.now.number:
            self._members.own.voting = False
            self.number = None
            self.counting.clear()

    async def run(self) -> None:
        """Try whenever this node does not count, until cancelled."""
        begun = asyncio.get_running_loop().time()
        while True:
            if self.counting.is_set():
                await asyncio.sleep(_RETRY_SECONDS)
                begun = asyncio.get_running_loop().time()
                continue
            try:
                await self._join(await self._store.commit(disks.own), begun)
            except ClosedError:
                return
            except (PeerError, StoreError) as error:
                _log.info("does not count as an owner yet: %s", error)
                await asyncio.sleep(_RETRY_SECONDS)

    async def _join(self, own: Membership, begun: float) -> None:
        now = self._members.now
        if own.number == now.number or not _others(now):
            await self._count(now.number, own.floor)
            return
        if own.number is not None:
            await self._clear(now)
            return
        answers = await self._enroll(own.disk, replace=False)
        floor = b""
        if own.refilling or any(answer.disk != own.disk for answer in answers):
            _log.warning("this disk is empty, and the others know another one: it is refilled before it counts")
            await self._store.commit(disks.begin_refill)
            await self.refill()
            # whatever was promised by the disk before is over by then, and the floor is above it
            await asyncio.sleep(max(0.0, begun + 2 * OPERATION_SECONDS - asyncio.get_running_loop().time()))
            for answer in await self._enroll(own.disk, replace=True):
                self._clock.saw(answer.ballot)
            floor = await self._clock.next()
            _log.warning("the disk is refilled")
        await self._count(now.number, floor)

    async def _clear(self, now: Obeyed) -> None:
        """Empty a disk of an earlier life, of what the owners of today hold."""
        await self._shedding.shed(now, bring=False, everything=True)
        self.left = await self._store.look(count)
        if self.left:
            raise UnavailableError(
                f"this disk is of an earlier life, and {self.left} keys, buckets or uploads on it are on no other node "
                "now: bring the other nodes back, or delete this node's volume if you can do without them"
            )
        await self._store.commit(disks.leave)
        _log.warning("the disk of an earlier life is empty")

    async def _enroll(self, disk: bytes, *, replace: bool) -> list[Enrolled]:
        """Tell the others of this disk; their answers, a majority of them in each list of members."""
        now = self._members.now
        message = Enroll(now.number, disk, replace)
        others = _others(now)
        asked = await asyncio.gather(*(now.replica(n).enroll(message) for n in others), return_exceptions=True)
        answers = {name: found for name, found in zip(others, asked, strict=True) if isinstance(found, Enrolled)}
        for quorum in now.owners.bucket.writing:
            listed = quorum.members - {now.me}
            if listed and len(listed & answers.keys()) < majority(len(listed)):
                raise UnavailableError(f"{len(listed & answers.keys())} of {len(listed)} other nodes answer")
        return list(answers.values())

    async def introduce(self) -> None:
        """Let every member of both layouts know this node's disk, as a change wants it. PeerError."""
        own = await self._store.commit(disks.own)
        now = self._members.now
        if own.number == now.number:
            message = Enroll(now.number, own.disk)
            await asyncio.gather(*(now.replica(name).enroll(message) for name in _others(now)))

    async def refill(self) -> None:
        """Take over every register that this node owns, as the other owners have it."""
        scanned = set()
        reasons = []
        for name in _others(self._members.now):
            try:
                await self._refill_from(name)
                scanned.add(name)
            except PeerError as error:
                reasons.append(str(error))
        if not self._members.owners.are_covered_by(scanned):
            raise UnavailableError("too few others can be read to refill this disk: " + "; ".join(reasons))

    async def _refill_from(self, name: str) -> None:
        buckets: list[tuple[str, bytes]] = []
        async for page in self._pages(name, Space.BUCKETS, "", b""):
            for raw in page.keys:
                await self._take(Register(Space.BUCKETS, raw.decode()))
            if page.unreadable:
                raise PeerError(f"{name} can't read all that it has of buckets")
            live = [entry for entry in page.entries if entry.row.live]
            buckets += [(bucket_of(one.key.decode(), one.row.document).name, one.row.version) for one in live]
        for bucket, incarnation in buckets:
            for space in IN_BUCKETS:
                async for page in self._pages(name, space, bucket, incarnation):
                    for start in range(0, len(page.keys), _AT_ONCE):
                        await self._take_all(space, bucket, incarnation, page.keys[start : start + _AT_ONCE])

    async def _take_all(self, space: Space, bucket: str, incarnation: bytes, keys: Sequence[bytes]) -> None:
        await asyncio.gather(*(self._take(Register(space, key.decode(), bucket, incarnation)) for key in keys))

    async def _take(self, register: Register) -> None:
        if self._members.me in self._members.now.electorate(register).owners:
            await self._repair.refill(register, self._members.me)

    def _pages(self, name: str, space: Space, bucket: str, incarnation: bytes) -> AsyncIterator[Page]:
        """Everything that another node has in a space: each row of each key, tombstones too, and what it can't read."""

        async def scan(message: Scan) -> Page:
            return await self._members.replica(name).scan(message)  # by the map that is obeyed at each page

        return comparing.pages(scan, space, bucket, incarnation)


def _others(now: Obeyed) -> tuple[str, ...]:
    """The members of both layouts that are not lost, without this node."""
    return tuple(name for name in now.participants if name != now.me)
