"""The name of each child of a cloud."""

from __future__ import annotations

from typing import Final

MAP_KEY: Final = "cloud-map.json"
CREDENTIALS_KEY: Final = "credentials.json"
SECRET_KEY: Final = "secret"  # noqa: S105 (a name)
GIVEN_SECRETS_KEY: Final = "cloud-secret"
IDENTITY_KEY: Final = "identity"
ACTIVE_KEY: Final = "active"
ACCESS_KEY: Final = "access_key"
ACCESS_SECRET: Final = "secret_key"  # noqa: S105 (a name)
VOLUME: Final = "data"
S3_PORT: Final = 9000
PEER_PORT: Final = 9001
FINALIZER: Final = "moln.dev/delete-data"
DRAIN_FINALIZER: Final = "moln.dev/drain"


def nodes_service(cloud: str) -> str:
    """The headless Service that gives each node its DNS name."""
    return f"{cloud}-nodes"


def map_config(cloud: str) -> str:
    """The ConfigMap with the cloud map."""
    return f"{cloud}-map"


def cluster_secret(cloud: str) -> str:
    """The Secret that the nodes share."""
    return f"{cloud}-cluster"


def credentials_secret(cloud: str) -> str:
    """The Secret with access keys, master keys and cloud secret as nodes read them."""
    return f"{cloud}-credentials"


def peers_secret(cloud: str) -> str:
    """The Secret with what nodes speak TLS with on port 9001."""
    return f"{cloud}-peers"


def authority_secret(cloud: str) -> str:
    """The Secret with the authority that signs it; nodes are not given that."""
    return f"{cloud}-peers-ca"


def master_keys_secret(cloud: str) -> str:
    """The Secret with the keys that objects are encrypted under."""
    return f"{cloud}-master-keys"


def service_account(cloud: str) -> str:
    """The ServiceAccount of the nodes' pods."""
    return f"{cloud}-node"


def pod(pool: str, ordinal: int) -> str:
    """The pod, and so the node, with this ordinal in a pool."""
    return f"{pool}-{ordinal}"


def ordinal(pod_name: str) -> int:
    """The ordinal of a pod in its pool."""
    return int(pod_name.rpartition("-")[2])


def claim(pod_name: str) -> str:
    """The PersistentVolumeClaim of a pod's volume."""
    return f"{VOLUME}-{pod_name}"


def peer_address(pod_name: str, cloud: str, namespace: str) -> str:
    """host:port under which peers reach a node."""
    return f"{pod_name}.{nodes_service(cloud)}.{namespace}.svc:{PEER_PORT}"
