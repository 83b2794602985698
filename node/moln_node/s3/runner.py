"""Starting and stopping the S3 port: a server that finishes the requests under way, also those whose body still comes.

aiohttp's own graceful stop drops what a client still sends of a body from the moment it begins, so an upload under way
could only time out. Here the port closes first, the requests under way go on as if nothing had happened, and only when
they are done, or the bound is reached, aiohttp closes what is left.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from aiohttp import web

from moln_node.s3.protocol import HttpServer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_LAST_SECONDS: Final = 1.0  # for answers that are on their way out, and for handlers to hear that they are cancelled


class DrainingRunner(web.ServerRunner):
    """Serves one handler; `cleanup` waits up to `stop_seconds` for the requests under way, then for `last`."""

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        stop_seconds: float,
        last: Callable[[], Awaitable[None]],
    ) -> None:
        super().__init__(HttpServer(self._handle), shutdown_timeout=_LAST_SECONDS)
        self._handler = handler
        self._stop_seconds = stop_seconds
        self._last = last
        self._under_way = 0
        self._stopping = False
        self._drained = asyncio.Event()

    @property
    def under_way(self) -> int:
        """How many requests are not answered yet."""
        return self._under_way

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Hand a request on, and know of it until it is answered."""
        self._under_way += 1
        try:
            response = await self._handler(request)
        finally:
            self._under_way -= 1
            if self._stopping and not self._under_way:
                self._drained.set()
        if self._stopping and not response.prepared:
            response.force_close()
        return response

    async def cleanup(self) -> None:
        """Take no new connections, let the requests under way finish, then close everything."""
        self._stopping = True
        for site in list(self.sites):
            await site.stop()
        if self._under_way:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._stop_seconds):
                    await self._drained.wait()
        await super().cleanup()
        await self._last()
