"""The door to the Kubernetes API: plain dictionaries in and out, every write counted.

Everything but a watch has the client's time-out of ten seconds. Errors are lightkube's ApiError, or httpx2's where the
API server was not reached (both are httpx2.HTTPError).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lightkube import ApiError
from lightkube.types import CascadeType, PatchType

from moln_operator.kube.kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from lightkube import AsyncClient

    from moln_operator.kube.kinds import Manifest
    from moln_operator.metrics import Metrics

FIELD_MANAGER = "moln-operator"
PAGE = 500


class Api:
    """What the operator does with the Kubernetes API."""

    def __init__(self, client: AsyncClient, metrics: Metrics) -> None:
        self._client: Any = client  # lightkube's overloads can't see that our kinds are dictionaries
        self._metrics = metrics

    async def get(self, kind: str, namespace: str | None, name: str) -> Manifest | None:
        """One object; None when there is none."""
        where = {} if namespace is None else {"namespace": namespace}
        try:
            return _plain(kind, await self._client.get(KINDS[kind], name, **where))
        except ApiError as error:
            if error.status.code == 404:
                return None
            raise

    async def list(self, kind: str, namespace: str, labels: dict[str, str] | None) -> tuple[list[Manifest], str]:
        """Every object of a kind, page by page, and the version of the list."""
        pages = self._client.list(KINDS[kind], namespace=namespace, labels=labels, chunk_size=PAGE)
        found = [_plain(kind, item) async for item in pages]
        return found, str(pages.resourceVersion)

    async def watch(
        self, kind: str, namespace: str, labels: dict[str, str] | None, version: str, seconds: int
    ) -> AsyncIterator[tuple[str, Manifest]]:
        """Changes after `version`: ADDED, MODIFIED or DELETED, and the object."""
        events = self._client.watch(
            KINDS[kind], namespace=namespace, labels=labels, resource_version=version, server_timeout=seconds
        )
        async for change, item in events:
            yield change, _plain(kind, item)

    async def apply(self, namespace: str, manifest: Manifest, manager: str = FIELD_MANAGER) -> Manifest:
        """Server-side apply, taking fields over from whoever set them."""
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        return await self._patch("apply", kind, namespace, name, KINDS[kind](manifest), PatchType.APPLY, manager)

    async def merge(self, kind: str, namespace: str, name: str, patch: Manifest) -> Manifest:
        """Change a few fields."""
        return await self._patch("merge", kind, namespace, name, patch, PatchType.MERGE)

    async def set_status(self, kind: str, namespace: str, name: str, status: Manifest) -> Manifest:
        """Replace the status of one of our own resources, as far as `status` has its fields."""
        self._metrics.wrote(kind, "status")
        made = await self._client.patch(
            KINDS[kind].Status, name, {"status": status}, namespace=namespace, patch_type=PatchType.MERGE
        )
        return _plain(kind, made)

    async def create(self, namespace: str, manifest: Manifest) -> Manifest | None:
        """Write a new object; None when one of that name exists."""
        kind = manifest["kind"]
        self._metrics.wrote(kind, "create")
        try:
            return _plain(kind, await self._client.create(KINDS[kind](manifest), namespace=namespace))
        except ApiError as error:
            if error.status.code == 409:
                return None
            raise

    async def replace(self, namespace: str, manifest: Manifest) -> Manifest:
        """Write an object whole, if it is still at the version that `manifest` carries."""
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        self._metrics.wrote(kind, "replace")
        return _plain(kind, await self._client.replace(KINDS[kind](manifest), name, namespace=namespace))

    async def delete(self, kind: str, namespace: str, name: str) -> bool:
        """Delete an object and what it owns; False when it is gone already."""
        self._metrics.wrote(kind, "delete")
        try:
            await self._client.delete(KINDS[kind], name, namespace=namespace, cascade=CascadeType.BACKGROUND)
        except ApiError as error:
            if error.status.code == 404:
                return False
            raise
        return True

    async def _patch(
        self,
        verb: str,
        kind: str,
        namespace: str,
        name: str,
        body: Manifest,
        patch_type: PatchType,
        manager: str = FIELD_MANAGER,
    ) -> Manifest:
        self._metrics.wrote(kind, verb)
        made = await self._client.patch(
            KINDS[kind],
            name,
            body,
            namespace=namespace,
            patch_type=patch_type,
            force=patch_type is PatchType.APPLY,
            field_manager=manager,
        )
        return _plain(kind, made)


def _plain(kind: str, item: Any) -> Manifest:
    """An object as a dictionary with its kind, which items of a list lack."""
    return {**item, "kind": kind}
