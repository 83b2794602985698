"""The StatefulSet of a pool: how a storage node runs on Kubernetes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from moln_operator.kube import labels
from moln_operator.plan import names
from moln_spec.resources.cloud import Logs
from moln_spec.resources.pool import Pool, kubernetes_resources

if TYPE_CHECKING:
    from moln_operator.kube.inventory import Known
    from moln_operator.kube.kinds import Manifest
    from moln_operator.settings import Settings
    from moln_spec.resources.cloud import Cloud

USER: Final = 65532
DATA_DIR: Final = "/data"
MAP_DIR: Final = "/etc/moln/map"
CREDENTIALS_DIR: Final = "/etc/moln/credentials"
TLS_DIR: Final = "/etc/moln/tls"
PEERS_DIR: Final = "/etc/moln/peers"
_SCRAPED: Final = {
    "prometheus.io/scrape": "true",
    "prometheus.io/port": str(names.PEER_PORT),
    "prometheus.io/path": "/metrics",
}
STOP_SECONDS: Final = 25
GRACE_SECONDS: Final = 45


def stateful_set(
    cloud: Cloud,
    pool_name: str,
    pool: Pool,
    replicas: int,
    existing: Known | None,
    settings: Settings,
    *,
    peers_by_tls: bool = False,
) -> Manifest:
    """The StatefulSet of one pool, with so many pods; `peers_by_tls`: port 9001 has certificates, and answers TLS.

    What can't change on an existing one is taken from it: the size in its volume template (volumes themselves grow by
    their claims).
    """
    selected = labels.of_pool(cloud.metadata.name, pool_name)
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": pool_name, "labels": {**labels.of_cloud(cloud.metadata.name), **selected}},
        "spec": {
            "replicas": replicas,
            "serviceName": names.nodes_service(cloud.metadata.name),
            "podManagementPolicy": "Parallel",
            "updateStrategy": {"type": "OnDelete"},  # the operator says which pod is next: plan/rolling.py
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
            "revisionHistoryLimit": 3,
            "selector": {"matchLabels": selected},
            "template": {
                "metadata": {
                    "labels": {**labels.of_cloud(cloud.metadata.name), **selected},
                    "annotations": {**_SCRAPED, **({labels.SCHEME: "https"} if peers_by_tls else {})},
                },
                "spec": _pod(cloud, pool, selected, settings, peers_by_tls=peers_by_tls),
            },
            "volumeClaimTemplates": [_claim(cloud, pool, existing)],
        },
    }


def rolls_by_itself(existing: Known) -> bool:
    """Whether Kubernetes restarts the pods of a StatefulSet by its own rules, as an older release had it."""
    return bool(existing.content.get("spec", {}).get("updateStrategy", {}).get("type") == "RollingUpdate")


def _pod(
    cloud: Cloud, pool: Pool, selected: dict[str, str], settings: Settings, *, peers_by_tls: bool
) -> dict[str, Any]:
    """The pod of a node: no token, no privileges, nothing writable but its volume and /tmp."""
    pod: dict[str, Any] = {
        "serviceAccountName": names.service_account(cloud.metadata.name),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": key,
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": selected},
            }
            for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
        ],
        "containers": [_container(cloud, pool, settings, peers_by_tls=peers_by_tls)],
        "volumes": _volumes(cloud, peers_by_tls=peers_by_tls),
    }
    if settings.image_pull_secrets:
        pod["imagePullSecrets"] = [{"name": name} for name in settings.image_pull_secrets]
    if pool.node_selector:
        pod["nodeSelector"] = dict(pool.node_selector)
    if pool.tolerations:
        pod["tolerations"] = [
            entry.model_dump(mode="json", by_alias=True, exclude_none=True) for entry in pool.tolerations
        ]
    if pool.priority_class_name is not None:
        pod["priorityClassName"] = pool.priority_class_name
    return pod


def _container(cloud: Cloud, pool: Pool, settings: Settings, *, peers_by_tls: bool) -> dict[str, Any]:
    scheme = {"scheme": "HTTPS"} if peers_by_tls else {}
    return {
        "name": "node",
        "image": cloud.spec.image or settings.image,
        "imagePullPolicy": settings.image_pull_policy,
        "command": ["python", "-m", "moln_node"],
        "args": [
            "--name=$(POD_NAME)",
            f"--data={DATA_DIR}",
            f"--map={MAP_DIR}/{names.MAP_KEY}",
            f"--credentials={CREDENTIALS_DIR}/{names.CREDENTIALS_KEY}",
            f"--cloud-secret={CREDENTIALS_DIR}/{names.GIVEN_SECRETS_KEY}",
            f"--listen=0.0.0.0:{names.S3_PORT}",
            f"--peer-listen=0.0.0.0:{names.PEER_PORT}",
            f"--stop-seconds={STOP_SECONDS}",
            *_s3_flags(cloud),
            *([f"--peer-tls={PEERS_DIR}"] if peers_by_tls else []),
            *_log_flags(cloud),
        ],
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "env": [{"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}, *_tracing(cloud)],
        "ports": [
            {"name": "s3", "containerPort": names.S3_PORT, "protocol": "TCP"},
            {"name": "peer", "containerPort": names.PEER_PORT, "protocol": "TCP"},
        ],
        "resources": kubernetes_resources(pool.resources),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        # A large store may take minutes to open after a crash, so only then is there much patience.
        "startupProbe": _probe("/live", scheme, period=2, failures=300),
        "livenessProbe": _probe("/live", scheme, period=10, failures=6),
        "readinessProbe": _probe("/ready", scheme, period=3, failures=2),
        "volumeMounts": [
            {"name": names.VOLUME, "mountPath": DATA_DIR},
            {"name": "map", "mountPath": MAP_DIR, "readOnly": True},
            {"name": "credentials", "mountPath": CREDENTIALS_DIR, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 (the pod's own)
            *([{"name": "tls", "mountPath": TLS_DIR, "readOnly": True}] if cloud.spec.tls is not None else []),
            *([{"name": "peers", "mountPath": PEERS_DIR, "readOnly": True}] if peers_by_tls else []),
        ],
    }


def _s3_flags(cloud: Cloud) -> list[str]:
    """How the S3 port speaks."""
    flags = [f"--domain={domain}" for domain in cloud.spec.domains]
    if cloud.spec.tls is not None:
        flags += [f"--tls-certificate={TLS_DIR}/tls.crt", f"--tls-key={TLS_DIR}/tls.key"]
    if cloud.spec.trust_forwarded:
        flags.append("--trust-forwarded=on")
    return flags


def _log_flags(cloud: Cloud) -> list[str]:
    """What the log holds, where that is not what nodes write by themselves."""
    wanted, usual = cloud.spec.logs, Logs()
    flags = [] if wanted.access == usual.access else ["--access-log=off"]
    return flags if wanted.slow_seconds == usual.slow_seconds else [*flags, f"--slow-seconds={wanted.slow_seconds}"]


def _tracing(cloud: Cloud) -> list[dict[str, str]]:
    """OpenTelemetry's own variables, where traces are asked for."""
    wanted = cloud.spec.tracing
    if wanted is None:
        return []
    values = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": wanted.endpoint,
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": f"{wanted.sample_percent / 100:g}",
        "OTEL_RESOURCE_ATTRIBUTES": f"k8s.namespace.name={cloud.metadata.namespace},k8s.pod.name=$(POD_NAME)",
    }
    return [{"name": name, "value": value} for name, value in values.items()]


