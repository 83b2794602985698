"""Builders of observed states, so that a test says only what it is about."""

from __future__ import annotations

from typing import Any

from pydantic import SecretStr

from moln_operator.kube import labels
from moln_operator.kube.inventory import Known, known
from moln_operator.observe.nodes import Answer
from moln_operator.observe.state import ClusterSecret, KeyPair, Observed
from moln_operator.report.outcome import Outcome
from moln_operator.settings import Settings
from moln_spec.cloudmap import CloudMap, MapNode, NodeState
from moln_spec.credentials import MasterKey
from moln_spec.nodestatus import NodeStatus
from moln_spec.resources.cloud import Cloud
from moln_spec.resources.storagenode import StorageNode

SETTINGS = Settings(image="moln:test")
NOW = 1_800_000_000.0


def a_cloud(metadata: dict[str, Any] | None = None, **spec: Any) -> Cloud:
    """The Cloud `photos` in namespace `home`, with one node."""
    return Cloud.model_validate(
        {
            "metadata": {"name": "photos", "namespace": "home", "uid": "u1", "generation": 3, **(metadata or {})},
            "spec": {"nodes": {}, **spec},
        }
    )


def a_pool(name: str, **spec: Any) -> StorageNode:
    """A StorageNode of the Cloud."""
    return StorageNode.model_validate(
        {"metadata": {"name": name, "namespace": "home"}, "spec": {"cloudRef": {"name": "photos"}, **spec}}
    )


def a_map_of(states: dict[str, NodeState], **more: Any) -> CloudMap:
    """A map whose nodes are in these states; a node's pool is its name without the ordinal."""
    nodes = tuple(
        MapNode(name=name, number=number, address=name, pool=name.rpartition("-")[0], state=state)
        for number, (name, state) in enumerate(states.items())
    )
    return CloudMap(**{"cloud": "photos", "uid": "u1", "epoch": 1, "nodes": nodes, "next_number": len(nodes), **more})


def a_map(epoch: int = 1, uid: str = "u1") -> CloudMap:
    """A map of one node."""
    node = MapNode(name="photos-0", number=0, address="photos-0.photos-nodes.home.svc:9001", pool="photos", zone="a")
    return CloudMap(cloud="photos", uid=uid, epoch=epoch, nodes=(node,), next_number=1)


def a_pod(name: str = "photos-0", *, ready: bool = True, waiting: dict[str, Any] | None = None, **more: Any) -> Known:
    """A pod of the pool `photos`, as the inventory keeps it."""
    state = {"waiting": waiting} if waiting is not None else {"running": {}}
    return known(
        {
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "home", "uid": f"uid-{name}", "labels": labels.of_cloud("photos")}
            | more.pop("metadata", {}),
            "spec": {"nodeName": "machine-1"},
            "status": {
                "podIP": "10.0.0.1",
                "conditions": more.pop("conditions", [{"type": "Ready", "status": "True" if ready else "False"}]),
                "containerStatuses": [
                    {"state": state, "lastState": more.pop("last_state", {}), "started": more.pop("started", True)}
                ],
            },
        }
    )


def a_claim(name: str, size: str) -> Known:
    """A PersistentVolumeClaim, as the inventory keeps it."""
    spec = {"resources": {"requests": {"storage": size}}}
    return known({"kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": "home"}, "spec": spec})


def a_stateful_set(size: str = "10Gi", replicas: int = 1, **status: Any) -> Known:
    """A StatefulSet, as the inventory keeps it."""
    template = {"spec": {"resources": {"requests": {"storage": size}}}}
    return known(
        {
            "kind": "StatefulSet",
            "metadata": {"name": "photos", "namespace": "home"},
            "spec": {"volumeClaimTemplates": [template], "replicas": replicas},
            "status": status,
        }
    )


def an_answer(*, ready: bool = True, epoch: int = 1, uid: str = "u1", used: int = 10, **more: Any) -> Answer:
    """What a healthy node says."""
    status = NodeStatus(
        node=more.pop("node", "photos-0"),
        uid=uid,
        epoch=epoch,
        version="0.1.0",
        ready=ready,
        capacity_bytes=100,
        used_bytes=used,
        objects=7,
        uptime_seconds=60.0,
        **more,
    )
    return Answer(status=status, started=0.0)


def a_master_key(key_id: str, letter: str = "A") -> MasterKey:
    """A key that objects are encrypted under."""
    return MasterKey(id=key_id, key=SecretStr(letter * 43 + "="))


def observed(cloud: Cloud | None = None, **more: Any) -> Observed:
    """A cloud that runs and is as it should be, changed by `more`."""
    values: dict[str, Any] = {
        "root": KeyPair("ROOT", "root-secret-1"),
        "cluster": ClusterSecret("s3cret", "u1"),
        "master_keys": (a_master_key("first"),),
        "previous_map": a_map(),
        "map_version": "77",
        "pods": {"photos-0": a_pod()},
        "answers": {"photos-0": an_answer()},
        "now": NOW,
        **more,
    }
    return Observed(cloud=cloud or a_cloud(), **values)


def an_outcome(state: Observed | None = None, **more: Any) -> Outcome:
    """The end of a reconcile in which nothing went wrong, changed by `more`."""
    state = state or observed()
    return Outcome(state, **{"cloud_map": a_map(), "answers": state.answers, **more})
