"""The kinds that the operator reads and writes, as plain dictionaries: what is sent is exactly what was planned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from lightkube.generic_resource import create_global_resource, create_namespaced_resource

from moln_spec.resources.meta import GROUP, VERSION

if TYPE_CHECKING:
    from lightkube.generic_resource import GenericNamespacedResource

Manifest = dict[str, Any]
"""One Kubernetes object as JSON."""

CUSTOM: Final[dict[str, type[GenericNamespacedResource]]] = {
    kind: create_namespaced_resource(GROUP, VERSION, kind, plural)
    for kind, plural in (
        ("Cloud", "clouds"),
        ("StorageNode", "storagenodes"),
        ("ReplicationPolicy", "replicationpolicies"),
    )
}
"""What users write."""

CHILDREN: Final[dict[str, type[GenericNamespacedResource]]] = {
    kind: create_namespaced_resource(group, version, kind, plural)
    for group, version, kind, plural in (
        ("", "v1", "ServiceAccount", "serviceaccounts"),
        ("", "v1", "Secret", "secrets"),
        ("", "v1", "ConfigMap", "configmaps"),
        ("", "v1", "Service", "services"),
        ("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
        ("apps", "v1", "StatefulSet", "statefulsets"),
        ("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets"),
        ("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"),
        ("networking.k8s.io", "v1", "Ingress", "ingresses"),
        ("", "v1", "Pod", "pods"),
    )
}
"""What the operator writes, or what Kubernetes writes for it; watched by the label `app.kubernetes.io/managed-by`."""

WATCHED: Final = {**CUSTOM, **CHILDREN}

KINDS: Final[dict[str, Any]] = {
    **WATCHED,
    "Event": create_namespaced_resource("events.k8s.io", "v1", "Event", "events"),
    "Lease": create_namespaced_resource("coordination.k8s.io", "v1", "Lease", "leases"),
    "Node": create_global_resource("", "v1", "Node", "nodes"),
}
