"""Unnamed: bodies apart from their records that no record names any more, or ever did, are dropped.

A record was deleted or replaced, or its writer ended before it came about. Each node sees to the bodies that it is the
first owner of, in two steps. All owners of the key say that none of their records names the body; `LAG_SECONDS` later
they still do, and from then on accept nothing that is older than that moment, which a record that names the body would
have to be. Then the body is dropped, if nobody has refreshed it since. The reasons are in docs/guarantees.md. One task
for each node.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from moln_node.cluster import bodykeys, comparing, uploadkeys
from moln_node.cluster.errors import PeerError
from moln_node.cluster.graves import elapsed_clock
from moln_node.cluster.messages import Named
from moln_node.cluster.registers import Change
from moln_node.store.clock import wall_ms
from moln_node.store.errors import ClosedError, StoreError
from moln_node.store.registers import NEVER, NULL_SLOT, Register, Row, Space, tombstone
from moln_spec.version import Version

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from moln_node.cluster.members import Members, Obeyed
    from moln_node.cluster.quorum import View
    from moln_node.cluster.registers import Registers
    from moln_node.store.naming import Body

LAG_SECONDS: Final = 900.0
INTERVAL_SECONDS: Final = 2 * LAG_SECONDS  # half of it at the least, so that each walk can end what the last one began
_AHEAD_MS: Final = 120_000
"""The bar is so much newer than the body, also by a clock that is behind: twice the time in which it may be named."""
_MOST_CONFIRMED: Final = 100_000
_LONGEST_REST_SECONDS: Final = 0.5
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Confirmed:
    """All owners of its key were seen not to name the body at this ballot, not later than at that moment."""

    ballot: bytes
    moment: float


class Unnamed:
    """Drops bodies that nothing names.

    Attributes:
        dropped: bodies, since the start.
        bytes: of them.
    """

    def __init__(self, members: Members, registers: Registers) -> None:
        self._members = members
        self._registers = registers
        self._epoch = 0
        self._confirmed: dict[Register, _Confirmed] = {}
        self.dropped = self.bytes = 0

    async def run(self) -> None:
        """Go through all bodies that are here from time to time, until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL_SECONDS * random.uniform(0.5, 1.0))  # noqa: S311 (no secret)
            try:
                await self.collect(LAG_SECONDS)
            except ClosedError:
                return
            except (PeerError, StoreError) as error:
                _log.info("bodies that no record names stay for now: %s", error)

    async def collect(self, lag: float) -> int:
        """Go through all bodies that are here once; how many were dropped."""
        now = self._members.now
        if self._epoch != now.map.epoch:
            self._epoch = now.map.epoch
            self._confirmed.clear()
        if not await comparing.is_calm(now):
            return 0
        before, self._confirmed = self._confirmed, {}
        loop = asyncio.get_running_loop()
        dropped = 0
        for row in list(self._members.own.store.buckets.values()):
            begun = loop.time()
            async for entries in comparing.rows(self._members.own.page, Space.BODIES, row.bucket.name, row.incarnation):
                here = {
                    Register(Space.BODIES, entry.key.decode(), row.bucket.name, row.incarnation): entry.row
                    for entry in entries
                    if entry.row.live
                }
                dropped += await self._drop_these(now, here, before, lag)
                await asyncio.sleep(min(loop.time() - begun, _LONGEST_REST_SECONDS))  # half of the time is clients'
                begun = loop.time()
        if dropped:
            _log.info("%d bodies that no record named are dropped", dropped)
        return dropped

    async def _drop_these(
        self, now: Obeyed, here: Mapping[Register, Row], before: Mapping[Register, _Confirmed], lag: float
    ) -> int:
        mine = [one for one in here if now.electorate(one).owners[:1] == (self._members.me,)]
        unnamed = await self._unnamed(now, mine)
        moment = elapsed_clock()
        going: dict[Register, bytes] = {}
        for register in unnamed:
            ballot = here[register].ballot
            known = before.get(register)
            if known is None or known.ballot != ballot:
                known = _Confirmed(ballot, moment)
            if moment - known.moment >= lag:
                going[register] = ballot
            elif len(self._confirmed) < _MOST_CONFIRMED:
                self._confirmed[register] = known
        if not going:
            return 0
        barred = await self._unnamed(now, going, bar=await self._bar(going.values()))
        return sum([await self._drop(one, here[one], going[one]) for one in barred])

    async def _bar(self, ballots: Iterable[bytes]) -> bytes:
        """A ballot that every record which could name these bodies is older than."""
        fresh = Version.from_bytes(await self._registers.ballot())
        newest = Version.from_bytes(max(ballots))
        return max(fresh, Version.after(newest, newest.milliseconds + _AHEAD_MS, fresh.node)).to_bytes()

    async def _unnamed(self, now: Obeyed, bodies: Iterable[Register], bar: bytes = NEVER) -> list[Register]:
        """The bodies of which every owner of their key says that nothing names them."""
        asked: defaultdict[str, list[Register]] = defaultdict(list)
        left: dict[Register, None] = {}
        for register in bodies:
            left[register] = None
            for owner in now.owners.of_key(register.bucket, bodykeys.object_key(register.key)).owners:
                asked[owner].append(register)
        for owner, theirs in asked.items():
            message = Named(theirs[0].bucket, theirs[0].incarnation, tuple(map(_body, theirs)), bar)
            try:
                of = (await now.replica(owner).named(message)).of
            except (PeerError, StoreError):
                of = (True,) * len(theirs)
            for register, named in zip(theirs, of, strict=True):
                if named:
                    left.pop(register, None)
        return list(left)

    async def _drop(self, register: Register, row: Row, ballot: bytes) -> bool:
        """Drop a body, if it is still as it was when nothing was seen to name it."""

        def choose(view: View, bid: bytes) -> Change:
            there = view.rows.get(NULL_SLOT)
            if there is None or not there.live or there.ballot != ballot:
                return Change()
            return Change((tombstone(bid, bid, null=True, now_ms=wall_ms()),))

        try:
            _, change = await self._registers.decide(register, choose, slot=NULL_SLOT)
        except (PeerError, StoreError) as error:
            _log.info("the body of %s stays for now: %s", register.path, error)
            return False
        self.dropped += len(change.rows)
        self.bytes += row.document.size if change.rows else 0
        return bool(change.rows)


def _body(register: Register) -> Body:
    key, body = bodykeys.object_key(register.key), bodykeys.body_of(register.key)
    return key, body, uploadkeys.upload(key, body)
