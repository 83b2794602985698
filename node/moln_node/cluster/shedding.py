"""Shedding: what this node holds and others own goes from its disk, once they hold all of it.

It asks the owners about each register before it drops it, and drops it only as it was when it asked. What they do not
hold is brought to them first. docs/membership.md has the reasons.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from moln_node.cluster import comparing
from moln_node.cluster.errors import PeerError
from moln_node.store.errors import ClosedError, StoreError
from moln_node.store.steps import replica as steps

if TYPE_CHECKING:
    from collections.abc import Mapping

    from moln_node.cluster.members import Members, Obeyed
    from moln_node.cluster.repair import Repair
    from moln_node.store.registers import Register
    from moln_node.store.transaction import Transaction

_POLL_SECONDS: Final = 0.3
_RETRY_SECONDS: Final = 2.0
_LONGEST_REST_SECONDS: Final = 0.5
_log = logging.getLogger(__name__)


class Shedding:
    """Sheds the strays of this node.

    Attributes:
        strays: registers held here and owned by others; None while unknown, as during a change.
    """

    def __init__(self, members: Members, repair: Repair) -> None:
        self._members = members
        self._repair = repair
        self._count: int | None = None
        self._changes = 0

    @property
    def strays(self) -> int | None:
        """See the class."""
        if not self._members.own.voting:
            return None
        return 0 if self._members.own.alone else self._count

    def adopted(self) -> None:
        """A newer map is obeyed: what was counted is not so any more, if it names a change."""
        if self._members.map.change is not None:
            self._count = None
            self._changes += 1

    async def run(self) -> None:
        """Shed wherever a change has left something behind, until cancelled."""
        while True:
            now = self._members.now
            rest = _POLL_SECONDS
            if now.map.change is None and self._members.own.voting and not now.alone and self._count != 0:
                changes = self._changes
                try:
                    left = await self.shed(now, bring=True)
                    self._count = left if changes == self._changes else None
                    rest = _RETRY_SECONDS if self._count else _POLL_SECONDS
                except ClosedError:
                    return
                except (PeerError, StoreError) as error:
                    _log.info("shedding begins anew: %s", error)
                    rest = _RETRY_SECONDS
            await asyncio.sleep(rest)

    async def shed(self, now: Obeyed, *, bring: bool, everything: bool = False) -> int:
        """Drop what others own and hold; how many registers are left that they own and do not hold.

        With `bring` they get what they do not hold. `everything` takes all that is here for theirs, as on a disk of an
        earlier life.
        """
        loop = asyncio.get_running_loop()
        left = 0
        async for page in comparing.held(self._members.own):
            begun = loop.time()
            strays = [one for one in page if everything or now.me not in now.electorate(one).owners]
            if strays:
                mine = await comparing.fingerprints(now, now.me, strays)
                left += await self._shed_these(now, mine, bring=bring)
                await asyncio.sleep(min(loop.time() - begun, _LONGEST_REST_SECONDS))
        return left

    async def _shed_these(self, now: Obeyed, mine: Mapping[Register, int], *, bring: bool) -> int:
        """Drop these as far as their owners hold them; how many are left."""
        found, silent = await comparing.owners_have(now, mine, without=now.me)
        alike = {one for one, theirs in found.items() if one not in silent and theirs == {mine[one]}}
        going = [one for one in mine if one in alike or await self._is_held(now, one, bring=bring)]
        leave = self._members.own.gate.enter(now.map.epoch)  # by this map only: a newer one may make it an owner

        def drop(tx: Transaction) -> int:
            return sum(steps.shed(tx, one, mine[one]) for one in going)

        committing = self._members.own.store.commit(drop)
        committing.add_done_callback(lambda _: leave())
        return len(mine) - await asyncio.shield(committing)

    async def _is_held(self, now: Obeyed, register: Register, *, bring: bool) -> bool:
        """Whether the owners hold all that is here, or newer."""
        try:
            if await self._repair.is_held(now, register):
                return True
            if not bring:
                return False
            await self._repair.run(register, now.me)
            return await self._repair.is_held(now, register) or await self._repair.is_gone(register)
        except (PeerError, StoreError) as error:
            _log.info("%s/%r is not with its owners yet: %s", register.bucket, register.key, error)
            return False
