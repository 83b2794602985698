"""The next cloud map from the observed state, and the ConfigMap that holds it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from moln_operator.kube import labels
from moln_operator.kube.inventory import is_ready
from moln_operator.plan import names
from moln_operator.plan.pools import wanted_pools, wanted_storage_nodes
from moln_spec.mapmaking import make_map
from moln_spec.membership import Report, Seat

if TYPE_CHECKING:
    from moln_operator.kube.kinds import Manifest
    from moln_operator.observe.state import Observed
    from moln_spec.cloudmap import CloudMap
    from moln_spec.membership import Step

PLACED_SECONDS: Final = 30.0
"""How long a first map waits for pods to be placed: a pod without a machine has no zone yet."""
START_SECONDS: Final = 180.0
"""How long those who are to join wait for one whose pod has not come up."""


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
            awaited=_awaited(observed, pod),
        )
        for pool, spec in wanted_pools(observed).items()
        for ordinal in range(spec.replicas)
    )


def _awaited(observed: Observed, pod: str) -> bool:
    """Whether a node may be expected to answer within moments: its pod is young or about to be, and not in trouble."""
    known = observed.pods.get(pod)
    if known is None:
        return observed.now - observed.missing.get(pod, observed.now) < START_SECONDS
    unplaced = known.content["conditions"].get("PodScheduled", {}).get("status") == "False"
    return not unplaced and observed.now - known.content["created"] < START_SECONDS


def reports(observed: Observed) -> dict[str, Report]:
    """What the nodes that answer say, by name; one with another cloud's data says nothing here.

    Nor does a spare before Kubernetes finds it ready: clients depend on who is taken in.
    """
    cloud_map = observed.previous_map
    if cloud_map is None:
        return {}
    found: dict[str, Report] = {}
    spares = {node.name for node in cloud_map.nodes if node.state == "spare"}
    for name, answer in observed.answers.items():
        status = answer.status
        if status is None or status.node != name or (name in spares and not is_ready(observed.pods[name])):
            continue
        if status.uid == cloud_map.uid:
            found[name] = Report.of(status)
    return found


def may_begin(observed: Observed) -> bool:
    """Whether a first map may be made: every pod has a machine, and so a zone, or was waited for long enough."""
    wanted = seats(observed)
    if observed.previous_map is not None or len(wanted) < 2 or all(observed.placed(seat.name) for seat in wanted):
        return True
    sets = [observed.stateful_sets.get(pool) for pool in wanted_pools(observed)]
    return all(known is not None and observed.now - known.content["created"] > PLACED_SECONDS for known in sets)


def next_step(observed: Observed) -> Step:
    """The map that nodes shall obey, the last one when nothing changed, and what is waited for. UnusableCloudError."""
    return make_map(
        observed.cloud,
        wanted_storage_nodes(observed),
        observed.policies,
        seats(observed),
        observed.previous_map,
        identity=observed.cluster.identity if observed.cluster is not None else None,
        reports=reports(observed),
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
