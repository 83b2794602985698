"""The cloud map from the observed state, and the ConfigMap that holds it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moln_operator.kube import labels
from moln_operator.plan import names
from moln_operator.plan.pools import pools
from moln_spec.mapmaking import Seat, make_map

if TYPE_CHECKING:
    from moln_operator.kube.kinds import Manifest
    from moln_operator.observe.state import Observed
    from moln_spec.cloudmap import CloudMap


def seats(observed: Observed) -> tuple[Seat, ...]:
    """A seat for each node that the pools ask for.

    A pod that has not been scheduled keeps the zone it had before, so that a restart makes no new epoch.
    """
    cloud = observed.cloud.metadata
    previous = observed.previous_map
    zones = {node.name: node.zone for node in previous.nodes} if previous is not None else {}
    zones |= {name: zone for name, zone in observed.zones.items() if zone}
    return tuple(
        Seat(
            name=(pod := names.pod(pool, ordinal)),
            address=names.peer_address(pod, cloud.name, cloud.namespace),
            pool=pool,
            zone=zones.get(pod, ""),
        )
        for pool, spec in pools(observed).items()
        for ordinal in range(spec.replicas)
    )


def next_map(observed: Observed) -> CloudMap:
    """The map that nodes shall obey; the previous one when nothing changed. UnusableCloudError."""
    others = tuple(p for p in observed.storage_nodes if p.metadata.name != observed.cloud.metadata.name)
    return make_map(
        observed.cloud,
        others,
        observed.policies,
        seats(observed),
        observed.previous_map,
        identity=observed.cluster.identity if observed.cluster is not None else None,
    )


def config_map(observed: Observed, cloud_map: CloudMap) -> Manifest:
    """The ConfigMap with the map. It has no owner: like the volumes, it outlives a Cloud that retains its data.

    It names the version that it replaces, so that of two writers one is refused.
    """
    cloud = observed.cloud.metadata.name
    metadata: Manifest = {"name": names.map_config(cloud), "labels": labels.of_cloud(cloud)}
    if observed.map_version:
        metadata["resourceVersion"] = observed.map_version
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "data": {names.MAP_KEY: cloud_map.model_dump_json(indent=1)},
    }
