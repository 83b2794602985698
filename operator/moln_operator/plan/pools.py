"""The pools of a cloud: the StorageNode that the operator writes for `spec.nodes`, and those that users write."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moln_operator.kube import labels
from moln_operator.plan import names
from moln_spec import mapmaking
from moln_spec.resources.meta import API_VERSION
from moln_spec.resources.pool import Pool

if TYPE_CHECKING:
    from moln_operator.kube.kinds import Manifest
    from moln_operator.observe.state import Observed
    from moln_spec.cloudmap import CloudMap
    from moln_spec.resources.cloud import Cloud
    from moln_spec.resources.storagenode import StorageNode


def pools(observed: Observed) -> dict[str, Pool]:
    """Every pool by name, those that are being emptied too; the Cloud is the authority over the one that has its name.

    A pool that is being emptied keeps what is set up for it as long as the map has a node of it.
    """
    cloud_map = observed.previous_map
    in_use = {node.pool for node in cloud_map.nodes} if cloud_map is not None else set()
    found: dict[str, Pool] = {
        pool.metadata.name: pool.spec for pool in _others(observed) if not deleted(pool) or pool.metadata.name in in_use
    }
    if observed.cloud.spec.nodes is not None:
        found[observed.cloud.metadata.name] = observed.cloud.spec.nodes
    return dict(sorted(found.items()))


def wanted_pools(observed: Observed) -> dict[str, Pool]:
    """The pools that the user wants: not those that are being emptied."""
    unwanted = {pool.metadata.name for pool in _others(observed) if deleted(pool)}
    return {name: pool for name, pool in pools(observed).items() if name not in unwanted}


def deleted(pool: StorageNode) -> bool:
    """Whether the user has deleted a pool, so that it is emptied."""
    return pool.metadata.deletion_timestamp is not None


def node_names(observed: Observed, cloud_map: CloudMap | None) -> dict[str, str]:
    """Every node that is wanted or in the map, in order, and its pool."""
    found = {node.name: node.pool for node in cloud_map.nodes} if cloud_map is not None else {}
    for name, pool in wanted_pools(observed).items():
        found |= {names.pod(name, ordinal): name for ordinal in range(pool.replicas)}
    return dict(sorted(found.items(), key=lambda item: (item[1], len(item[0]), item[0])))


def replicas(observed: Observed, pool: str, cloud_map: CloudMap | None) -> int:
    """How many pods a pool has: as many as are wanted, and none fewer than the map has nodes for.

    Without a map nobody knows which nodes may go, so none does.
    """
    wanted = wanted_pools(observed).get(pool)
    count = wanted.replicas if wanted is not None else 0
    if cloud_map is None:
        known = observed.stateful_sets.get(pool)
        return max(count, known.content.get("spec", {}).get("replicas", 0) if known is not None else 0)
    return max([count, *(names.ordinal(node.name) + 1 for node in cloud_map.nodes if node.pool == pool)])


def _others(observed: Observed) -> list[StorageNode]:
    """The pools that users write."""
    return [pool for pool in observed.storage_nodes if pool.metadata.name != observed.cloud.metadata.name]


def default_storage_node(cloud: Cloud) -> Manifest | None:
    """The StorageNode for `spec.nodes`, named like the Cloud."""
    if cloud.spec.nodes is None:
        return None
    spec = Pool.model_validate(cloud.spec.nodes).model_dump(mode="json", by_alias=True, exclude_none=True)
    return {
        "apiVersion": API_VERSION,
        "kind": "StorageNode",
        "metadata": {"name": cloud.metadata.name, "labels": labels.of_cloud(cloud.metadata.name)},
        "spec": {**spec, "cloudRef": {"name": cloud.metadata.name}},
    }


def problems(observed: Observed) -> tuple[str, ...]:
    """Why this cloud can't be made from its resources, as sentences; empty if it can."""
    return (*mapmaking.problems(observed.cloud, wanted_storage_nodes(observed)), *observed.problems)


def wanted_storage_nodes(observed: Observed) -> tuple[StorageNode, ...]:
    """The StorageNodes that users write and want."""
    return tuple(pool for pool in _others(observed) if not deleted(pool))
