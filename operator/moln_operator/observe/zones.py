"""The failure zone of each Kubernetes node, remembered for a while."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from lightkube import ApiError

if TYPE_CHECKING:
    from moln_operator.kube.api import Api

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

    async def _read(self, machine: str) -> str:
        try:
            node = await self._api.get("Node", None, machine)
        except ApiError as error:
            if error.status.code == 403:
                return ""
            raise
        return "" if node is None else str((node["metadata"].get("labels") or {}).get(LABEL, ""))
