"""How resources become the cloud map: the one pure function that the operator and `moln dev` share.

A map is made from what is asked for (resources) and what there is (seats: the places where nodes run), never from a
difference between the two. It keeps what must never change from the previous map: the cloud's identity, the number of
partitions and each node's number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from moln_spec.cloudmap import CloudMap, MapNode, MapPolicy, NodeState
from moln_spec.resources.pool import NODES_PER_CLOUD

if TYPE_CHECKING:
    from collections.abc import Sequence

    from moln_spec.classes import StorageClass
    from moln_spec.resources.cloud import Cloud
    from moln_spec.resources.policy import ReplicationPolicy
    from moln_spec.resources.storagenode import StorageNode

PARTITIONS: Final = 512


class UnusableCloudError(ValueError):
    """The resources contradict each other, so that no map can be made; `problems` are sentences for the user."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Seat:
    """A place where a node runs or shall run.

    Attributes:
        name: the node's name, unique in the cloud.
        address: host:port of its peer API.
        pool: the pool that it belongs to.
        zone: its failure zone; empty when unknown.
        state: where the node is in its life.
    """

    name: str
    address: str
    pool: str
    zone: str = ""
    state: NodeState = "active"


def pool_weights(cloud: Cloud, storage_nodes: Sequence[StorageNode]) -> dict[str, float]:
    """Every pool of the cloud and its weight; the default pool has the cloud's name."""
    weights = {pool.metadata.name: pool.spec.weight for pool in storage_nodes}
    if cloud.spec.nodes is not None:
        weights[cloud.metadata.name] = cloud.spec.nodes.weight
    return weights


def problems(cloud: Cloud, storage_nodes: Sequence[StorageNode]) -> tuple[str, ...]:
    """What the schema can't see because it needs other objects, as sentences; empty if a map can be made."""
    pools = pool_weights(cloud, storage_nodes)
    known = ", ".join(sorted(pools)) or "none"
    found: list[str] = []
    if not pools:
        found.append("the cloud has no nodes; add spec.nodes, or a StorageNode with this cloud as its cloudRef")
    for storage_class in cloud.spec.storage_classes:
        found += [
            f"storage class {storage_class.name} names the pool {pool}, which the cloud does not have (it has {known})"
            for pool in storage_class.pools
            if pool not in pools
        ]
        if pools and not _pools_of(storage_class, cloud, storage_nodes):
            found.append(f"no pool keeps storage class {storage_class.name}; add it to a StorageNode's storageClasses")
    found += [
        f"assignment rule {rule.name or number} pins to the pool {rule.pool}, which the cloud does not have "
        f"(it has {known})"
        for number, rule in enumerate(cloud.spec.assignment_rules, start=1)
        if rule.pool is not None and rule.pool not in pools
    ]
    classes = {storage_class.name for storage_class in cloud.spec.storage_classes}
    found += [
        f"StorageNode {pool.metadata.name} keeps the storage class {name}, which the cloud does not have"
        for pool in storage_nodes
        for name in pool.spec.storage_classes
        if name not in classes
    ]
    wanted = sum(pool.spec.replicas for pool in storage_nodes if pool.metadata.name != cloud.metadata.name)
    wanted += cloud.spec.nodes.replicas if cloud.spec.nodes is not None else 0
    if wanted > NODES_PER_CLOUD:
        found.append(f"a cloud has at most {NODES_PER_CLOUD} nodes, and its pools ask for {wanted}; lower replicas")
    if wanted > 1:
        found += _not_with_many(cloud, storage_nodes)
    return tuple(found)


def _not_with_many(cloud: Cloud, storage_nodes: Sequence[StorageNode]) -> list[str]:
    """What this release can't do yet in a cloud of several nodes: told, because ignored it would break a promise."""
    bound = [f"storage class {entry.name} (pools)" for entry in cloud.spec.storage_classes if entry.pools]
    bound += [
        f"StorageNode {pool.metadata.name} (storageClasses)" for pool in storage_nodes if pool.spec.storage_classes
    ]
    bound += [f"assignment rule {rule.name or rule.pool} (pool)" for rule in cloud.spec.assignment_rules if rule.pool]
    found = [f"{name}: with several nodes this release can't bind bytes to a pool; leave it out" for name in bound]
    found += [
        f"StorageNode {pool.metadata.name} (lostNodes): this release refills an empty disk by itself; leave it out"
        for pool in storage_nodes
        if pool.spec.lost_nodes
    ]
    return found


def _policies_not_with_many(policies: Sequence[MapPolicy]) -> list[str]:
    """As above, of policies."""
    found = [
        f"ReplicationPolicy {policy.name}: with several nodes this release has one number of copies for everything; "
        "leave selector empty"
        for policy in policies
        if policy.buckets or policy.prefixes or policy.storage_classes
    ]
    return found + [
        f"ReplicationPolicy {policy.name}: with several nodes this release writes to and reads from majorities; set "
        "write: majority and read: majority"
        for policy in policies
        if (policy.write, policy.read) != ("majority", "majority")
    ]


