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


class Traffic:
    """The requests under way through `handler`. Once it is `stopping`, answers also end their connections."""

    def __init__(self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> None:
        self._handler = handler
        self._under_way = 0
        self._stopping = False
        self._drained = asyncio.Event()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
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

    async def drain(self, seconds: float) -> None:
        """Wait until no request is under way, at most so long."""
        self._stopping = True
        if self._under_way:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._drained.wait()


class DrainingRunner(web.ServerRunner):
    """Serves `server`, whose requests pass through `traffic`."""

    def __init__(self, server: web.Server[web.BaseRequest], traffic: Traffic, stop_seconds: float) -> None:
        super().__init__(server, shutdown_timeout=_LAST_SECONDS)
        self._traffic = traffic
        self._stop_seconds = stop_seconds

    async def cleanup(self) -> None:
        """Take no new connections, let the requests under way finish, at most `stop_seconds`, then close everything."""
        for site in list(self.sites):
            await site.stop()
        await self._traffic.drain(self._stop_seconds)
        await super().cleanup()
