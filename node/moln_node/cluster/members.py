"""The cloud as this node sees it: the map it obeys, an owner's interface for each node, and what owners have missed.

Made by `cluster`; everything in this room that needs another node asks here. `now` is one map's view and never changes:
an attempt that reads or writes uses one from its beginning to its end, and begins anew with the next one where an owner
turns out to obey a newer map.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moln_node.cluster.errors import PeerError
from moln_node.cluster.gate import Gate
from moln_node.cluster.messages import Ask, Install, SlotWrite
from moln_node.cluster.owners import Owners
from moln_node.cluster.peers import RemoteReplica, Session
from moln_node.cluster.replica import LocalReplica, OwnReplica
from moln_node.store.registers import Register, Space
from moln_node.store.steps.replica import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from moln_node.cluster.electorate import Electorate
    from moln_node.cluster.hints import Hints
    from moln_node.cluster.local import LocalStore
    from moln_node.cluster.owed import Owed
    from moln_node.cluster.registers import Registers
    from moln_node.cluster.repair import Repair
    from moln_node.cluster.replica import Replica
    from moln_node.peertls import PeerTls
    from moln_node.store.registers import KeyState, Row
    from moln_spec.cloudmap import CloudMap, MapPolicy


class Obeyed:
    """One map, as this node acts on it.

    Attributes:
        map: the map.
        owners: of every register by that map.
        own: this node as an owner.
        number: this node's member number.
    """

    def __init__(self, cloud_map: CloudMap, own: LocalReplica, session: Session, me: str) -> None:
        self.map = cloud_map
        self.me = me
        self.owners = Owners(cloud_map)
        self.own = OwnReplica(own, cloud_map.epoch)
        self.number = next(node.number for node in cloud_map.nodes if node.name == me)
        self._votes = own
        self._replicas: dict[str, Replica] = {
            node.name: RemoteReplica(session, node.name, node.address, cloud_map)
            for node in cloud_map.nodes
            if node.name != me
        }
        self._replicas[me] = self.own

    @property
    def alone(self) -> bool:
        """There is no other node that ever has to hear of a deletion."""
        return len(self.map.nodes) == 1 and self.map.change is None

    @property
    def participants(self) -> tuple[str, ...]:
        """The members of both layouts that are not lost."""
        layouts = (self.map.layout,) if self.map.change is None else (self.map.layout, self.map.change.before)
        return tuple(sorted({member.name for layout in layouts for member in layout.members if not member.lost}))

    @property
    def beside_spares(self) -> tuple[str, ...]:
        """Every node of the map that may hold what counts: all but those that have yet to be taken in."""
        return tuple(sorted(node.name for node in self.map.nodes if node.state != "spare"))

    def replica(self, name: str) -> Replica:
        """A node as an owner. PeerError if the map does not name it."""
        if name not in self._replicas:
            raise PeerError(f"{name} is not in the cloud any more", sent=False)
        return self._replicas[name]

    def electorate(self, register: Register) -> Electorate:
        """Whose word decides about a register."""
        return self.owners.of(register)

    def policy(self, register: Register) -> MapPolicy:
        """How many owners a write or a read of a register waits for."""
        return self.owners.policy(register)

    def sole(self, register: Register) -> OwnReplica | None:
        """This node as an owner, where its word alone is enough."""
        return self.own if self._votes.voting and self.owners.of(register).sole == self.me else None


class Members:
    """Who is in the cloud.

    Attributes:
        own: this node's store as an owner.
        me: this node's name.
        now: the map that is obeyed, as this node acts on it.
    """

    def __init__(
        self, local: LocalStore, cloud_map: CloudMap, me: str, secret: Callable[[], str], tls: PeerTls | None = None
    ) -> None:
        self.me = me
        self.session = Session(secret, tls)
        self.own = LocalReplica(local, Gate(cloud_map.epoch), self.replica)
        self.now = Obeyed(cloud_map, self.own, self.session, me)
        self.own.alone = self.now.alone
        self.registers: Registers
        self.hints: Hints
        self.owed: Owed
        self.repair: Repair

    def adopt(self, cloud_map: CloudMap) -> None:
        """Obey a newer map from now on; `Gate.obeyed` tells when all that was begun under the old one is over."""
        now = Obeyed(cloud_map, self.own, self.session, self.me)
        self.now = now
        self.own.gate.epoch = cloud_map.epoch
        self.own.alone = now.alone

    @property
    def map(self) -> CloudMap:
        """The map that is obeyed."""
        return self.now.map

    @property
    def owners(self) -> Owners:
        """The owners of everything by the map that is obeyed."""
        return self.now.owners

    def replica(self, name: str) -> Replica:
        """A node as an owner, by the map that is obeyed."""
        return self.now.replica(name)

    def sole(self, register: Register) -> OwnReplica | None:
        """See `Obeyed.sole`."""
        return self.now.sole(register)

    def missed(self, register: Register) -> None:
        """See `Neighbours.missed`."""
        self.hints.add(register)

    async def here(self, register: Register, slot: bytes) -> KeyState:
        """See `Neighbours.here`."""
        return await self.own.state(Ask(register, slot))

    def settled(self, register: Register, row: Row, *, everywhere: bool) -> None:
        """See `Neighbours.settled`."""
        self.owed.settled(register, row, everywhere=everywhere)

    async def bring(self, register: Register) -> bool:
        """See `Neighbours.bring`."""
        return await self.repair.run(register)

    async def introduce(self, owner: Replica, register: Register) -> bool:
        """See `Neighbours.introduce`."""
        if register.space == Space.BUCKETS:
            return False
        bucket = Register(Space.BUCKETS, register.bucket)
        row = (await self.registers.look(bucket)).newest
        if row is None or row.version != register.incarnation:
            return False
        vote = await owner.install(Install(bucket, (SlotWrite(row),)))
        return vote.outcome == Outcome.DONE
