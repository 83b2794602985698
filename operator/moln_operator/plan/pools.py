"""The pools of a cloud: the StorageNode that the operator writes for `spec.nodes`, and those that users write."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moln_operator.kube import labels
from moln_spec import mapmaking
from moln_spec.resources.meta import API_VERSION
from moln_spec.resources.pool import Pool

if TYPE_CHECKING:
    from moln_operator.kube.kinds import Manifest
    from moln_operator.observe.state import Observed
    from moln_spec.resources.cloud import Cloud


def pools(observed: Observed) -> dict[str, Pool]:
    """Every pool by name; the Cloud is the authority over the one that has its name."""
    cloud = observed.cloud
    found: dict[str, Pool] = {entry.metadata.name: entry.spec for entry in observed.storage_nodes}
    if cloud.spec.nodes is not None:
        found[cloud.metadata.name] = cloud.spec.nodes
    return dict(sorted(found.items()))


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
    others = tuple(p for p in observed.storage_nodes if p.metadata.name != observed.cloud.metadata.name)
    return (*mapmaking.problems(observed.cloud, others), *observed.problems)
