"""Bringing the owners of one register to the same state: what a majority has, the others get.

Called by `hints` and by the sweep. Never resurrects: rows are compared by ballot, tombstones are rows, and what is not
yet decided is decided first, as a read would.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from msgspec import structs

from moln_node.cluster.errors import PeerError, UnavailableError
from moln_node.cluster.graves import WINDOW_SECONDS, elapsed_clock
from moln_node.cluster.messages import Install, Report, ReportAsk, SlotWrite
from moln_node.cluster.quorum import lacks, merge
from moln_node.cluster.registers import Change
from moln_node.cluster.stretches import Stretches
from moln_node.store.errors import NoSuchBucketError, StorageFullError, StoreError
from moln_node.store.registers import NEVER, Register, Space
from moln_node.store.steps.replica import Outcome, needs_bytes

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from moln_node.cluster.electorate import Electorate
    from moln_node.cluster.members import Members, Obeyed
    from moln_node.cluster.quorum import View
    from moln_node.cluster.registers import Registers
    from moln_node.cluster.silence import Silence
    from moln_node.store.registers import KeyState, Row

_MOST_ROWS: Final = 100
_MOST_BYTES: Final = 16 << 20
"""What one message brings at the most, but for a single larger body: small ones are in the receiver's memory."""
_TRIES: Final = 5
_RECENT_SECONDS: Final = 60.0
"""What could not be done is tried again sooner than that; once it can be, it is not told of for longer."""
_MOST_LOST: Final = 1000
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Lack:
    """How many rows of a register an owner lacks, and the bytes of their bodies."""

    rows: int
    bytes: int


