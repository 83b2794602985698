"""One watch: keeps the inventory true for one kind, and says which clouds are concerned.

A list, then events from there on. After any error, and in any case every few minutes, it lists again: that repairs
what a lost event would have left wrong, and bounds how long a connection that died silently can go unnoticed.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import TYPE_CHECKING, Any, Final

import httpx2
import msgspec
from lightkube import ApiError

from moln_operator.kube import labels
from moln_operator.kube.kinds import CUSTOM

if TYPE_CHECKING:
    from collections.abc import Callable

    from moln_operator.kube.api import Api
    from moln_operator.kube.inventory import CloudKey, Inventory

logger = logging.getLogger(__name__)

RELIST_SECONDS: Final = 180.0
FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 30.0


class Watch:
    """Follows one kind in one namespace (`*`: in all)."""

    def __init__(
        self,
        api: Api,
        kind: str,
        namespace: str,
        inventory: Inventory,
        concerned: Callable[[set[CloudKey]], None],
    ) -> None:
        self.kind = kind
        self.namespace = namespace
        self.listed = asyncio.Event()
        self._last_listed: float | None = None
        self._api = api
        self._inventory = inventory
        self._concerned = concerned
        self._selector = None if kind in CUSTOM else {labels.MANAGED_BY: labels.MANAGER}

    def is_alive(self, now: float) -> bool:
        """Whether a list succeeded within the time in which two should have."""
        return self._last_listed is not None and now - self._last_listed < 2 * RELIST_SECONDS

    async def run(self) -> None:
        """Follow until cancelled; errors are logged and tried again with a growing pause."""
        pause = FIRST_PAUSE
        while True:
            try:
                version = await self._list()
                pause = FIRST_PAUSE
                await self._follow(version)
            except (httpx2.HTTPError, msgspec.MsgspecError, OSError) as error:  # a line that was cut off is no JSON
                level = logging.DEBUG if isinstance(error, ApiError) and error.status.code == 410 else logging.WARNING
                logger.log(level, "watch of %s in %s: %s; listing again", self.kind, self.namespace, error)
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 (jitter)
                pause = min(2 * pause, LONGEST_PAUSE)

    async def _list(self) -> str:
        manifests, version = await self._api.list(self.kind, self.namespace, self._selector)
        self._concerned(self._inventory.replace(self.kind, self.namespace, manifests))
        self._last_listed = time.monotonic()
        self.listed.set()
        return version

    async def _follow(self, version: str) -> None:
        """Take in events until it is time to list again."""
        lifetime = RELIST_SECONDS * random.uniform(0.8, 1.0)  # noqa: S311 (jitter)
        try:
            async with asyncio.timeout(lifetime):
                seconds = int(RELIST_SECONDS) + 30
                events = self._api.watch(self.kind, self.namespace, self._selector, version, seconds)
                async for change, manifest in events:
                    self._take(change, manifest)
        except TimeoutError:
            return

    def _take(self, change: str, manifest: dict[str, Any]) -> None:
        metadata = manifest["metadata"]
        if change == "DELETED":
            self._concerned(self._inventory.remove(self.kind, metadata.get("namespace", ""), metadata["name"]))
        elif change in ("ADDED", "MODIFIED"):
            self._concerned(self._inventory.put(manifest))
