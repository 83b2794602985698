"""What a lab looks like at this moment, a line per node. Pure: from what Kubernetes says to text."""

from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import BaseModel, Field


class _Metadata(BaseModel):
    name: str
    namespace: str = ""


class _Condition(BaseModel):
    type: str
    status: str


class _NodeStatus(BaseModel):
    conditions: list[_Condition] = Field(default_factory=list)


class KubernetesNode(BaseModel):
    """The part of a Node that is shown."""

    metadata: _Metadata
    status: _NodeStatus

    @property
    def ready(self) -> bool:
        """Whether the cluster takes the node for a working one."""
        return any(condition.type == "Ready" and condition.status == "True" for condition in self.status.conditions)


class _PodSpec(BaseModel):
    node: str = Field(default="", alias="nodeName")


class _PodStatus(BaseModel):
    phase: str = ""


class KubernetesPod(BaseModel):
    """The part of a Pod that is shown."""

    metadata: _Metadata
    spec: _PodSpec
    status: _PodStatus


@dataclass(frozen=True, slots=True)
class NodeLine:
    """One node of a lab."""

    name: str
    zone: str
    power: bool
    """Whether its programs run."""
    ready: bool
    """Whether Kubernetes says so."""
    address: str
    pods: tuple[str, ...]
    """namespace/name, and the phase where it is not Running."""


def pods_on(node: str, pods: Iterable[KubernetesPod]) -> tuple[str, ...]:
    """Return what to say about the pods of one node."""
    return tuple(
        f"{pod.metadata.namespace}/{pod.metadata.name}"
        + ("" if pod.status.phase == "Running" else f" ({pod.status.phase})")
        for pod in pods
        if pod.spec.node == node
    )


def table(lines: Iterable[NodeLine]) -> str:
    """Return the lines as text with aligned columns."""
    rows = [
        ("NODE", "ZONE", "READY", "POWER", "ADDRESS", "RUNS"),
        *(
            (
                line.name,
                line.zone,
                "Ready" if line.ready else "NotReady",
                "on" if line.power else "off",
                line.address,
                ", ".join(line.pods) or "-",
            )
            for line in lines
        ),
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
