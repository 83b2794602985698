"""Who belongs to a cloud, step by step: the pure decision behind every change of nodes, zones, weights and copies.

`next_step` looks at the last map, at what is wanted and at what the nodes say, and answers the next map, or the last
one and why it waits. It remembers nothing, so it may be called at any moment and any number of times, also by an
operator that has just been started. docs/membership.md has the protocol and its reasons.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from moln_spec.cloudmap import DEFAULT_COPIES, BodyPlace, Change, CloudMap, Layout, MapNode, MapPolicy
from moln_spec.nodestatus import damage_words
from moln_spec.placement import candidates
from moln_spec.quantity import short
from moln_spec.room import Volume, gained, lacking

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Self

    from moln_spec.nodestatus import NodeStatus

IF_LOST: Final = "if its disk is gone for good, name it in lostNodes"


@dataclass(frozen=True, slots=True)
class Seat:
    """A place where a node is wanted.

    Attributes:
        name: the node's name, unique in the cloud.
        address: host:port of its peer API.
        pool: the pool that it belongs to.
        zone: its failure zone; empty when unknown.
        weight: its share, relative to the other nodes.
        awaited: it is expected to answer soon, so that others wait to be taken in together with it.
    """

    name: str
    address: str
    pool: str
    zone: str = ""
    weight: float = 1.0
    awaited: bool = True


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the user asks for.

    Attributes:
        seats: where nodes shall be; a node of the map without a seat shall leave.
        policies: the replication policies.
        lost: names of nodes whose disk is gone for good, by the user's word.
        places: where bodies live apart from their records, as soon as there are several nodes.
    """

    seats: tuple[Seat, ...]
    policies: tuple[MapPolicy, ...] = ()
    lost: frozenset[str] = frozenset()
    places: tuple[BodyPlace, ...] = ()

    def places_among(self, members: int) -> tuple[BodyPlace, ...]:
        """The places in a layout of so many members: one alone has records and bodies together."""
        return self.places if members > 1 else ()


@dataclass(frozen=True, slots=True)
class Report:
    """What a node says of itself, as far as membership depends on it.

    `classes` are the bytes that it holds, by storage class; `no_room` the nodes that it could not bring what they come
    to own, because they are too full; `damage` how much is damaged there, and good with no other owner.
    """

    epoch: int
    passed: int | None = None
    strays: int | None = None
    registers: int = 0
    volume: Volume = field(default_factory=Volume)
    classes: Mapping[str, int] = field(default_factory=dict)
    no_room: tuple[str, ...] = ()
    damage: int = 0

    @classmethod
    def of(cls, status: NodeStatus, volume: Volume | None = None) -> Self:
        """A report of what a node says; of a volume that it has to itself, unless another `volume` is named."""
        return cls(
            status.epoch,
            status.passed,
            status.strays,
            status.registers,
            volume or Volume(status.capacity_bytes, status.used_bytes, status.free_bytes),
            {name: usage.bytes for name, usage in status.classes.items()},
            status.no_room,
            status.damage,
        )


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why nodes that shall leave can't: a word for programs, and a sentence that says what to do."""

    reason: Literal["TooFewNodes", "NoRoom", "NodeUnreachable"]
    message: str


@dataclass(frozen=True, slots=True)
class Step:
    """The answer: the map that follows (the last one where nothing can be done now), and what is waited for."""

    map: CloudMap
    waits: tuple[str, ...] = ()
    refusal: Refusal | None = None


def next_step(last: CloudMap, wanted: Wanted, reports: Mapping[str, Report]) -> Step:
    """The map that follows `last`, one epoch higher; `last` itself when nothing changes.

    `reports` are of the nodes that answer, by name; a node without one is unreachable. A first map has no step before
    it: who is named in it as active are its members.
    """
    decision = _Decision(last, wanted, reports)
    decision.take()
    following = last if decision.draft == last else decision.draft.model_copy(update={"epoch": last.epoch + 1})
    return Step(following, tuple(decision.waits), decision.refusal)


