"""Leader election by a Lease: of several operators one works, the others wait.

The holder renews well before the Lease runs out, and stops as soon as it could not renew in time: by then nobody else
can have taken it. Times are measured on this process's own clock, from when a change of the Lease was seen.
"""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import httpx2

if TYPE_CHECKING:
    from moln_operator.kube.api import Api
    from moln_operator.kube.kinds import Manifest

logger = logging.getLogger(__name__)

NAME: Final = "moln-operator"
DURATION_SECONDS: Final = 15
RENEW_SECONDS: Final = 4.0
GIVE_UP_SECONDS: Final = 10.0


class Leadership:
    """The Lease as one process sees it."""

    def __init__(self, api: Api, namespace: str, identity: str) -> None:
        self._api = api
        self._namespace = namespace
        self._identity = identity
        self._seen: tuple[str, float] = ("", 0.0)

    async def acquire(self) -> None:
        """Wait until this process is the leader."""
        while not await self._try():  # noqa: ASYNC110 (the API server has no event to wait for)
            await asyncio.sleep(RENEW_SECONDS)
        logger.info("%s is the leader", self._identity)

    async def hold(self) -> None:
        """Renew for as long as this process may lead; returns when it no longer may."""
        renewed = time.monotonic()
        while time.monotonic() - renewed < GIVE_UP_SECONDS:
            await asyncio.sleep(RENEW_SECONDS)
            if await self._try():
                renewed = time.monotonic()
        logger.error("%s could not renew its Lease and stops", self._identity)

    async def release(self) -> None:
        """Let the next one take over at once."""
        try:
            lease = await self._api.get("Lease", self._namespace, NAME)
            if lease is not None and lease["spec"].get("holderIdentity") == self._identity:
                lease["spec"] = {**lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
                await self._api.replace(self._namespace, lease)
        except httpx2.HTTPError as error:
            logger.warning("the Lease was not released: %s", error)

    async def _try(self) -> bool:
        """Take or renew the Lease; whether this process holds it now. The API server decides between two."""
        try:
            async with asyncio.timeout(RENEW_SECONDS):
                return await self._take(await self._api.get("Lease", self._namespace, NAME))
        except (httpx2.HTTPError, TimeoutError) as error:
            logger.warning("the Lease could not be taken: %s", error)
            return False

    async def _take(self, lease: Manifest | None) -> bool:
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        if lease is None:
            spec = self._spec(now, now, 0)
            made: Manifest = {"metadata": {"name": NAME, "namespace": self._namespace}, "spec": spec}
            lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", **made}
            return await self._api.create(self._namespace, lease) is not None
        spec = lease.get("spec") or {}
        if spec.get("holderIdentity") != self._identity and not self._is_over(lease):
            return False
        mine = spec.get("holderIdentity") == self._identity
        acquired = spec.get("acquireTime", now) if mine else now
        transitions = int(spec.get("leaseTransitions") or 0) + (0 if mine else 1)
        lease["spec"] = self._spec(acquired, now, transitions)
        await self._api.replace(self._namespace, lease)
        return True

    def _spec(self, acquired: str, renewed: str, transitions: int) -> dict[str, Any]:
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": DURATION_SECONDS,
            "acquireTime": acquired,
            "renewTime": renewed,
            "leaseTransitions": transitions,
        }

    def _is_over(self, lease: Manifest) -> bool:
        """Whether the Lease has not changed for its whole duration, or was released."""
        spec = lease.get("spec") or {}
        if not spec.get("holderIdentity"):
            return True
        version = str(lease["metadata"].get("resourceVersion", ""))
        if self._seen[0] != version:
            self._seen = (version, time.monotonic())
        return time.monotonic() - self._seen[1] > float(spec.get("leaseDurationSeconds") or DURATION_SECONDS)
