"""What a change of layout moves: told a page at a time, and nothing is done.

The change is the one under way, or one that somebody only thinks of: a map that names it, and that nobody obeys. Of
the owners of a register the first one that holds any of it tells, so that the pages of all nodes together have each
register once. `moln rebalance --dry-run` walks them.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from moln_node.cluster import comparing
from moln_node.cluster.errors import PeerError
from moln_node.cluster.messages import Scan
from moln_node.cluster.owners import Owners
from moln_node.cluster.quorum import lacks, merge
from moln_node.cluster.stretches import Stretches
from moln_node.store.registers import IN_BUCKETS, KeyState, Register, Space
from moln_node.store.scan import AFTER_ALL, Query
from moln_node.store.steps.replica import needs_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from moln_node.cluster.electorate import Electorate
    from moln_node.cluster.members import Members, Obeyed
    from moln_node.store.registers import Row
    from moln_spec.cloudmap import CloudMap

_PAGE: Final = 256


@dataclass(frozen=True, slots=True)
class Place:
    """Where a walk is: behind this key of a space of a bucket. Buckets' own registers come first."""

    bucket: str = ""
    space: Space = Space.BUCKETS
    key: str = ""


@dataclass(frozen=True, slots=True)
class Share:
    """Rows of a register that go from one node to another, and the bytes of their bodies."""

    source: str
    target: str
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Moved:
    """What a change does to a register.

    Attributes:
        shares: what goes where.
        leaves: the nodes that it leaves once the new owners have it.
        rows: how many rows it has, tombstones too.
        bytes: of all its bodies.
    """

    register: Register
    shares: tuple[Share, ...]
    leaves: tuple[str, ...]
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Page:
    """What this node tells of a page of what it holds.

    Attributes:
        moved: registers that move.
        seen: registers that were looked at.
        unanswered: of them those of which an owner of today does not answer: what it holds is not in here.
        next: where the next page begins; None: there is nothing more.
    """

    moved: tuple[Moved, ...]
    seen: int
    unanswered: int
    next: Place | None


async def page(members: Members, start: Place, thought_of: CloudMap | None = None) -> Page:
    """A page from `start` on, of the change that `thought_of` names, or of the one under way.

    A node that only `thought_of` names holds nothing yet.
    """
    now = members.now
    owners = now.owners if thought_of is None else Owners(thought_of)
    registers, following = await _registers(members, start)
    moving = {one: owners.of(one) for one in registers if owners.moves(one)}
    held, silent = await _held(now, moving)
    moved = []
    for register, electorate in moving.items():
        found = held[register]
        first = next((name for name in electorate.owners if found.get(name)), "")
        if first == now.me:
            try:
                moved.append(await _moved(now, register, electorate, found))
            except PeerError:
                silent.add(register)
    return Page(tuple(moved), len(registers), len(silent), following)


async def _registers(members: Members, start: Place) -> tuple[list[Register], Place | None]:
    """Some of what this node holds, in the order of walks, and where more of it begins."""
    scopes = [("", Space.BUCKETS, b"")]
    for name, row in sorted(members.own.store.buckets.items()):
        scopes += [(name, space, row.incarnation) for space in IN_BUCKETS]
    left = [scope for scope in scopes if scope[:2] >= (start.bucket, start.space)]
    if not left:
        return [], None
    bucket, space, incarnation = left[0]
    after = start.key.encode() + b"\0" if (bucket, space) == (start.bucket, start.space) and start.key else b""
    query = Query((after, b""), AFTER_ALL, _PAGE, versions=True, graves=True, tolerant=True)
    found = await members.own.page(Scan(space, query, bucket, incarnation))
    keys = [key.decode() for key in found.keys]
    registers = [Register(space, key, bucket, incarnation) for key in keys]
    if found.end is not None:
        return registers, Place(bucket, space, keys[-1])
    return registers, Place(left[1][0], left[1][1]) if len(left) > 1 else None


async def _held(
    now: Obeyed, moving: Mapping[Register, Electorate]
) -> tuple[dict[Register, dict[str, int]], set[Register]]:
    """Of each register the fingerprint that each owner has, and the registers of which one does not answer."""
    there = set(now.owners.everyone)
    asked: defaultdict[str, list[Register]] = defaultdict(list)
    for register, electorate in moving.items():
        for name in electorate.owners:
            if name in there:
                asked[name].append(register)
    held: dict[Register, dict[str, int]] = {register: {} for register in moving}
    silent: set[Register] = set()
    for name, registers in asked.items():
        try:
            for register, fingerprint in (await comparing.fingerprints(now, name, registers)).items():
                held[register][name] = fingerprint
        except PeerError:
            silent.update(registers)
    return held, silent


async def _moved(now: Obeyed, register: Register, electorate: Electorate, held: Mapping[str, int]) -> Moved:
    """What the new owners lack, each row from the node that repair takes it from, and whom it leaves.

    `held` are fingerprints. Who holds what this node does, or nothing, is not asked what that is. PeerError.
    """
    new = electorate.writing[-1].members
    alike = [name for name, has in held.items() if has == held[now.me]]
    others = [name for name, has in held.items() if has not in (0, held[now.me])]
    going: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    sizes: list[int] = []
    along = Stretches(now, register, (now.me, *others))
    while not along.over:
        states = await along.read()
        if now.me not in states:
            raise PeerError("this node can't tell what it holds", sent=False)
        states |= dict.fromkeys(alike, states[now.me])
        view = merge(states)
        rows = view.rows.values()
        sizes += map(_bytes, rows)
        for target in [name for name in electorate.owners if name in new]:
            for row in lacks(states.get(target, KeyState()), rows):
                going[min(view.holders[row.slot]), target].append(_bytes(row))
        along.go_on()
    shares = tuple(Share(*ends, len(of), sum(of)) for ends, of in going.items())
    leaves = tuple(sorted(name for name, has in held.items() if has and name not in new))
    return Moved(register, shares, leaves, len(sizes), sum(sizes))


def _bytes(row: Row) -> int:
    return row.document.size if needs_bytes(row) else 0
