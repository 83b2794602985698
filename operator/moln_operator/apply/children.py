"""Server-side apply of a cloud's children, and no write where nothing differs.

After each apply it remembers what was asked for and what the server made of it. As long as both stay the same there
is nothing to do, whatever fields the server or others fill in. Anything else is applied again: an edit by hand, or a
restart of the operator, after which each child is applied once and the server changes nothing.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from moln_operator.kube import labels
from moln_operator.kube.inventory import fingerprint

if TYPE_CHECKING:
    from moln_operator.kube.api import Api
    from moln_operator.kube.inventory import CloudKey, Inventory, Known
    from moln_operator.kube.kinds import Manifest


class NameTakenError(Exception):
    """An object that is not the cloud's has the name of a child; it is left alone."""

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong, as sentences for the user."""
        return (str(self),)


@dataclass(frozen=True, slots=True)
class Change:
    """One write, for the event that tells of it."""

    action: Literal["Created", "Updated", "Repaired", "Deleted"]
    kind: str
    name: str


class Applier:
    """Writes children; one for the whole operator."""

    def __init__(self, api: Api, inventory: Inventory) -> None:
        self._api = api
        self._inventory = inventory
        self._settled: dict[tuple[str, str, str], tuple[str, str]] = {}
        self._restarted: set[str] = set()

    async def apply(self, cloud: CloudKey, manifest: Manifest) -> Change | None:
        """Make one child as planned; None when it is so already. NameTakenError, ApiError."""
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        key = (kind, cloud[0], name)
        wanted = _digest(manifest)
        live = self._inventory.get(*key)
        settled = self._settled.get(key)
        if live is not None and settled == (wanted, live.fingerprint):
            return None
        if live is None:
            if kind == "Secret" and "resourceVersion" in manifest["metadata"]:
                return None  # deleted since it was looked at, as users do for a new one: the next look decides anew
            await self._refuse_foreign(cloud, kind, name)
        made = await self._api.apply(cloud[0], manifest)
        self._inventory.put(made)
        self._settled[key] = (wanted, fingerprint(made))
        if live is None:
            return Change("Created", kind, name)
        if live.fingerprint == fingerprint(made):
            return None
        return Change("Repaired" if settled is not None and settled[0] == wanted else "Updated", kind, name)

    async def create(self, cloud: CloudKey, manifest: Manifest) -> Change | None:
        """Write an object that must never be overwritten; None when it exists already."""
        made = await self._api.create(cloud[0], manifest)
        if made is None:
            return None
        self._inventory.put(made)
        return Change("Created", manifest["kind"], manifest["metadata"]["name"])

    async def delete(self, cloud: CloudKey, kind: str, name: str) -> Change | None:
        """Delete an object that the plan names; None when it is gone already."""
        self._settled.pop((kind, cloud[0], name), None)
        return Change("Deleted", kind, name) if await self._api.delete(kind, cloud[0], name) else None

    async def restart(self, cloud: CloudKey, pod: Known) -> bool:
        """Delete a pod, so that it comes back by its newest template; once, however late the news of it is."""
        if pod.uid in self._restarted:
            return False
        self._restarted.add(pod.uid)
        return await self._api.delete("Pod", cloud[0], pod.name)

    def keep_only(self, pods: set[str]) -> None:
        """Forget the pods (by uid) that are gone."""
        self._restarted &= pods

    async def merge(self, cloud: CloudKey, kind: str, name: str, patch: Manifest) -> None:
        """Change a few fields of an object that is not planned as a whole."""
        self._inventory.put(await self._api.merge(kind, cloud[0], name, patch))

    def forget(self, cloud: CloudKey) -> None:
        """The Cloud is gone: let go of what was remembered of its children."""
        for key in [key for key in self._settled if key[1] == cloud[0] and self._inventory.get(*key) is None]:
            del self._settled[key]

    async def _refuse_foreign(self, cloud: CloudKey, kind: str, name: str) -> None:
        """NameTakenError if an object of this name exists and is not the cloud's."""
        found = await self._api.get(kind, cloud[0], name)
        if found is None:
            return
        owner = (found["metadata"].get("labels") or {}).get(labels.CLOUD)
        if owner != cloud[1]:
            whose = f"belongs to the cloud {owner}" if owner else "is not the operator's"
            raise NameTakenError(f"{kind} {name} exists and {whose}; rename it or the Cloud")


def _digest(manifest: Manifest) -> str:
    """What is asked for, in few bytes."""
    content = {**manifest, "metadata": {n: v for n, v in manifest["metadata"].items() if n != "resourceVersion"}}
    return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=16).hexdigest()
