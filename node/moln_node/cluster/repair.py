"""Bringing the owners of one register to the same state: what a majority has, the others get.

Called by `hints` and by the sweep. Never resurrects: rows are compared by ballot, tombstones are rows, and what is not
yet decided is decided first, as a read would.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from moln_node.cluster.errors import PeerError, UnavailableError
from moln_node.cluster.messages import Ask, Install, SlotWrite
from moln_node.cluster.owners import majority
from moln_node.cluster.quorum import merge
from moln_node.cluster.registers import Change
from moln_node.store.errors import NoSuchBucketError, StoreError
from moln_node.store.registers import KeyState
from moln_node.store.steps.replica import Outcome

if TYPE_CHECKING:
    from moln_node.cluster.members import Members
    from moln_node.cluster.quorum import View
    from moln_node.cluster.registers import Registers
    from moln_node.store.registers import Register, Row

_ALL_ROWS: Final = 1_000_000
_TRIES: Final = 5
_log = logging.getLogger(__name__)


class Repair:
    """Compares the owners of a register, and installs what one lacks."""

    def __init__(self, members: Members, registers: Registers) -> None:
        self._members = members
        self._registers = registers
        self._healing: set[tuple[Register, bytes]] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, register: Register) -> bool:
        """Whether every owner has now all that was decided; False where one could not be asked or told."""
        owners = self._members.owners_of(register)
        states, whole = await self._states(register, owners)
        if len(states) < majority(len(owners)):
            return False
        view = merge(states)
        quorum = majority(len(owners))
        for slot in [row.slot for row in view.rows.values() if len(view.holders[row.slot]) < quorum]:
            try:
                await self._registers.decide(register, lambda _view, _ballot: Change(), slot=slot)
            except NoSuchBucketError:
                return True
        states, whole = await self._states(register, owners)
        view = merge(states)
        told = [await self._tell(register, owner, state, view, quorum) for owner, state in states.items()]
        return whole and all(told)

    async def refill(self, register: Register, owner: str) -> None:
        """Give one owner, which does not count now, everything that the others hold.

        Raises:
            UnavailableError: the others that answer are no majority of the owners.
        """
        owners = self._members.owners_of(register)
        quorum = majority(len(owners))
        for _ in range(_TRIES):
            states, _whole = await self._states(register, tuple(name for name in owners if name != owner))
            if len(states) < quorum:
                break
            view = merge(states)
            loose = [row.slot for row in view.rows.values() if len(view.holders[row.slot]) < quorum]
            for slot in loose:
                await self._registers.decide(register, lambda _view, _ballot: Change(), slot=slot)
            if not loose and await self._tell(register, owner, KeyState(), view, quorum):
                return
        raise UnavailableError(f"{register.bucket}/{register.key!r} can't be taken over from a majority now")

    def damaged(self, register: Register, row: Row, why: str) -> None:
        """Bytes of this node's own are bad: get good ones from another owner, in the background."""
        _log.error("%s/%r is damaged here, and is read from another owner: %s", register.bucket, register.key, why)
        if (register, row.version) not in self._healing:
            self._healing.add((register, row.version))
            task = asyncio.create_task(self._heal(register, row), name="moln-heal")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _heal(self, register: Register, row: Row) -> None:
        try:
            for owner in self._members.owners_of(register):
                if owner != self._members.me and await self._heal_from(register, row, owner):
                    return
        finally:
            self._healing.discard((register, row.version))

    async def _heal_from(self, register: Register, row: Row, owner: str) -> bool:
        try:
            if await self._members.own.heal(register, row, owner):
                _log.warning("%s/%r is whole again here", register.bucket, register.key)
                return True
        except (PeerError, StoreError) as error:
            _log.info("%s/%r can't be healed from %s: %s", register.bucket, register.key, owner, error)
        return False

    async def _states(self, register: Register, owners: tuple[str, ...]) -> tuple[dict[str, KeyState], bool]:
        """What each owner has; and whether all of them said."""
        asked = [self._members.replica(owner).ask(Ask(register, None, _ALL_ROWS)) for owner in owners]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, PeerError | StoreError):
                raise answer
        states = {owner: answer for owner, answer in zip(owners, answers, strict=True) if isinstance(answer, KeyState)}
        return states, len(states) == len(owners)

    async def _tell(self, register: Register, owner: str, state: KeyState, view: View, quorum: int) -> bool:
        """Install at one owner what a majority holds and it does not."""
        has = {(row.version, row.ballot) for row in state.rows}
        lacks = [row for row in view.rows.values() if (row.version, row.ballot) not in has]
        if not lacks:
            return True
        if any(len(view.holders[row.slot]) < quorum for row in lacks):
            return False  # another write is under way: it will be looked at again
        message = Install(register, tuple(SlotWrite(row, source=min(view.holders[row.slot])) for row in lacks))
        try:
            replica = self._members.replica(owner)
            vote = await replica.install(message)
            if vote.outcome == Outcome.NO_BUCKET and await self._members.introduce(owner, register):
                vote = await replica.install(message)
        except (PeerError, StoreError):
            return False
        return vote.outcome in {Outcome.DONE, Outcome.GONE}
