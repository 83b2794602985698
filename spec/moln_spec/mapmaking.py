"""How resources become the cloud map: the one pure function that the operator and `moln dev` share.

A map is made from what is asked for (resources), what there is (seats: the places where nodes run) and what nodes say,
never from a difference between two wishes. It keeps what must never change from the previous map: the cloud's identity,
the number of partitions and each node's number. Who belongs to the cloud is decided by `membership`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from moln_spec.cloudmap import DEFAULT_COPIES, BodyPlace, CloudMap, MapNode, MapPolicy
from moln_spec.membership import Report, Seat, Step, Wanted, in_order, next_step
from moln_spec.resources.pool import NODES_PER_CLOUD

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from moln_spec.classes import AssignmentRule, StorageClass
    from moln_spec.resources.cloud import Cloud
    from moln_spec.resources.policy import ReplicationPolicy
    from moln_spec.resources.storagenode import StorageNode

PARTITIONS: Final = 512


class UnusableCloudError(ValueError):
    """The resources contradict each other, so that no map can be made; `problems` are sentences for the user."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


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
    return tuple(found)


def _class_policies(policies: Sequence[MapPolicy], classes: Sequence[StorageClass]) -> list[str]:
    """What is wrong with policies that select storage classes, as sentences.

    They decide about bodies alone, and a record must have as many copies as the body it names.
    """
    names = [storage_class.name for storage_class in classes]
    by_key = [policy for policy in policies if not policy.storage_classes]
    records = [(policy.copies, f"ReplicationPolicy {policy.name}") for policy in by_key]
    if all(policy.buckets or policy.prefixes for policy in by_key):
        records.append((DEFAULT_COPIES, "default"))
    fewest, why = min(records)
    found = []
    for policy in policies:
        found += [
            f"ReplicationPolicy {policy.name} selects the storage class {name}, which the cloud does not have "
            f"(it has {', '.join(names)})"
            for name in policy.storage_classes
            if name not in names
        ]
        if policy.storage_classes and policy.copies > fewest:
            found.append(
                f"ReplicationPolicy {policy.name} asks for {policy.copies} copies of bytes of classes; records need "
                f"as many, and have {fewest} by {why}; let one without storageClasses ask for {policy.copies} too"
            )
    return found


def make_map(
    cloud: Cloud,
    storage_nodes: Sequence[StorageNode],
    policies: Sequence[ReplicationPolicy],
    seats: Sequence[Seat],
    previous: CloudMap | None,
    *,
    identity: str | None = None,
    reports: Mapping[str, Report] | None = None,
) -> Step:
    """The map that follows `previous`, itself when nothing changes, and what the next one waits for.

    `identity` is the uid of a first map; absent, the Cloud's own. Policies of other clouds are left out. `reports` is
    what nodes say that answer, by name. Raises UnusableCloudError when the resources contradict each other.
    """
    found = [*problems(cloud, storage_nodes)]
    uid = previous.uid if previous is not None else identity or cloud.metadata.uid
    if not uid:
        found.append("the cloud has no identity; give metadata.uid or an identity")
    if not seats:
        found.append("the cloud has no nodes yet")
    weights = pool_weights(cloud, storage_nodes)
    obeyed = _policies(cloud.metadata.name, policies)
    found += _unknown_pools(obeyed, weights)
    if len(seats) > 1:
        found += _class_policies(obeyed, cloud.spec.storage_classes)
    if found:
        raise UnusableCloudError(found)
    classes = tuple(
        storage_class.model_copy(update={"pools": _narrowed(storage_class, cloud, storage_nodes)})
        for storage_class in cloud.spec.storage_classes
    )
    wanted = Wanted(
        seats=tuple(replace(seat, weight=weights.get(seat.pool, 1.0)) for seat in seats),
        policies=obeyed,
        places=places(classes, cloud.spec.assignment_rules, obeyed, sorted(weights)),
        lost=lost_nodes(cloud, storage_nodes),
    )
    rules: dict[str, Any] = {
        "storage_classes": classes,
        "assignment_rules": cloud.spec.assignment_rules,
        "limits": cloud.spec.limits,
    }
    if previous is None:
        return Step(_first(cloud.metadata.name, uid, wanted).model_copy(update=rules))
    step = next_step(previous, wanted, reports or {})
    drawn = step.map.model_copy(update={"cloud": cloud.metadata.name, **rules, "epoch": previous.epoch})
    same = drawn == previous
    return replace(step, map=previous if same else drawn.model_copy(update={"epoch": previous.epoch + 1}))


