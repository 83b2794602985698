"""A port that speaks TLS and plain HTTP: the first byte of a connection says which.

A TLS connection begins with 0x16, which no HTTP request does. So one port takes both while a cloud goes from one to the
other, whoever is first: there is no second port that services, policies and scrapers would have to know of.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable

_HANDSHAKE: Final = b"\x16"
_GREETING_SECONDS: Final = 10.0
_TOLD_SECONDS: Final = 1.0
_log = logging.getLogger(__name__)


@asynccontextmanager
async def accepting(
    listener: socket.socket, protocol: Callable[[], asyncio.Protocol], context: Callable[[], ssl.SSLContext]
) -> AsyncIterator[None]:
    """Hand connections to new protocols while the context is open; those that have a protocol outlive it.

    Args:
        listener: a socket that listens; it is closed at the end.
        protocol: makes the protocol of one connection.
        context: what TLS is spoken with, asked for each connection.
    """
    door = _Door(listener, protocol, context)
    task = asyncio.create_task(door.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, *door.greetings, return_exceptions=True)
        listener.close()


class _Door:
    """Accepts connections, and waits for the first byte of each."""

    def __init__(
        self, listener: socket.socket, protocol: Callable[[], asyncio.Protocol], context: Callable[[], ssl.SSLContext]
    ) -> None:
        self.greetings: set[asyncio.Task[None]] = set()
        self._listener = listener
        self._protocol = protocol
        self._context = context
        self._told = 0.0

    async def run(self) -> None:
        """Accept until cancelled."""
        loop = asyncio.get_running_loop()
        self._listener.setblocking(False)  # noqa: FBT003 (the library's own signature)
        try:
            while True:
                try:
                    connection, peer = await loop.sock_accept(self._listener)
                except OSError as error:  # as where there are too many open files: it goes on when some are closed
                    _log.error("cannot take a connection: %s", error)
                    await asyncio.sleep(_TOLD_SECONDS)
                    continue
                task = asyncio.create_task(self._greet(connection, str(peer[0])))
                self.greetings.add(task)
                task.add_done_callback(self.greetings.discard)
        finally:
            for task in self.greetings:
                task.cancel()

    async def _greet(self, connection: socket.socket, peer: str) -> None:
        """Give a connection its protocol, or close it."""
        loop = asyncio.get_running_loop()
        try:
            first = await _first_byte(connection)
            if not first:
                return
            # from here on the connection is the transport's, which closes it
            context = self._context() if first == _HANDSHAKE else None
            seconds = _GREETING_SECONDS if first == _HANDSHAKE else None
            await loop.connect_accepted_socket(self._protocol, connection, ssl=context, ssl_handshake_timeout=seconds)
        except OSError as error:  # ssl.SSLError and TimeoutError are such
            self._tell(peer, error)

    def _tell(self, peer: str, error: Exception) -> None:
        """Say why somebody was turned away; at most once a second, whoever knocks how often."""
        now = time.monotonic()
        if now - self._told > _TOLD_SECONDS:
            self._told = now
            _log.warning("a connection from %s came to nothing: %s", peer, error or "no word in time")


async def _first_byte(connection: socket.socket) -> bytes:
    """The first byte, which stays to be read. Where none comes the connection is closed: empty, or TimeoutError."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(connection, readable.set)
    first = b""
    try:
        async with asyncio.timeout(_GREETING_SECONDS):
            await readable.wait()
        first = connection.recv(1, socket.MSG_PEEK)
    finally:
        loop.remove_reader(connection)
        if not first:
            connection.close()
    return first
