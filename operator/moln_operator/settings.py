"""What the operator is told at its start: flags, each also an environment variable `MOLN_OPERATOR_<FLAG>`. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from pathlib import Path

EVERY_NAMESPACE: Final = "*"


@dataclass(frozen=True, slots=True)
class Settings:
    """The operator's settings.

    Attributes:
        image: image of the storage nodes of Clouds that name none.
        image_pull_policy: pull policy of the nodes.
        image_pull_secrets: Secrets, in the Cloud's namespace, that the image is pulled with.
        namespaces: where Clouds are looked after; `*` alone: everywhere.
        operator_class: only Clouds whose annotation `moln.dev/operator` says this; empty: those that have none.
        operator_namespace: where the operator itself runs: its Lease, and who may reach the nodes' port 9001.
        identity: this process among several, for the Lease.
        listen_host: address of /live, /ready and /metrics.
        listen_port: port of /live, /ready and /metrics; 0 takes a free one.
        leader_election: whether to wait for the Lease before doing anything.
        first_cloud: file with a Cloud to write at the start.
        workers: Clouds reconciled at the same time.
        poll_seconds: how often each Cloud is looked at although nothing was reported.
        log_format: json or text.
        page: whether the page for people is served.
    """

    image: str
    image_pull_policy: str = "IfNotPresent"
    image_pull_secrets: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = (EVERY_NAMESPACE,)
    operator_class: str = ""
    operator_namespace: str = "moln-system"
    identity: str = "moln-operator"
    listen_host: str = "0.0.0.0"  # noqa: S104 (probes come from outside the pod)
    listen_port: int = 8080
    leader_election: bool = False
    first_cloud: Path | None = None
    workers: int = 8
    poll_seconds: float = 15.0
    log_format: Literal["json", "text"] = "json"
    page: bool = True
    pod_labels: dict[str, str] = field(default_factory=lambda: {"app.kubernetes.io/name": "moln-operator"})
