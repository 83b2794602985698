"""The coordinator of registers: reads, blind writes and conditional writes that hold for the whole cloud.

Everything above (`cloud`, `buckets`, `uploads`) speaks of registers through this one room; it speaks to owners through
`Replica`. The protocol, and why it is right, is in docs/guarantees.md: ABD for reads and blind writes, CASPaxos for
conditional ones, versions as ballots.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from moln_node.cluster.errors import PeerError, UnavailableError
from moln_node.cluster.fan import Fan
from moln_node.cluster.messages import Accept, Ask, Prepare, SlotWrite
from moln_node.cluster.owners import majority
from moln_node.cluster.quorum import Verdict, View, judge, merge
from moln_node.store.errors import NoSuchBucketError, StoreError
from moln_node.store.registers import KeyState
from moln_node.store.steps.replica import Outcome, Seen, Vote

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from moln_node.cluster.ballots import BallotClock
    from moln_node.cluster.fan import Failure
    from moln_node.cluster.replica import LocalReplica, Replica
    from moln_node.cluster.sight import Sight
    from moln_node.store.registers import Register, Row

OPERATION_SECONDS: Final = 15.0
_DEEPER: Final = 16
_GLANCE_SECONDS: Final = 0.008
_GLANCES: Final = 2
_INSISTENCE: Final = 3
_BACKOFF_SECONDS: Final = 0.004
_MOST_BACKOFF_SECONDS: Final = 0.25


class Neighbours(Protocol):
    """What the coordinator needs to know of the cloud."""

    @property
    def me(self) -> str:
        """This node's name."""
        ...

    def replica(self, name: str) -> Replica:
        """The owner of that name."""
        ...

    def sole(self, register: Register) -> LocalReplica | None:
        """This node as an owner, where its word alone is a quorum of the register's owners."""
        ...

    def owners_of(self, register: Register) -> tuple[str, ...]:
        """The owners of a register."""
        ...

    def missed(self, register: Register) -> None:
        """Some owner lacks what was decided: see to it later."""
        ...

    async def introduce(self, owner: str, register: Register) -> bool:
        """Tell an owner of the register's bucket; false where there is no such bucket any more."""
        ...


@dataclass(frozen=True, slots=True)
class Change:
    """What a conditional write is to do: rows, and for each owner how their bytes come (None: it is left out)."""

    rows: tuple[Row, ...] = ()
    supply: Callable[[str, Row], SlotWrite | None] = field(default=lambda _, row: SlotWrite(row))


class _Again(Exception):  # noqa: N818 (a turn of a loop, not an error)
    """Refused without effect: try above what was refused."""


