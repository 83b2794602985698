"""HTTP as aiohttp speaks it, with what S3 needs of it: bodies as they were sent, and S3's XML for what is no HTTP.

Made by `moln_node.s3.runner`. There is no router of aiohttp's: it would normalise paths, and miss keys with newlines.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from moln_node.s3.errors import S3Error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_KEEP_ALIVE = 75.0  # seconds that a connection may wait for a request, the first and its headers included
_READ_AHEAD = 512 * 1024  # bytes held for a handler that is busy: below a socket's read, every read stops and starts
_log = logging.getLogger("moln.s3")


class _Protocol(RequestHandler):
    """One connection."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is no HTTP with 400 in XML: a stranger's bytes are no error of ours, and fill no log.

        Nor is a client that went away, which ends its connection.
        """
        if isinstance(exc, ConnectionError):
            raise exc
        if status >= 500 or request.writer.output_size > 0:
            return super().handle_error(request, status, exc, message)
        _log.debug("not HTTP, from %s: %r", request.remote, exc)
        error = S3Error("BadRequest", "The request is not valid HTTP.")
        body = error.document("", secrets.token_hex(8).upper(), "")
        response = web.Response(status=status, body=body, content_type="application/xml")
        response.force_close()
        return response

    async def flushed(self) -> None:
        """Wait until the system has all that was written; ConnectionError if the client is gone."""
        transport = self.transport
        if transport is None:
            raise ConnectionResetError("the client is gone")
        transport.set_write_buffer_limits(0)
        await self._drain_helper()
        if transport.is_closing():
            raise ConnectionResetError("the client is gone")
        transport.set_write_buffer_limits()


class HttpServer(web.Server):
    """Hands every request to `handler`, which is cancelled when its client goes away."""

    def __init__(self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> None:
        super().__init__(handler, handler_cancellation=True)

    def __call__(self) -> _Protocol:
        """A protocol for a new connection."""
        return _Protocol(
            self,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]  # aiohttp takes None; the front's own log hides signatures
            auto_decompress=False,
            keepalive_timeout=_KEEP_ALIVE,
            read_bufsize=_READ_AHEAD,
        )
