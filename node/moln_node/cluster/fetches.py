"""Bytes of versions on their way from other owners to this disk, each fetched once, whoever asks for it.

Used by `replica`. A fetch outlives who asked: however large a body is, and however short anybody's patience, it is here
in the end, and who asks again goes on with the same fetch. It ends by itself when its source sends nothing any more.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any


class Fetches:
    """The fetches under way, by name."""

    def __init__(self) -> None:
        self._under_way: dict[str, asyncio.Task[None]] = {}

    async def wait(self, name: str, fetch: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Wait for the fetch of that name, which is begun if there is none. Raises what it raises."""
        task = self._under_way.get(name)
        if task is None:
            task = self._under_way[name] = asyncio.create_task(fetch(), name="moln-fetch")
            task.add_done_callback(lambda task: self._over(name, task))
        await asyncio.wait([task])  # unlike a shield it leaves what is raised to all who wait, and may be cancelled
        task.result()

    def _over(self, name: str, task: asyncio.Task[None]) -> None:
        del self._under_way[name]
        if not task.cancelled():
            task.exception()  # nobody may wait for it any more

    async def close(self) -> None:
        """Break off what is under way."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
