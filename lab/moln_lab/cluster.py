"""What the API server of a running lab says: kubectl for anything, and typed answers to a few questions."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, Field

from moln_lab import volumes
from moln_lab.commands import run
from moln_lab.errors import LabError
from moln_lab.status import KubernetesNode, KubernetesPod
from moln_lab.topology import Topology

T = TypeVar("T", bound=BaseModel)


class _Name(BaseModel):
    name: str


class _LeaseSpec(BaseModel):
    renewed: datetime = Field(alias="renewTime")


class _Lease(BaseModel):
    metadata: _Name
    spec: _LeaseSpec


class _CsiNodeSpec(BaseModel):
    drivers: list[_Name] | None


class _CsiNode(BaseModel):
    metadata: _Name
    spec: _CsiNodeSpec


class _Leases(BaseModel):
    items: list[_Lease]


class _CsiNodes(BaseModel):
    items: list[_CsiNode]


class _Nodes(BaseModel):
    items: list[KubernetesNode]


class _Pods(BaseModel):
    items: list[KubernetesPod]


@dataclass(frozen=True, slots=True)
class Cluster:
    """The API server of one lab."""

    topology: Topology
    programs: Path
    """The folder that kubectl is in."""

    def kubectl(self, *arguments: str, stdin: bytes | None = None, timeout: float = 60) -> str:
        """Run kubectl and return its output.

        Raises:
            LabError: It failed.
        """
        command: list[str | Path] = [self.programs / "kubectl", "--kubeconfig", self.topology.kubeconfig, *arguments]
        return run(command, stdin=stdin, timeout=timeout)

    def apply(self, manifest: str) -> None:
        """Have objects be as a manifest says.

        Raises:
            LabError: The API server refused one.
        """
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=manifest.encode())

    def answers(self) -> bool:
        """Tell whether the API server says that all of it is ready."""
        try:
            self.kubectl("get", "--raw", "/readyz", timeout=10)
        except LabError:
            return False
        return True

    def nodes(self) -> list[KubernetesNode]:
        """Return all nodes."""
        return self._get(_Nodes, "nodes").items

    def pods(self) -> list[KubernetesPod]:
        """Return all pods of all namespaces."""
        return self._get(_Pods, "pods", "--all-namespaces").items

    def heard_from(self, since: Mapping[str, float]) -> bool:
        """Tell whether nodes are Ready, volumes' driver included, by their own word since a moment each (time.time()).

        A node that died says nothing, and the API server keeps calling it Ready for a while: so the word must be new.
        """
        ready = {node.metadata.name for node in self.nodes() if node.ready}
        if not ready >= since.keys():
            return False
        leases = self._get(_Leases, "leases", "--namespace=kube-node-lease").items
        renewed = {lease.metadata.name: lease.spec.renewed.timestamp() for lease in leases}
        drivers = {
            node.metadata.name
            for node in self._get(_CsiNodes, "csinodes").items
            if any(driver.name == volumes.DRIVER for driver in node.spec.drivers or ())
        }
        return drivers >= since.keys() and all(renewed.get(name, 0) >= moment for name, moment in since.items())

    def _get(self, kind: type[T], *what: str) -> T:
        return kind.model_validate_json(self.kubectl("get", *what, "--output=json"))
