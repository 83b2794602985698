"""What is known of the cluster, filled by watches: the operator's eyes. No I/O.

It keeps of each object only what decisions need, so that a thousand clouds fit in little memory: custom resources, maps
and Secrets with their content, StatefulSets and pods with their state, everything else as a fingerprint.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from moln_operator.kube import labels
from moln_operator.kube.kinds import CUSTOM

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moln_operator.kube.kinds import Manifest

CloudKey = tuple[str, str]
"""Namespace and name of a Cloud."""

_KEPT: Final = {
    "Secret": ("data",),
    "ConfigMap": ("data",),
    "StatefulSet": ("status",),
    "Service": ("spec", "status"),
}
_NOT_PRINTED: Final = ("apiVersion", "kind", "metadata", "status")  # items of a list lack the first two
_OWN_METADATA: Final = ("uid", "labels", "annotations", "ownerReferences", "finalizers")


def fingerprint(manifest: Manifest) -> str:
    """A digest of everything that a hand could have changed: all but the status and the server's book-keeping."""
    metadata = manifest.get("metadata", {})
    content = {name: value for name, value in manifest.items() if name not in _NOT_PRINTED}
    content["metadata"] = {name: metadata.get(name) for name in _OWN_METADATA}
    return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class Known:
    """What is remembered of one object."""

    kind: str
    namespace: str
    name: str
    uid: str
    version: int
    fingerprint: str
    labels: dict[str, str]
    deleting: bool
    content: Manifest

    @property
    def cloud(self) -> str | None:
        """The cloud that the object belongs to, by label, by reference, or because it is one."""
        if self.kind == "Cloud":
            return self.name
        if self.kind in CUSTOM:
            reference = self.content.get("spec", {}).get("cloudRef", {}).get("name")
            return str(reference) if reference else None
        return self.labels.get(labels.CLOUD)


def _content(manifest: Manifest) -> Manifest:
    """The part of an object that decisions read."""
    kind = manifest["kind"]
    if kind in CUSTOM:
        metadata = {name: value for name, value in manifest["metadata"].items() if name != "managedFields"}
        return {**manifest, "metadata": metadata}
    if kind == "Pod":
        status, spec = manifest.get("status", {}), manifest.get("spec", {})
        annotations = manifest["metadata"].get("annotations") or {}
        return {
            "node": spec.get("nodeName", ""),
            "ip": status.get("podIP", ""),
            "created": created(manifest),
            "refreshed": annotations.get(labels.REFRESHED, ""),
            "tls": annotations.get(labels.SCHEME) == "https",
            "revision": (manifest["metadata"].get("labels") or {}).get("controller-revision-hash", ""),
            "started": any(entry.get("started") for entry in status.get("containerStatuses", ())),
            "conditions": {entry["type"]: entry for entry in status.get("conditions", ())},
            "waiting": [_waiting(e) for e in status.get("containerStatuses", ()) if "waiting" in e.get("state", {})],
        }
    if kind == "PersistentVolumeClaim":
        return {
            "requested": manifest.get("spec", {}).get("resources", {}).get("requests", {}).get("storage", ""),
            "phase": manifest.get("status", {}).get("phase", ""),
        }
    kept = {name: manifest[name] for name in _KEPT.get(kind, ()) if name in manifest}
    if kind == "StatefulSet":
        spec = manifest.get("spec", {})
        wanted = ("replicas", "volumeClaimTemplates", "updateStrategy")
        kept["spec"] = {name: spec[name] for name in wanted if name in spec}
        kept["generation"] = manifest["metadata"].get("generation", 0)
        kept["created"] = created(manifest)
    return kept


def created(manifest: Manifest) -> float:
    """When an object was made, in seconds since 1970."""
    stamp = manifest["metadata"].get("creationTimestamp")
    return datetime.fromisoformat(stamp).timestamp() if stamp else 0.0


