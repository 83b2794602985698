"""The lab with this release's resources and image, and a namespace per test that is gone afterwards."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.e2e.cluster import Namespace
from tests.e2e.reading import Reader

from moln_lab.lab import Lab
from moln_lab.saved import Saved
from moln_lab.topology import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
LEAST_NODES = 3


@pytest.fixture(scope="session")
def lab() -> Lab:
    """A running lab of at least three nodes."""
    settings = Settings.of()
    saved = Saved.find(settings)
    lab = Lab(Settings.of(settings.name, max(LEAST_NODES, saved.nodes if saved else 0)))
    lab.up()
    return lab


@pytest.fixture(scope="session")
def image(lab: Lab) -> str:
    """The project's image, as the code is now, on every node."""
    return lab.images()


@pytest.fixture(scope="session")
def resources(lab: Lab) -> Lab:
    """The lab with the CRDs of this release."""
    for path in sorted((ROOT / "crds").glob("*.yaml")):
        # In the name of Helm, so that the chart's tests find no other owner of a field.
        lab.kubectl("apply", "--server-side", "--force-conflicts", "--field-manager=helm", "-f", str(path))
    return lab


@pytest.fixture(scope="session")
def reader(resources: Lab) -> Iterator[Reader]:
    """Who asks the API server what there is."""
    with Reader(str(resources.settings.state / "kubeconfig")) as made:
        yield made


@pytest.fixture
def namespace(resources: Lab, image: str, reader: Reader, tmp_path: Path) -> Iterator[Namespace]:
    """A namespace of the test's own, without an operator."""
    name = f"moln-e2e-{uuid.uuid4().hex[:8]}"
    made = Namespace(resources, name, image, str(resources.settings.state / "kubeconfig"), reader, tmp_path)
    resources.kubectl("create", "namespace", name)
    try:
        yield made
    finally:
        for operator in made.operators:
            operator.stop()
        for cloud in made.list("clouds"):
            made.patch("cloud", cloud["metadata"]["name"], {"metadata": {"finalizers": None}})
        for pool in made.list("storagenodes"):
            made.patch("storagenode", pool["metadata"]["name"], {"metadata": {"finalizers": None}})
        # What the next test could feel is waited for; the namespace itself takes Kubernetes many seconds more.
        kinds = "clouds,storagenodes,deployments,statefulsets,pods,pvc"
        made.kubectl("delete", kinds, "--all", "--grace-period=0", "--force", "--timeout=120s", timeout=130)
        resources.kubectl("delete", "namespace", name, "--wait=false")
