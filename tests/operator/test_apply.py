"""What is written, and what is left alone."""

from __future__ import annotations

from typing import Any, cast

from moln_operator.apply.children import Applier
from moln_operator.kube import labels
from moln_operator.kube.inventory import Inventory

HOME = ("home", "photos")


class Recording:
    """An API that has nothing, and takes everything."""

    def __init__(self) -> None:
        self.written: list[str] = []

    async def get(self, _kind: str, _namespace: str, _name: str) -> None:
        """Nothing is there."""

    async def apply(self, _namespace: str, manifest: dict[str, Any]) -> dict[str, Any]:
        """Take it."""
        self.written.append(f"{manifest['kind']}/{manifest['metadata']['name']}")
        return {**manifest, "metadata": {**manifest["metadata"], "namespace": "home", "resourceVersion": "8"}}


def an_object(kind: str, **metadata: Any) -> dict[str, Any]:
    """An object of the cloud."""
    return {"kind": kind, "metadata": {"name": "x", "labels": labels.of_cloud("photos"), **metadata}, "data": {}}


async def test_a_secret_that_was_deleted_meanwhile_is_not_brought_back() -> None:
    """Users delete one for a new one; a look that had seen it would undo that. Maps are kept, whoever deletes them."""
    api = Recording()
    applier = Applier(cast("Any", api), Inventory())
    assert await applier.apply(HOME, an_object("Secret", resourceVersion="7")) is None
    assert not api.written
    assert await applier.apply(HOME, an_object("Secret")) is not None
    assert await applier.apply(HOME, an_object("ConfigMap", resourceVersion="7")) is not None
    assert api.written == ["Secret/x", "ConfigMap/x"]
