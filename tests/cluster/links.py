"""Links between nodes that can be cut, one way each, or made slow: a small TCP proxy for every ordered pair."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_CHUNK = 64 * 1024


def unchanged(data: bytes) -> bytes:
    """What a link that works makes of what it carries."""
    return data


class Link:
    """What one node reaches another by. `cut` loses everything, in silence, until `heal`.

    Attributes:
        delay: seconds that each chunk is held back, in the direction of requests.
        change: what becomes of each chunk on its way, in both directions.
    """

    def __init__(self, target: Callable[[], str | None]) -> None:
        self._target = target
        self._open = asyncio.Event()
        self._open.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.delay = 0.0
        self.change: Callable[[bytes], bytes] = unchanged
        self.address = ""

    async def start(self) -> None:
        """Listen on a free port, from now on `address`."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()[:2]
        self.address = f"{host}:{port}"

    async def close(self) -> None:
        """Let go of everything."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """From now on nothing passes: bytes wait, connections stay open, as on a broken network."""
        self._open.clear()

    def heal(self) -> None:
        """Break the connections of the time before, and let new ones pass."""
        if not self._open.is_set():
            for task in list(self._tasks):
                task.cancel()
        self._open.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        other: asyncio.StreamWriter | None = None
        try:
            await self._open.wait()
            target = self._target()
            if target is None:
                return
            host, port = target.rsplit(":", 1)
            back, other = await asyncio.open_connection(host, int(port))
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, other, slow=True))
                group.create_task(self._pump(back, writer, slow=False))
        except* (OSError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            self._tasks.discard(task)
            for stream in (writer, other):
                if stream is not None:
                    stream.transport.abort()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, slow: bool) -> None:
        while data := await source.read(_CHUNK):
            await self._open.wait()
            if slow and self.delay:
                await asyncio.sleep(self.delay)
            sink.write(self.change(data))
            await sink.drain()
        with contextlib.suppress(OSError):
            sink.write_eof()
