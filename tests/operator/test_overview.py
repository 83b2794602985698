"""Every Cloud at a glance, and as metrics: from the inventory alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prometheus_client.parser import text_string_to_metric_families
from tests.operator.given import an_answer

from moln_operator.kube import labels
from moln_operator.kube.inventory import Inventory
from moln_operator.metrics import Metrics
from moln_operator.observe.nodes import Answer
from moln_operator.observe.overview import Overview
from moln_operator.plan import names
from moln_spec.cloudmap import CloudMap, MapNode
from moln_spec.nodestatus import Moving

if TYPE_CHECKING:
    from moln_operator.kube.kinds import Manifest

STATUS = {
    "conditions": [
        {"type": "Ready", "status": "False", "reason": "NodesNotReady", "message": "photos-2: no answer"},
        {"type": "Degraded", "status": "False", "reason": "AsExpected"},
        {"type": "Accepted", "status": "True", "reason": "Valid"},
        {"type": "ScaleDownBlocked", "status": "False", "reason": "AsExpected"},
    ],
    "nodes": {"desired": 3, "current": 3, "ready": 2, "summary": "2/3"},
    "map": {"epoch": 7, "acknowledged": 6},
}


def a_manifest(kind: str, name: str, version: int = 1, cloud: str = "photos", **more: Any) -> Manifest:
    """An object of a cloud."""
    metadata = {"name": name, "namespace": "home", "resourceVersion": str(version), "labels": labels.of_cloud(cloud)}
    return {"kind": kind, "metadata": metadata | more.pop("metadata", {}), **more}


def a_map_config(epoch: int, version: int, nodes: int = 3, cloud: str = "photos") -> Manifest:
    """The ConfigMap with the map of so many nodes."""
    members = tuple(
        MapNode(name=f"{cloud}-{n}", number=n, address="x:1", pool=cloud, state="leaving" if n == 3 else "active")
        for n in range(nodes)
    )
    text = CloudMap(cloud=cloud, uid="u", epoch=epoch, nodes=members).model_dump_json()
    return a_manifest("ConfigMap", names.map_config(cloud), version, cloud, data={names.MAP_KEY: text})


def an_inventory(ready: int = 2, status: dict[str, Any] | None = None) -> Inventory:
    """The cloud `photos` of three nodes, of which so many are ready."""
    found = Inventory()
    fill(found, "photos", ready, STATUS if status is None else status)
    return found


def fill(inventory: Inventory, cloud: str, ready: int, status: dict[str, Any]) -> None:
    """Add a cloud of three nodes."""
    inventory.put(a_manifest("Cloud", cloud, cloud=cloud, status=status))
    inventory.put(a_map_config(7, 1, cloud=cloud))
    for number in range(3):
        condition = {"type": "Ready", "status": "True" if number < ready else "False"}
        spec, status_of_pod = {"nodeName": f"machine-{number}"}, {"conditions": [condition]}
        inventory.put(a_manifest("Pod", f"{cloud}-{number}", cloud=cloud, spec=spec, status=status_of_pod))


def said_by(number: int, moving: Moving | None = None) -> Answer:
    """What a node answers."""
    return an_answer(node=f"photos-{number}", epoch=8, registers=50 + number, moving=moving)


def a_drain() -> dict[str, Answer]:
    """What four nodes answer while the last of them leaves: two go through what they have, one says nothing."""
    return {
        "photos-0": said_by(0, Moving(done=10, total=40, bytes=5000, seconds_left=None)),
        "photos-1": said_by(1, Moving(done=30, total=60, bytes=100, seconds_left=None)),
        "photos-2": Answer(error="no answer"),
        "photos-3": said_by(3),
    }


def samples(inventory: Inventory, metrics: Metrics | None = None) -> dict[tuple[str, ...], float]:
    """What Prometheus reads of clouds: name and label values, in the order of the labels' names."""
    metrics = metrics or Metrics()
    metrics.show_clouds(Overview(inventory).clouds)
    return {
        (sample.name.removeprefix("moln_operator_"), *(sample.labels[name] for name in sorted(sample.labels))): value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
        for value in [sample.value]
        if sample.name.startswith("moln_operator_cloud")
    }


