"""How a cloud is reached: Services, Ingress, and who may speak with port 9001."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from moln_operator.kube import labels
from moln_operator.plan import names

if TYPE_CHECKING:
    from moln_operator.kube.kinds import Manifest
    from moln_operator.settings import Settings
    from moln_spec.resources.cloud import Cloud

METRICS_NAMESPACE_LABEL: Final = "moln.dev/metrics"
"""A namespace with this label set to "true" may scrape the nodes' /metrics."""


def nodes_service(cloud: Cloud) -> Manifest:
    """The headless Service: a DNS name for each node, also before it is ready, because peers must find it."""
    name = cloud.metadata.name
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": names.nodes_service(name), "labels": labels.of_cloud(name)},
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": labels.of_nodes(name),
            "ports": [
                _port("s3", names.S3_PORT, "s3"),
                _port("peer", names.PEER_PORT, "peer"),
            ],
        },
    }


def client_service(cloud: Cloud) -> Manifest:
    """The Service that S3 clients use: every node that is ready."""
    name, wanted = cloud.metadata.name, cloud.spec.service
    port = _port("s3", wanted.port, "s3")
    if wanted.node_port is not None:
        port["nodePort"] = wanted.node_port
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": name,
            "labels": labels.of_cloud(name),
            **({"annotations": dict(wanted.annotations)} if wanted.annotations else {}),
        },
        "spec": {"type": wanted.type, "selector": labels.of_nodes(name), "ports": [port]},
    }


def _port(name: str, port: int, target: str) -> dict[str, Any]:
    return {"name": name, "port": port, "targetPort": target, "protocol": "TCP"}


def ingress(cloud: Cloud) -> Manifest | None:
    """The Ingress, where the spec asks for one."""
    wanted = cloud.spec.ingress
    if wanted is None:
        return None
    name = cloud.metadata.name
    backend = {"service": {"name": name, "port": {"name": "s3"}}}
    rule = {"host": wanted.host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
    spec: dict[str, Any] = {"rules": [rule]}
    if wanted.class_name is not None:
        spec["ingressClassName"] = wanted.class_name
    if wanted.tls_secret_name is not None:
        spec["tls"] = [{"hosts": [wanted.host], "secretName": wanted.tls_secret_name}]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {
            "name": name,
            "labels": labels.of_cloud(name),
            **({"annotations": dict(wanted.annotations)} if wanted.annotations else {}),
        },
        "spec": spec,
    }


def network_policy(cloud: Cloud, settings: Settings) -> Manifest:
    """S3 for everybody; port 9001 for the cloud's own nodes, the operator, and namespaces that collect metrics."""
    name = cloud.metadata.name
    operator = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": settings.operator_namespace}},
        "podSelector": {"matchLabels": dict(settings.pod_labels)},
    }
    peers = [
        {"podSelector": {"matchLabels": labels.of_nodes(name)}},
        operator,
        {"namespaceSelector": {"matchLabels": {METRICS_NAMESPACE_LABEL: "true"}}},
    ]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": names.nodes_service(name), "labels": labels.of_cloud(name)},
        "spec": {
            "podSelector": {"matchLabels": labels.of_nodes(name)},
            "policyTypes": ["Ingress"],
            "ingress": [
                {"ports": [{"protocol": "TCP", "port": names.S3_PORT}]},
                {"ports": [{"protocol": "TCP", "port": names.PEER_PORT}], "from": peers},
            ],
        },
    }
