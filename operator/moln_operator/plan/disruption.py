"""The PodDisruptionBudget: others may drain one node of a cloud at a time, and never the only one that has the data.

With one node a drain would end the service, for ever where its volume stays behind, so it is refused. The status of the
Cloud says what to do instead; the chart has the API server answer an eviction with that (`templates/drain.yaml`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moln_operator.kube import labels

if TYPE_CHECKING:
    from moln_operator.kube.kinds import Manifest
    from moln_spec.cloudmap import CloudMap


def only_node(cloud_map: CloudMap | None) -> str:
    """The node that alone has what the cloud holds, by its map; empty where several have it, or nothing is there yet.

    While one becomes several that is still the first one, until the change is over.
    """
    if cloud_map is None:
        return ""
    change = cloud_map.change
    for layout in (*([change.before] if change is not None else []), cloud_map.layout):
        members = [member.name for member in layout.members if not member.lost]
        if len(members) == 1:
            return members[0]
    return ""


def advice(cloud: str, node: str) -> str:
    """Why a drain is refused that would take this only node of a cloud, and what to do."""
    return (
        f"{node} is the only node of the cloud {cloud}, so a drain of its machine is refused: the cloud would stop. "
        "Give it three nodes first (raise replicas, or add a pool on other machines and delete this one); or let it "
        f"stop while its pod moves: kubectl delete pod {node} (where its volume can't leave the machine, it waits "
        "until that is back)"
    )


def disruption_budget(cloud: str, cloud_map: CloudMap | None) -> Manifest:
    """The budget of a cloud with this map."""
    unavailable = 0 if only_node(cloud_map) else 1
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": cloud, "labels": labels.of_cloud(cloud)},
        "spec": {"maxUnavailable": unavailable, "selector": {"matchLabels": labels.of_nodes(cloud)}},
    }