def _waiting(container: Manifest) -> tuple[str, str]:
    """Why a container waits, and what it said last: its own last words, or the kubelet's."""
    waiting = container["state"]["waiting"]
    last = container.get("lastState", {}).get("terminated", {}).get("message", "")
    return waiting.get("reason", ""), str(last or waiting.get("message", "")).strip()


def known(manifest: Manifest) -> Known:
    """What is remembered of `manifest`."""
    metadata = manifest["metadata"]
    return Known(
        kind=manifest["kind"],
        namespace=metadata.get("namespace", ""),
        name=metadata["name"],
        uid=metadata.get("uid", ""),
        version=int(metadata.get("resourceVersion") or 0),
        fingerprint=fingerprint(manifest),
        labels=dict(metadata.get("labels") or {}),
        deleting="deletionTimestamp" in metadata,
        content=_content(manifest),
    )


class Inventory:
    """Every object that is known, found by kind and cloud."""

    def __init__(self) -> None:
        self._objects: dict[tuple[str, str, str], Known] = {}
        self._by_cloud: defaultdict[CloudKey, set[tuple[str, str, str]]] = defaultdict(set)

    def __len__(self) -> int:
        return len(self._objects)

    def put(self, manifest: Manifest) -> set[CloudKey]:
        """Take in an object as it is now; answers the clouds that it concerns (the one before and the one after)."""
        entry = known(manifest)
        key = (entry.kind, entry.namespace, entry.name)
        before = self._objects.get(key)
        if before is not None and before.uid == entry.uid and before.version > entry.version:
            return set()
        concerned = self._forget(key)
        self._objects[key] = entry
        if entry.cloud is not None:
            owner = (entry.namespace, entry.cloud)
            self._by_cloud[owner].add(key)
            concerned.add(owner)
        return concerned

    def remove(self, kind: str, namespace: str, name: str) -> set[CloudKey]:
        """An object is gone; answers the clouds that it concerned."""
        return self._forget((kind, namespace, name))

    def replace(self, kind: str, namespace: str, manifests: list[Manifest]) -> set[CloudKey]:
        """Take in a whole list of a kind (in one namespace, or in all with `*`): what is not in it is gone."""
        present = {(kind, m["metadata"].get("namespace", ""), m["metadata"]["name"]) for m in manifests}
        concerned: set[CloudKey] = set()
        for key in [key for key in self._objects if key[0] == kind and namespace in ("*", key[1])]:
            if key not in present:
                concerned |= self._forget(key)
        for manifest in manifests:
            concerned |= self.put(manifest)
        return concerned

    def get(self, kind: str, namespace: str, name: str) -> Known | None:
        """One object, if it is known."""
        return self._objects.get((kind, namespace, name))

    def of(self, cloud: CloudKey, kind: str) -> list[Known]:
        """The objects of a kind that belong to a cloud, by name."""
        found = [self._objects[key] for key in self._by_cloud.get(cloud, ()) if key[0] == kind]
        return sorted(found, key=lambda entry: (len(entry.name), entry.name))

    def every(self, kind: str) -> list[Known]:
        """Every object of a kind."""
        return [entry for key, entry in self._objects.items() if key[0] == kind]

    def clouds(self) -> Iterator[CloudKey]:
        """Every cloud that something belongs to, whether or not the Cloud itself is there."""
        yield from [key for key, members in self._by_cloud.items() if members]

    def _forget(self, key: tuple[str, str, str]) -> set[CloudKey]:
        entry = self._objects.pop(key, None)
        if entry is None or entry.cloud is None:
            return set()
        owner = (entry.namespace, entry.cloud)
        self._by_cloud[owner].discard(key)
        if not self._by_cloud[owner]:
            del self._by_cloud[owner]
        return {owner}


def is_ready(pod: Known) -> bool:
    """Whether Kubernetes finds a pod ready, and does not stop it."""
    return not pod.deleting and pod.content["conditions"].get("Ready", {}).get("status") == "True"


def status_of(entry: Known | None) -> dict[str, Any]:
    """The status of a remembered object, empty where there is none."""
    return dict(entry.content.get("status") or {}) if entry is not None else {}