def thought_of(last: CloudMap, wanted: Wanted, reports: Mapping[str, Report]) -> Step:
    """The map with the change that `wanted` would lead to, as if who joins ran already; `last` where nothing moves.

    To tell what it would move, never to be obeyed: the steps on the way there are left out, and a node that is not
    there yet is taken to have all the room that it needs.
    """
    return _Decision(last, wanted, reports).leap()


def in_order(node: MapNode | Seat) -> tuple[str, int, str]:
    """The order of nodes in a map: by pool and ordinal."""
    return (node.pool, len(node.name), node.name)


def _members(cloud_map: CloudMap) -> list[MapNode]:
    """The nodes of the layout."""
    return [node for node in cloud_map.nodes if node.state in ("joining", "active")]


def _in_pools(cloud_map: CloudMap, pools: Sequence[str]) -> int:
    """How many members these pools have."""
    return sum(node.pool in pools for node in _members(cloud_map))


def _given_up(before: Layout, names: set[str]) -> Layout:
    """`before`, in which these members are lost."""
    members = (m.model_copy(update={"lost": True}) if m.name in names else m for m in before.members)
    return before.model_copy(update={"members": tuple(members)})


@dataclass
class _Decision:
    """One decision under way; each method that takes a step says whether it did."""

    last: CloudMap
    wanted: Wanted
    reports: Mapping[str, Report]
    waits: list[str] = field(default_factory=list)
    refusal: Refusal | None = None

    def __post_init__(self) -> None:
        self.seats = {seat.name: seat for seat in self.wanted.seats}
        self.draft = self.last.model_copy(update={"nodes": tuple(map(self._addressed, self.last.nodes))})
        calm = self.draft.model_copy(update={"policies": self.wanted.policies})
        if calm.layout == self.draft.layout:
            self.draft = calm

    def take(self) -> None:
        """At most one step of membership; spares come and go beside it."""
        change = self.draft.change
        if self._give_up():
            pass
        elif change is not None:
            _ = self._turn(change) or self._advance(change)
        else:
            _ = self._release() or self._begin()
        self._name_spares()

    def leap(self) -> Step:
        """See `thought_of`."""
        self._name_spares()
        coming = [node for node in self.draft.nodes if node.state in ("spare", "leaving") and node.name in self.seats]
        without_end = Volume(capacity_bytes=0, used_bytes=0, free_bytes=2**63)
        self.reports = {**{node.name: Report(0, volume=without_end) for node in coming}, **self.reports}
        led = self._led(coming)
        if led.layout == self.last.layout:
            return Step(self.last, refusal=self.refusal)
        before = self.last.layout if self.last.change is None else self.last.change.before
        epoch = self.last.epoch + 1
        change = Change(before=before, since=epoch)
        return Step(led.model_copy(update={"change": change, "epoch": epoch}), refusal=self.refusal)

    # The user's word that disks are gone.

    def _give_up(self) -> bool:
        """Take those who are lost out of every quorum, once each time that the user names them."""
        gone = {node.name for node in self.draft.nodes} & (self.wanted.lost - set(self.last.given_up))
        if gone and not self._may_give_up(gone):
            self._set(given_up=tuple(sorted(self.wanted.lost - gone)))
            return False
        self._set(given_up=tuple(sorted(self.wanted.lost)))
        if not gone:
            return False
        layout, change = self.draft.layout, self.draft.change
        before = layout if change is None else change.before
        self._set(nodes=tuple(node for node in self.draft.nodes if node.name not in gone))
        if self.draft.layout != layout or (change is not None and _given_up(before, gone) != before):
            self._set(change=Change(before=_given_up(before, gone), since=self.last.epoch + 1))
        return True

    def _may_give_up(self, gone: set[str]) -> bool:
        """Whether somebody is left to refill from, and no change begins behind the back of the one before."""
        members = {node.name for node in _members(self.draft)}
        change = self.draft.change
        holding = members if change is None else {member.name for member in change.before.members if not member.lost}
        if members <= gone or holding <= gone:
            self.waits.append(
                f"{', '.join(sorted(gone))} can't be given up: no node would be left that has the objects; to begin "
                "again without them, delete the cloud and its volumes"
            )
            return False
        orphan = self._orphaned(self.draft.layout if change is None else change.before, gone)
        if orphan is not None:
            keeper, pools = orphan
            self.waits.append(
                f"{', '.join(sorted(gone))} can't be given up: no node of {', '.join(pools)} would be left that "
                f"has what {keeper} keeps there"
            )
            return False
        return change is not None or not members & gone or self._settled(gone)

    @staticmethod
    def _orphaned(holding: Layout, gone: set[str]) -> tuple[str, tuple[str, ...]] | None:
        """Who keeps something in which pools, all of whose nodes that are left would be lost."""
        kept = [(f"ReplicationPolicy {rule.name}", rule.pools) for rule in holding.replication if rule.pools]
        bodies = [(place.keeper, place.pools) for place in holding.places]
        own = [rule for place in holding.places for rule in place.replication if rule.pools]
        bodies += [(f"ReplicationPolicy {rule.name}", rule.pools) for rule in own]
        for keeper, pools in (*kept, *bodies):
            left = {member.name for member in candidates(holding.members, pools) if not member.lost}
            if left <= gone:
                return keeper, pools
        return None

    # While a change is under way.

    def _turn(self, change: Change) -> bool:
        """Lead the change elsewhere where something else is wanted by now, also back to where it came from."""
        before = {(member.name, member.number) for member in change.before.members if not member.lost}
        back = [
            node
            for node in self.draft.nodes
            if node.state == "leaving" and node.name in self.seats and (node.name, node.number) in before
        ]
        joining = [] if self._starting() else self._clean_spares()
        led = self._led([*back, *joining])
        if led.layout == self.draft.layout:
            return False
        self.draft = led.model_copy(update={"change": Change(before=change.before, since=self.last.epoch + 1)})
        return True

    def _advance(self, change: Change) -> bool:
        """The next stage, once every member of both layouts obeys the last map and is through with this stage."""
        before = {member.name for member in change.before.members if not member.lost}
        needed = sorted(before | {node.name for node in _members(self.draft)})
        silent = [name for name in needed if name not in self.reports]
        behind = [name for name in needed if name in self.reports and not self._obeys(name)]
        passing = [name for name in needed if self._obeys(name) and self.reports[name].passed != change.since]
        self._say_unreachable(silent, "the change of nodes can't go on without it")
        if behind:
            self.waits.append(f"epoch {self.last.epoch} of the map has not reached {', '.join(behind)}")
        if passing:
            doing = "copying" if change.stage == "copying" else "confirming"
            self.waits.append(f"{', '.join(passing)} still {doing}")
            self._say_obstacles(passing)
        if silent or behind or passing:
            return False
        if change.stage == "copying":
            confirming = Change(before=change.before, stage="confirming", since=self.last.epoch + 1)
            self._set(change=confirming)
        else:
            joined = (n.model_copy(update={"state": "active"}) if n.state == "joining" else n for n in self.draft.nodes)
            self._set(change=None, nodes=tuple(joined))
        return True

    def _say_obstacles(self, passing: Sequence[str]) -> None:
        """What keeps these from being through, where waiting does not help."""
        full = sorted({name for node in passing for name in self.reports[node].no_room})
        if full:
            self.waits.append(
                f"there is no room on {', '.join(full)} for what comes there: raise the volume.size of these nodes, "
                "delete objects, or take the change back"
            )
        damage = damage_words({name: report.damage for name, report in sorted(self.reports.items())})
        if damage:
            self.waits.append(damage)

    # While there is none.

    def _release(self) -> bool:
        """Let one leaving node go that is empty by its own word: of each pool the last first, as pods go."""
        ordered = sorted(self.draft.nodes, key=in_order)
        last_of_pool = {node.pool: node.name for node in ordered}
        for node in reversed(ordered):
            # One that is wanted again comes back as anybody does who comes: as a spare, under a new number.
            goes = node.name in self.seats or last_of_pool[node.pool] == node.name
            if node.state == "leaving" and goes and self._has_no_strays(node.name):
                self._set(nodes=tuple(other for other in self.draft.nodes if other != node))
                return True
        return False

    def _begin(self) -> bool:
        """Begin a change where one is wanted, who joins is there, and nothing is left of the change before."""
        starting = self._starting()
        led = self._led([] if starting else self._clean_spares())
        before = self.draft.layout
        if led.layout == before:
            if any(node.state == "leaving" for node in self.draft.nodes):
                self._settled(set())
            return False
        if len({(node.name, node.number) for node in (*_members(self.draft), *_members(led))}) == 1:
            self.draft = led  # of one node there is nothing to move
            return True
        if starting or not self._settled(set()):
            return False
        self.draft = led.model_copy(update={"change": Change(before=before, since=self.last.epoch + 1)})
        return True

    def _settled(self, gone: set[str]) -> bool:
        """Whether nobody, but for those who are `gone`, may hold what others own; if not, `waits` says who."""
        held = [node.name for node in self.draft.nodes if node.state != "spare" and node.name not in gone]
        silent = [name for name in held if name not in self.reports]
        holding = [name for name in held if name in self.reports and not self._has_no_strays(name)]
        self._say_unreachable(silent, "it may hold what others own, so no change of nodes can begin")
        for name in holding:
            strays = self.reports[name].strays if self._obeys(name) else None
            if strays is None:
                self.waits.append(f"{name} has yet to say whether it holds keys that others own")
            else:
                self.waits.append(f"{name} holds {strays} keys that others own, until these are seen to have them")
        return not silent and not holding

    # What both need.

    def _led(self, coming: Sequence[MapNode]) -> CloudMap:
        """The draft with the layout that is wanted, as far as it may be had, with those who are `coming`."""
        members = _members(self.draft)
        out = [node for node in members if node.name not in self.seats]
        staying = [node for node in members if node.name in self.seats]
        led = self._placed({node.name for node in out}, {node.name for node in (*staying, *coming)})
        if out:
            self.refusal = self._refuses(out, led)
        return led if self.refusal is None else self._placed(set(), {node.name for node in (*staying, *coming)})

    def _placed(self, leaving: set[str], placed: set[str]) -> CloudMap:
        """The draft in which some leave and others stay or come, each as it is wanted."""
        nodes = []
        for node in self.draft.nodes:
            if node.name in leaving:
                nodes.append(node.model_copy(update={"state": "leaving"}))
            elif node.name in placed:
                seat = self.seats[node.name]
                state = {"spare": "joining", "leaving": "active"}.get(node.state, node.state)
                nodes.append(node.model_copy(update={"zone": seat.zone, "weight": seat.weight, "state": state}))
            else:
                nodes.append(node)
        drawn = self.draft.model_copy(update={"nodes": tuple(nodes), "policies": self.wanted.policies})
        return drawn.model_copy(update={"places": self.wanted.places_among(len(_members(drawn)))})

    def _refuses(self, out: Sequence[MapNode], led: CloudMap) -> Refusal | None:
        """Why `out` can't leave, so that the layout of `led` is; None where they can."""
        staying = _members(led)
        names = ", ".join(node.name for node in out)
        policies = self.wanted.policies
        everything = [p for p in policies if not (p.buckets or p.prefixes or p.storage_classes)]
        least = 1 if everything else DEFAULT_COPIES
        most = max([*(policy.copies for policy in policies), least])
        kept = [(f"ReplicationPolicy {policy.name}", policy.pools, policy.copies) for policy in policies]
        for keeper, pools, copies in (*kept, *((place.keeper, place.pools, most) for place in led.places)):
            fewest = min(copies, _in_pools(self.draft, pools))
            left = _in_pools(led, pools)
            if left < fewest:
                return Refusal(
                    "TooFewNodes",
                    f"{names} can't leave: there are {fewest} copies of what {keeper} keeps in {', '.join(pools)}, and "
                    f"{left} nodes of it would stay; keep more nodes, or first ask for fewer copies there (a "
                    "ReplicationPolicy) or for other pools",
                )
        copies = max([*(policy.copies for policy in policies if not policy.pools), least])
        fewest = min(copies, len(_members(self.draft)))
        if len(staying) < fewest:
            return Refusal(
                "TooFewNodes",
                f"{names} can't leave: there are {fewest} copies of an object, and {len(staying)} nodes would stay; "
                "keep more nodes, or first apply a ReplicationPolicy with fewer copies",
            )
        silent = [node.name for node in (*out, *staying) if node.name not in self.reports]
        if silent:
            return Refusal("NodeUnreachable", f"{names} can't leave while {', '.join(silent)} can't be reached")
        need = sum(self.reports[node.name].volume.used_bytes for node in out)
        leaving = Counter[str]()
        for node in out:
            leaving.update(self.reports[node.name].classes)
        shares = gained(self.draft.layout, led.layout, self.last.partitions, leaving)
        volumes = {name: report.volume for name, report in self.reports.items()}
        lacks = lacking(need, shares, volumes, self.last.limits.reserve_percent)
        if lacks:
            words = ", ".join(f"{name} lacks {short(size)}" for name, size in lacks.items())
            return Refusal(
                "NoRoom",
                f"{names} can't leave, because there is no room for what they hold: {words}; raise the volume.size of "
                "those that stay, or delete objects",
            )
        return None

    def _starting(self) -> bool:
        """Whether somebody who is wanted is still expected to answer: who joins, joins together."""
        known = {node.name: node for node in self.draft.nodes}
        names = [
            seat.name
            for seat in self.wanted.seats
            if seat.awaited
            and (seat.name not in known or (known[seat.name].state == "spare" and not self._obeys(seat.name)))
        ]
        if names:
            self.waits.append(f"starting: {', '.join(names)}")
        return bool(names)

    def _clean_spares(self) -> list[MapNode]:
        """Spares that are wanted, obey the last map and hold nothing of an earlier life."""
        found = []
        for node in self.draft.nodes:
            if node.state != "spare" or node.name not in self.seats or not self._obeys(node.name):
                continue
            report = self.reports[node.name]
            if report.registers == 0 or (report.strays == 0 and self.draft.change is None):
                found.append(node)
            else:
                self.waits.append(f"{node.name} clears what its disk holds of an earlier life, before it is taken in")
        return found

    def _name_spares(self) -> None:
        """Name who is wanted and not in the map yet, under a new number; let spares go that are not wanted."""
        nodes = [node for node in self.draft.nodes if node.state != "spare" or node.name in self.seats]
        number = max([self.draft.next_number, *(node.number + 1 for node in self.last.nodes)])
        missing = self.seats.keys() - {node.name for node in nodes}
        for seat in sorted((self.seats[name] for name in missing), key=in_order):
            nodes.append(
                MapNode(
                    name=seat.name,
                    number=number,
                    address=seat.address,
                    pool=seat.pool,
                    zone=seat.zone,
                    weight=seat.weight,
                    state="spare",
                )
            )
            number += 1
        self._set(nodes=tuple(sorted(nodes, key=in_order)), next_number=number)

    def _addressed(self, node: MapNode) -> MapNode:
        """A node where it is reached now. A spare's zone and weight decide nothing yet, so they follow too."""
        seat = self.seats.get(node.name)
        if seat is None:
            return node
        moved = node.model_copy(update={"address": seat.address})
        return moved.model_copy(update={"zone": seat.zone, "weight": seat.weight}) if node.state == "spare" else moved

    def _say_unreachable(self, names: Iterable[str], why: str) -> None:
        for name in names:
            self.waits.append(f"{name} can't be reached, and {why}; {IF_LOST}")
            if self.refusal is None and any(node.state == "leaving" for node in self.draft.nodes):
                self.refusal = Refusal("NodeUnreachable", self.waits[-1])

    def _obeys(self, name: str) -> bool:
        """Whether a node answers, and everything that it does is by the last map."""
        return name in self.reports and self.reports[name].epoch >= self.last.epoch

    def _has_no_strays(self, name: str) -> bool:
        return self._obeys(name) and self.reports[name].strays == 0

    def _set(self, **update: object) -> None:
        self.draft = self.draft.model_copy(update=update)
