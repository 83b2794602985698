"""The PodDisruptionBudget: others may drain one node of a cloud at a time.

With fewer than three nodes there is none. It could only say "never", and would block the drain of a small cluster; a
cloud of one node is away for as long as its pod takes to move.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from moln_operator.kube import labels

if TYPE_CHECKING:
    from moln_operator.kube.kinds import Manifest

FEWEST_NODES: Final = 3


def disruption_budget(cloud: str, nodes: int) -> Manifest | None:
    """The budget of a cloud with this many nodes; None where it would do harm."""
    if nodes < FEWEST_NODES:
        return None
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": cloud, "labels": labels.of_cloud(cloud)},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": labels.of_nodes(cloud)}},
    }
