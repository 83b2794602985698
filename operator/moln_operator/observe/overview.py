"""Every Cloud at a glance, from the inventory alone: what the metrics and the status page show. Asks nobody.

What it says of nodes is what Kubernetes says of their pods; what it says of copies follows from the map and from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import ValidationError

from moln_operator.kube.inventory import is_ready, status_of
from moln_operator.observe.gather import CLASS_ANNOTATION
from moln_operator.plan import names
from moln_spec.cloudmap import CloudMap
from moln_spec.coverage import Coverage, Covering
from moln_spec.resources.cloud import CloudStatus

if TYPE_CHECKING:
    from moln_operator.kube.inventory import CloudKey, Inventory, Known


@dataclass(frozen=True, slots=True)
class PodView:
    """A node's pod.

    Attributes:
        name: the pod's, and the node's.
        ready: Kubernetes sends it requests.
        machine: where it runs; empty while it is nowhere.
    """

    name: str
    ready: bool
    machine: str


@dataclass(frozen=True, slots=True)
class CloudView:
    """One Cloud.

    Attributes:
        key: namespace and name.
        status: what was last written to it.
        pods: its nodes' pods.
        map: the newest cloud map; None where there is none, or it can't be read.
        coverage: what the pods that are ready hold; None without a map.
    """

    key: CloudKey
    status: CloudStatus
    pods: tuple[PodView, ...]
    map: CloudMap | None
    coverage: Coverage | None


@dataclass(slots=True)
class _Read:
    """A cloud map as it was read at a version of its ConfigMap, with what follows from it."""

    version: int
    map: CloudMap
    covering: Covering


class Overview:
    """Looks at an inventory. A map is read again only when its ConfigMap has changed."""

    def __init__(self, inventory: Inventory, operator_class: str = "") -> None:
        self._inventory = inventory
        self._class = operator_class
        self._maps: dict[CloudKey, _Read] = {}

    def clouds(self) -> tuple[CloudView, ...]:
        """Every Cloud that this operator looks after, by namespace and name."""
        ours = sorted(
            (entry for entry in self._inventory.every("Cloud") if self._is_ours(entry)),
            key=lambda entry: (entry.namespace, entry.name),
        )
        keys = {(entry.namespace, entry.name) for entry in ours}
        self._maps = {key: known for key, known in self._maps.items() if key in keys}
        return tuple(self._view(entry) for entry in ours)

    def _is_ours(self, entry: Known) -> bool:
        annotations = entry.content["metadata"].get("annotations") or {}
        return bool(annotations.get(CLASS_ANNOTATION, "") == self._class)

    def _view(self, entry: Known) -> CloudView:
        key = (entry.namespace, entry.name)
        pods = tuple(PodView(pod.name, is_ready(pod), pod.content["node"]) for pod in self._inventory.of(key, "Pod"))
        read = self._read(key)
        return CloudView(
            key=key,
            status=_status(entry),
            pods=pods,
            map=None if read is None else read.map,
            coverage=None if read is None else read.covering.by({pod.name for pod in pods if pod.ready}),
        )

    def _read(self, key: CloudKey) -> _Read | None:
        known = self._inventory.get("ConfigMap", key[0], names.map_config(key[1]))
        if known is None:
            return None
        read = self._maps.get(key)
        if read is None or read.version != known.version:
            try:
                found = CloudMap.model_validate_json((known.content.get("data") or {}).get(names.MAP_KEY, ""))
            except ValidationError:
                self._maps.pop(key, None)
                return None
            read = self._maps[key] = _Read(known.version, found, Covering(found))
        return read


def _status(entry: Known) -> CloudStatus:
    """The status as it was written; an empty one where another release wrote what this one does not know."""
    try:
        return CloudStatus.model_validate(status_of(entry))
    except ValidationError:
        return CloudStatus()
