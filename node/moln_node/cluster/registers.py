"""The coordinator of registers: reads, blind writes and conditional writes that hold for the whole cloud.

Everything above (`cloud`, `buckets`, `uploads`) speaks of registers through this one room; it speaks to owners through
`Replica`. The protocol, and why it is right, is in docs/guarantees.md: ABD for reads and blind writes, CASPaxos for
conditional ones, versions as ballots.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from msgspec import structs

from moln_node.cluster.errors import PeerError, StaleEpochError, UnavailableError
from moln_node.cluster.fan import Fan, is_undone
from moln_node.cluster.few import Few, Promptness
from moln_node.cluster.graves import WINDOW_SECONDS, elapsed_clock
from moln_node.cluster.messages import Accept, Ask, Prepare, SlotWrite
from moln_node.cluster.owing import Owing
from moln_node.cluster.quorum import Verdict, View, judge, merge
from moln_node.store.errors import NoSuchBucketError, StoreError
from moln_node.store.registers import KeyState
from moln_node.store.steps.replica import Outcome, Seen, Vote, needs_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from moln_node.cluster.ballots import BallotClock
    from moln_node.cluster.electorate import Electorate
    from moln_node.cluster.fan import Failure
    from moln_node.cluster.members import Obeyed
    from moln_node.cluster.replica import OwnReplica, Replica
    from moln_node.cluster.sight import Sight
    from moln_node.store.registers import Register, Row

OPERATION_SECONDS: Final = 15.0
_DEEPER: Final = 16
_DEEP: Final = 1000
"""Versions that are written within `OPERATION_SECONDS` are among so many."""
_GLANCE_SECONDS: Final = 0.008
_GLANCES: Final = 2
_INSISTENCE: Final = 3
_SOURCE_SECONDS: Final = 10.0
_SOON_SECONDS: Final = 1.0
_BACKOFF_SECONDS: Final = 0.004
_MOST_BACKOFF_SECONDS: Final = 0.25


class Neighbours(Protocol):
    """What the coordinator needs to know of the cloud."""

    @property
    def me(self) -> str:
        """This node's name."""
        ...

    @property
    def now(self) -> Obeyed:
        """The map that is obeyed: one attempt uses the same from its beginning to its end."""
        ...

    def missed(self, register: Register) -> None:
        """Some owner lacks what was decided: see to it later."""
        ...

    async def bring(self, register: Register) -> bool:
        """Some owner lacks what was decided: see to it now; whether every owner has it then."""
        ...

    async def here(self, register: Register, slot: bytes) -> KeyState:
        """What this disk has in a slot, whatever the node counts for."""
        ...

    def settled(self, register: Register, row: Row, *, everywhere: bool) -> None:
        """A majority of the owners has a row that this node owes them, or all have it."""
        ...

    async def introduce(self, owner: Replica, register: Register) -> bool:
        """Tell an owner of the register's bucket; false where there is no such bucket any more."""
        ...


@dataclass(frozen=True, slots=True)
class Change:
    """What a conditional write is to do: rows, and for each owner how their bytes come (None: it is left out)."""

    rows: tuple[Row, ...] = ()
    supply: Callable[[str, Row], SlotWrite | None] = field(default=lambda _, row: SlotWrite(row))


def from_holders(view: View) -> Callable[[str, Row], SlotWrite]:
    """A row's bytes stay where they are; an owner that lacks them brings them from one that has them."""

    def supply(owner: str, row: Row) -> SlotWrite:
        holders = view.holders[row.slot]
        return SlotWrite(row, source="" if owner in holders else min(holders))

    return supply


class _Again(Exception):  # noqa: N818 (a turn of a loop, not an error)
    """Refused without effect: try above what was refused."""