def make_map(
    cloud: Cloud,
    storage_nodes: Sequence[StorageNode],
    policies: Sequence[ReplicationPolicy],
    nodes: Sequence[Seat],
    previous: CloudMap | None,
    *,
    identity: str | None = None,
) -> CloudMap:
    """The map that follows `previous`; `previous` itself when nothing changes.

    `identity` is the uid of a first map; absent, the Cloud's own. Policies of other clouds are left out. Raises
    UnusableCloudError when the resources contradict each other.
    """
    found = [*problems(cloud, storage_nodes)]
    uid = previous.uid if previous is not None else identity or cloud.metadata.uid
    if not uid:
        found.append("the cloud has no identity; give metadata.uid or an identity")
    if not nodes:
        found.append("the cloud has no nodes yet")
    if found:
        raise UnusableCloudError(found)
    members, next_number = _number(nodes, pool_weights(cloud, storage_nodes), previous)
    drawn = CloudMap(
        cloud=cloud.metadata.name,
        uid=uid,
        epoch=previous.epoch if previous is not None else 1,
        partitions=previous.partitions if previous is not None else PARTITIONS,
        next_number=next_number,
        nodes=members,
        storage_classes=tuple(
            storage_class.model_copy(update={"pools": _narrowed(storage_class, cloud, storage_nodes)})
            for storage_class in cloud.spec.storage_classes
        ),
        assignment_rules=cloud.spec.assignment_rules,
        policies=_policies(cloud.metadata.name, policies),
        limits=cloud.spec.limits,
    )
    if len(drawn.nodes) > 1 and (refused := _policies_not_with_many(drawn.policies)):
        raise UnusableCloudError(refused)
    if previous is None or drawn == previous:
        return previous or drawn
    if drawn.placement != previous.placement:
        raise UnusableCloudError([_FIXED])
    return drawn.model_copy(update={"epoch": previous.epoch + 1})


_FIXED: Final = (
    "this release can't change who owns what in a running cloud: its nodes and, where there are several, their weights "
    "and the number of copies stay as they were when it was made; set them back (apply a ReplicationPolicy before its "
    "Cloud)"
)


def _number(
    seats: Sequence[Seat], weights: dict[str, float], previous: CloudMap | None
) -> tuple[tuple[MapNode, ...], int]:
    """The nodes of the map, each with the number it had before or a new one, and the lowest number never given."""
    before = {node.name: node for node in previous.nodes} if previous is not None else {}
    known = {name: node.number for name, node in before.items()}
    next_number = max([previous.next_number if previous is not None else 0, *(n + 1 for n in known.values())])
    moves = len(seats) == 1  # owners depend on zones: with several nodes one that is scheduled elsewhere keeps its zone
    members: list[MapNode] = []
    for seat in sorted(seats, key=lambda seat: (seat.pool, len(seat.name), seat.name)):
        number = known.get(seat.name)
        if number is None:
            number, next_number = next_number, next_number + 1
        members.append(
            MapNode(
                name=seat.name,
                number=number,
                address=seat.address,
                pool=seat.pool,
                zone=seat.zone if moves or seat.name not in before else before[seat.name].zone,
                weight=weights.get(seat.pool, 1.0),
                state=seat.state,
            )
        )
    return tuple(members), next_number


def _pools_of(storage_class: StorageClass, cloud: Cloud, storage_nodes: Sequence[StorageNode]) -> tuple[str, ...]:
    """The pools that keep a class: named by it (or it names none), and not reserved for other classes."""
    reserved = {pool.metadata.name: pool.spec.storage_classes for pool in storage_nodes}
    return tuple(
        pool
        for pool in sorted(pool_weights(cloud, storage_nodes))
        if (not storage_class.pools or pool in storage_class.pools)
        and (not reserved.get(pool) or storage_class.name in reserved[pool])
    )


def _narrowed(storage_class: StorageClass, cloud: Cloud, storage_nodes: Sequence[StorageNode]) -> tuple[str, ...]:
    """The pools of a class as the map says it: none when it is every pool, so that a new pool takes part at once."""
    pools = _pools_of(storage_class, cloud, storage_nodes)
    return () if set(pools) == set(pool_weights(cloud, storage_nodes)) and not storage_class.pools else pools


def _policies(cloud_name: str, policies: Sequence[ReplicationPolicy]) -> tuple[MapPolicy, ...]:
    """The cloud's policies by name."""
    return tuple(
        MapPolicy(
            name=policy.metadata.name,
            buckets=policy.spec.selector.buckets,
            prefixes=policy.spec.selector.prefixes,
            storage_classes=policy.spec.selector.storage_classes,
            copies=policy.spec.copies,
            write=policy.spec.write,
            read=policy.spec.read,
            spread=policy.spec.spread,
        )
        for policy in sorted(policies, key=lambda policy: policy.metadata.name)
        if policy.spec.cloud_ref.name == cloud_name
    )