def test_a_cloud_is_shown_with_what_its_pods_hold() -> None:
    """Two of three nodes are ready: two copies of everything, and no partition is stuck."""
    (cloud,) = Overview(an_inventory()).clouds()
    assert cloud.key == ("home", "photos")
    assert [(pod.name, pod.ready, pod.machine) for pod in cloud.pods][2] == ("photos-2", False, "machine-2")
    assert cloud.coverage is not None
    assert (cloud.coverage.fewest, cloud.coverage.stuck) == (2, 0)


def test_its_gauges_carry_the_clouds_name() -> None:
    """Conditions, nodes, epochs and copies, by namespace and name."""
    found = samples(an_inventory(ready=1))
    assert found["cloud_condition", "photos", "home", "Ready"] == 0
    assert found["cloud_nodes", "photos", "home", "desired"] == 3
    assert found["cloud_nodes", "photos", "home", "ready"] == 2
    assert found["cloud_map_epoch", "photos", "home"] == 7
    assert found["cloud_acknowledged_epoch", "photos", "home"] == 6
    assert found["cloud_copies", "photos", "home"] == 3
    assert found["cloud_fewest_serving_copies", "photos", "home"] == 1
    assert found["cloud_stuck_partitions", "photos", "home"] == 512
    assert found["cloud_map_nodes", "photos", "home", "leaving"] == 0
    assert found["cloud_map_nodes", "photos", "home", "spare"] == 0
    assert found["clouds", "NodesNotReady"] == 1


def test_a_cloud_that_is_gone_leaves_no_series() -> None:
    """Neither its gauges nor the time of its last look."""
    inventory, metrics = an_inventory(), Metrics()
    metrics.reconciled("ok", ("home", "photos"))
    assert samples(inventory, metrics)["cloud_reconciled_timestamp_seconds", "photos", "home"] > 0
    inventory.remove("Cloud", "home", "photos")
    metrics.reconciled("gone", ("home", "photos"))
    assert "photos" not in metrics.render().decode()


def test_a_drain_is_followed_while_there_is_one() -> None:
    """What is left on the node that leaves, and how far the others are; once it is over, no series says 0 of 0."""
    inventory, metrics = an_inventory(), Metrics()
    inventory.put(a_map_config(8, 2, nodes=4))
    metrics.heard(("home", "photos"), a_drain())
    found = samples(inventory, metrics)
    assert found["cloud_moving_registers", "photos", "home", "done"] == 40
    assert found["cloud_moving_registers", "photos", "home", "total"] == 100
    assert found["cloud_moved_bytes", "photos", "home"] == 5100
    assert {key: value for key, value in found.items() if key[0] == "cloud_leaving_registers"} == {
        ("cloud_leaving_registers", "photos", "home", "photos-3"): 53
    }
    after = Metrics()
    inventory.put(a_map_config(9, 3))
    after.heard(("home", "photos"), {f"photos-{n}": said_by(n) for n in range(3)})
    assert not [key for key in samples(inventory, after) if key[0].startswith(("cloud_moving", "cloud_leaving"))]
    after.reconciled("gone", ("home", "photos"))
    assert not after._heard


def test_a_newer_map_is_read_and_a_bad_one_is_none() -> None:
    """The map is as its ConfigMap is now; one that can't be read leaves the rest of the picture."""
    inventory = an_inventory()
    overview = Overview(inventory)
    overview.clouds()
    inventory.put(a_map_config(8, 2, nodes=4))
    (cloud,) = overview.clouds()
    assert cloud.map is not None
    assert cloud.map.epoch == 8
    assert samples(inventory)["cloud_map_nodes", "photos", "home", "leaving"] == 1
    inventory.put(a_manifest("ConfigMap", names.map_config("photos"), 3, data={}))
    (cloud,) = overview.clouds()
    assert (cloud.map, cloud.coverage, len(cloud.pods)) == (None, None, 3)


def test_clouds_of_another_operator_are_not_shown() -> None:
    """Two operators side by side don't both count a Cloud."""
    inventory = an_inventory()
    assert not Overview(inventory, "other").clouds()
    inventory.put(a_manifest("Cloud", "photos", 2, metadata={"annotations": {"moln.dev/operator": "other"}}))
    assert not Overview(inventory).clouds()
    assert len(Overview(inventory, "other").clouds()) == 1


def test_a_status_that_is_not_understood_is_shown_as_empty() -> None:
    """What another release wrote does not keep the other clouds from being shown."""
    (cloud,) = Overview(an_inventory(status={"nodes": "many"})).clouds()
    assert cloud.status.nodes.desired == 0
