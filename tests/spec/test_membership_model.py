"""Any sequence of edits, crashes, losses and steps: no acknowledged write may ever be out of a reader's sight.

A model cloud whose nodes keep the protocol of docs/membership.md, with a few keys, and the operator's real decision.
Some keys stand for bodies that live apart from their records: who owns these is decided by their place.
Nodes obey maps late, answer late, stop and come back; users change their mind in the middle of everything.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from moln_spec.cloudmap import BodyPlace, CloudMap, Layout, MapNode, MapPolicy, Member
from moln_spec.membership import Report, Seat, Wanted, next_step
from moln_spec.room import Volume

if TYPE_CHECKING:
    from collections.abc import Iterator

RECORDS = tuple(range(8))
BODIES = tuple(range(8, 14))
KEYS = (*RECORDS, *BODIES)
NAMES = tuple(f"n-{ordinal}" for ordinal in range(5))
POOLS = {name: "slow" if name in ("n-3", "n-4") else "fast" for name in NAMES}
ROWS_A_ROUND = 5
MANY_EPOCHS = 2000
WAYS_TO_BE_LATE = ("nobody", "nobody", "obey", "pass", "shed", "look")
some_names = st.sets(st.sampled_from(NAMES))
most_names = st.one_of(st.just(set(NAMES)), some_names)


@dataclass
class Node:
    """A node: its disk (number and rows), and what it knows as a process.

    `gone` is the number of a disk that it lost: under that number it counts no more.
    """

    name: str
    map: CloudMap
    number: int | None = None
    gone: int | None = None
    rows: dict[int, int] = field(default_factory=dict)
    passed: int | None = None
    up: bool = True

    @property
    def entry(self) -> MapNode | None:
        """How the map that it obeys names it."""
        return next((node for node in self.map.nodes if node.name == self.name), None)

    def counts(self, member: Member) -> bool:
        """Whether it votes as this member."""
        return self.up and self.number == member.number

    def stray_keys(self) -> list[int]:
        """Keys of which it holds something, and which others own."""
        here, layout = (self.name, self.number), self.map.layout
        return [key for key in self.rows if here not in {(m.name, m.number) for m in owners(layout, key)}]

    def report(self) -> Report:
        """What it says of itself."""
        change = self.map.change
        passed = self.passed if change is not None and self.passed == change.since else None
        volume = Volume(capacity_bytes=1000, used_bytes=10, free_bytes=990)
        strays = len(self.stray_keys()) if change is None else None
        return Report(self.map.epoch, passed, strays, len(self.rows), volume)


def owners(layout: Layout, key: int) -> list[Member]:
    """Who owns a key, by rendezvous; a body in its place, as long as that has members."""
    copies = layout.replication[0].copies if layout.replication else 3
    pools = layout.places[0].pools if layout.places and key in BODIES else ()
    there = [member for member in layout.members if member.pool in pools] or layout.members
    ranked = sorted(there, key=lambda m: blake2b(f"{key}/{m.name}".encode(), digest_size=8).digest())
    return ranked[:copies]


def quorum(members: list[Member]) -> int:
    """How many make a decision: a majority of all, or all that are left."""
    return min(len(members) // 2 + 1, sum(not member.lost for member in members))


def layouts(cloud_map: CloudMap) -> list[Layout]:
    """The layouts whose owners take part in a write."""
    return [cloud_map.layout] if cloud_map.change is None else [cloud_map.change.before, cloud_map.layout]


def read_layouts(cloud_map: CloudMap) -> list[Layout]:
    """The layouts that a read needs a quorum of."""
    change = cloud_map.change
    return [change.before] if change is not None and change.stage == "copying" else layouts(cloud_map)


def members_of(cloud_map: CloudMap) -> Iterator[Member]:
    """Every member of either layout that is not lost."""
    for layout in layouts(cloud_map):
        yield from (member for member in layout.members if not member.lost)


class Clouds(RuleBasedStateMachine):
    """The cloud, its user, and an operator."""

    @initialize(count=st.integers(1, 4), copies=st.integers(0, 2))
    def begin(self, count: int, copies: int) -> None:
        """A first map; every node runs."""
        nodes = tuple(
            MapNode(name=name, number=number, address=name, pool=POOLS[name])
            for number, name in enumerate(NAMES[:count])
        )
        policies = (MapPolicy(name="p", copies=copies),) if copies else ()
        self.map = CloudMap(cloud="c", uid="u", epoch=1, nodes=nodes, next_number=count, policies=policies)
        self.wanted = set(NAMES[:count])
        self.lost: set[str] = set()
        self.copies = copies
        self.pools: set[str] = set()
        self.nodes = {node.name: Node(node.name, self.map, node.number) for node in nodes}
        self.reports: dict[str, Report] = {}
        self.written = 0
        self.acknowledged: dict[int, int] = {}
        self.write(set(KEYS), set(NAMES), NAMES[0])
        self.numbers = {node.number: node.name for node in nodes}

    # The user.

    @rule(wanted=some_names.filter(bool))
    def scale(self, wanted: set[str]) -> None:
        """Any nodes may be wanted, not only the first ones: pools come and go."""
        self.wanted = wanted

    @rule(copies=st.integers(1, 3))
    def replicate(self, copies: int) -> None:
        """The number of copies is edited."""
        self.copies = copies

    @rule(pools=st.sets(st.sampled_from(("slow", "fast"))))
    def bind(self, pools: set[str]) -> None:
        """A class is bound to pools, or to none any more."""
        self.pools = pools

    @rule(name=st.sampled_from(NAMES), wiped=st.booleans())
    def lose(self, name: str, wiped: bool) -> None:
        """The user gives a disk up, whether or not it is gone in truth.

        One at a time, and none that has the only copy: else acknowledged writes would be gone in truth.
        """
        entry = next((node for node in self.map.nodes if node.name == name), None)
        flagged = any(member.lost for layout in layouts(self.map) for member in layout.members)
        thin = any(len(owners(layout, key)) < 2 for layout in layouts(self.map) for key in KEYS)
        if entry is None or flagged or thin or self.lost or name in self.map.given_up:
            return
        if wiped:
            self.nodes[name] = Node(name, self.map, gone=self.nodes[name].number)
        self.lost.add(name)

    @rule()
    def forget(self) -> None:
        """The user takes names that were given up from the list, so that they may be lost again."""
        self.lost -= set(self.map.given_up)

    # What happens to machines.

    @rule(name=st.sampled_from(NAMES))
    def stop(self, name: str) -> None:
        """A node is away."""
        if name in self.nodes:
            self.nodes[name].up = False

    @rule()
    def start(self) -> None:
        """Every node comes back; a process has to pass again."""
        for name in {node.name for node in self.map.nodes}:
            node = self.nodes[name]
            node.passed = node.passed if node.up else None
            node.up = True

    # The nodes.

    @rule(late=st.lists(st.sampled_from(WAYS_TO_BE_LATE), min_size=1, max_size=6), laggards=some_names.filter(bool))
    def go_on(self, late: list[str], laggards: set[str]) -> None:
        """Round after round the nodes come further, some of them late in one way, and the operator takes a step."""
        for way in late:
            self._round(way, laggards)

    def _round(self, late: str, laggards: set[str]) -> None:
        everyone = set(NAMES)
        punctual = everyone - laggards
        self.obey(punctual if late == "obey" else everyone)
        self.passing(punctual if late == "pass" else everyone)
        self.shed(punctual if late == "shed" else everyone)
        self.look(punctual if late == "look" else everyone)
        self.operate()

    def obey(self, names: set[str]) -> None:
        """Some hear of the newest map."""
        for node in self.nodes.values():
            if node.name in names and node.up:
                node.map = self.map
                entry = node.entry
                is_member = entry is not None and entry.state in ("joining", "active") and node.gone != entry.number
                if entry is not None and is_member and node.number != entry.number:
                    assert not node.rows, "a member is taken in with rows of an earlier life"
                    node.number = entry.number

    def passing(self, names: set[str]) -> None:
        """Some compare what they hold with all owners."""
        for name in sorted(names & self.nodes.keys()):
            self._pass(self.nodes[name])

    def _pass(self, node: Node) -> None:
        change = node.map.change
        if change is None or not node.up:
            return
        everyone = list(members_of(node.map))
        if not all(m.name in self.nodes and self.nodes[m.name].counts(m) for m in everyone):
            return
        if not all(self.nodes[member.name].map.epoch == node.map.epoch for member in everyone):
            return
        for key, row in node.rows.items():
            for layout in layouts(node.map):
                for member in owners(layout, key):
                    if not member.lost:
                        rows = self.nodes[member.name].rows
                        rows[key] = max(rows.get(key, 0), row)
        node.passed = change.since

    def shed(self, names: set[str]) -> None:
        """Some bring what they do not own to the owners, and remove it where a quorum of these holds it."""
        for name in sorted(names & self.nodes.keys()):
            self._shed(self.nodes[name])

    def _shed(self, node: Node) -> None:
        if node.map.change is not None or not node.up:
            return
        for key in node.stray_keys()[:ROWS_A_ROUND]:
            own = owners(node.map.layout, key)
            if node.entry is not None and node.number == node.entry.number:  # a disk of an earlier life brings nothing
                for member in own:
                    if self._has(member, node.map.epoch, key, 0):
                        rows = self.nodes[member.name].rows
                        rows[key] = max(rows.get(key, 0), node.rows[key])
            having = [member for member in own if self._has(member, node.map.epoch, key, node.rows[key])]
            if len(having) >= quorum(own):
                del node.rows[key]

    def _has(self, member: Member, epoch: int, key: int, row: int) -> bool:
        node = self.nodes.get(member.name)
        return node is not None and node.counts(member) and node.map.epoch == epoch and node.rows.get(key, 0) >= row

    @rule(keys=st.sets(st.sampled_from(KEYS)), names=most_names, coordinator=st.sampled_from(NAMES))
    def write(self, keys: set[int], names: set[str], coordinator: str) -> None:
        """Writes that reach some owners; acknowledged by a quorum of each list."""
        if coordinator in self.nodes:
            for key in sorted(keys):
                self._write(key, names, self.nodes[coordinator].map)

    def _write(self, key: int, names: set[str], cloud_map: CloudMap) -> None:
        self.written += 1
        done = []
        for layout in layouts(cloud_map):
            own = owners(layout, key)
            having = [m for m in own if m.name in names and not m.lost and self._has(m, cloud_map.epoch, key, 0)]
            for member in having:
                self.nodes[member.name].rows[key] = self.written
            done.append(len(having) >= quorum(own) > 0)
        if all(done):
            self.acknowledged[key] = self.written

    # The operator.

    def look(self, names: set[str]) -> None:
        """Some statuses are read again; the others are what was known before."""
        for name in names:
            self.reports.pop(name, None)
            if name in self.nodes and self.nodes[name].up:
                self.reports[name] = self.nodes[name].report()

    def operate(self) -> None:
        """The operator takes a step by what it knows."""
        policies = (MapPolicy(name="p", copies=self.copies),) if self.copies else ()
        places = (BodyPlace(name="P", pools=tuple(sorted(self.pools))),) if self.pools else ()
        seats = tuple(Seat(name, name, POOLS[name], awaited=False) for name in sorted(self.wanted))
        last = self.map
        self.map = next_step(last, Wanted(seats, policies, frozenset(self.lost), places), self.reports).map
        for node in self.map.nodes:
            if node.number in self.numbers:
                assert self.numbers[node.number] == node.name
            elif node.name not in self.nodes:
                self.nodes[node.name] = Node(node.name, self.map)
            self.numbers[node.number] = node.name
        self._judge(last, self.map)
        for name in self.nodes.keys() - {node.name for node in self.map.nodes}:
            self.nodes[name].up = False  # its pod goes; its disk is kept
            self.reports.pop(name, None)

    def _judge(self, last: CloudMap, following: CloudMap) -> None:
        """What holds between any map and the next."""
        assert following.epoch == last.epoch + (following is not last)
        old, new = last.change, following.change
        if old is None and new is not None:
            given_up = set(following.given_up) - set(last.given_up)
            holding = {node.name for node in last.nodes if node.state != "spare"} - given_up
            assert not any(self.nodes[name].stray_keys() for name in holding), "a change begins while there are strays"
            assert [(m.name, m.number) for m in new.before.members] == [(m.name, m.number) for m in last.layout.members]
            assert new.before.places == last.layout.places
        if old is not None and new is not None:
            assert new.before.replication == old.before.replication
            assert new.before.places == old.before.places
            assert [m.number for m in new.before.members] == [m.number for m in old.before.members]
            if new.stage == "confirming":
                assert following.layout == last.layout
        if old is not None and (new is None or (new.stage, old.stage) == ("confirming", "copying")):
            assert following.layout == last.layout
            assert all(self.reports[m.name].passed == old.since for m in members_of(last))
        if old is not None and new is None:
            assert old.stage == "confirming"
        if old is None and new is None and last.layout != following.layout:
            assert len(last.layout.members) == len(following.layout.members) == 1
        for gone in {node.name: node for node in last.nodes}.keys() - {node.name for node in following.nodes}:
            node = next(node for node in last.nodes if node.name == gone)
            if node.state != "spare" and gone not in self.lost:
                assert node.state == "leaving"
                assert not self.nodes[gone].rows, "a node goes with something on it"

    # What must hold.

    @invariant()
    def acknowledged_writes_are_seen(self) -> None:
        """By every map that is in force, whatever quorums answer a read."""
        if not hasattr(self, "map"):
            return
        for key, row in self.acknowledged.items():
            seen = False
            for layout in read_layouts(self.map):
                able = [member for member in owners(layout, key) if not member.lost and self._may_count(member)]
                blind = [member for member in able if not self._keeps(member, key, row)]
                seen = seen or len(blind) < quorum(owners(layout, key))
            assert seen, f"key {key} lost {row} at epoch {self.map.epoch}"

    def _may_count(self, member: Member) -> bool:
        return self.nodes[member.name].gone != member.number

    def _keeps(self, member: Member, key: int, row: int) -> bool:
        node = self.nodes[member.name]
        return node.number == member.number and node.rows.get(key, 0) >= row

    def teardown(self) -> None:
        """When everybody answers, the wish comes true, or is refused for want of nodes."""
        if not hasattr(self, "map"):
            return
        idle = 0
        while idle <= len(KEYS) // ROWS_A_ROUND + 1:
            self.start()
            epoch = self.map.epoch
            self._round("nobody", set())
            self.acknowledged_writes_are_seen()
            idle = idle + 1 if self.map.epoch == epoch else 0
            assert epoch < MANY_EPOCHS, "it never ends"
        if self.lost - set(self.map.given_up):
            return  # nobody would be left
        stuck = {node.name for node in self.nodes.values() if node.entry and node.entry.state == "spare" and node.rows}
        members = {member.name for member in self.map.layout.members}
        assert self.map.change is None
        assert self.wanted - stuck <= members
        assert [set(place.pools) for place in self.map.places] == [self.pools] * bool(self.pools and len(members) > 1)
        if not members <= self.wanted:
            kept = [members, {name for name in members if POOLS[name] in self.pools}]
            few = [len(names & self.wanted) < min(self.copies or 3, len(names)) for names in kept]
            assert any(few), "nobody refuses, and it stays"


TestClouds = Clouds.TestCase
TestClouds.settings = settings(
    max_examples=150,
    stateful_step_count=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
