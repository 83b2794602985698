"""What the operator remembers of the cluster, and whom a change concerns."""

from __future__ import annotations

from typing import Any

from moln_operator.kube import labels
from moln_operator.kube.inventory import Inventory, fingerprint

HOME = ("home", "photos")


def a_service(version: int = 1, **more: Any) -> dict[str, Any]:
    """A Service of the cloud `photos`."""
    metadata = {
        "name": "photos",
        "namespace": "home",
        "uid": "s1",
        "resourceVersion": str(version),
        "labels": labels.of_cloud("photos"),
    }
    return {"kind": "Service", "metadata": {**metadata, **more.pop("metadata", {})}, "spec": {"ports": []}, **more}


def test_a_change_concerns_its_cloud() -> None:
    """Labels lead from a child to its Cloud; so does a reference."""
    inventory = Inventory()
    assert inventory.put(a_service()) == {HOME}
    policy = {
        "kind": "ReplicationPolicy",
        "metadata": {"name": "p", "namespace": "home"},
        "spec": {"cloudRef": {"name": "photos"}},
    }
    assert inventory.put(policy) == {HOME}
    assert [entry.name for entry in inventory.of(HOME, "ReplicationPolicy")] == ["p"]
    assert inventory.remove("Service", "home", "photos") == {HOME}
    assert inventory.of(HOME, "Service") == []


def test_a_child_whose_label_was_taken_away_still_concerns_its_cloud() -> None:
    """The cloud before the edit is told, so that the label is put back."""
    inventory = Inventory()
    inventory.put(a_service())
    assert inventory.put(a_service(2, metadata={"labels": {}})) == {HOME}


def test_an_older_event_does_not_undo_a_newer_answer() -> None:
    """After a write its answer is known at once; the events before it come later."""
    inventory = Inventory()
    inventory.put(a_service(5, spec={"ports": [1]}))
    assert inventory.put(a_service(4)) == set()
    found = inventory.get("Service", "home", "photos")
    assert found is not None
    assert found.version == 5


def test_a_recreated_object_replaces_the_old_one_whatever_its_version() -> None:
    """Another uid is another object."""
    inventory = Inventory()
    inventory.put(a_service(5))
    assert inventory.put(a_service(4, metadata={"uid": "s2"})) == {HOME}


def test_what_a_list_does_not_show_is_gone() -> None:
    """A lost DELETED event is repaired by the next list, in its namespace only."""
    inventory = Inventory()
    inventory.put(a_service())
    assert inventory.replace("Service", "elsewhere", []) == set()
    assert inventory.replace("Service", "*", []) == {HOME}
    assert len(inventory) == 0


def test_fingerprints_see_hands_and_not_the_server() -> None:
    """Spec, labels and owners count; status, version and managedFields do not."""
    plain = fingerprint(a_service())
    assert fingerprint(a_service(9, status={"loadBalancer": {}})) == plain
    assert fingerprint(a_service(metadata={"managedFields": [1]})) == plain
    assert fingerprint({**a_service(), "apiVersion": "v1"}) == plain
    assert fingerprint(a_service(spec={"ports": [1]})) != plain
    assert fingerprint(a_service(metadata={"labels": {}})) != plain
    assert fingerprint(a_service(metadata={"ownerReferences": [{"uid": "x"}]})) != plain


def test_only_what_is_needed_is_kept() -> None:
    """Pods and Services are remembered in a few fields, so that a thousand clouds fit."""
    inventory = Inventory()
    inventory.put({**a_service(), "spec": {"big": "x" * 1000, "ports": []}})
    pod = {
        "kind": "Pod",
        "metadata": {"name": "photos-0", "namespace": "home", "labels": labels.of_cloud("photos")},
        "spec": {"nodeName": "m", "containers": ["x" * 5000]},
    }
    inventory.put(pod)
    found = inventory.get("Pod", "home", "photos-0")
    assert found is not None
    assert len(str(found.content)) < 200
