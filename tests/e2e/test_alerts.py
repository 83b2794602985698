"""Alerts on the lab: what each warns of is brought about on a real cloud, seen by a real Prometheus, and mended.

How long it must last is shown in tests/monitoring/test_alerts.py. This story keeps pods from every machine for a
while, so it has the lab to itself (see the Makefile).
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest
from tests.e2e.cluster import a_cloud
from tests.e2e.story import pods, scale
from tests.monitoring.conftest import scraping, until_it_is

from moln_lab import volume_faults

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.cluster import Namespace
    from tests.monitoring.conftest import Prometheus

pytestmark = [pytest.mark.lab, pytest.mark.monitoring, pytest.mark.alone, pytest.mark.xdist_group("alone")]

ALERTS = (
    "MolnDataAtRisk", "MolnPartitionsStuck", "MolnNodeOffline", "MolnCloudNotReady", "MolnCloudNotAccepted",
    "MolnMapNotAcknowledged", "MolnScaleDownBlocked", "MolnVolumeAlmostFull", "MolnWritesRefused",
)  # fmt: skip


@pytest.fixture
def watching(namespace: Namespace, tmp_path: Path) -> Iterator[Prometheus]:
    """A Prometheus that watches a settled cloud of three nodes and its operator."""
    operator = namespace.operator()
    namespace.apply(a_cloud("photos", nodes={"replicas": 3}))
    namespace.wait_settled("photos", "3/3")
    targets = {
        pod["metadata"]["name"]: (namespace.name, f"{pod['status']['podIP']}:9001")
        for pod in namespace.list("pods", "moln.dev/cloud=photos")
    }
    with scraping(tmp_path, targets | {"moln-0": ("moln-system", f"127.0.0.1:{operator.port}")}) as prometheus:
        yield prometheus


@contextmanager
def no_machine_takes_pods(namespace: Namespace) -> Iterator[None]:
    """Every machine is cordoned."""
    machines = [node.name for node in namespace.lab.topology.nodes]
    try:
        for machine in machines:
            namespace.lab.kubectl("cordon", machine)
        yield
    finally:
        for machine in machines:
            namespace.lab.kubectl("uncordon", machine)


def test_alerts_follow_what_happens_to_a_cloud(namespace: Namespace, watching: Prometheus) -> None:
    """A wrong edit, one node too few, a full disk, two pods that find no machine: told, and over when mended."""
    until = partial(until_it_is, watching)
    for alert in ALERTS:
        until(alert, wrong=False)

    namespace.patch(
        "cloud", "photos", {"spec": {"storageClasses": [{"name": "A", "default": True, "pools": ["tape"]}]}}
    )
    until("MolnCloudNotAccepted", wrong=True)
    namespace.patch("cloud", "photos", {"spec": {"storageClasses": None}})
    until("MolnCloudNotAccepted", wrong=False)

    scale(namespace, 2)
    until("MolnScaleDownBlocked", wrong=True)
    scale(namespace, 3)
    until("MolnScaleDownBlocked", wrong=False)

    volume = volume_faults.find(namespace.lab.topology, f"{namespace.name}/data-photos-1")
    volume_faults.fill(volume)
    try:
        for alert in ("MolnVolumeAlmostFull", "MolnWritesRefused"):
            until(alert, wrong=True)
    finally:
        volume_faults.unfill(volume)
    for alert in ("MolnVolumeAlmostFull", "MolnWritesRefused"):
        until(alert, wrong=False)

    lost = ("MolnDataAtRisk", "MolnPartitionsStuck", "MolnNodeOffline", "MolnCloudNotReady", "MolnMapNotAcknowledged")
    with no_machine_takes_pods(namespace):
        namespace.kubectl("delete", "pod", "--wait=false", *sorted(pods(namespace))[1:])
        namespace.patch("cloud", "photos", {"spec": {"limits": {"uploadExpiryDays": 6}}})
        for alert in lost:
            until(alert, wrong=True)
    for alert in lost:
        until(alert, wrong=False)