class Registers:
    """Reads and writes of registers, coordinated by this node."""

    def __init__(self, neighbours: Neighbours, clock: BallotClock) -> None:
        self._cloud = neighbours
        self._clock = clock
        self._late: set[asyncio.Task[Vote]] = set()

    async def close(self) -> None:
        """Wait for writes that a majority has, and the rest has not answered yet, up to their time-outs."""
        if self._late:
            await asyncio.wait(self._late, timeout=1.0)
        for task in list(self._late):
            task.cancel()

    async def ballot(self) -> bytes:
        """A ballot that was never given out: also a name that nothing else has."""
        return await self._clock.next()

    async def look(self, register: Register, slot: bytes | None = None, sight: Sight | None = None) -> View:
        """What the register holds, as decided before this returns and not undone since before it was called.

        With `slot` only that slot is asked for; else the view reaches down to the newest live row. `sight` answers for
        this node, if it is an owner.
        """
        deadline = _deadline()
        depth = 1
        glances = 0
        while True:
            view = await self._ask(Ask(register, slot, depth), deadline, sight)
            if view.shallow:
                depth *= _DEEPER
                continue
            quorum = majority(len(self._cloud.owners_of(register)))
            if not view.unsettled(quorum, slot):
                return view
            if glances < _GLANCES:  # most often a write is just under way, and will have its majority in a moment
                glances += 1
                await asyncio.sleep(_GLANCE_SECONDS)
                continue
            await self.decide(register, lambda _view, _ballot: Change(), slot=slot)

    async def write(
        self,
        register: Register,
        row_at: Callable[[bytes], Row],
        supply: Callable[[str, Row], SlotWrite | None] = lambda _, row: SlotWrite(row),
    ) -> Row:
        """Write a row whatever the register holds, in one round; the row at the version that it got.

        Raises:
            UnavailableError: it may or may not have come about.
        """
        deadline = _deadline()
        for turn in range(1_000_000):
            ballot = await self._clock.next()
            row = row_at(ballot)
            try:
                await self._insist(register, ballot, (row,), supply, deadline)
            except _Again:
                await _back_off(turn, deadline)
            else:
                return row
        raise AssertionError

    async def decide(
        self, register: Register, choose: Callable[[View, bytes], Change], *, slot: bytes | None = None
    ) -> tuple[View, Change]:
        """A conditional write: look, choose what to do about it, and do that, with nothing in between.

        `choose` gets the view and the ballot, and may raise a StoreError to refuse. What it saw is made sure of,
        whether it writes or refuses. Called again where another write came in between.
        """
        deadline = _deadline()
        depth = 1
        for turn in range(1_000_000):
            ballot = await self._clock.next()
            own = self._cloud.sole(register)
            try:
                if own is not None:
                    return await self._decide_here(own, register, ballot, choose, slot)
                view = await self._prepare(register, ballot, slot, depth, deadline)
                if view.shallow:
                    depth *= _DEEPER
                    continue
                return view, await self._conclude(register, ballot, view, slot, choose, deadline)
            except _Again:
                await _back_off(turn, deadline)
        raise AssertionError

    async def _decide_here(
        self,
        own: LocalReplica,
        register: Register,
        ballot: bytes,
        choose: Callable[[View, bytes], Change],
        slot: bytes | None,
    ) -> tuple[View, Change]:
        """Where this node is a quorum by itself: look, choose, and accept if what was seen is still so. No promise."""
        seen = await own.ask(Ask(register, slot))
        self._clock.saw(seen.ballot)
        view = merge({self._cloud.me: seen})
        change = choose(view, ballot)
        if change.rows:
            await self._attempt_here(own, register, ballot, change.rows, change.supply, Seen(slot, seen))
        return view, change

    async def _conclude(
        self,
        register: Register,
        ballot: bytes,
        view: View,
        slot: bytes | None,
        choose: Callable[[View, bytes], Change],
        deadline: float,
    ) -> Change:
        """Make sure of what was seen, then choose and write.

        A write that rests on a row which only a minority holds would make that row's own write come about without any
        owner but these knowing it; its coordinator could take it for dead and write it again.
        """
        quorum = majority(len(self._cloud.owners_of(register)))
        loose = view.unsettled(quorum, slot)
        if loose:
            rows = tuple(msgspec.structs.replace(row, ballot=ballot) for row in loose)

            def supply(owner: str, row: Row) -> SlotWrite:
                holders = view.holders[row.slot]
                return SlotWrite(row, source="" if owner in holders else min(holders))

            if not await self._attempt(register, ballot, rows, supply, deadline):
                raise _Again
        change = choose(view, ballot)
        if change.rows:
            if loose:
                raise _Again  # this ballot is used
            await self._insist(register, ballot, change.rows, change.supply, deadline)
        return change

    async def _insist(
        self,
        register: Register,
        ballot: bytes,
        rows: Sequence[Row],
        supply: Callable[[str, Row], SlotWrite | None],
        deadline: float,
    ) -> None:
        """Have rows accepted, or find out that they never will be (_Again), or that this can't be known now.

        Where some owner has them and no majority is seen to, reading the register decides its fate: then either it is
        there, or the owners that were asked first can say by now that it is dead.
        """
        own = self._cloud.sole(register)
        if own is not None:
            await self._attempt_here(own, register, ballot, rows, supply)
            return
        for turn in range(_INSISTENCE):
            if await self._attempt(register, ballot, rows, supply, deadline, again=turn > 0):
                return
            views = {row.slot: await self.look(register, row.slot) for row in rows}
            if all(_is_there(views[row.slot].rows.get(row.slot), row, ballot) for row in rows):
                return
        raise UnavailableError("it is not certain whether the write came about: try again")

    async def _ask(self, message: Ask, deadline: float, sight: Sight | None) -> View:
        """The answers of a majority of the owners, merged."""
        own = self._cloud.sole(message.register)
        if own is not None:
            return merge({self._cloud.me: await (sight or own).ask(message)})
        owners = self._cloud.owners_of(message.register)
        fan = Fan({owner: self._asked(owner, sight).ask(message) for owner in owners})
        answers: dict[str, KeyState] = {}
        try:
            async for owner, answer in fan.outcomes(deadline):
                if isinstance(answer, KeyState):
                    answers[owner] = answer
                    self._clock.saw(answer.ballot)
                    if len(answers) >= majority(len(owners)):
                        return merge(answers)
        finally:
            fan.cancel()
        raise UnavailableError(f"{len(answers)} of {len(owners)} owners answered: fewer than a majority")

    def _asked(self, owner: str, sight: Sight | None) -> Replica | Sight:
        return sight if sight is not None and owner == self._cloud.me else self._cloud.replica(owner)

    async def _prepare(
        self, register: Register, ballot: bytes, slot: bytes | None, depth: int, deadline: float
    ) -> View:
        """The promise of a majority, and what they accepted before it."""
        owners = self._cloud.owners_of(register)
        message = Prepare(register, ballot, slot, depth)

        async def call(owner: str) -> Vote:
            vote = await self._cloud.replica(owner).prepare(message)
            if vote.outcome == Outcome.NO_BUCKET and await self._cloud.introduce(owner, register):
                vote = await self._cloud.replica(owner).prepare(message)
            return vote

        fan = Fan({owner: call(owner) for owner in owners})
        votes: dict[str, Vote] = {}
        try:
            async for owner, vote in fan.outcomes(deadline):
                if not isinstance(vote, Vote):
                    continue
                votes[owner] = vote
                self._clock.saw(vote.state.ballot)
                promised = {name: v.state for name, v in votes.items() if v.outcome == Outcome.DONE}
                if len(promised) >= majority(len(owners)):
                    return merge(promised)
        finally:
            fan.cancel()
        self._refuse(votes, len(owners))
        raise _Again

    async def _attempt(
        self,
        register: Register,
        ballot: bytes,
        rows: Sequence[Row],
        supply: Callable[[str, Row], SlotWrite | None],
        deadline: float,
        *,
        again: bool = False,
    ) -> bool:
        """Ask the owners to accept: True once a majority has, False where that can't be known; _Again if it is dead.

        `again` says that they were asked before: an owner that can't be reached now may have it from then.
        """
        owners = self._cloud.owners_of(register)
        quorum = majority(len(owners))
        calls = {}
        for owner in owners:
            writes = tuple(write for row in rows if (write := supply(owner, row)) is not None)
            if len(writes) == len(rows):
                calls[owner] = self._accept(owner, Accept(register, ballot, writes))
        unsent = len(owners) - len(calls)
        fan = Fan(calls)
        votes: dict[str, Vote | None] = {}
        known: dict[str, Vote] = {}
        verdict = Verdict.OPEN
        missed = unsent > 0
        slots = [row.slot for row in rows]
        # an accept that is on its way must not be cancelled: it may come about, and its outcome is worth knowing
        async for owner, vote in fan.outcomes(deadline):
            if isinstance(vote, Vote):
                votes[owner] = known[owner] = vote
                self._clock.saw(vote.state.ballot)
                missed = missed or vote.outcome != Outcome.DONE
            elif not again and (isinstance(vote, StoreError) or (isinstance(vote, PeerError) and not vote.sent)):
                unsent += 1
                missed = True
            else:
                votes[owner] = None
                missed = True
            verdict = judge(votes, len(fan.waiting), quorum, ballot, slots, unsent)
            if verdict is not Verdict.OPEN:
                break
        fan.leave(self._late, lambda _, vote: self._check_late(register, vote))
        if verdict is Verdict.DONE:
            if missed:
                self._cloud.missed(register)
            return True
        if verdict is Verdict.DEAD or not calls:
            self._refuse(known, len(owners))
            raise _Again
        return False

    async def _attempt_here(
        self,
        own: LocalReplica,
        register: Register,
        ballot: bytes,
        rows: Sequence[Row],
        supply: Callable[[str, Row], SlotWrite | None],
        seen: Seen | None = None,
    ) -> None:
        """As `_insist` where this node is a quorum by itself: its answer is the outcome."""
        writes = tuple(write for row in rows if (write := supply(self._cloud.me, row)) is not None)
        message = Accept(register, ballot, writes)
        vote = await own.accept(message, seen)
        if vote.outcome == Outcome.NO_BUCKET and await self._cloud.introduce(self._cloud.me, register):
            vote = await own.accept(message, seen)
        if vote.outcome != Outcome.DONE:
            self._clock.saw(vote.state.ballot)
            self._refuse({self._cloud.me: vote}, 1)
            raise _Again

    async def _accept(self, owner: str, message: Accept) -> Vote:
        replica = self._cloud.replica(owner)
        vote = await replica.accept(message)
        if vote.outcome == Outcome.NO_BUCKET and await self._cloud.introduce(owner, message.register):
            vote = await replica.accept(message)
        return vote

    def _check_late(self, register: Register, vote: Vote | Failure) -> None:
        """An owner answered when a majority had it already."""
        if not isinstance(vote, Vote) or vote.outcome != Outcome.DONE:
            self._cloud.missed(register)

    @staticmethod
    def _refuse(votes: dict[str, Vote], owners: int) -> None:
        """Raise what the refusals mean, unless trying again above them may help."""
        outcomes = {vote.outcome for vote in votes.values()}
        if outcomes & {Outcome.GONE, Outcome.NO_BUCKET}:
            raise NoSuchBucketError("the bucket does not exist any more")
        if Outcome.CLOSING in outcomes:
            raise UnavailableError("the bucket is being deleted: try again")
        if Outcome.OLD not in outcomes:
            raise UnavailableError(f"too few of the {owners} owners can be reached, or have room: try again")


def _is_there(found: Row | None, row: Row, ballot: bytes) -> bool:
    """The slot holds what was written at `ballot`, be it decided anew since."""
    return found is not None and found.version == row.version and ballot in (found.ballot, found.version)


def _deadline() -> float:
    return asyncio.get_running_loop().time() + OPERATION_SECONDS


async def _back_off(turn: int, deadline: float) -> None:
    """Wait a little, longer at each turn, and never twice the same; UnavailableError when the time is over."""
    loop = asyncio.get_running_loop()
    pause = random.uniform(0, min(_MOST_BACKOFF_SECONDS, _BACKOFF_SECONDS * 2**turn))  # noqa: S311 (no secret)
    if loop.time() + pause > deadline:
        raise UnavailableError("other writes of this key came first for too long: try again")
    await asyncio.sleep(pause)
