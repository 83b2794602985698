"""What holds a deletion until it is safe: of a Cloud whose volumes go with it, and of pools that are to be emptied."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from moln_operator.plan import names
from moln_operator.plan.pools import deleted
from moln_spec.resources.meta import API_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable

    from moln_operator.apply.children import Applier
    from moln_operator.observe.state import Observed
    from moln_spec.cloudmap import CloudMap
    from moln_spec.resources.cloud import Cloud
    from moln_spec.resources.storagenode import StorageNode


@dataclass(frozen=True, slots=True)
class Finalizers:
    """Sets the operator's finalizers and takes them away, and leaves those of others alone."""

    applier: Applier

    async def guard_data(self, cloud: Cloud) -> None:
        """Hold the Cloud's deletion only where volumes are to be deleted with it."""
        await self._set(cloud, names.FINALIZER, held=cloud.spec.deletion_policy == "Delete")

    async def release_data(self, cloud: Cloud) -> None:
        """Let the Cloud's deletion end."""
        await self._set(cloud, names.FINALIZER, held=False)

    async def hold_pools(self, observed: Observed, cloud_map: CloudMap | None) -> None:
        """Hold the deletion of each pool until the map has no node of it and its pods are gone."""
        in_use = {node.pool for node in cloud_map.nodes} if cloud_map is not None else set()
        for pool in observed.storage_nodes:
            name = pool.metadata.name
            if name == observed.cloud.metadata.name:
                continue
            if not deleted(pool):
                await self._set(pool, names.DRAIN_FINALIZER, held=True)
            elif cloud_map is not None and name not in in_use and name not in observed.stateful_sets:
                await self.release_pools([pool])

    async def release_pools(self, pools: Iterable[StorageNode]) -> None:
        """Let the deletion of pools go on, of those that are deleted: there is no cloud to move their data to."""
        for pool in pools:
            if deleted(pool):
                await self._set(pool, names.DRAIN_FINALIZER, held=False)

    async def _set(self, resource: Cloud | StorageNode, finalizer: str, *, held: bool) -> None:
        """Write one finalizer of a resource as it should be; the uid guards another resource of the same name."""
        found = resource.metadata
        if held == (finalizer in found.finalizers):
            return
        kept = [name for name in found.finalizers if name != finalizer]
        metadata = {"finalizers": [*kept, finalizer] if held else kept, "uid": found.uid}
        patch = {"apiVersion": API_VERSION, "kind": resource.kind, "metadata": metadata}
        await self.applier.merge((found.namespace, found.name), resource.kind, found.name, patch)
