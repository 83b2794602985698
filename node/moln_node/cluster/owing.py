"""One write that counts as soon as one owner has it, and owes it to the others (`write: one`).

Made by the coordinator (`registers`) for one attempt at one ballot. The owner that takes the row queues it in the same
transaction (`owed`); the others are asked to accept it as they are in every write, and need not answer.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from moln_node.cluster.errors import PeerError, StaleEpochError
from moln_node.cluster.fan import Fan, is_undone
from moln_node.cluster.messages import Accept
from moln_node.store.steps.replica import Outcome, Vote

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from moln_node.cluster.fan import Failure
    from moln_node.cluster.messages import SlotWrite
    from moln_node.store.registers import Register, Row

_TURN_SECONDS: Final = 0.3


class Owing:
    """Asks owners, one after the other, to take a row and owe it; once one does, all others to accept it.

    Attributes:
        votes: the answers so far, by owner.
        owing: the owner that owes the row; empty where none is known to.
        unsure: an owner may have it, and is not known to owe it.
        stale: an owner obeys a newer map.
    """

    def __init__(
        self,
        register: Register,
        row: Row,
        supplied: Mapping[str, SlotWrite],
        accept: Callable[[str, Accept], Coroutine[Any, Any, Vote]],
    ) -> None:
        """`supplied` are the owners that the bytes are at hand for, in the order in which they are to be asked."""
        self._names = tuple(supplied)
        self._turns = [asyncio.Event() for _ in supplied]
        self._owed, self._refused = asyncio.Event(), asyncio.Event()
        self.votes: dict[str, Vote] = {}
        self.owing = ""
        self.unsure = self.stale = False

        async def call(turn: int, name: str) -> Vote:
            with suppress(TimeoutError):
                async with asyncio.timeout(turn * _TURN_SECONDS):
                    await self._turns[turn].wait()
            if self._refused.is_set():
                raise PeerError("it was not asked, because another owner refused", sent=False)
            return await accept(name, Accept(register, row.ballot, (supplied[name],), owed=not self._owed.is_set()))

        self._fan = Fan({name: call(turn, name) for turn, name in enumerate(self._names)})

    async def run(self, deadline: float) -> bool:
        """Whether an owner owes it now; else nobody is asked any more, and those that were have answered in time."""
        try:
            async for owner, vote in self._fan.outcomes(deadline):
                self._hear(owner, vote)
                if self.owing:
                    break
        except BaseException:
            self._fan.cancel()
            raise
        if not self.owing:
            self._refused.set()
        for turn in self._turns:
            turn.set()
        self.unsure = self.unsure or bool(self._fan.waiting)
        return bool(self.owing)

    def _hear(self, owner: str, vote: Vote | Failure) -> None:
        if isinstance(vote, Vote):
            self.votes[owner] = vote
            if vote.owed:
                self.owing = owner
                self._owed.set()
            elif vote.outcome == Outcome.DONE:  # by a release that does not know what owing is
                self.unsure = True
            elif vote.outcome != Outcome.MISSING:
                self._refused.set()
        elif isinstance(vote, StaleEpochError):
            self.stale = True
            self._refused.set()
        elif not is_undone(vote):
            self.unsure = True
        following = self._turns if self._refused.is_set() else self._turns[self._names.index(owner) + 1 :][:1]
        for turn in following:
            turn.set()

    def leave(self, keep: set[asyncio.Task[Vote]], over: Callable[[frozenset[str]], None]) -> None:
        """Let the others finish by themselves; `over` is told at the end who has the row."""
        held = {name for name, vote in self.votes.items() if vote.outcome == Outcome.DONE}
        left = len(self._fan.waiting)

        def late(owner: str, vote: Vote | Failure) -> None:
            nonlocal left
            left -= 1
            if isinstance(vote, Vote) and vote.outcome == Outcome.DONE:
                held.add(owner)
            if left == 0:
                over(frozenset(held))

        self._fan.leave(keep, late)