class Repair:
    """Compares the owners of a register, and installs what one lacks.

    Attributes:
        bytes: of bodies that owners took over since the start.
        found: copies of this node's own that were found damaged since the start.
        healed: of them replaced by good ones.
    """

    def __init__(self, members: Members, registers: Registers) -> None:
        self._members = members
        self._registers = registers
        self._generations: dict[str, int] = {}
        self._healing: set[tuple[Register, bytes]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._refused: dict[str, float] = {}
        self._lost: dict[str, float] = {}
        self.bytes = self.found = self.healed = 0

    @property
    def no_room(self) -> tuple[str, ...]:
        """The owners that had no room for what they lack, a moment ago."""
        return _recent(self._refused)

    @property
    def damage(self) -> int:
        """How many things are damaged here that no other owner had good a moment ago."""
        return len(_recent(self._lost))

    async def run(self, register: Register, beside: str = "", silence: Silence | None = None) -> bool:
        """Whether every owner has now all that was decided; False where one could not be asked or told.

        `beside` is a node that is no owner, and whose rows the owners get too. With `silence` those that gave no answer
        a moment ago are not asked.
        """
        now = self._members.now
        owners = now.electorate(register).owners
        asked = owners if silence is None else silence.spare(owners)
        along = Stretches(now, register, dict.fromkeys((*asked, beside) if beside else asked))
        everywhere = len(asked) == len(owners)
        try:
            while not along.over:
                brought = await self._bring(now, register, along, owners, asked, beside)
                if brought is not None:
                    everywhere = everywhere and brought
                    along.go_on()
        except NoSuchBucketError:
            return True
        finally:
            if silence is not None:
                silence.heard(asked, set(asked) - along.silent)
        return everywhere

    async def lacking(self, register: Register) -> dict[str, Lack]:
        """What each owner that answers lacks of what the others hold, by name; those that lack nothing are left out.

        Only for the first of the owners that hold any of it, so that of all nodes one tells of a register.
        """
        now = self._members.now
        owners = now.electorate(register).owners
        along = Stretches(now, register, owners)
        before_me = owners[: owners.index(now.me)] if now.me in owners else owners
        found: dict[str, Lack] = {}
        is_mine = False
        while not along.over:
            states = await along.read()
            if any(name in states and states[name].rows for name in before_me):
                return {}
            is_mine = is_mine or (now.me in states and bool(states[now.me].rows))
            rows = merge(states).rows.values()
            for name, state in states.items():
                if lacking := lacks(state, rows):
                    size = sum(row.document.size for row in lacking if needs_bytes(row))
                    so_far = found.get(name, Lack(0, 0))
                    found[name] = Lack(so_far.rows + len(lacking), so_far.bytes + size)
            along.go_on()
        return found if is_mine else {}

    async def _bring(
        self,
        now: Obeyed,
        register: Register,
        along: Stretches,
        voters: Collection[str],
        targets: Collection[str],
        beside: str = "",
    ) -> bool | None:
        """Bring a stretch to all of `targets`: whether they have it, as decided by `voters`; None where time ran out.

        What was brought by then they have: the same stretch is to be looked at again.
        """
        electorate = now.electorate(register)
        await self._hear_generations(now, targets)
        begun, states = elapsed_clock(), await along.read()
        if not electorate.may_write(states.keys() & set(voters)) or (beside and beside not in states):
            return False
        extra = {beside: states[beside]} if beside and beside not in voters else {}
        if await self._settle(electorate, register, merge(_of(states, voters) | extra), extra):
            begun, states = elapsed_clock(), await along.read()
        if elapsed_clock() - begun > WINDOW_SECONDS:
            return False  # what some told may be older than the others' graves
        view = merge(_of(states, voters) | extra)
        answering = [name for name in targets if name in states]
        told = await asyncio.gather(*(self._tell(now, register, name, states[name], view, begun) for name in answering))
        if None in told:
            return None
        return all(told) and len(answering) == len(targets)

    async def _settle(
        self, electorate: Electorate, register: Register, view: View, extra: Mapping[str, KeyState]
    ) -> list[bytes]:
        """Decide what is not decided yet, in these slots."""
        loose = [row.slot for row in view.rows.values() if not electorate.settled(view.holders[row.slot])]
        for slot in loose:
            beside = {name: _only(state, slot) for name, state in extra.items()}
            await self._registers.decide(register, lambda _view, _ballot: Change(), slot=slot, beside=beside or None)
        return loose

    async def refill(self, register: Register, owner: str) -> None:
        """Give one owner, which does not count now, everything that the others hold.

        Raises:
            UnavailableError: the others that answer are too few.
        """
        for _ in range(_TRIES):
            if await self._refill(register, owner):
                return
        raise UnavailableError(f"{register.path!r} can't be taken over from the other owners now")

    async def _refill(self, register: Register, owner: str) -> bool:
        now = self._members.now
        owners = now.electorate(register).owners
        others = tuple(name for name in owners if name != owner)
        along = Stretches(now, register, owners, self._members.own)
        while not along.over:
            brought = await self._bring(now, register, along, others, (owner,))
            if brought is False:
                return False
            if brought:
                along.go_on()
        return True

    async def restore(self, register: Register) -> None:
        """Put what the other owners hold in the place of rows of this node's index that can't be read.

        Raises:
            UnavailableError: the others that answer are too few.
            CorruptError: what they hold is refused here.
        """
        for _ in range(_TRIES):
            if await self._restore(register):
                return
        raise UnavailableError(f"{register.path!r} can't be taken over from the other owners now")

    async def _restore(self, register: Register) -> bool:
        now, own = self._members.now, self._members.own
        electorate = now.electorate(register)
        along = Stretches(now, register, tuple(name for name in electorate.owners if name != now.me))
        begun, generation = elapsed_clock(), own.generation
        writes: list[SlotWrite] = []
        while not along.over:
            states = await along.read()
            view = merge(states)
            if not electorate.may_write(states.keys()) or await self._settle(electorate, register, view, {}):
                return False
            writes += [SlotWrite(row, source=min(view.holders[row.slot])) for row in view.rows.values()]
            along.go_on()
        if elapsed_clock() - begun > WINDOW_SECONDS:
            return False  # what some told may be older than the others' graves
        vote = await own.restore(Install(register, tuple(writes), generation), now.map.epoch)
        return vote.outcome in {Outcome.DONE, Outcome.GONE}

    async def is_held(self, now: Obeyed, register: Register) -> bool:
        """Whether all other owners hold everything that this node has of a register, or newer."""
        others = tuple(name for name in now.electorate(register).owners if name != now.me)
        along = Stretches(now, register, (*others, now.me), self._members.own)
        while others and not along.over:
            states = await along.read()
            if len(states) <= len(others):
                return False
            mine = states.pop(now.me)
            theirs = [{row.slot: row.ballot for row in state.rows} for state in states.values()]
            if not all(row.ballot <= held.get(row.slot, NEVER) for row in mine.rows for held in theirs):
                return False
            along.go_on()
        return along.over

    async def is_gone(self, register: Register) -> bool:
        """Whether the register's bucket was deleted, and with it all that was left in it."""
        if register.space == Space.BUCKETS:
            return False
        row = (await self._registers.look(Register(Space.BUCKETS, register.bucket))).newest
        return row is None or row.version != register.incarnation

    def damaged(self, register: Register, row: Row, why: str) -> None:
        """Bytes of this node's own are bad: get good ones from another owner, in the background."""
        _log.error("%r is damaged here, and is read from another owner: %s", register.path, why)
        if (register, row.version) not in self._healing:
            self._healing.add((register, row.version))
            self.found += 1
            task = asyncio.create_task(self._heal(register, row), name="moln-heal")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _heal(self, register: Register, row: Row) -> None:
        try:
            await self._heal_from_any(register, row)
        finally:
            self._healing.discard((register, row.version))

    async def mend(self, register: Register, row: Row) -> bool:
        """As `damaged`, but now; whether it is whole again."""
        self.found += 1
        return await self._heal_from_any(register, row)

    async def make_whole(self, versions: Sequence[tuple[Register, Row]]) -> list[tuple[Register, Row]]:
        """Read what this node has of these, and mend what is bad; those that could not be mended now."""
        bad = await self._members.own.damaged_among(versions)
        return [one for one in bad if not await self.mend(*one)]

    async def _heal_from_any(self, register: Register, row: Row) -> bool:
        owners = [name for name in self._members.now.electorate(register).owners if name != self._members.me]
        for owner in owners:
            if await self._heal_from(register, row, owner):
                self._lost.pop(register.path, None)
                return True
        _log.error("%r is damaged here, and no other owner that answers has it good", register.path)
        if len(self._lost) < _MOST_LOST:
            self._lost[register.path] = time.monotonic()
        return False

    async def _heal_from(self, register: Register, row: Row, owner: str) -> bool:
        try:
            if await self._members.own.heal(register, row, owner):
                _log.warning("%r is whole again here", register.path)
                self.healed += 1
                return True
        except (PeerError, StoreError) as error:
            _log.info("%r can't be healed from %s: %s", register.path, owner, error)
        return False

    async def _hear_generations(self, now: Obeyed, names: Collection[str]) -> None:
        """Learn of each owner, before it is asked what it has, which tombstones it has dropped by then."""
        unknown = [name for name in names if name not in self._generations]
        asked = [now.replica(name).report(ReportAsk()) for name in unknown]
        for name, report in zip(unknown, await asyncio.gather(*asked, return_exceptions=True), strict=True):
            if isinstance(report, Report):
                self._generations[name] = report.generation
            elif not isinstance(report, PeerError | StoreError):
                raise report

    async def _tell(
        self, now: Obeyed, register: Register, owner: str, state: KeyState, view: View, begun: float
    ) -> bool | None:
        """Install at one owner what is decided and it does not have; None where only some of it was while that counts.

        `begun` is when this began to be seen.
        """
        lacking = lacks(state, view.rows.values())
        electorate = now.electorate(register)
        if not all(electorate.settled(view.holders[row.slot]) for row in lacking):
            return False  # another write is under way: it will be looked at again
        for at, rows in enumerate(_batches(lacking)):
            if at and elapsed_clock() - begun > WINDOW_SECONDS:
                return None
            writes = tuple(SlotWrite(row, source=min(view.holders[row.slot])) for row in rows)
            if not await self._install(now, owner, Install(register, writes, self._generations.get(owner, 0))):
                return False
        return True

    async def _install(self, now: Obeyed, owner: str, message: Install) -> bool:
        """Whether an owner has taken these rows, or has no use for them."""
        register = message.register
        try:
            replica = now.replica(owner)
            vote = await replica.install(message)
            if vote.outcome == Outcome.NO_BUCKET and await self._members.introduce(replica, register):
                vote = await replica.install(message)
        except StorageFullError as error:
            if owner not in self.no_room:
                _log.warning("%s lacks what it owns, and has no room for it: %s", owner, error)
            self._refused[owner] = time.monotonic()
            return False
        except (PeerError, StoreError) as error:
            _log.info("%s does not take %r yet: %s", owner, register.path, error)
            return False
        if vote.outcome == Outcome.OLD:
            self._generations.pop(owner, None)
        if vote.outcome == Outcome.DONE:
            self.bytes += sum(write.row.document.size for write in message.writes if needs_bytes(write.row))
        return vote.outcome in {Outcome.DONE, Outcome.GONE}


def _recent(moments: dict[str, float]) -> tuple[str, ...]:
    """The names of what was a moment ago; the others are forgotten."""
    since = time.monotonic() - _RECENT_SECONDS
    for name in [name for name, moment in moments.items() if moment < since]:
        del moments[name]
    return tuple(sorted(moments))


def _only(state: KeyState, slot: bytes) -> KeyState:
    """What is known of one slot."""
    return structs.replace(state, rows=tuple(row for row in state.rows if row.slot == slot))


def _of(states: Mapping[str, KeyState], names: Collection[str]) -> dict[str, KeyState]:
    """What these nodes have."""
    return {name: state for name, state in states.items() if name in names}


def _batches(rows: Collection[Row]) -> Iterator[list[Row]]:
    """The rows, so many at a time as one message brings."""
    batch: list[Row] = []
    size = 0
    for row in rows:
        more = row.document.size if needs_bytes(row) else 0
        if batch and (len(batch) >= _MOST_ROWS or size + more > _MOST_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(row)
        size += more
    if batch:
        yield batch
