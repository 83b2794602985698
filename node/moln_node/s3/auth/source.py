"""The bytes of a request's body as they come from the socket: taken in pieces, blocks and lines.

Read by `payload` and by `moln_node.s3.form`. Bounded in memory and in time: nothing is read that nobody asked for.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from moln_node.s3.errors import S3Error

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import StreamReader

BLOCK = 1024 * 1024  # the most that is handed on, or worked on, at a time
_MAX_LINE = 8192


class Source:
    """The socket's bytes: lines and blocks, with a time-out (`idle` seconds) on every wait.

    `invite` is called before the first wait: there a client that expects `100 Continue` gets it.
    """

    def __init__(self, reader: StreamReader, idle: float, invite: Callable[[], None]) -> None:
        self._reader = reader
        self._idle = idle
        self._invite = invite
        self._held = b""  # read from the socket; taken up to `_taken`, so that small chunks cost no copies of the rest
        self._taken = 0
        self._received = 0

    @property
    def consumed(self) -> int:
        """How many bytes have been taken so far."""
        return self._received - len(self._held) + self._taken

    @property
    def pending(self) -> bool:
        """Whether bytes are held that nobody has taken."""
        return self._taken < len(self._held)

    async def _more(self) -> bytes:
        """Whatever has come, at least a byte; nothing at the end."""
        self._invite()
        try:
            async with asyncio.timeout(self._idle):
                piece, _ = await self._reader.readchunk()
                while not piece and not self._reader.at_eof():  # the end of a chunk of HTTP's own
                    piece, _ = await self._reader.readchunk()
        except TimeoutError:
            raise S3Error("RequestTimeout") from None
        self._received += len(piece)
        return piece

    def _take(self, most: int) -> bytes:
        start = self._taken
        self._taken = min(start + most, len(self._held))
        return self._held if start == 0 and self._taken == len(self._held) else self._held[start : self._taken]

    async def block(self, most: int) -> bytes:
        """Up to `most` bytes: less only at the end of the body."""
        piece = self._take(most)
        pieces, length = [piece], len(piece)
        while length < most:
            self._held, self._taken = await self._more(), 0
            piece = self._take(most - length)
            if not piece:
                break
            pieces.append(piece)
            length += len(piece)
        return b"".join(pieces) if len(pieces) > 1 else pieces[0]

    async def until(self, mark: bytes, most: int = _MAX_LINE) -> bytes:
        """The bytes before the next `mark`, which is taken too; S3Error if the body ends first or they are too many."""
        while (end := self._held.find(mark, self._taken)) < 0 and len(self._held) - self._taken <= most:
            piece = await self._more()
            if not piece:
                raise S3Error("IncompleteBody", "The body ended within its framing.")
            self._held, self._taken = self._held[self._taken :] + piece, 0
        if end < 0 or end - self._taken > most:
            raise S3Error("InvalidRequest", f"The framing of the body goes on for more than {most} bytes.")
        found = self._held[self._taken : end]
        self._taken = end + len(mark)
        return found

    async def some(self, most: int = BLOCK) -> bytes:
        """Whatever there is, at least a byte and at most so many; nothing at the end."""
        if self._taken == len(self._held):
            self._held, self._taken = await self._more(), 0
        return self._take(most)
