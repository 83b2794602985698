"""The machines: the failure zone of each, remembered for a while, and whether one is cordoned."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from lightkube import ApiError

if TYPE_CHECKING:
    from moln_operator.kube.api import Api
    from moln_operator.kube.kinds import Manifest

LABEL: Final = "topology.kubernetes.io/zone"
_REMEMBERED_SECONDS: Final = 600.0


class Zones:
    """Looks zones up; a machine whose zone can't be read has none."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._known: dict[str, tuple[float, str]] = {}

    async def of(self, machine: str) -> str:
        """The zone of a Kubernetes node; empty when it has none, is gone, or may not be read."""
        if not machine:
            return ""
        read_at, zone = self._known.get(machine, (0.0, ""))
        if time.monotonic() - read_at > _REMEMBERED_SECONDS:
            zone = await self._read(machine)
            self._known[machine] = (time.monotonic(), zone)
        return zone

    async def is_cordoned(self, machine: str) -> bool:
        """Whether somebody wants no more pods on a Kubernetes node, as before a drain; asked anew each time."""
        node = await self._node(machine) if machine else None
        return node is not None and bool(node.get("spec", {}).get("unschedulable"))

    async def _read(self, machine: str) -> str:
        node = await self._node(machine)
        return "" if node is None else str((node["metadata"].get("labels") or {}).get(LABEL, ""))

    async def _node(self, machine: str) -> Manifest | None:
        """A Kubernetes node; None when it is gone, or may not be read."""
        try:
            return await self._api.get("Node", None, machine)
        except ApiError as error:
            if error.status.code == 403:
                return None
            raise