def _probe(path: str, scheme: dict[str, str], *, period: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": "peer", **scheme},
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def _volumes(cloud: Cloud, *, peers_by_tls: bool) -> list[dict[str, Any]]:
    name = cloud.metadata.name
    volumes: list[dict[str, Any]] = [
        {"name": "map", "configMap": {"name": names.map_config(name)}},
        {"name": "credentials", "secret": {"secretName": names.credentials_secret(name), "defaultMode": 0o440}},
        {"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}},
    ]
    if cloud.spec.tls is not None:
        volumes.append({"name": "tls", "secret": {"secretName": cloud.spec.tls.secret_name, "defaultMode": 0o440}})
    if peers_by_tls:
        volumes.append({"name": "peers", "secret": {"secretName": names.peers_secret(name), "defaultMode": 0o440}})
    return volumes


def template_size(existing: Known | None) -> str | None:
    """The volume size in an existing StatefulSet's template."""
    templates = existing.content.get("spec", {}).get("volumeClaimTemplates", ()) if existing is not None else ()
    for template in templates:
        size = template.get("spec", {}).get("resources", {}).get("requests", {}).get("storage")
        if size is not None:
            return str(size)
    return None


def _claim(cloud: Cloud, pool: Pool, existing: Known | None) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": template_size(existing) or pool.volume.size}},
    }
    if pool.volume.storage_class_name is not None:
        spec["storageClassName"] = pool.volume.storage_class_name
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": names.VOLUME, "labels": labels.of_cloud(cloud.metadata.name)},
        "spec": spec,
    }
