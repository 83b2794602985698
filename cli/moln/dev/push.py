"""Changes on their way to running nodes: over port 9001, with the cloud secret."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import aiohttp

from moln.errors import CliError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from moln_spec.cloudmap import CloudMap

_TIMEOUT: Final = aiohttp.ClientTimeout(total=30)


async def push_map(peers: Sequence[str], secret: str, cloud_map: CloudMap) -> None:
    """Give the map to every node; CliError names the first that did not take it."""
    headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
    body = cloud_map.model_dump_json()
    async with aiohttp.ClientSession(timeout=_TIMEOUT, headers=headers) as session:
        for peer in peers:
            try:
                async with session.put(f"http://{peer}/v1/map", data=body) as answer:
                    if answer.status != 200:
                        raise CliError(f"node at {peer} did not take the map: {(await answer.text())[:500]}")
            except (aiohttp.ClientError, TimeoutError) as error:
                raise CliError(f"node at {peer} did not take the map: {error or 'no answer'}") from error
