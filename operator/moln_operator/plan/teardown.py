"""What is left to delete of a Cloud whose deletionPolicy is Delete, step by step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from moln_operator.plan import names

if TYPE_CHECKING:
    from moln_operator.observe.state import Observed


@dataclass(frozen=True, slots=True)
class Teardown:
    """The next step.

    Attributes:
        delete: kind and name of what is deleted now.
        waiting: what the deletion waits for, for people; empty when nothing is left.
    """

    delete: tuple[tuple[str, str], ...] = ()
    waiting: str = ""


def teardown(observed: Observed) -> Teardown:
    """First the nodes stop, then their volumes go, then keys and map. A Secret that the user wrote stays."""
    cloud = observed.cloud.metadata.name
    if observed.stateful_sets or observed.pods:
        running = ", ".join(sorted(observed.pods)) or "the StatefulSets"
        sets = tuple(("StatefulSet", name) for name in sorted(observed.stateful_sets))
        return Teardown(sets, f"waiting for {running} to stop")
    if observed.claims:
        claims = tuple(("PersistentVolumeClaim", name) for name in sorted(observed.claims))
        return Teardown(claims, f"deleting the volumes {', '.join(name for _, name in claims)}")
    kept = (
        ("Secret", observed.cloud.root_secret_name),
        ("Secret", names.cluster_secret(cloud)),
        ("Secret", names.master_keys_secret(cloud)),
        ("ConfigMap", names.map_config(cloud)),
    )
    left = tuple(child for child in kept if child in observed.children)
    return Teardown(left, "deleting keys and map" if left else "")
