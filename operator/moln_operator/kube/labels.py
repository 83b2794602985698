"""The labels of everything that belongs to a cloud."""

from __future__ import annotations

from typing import Final

MANAGED_BY: Final = "app.kubernetes.io/managed-by"
MANAGER: Final = "moln"
CLOUD: Final = "moln.dev/cloud"
POOL: Final = "moln.dev/pool"
COMPONENT: Final = "app.kubernetes.io/component"
REFRESHED: Final = "moln.dev/refreshed"
"""An annotation of pods: which change of their mounted Secrets Kubernetes was asked to look at, and when."""

SCHEME: Final = "prometheus.io/scheme"
"""An annotation of pods: `https` where port 9001 speaks TLS; a Prometheus that follows annotations knows it, too."""


def of_cloud(cloud: str) -> dict[str, str]:
    """Labels of every child of a cloud."""
    return {
        "app.kubernetes.io/name": "moln",
        "app.kubernetes.io/instance": cloud,
        "app.kubernetes.io/part-of": "moln",
        MANAGED_BY: MANAGER,
        CLOUD: cloud,
    }


def of_nodes(cloud: str) -> dict[str, str]:
    """The least labels that select the pods of a cloud's nodes."""
    return {CLOUD: cloud, COMPONENT: "node"}


def of_pool(cloud: str, pool: str) -> dict[str, str]:
    """The least labels that select the pods of one pool; fixed for the life of its StatefulSet."""
    return {**of_nodes(cloud), POOL: pool}


def selector(labels: dict[str, str]) -> str:
    """`labels` as a label selector is written."""
    return ",".join(f"{name}={value}" for name, value in sorted(labels.items()))
