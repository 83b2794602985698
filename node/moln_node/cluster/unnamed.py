"""Unnamed: bodies apart from their records that no record names any more, or ever did, are dropped.

A record was deleted or replaced, or its writer ended before it came about. In two steps: all nodes say that none of
their records names the body; `LAG_SECONDS` later they still do, and from then on accept nothing that is older than the
*bar*, which a record that names the body would have to be. Then the body is dropped, if nobody has refreshed it since.
The reasons are in docs/guarantees.md.

Which bodies these may be the first owner of a key notices when it replaces a record: soon after the lag they are gone.
What nobody noticed is found by walks, from time to time, of each node over the bodies that it is the first owner of.
One task for each node.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from moln_node.cluster import bodykeys, comparing, uploadkeys
from moln_node.cluster.apart import register_of
from moln_node.cluster.errors import PeerError
from moln_node.cluster.graves import elapsed_clock
from moln_node.cluster.messages import Named
from moln_node.cluster.registers import Change
from moln_node.store.clock import wall_ms
from moln_node.store.errors import ClosedError, StoreError
from moln_node.store.registers import NEVER, NULL_SLOT, Register, Row, Space, tombstone
from moln_spec.version import Version

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from moln_node.cluster.members import Members, Obeyed
    from moln_node.cluster.quorum import View
    from moln_node.cluster.registers import Registers
    from moln_node.store.naming import Body

LAG_SECONDS: Final = 300.0
TURN_SECONDS: Final = 30.0
WALK_SECONDS: Final = 3600.0
AHEAD_MS: Final = 240_000
"""So much newer than the body the bar is: it may be named for a minute, and clocks be a minute wrong, either way."""
_PAGE: Final = 256
_MOST: Final = 100_000
_LONGEST_REST_SECONDS: Final = 0.5
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Confirmed:
    """All nodes were seen not to name the body of that ballot, not later than at that moment."""

    ballot: bytes
    bytes: int
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
        self._noticed: dict[Register, _Confirmed | None] = {}
        self.dropped = self.bytes = 0

    async def run(self) -> None:
        """Drop what was noticed, and walk from time to time, until cancelled."""
        loop = asyncio.get_running_loop()
        walk = loop.time() + WALK_SECONDS * random.uniform(0.5, 1.0)  # noqa: S311 (no secret)
        while True:
            await asyncio.sleep(TURN_SECONDS * random.uniform(0.5, 1.0))  # noqa: S311 (no secret)
            try:
                await self.turn(LAG_SECONDS)
                if loop.time() > walk:
                    walk = loop.time() + WALK_SECONDS * random.uniform(0.5, 1.0)  # noqa: S311 (no secret)
                    await self.collect(LAG_SECONDS)
            except ClosedError:
                return
            except (PeerError, StoreError) as error:
                _log.info("bodies that no record names stay for now: %s", error)

    def notice(self, replaced: Sequence[tuple[Register, str]]) -> None:
        """Records here named these bodies, and do not any more: the first owner of a key sees to it."""
        now = self._members.now
        for register, body in replaced:
            first = now.electorate(register).owners[:1] == (self._members.me,)
            if first and len(self._noticed) < _MOST:  # of more the walk takes care
                self._noticed.setdefault(register_of(register, body), None)

    async def turn(self, lag: float) -> int:
        """Take the next step with each body that was noticed; how many were dropped."""
        now = self._members.now
        self._obey(now)
        if not self._noticed or not await comparing.is_obeyed(now):
            return 0
        dropped = 0
        for there in _pages(self._noticed):
            begun = asyncio.get_running_loop().time()
            due = elapsed_clock() - lag
            fresh = [one for one in there if self._noticed[one] is None]
            late = {one: seen for one in there if (seen := self._noticed[one]) is not None and seen.moment <= due}
            dropped += await self._conclude(now, late)
            await self._confirm(now, [one for one in (*fresh, *late) if one in self._noticed])
            await self._rest(begun)
        return dropped

    async def _confirm(self, now: Obeyed, fresh: Sequence[Register]) -> None:
        """The first step, of bodies that were noticed; what is gone is forgotten, what is named looked at again."""
        unnamed = set(await self._unnamed(now, fresh))
        for register in fresh:
            row = (await self._registers.glance(register, NULL_SLOT)).newest
            if row is None:
                self._noticed.pop(register, None)
            else:
                seen = _Confirmed(row.ballot, row.document.size, elapsed_clock())
                self._noticed[register] = seen if register in unnamed else None

    def _obey(self, now: Obeyed) -> None:
        """By another map everything is confirmed anew."""
        if self._epoch != now.map.epoch:
            self._epoch = now.map.epoch
            self._confirmed.clear()
            self._noticed = dict.fromkeys(self._noticed)

    async def collect(self, lag: float) -> int:
        """Go through all bodies that are here once; how many were dropped."""
        now = self._members.now
        self._obey(now)
        if not await comparing.is_obeyed(now):
            return 0
        before, self._confirmed = self._confirmed, {}
        dropped = 0
        for row in list(self._members.own.store.buckets.values()):
            begun = asyncio.get_running_loop().time()
            async for entries in comparing.rows(self._members.own.page, Space.BODIES, row.bucket.name, row.incarnation):
                here = {
                    Register(Space.BODIES, entry.key.decode(), row.bucket.name, row.incarnation): entry.row
                    for entry in entries
                    if entry.row.live
                }
                dropped += await self._drop_these(now, here, before, lag)
                await self._rest(begun)
                begun = asyncio.get_running_loop().time()
        return dropped

    @staticmethod
    async def _rest(begun: float) -> None:
        """Half of the time is clients'."""
        await asyncio.sleep(min(asyncio.get_running_loop().time() - begun, _LONGEST_REST_SECONDS))

    async def _drop_these(
        self, now: Obeyed, here: Mapping[Register, Row], before: Mapping[Register, _Confirmed], lag: float
    ) -> int:
        mine = [one for one in here if now.electorate(one).readers[:1] == (self._members.me,)]  # has what is settled
        unnamed = await self._unnamed(now, mine)
        moment = elapsed_clock()
        going: dict[Register, _Confirmed] = {}
        for register in unnamed:
            row = here[register]
            known = before.get(register)
            if known is None or known.ballot != row.ballot:
                known = _Confirmed(row.ballot, row.document.size, moment)
            if moment - known.moment >= lag:
                going[register] = known
            elif len(self._confirmed) < _MOST:
                self._confirmed[register] = known
        return await self._conclude(now, going)

    async def _conclude(self, now: Obeyed, going: Mapping[Register, _Confirmed]) -> int:
        """The second step, of bodies that were confirmed long enough ago; how many were dropped."""
        if not going:
            return 0
        newest = Version.from_bytes(max(seen.ballot for seen in going.values()))
        bar = Version.after(newest, newest.milliseconds + AHEAD_MS, newest.node).to_bytes()
        still = await self._unnamed(
            now, going
        )  # first without the bar: who lacks a record that others have keeps it open
        unnamed = await self._unnamed(now, still, bar)
        dropped = sum([await self._drop(one, going[one]) for one in unnamed])
        if dropped:
            _log.info("%d bodies that no record named are dropped", dropped)
        return dropped

    async def _unnamed(self, now: Obeyed, bodies: Iterable[Register], bar: bytes = NEVER) -> list[Register]:
        """The bodies of which every node says that nothing names them; the owners of the key are asked first."""
        left = list(bodies)
        owners = {one: now.owners.of_key(one.bucket, bodykeys.object_key(one.key)).owners for one in left}
        likely = Counter(name for names in owners.values() for name in names)
        for name, _ in likely.most_common():
            left = await self._unnamed_by(now, name, left, [one for one in left if name in owners[one]], bar)
        for name in now.beside_spares:
            left = await self._unnamed_by(now, name, left, [one for one in left if name not in owners[one]], bar)
        return left

    @staticmethod
    async def _unnamed_by(
        now: Obeyed, name: str, left: list[Register], asked: list[Register], bar: bytes
    ) -> list[Register]:
        """What is left when a node was asked about some."""
        if not asked:
            return left
        message = Named(asked[0].bucket, asked[0].incarnation, tuple(map(_body, asked)), bar)
        try:
            of = (await now.replica(name).named(message)).of
        except (PeerError, StoreError):
            of = (True,) * len(asked)
        named = {one for one, is_named in zip(asked, of, strict=True) if is_named}
        return [one for one in left if one not in named]

    async def _drop(self, register: Register, seen: _Confirmed) -> bool:
        """Drop a body, if it is still as it was when nothing was seen to name it."""

        def choose(view: View, bid: bytes) -> Change:
            there = view.rows.get(NULL_SLOT)
            if there is None or not there.live or there.ballot != seen.ballot:
                return Change()
            return Change((tombstone(bid, bid, null=True, now_ms=wall_ms()),))

        try:
            _, change = await self._registers.decide(register, choose, slot=NULL_SLOT)
        except (PeerError, StoreError) as error:
            _log.info("%s stays for now: %s", register.path, error)
            return False
        if not change.rows:
            return False
        self._noticed.pop(register, None)  # it need not be looked for again
        self.dropped += 1
        self.bytes += seen.bytes
        return True


def _pages(noticed: Iterable[Register]) -> list[list[Register]]:
    """Registers of one bucket each, some at a time."""
    of: defaultdict[tuple[str, bytes], list[Register]] = defaultdict(list)
    for register in noticed:
        of[register.bucket, register.incarnation].append(register)
    return [theirs[at : at + _PAGE] for theirs in of.values() for at in range(0, len(theirs), _PAGE)]


def _body(register: Register) -> Body:
    key, body = bodykeys.object_key(register.key), bodykeys.body_of(register.key)
    return key, body, uploadkeys.upload(key, body)
