"""What several owners' answers amount to. Pure: the decisions that reads and writes of a register stand on.

Rows of one slot are compared by ballot: the newest is what its owners decided last. Between slots the newest version is
the newest write. docs/guarantees.md says why each rule is needed.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from moln_node.store.registers import NEVER, KeyState, Row
from moln_node.store.steps.replica import FORGOTTEN, Outcome

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from moln_node.cluster.electorate import Electorate
    from moln_node.store.steps.replica import Vote


@dataclass(frozen=True, slots=True)
class View:
    """Several owners' answers about a register, merged.

    Attributes:
        rows: by slot, the one with the newest ballot.
        holders: by slot, who has that very row at that ballot.
        newest: the live row of the newest version, None if nothing is there.
        shallow: some answer was cut off above `newest`: ask deeper.
        ballot: the newest ballot that any of them promised or accepted.
    """

    rows: Mapping[bytes, Row]
    holders: Mapping[bytes, frozenset[str]]
    newest: Row | None
    shallow: bool
    ballot: bytes

    def unsettled(self, electorate: Electorate, slot: bytes | None) -> tuple[Row, ...]:
        """The rows that an answer rests on and that too few owners hold.

        An answer about the newest version also rests on every tombstone above it: were one of them forgotten, the next
        reader would see an older state than this one.
        """
        return tuple(
            row
            for place, row in self.rows.items()
            if not electorate.settled(self.holders[place])
            and (place == slot if slot is not None else self.newest is None or row.version >= self.newest.version)
        )


def merge(answers: Mapping[str, KeyState]) -> View:
    """Lay the answers of several owners over each other."""
    rows: dict[bytes, Row] = {}
    holders: dict[bytes, set[str]] = {}
    for owner, state in answers.items():
        for row in state.rows:
            best = rows.get(row.slot)
            if best is None or (row.ballot, row.version) > (best.ballot, best.version):
                rows[row.slot] = row
                holders[row.slot] = {owner}
            elif (row.ballot, row.version) == (best.ballot, best.version):
                holders[row.slot].add(owner)
    newest = max((row for row in rows.values() if row.live), key=lambda row: row.version, default=None)
    shallow = any(
        not state.complete and (newest is None or not state.rows or state.rows[-1].version > newest.version)
        for state in answers.values()
    )
    ballot = max((state.ballot for state in answers.values()), default=NEVER)
    return View(rows, {slot: frozenset(names) for slot, names in holders.items()}, newest, shallow, ballot)


def lacks(state: KeyState, rows: Collection[Row]) -> list[Row]:
    """Those of the rows that an owner does not have, at these ballots."""
    has = {(row.version, row.ballot) for row in state.rows}
    return [row for row in rows if (row.version, row.ballot) not in has]


def _replaced(state: KeyState, slot: bytes, ballot: bytes) -> bool:
    """The slot holds something newer."""
    return bool(state.rows) and state.rows[0].slot == slot and state.rows[0].ballot > ballot


class Verdict(Enum):
    """How an attempt to write stands."""

    OPEN = "open"  # wait for more answers
    DONE = "done"  # it is decided
    DEAD = "dead"  # nobody has seen it and nobody ever will: try again above
    UNSURE = "unsure"  # an owner has it, or may have it, and it is not decided


def judge(
    votes: Mapping[str, Vote | None],
    waiting: int,
    electorate: Electorate,
    ballot: bytes,
    slots: Sequence[bytes],
) -> Verdict:
    """How an attempt at `ballot` on these slots stands.

    Args:
        votes: of all that may have heard of it, by name; None where it may or may not have done what it was asked.
        waiting: how many owners have not answered yet.
        electorate: of the register.
        ballot: of the attempt.
        slots: that it writes.
    """
    held: defaultdict[bytes, set[str]] = defaultdict(set)
    for name, vote in votes.items():
        if vote is not None:
            held[ballot if vote.outcome == Outcome.DONE else vote.held].add(name)
    for at, names in held.items():
        if at not in (NEVER, FORGOTTEN) and electorate.may_write(names):  # at one ballot, be it replaced already
            return Verdict.DONE
    if len(slots) == 1:
        # one newer row was decided by owners that never had this one: no reader saw it, and none can any more
        barred: defaultdict[bytes, set[str]] = defaultdict(set)
        for name, vote in votes.items():
            if (
                vote is not None
                and vote.outcome == Outcome.OLD
                and not vote.held
                and _replaced(vote.state, slots[0], ballot)
            ):
                barred[vote.state.rows[0].ballot].add(name)
        if any(electorate.shut_out(names) for names in barred.values()):
            return Verdict.DEAD
    if waiting:
        return Verdict.OPEN
    refused = all(vote is not None and vote.outcome != Outcome.DONE and not vote.held for vote in votes.values())
    return Verdict.DEAD if refused else Verdict.UNSURE