class Registers:
    """Reads and writes of registers, coordinated by this node."""

    def __init__(self, neighbours: Neighbours, clock: BallotClock) -> None:
        self._cloud = neighbours
        self._clock = clock
        self._late: set[asyncio.Task[Vote]] = set()
        self._promptness = Promptness(neighbours.me)

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
            now = self._cloud.now
            try:
                view = await self._ask(now, Ask(register, slot, depth), deadline, sight, everybody=glances > 0)
            except StaleEpochError:
                await _back_off(0, deadline)
                continue
            if view.shallow:
                depth *= _DEEPER
                continue
            if not view.unsettled(now.electorate(register), slot):
                return view
            if glances < _GLANCES:  # most often a write is just under way, and will have its majority in a moment
                glances += 1
                await asyncio.sleep(_GLANCE_SECONDS)
                continue
            await self.decide(register, lambda _view, _ballot: Change(), slot=slot)

    async def glance(self, register: Register, slot: bytes | None = None, sight: Sight | None = None) -> View:
        """What one owner has: this node if it is one, the next where one has nothing or does not answer soon.

        It may be older than what was decided, or not decided yet. `slot` and `sight` are as in `look`.
        """
        deadline = _deadline()
        while True:
            now = self._cloud.now
            message = Ask(register, slot)
            reasons = []
            nothing: View | None = None
            try:
                for name in sorted(now.electorate(register).readers, key=lambda name: name != self._cloud.me):
                    try:
                        async with asyncio.timeout(_SOON_SECONDS):
                            view = merge({name: await self._asked(now, message, sight, name)})
                    except StaleEpochError:
                        raise
                    except (PeerError, StoreError, TimeoutError) as error:
                        reasons.append(f"{name}: {error or 'no answer'}")
                        continue
                    if view.rows:
                        return view
                    nothing = view
            except StaleEpochError:
                await _back_off(0, deadline)
                continue
            if nothing is None:
                raise UnavailableError("none of the owners answers: " + "; ".join(reasons))
            return nothing

    async def write(
        self,
        register: Register,
        row_at: Callable[[bytes], Row],
        supply: Callable[[str, Row], SlotWrite | None] = lambda _, row: SlotWrite(row),
    ) -> Row:
        """Write a row whatever the register holds, in one round; the row at the version that it got.

        Where the policy says so it counts as soon as one owner has it, which then owes it to the others; a record whose
        body is apart waits for a majority.

        Raises:
            UnavailableError: it may or may not have come about.
        """
        deadline, begun = _deadline(), elapsed_clock()
        for turn in range(1_000_000):
            ballot = await self._clock.next()
            row = row_at(ballot)
            now = self._cloud.now
            try:
                early = now.policy(register).write == "one" and not row.document.body
                if early and len(now.electorate(register).owners) > 1:
                    await self._owe(now, register, row, supply, deadline)
                else:
                    await self._insist(register, ballot, (row,), supply, deadline)
            except _Again:
                await _back_off(turn, deadline, begun)
            else:
                return row
        raise AssertionError

    async def deliver(self, register: Register, row: Row) -> None:
        """Let the owners decide a row that this disk owes them, unless its slot holds a newer version.

        A conditional write like any other: it rests on what a majority holds, so nothing that was given up comes back.
        What this disk itself has is seen too: a tombstone that the others have dropped is here as long as this is owed.
        """
        there = (await self.look(register, row.slot)).rows.get(row.slot)
        if there is not None and there.version >= row.version:
            return
        seen_at = elapsed_clock()
        here = await self._cloud.here(register, row.slot)

        def choose(view: View, ballot: bytes) -> Change:
            if elapsed_clock() - seen_at > WINDOW_SECONDS:
                raise UnavailableError("what is owed was looked at too long ago: try again")
            there = view.rows.get(row.slot)
            if there is not None and there.version >= row.version:
                return Change()
            owed = structs.replace(row, ballot=ballot)
            return Change(
                (owed,), lambda _owner, row: SlotWrite(row, source=self._cloud.me if needs_bytes(row) else "")
            )

        await self.decide(register, choose, slot=row.slot, beside={self._cloud.me: here})

    async def decide(
        self,
        register: Register,
        choose: Callable[[View, bytes], Change],
        *,
        slot: bytes | None = None,
        beside: Mapping[str, KeyState] | None = None,
        depth: int = 1,
    ) -> tuple[View, Change]:
        """A conditional write: look, choose what to do about it, and do that, with nothing in between.

        `choose` gets the view and the ballot, and may raise a StoreError to refuse. What it saw is made sure of,
        whether it writes or refuses. Called again where another write came in between. `beside` is what nodes that are
        no owners have: it is seen, and made sure of, too. The view has at least `depth` live rows, or all.
        """
        deadline, begun = _deadline(), elapsed_clock()
        for turn in range(1_000_000):
            ballot = await self._clock.next()
            now = self._cloud.now
            own = now.sole(register)
            try:
                if own is not None and beside is None:
                    return await self._decide_here(own, register, ballot, choose, slot)
                view = await self._prepare(now, Prepare(register, ballot, slot, depth), beside or {}, deadline)
                if view.shallow:
                    depth *= _DEEPER
                    continue
                return view, await self._conclude(now, register, ballot, view, slot, choose, deadline)
            except (_Again, StaleEpochError):
                await _back_off(turn, deadline, begun)
        raise AssertionError

    async def _decide_here(
        self,
        own: OwnReplica,
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
        now: Obeyed,
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
        loose = view.unsettled(now.electorate(register), slot)
        if loose:
            rows = tuple(structs.replace(row, ballot=ballot) for row in loose)
            if await self._attempt(now, register, ballot, rows, from_holders(view), deadline, {}) is None:
                raise _Again
        change = choose(view, ballot)
        if change.rows:
            if loose:
                raise _Again  # this ballot is used
            await self._insist(
                register, ballot, change.rows, change.supply, deadline, promised=now, on_all=slot is None
            )
        return change

    async def _insist(
        self,
        register: Register,
        ballot: bytes,
        rows: Sequence[Row],
        supply: Callable[[str, Row], SlotWrite | None],
        deadline: float,
        *,
        promised: Obeyed | None = None,
        on_all: bool = False,
    ) -> None:
        """Have rows accepted, or find out that they never will be (_Again), or that this can't be known now.

        With `promised` only by that map: owners by another one did not promise to keep what the rows rest on. Where
        that is `on_all` slots a majority has to accept them at this ballot, or `_require_first` sees that all is well.

        Where some owner has them and they are not decided, reading the register decides their fate: then either they
        are there, or the owners that were asked first can say by now that they are dead.

        Where the policy wants all owners to have them, none may be left without when this returns.
        """
        heard: dict[str, None] = {}
        for _ in range(_INSISTENCE):
            now = promised or self._cloud.now
            everywhere = now.policy(register).write == "all"
            own = now.sole(register)
            if own is not None and not heard:
                await self._attempt_here(own, register, ballot, rows, supply)
                return
            held = await self._attempt(now, register, ballot, rows, supply, deadline, heard, patient=everywhere)
            if on_all and held is not None and not now.electorate(register).may_write(held):
                held = None
            if held is None:
                views = {row.slot: await self.look(register, row.slot) for row in rows}
                if not all(_is_there(views[row.slot].rows.get(row.slot), row, ballot) for row in rows):
                    continue
                if on_all:
                    await self._require_first(register, ballot, rows)
            if everywhere and (held is None or not held.issuperset(now.electorate(register).owners)):
                await self._bring(register)
            return
        raise UnavailableError("it is not certain whether the write came about: try again")

    async def _require_first(self, register: Register, ballot: bytes, rows: Sequence[Row]) -> None:
        """See that nothing was decided without these rows that were written because of what all slots held before.

        Each version is a slot of its own. So two writes may both be there of which neither saw the other: one that a
        minority accepted, once somebody decided it anew, and one that was decided meanwhile at a newer ballot than its
        own. Here all slots are seen with the promise of a majority, so that the other one is among them, or will not
        come about at its ballot.

        Raises:
            UnavailableError: there is such a row; it may rest on these, or not.
        """
        slots = {row.slot for row in rows}

        def choose(view: View, _ballot: bytes) -> Change:
            if any(row.ballot > ballot for slot, row in view.rows.items() if slot not in slots):
                raise UnavailableError("another write came at the same time, and it is not certain which was first")
            return Change()

        await self.decide(register, choose, depth=_DEEP)

    async def _owe(
        self,
        now: Obeyed,
        register: Register,
        row: Row,
        supply: Callable[[str, Row], SlotWrite | None],
        deadline: float,
    ) -> None:
        """Have one owner accept a row and owe it to the others: this node if it is one.

        _Again where a newer write was there first. An outcome that is not known is not tried again at another version:
        it may be owed.
        """
        electorate = now.electorate(register)
        names = sorted(electorate.owners, key=lambda name: name != now.me)
        supplied = {name: write for name in names if (write := supply(name, row)) is not None}
        owing = Owing(register, row, supplied, lambda name, message: self._accept(now.replica(name), message))

        def over(held: frozenset[str]) -> None:
            """What is settled need not be asked after."""
            if owing.owing == now.me and electorate.may_write(held):
                self._cloud.settled(register, row, everywhere=held.issuperset(electorate.owners))

        owed = await owing.run(deadline)
        owing.leave(self._late, over)
        for vote in owing.votes.values():
            self._clock.saw(vote.state.ballot)
        if owed:
            return
        if owing.unsure:
            self._cloud.missed(register)
            raise UnavailableError("it is not certain whether the write came about: try again")
        if not owing.stale:
            self._refuse(owing.votes, len(electorate.owners))
        raise _Again

    async def _bring(self, register: Register) -> None:
        """Let every owner have what was decided; UnavailableError where one can't."""
        for turn in range(_INSISTENCE):
            if await self._cloud.bring(register):
                return
            await asyncio.sleep(random.uniform(0, _BACKOFF_SECONDS * 2**turn))  # noqa: S311 (no secret)
        raise UnavailableError("a majority of the owners has the write, and its policy wants all of them: try again")

    async def _ask(
        self, now: Obeyed, message: Ask, deadline: float, sight: Sight | None, *, everybody: bool = False
    ) -> View:
        """The answers of enough owners, merged; StaleEpochError where one of them is ahead.

        No more owners are asked than have to answer, unless they are late, or `everybody` is to be asked.
        """
        own = now.sole(message.register)
        if own is not None:
            return merge({now.me: await own.ask(message, sight)})
        electorate = now.electorate(message.register)
        call = partial(self._asked, now, message, sight)
        fan = (
            Fan({name: call(name) for name in electorate.readers})
            if everybody
            else Few(electorate, call, self._promptness)
        )
        answers: dict[str, KeyState] = {}
        try:
            while not electorate.settled(answers.keys()):  # so at once where all owners are lost for good
                found = await fan.next(deadline)
                if found is None:
                    raise UnavailableError(f"{len(answers)} of {len(electorate.readers)} owners answered: too few")
                owner, answer = found
                if isinstance(answer, StaleEpochError):
                    raise answer
                if isinstance(answer, KeyState):
                    answers[owner] = answer
                    self._clock.saw(answer.ballot)
            return merge(answers)
        finally:
            fan.cancel()

    @staticmethod
    async def _asked(now: Obeyed, message: Ask, sight: Sight | None, name: str) -> KeyState:
        return await (now.own.ask(message, sight) if name == now.me else now.replica(name).ask(message))

    async def _prepare(self, now: Obeyed, message: Prepare, beside: Mapping[str, KeyState], deadline: float) -> View:
        """The promise of enough owners, and what they accepted before it; StaleEpochError where one is ahead."""
        electorate = now.electorate(message.register)
        begun = elapsed_clock()

        async def call(name: str) -> Vote:
            owner = now.replica(name)
            vote = await owner.prepare(message)
            if vote.outcome == Outcome.NO_BUCKET and await self._cloud.introduce(owner, message.register):
                vote = await owner.prepare(message)
            return vote

        fan = Fan({owner: call(owner) for owner in electorate.owners})
        votes: dict[str, Vote] = {}
        try:
            async for owner, vote in fan.outcomes(deadline):
                if isinstance(vote, StaleEpochError):
                    raise vote
                if not isinstance(vote, Vote):
                    continue
                votes[owner] = vote
                self._clock.saw(vote.state.ballot)
                promised = {name: v.state for name, v in votes.items() if v.outcome == Outcome.DONE}
                if electorate.may_write(promised.keys()):
                    if elapsed_clock() - begun > WINDOW_SECONDS:
                        break  # this process slept: what some told may be older than the others' graves
                    return merge({**beside, **promised})
        finally:
            fan.cancel()
        self._refuse(votes, len(electorate.owners))
        raise _Again

    async def _attempt(
        self,
        now: Obeyed,
        register: Register,
        ballot: bytes,
        rows: Sequence[Row],
        supply: Callable[[str, Row], SlotWrite | None],
        deadline: float,
        heard: dict[str, None],
        *,
        patient: bool = False,
    ) -> frozenset[str] | None:
        """Ask the owners to accept: who did once it is decided, None where that can't be known; _Again if it is dead.

        `heard` are those that were asked before, also by an older map, and may have it: who turns out to is added.
        `patient` waits for all of them.
        """
        electorate = now.electorate(register)
        calls, left_out = self._accepts(now, electorate, Accept(register, ballot, ()), rows, supply)
        fan = Fan(calls)
        votes: dict[str, Vote | None] = dict(heard)
        known: dict[str, Vote] = {}
        verdict = Verdict.OPEN
        missed = left_out
        stale = False
        slots = [row.slot for row in rows]
        # an accept that is on its way must not be cancelled: it may come about, and its outcome is worth knowing
        async for owner, vote in fan.outcomes(deadline):
            missed = missed or not isinstance(vote, Vote) or vote.outcome != Outcome.DONE
            stale = stale or isinstance(vote, StaleEpochError)
            if isinstance(vote, Vote):
                votes[owner] = known[owner] = vote
                self._clock.saw(vote.state.ballot)
                if vote.outcome == Outcome.DONE or vote.held:
                    heard[owner] = None
            elif not is_undone(vote):
                votes[owner] = heard[owner] = None
            verdict = judge(votes, len(fan.waiting), electorate, ballot, slots)
            if verdict is not Verdict.OPEN and not (patient and verdict is Verdict.DONE):
                break
        heard.update(dict.fromkeys(fan.names()))
        fan.leave(self._late, lambda _, vote: self._check_late(register, vote))
        if verdict is Verdict.DONE:
            if missed:
                self._cloud.missed(register)
            return frozenset(name for name, vote in known.items() if vote.outcome == Outcome.DONE)
        if verdict is Verdict.DEAD or not (calls or heard):
            if not stale:
                self._refuse(known, len(electorate.owners))
            raise _Again
        return None

    def _accepts(
        self,
        now: Obeyed,
        electorate: Electorate,
        message: Accept,
        rows: Sequence[Row],
        supply: Callable[[str, Row], SlotWrite | None],
    ) -> tuple[dict[str, Coroutine[Any, Any, Vote]], bool]:
        """A call for each owner that the bytes are at hand for, and whether any is left out.

        Where those are too few, the others get the bytes from the first that has them: an owner that is new by a newer
        map has neither taken part in staging, nor has it yet the parts of an upload that is completed.
        """
        done: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        supplied: dict[str, tuple[SlotWrite, ...]] = {}
        for name in electorate.owners:
            writes = tuple(write for row in rows if (write := supply(name, row)) is not None)
            if len(writes) == len(rows):
                supplied[name] = writes
        later = () if electorate.may_write(supplied.keys()) else tuple(set(electorate.owners) - supplied.keys())
        sourced = any(needs_bytes(row) for row in rows)

        async def first(name: str) -> Vote:
            vote = await self._accept(now.replica(name), structs.replace(message, writes=supplied[name]))
            if vote.outcome == Outcome.DONE and not done.done():
                done.set_result(name)
            if vote.outcome == Outcome.MISSING and sourced:
                vote = await second(name)
            return vote

        async def second(name: str) -> Vote:
            async with asyncio.timeout(_SOURCE_SECONDS):
                source = await asyncio.shield(done)
            writes = tuple(
                structs.replace(write, source=source, staged="", inline=None, upload=None, taken=())
                for write in supplied.get(name) or [SlotWrite(row) for row in rows]
            )
            return await self._accept(now.replica(name), structs.replace(message, writes=writes))

        calls = {name: first(name) for name in supplied} | {name: second(name) for name in later}
        return calls, len(calls) < len(electorate.owners)

    async def _attempt_here(
        self,
        own: OwnReplica,
        register: Register,
        ballot: bytes,
        rows: Sequence[Row],
        supply: Callable[[str, Row], SlotWrite | None],
        seen: Seen | None = None,
    ) -> None:
        """As `_insist` where this node is a quorum by itself: its answer is the outcome."""
        writes = tuple(write for row in rows if (write := supply(self._cloud.me, row)) is not None)
        message = Accept(register, ballot, writes)
        try:
            vote = await own.accept(message, seen)
            if vote.outcome == Outcome.NO_BUCKET and await self._cloud.introduce(own, register):
                vote = await own.accept(message, seen)
        except StaleEpochError:
            raise _Again from None
        if vote.outcome != Outcome.DONE:
            self._clock.saw(vote.state.ballot)
            self._refuse({self._cloud.me: vote}, 1)
            raise _Again

    async def _accept(self, owner: Replica, message: Accept) -> Vote:
        vote = await owner.accept(message)
        if vote.outcome == Outcome.NO_BUCKET and await self._cloud.introduce(owner, message.register):
            vote = await owner.accept(message)
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


async def _back_off(turn: int, deadline: float, begun: float | None = None) -> None:
    """Wait a little, longer at each turn, and never twice the same; UnavailableError when the time is over.

    With `begun` also where this machine slept since: what owners would say of the attempt may be forgotten by now.
    """
    loop = asyncio.get_running_loop()
    pause = random.uniform(0, min(_MOST_BACKOFF_SECONDS, _BACKOFF_SECONDS * 2**turn))  # noqa: S311 (no secret)
    slept = begun is not None and elapsed_clock() - begun > WINDOW_SECONDS
    if slept or loop.time() + pause > deadline:
        raise UnavailableError("other writes of this key came first for too long: try again")
    await asyncio.sleep(pause)
