"""Everything that the cluster shall hold for one cloud, in the order in which it is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from moln_operator.kube import labels
from moln_operator.plan import names, network
from moln_operator.plan.credentials import secret
from moln_operator.plan.disruption import disruption_budget
from moln_operator.plan.pools import default_storage_node, pools, replicas
from moln_operator.plan.statefulset import stateful_set
from moln_spec.resources.meta import API_VERSION

if TYPE_CHECKING:
    from moln_operator.kube.kinds import Manifest
    from moln_operator.observe.state import Observed
    from moln_operator.settings import Settings
    from moln_spec.cloudmap import CloudMap
    from moln_spec.credentials import Credentials
    from moln_spec.resources.cloud import Cloud

PRUNED: Final = ("Ingress", "PodDisruptionBudget", "NetworkPolicy", "Service")
"""Kinds of which a child that is no longer planned is deleted. Never one that stands for data."""


def children(
    observed: Observed,
    cloud_map: CloudMap | None,
    document: Credentials,
    cloud_secrets: tuple[str, ...],
    settings: Settings,
    peer_secrets: tuple[Manifest, ...] = (),
    *,
    peers_by_tls: bool = False,
) -> tuple[Manifest, ...]:
    """Every owned child of a cloud that is to obey this map; the map comes apart, because it has no owner.

    `peer_secrets` are those with the certificates of port 9001; `peers_by_tls`: nodes are started with them.
    """
    cloud = observed.cloud
    counts = {name: replicas(observed, name, cloud_map) for name in pools(observed)}
    planned = [
        default_storage_node(cloud),
        service_account(cloud),
        secret(observed, document, cloud_secrets),
        *peer_secrets,
        network.nodes_service(cloud),
        network.client_service(cloud),
        network.ingress(cloud),
        network.network_policy(cloud, settings),
        disruption_budget(cloud.metadata.name, cloud_map),
        *(
            stateful_set(
                cloud, name, pool, counts[name], observed.stateful_sets.get(name), settings, peers_by_tls=peers_by_tls
            )
            for name, pool in pools(observed).items()
            if counts[name]
        ),
    ]
    return tuple(owned(manifest, cloud) for manifest in planned if manifest is not None)


def owned(manifest: Manifest, cloud: Cloud) -> Manifest:
    """`manifest` in the cloud's namespace, deleted with the Cloud."""
    owner = {
        "apiVersion": API_VERSION,
        "kind": "Cloud",
        "name": cloud.metadata.name,
        "uid": cloud.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
    metadata = {**manifest["metadata"], "namespace": cloud.metadata.namespace, "ownerReferences": [owner]}
    return {**manifest, "metadata": metadata}


def service_account(cloud: Cloud) -> Manifest:
    """The nodes' ServiceAccount: without rights, so that the namespace's default one's never reach them."""
    name = cloud.metadata.name
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": names.service_account(name), "labels": labels.of_cloud(name)},
        "automountServiceAccountToken": False,
    }


def superfluous(
    observed: Observed, planned: tuple[Manifest, ...], cloud_map: CloudMap | None
) -> tuple[tuple[str, str], ...]:
    """Kind and name of each child that exists, is no longer planned, and may be deleted.

    A StatefulSet may be, once the map has no node of its pool any more: each was emptied. Its volumes stay.
    """
    kept = {(manifest["kind"], manifest["metadata"]["name"]) for manifest in planned}
    emptied: set[str] = set()
    if cloud_map is not None:
        emptied = observed.stateful_sets.keys() - {node.pool for node in cloud_map.nodes}
    return tuple(
        sorted(
            (kind, name)
            for kind, name in observed.children - kept
            if kind in PRUNED or (kind == "StatefulSet" and name in emptied)
        )
    )