def _unknown_pools(policies: Sequence[MapPolicy], pools: Mapping[str, float]) -> list[str]:
    """Policies that name pools which the cloud does not have, or not any more, as sentences."""
    return [
        f"ReplicationPolicy {policy.name} names the pool {pool}, which the cloud does not have "
        f"(it has {', '.join(sorted(pools)) or 'none'})"
        for policy in policies
        for pool in policy.pools
        if pool not in pools
    ]


def lost_nodes(cloud: Cloud, storage_nodes: Sequence[StorageNode]) -> frozenset[str]:
    """The nodes whose disk is gone for good, by the user's word."""
    pools = [pool.spec for pool in storage_nodes if pool.metadata.name != cloud.metadata.name]
    lost = {name for pool in pools for name in pool.lost_nodes}
    return frozenset(lost | set(cloud.spec.nodes.lost_nodes if cloud.spec.nodes is not None else ()))


def _first(name: str, uid: str, wanted: Wanted) -> CloudMap:
    """The first map: everybody is a member from the beginning."""
    nodes = tuple(
        MapNode(name=seat.name, number=number, address=seat.address, pool=seat.pool, zone=seat.zone, weight=seat.weight)
        for number, seat in enumerate(sorted(wanted.seats, key=in_order))
    )
    return CloudMap(
        cloud=name,
        uid=uid,
        epoch=1,
        partitions=PARTITIONS,
        next_number=len(nodes),
        nodes=nodes,
        policies=wanted.policies,
        places=wanted.places_among(len(nodes)),
        given_up=tuple(sorted(wanted.lost)),
    )


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


def places(
    classes: Sequence[StorageClass],
    rules: Sequence[AssignmentRule],
    policies: Sequence[MapPolicy],
    every_pool: Sequence[str],
) -> tuple[BodyPlace, ...]:
    """Where bodies live apart from records.

    Those of classes that are bound to pools, or that a policy selects, and those that rules pin to a pool.
    """
    found = []
    for storage_class in sorted(classes, key=lambda entry: entry.name):
        own = tuple(policy.replication for policy in policies if storage_class.name in policy.storage_classes)
        if own or storage_class.pools:
            pools = storage_class.pools or tuple(every_pool)
            found.append(BodyPlace(name=storage_class.name, pools=pools, replication=own))
    pinned = {f"@{rule.pool}": (rule.pool,) for rule in rules if rule.pool is not None}
    return (*found, *(BodyPlace(name=name, pools=pools) for name, pools in sorted(pinned.items())))


def places_of(cloud_map: CloudMap) -> tuple[BodyPlace, ...]:
    """The places that the classes, rules and policies of a map ask for, be they in effect yet or not."""
    every_pool = sorted({node.pool for node in cloud_map.nodes})
    return places(cloud_map.storage_classes, cloud_map.assignment_rules, cloud_map.policies, every_pool)


def _policies(cloud_name: str, policies: Sequence[ReplicationPolicy]) -> tuple[MapPolicy, ...]:
    """The cloud's policies by name."""
    return tuple(
        MapPolicy(
            name=policy.metadata.name,
            buckets=policy.spec.selector.buckets,
            prefixes=policy.spec.selector.prefixes,
            storage_classes=policy.spec.selector.storage_classes,
            pools=policy.spec.pools,
            copies=policy.spec.copies,
            write=policy.spec.write,
            read=policy.spec.read,
            spread=policy.spec.spread,
        )
        for policy in sorted(policies, key=lambda policy: policy.metadata.name)
        if policy.spec.cloud_ref.name == cloud_name
    )
