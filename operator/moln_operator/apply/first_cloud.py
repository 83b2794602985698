"""The first Cloud: a file that the chart mounts, applied once when the operator starts to work.

The chart can't hold the Cloud itself, because Helm checks every object before the CRDs of the same release exist.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING

import httpx2

if TYPE_CHECKING:
    from pathlib import Path

    from moln_operator.kube.api import Api

logger = logging.getLogger(__name__)


async def write_first_cloud(api: Api, path: Path) -> None:
    """Apply the Cloud in `path`. What the API server refuses is logged: other Clouds go on."""
    manifest = json.loads(await asyncio.to_thread(path.read_text))
    name, namespace = manifest["metadata"]["name"], manifest["metadata"]["namespace"]
    try:
        await api.apply(namespace, manifest, manager="moln-chart")
    except httpx2.HTTPError as error:
        logger.error("the first Cloud %s/%s is refused: %s", namespace, name, error)  # noqa: TRY400 (one line)
