"""The cloud as this node sees it: the map it obeys, an owner's interface for each node, and what owners have missed.

Made by `cloud`; everything in this room that needs another node asks here. Static membership: a newer map may change
classes, rules and addresses, not yet who is in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moln_node.cluster.messages import Install, SlotWrite
from moln_node.cluster.owners import Owners
from moln_node.cluster.peers import RemoteReplica, Session
from moln_node.cluster.replica import LocalReplica
from moln_node.store.registers import Register, Space
from moln_node.store.steps.replica import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from moln_node.cluster.hints import Hints
    from moln_node.cluster.local import LocalStore
    from moln_node.cluster.registers import Registers
    from moln_node.cluster.replica import Replica
    from moln_spec.cloudmap import CloudMap


class Members:
    """Who is in the cloud.

    Attributes:
        owners: of every register, by the map that is obeyed now.
        own: this node as an owner.
        me: this node's name.
    """

    def __init__(
        self,
        local: LocalStore,
        cloud_map: CloudMap,
        me: str,
        secret: Callable[[], str],
    ) -> None:
        self.me = me
        self.map = cloud_map
        self.owners = Owners(cloud_map)
        self.session = Session(secret, lambda: self.owners.epoch)
        self.own = LocalReplica(local, self.replica)
        self.registers: Registers
        self.hints: Hints
        self._remote: dict[str, RemoteReplica] = {}
        self.adopt(cloud_map)

    def adopt(self, cloud_map: CloudMap) -> None:
        """Obey a newer map."""
        self.map = cloud_map
        self.owners = Owners(cloud_map)
        self.own.alone = self.owners.everyone == (self.me,)
        self._remote = {
            node.name: RemoteReplica(self.session, node.name, node.address)
            for node in cloud_map.nodes
            if node.name != self.me
        }

    def replica(self, name: str) -> Replica:
        """See `Neighbours.replica`."""
        return self.own if name == self.me else self._remote[name]

    def sole(self, register: Register) -> LocalReplica | None:
        """See `Neighbours.sole`."""
        return self.own if self.own.voting and self.owners.of(register) == (self.me,) else None

    def owners_of(self, register: Register) -> tuple[str, ...]:
        """See `Neighbours.owners_of`."""
        return self.owners.of(register)

    def missed(self, register: Register) -> None:
        """See `Neighbours.missed`."""
        self.hints.add(register)

    async def introduce(self, owner: str, register: Register) -> bool:
        """See `Neighbours.introduce`."""
        if register.space == Space.BUCKETS:
            return False
        bucket = Register(Space.BUCKETS, register.bucket)
        row = (await self.registers.look(bucket)).newest
        if row is None or row.version != register.incarnation:
            return False
        vote = await self.replica(owner).install(Install(bucket, (SlotWrite(row),)))
        return vote.outcome == Outcome.DONE
