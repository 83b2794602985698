"""A new release of the nodes rolls out one node at a time; one that does not run stops at the first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.e2e.cluster import a_cloud, eventually
from tests.e2e.story import clients_at_work

if TYPE_CHECKING:
    from tests.e2e.cluster import Namespace

pytestmark = pytest.mark.lab


def test_a_bad_image_stops_at_the_first_node_and_can_be_taken_back(namespace: Namespace) -> None:
    """The others go on as they were, and clients with them; the status says why."""
    namespace.operator()
    namespace.apply(a_cloud("photos", nodes={"replicas": 3}))
    namespace.wait_ready("photos", 150)
    before = _pods(namespace)
    with clients_at_work(namespace, seed=8):
        namespace.patch("cloud", "photos", {"spec": {"image": "moln.invalid/none:bad"}})

        def is_told() -> bool:
            found = namespace.condition("photos")
            assert found.get("status") == "False", found
            return "photos-2" in found["message"] and "Image" in found["message"]

        eventually(is_told, "the status says which node has a bad image", 120)
        progress = namespace.condition("photos", "Progressing")
        assert progress["reason"] == "RollingOut"
        assert "photos-2 is not ready" in progress["message"]
        after = _pods(namespace)
        assert after["photos-2"] != before["photos-2"]
        assert {name: after[name] for name in ("photos-0", "photos-1")} == {
            name: before[name] for name in ("photos-0", "photos-1")
        }
        namespace.patch("cloud", "photos", {"spec": {"image": None}})
        namespace.wait_settled("photos", "3/3")
        again = _pods(namespace)
        assert {again[name] for name in ("photos-0", "photos-1")} == {before[name] for name in ("photos-0", "photos-1")}


def _pods(namespace: Namespace) -> dict[str, str]:
    """Each pod's identity: one that was replaced has another one."""
    return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in namespace.list("pods", "moln.dev/cloud=photos")}
