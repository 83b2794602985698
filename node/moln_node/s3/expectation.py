"""`Expect: 100-continue`: met by whoever first reads a body, so that a refused request need not send one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiohttp import web


class Expectation:
    """A client's `Expect: 100-continue`: it sends its body only when told, which is when somebody reads it."""

    __slots__ = ("_request", "unmet")

    def __init__(self, request: web.BaseRequest) -> None:
        self._request = request
        self.unmet = request.body_exists and request.headers.get("Expect", "").lower() == "100-continue"

    def meet(self) -> None:
        """Tell a client that waits for it to send its body."""
        if self.unmet:
            self.unmet = False
            if self._request.transport is not None:
                self._request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
