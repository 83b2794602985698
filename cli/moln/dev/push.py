"""What goes between this process and running nodes: maps to them, reports from them; over port 9001."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import aiohttp
from pydantic import ValidationError

from moln.errors import CliError
from moln_spec.membership import Report
from moln_spec.nodestatus import NodeStatus
from moln_spec.room import Volume

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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


async def reports(peers: Mapping[str, str], secret: str) -> dict[str, Report]:
    """What the nodes that answer say of themselves, by name."""
    headers = {"Authorization": f"Bearer {secret}"}
    async with aiohttp.ClientSession(timeout=_TIMEOUT, headers=headers) as session:
        found = await asyncio.gather(*(_report(session, peer) for peer in peers.values()))
    return {name: report for name, report in zip(peers, found, strict=True) if report is not None}


async def _report(session: aiohttp.ClientSession, peer: str) -> Report | None:
    try:
        async with session.get(f"http://{peer}/v1/status") as answer:
            status = NodeStatus.model_validate_json(await answer.read())
    except (aiohttp.ClientError, TimeoutError, ValidationError):
        return None
    # the nodes share a disk with each other and with everything else on this machine
    return Report.of(status, Volume(status.capacity_bytes, status.bytes, status.free_bytes))
