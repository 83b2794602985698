"""Hands the newest map and access keys to the nodes that do not have them yet."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from moln_operator.observe.gather import door
from moln_operator.observe.nodes import Answer, NodeError
from moln_spec.credentials import reveal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from moln_operator.observe.nodes import NodeClient
    from moln_operator.observe.state import Observed
    from moln_spec.cloudmap import CloudMap
    from moln_spec.credentials import Credentials

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Handed:
    """The access keys that a node was given last, and when (monotonic seconds)."""

    digest: str
    at: float


class Pusher:
    """Pushes to nodes; remembers which access keys each has, because nodes do not say."""

    def __init__(self, nodes: NodeClient) -> None:
        self._nodes = nodes
        self._handed: dict[str, _Handed] = {}

    async def push(self, observed: Observed, cloud_map: CloudMap, document: Credentials) -> Mapping[str, Answer]:
        """Bring every node of the map up to date that answers; what the nodes say afterwards, by pod name."""
        text = reveal(document)
        digest = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        pods = observed.answers.keys() & {node.name for node in cloud_map.nodes}  # others have left, and stop
        found = await asyncio.gather(*(self._one(observed, pod, cloud_map, text, digest) for pod in pods))
        return {**observed.answers, **dict(zip(pods, found, strict=True))}

    async def _one(self, observed: Observed, pod: str, cloud_map: CloudMap, text: str, digest: str) -> Answer:
        answer, known, cluster = observed.answers[pod], observed.pods[pod], observed.cluster
        if answer.status is None or cluster is None:
            return answer
        node = door(known, cluster, observed.peers)
        handed = self._handed.get(known.uid)
        has_keys = handed is not None and handed.digest == digest and answer.started < handed.at
        if answer.status.epoch >= cloud_map.epoch and has_keys:
            return answer
        try:
            if answer.status.epoch < cloud_map.epoch:
                await self._nodes.push_map(node, cloud_map)
            if not has_keys:
                pushed_at = time.monotonic()
                await self._nodes.push_credentials(node, text)
                self._handed[known.uid] = _Handed(digest, pushed_at)
        except NodeError as error:
            logger.warning("%s/%s: %s", observed.cloud.metadata.namespace, pod, error)
            return Answer(error=str(error))
        return await self._nodes.status(node)

    def keep_only(self, pods: set[str]) -> None:
        """Forget the nodes whose pods (by uid) are gone."""
        for uid in self._handed.keys() - pods:
            del self._handed[uid]
