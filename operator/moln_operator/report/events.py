"""Events that a person can read in `kubectl describe`. A lost event is logged and never an error."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal

import httpx2

from moln_spec.resources.meta import API_VERSION

if TYPE_CHECKING:
    from moln_operator.kube.api import Api
    from moln_operator.kube.kinds import Manifest
    from moln_spec.resources.cloud import Cloud

logger = logging.getLogger(__name__)
_QUIET_SECONDS: Final = 600.0
_REMEMBERED: Final = 4096
_LONGEST_NOTE: Final = 1000


class Events:
    """Writes events; the same one at most every ten minutes."""

    def __init__(self, api: Api, identity: str) -> None:
        self._api = api
        self._identity = identity
        self._said: OrderedDict[tuple[str, str, str], float] = OrderedDict()

    async def say(self, cloud: Cloud, kind: Literal["Normal", "Warning"], reason: str, note: str) -> None:
        """Tell the reader of `cloud` something."""
        key = (cloud.metadata.uid, reason, note)
        now = time.monotonic()
        if now - self._said.get(key, -_QUIET_SECONDS) < _QUIET_SECONDS:
            return
        self._said[key] = now
        self._said.move_to_end(key)
        if len(self._said) > _REMEMBERED:
            self._said.popitem(last=False)
        logger.info("%s/%s: %s: %s", cloud.metadata.namespace, cloud.metadata.name, reason, note)
        moment = datetime.now(UTC)
        event: Manifest = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {
                "name": f"{cloud.metadata.name}.{time.time_ns():x}",
                "namespace": cloud.metadata.namespace,
            },
            "eventTime": moment.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "reportingController": "moln.dev/operator",
            "reportingInstance": self._identity[:128],
            "action": reason,
            "reason": reason,
            "type": kind,
            "note": note[:_LONGEST_NOTE],
            "regarding": {
                "apiVersion": API_VERSION,
                "kind": "Cloud",
                "name": cloud.metadata.name,
                "namespace": cloud.metadata.namespace,
                "uid": cloud.metadata.uid,
            },
        }
        try:
            await self._api.create(cloud.metadata.namespace, event)
        except httpx2.HTTPError as error:
            logger.debug("event %s was not written: %s", reason, error)
