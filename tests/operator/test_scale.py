"""A thousand clouds: what the operator remembers of them stays small."""

from __future__ import annotations

import gc
import json
import tracemalloc
from typing import Any

from tests.operator.given import SETTINGS, a_cloud, a_map, observed

from moln_operator.kube import labels
from moln_operator.kube.inventory import Inventory
from moln_operator.plan.children import children
from moln_operator.plan.cloudmap import config_map
from moln_operator.plan.credentials import credentials

CLOUDS = 250
MOST_BYTES_EACH = 64 * 1024


def objects_of(name: str) -> str:
    """Every object of one cloud as JSON, about as large as the API server sends them."""
    cloud = a_cloud({"name": name, "uid": f"uid-{name}"})
    state = observed(cloud)
    document = {**cloud.model_dump(mode="json", by_alias=True), "kind": "Cloud"}
    stateful_set: dict[str, Any] = {}
    found = [document, config_map(state, a_map()), *children(state, a_map(), credentials(state), ("s3cret",), SETTINGS)]
    for manifest in found:
        manifest["metadata"]["managedFields"] = [{"fieldsV1": {f"f:{n}": {} for n in range(40)}}]
        manifest["metadata"]["namespace"] = "home"
        stateful_set = manifest if manifest["kind"] == "StatefulSet" else stateful_set
    template = stateful_set["spec"]["template"]
    metadata = {"name": f"{name}-0", "namespace": "home", "uid": f"pod-{name}", "labels": labels.of_cloud(name)}
    found.append({"kind": "Pod", "metadata": metadata, "spec": {**template["spec"], "nodeName": "m"}, "status": {}})
    return json.dumps(found)


def test_a_thousand_clouds_fit_in_little_memory() -> None:
    """The inventory's share of each cloud with all its children, measured; the pod's limit is 512Mi for a thousand."""
    inventory = Inventory()
    one = objects_of("NAME")
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(CLOUDS):
            for manifest in json.loads(one.replace("NAME", f"cloud-{number}")):
                inventory.put(manifest)
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(inventory) == CLOUDS * 11
    assert held / CLOUDS < MOST_BYTES_EACH, f"{held / CLOUDS / 1024:.0f} KiB each"
