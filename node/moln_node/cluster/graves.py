"""Graves: what is left of deleted keys goes, once no owner and no message can know anything older.

Each node sees to the registers that it is the first owner of. A register of tombstones alone is *confirmed* when all
owners hold the same of it; if that is still so `LAG_SECONDS` later, all of them are asked to drop it. Why nothing can
come back is in docs/guarantees.md. One task for each node.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from moln_node.cluster import comparing
from moln_node.cluster.errors import PeerError
from moln_node.cluster.messages import Collect
from moln_node.store.errors import ClosedError, StoreError
from moln_node.store.registers import IN_BUCKETS, Register

if TYPE_CHECKING:
    from collections.abc import Iterable

    from moln_node.cluster.members import Members, Obeyed

LAG_SECONDS: Final = 3600.0
INTERVAL_SECONDS: Final = 2 * LAG_SECONDS  # half of it at the least, so that each walk can end what the last one began
WINDOW_SECONDS: Final = 60.0
"""Whoever decides or installs what several owners told has heard all of them within this time: far below the lag."""
_MOST_CONFIRMED: Final = 100_000
_LONGEST_REST_SECONDS: Final = 0.5
_log = logging.getLogger(__name__)


def elapsed_clock() -> float:
    """Seconds that go by also while the machine sleeps; only differences mean anything."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True)
class _Confirmed:
    """All owners were seen to hold this, not later than at that moment."""

    fingerprint: int
    moment: float


class Graves:
    """Collects tombstones.

    Attributes:
        collected: registers that all owners were asked to drop, since the start.
    """

    def __init__(self, members: Members) -> None:
        self._members = members
        self._epoch = 0
        self._confirmed: dict[Register, _Confirmed] = {}
        self.collected = 0

    async def run(self) -> None:
        """Go through all that is here from time to time, until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL_SECONDS * random.uniform(0.5, 1.0))  # noqa: S311 (no secret)
            try:
                await self.collect()
            except ClosedError:
                return
            except (PeerError, StoreError) as error:
                _log.info("tombstones stay for now: %s", error)

    async def collect(self, lag: float = LAG_SECONDS) -> int:
        """Go through all that is here once; of how many registers the owners were asked to drop what is left."""
        now = self._members.now
        if self._epoch != now.map.epoch:
            self._epoch = now.map.epoch
            self._confirmed.clear()
        if now.alone or not await comparing.is_calm(now):
            return 0
        before, self._confirmed = self._confirmed, {}
        loop = asyncio.get_running_loop()
        collected = 0
        for row in list(self._members.own.store.buckets.values()):
            for space in IN_BUCKETS:
                where = (space, row.bucket.name, row.incarnation)
                begun = loop.time()
                async for entries in comparing.rows(self._members.own.page, *where):
                    live = {entry.key for entry in entries if entry.row.live}
                    dead = dict.fromkeys(entry.key for entry in entries if entry.key not in live)
                    graves = [Register(space, key.decode(), row.bucket.name, row.incarnation) for key in dead]
                    collected += await self._collect_these(now, graves, before, lag)
                    await asyncio.sleep(min(loop.time() - begun, _LONGEST_REST_SECONDS))  # half of the time is clients'
                    begun = loop.time()
        self.collected += collected
        if collected:
            _log.info("what was left of %d deleted keys and uploads is dropped", collected)
        return collected

    async def _collect_these(
        self, now: Obeyed, graves: Iterable[Register], before: dict[Register, _Confirmed], lag: float
    ) -> int:
        mine = [one for one in graves if now.electorate(one).owners[:1] == (self._members.me,)]
        found, silent = await comparing.owners_have(now, mine)
        moment = elapsed_clock()
        going: dict[Register, int] = {}
        for register, theirs in found.items():
            if register in silent or len(theirs) != 1:
                continue
            (fingerprint,) = theirs
            known = before.get(register)
            if known is None or known.fingerprint != fingerprint:
                known = _Confirmed(fingerprint, moment)
            if moment - known.moment >= lag:
                going[register] = fingerprint
            elif len(self._confirmed) < _MOST_CONFIRMED:
                self._confirmed[register] = known
        await self._drop(now, going)
        return len(going)

    @staticmethod
    async def _drop(now: Obeyed, going: dict[Register, int]) -> None:
        """Ask all owners at once; one that does not hear of it keeps a tombstone, which is no harm."""
        shared: defaultdict[str, list[Register]] = defaultdict(list)
        for register in going:
            for owner in now.electorate(register).owners:
                shared[owner].append(register)
        calls = [
            now.replica(owner).collect(
                Collect(
                    theirs[0].space,
                    theirs[0].bucket,
                    theirs[0].incarnation,
                    tuple((one.key, going[one]) for one in theirs),
                )
            )
            for owner, theirs in shared.items()
        ]
        for outcome in await asyncio.gather(*calls, return_exceptions=True):
            if isinstance(outcome, BaseException) and not isinstance(outcome, PeerError | StoreError):
                raise outcome
