"""Bytes from a file to a client's connection, sent by the system, whatever runs the event loop.

asyncio's own `loop.sendfile` is not to be had on uvloop. Called by `call`, which has seen to it that the connection is
not one of TLS and that all that was written before has left.
"""

from __future__ import annotations

import asyncio
import os


async def send(transport: asyncio.WriteTransport, file: int, offset: int, length: int) -> int:
    """Send so many bytes of an open file; fewer only where it ends before. ConnectionError if the client is gone."""
    sent = 0
    # a descriptor of its own to wait on: the loop lends nobody that of a transport
    socket = os.dup(transport.get_extra_info("socket").fileno())
    try:
        while sent < length:
            if transport.is_closing():
                raise ConnectionResetError("the client is gone")
            try:
                taken = os.sendfile(socket, file, offset + sent, length - sent)
            except BlockingIOError:
                await _writable(socket)
                continue
            if not taken:
                break
            sent += taken
    finally:
        os.close(socket)
    return sent


async def _writable(socket: int) -> None:
    """Wait until the system takes more."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_writer(socket, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(socket)
